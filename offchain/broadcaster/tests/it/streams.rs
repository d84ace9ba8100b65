//! Segments that are streamed: renditions come early, and count for nothing before their result
//! (docs/designs/038-streaming-wire.md).
use std::time::Duration;

use bytes::Bytes;
use streamflow_broadcaster::Verdict;

use crate::{
    clip,
    fixture::{Running, Setup, until},
    orchestrator::{Break, Conduct, FakeOrchestrator},
};

/// What was published of a segment, rendition by rendition.
fn published(running: &Running, seq: u64) -> Vec<Bytes> {
    let file = |profile: &str| running.file(&format!("movie/{profile}/{seq}.ts"));
    clip::profiles().iter().map(|profile| std::fs::read(file(&profile.name)).unwrap().into()).collect()
}

#[tokio::test]
async fn who_takes_streams_gets_streams_and_others_get_whole_segments_for_the_same_renditions() {
    let mut all = Vec::new();
    for (paid, streams) in [(true, true), (true, false), (false, true)] {
        let orchestrator = match streams {
            true => FakeOrchestrator::streaming(1, Conduct::Honest, paid).await,
            false => FakeOrchestrator::start(1, Conduct::Honest, paid).await,
        };
        let running = Setup::new(&[orchestrator.url()]).with(|setup| setup.paid = paid).start().await;
        for seq in 0..2 {
            running.push_clip("movie", seq).await;
        }
        let (seen, status) = (orchestrator.seen(), running.handle.status());
        assert_eq!((seen.segments, seen.streamed), (vec![0, 1], if streams { 2 } else { 0 }));
        assert_eq!(seen.fetched, if streams { 0 } else { 4 }, "renditions of a stream came with it");
        assert_eq!((status.segments.transcoded, status.segments.retried), (2, 0));
        all.push([published(&running, 0), published(&running, 1)]);
        running.stop().await;
    }
    assert!(all.iter().all(|one| *one == all[0]));
}

/// The bad one is found out, and nothing is lost.
async fn is_found_out(how: Break, why: &str, verdict: Option<Verdict>) {
    let bad = FakeOrchestrator::streaming(1, Conduct::Streams(how), true).await;
    let good = FakeOrchestrator::streaming(2, Conduct::Honest, true).await;
    let running = Setup::new(&[bad.url(), good.url()]).start().await;
    running.push_clip("movie", 0).await;
    until("the bad one", || {
        let session = running.handle.status().sessions.into_iter().find(|session| session.url == bad.url()).unwrap();
        let error = session.last_error.unwrap_or_default();
        assert!(error.is_empty() || error.contains(why), "{how:?}: {error}");
        !error.is_empty() && session.verdict == verdict
    })
    .await;
    assert_eq!((running.handle.status().segments.transcoded, good.seen().segments), (1, vec![0]), "{how:?}");
    let honest: Vec<_> = clip::renditions(&clip::segment(0), &clip::profiles()).into_iter().map(|m| m.bytes).collect();
    assert_eq!(published(&running, 0), honest, "{how:?}");
    running.stop().await;
}

#[tokio::test]
async fn a_result_of_other_bytes_than_came_is_a_lie() {
    is_found_out(Break::OtherBytes, "the result is of", Some(Verdict::Unsigned)).await;
}

#[tokio::test]
async fn who_charges_for_a_trailer_that_was_right_lies() {
    is_found_out(Break::DeniesTrailer, "1000 pixels were charged for StreamTrailerWrong", Some(Verdict::FalseCharge))
        .await;
}

#[tokio::test]
async fn a_stream_that_breaks_goes_to_another_orchestrator() {
    is_found_out(Break::Garbage, "answer cannot be read", None).await;
    is_found_out(Break::NoEnd, "answer ended without a result", None).await;
    is_found_out(Break::Endless, "answer is larger than", None).await;
    is_found_out(Break::OneMore, "answer cannot be read", None).await;
    is_found_out(Break::AgainAndAgain, "began anew more than 1 times", None).await;
    is_found_out(Break::Fails, "TranscoderBusy", None).await;
}

#[tokio::test]
async fn a_result_that_somebody_else_signed_is_none() {
    let bad = FakeOrchestrator::streaming(1, Conduct::WrongSignature, true).await;
    let good = FakeOrchestrator::start(2, Conduct::Honest, true).await;
    let running = Setup::new(&[bad.url(), good.url()]).start().await;
    running.push_clip("movie", 0).await;
    let sessions = running.handle.status().sessions;
    let session = sessions.iter().find(|session| session.url == bad.url()).unwrap();
    assert_eq!((session.verdict, good.seen().segments), (Some(Verdict::Unsigned), vec![0]));
    running.stop().await;
}

/// All its renditions are there, but the segment is done by somebody else within its deadline.
#[tokio::test]
async fn a_stream_that_stands_still_holds_nobody_up() {
    let bad = FakeOrchestrator::streaming(1, Conduct::Streams(Break::Stalls), true).await;
    let good = FakeOrchestrator::start(2, Conduct::Honest, true).await;
    let running = Setup::new(&[bad.url(), good.url()]).start().await;
    running.push_clip("movie", 0).await;
    assert_eq!((bad.seen().streamed, good.seen().segments), (1, vec![0]));
    running.stop().await;
}

#[tokio::test]
async fn nothing_is_published_before_the_result() {
    let orchestrator = FakeOrchestrator::streaming(1, Conduct::Streams(Break::Lingers(1500)), true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    let (path, body) = ("/live/movie/0.ts", clip::segment(0));
    let push = running.push(path, body);
    let early = async {
        until("all renditions to be sent", || orchestrator.seen().streamed == 1).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        for profile in clip::profiles() {
            assert!(!running.file(&format!("movie/{}/0.ts", profile.name)).exists(), "{}", profile.name);
        }
        assert_eq!(running.handle.status().segments.transcoded, 0);
    };
    let (reply, ()) = tokio::join!(push, early);
    assert_eq!(reply.status(), 200);
    assert_eq!(published(&running, 0).len(), 2);
    running.stop().await;
}

#[tokio::test]
async fn renditions_that_began_anew_are_the_later_ones() {
    let orchestrator = FakeOrchestrator::streaming(1, Conduct::Streams(Break::Again), true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    running.push_clip("movie", 0).await;
    let honest: Vec<_> = clip::renditions(&clip::segment(0), &clip::profiles()).into_iter().map(|m| m.bytes).collect();
    assert_eq!((published(&running, 0), running.handle.status().segments.retried), (honest, 0));
    running.stop().await;
}
