//! Two segments of one process: one that is ending, and the next.
use std::{
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize, mpsc::channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};

use super::{
    Answer, ProtocolError, Reply, TranscodeOrder, end_process, heap, memory, protocol, said, split_transcoded,
};
use crate::{
    MediaError,
    engine::{Encoders, Place},
    error::no_memory,
    transcode::transcode_on,
};

/// Where answers go, and the CPU time of this process when the last one left.
pub(super) struct Output<W> {
    pipe: W,
    told: Duration,
}

pub(super) type SharedOutput<W> = Arc<Mutex<Output<W>>>;

/// Transcodes whole segments: the next one begins when the first encoder of one is done, within the memory that is left.
/// Answers leave job by job.
pub(super) struct Pair<W> {
    output: SharedOutput<W>,
    unanswered: Arc<AtomicUsize>,
    encoders: Arc<Encoders>,
    /// The last segment, which may still be encoded.
    last: Option<JoinHandle<()>>,
}

impl<W: Write + Send + 'static> Pair<W> {
    pub(super) fn new(output: W, unanswered: Arc<AtomicUsize>) -> Self {
        let output = Arc::new(Mutex::new(Output { pipe: output, told: Duration::ZERO }));
        Self { output, unanswered, encoders: Arc::default(), last: None }
    }

    /// This process may use less or more from here on, and so may the encoders of segments to come.
    pub(super) fn limited(&mut self) {
        self.encoders = Arc::default();
    }

    /// Waits until nothing is left to do, for a job that shares the process with nobody.
    pub(super) fn alone(&mut self) -> SharedOutput<W> {
        self.last.take().into_iter().for_each(wait_for);
        self.output.clone()
    }

    /// Returns when another segment may begin.
    pub(super) fn transcode(&mut self, job: u64, order: TranscodeOrder, blobs: Vec<Bytes>) {
        let (ending, is_ending) = channel();
        let (output, unanswered, encoders) = (self.output.clone(), self.unanswered.clone(), self.encoders.clone());
        let before = Mutex::new(self.last.take());
        heap::next_segment();
        let watch = Watch::start(order.settings.deterministic);
        let work = move || {
            let segment = blobs.into_iter().next().unwrap_or_default();
            let after_the_one_before = || lock(&before).take().into_iter().for_each(wait_for);
            let tell = |answer, blobs: &[Bytes]| {
                after_the_one_before();
                // A pool that does not listen has gone.
                if watch.reply(&output, job, answer, blobs).is_err() {
                    end_process();
                }
            };
            let told = || {
                tell(Answer::Ending, &[]);
                let _ = ending.send(());
            };
            let place = Place { encoders, settle: Some(&memory::settle), ending: Some(&told), ..Place::default() };
            let made = transcode_on(&segment, &order.profiles, &order.settings, place);
            let (answer, blobs) = made.map_or_else(|error| (Answer::Failed(error), Vec::new()), split_transcoded);
            tell(answer, &blobs);
            said(job, &unanswered);
        };
        self.last = Some(thread::spawn(move || {
            // The pool hears of it now, not when it has another order.
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                end_process();
            }
        }));
        // An error is the end of a job that failed before.
        let _ = is_ending.recv();
    }
}

fn wait_for(job: JoinHandle<()>) {
    if job.join().is_err() {
        end_process();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wall time and CPU time of this process since a job began, and whether there was memory for it.
pub(super) struct Watch {
    wall: Instant,
    cpu: Duration,
    /// As [`heap::refused`] counted when it began.
    refused: u64,
    /// For one that must do the same in every run.
    _blank: Option<heap::Blank>,
}

impl Watch {
    pub(super) fn start(is_repeatable: bool) -> Self {
        let _blank = is_repeatable.then(heap::Blank::begin);
        Self { wall: Instant::now(), cpu: cpu_time(), refused: heap::refused(), _blank }
    }

    /// Answers, and tells what the job took. What two jobs took together is counted to the one that ends first; memory that there was
    /// not fails both, as nobody knows what either lacks.
    pub(super) fn reply(
        &self,
        output: &Mutex<Output<impl Write>>,
        job: u64,
        answer: Answer,
        blobs: &[Bytes],
    ) -> Result<(), ProtocolError> {
        let mut output = lock(output);
        let (wall, now) = (self.wall.elapsed(), cpu_time());
        let cpu = now.saturating_sub(self.cpu.max(output.told));
        let (mut answer, mut blobs) = (answer, blobs);
        if answer.ends_job() {
            output.told = now;
            if heap::refused() > self.refused {
                (answer, blobs) = (Answer::Failed(no_memory(&step_of(answer))), &[]);
            }
            if let Answer::Failed(MediaError::OutOfMemory { limit, .. }) = &mut answer {
                *limit = memory::limit();
            }
        }
        protocol::write(&mut output.pipe, &Reply { job, wall, cpu, answer }, blobs)
    }
}

/// What there was no memory for, as far as it shows.
fn step_of(answer: Answer) -> String {
    match answer {
        Answer::Failed(MediaError::Libav { step, .. } | MediaError::OutOfMemory { step, .. }) => step,
        _ => "do all of the job".into(),
    }
}

/// CPU time that all threads of this process have used.
pub(crate) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
