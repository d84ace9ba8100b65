//! Whatever one orchestrator does, the segment is done by another.
use std::time::Duration;

use reqwest::StatusCode;
use streamflow_broadcaster::Candidate;

use crate::{
    clip,
    fixture::{Running, Setup, until},
    orchestrator::{Conduct, FakeOrchestrator},
};

/// One bad orchestrator that is asked first, and a good one.
async fn with_a_bad_one(conduct: Conduct) -> (FakeOrchestrator, FakeOrchestrator, Running) {
    let bad = FakeOrchestrator::start(1, conduct, true).await;
    let good = FakeOrchestrator::start(2, Conduct::Honest, true).await;
    let running = Setup::new(&[bad.url(), good.url()]).start().await;
    (bad, good, running)
}

/// The bad one is found out, left alone for a while, and nothing is lost.
async fn is_found_out(conduct: Conduct, why: &str) {
    let (bad, good, running) = with_a_bad_one(conduct).await;
    for seq in 0..2 {
        running.push_clip("movie", seq).await;
    }
    let status = running.handle.status();
    let session = status.sessions.iter().find(|session| session.url == bad.url()).unwrap();
    let error = session.last_error.clone().unwrap_or_default();
    assert!(error.contains(why), "{conduct:?}: {error}");
    assert_eq!(session.segments, 0, "{conduct:?}");
    assert_eq!((status.segments.transcoded, status.segments.failed), (2, 0), "{conduct:?}");
    assert_eq!(good.seen().segments, [0, 1], "{conduct:?}");
    running.stop().await;
}

#[tokio::test]
async fn one_that_hangs_up_is_replaced() {
    is_found_out(Conduct::HangsUp, "segment was not sent").await;
}

#[tokio::test]
async fn a_wrong_signature_is_found_out() {
    is_found_out(Conduct::WrongSignature, "PM Check Failed").await;
    is_found_out(Conduct::OtherMedia, "PM Check Failed").await;
}

#[tokio::test]
async fn a_wrong_bill_is_found_out() {
    is_found_out(Conduct::WrongPixels, "PixelMismatch").await;
}

#[tokio::test]
async fn wrong_renditions_are_found_out() {
    is_found_out(Conduct::Incomplete, "1 renditions came back").await;
    is_found_out(Conduct::WrongSize, "is 160x90, not 320x180").await;
    is_found_out(Conduct::Garbage, "does not decode").await;
}

#[tokio::test]
async fn links_to_other_hosts_are_not_followed() {
    is_found_out(Conduct::LinksElsewhere, "not at the orchestrator's host").await;
}

#[tokio::test]
async fn one_that_reports_an_error_is_replaced() {
    is_found_out(Conduct::Fails("no transcoders available"), "no transcoders available").await;
}

#[tokio::test]
async fn one_that_refuses_is_replaced() {
    is_found_out(Conduct::Refuses(403, "OrchestratorCapped"), "OrchestratorCapped").await;
    is_found_out(Conduct::Refuses(500, "Internal Server Error"), "Internal Server Error").await;
}

#[tokio::test]
async fn one_without_a_status_line_is_replaced_at_the_upload_deadline_and_found_out_later() {
    let (bad, good, running) = with_a_bad_one(Conduct::Stalls).await;
    running.push_clip("movie", 0).await;
    let status = running.handle.status();
    assert_eq!((status.segments.transcoded, status.segments.retried, status.segments.hedged), (1, 1, 0));
    assert_eq!(good.seen().segments, [0]);
    let error = || running.handle.status().sessions[0].last_error.clone().unwrap_or_default();
    until("the end of patience", || error().contains("header timeout: no answer within 8s")).await;
    assert_eq!((running.handle.status().sessions[0].failures, bad.seen().requests), (1, 1));
    running.stop().await;
}

#[tokio::test]
async fn one_that_does_not_quote_is_replaced() {
    is_found_out(Conduct::NoQuote, "insufficient sender reserve").await;
}

#[tokio::test]
async fn one_that_is_gone_is_replaced() {
    let good = FakeOrchestrator::start(2, Conduct::Honest, true).await;
    let running = Setup::new(&["https://127.0.0.1:1".parse().unwrap(), good.url()]).start().await;
    running.push_clip("movie", 0).await;
    assert_eq!(running.handle.status().segments.failed, 0);
    running.stop().await;
}

#[tokio::test]
async fn one_that_claims_the_input_is_bad_is_not_believed_alone() {
    let (bad, good, running) = with_a_bad_one(Conduct::Fails("Invalid argument")).await;
    running.push_clip("movie", 0).await;
    assert_eq!(running.handle.status().segments.retried, 1);
    good.behave(Conduct::Fails("Decoder not found"));
    let reply = running.push("/live/movie/1.ts", clip::segment(1)).await;
    assert_eq!(reply.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(bad.seen().segments, [0, 1]);
    running.stop().await;
}

#[tokio::test]
async fn one_that_calls_good_input_bad_loses_the_stream() {
    let bad = FakeOrchestrator::start(1, Conduct::Fails("Invalid argument"), true).await;
    let good = FakeOrchestrator::start(2, Conduct::Honest, true).await;
    // How busy this machine is must not decide who has the stream.
    let unhurried = |setup: &mut Setup| setup.config.selection.deadline_percent = 2000;
    let running = Setup::new(&[bad.url(), good.url()]).with(unhurried).start().await;
    for seq in 0..3 {
        running.push_clip("movie", seq).await;
    }
    assert_eq!((bad.seen().segments, good.seen().segments), (vec![0], vec![0, 1, 2]));
    let status = running.handle.status();
    let session = status.sessions.iter().find(|session| session.url == bad.url()).unwrap();
    assert_eq!((session.failures, session.verdict), (1, None));
    assert!(session.last_error.as_ref().is_some_and(|error| error.contains("Invalid argument")));
    assert_eq!(status.streams[0].choice.as_ref().unwrap().swaps, 1);
    running.stop().await;
}

#[tokio::test]
async fn an_impostor_is_not_paid() {
    let impostor = FakeOrchestrator::start(1, Conduct::Impostor, true).await;
    let good = FakeOrchestrator::start(2, Conduct::Honest, true).await;
    let candidates = vec![
        Candidate::of_market(impostor.url(), Some(impostor.account())),
        Candidate::of_market(good.url(), Some(good.account())),
    ];
    let running = Setup::new(&[]).with(|setup| setup.candidates = candidates).start().await;
    crate::fixture::until("the list", || !running.handle.status().sessions.is_empty()).await;
    running.push_clip("movie", 0).await;
    assert!(impostor.seen().payments.is_empty());
    assert_eq!(good.seen().segments, [0]);
    running.stop().await;
}

#[tokio::test]
async fn two_good_ones_share_the_streams_and_each_stream_stays_where_it_is() {
    let first = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let second = FakeOrchestrator::start(2, Conduct::Honest, true).await;
    let unhurried = |setup: &mut Setup| setup.config.selection.deadline_percent = 2000;
    let running = Setup::new(&[first.url(), second.url()]).with(unhurried).start().await;
    for seq in 0..3 {
        for stream in ["movie", "film"] {
            running.push_clip(stream, seq).await;
        }
    }
    for orchestrator in [&first, &second] {
        assert_eq!(orchestrator.seen().segments, [0, 1, 2]);
    }
    let swaps: Vec<u64> = running.handle.status().streams.into_iter().map(|s| s.choice.unwrap().swaps).collect();
    assert_eq!(swaps, [0, 0]);
    running.stop().await;
}

#[tokio::test]
async fn when_all_fail_the_segment_is_lost_and_the_stream_goes_on() {
    let bad = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let good = FakeOrchestrator::start(2, Conduct::Honest, true).await;
    let three = |setup: &mut Setup| setup.config.max_attempts = 3;
    let running = Setup::new(&[bad.url(), good.url()]).with(three).start().await;
    running.push_clip("movie", 0).await;
    bad.behave(Conduct::Fails("OrchestratorBusy"));
    good.behave(Conduct::WrongPixels);
    let reply = running.push("/live/movie/1.ts", clip::segment(1)).await;
    assert_eq!(reply.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(reply.text().await.unwrap().contains("no orchestrator transcoded the segment in 3 attempts"));
    bad.behave(Conduct::Honest);
    good.behave(Conduct::Honest);
    running.push_clip("movie", 2).await;
    let status = running.handle.status();
    assert_eq!((status.segments.received, status.segments.transcoded, status.segments.failed), (3, 2, 1));
    let playlist = running.text("/stream/movie/180p.m3u8").await;
    assert!(playlist.contains("180p/0.ts") && playlist.contains("#EXT-X-DISCONTINUITY\n"), "{playlist}");
    assert!(playlist.contains("180p/2.ts") && !playlist.contains("180p/1.ts"), "{playlist}");
    assert!(running.text("/stream/movie/source.m3u8").await.contains("source/1.ts"));
    running.stop().await;
}

#[tokio::test]
async fn segments_in_flight_finish_when_it_stops() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    let url = running.url("/live/movie/0.ts");
    let push = tokio::spawn(crate::fixture::client().post(url).body(clip::segment(0)).send());
    crate::fixture::until("the segment to be received", || running.handle.status().segments.received == 1).await;
    let handle = running.handle.clone();
    let dir = running.stop().await;
    assert_eq!(push.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(handle.status().segments.transcoded, 1);
    let playlist = std::fs::read_to_string(dir.path().join("streams/movie/180p/index.m3u8")).unwrap();
    assert!(playlist.ends_with("0.ts\n#EXT-X-ENDLIST\n"), "{playlist}");
    assert!(!orchestrator.seen().ended.is_empty(), "its session was not ended");
    tokio::time::sleep(Duration::from_millis(10)).await;
}
