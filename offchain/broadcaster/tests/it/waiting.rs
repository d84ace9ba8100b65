//! What can wait loses nothing, and takes nothing from what cannot.
use std::time::Duration;

use streamflow_broadcaster::FileInput;
use streamflow_types::ManifestId;

use crate::{
    clip,
    fixture::{Running, Setup, VIEW, until},
    orchestrator::{Conduct, FakeOrchestrator},
    rtmp::{hold_memory, is_too_much},
};

fn segments(running: &Running) -> (u64, u64, u64) {
    let segments = running.handle.status().segments;
    (segments.received, segments.transcoded, segments.failed)
}

#[tokio::test]
async fn a_pipe_loses_nothing_while_segments_are_not_taken() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Lingers(2500), true).await;
    let one_by_one = |setup: &mut Setup| setup.config.max_segments_in_flight = 1;
    let running = Setup::new(&[orchestrator.url()]).with(one_by_one).start().await;
    let pieces: Vec<_> = clip::segments().iter().map(|segment| segment.bytes.clone()).collect();
    let (handle, pipe) = (running.handle.clone(), futures::stream::iter(pieces));
    let name = ManifestId::new("piped").unwrap();
    let played = tokio::spawn(async move { handle.play_pipe(name, pipe, Duration::from_secs(60)).await });
    // The second waits for its turn when the chain goes away.
    until("the first upload", || orchestrator.seen().segments.len() == 1).await;
    running.chain.send(None).unwrap();
    until("the end of the first", || segments(&running).1 == 1).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(segments(&running), (1, 1, 0));
    orchestrator.behave(Conduct::Honest);
    running.chain.send(Some(VIEW)).unwrap();
    played.await.unwrap().unwrap();
    assert_eq!(segments(&running), (3, 3, 0));
    running.stop().await;
}

#[tokio::test]
async fn a_file_that_waits_for_memory_leaves_what_is_free_to_live_uploads() {
    const MAX: usize = 4_000_000;
    const FREE: usize = 20_000;
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let bounded = |setup: &mut Setup| setup.config.max_upload_bytes = MAX;
    let running = Setup::new(&[orchestrator.url()]).with(bounded).start().await;
    // An upload that is not over holds nearly all there is.
    let upload = hold_memory(&running, MAX - FREE, FREE + 1).await;
    let (stream, duration) = (ManifestId::new("clip").unwrap(), Duration::from_secs(4));
    let (handle, input) = (running.handle.clone(), FileInput { stream, path: clip::path(), duration });
    let played = tokio::spawn(async move { handle.play(input).await });
    // The first segment of the file is there after two seconds, and does not fit.
    let looked = tokio::time::Instant::now();
    while looked.elapsed() < Duration::from_secs(4) {
        assert!(!is_too_much(&running, 2000).await, "the file stands in line before live uploads");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(segments(&running), (0, 0, 0), "there was room for the file");
    upload.abort();
    played.await.unwrap().unwrap();
    assert_eq!(segments(&running), (2, 2, 0));
    running.stop().await;
}
