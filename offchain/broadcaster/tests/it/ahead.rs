//! Segments that are sent on while they are pushed (docs/designs/038-streaming-wire.md).
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use alloy_primitives::U256;
use bytes::Bytes;
use futures::channel::mpsc;
use reqwest::{Response, StatusCode};
use streamflow_media::{Made, TranscodeSettings, WorkerPool};
use streamflow_orchestrator::{Live, LiveFuture, Transcode, TranscodeError, TranscodeFuture, TranscodeJob};
use tokio::task::JoinHandle;

use crate::{
    clip,
    fixture::{Running, Setup, client, until, workers},
    orchestrator::{Break, Conduct, FakeOrchestrator},
    ours::{Ours, ether},
};

/// A push of which each byte is sent by hand.
struct Push {
    media: Bytes,
    body: mpsc::UnboundedSender<std::io::Result<Bytes>>,
    reply: JoinHandle<reqwest::Result<Response>>,
}

impl Push {
    /// `millis`: what the encoder says that the segment is long.
    fn start(running: &Running, seq: u64, media: Bytes, millis: Option<u64>) -> Self {
        let (body, bytes) = mpsc::unbounded();
        let request = client().post(running.url(&format!("/live/movie/{seq}.ts")));
        let request = match millis {
            Some(millis) => request.header("Content-Duration", millis.to_string()),
            None => request,
        };
        let reply = tokio::spawn(request.body(reqwest::Body::wrap_stream(bytes)).send());
        Self { media, body, reply }
    }

    fn send(&mut self, bytes: usize) {
        let bytes = self.media.split_to(bytes.min(self.media.len()));
        self.body.unbounded_send(Ok(bytes)).unwrap();
    }

    /// The half.
    fn send_half(&mut self) {
        self.send(self.media.len() / 2);
    }

    async fn finish(mut self) -> Response {
        self.send(self.media.len());
        drop(self.body);
        self.reply.await.unwrap().unwrap()
    }
}

/// One that pays as for real orchestrators, and does not give up because the machine is busy.
fn paying(orchestrator: &Ours) -> Setup {
    Setup::new(&[orchestrator.url()]).with(|setup| {
        setup.funds = Some(ether());
        (setup.config.payment.max_ticket_ev, setup.config.payment.max_total_ev) = (U256::MAX, U256::MAX);
        setup.config.timeout_multiplier = 5;
    })
}

/// Transcodes in a worker process, and counts what has come and gone.
#[derive(Debug)]
struct Worker {
    pool: WorkerPool,
    seen: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    live: AtomicUsize,
    bytes: AtomicUsize,
    pieces: AtomicUsize,
    cut_off: AtomicUsize,
}

impl Worker {
    async fn start() -> (Self, Arc<Counts>) {
        let seen = Arc::<Counts>::default();
        (Self { pool: workers().await, seen: seen.clone() }, seen)
    }
}

impl Transcode for Worker {
    fn transcode(&self, _job: TranscodeJob) -> TranscodeFuture<'_> {
        Box::pin(std::future::ready(Err(TranscodeError::NoTranscoders)))
    }

    fn transcode_live(&self, job: TranscodeJob, mut live: Live) -> LiveFuture<'_> {
        Box::pin(async move {
            self.seen.live.fetch_add(1, Ordering::SeqCst);
            let (feed, mut made) =
                self.pool.transcode_stream(job.profiles, TranscodeSettings::default(), None).unwrap();
            let feeding = async {
                loop {
                    match live.input.next().await {
                        Ok(Some(bytes)) => {
                            self.seen.bytes.fetch_add(bytes.len(), Ordering::SeqCst);
                            feed.send(bytes).await;
                        }
                        Ok(None) => {
                            feed.finish().await;
                            return Ok(());
                        }
                        Err(broken) => {
                            self.seen.cut_off.fetch_add(1, Ordering::SeqCst);
                            drop(feed);
                            return Err(TranscodeError::from(broken));
                        }
                    }
                }
            };
            let taking = async {
                while let Some(event) = made.next().await {
                    match event.map_err(|error| TranscodeError::Other(error.to_string()))? {
                        Made::Piece(piece) => {
                            self.seen.pieces.fetch_add(1, Ordering::SeqCst);
                            live.output.put(piece.rendition, &piece.bytes, piece.pixels)?;
                        }
                        Made::Again => live.output.again(),
                        Made::Done(report) => {
                            return Ok(report.output.renditions.iter().map(|rendition| rendition.pixels).collect());
                        }
                    }
                }
                Err(TranscodeError::TranscoderStopped)
            };
            let (fed, taken) = tokio::join!(feeding, taking);
            fed.and(taken)
        })
    }

    fn end_session(&self, _session_id: &str) {}
}

/// What our book and theirs have of the one session must be the same.
async fn books_agree(running: &Running, orchestrator: &Ours) {
    let ours = || {
        let balances = running.handle.status().balances.unwrap();
        balances.into_iter().map(|held| (held.session, held.balance)).collect::<Vec<_>>()
    };
    until("both books to have the session", || !ours().is_empty()).await;
    assert_eq!(ours(), orchestrator.balances());
}

#[tokio::test]
async fn renditions_are_made_while_a_segment_is_pushed_and_published_after_its_end() {
    let (worker, seen) = Worker::start().await;
    let mut orchestrator = Ours::with(140_000_000, Arc::new(worker)).await;
    let running = paying(&orchestrator).start().await;
    running.push_clip("movie", 0).await;
    books_agree(&running, &orchestrator).await;
    let (before, pieces) = (seen.bytes.load(Ordering::SeqCst), seen.pieces.load(Ordering::SeqCst));

    let media = clip::segment(1);
    let mut push = Push::start(&running, 1, media.clone(), None);
    push.send(media.len() * 9 / 10);
    while seen.pieces.load(Ordering::SeqCst) == pieces {
        assert!(!push.media.is_empty(), "no rendition before the last byte");
        // A packet now and then, as of an encoder.
        push.send(188);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let came = seen.bytes.load(Ordering::SeqCst) - before;
    assert!(came > media.len() / 2 && came < media.len(), "{came} of {} bytes", media.len());
    assert!(!push.reply.is_finished() && !running.file("movie/180p/1.ts").exists());
    assert_eq!(running.handle.status().segments.received, 1);
    assert_eq!(push.finish().await.status(), StatusCode::OK);

    let status = running.handle.status();
    assert_eq!((status.segments.transcoded, status.segments.failed, status.segments.retried), (2, 0, 0));
    assert_eq!(seen.live.load(Ordering::SeqCst), 2, "it is sent once");
    for profile in clip::profiles() {
        let file = |seq: u32| running.file(&format!("movie/{}/{seq}.ts", profile.name));
        assert_eq!([0, 1].map(|seq| clip::frames(&file(seq))), [50, 50]);
    }
    books_agree(&running, &orchestrator).await;
    running.stop().await;
    orchestrator.end().await;
}

#[tokio::test]
async fn a_push_that_breaks_off_publishes_nothing_and_the_books_agree() {
    let (worker, seen) = Worker::start().await;
    let mut orchestrator = Ours::with(140_000_000, Arc::new(worker)).await;
    let running = paying(&orchestrator).start().await;
    running.push_clip("movie", 0).await;
    // With nothing made of it, and with something made of it: then it costs what its head said.
    for (seq, tenths) in [(1, 1), (2, 9)] {
        let media = clip::segment(seq);
        let part = media.len() * tenths / 10;
        let (live, cut_off) = (seen.live.load(Ordering::SeqCst), seen.cut_off.load(Ordering::SeqCst));
        let pieces = seen.pieces.load(Ordering::SeqCst);
        let mut push = Push::start(&running, seq as u64, media.clone(), None);
        push.send(part);
        until("the upload", || seen.live.load(Ordering::SeqCst) == live + 1).await;
        let begun = Instant::now();
        while part > media.len() / 2 && seen.pieces.load(Ordering::SeqCst) == pieces {
            push.send(188);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        push.reply.abort();
        until("its end", || seen.cut_off.load(Ordering::SeqCst) == cut_off + 1).await;
        assert!(begun.elapsed() < Duration::from_secs(7), "the orchestrator is told, before it has waited its 8 s");
        books_agree(&running, &orchestrator).await;
        assert!(!running.file(&format!("movie/180p/{seq}.ts")).exists());
        let status = running.handle.status();
        assert_eq!((status.segments.received, status.segments.failed), (seq as u64, 0));
        assert_eq!((status.sessions[0].failures, status.sessions[0].code), (0, "usable"), "it is not to blame");
        // The encoder tries again, and does not get ahead at once.
        let mut again = Push::start(&running, seq as u64, media, None);
        again.send_half();
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(seen.live.load(Ordering::SeqCst), live + 1);
        assert_eq!(again.finish().await.status(), StatusCode::OK);
        books_agree(&running, &orchestrator).await;
    }
    running.stop().await;
    orchestrator.end().await;
}

/// The stream's orchestrator, and another one that it may go to.
async fn two(conduct: Conduct) -> (FakeOrchestrator, FakeOrchestrator, Running) {
    let first = FakeOrchestrator::streaming(1, Conduct::Honest, true).await;
    let second = FakeOrchestrator::start(2, Conduct::Honest, true).await;
    let unhurried = |setup: &mut Setup| setup.config.selection.deadline_percent = 2000;
    let running = Setup::new(&[first.url(), second.url()]).with(unhurried).start().await;
    running.push_clip("movie", 0).await;
    assert_eq!(first.seen().segments, [0]);
    first.behave(conduct);
    (first, second, running)
}

fn is_published(running: &Running, seq: usize) {
    for (profile, made) in clip::profiles().iter().zip(clip::renditions(&clip::segment(seq), &clip::profiles())) {
        let published = std::fs::read(running.file(&format!("movie/{}/{seq}.ts", profile.name))).unwrap();
        assert!(published == made.bytes, "{}", profile.name);
    }
}

#[tokio::test]
async fn where_the_orchestrator_is_lost_during_the_push_another_one_gets_all_of_the_segment() {
    let cases = [
        (Conduct::HangsUp, "segment was not sent"),
        (Conduct::Refuses(500, "out of luck"), "out of luck"),
        (Conduct::Streams(Break::Hasty), "a result before the end of the segment"),
    ];
    for (conduct, why) in cases {
        let (first, second, running) = two(conduct).await;
        let mut push = Push::start(&running, 1, clip::segment(1), None);
        push.send_half();
        until("the upload", || first.seen().requests == 2).await;
        assert_eq!(push.finish().await.status(), StatusCode::OK);
        let status = running.handle.status();
        assert_eq!((status.segments.transcoded, status.segments.retried), (2, 1), "{conduct:?}");
        assert_eq!((second.seen().segments, status.sessions[0].failures), (vec![1], 1), "{conduct:?}");
        let error = status.sessions[0].last_error.clone().unwrap_or_default();
        assert!(error.contains(why), "{error}");
        is_published(&running, 1);
        running.stop().await;
    }
}

#[tokio::test]
async fn old_terms_cost_the_early_upload_alone() {
    for conduct in [Conduct::ExpiredOnce, Conduct::ExpiredOnceWithTerms] {
        let (first, second, running) = two(conduct).await;
        let mut push = Push::start(&running, 1, clip::segment(1), None);
        push.send_half();
        until("the upload", || first.seen().requests == 2).await;
        assert_eq!(push.finish().await.status(), StatusCode::OK);
        let status = running.handle.status();
        assert_eq!((status.segments.retried, status.sessions[0].failures), (0, 0), "{conduct:?}");
        assert_eq!((first.seen().segments, second.seen().requests), (vec![0, 1], 0), "{conduct:?}");
        is_published(&running, 1);
        running.stop().await;
    }
}

#[tokio::test]
async fn a_segment_that_is_far_longer_than_was_expected_is_sent_anew() {
    let (first, second, running) = two(Conduct::Honest).await;
    let before = first.seen().coming;
    let two_segments = Bytes::from([clip::segment(1), clip::segment(2)].concat());
    let mut push = Push::start(&running, 1, two_segments.clone(), Some(1001));
    push.send_half();
    until("the half", || first.seen().coming == before + two_segments.len() / 2).await;
    assert_eq!(push.finish().await.status(), StatusCode::OK);
    until("the end of the early upload", || first.seen().cut_off == 1).await;
    let status = running.handle.status();
    assert_eq!((status.segments.retried, status.sessions[0].failures), (0, 0));
    assert_eq!((first.seen().segments, second.seen().requests), (vec![0, 1], 0));
    assert!(first.seen().coming >= before + two_segments.len() * 3 / 2);
    running.stop().await;
}

#[tokio::test]
async fn what_cannot_be_foreseen_is_sent_whole() {
    let (first, _second, running) = two(Conduct::Honest).await;
    // Its encoder tells a length unlike that of the segment before; a number of long ago; no MPEG-TS so far.
    let cases =
        [(1, clip::segment(1), Some(20_000)), (9, clip::segment(1), None), (2, Bytes::from(vec![0; 4096]), None)];
    for (seq, media, millis) in cases {
        let requests = first.seen().requests;
        let mut push = Push::start(&running, seq, media, millis);
        push.send_half();
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(first.seen().requests, requests, "{seq}");
        push.reply.abort();
    }
    // The first of a stream.
    let fresh = FakeOrchestrator::streaming(3, Conduct::Honest, true).await;
    let running = Setup::new(&[fresh.url()]).start().await;
    let mut push = Push::start(&running, 0, clip::segment(0), Some(2000));
    push.send_half();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(fresh.seen().requests, 0);
    assert_eq!(push.finish().await.status(), StatusCode::OK);
    assert_eq!(fresh.seen().segments, [0]);
    running.stop().await;
}
