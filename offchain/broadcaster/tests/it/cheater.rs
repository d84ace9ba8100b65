//! An orchestrator that cheats is caught, suspended, and its segment replaced before anybody sees it.
use std::{ops::RangeInclusive, time::Duration};

use reqwest::StatusCode;
use streamflow_broadcaster::{SessionStatus, Verdict};
use streamflow_store::Store;
use streamflow_types::Profile;
use url::Url;

use crate::{
    clip::{self, Cheat},
    fixture::{Running, Setup, until},
    orchestrator::{Conduct, FakeOrchestrator},
};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// A cheat that is asked first, an honest one, and a broadcaster that compares every result.
async fn with_a_cheat(conduct: Conduct) -> (FakeOrchestrator, FakeOrchestrator, Running) {
    let bad = FakeOrchestrator::start(1, conduct, true).await;
    let good = FakeOrchestrator::start(2, Conduct::Honest, true).await;
    let running = Setup::new(&[bad.url(), good.url()]).with(|setup| setup.config.verification.one_in = 1).start().await;
    (bad, good, running)
}

fn session(running: &Running, url: &Url) -> SessionStatus {
    running.handle.status().sessions.into_iter().find(|session| session.url == *url).unwrap()
}

/// Caught cheating, which costs six hours.
async fn is_caught(conduct: Conduct, verdict: Verdict, figures: &str) {
    is_caught_for(conduct, verdict, figures, 5 * HOUR..=6 * HOUR).await;
}

/// Caught at a wrong form, which costs ten minutes.
async fn is_let_back_soon(conduct: Conduct, verdict: Verdict, figures: &str) {
    is_caught_for(conduct, verdict, figures, 9 * MINUTE..=10 * MINUTE).await;
}

async fn is_caught_for(conduct: Conduct, verdict: Verdict, figures: &str, rest: RangeInclusive<u64>) {
    let (bad, good, running) = with_a_cheat(conduct).await;
    for seq in 0..2 {
        running.push_clip("movie", seq).await;
    }
    let caught = session(&running, &bad.url());
    let error = caught.last_error.clone().unwrap_or_default();
    assert_eq!(caught.verdict, Some(verdict), "{conduct:?}: {error}");
    assert!(error.contains(figures), "{conduct:?}: {error}");
    assert!(rest.contains(&caught.suspended_ms), "{conduct:?}: {} ms", caught.suspended_ms);
    assert_eq!((bad.seen().segments.len(), good.seen().segments), (1, vec![0, 1]), "{conduct:?}");
    assert_eq!(session(&running, &good.url()).verdict, None, "{conduct:?}");
    let honest = &clip::renditions(&clip::segment(0), &clip::profiles())[0];
    assert_eq!(std::fs::read(running.file("movie/180p/0.ts")).unwrap(), honest.bytes, "{conduct:?}");
    assert_eq!(running.handle.status().segments.failed, 0, "{conduct:?}");
    running.stop().await;
}

#[tokio::test]
async fn black_frames_are_caught() {
    is_caught(Conduct::Cheats(Cheat::BlackFrames), Verdict::BlackFrames, "50 of 50 moments, 0 in honest work").await;
    is_caught(Conduct::Cheats(Cheat::HalfBlack), Verdict::BlackFrames, "of 50 moments, 0 in honest work").await;
}

#[tokio::test]
async fn frozen_frames_are_caught() {
    is_caught(Conduct::Cheats(Cheat::FrozenFrames), Verdict::FrozenFrames, "steps in which the source moves").await;
}

#[tokio::test]
async fn a_smaller_picture_scaled_up_is_caught() {
    is_caught(Conduct::Cheats(Cheat::ScaledUp), Verdict::Upscaled, "parts of the finest detail are left").await;
}

#[tokio::test]
async fn what_is_not_signed_whole_or_video_is_caught() {
    is_caught(Conduct::Unsigned, Verdict::Unsigned, "PM Check Failed").await;
    is_caught(Conduct::WrongSignature, Verdict::Unsigned, "PM Check Failed").await;
    is_caught(Conduct::Incomplete, Verdict::Incomplete, "1 renditions came back, 2 were asked for").await;
    is_caught(Conduct::Garbage, Verdict::Undecodable, "does not decode").await;
}

#[tokio::test]
async fn what_is_not_billed_or_sized_as_agreed_is_caught_and_rests_shortly() {
    is_let_back_soon(Conduct::WrongPixels, Verdict::WrongPixels, "were billed").await;
    is_let_back_soon(Conduct::WrongSize, Verdict::WrongSize, "is 160x90, not 320x180").await;
}

#[tokio::test]
async fn the_source_in_place_of_a_rendition_of_its_size_is_caught() {
    let bad = FakeOrchestrator::start(1, Conduct::Cheats(Cheat::SourceReturned), true).await;
    let good = FakeOrchestrator::start(2, Conduct::Honest, true).await;
    let profiles = vec![Profile::new("720p", 1280, 720, 1_500_000).unwrap()];
    let setup = Setup::new(&[bad.url(), good.url()]).with(|setup| setup.config.profiles = profiles);
    let running = setup.with(|setup| setup.config.verification.one_in = 1).start().await;
    let source = clip::segment(2);
    let reply = running.push("/live/movie/0.ts", source.clone()).await;
    assert_eq!(reply.status(), StatusCode::OK);
    let caught = session(&running, &bad.url());
    let error = caught.last_error.unwrap_or_default();
    assert_eq!(caught.verdict, Some(Verdict::SourceReturned), "{error}");
    assert!(error.contains("1000 of 1000 coded bytes are its own, 500 may be"), "{error}");
    assert_ne!(std::fs::read(running.file("movie/720p/0.ts")).unwrap(), source);
    assert_eq!(good.seen().segments, [0]);
    running.stop().await;
}

/// With one result in two compared, a cheat survives k segments with a chance of 1 in 2^k: 40 are never reached.
#[tokio::test]
async fn one_that_turns_to_cheating_is_caught_within_the_bound_of_the_sampling() {
    let bad = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let good = FakeOrchestrator::start(2, Conduct::Honest, true).await;
    let running = Setup::new(&[bad.url(), good.url()])
        .with(|setup| (setup.config.verification.one_in, setup.config.verification.probation) = (2, 1))
        // A busy machine must not move the stream away from the one that is watched.
        .with(|setup| setup.config.selection.deadline_percent = 2000)
        .start()
        .await;
    until("the quotes", || running.handle.status().sessions.iter().all(|session| session.code == "usable")).await;
    let mut seq = 0;
    while session(&running, &bad.url()).segments < 1 {
        push(&running, &mut seq).await;
    }
    bad.behave(Conduct::Cheats(Cheat::BlackFrames));
    let honest = bad.seen().segments.len();
    while session(&running, &bad.url()).verdict.is_none() {
        assert!(bad.seen().segments.len() - honest < 40, "not caught");
        push(&running, &mut seq).await;
    }
    let done = bad.seen().segments.len();
    for _ in 0..4 {
        push(&running, &mut seq).await;
    }
    assert_eq!(bad.seen().segments.len(), done, "it got work after it was caught");
    let status = running.handle.status();
    assert_eq!((status.segments.failed, status.segments.transcoded), (0, seq as u64));
    running.stop().await;
}

/// The next run knows it, and by the clock of the wall when it ends.
#[tokio::test]
async fn a_conviction_outlives_a_restart_and_ends_at_its_time() {
    const CAUGHT: u64 = 1_000_000;
    const ENDS: u64 = CAUGHT + 6 * 3600;
    let bad = FakeOrchestrator::start(1, Conduct::Cheats(Cheat::BlackFrames), true).await;
    let good = FakeOrchestrator::start(2, Conduct::Honest, true).await;
    let store = Store::in_memory().await.unwrap();
    let at = async |now: u64| {
        let setup = Setup::new(&[bad.url(), good.url()]).with(|setup| setup.config.verification.one_in = 1);
        setup.with(|setup| (setup.cache, setup.now) = (Some(store.clone()), now)).start().await
    };
    let running = at(CAUGHT).await;
    running.push_clip("movie", 0).await;
    // While it runs: a node that is killed must not forget.
    let mut stored = Vec::new();
    for _ in 0..100 {
        stored = store.convictions(0, 9).await.unwrap();
        if !stored.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let conviction = stored.first().expect("not stored");
    assert_eq!((conviction.verdict.as_str(), conviction.ends_at), ("black_frames", ENDS), "{stored:?}");
    running.stop().await;

    let running = at(ENDS - 600).await;
    let caught = session(&running, &bad.url());
    assert_eq!((caught.verdict, caught.code), (Some(Verdict::BlackFrames), "convicted"));
    assert!(caught.suspended_ms > 9 * MINUTE && caught.suspended_ms <= 10 * MINUTE, "{}", caught.suspended_ms);
    assert!(caught.why.contains("50 of 50 moments, 0 in honest work"), "{}", caught.why);
    for seq in 1..3 {
        running.push_clip("movie", seq).await;
    }
    assert_eq!((bad.seen().segments.as_slice(), good.seen().segments.as_slice()), (&[0][..], &[0, 1, 2][..]));
    running.stop().await;

    let running = at(ENDS).await;
    assert_eq!(session(&running, &bad.url()).suspended_ms, 0);
    until("its quote", || session(&running, &bad.url()).code == "usable").await;
    running.stop().await;
}

async fn push(running: &Running, seq: &mut usize) {
    let reply = running.push(&format!("/live/movie/{seq}.ts"), clip::segment(*seq % 2)).await;
    assert_eq!(reply.status(), StatusCode::OK);
    *seq += 1;
}

#[tokio::test]
async fn a_trusted_orchestrator_gives_the_reference_and_is_not_sampled() {
    let bad = FakeOrchestrator::start(1, Conduct::Cheats(Cheat::BlackFrames), true).await;
    let trusted = FakeOrchestrator::start(2, Conduct::Honest, true).await;
    let urls = [bad.url(), trusted.url()];
    let running = Setup::new(&urls)
        .with(|setup| {
            setup.config.verification.one_in = 1;
            setup.config.verification.trusted = vec![urls[1].clone()];
        })
        .start()
        .await;
    running.push_clip("movie", 0).await;
    assert_eq!(session(&running, &urls[0]).verdict, Some(Verdict::BlackFrames));
    assert_eq!(trusted.seen().segments, [0, 0], "once to compare with, once for the playlist");
    running.stop().await;
}

/// Who is caught and the only one left gets another chance, and every result of it is compared.
#[tokio::test]
async fn a_convict_without_rivals_works_on_under_watch() {
    let bad = FakeOrchestrator::start(1, Conduct::Cheats(Cheat::BlackFrames), true).await;
    let never = |setup: &mut Setup| {
        (setup.config.verification.one_in, setup.config.verification.probation) = (u32::MAX, 1);
        setup.config.max_attempts = 1;
    };
    let running = Setup::new(&[bad.url()]).with(never).start().await;
    let reply = running.push("/live/movie/0.ts", clip::segment(0)).await;
    assert_eq!(reply.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let reply = running.push("/live/movie/1.ts", clip::segment(1)).await;
    assert_eq!(reply.status(), StatusCode::INTERNAL_SERVER_ERROR, "the second one is compared too");
    bad.behave(Conduct::Honest);
    running.push_clip("movie", 2).await;
    let left = session(&running, &bad.url());
    assert!(left.suspended_ms > 5 * HOUR && left.verdict == Some(Verdict::BlackFrames));
    tokio::time::sleep(Duration::from_millis(10)).await;
    running.stop().await;
}
