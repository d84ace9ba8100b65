//! The child process in which libav runs: orders come in on a pipe, and replies go out on another in the same order.
mod heap;
mod inbox;
mod limits;
mod memory;
mod pair;
mod protocol;
mod stored;

use std::{
    io::{self, Read, Write},
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::sync_channel,
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
pub(crate) use limits::Limits;
pub(crate) use protocol::{
    Answer, BEGIN_MARK, JOB_MARK, Order, ProtocolError, Reply, Request, SourceHead, TranscodeOrder, head, parse_head,
    parse_len,
};
use rustix::process::{Pid, getppid};
pub use stored::{run_stored, store};

pub(crate) use self::pair::cpu_time;
use self::{
    inbox::Inbox,
    pair::{Pair, Watch},
};
use crate::{
    MediaError, Piece, SourceSegment, Transcoded, compare,
    engine::Place,
    filters::Avfilter,
    fragment, gpu, ingest, inspect, library, play, probe, quality,
    transcode::{transcode_live_on, transcode_on},
};

/// Time between two looks whether the pool is still there.
const PARENT_CHECK: Duration = Duration::from_secs(1);

/// Why a worker process ended other than by its input being closed.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The pool stopped reading, or sent something that is no order.
    #[error("worker cannot talk to its pool")]
    Protocol(#[source] ProtocolError),
}

/// The loop of a worker process: `input` and `output` are its standard input and output. Returns when `input` ends.
///
/// When the input ends in the middle of a job, the pool has died and nobody wants the result: the process is ended at once,
/// even if libav hangs. So this must only be called from a process that does nothing else.
pub fn run(input: impl Read + Send + 'static, output: impl Write + Send + 'static) -> Result<(), WorkerError> {
    memory::prepare();
    heap::keep();
    library::prepare();
    let unanswered = Arc::new(AtomicUsize::new(0));
    let (orders, inbox) = sync_channel(1);
    let waiting = unanswered.clone();
    thread::spawn(move || {
        let mut input = io::BufReader::new(input);
        while let Ok(Some((order, blobs))) = protocol::read::<Order>(&mut input) {
            if !order.request.is_food() {
                waiting.fetch_add(1, Ordering::SeqCst);
            }
            if orders.send((order, blobs)).is_err() {
                return;
            }
        }
        if waiting.load(Ordering::SeqCst) > 0 {
            end_process();
        }
    });
    end_with(getppid());
    let mut inbox = Inbox::new(inbox);
    let mut kept = gpu::Kept::default();
    let mut limits: Option<Limits> = None;
    let mut pair = Pair::new(output, unanswered.clone());
    while let Some((Order { job, request }, blobs)) = inbox.next() {
        if let Some(limits) = &limits {
            limits.begin_job();
        }
        let request = match request {
            Request::Transcode(order) if order.device.is_none() && !blobs.is_empty() => {
                begins(job);
                pair.transcode(job, order, blobs);
                continue;
            }
            request => request,
        };
        let output = pair.alone();
        heap::next_segment();
        begins(job);
        let watch = Watch::start(request.is_repeatable());
        let mut answer = |answer: Answer, blobs: &[Bytes]| watch.reply(&output, job, answer, blobs);
        let done = match request {
            Request::Hello(told) => {
                let greeted = greet(limits.insert(told), &mut answer);
                pair.limited();
                greeted
            }
            // libav keeps its input for as long as it likes, so that this process ends with it.
            Request::Ingest(settings) => {
                let done = live(&mut answer, |emit| ingest(&settings, inbox, emit));
                said(job, &unanswered);
                return done.map_err(WorkerError::Protocol);
            }
            Request::Transcode(order) if blobs.is_empty() => transcode_fed(&order, &mut kept, &mut inbox, &mut answer),
            request => serve(request, blobs, &mut kept, &mut answer),
        };
        said(job, &unanswered);
        done.map_err(WorkerError::Protocol)?;
    }
    pair.alone();
    Ok(())
}

/// Tells the reader of standard error that this job may be spoken of from now on.
fn begins(job: u64) {
    mark(BEGIN_MARK, job);
}

/// Tells the reader of standard error that everything said about this job has been said.
fn said(job: u64, unanswered: &AtomicUsize) {
    mark(JOB_MARK, job);
    unanswered.fetch_sub(1, Ordering::SeqCst);
}

/// A line of its own, at one go: the threads of another job may be in the middle of theirs.
fn mark(mark: char, job: u64) {
    let _ = io::stderr().write_all(format!("\n{mark}{job}\n").as_bytes());
}

/// Ends this process when the one that started it has gone: a job that hangs may keep its end from being noticed otherwise.
#[allow(clippy::disallowed_methods)] // this thread has nothing else to do
fn end_with(parent: Option<Pid>) {
    thread::spawn(move || {
        while getppid() == parent {
            thread::sleep(PARENT_CHECK);
        }
        end_process();
    });
}

#[allow(clippy::disallowed_methods)] // the process of a worker is ours to end, and its parent is gone
fn end_process() -> ! {
    std::process::exit(1)
}

type Answerer<'a> = dyn FnMut(Answer, &[Bytes]) -> Result<(), ProtocolError> + 'a;

fn greet(limits: &Limits, answer: &mut Answerer<'_>) -> Result<(), ProtocolError> {
    let greeted = match limits.apply() {
        Ok(()) => answer(Answer::Ready, &[]),
        Err(error) => answer(Answer::Failed(error), &[]),
    };
    memory::settle();
    greeted
}

fn serve(
    request: Request,
    blobs: Vec<Bytes>,
    kept: &mut gpu::Kept,
    answer: &mut Answerer<'_>,
) -> Result<(), ProtocolError> {
    let mut blobs = blobs.into_iter();
    let segment = blobs.next().unwrap_or_default();
    let result = match request {
        Request::Probe => probe(&segment).map(|info| (Answer::Probed(info), Vec::new())),
        Request::Inspect => inspect(&segment).map(|inspection| (Answer::Inspected(inspection), Vec::new())),
        Request::Compare(sampling) => {
            let renditions: Vec<Bytes> = blobs.collect();
            compare(&segment, &renditions, sampling).map(|all| (Answer::Compared(all), Vec::new()))
        }
        Request::Quality => {
            let rendition = blobs.next().unwrap_or_default();
            quality(&segment, &rendition).map(|measured| (Answer::Measured(measured), Vec::new()))
        }
        Request::Fragment => fragment(&segment).map(|made| (Answer::Fragmented, vec![made.init, made.media])),
        Request::Transcode(TranscodeOrder { profiles, settings, device }) => {
            let work = |hardware: Option<&_>| {
                transcode_on(
                    &segment,
                    &profiles,
                    &settings,
                    Place { hardware, settle: Some(&memory::settle), ..Place::default() },
                )
            };
            kept.run(device.as_ref(), work).map(split_transcoded)
        }
        Request::ProbeEncoder(settings) => library::probe_encoder(&settings).map(|()| (Answer::Works, Vec::new())),
        Request::ProbeFilters => Avfilter::load().map(|_| (Answer::Works, Vec::new())),
        Request::TryDevice(trial) => gpu::attempt(trial).map(|finding| (Answer::Tried(finding), Vec::new())),
        Request::Play(settings) => return live(answer, |emit| play(&settings, emit)),
        Request::Hello(_) | Request::Ingest(_) | Request::Feed | Request::FeedEnd | Request::FeedAbort => {
            Err(MediaError::Source { reason: "food came without a stream".into() })
        }
    };
    match result {
        Ok((done, blobs)) => answer(done, &blobs),
        Err(error) => answer(Answer::Failed(error), &[]),
    }
}

/// Answers with each segment as it is complete, and with the end.
fn live(
    answer: &mut Answerer<'_>,
    work: impl FnOnce(&mut dyn FnMut(SourceSegment) -> ControlFlow<()>) -> Result<(), MediaError>,
) -> Result<(), ProtocolError> {
    let mut sent = Ok(());
    let worked = work(&mut |segment| {
        let (head, bytes) = split_source(segment);
        sent = answer(Answer::Source(head), &[bytes]);
        if sent.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    sent?;
    match worked {
        Ok(()) => answer(Answer::Played, &[]),
        Err(error) => answer(Answer::Failed(error), &[]),
    }
}

/// Answers with each piece of a rendition as it is made, and with the report.
fn transcode_fed(
    order: &TranscodeOrder,
    kept: &mut gpu::Kept,
    feed: &mut Inbox,
    answer: &mut Answerer<'_>,
) -> Result<(), ProtocolError> {
    let TranscodeOrder { profiles, settings, device } = order;
    let mut sent = Ok(());
    let mut emit = |Piece { rendition, bytes, pixels }| {
        sent = answer(Answer::Piece { rendition, pixels }, &[bytes]);
        if sent.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let made = kept.run(device.as_ref(), |hardware| {
        transcode_live_on(
            feed,
            profiles,
            settings,
            Place { hardware, settle: Some(&memory::settle), ..Place::default() },
            &mut emit,
        )
    });
    sent?;
    match made {
        Ok(report) => answer(Answer::Transcoded(report), &[]),
        Err(error) => answer(Answer::Failed(error), &[]),
    }
}

fn split_transcoded(transcoded: Transcoded) -> (Answer, Vec<Bytes>) {
    let (report, blobs) = transcoded.split();
    (Answer::Transcoded(report), blobs)
}

fn split_source(segment: SourceSegment) -> (SourceHead, Bytes) {
    let SourceSegment { seq, bytes, duration, frames, start_pts } = segment;
    (SourceHead { seq, duration, frames, start_pts }, bytes)
}
