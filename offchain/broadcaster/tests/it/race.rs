//! A segment is a race: one that is slow or fails costs no segment, and is settled with all the same.
use std::{collections::BTreeSet, time::Duration};

use reqwest::StatusCode;
use streamflow_broadcaster::{RedundancyConfig, SessionStatus, Verdict};
use url::Url;

use crate::{
    clip::{self, Cheat},
    fixture::{Running, Setup, until},
    orchestrator::{Conduct, FakeOrchestrator},
};

/// One that is asked first, another one, and a broadcaster that asks it beside the first.
async fn two(conduct: Conduct, change: impl FnOnce(&mut Setup)) -> (FakeOrchestrator, FakeOrchestrator, Running) {
    let first = FakeOrchestrator::start(1, conduct, true).await;
    let second = FakeOrchestrator::start(2, Conduct::Honest, true).await;
    let hedging = |setup: &mut Setup| setup.config.failover.hedge_percent = 20;
    let running = Setup::new(&[first.url(), second.url()]).with(hedging).with(change).start().await;
    (first, second, running)
}

fn session(running: &Running, url: &Url) -> SessionStatus {
    running.handle.status().sessions.into_iter().find(|session| session.url == *url).unwrap()
}

async fn settled(running: &Running, orchestrator: &FakeOrchestrator) {
    until("the slow one to be settled with", || session(running, &orchestrator.url()).in_flight == 0).await;
}

#[tokio::test]
async fn one_that_stands_still_costs_no_segment_and_gets_none_until_it_answers() {
    let (stalled, other, running) = two(Conduct::Delays(6000), |_| {}).await;
    for seq in 0..3 {
        running.push_clip("movie", seq).await;
    }
    let status = running.handle.status();
    assert_eq!((status.segments.transcoded, status.segments.failed, status.segments.retried), (3, 0, 0));
    assert_eq!((status.segments.hedged, status.segments.hedges_won), (1, 1), "one hedge for one stall");
    assert_eq!(status.streams[0].segments.hedged, 1);
    assert_eq!((stalled.seen().requests, other.seen().segments), (1, vec![0, 1, 2]));
    let standing = session(&running, &stalled.url());
    assert_eq!((standing.code, standing.failures, standing.in_flight), ("overdue", 0, 1), "{}", standing.why);
    assert!(standing.why.contains("1.0 s was expected"), "{}", standing.why);
    settled(&running, &stalled).await;
    stalled.behave(Conduct::Honest);
    let reply = running.push("/live/movie/3.ts", clip::segment(0)).await;
    assert_eq!(reply.status(), StatusCode::OK);
    assert_eq!(stalled.seen().segments, [0, 3], "the stream stayed with it");
    running.stop().await;
}

#[tokio::test]
async fn one_that_is_overtaken_is_settled_with_and_not_fetched_from() {
    let (slow, other, running) = two(Conduct::Lingers(2500), |_| {}).await;
    running.push_clip("movie", 0).await;
    assert_eq!((slow.seen().segments, other.seen().segments), (vec![0], vec![0]));
    settled(&running, &slow).await;
    assert_eq!((slow.seen().fetched, other.seen().fetched), (0, 2));
    let known = session(&running, &slow.url());
    assert_eq!((known.segments, known.failures), (0, 0));
    assert!(known.latency_ms >= Some(2500), "its time counts: {:?}", known.latency_ms);
    slow.behave(Conduct::Honest);
    running.push_clip("movie", 1).await;
    let seen = slow.seen();
    assert_eq!(seen.segments, [0, 1]);
    // The change of what it did in vain pays for this one, with params that came with that answer.
    assert!(seen.payments[1] < seen.payments[0], "{:?}", seen.payments);
    let commitments: Vec<_> = seen.tickets.iter().map(|(commitment, _)| *commitment).collect();
    assert_ne!(commitments.first(), commitments.last());
    let tickets = [slow.seen().tickets, other.seen().tickets].concat();
    assert_eq!(tickets.iter().collect::<BTreeSet<_>>().len(), tickets.len());
    assert_eq!(running.handle.status().tickets.sent, tickets.len() as u64);
    running.stop().await;
}

#[tokio::test]
async fn slow_ones_are_waited_for_when_the_budget_is_used_up() {
    let meagre = |setup: &mut Setup| {
        (setup.config.failover.hedge_percent, setup.config.failover.hedge_burst) = (1, 1);
    };
    let (slow, other, running) = two(Conduct::Lingers(1500), meagre).await;
    for seq in 0..2 {
        running.push_clip("movie", seq).await;
        settled(&running, &slow).await;
    }
    let status = running.handle.status();
    assert_eq!((status.segments.transcoded, status.segments.hedged, status.segments.hedges_won), (2, 1, 1));
    assert_eq!((slow.seen().segments, other.seen().segments), (vec![0, 1], vec![0]));
    running.stop().await;
}

#[tokio::test]
async fn the_only_good_one_of_many_is_found() {
    let mut all = Vec::new();
    for key in 1..=5 {
        all.push(FakeOrchestrator::start(key, Conduct::Fails("no transcoders available"), true).await);
    }
    all.push(FakeOrchestrator::start(6, Conduct::Honest, true).await);
    let urls: Vec<Url> = all.iter().map(FakeOrchestrator::url).collect();
    let running = Setup::new(&urls).start().await;
    running.push_clip("movie", 0).await;
    let status = running.handle.status();
    assert_eq!((status.segments.transcoded, status.segments.failed), (1, 0));
    let most = all.iter().map(|one| one.seen().requests).max();
    assert_eq!(most, Some(1), "those that failed are tried last");
    running.stop().await;
}

#[tokio::test]
async fn one_that_recovers_is_tried_again_before_the_segment_is_lost() {
    let only = FakeOrchestrator::start(1, Conduct::Refuses(500, "Internal Server Error"), true).await;
    let running = Setup::new(&[only.url()]).start().await;
    let recovers = async {
        until("three refusals", || only.seen().requests >= 3).await;
        only.behave(Conduct::Honest);
    };
    tokio::join!(running.push_clip("movie", 0), recovers);
    let status = running.handle.status();
    assert_eq!((status.segments.transcoded, status.segments.failed), (1, 0));
    assert!(status.segments.retried >= 3);
    running.stop().await;
}

#[tokio::test]
async fn of_several_that_do_the_same_a_cheat_is_convicted_although_it_lost() {
    let redundant = |setup: &mut Setup| {
        setup.config.redundancy = RedundancyConfig { orchestrators: 2, every: 1 };
        setup.config.failover.hedge_percent = 0;
        // No result is looked at but for this.
        (setup.config.verification.one_in, setup.config.verification.probation) = (u32::MAX, 0);
    };
    let (cheat, honest, running) = two(Conduct::CheatsLate(Cheat::BlackFrames, 4000), redundant).await;
    running.push_clip("movie", 0).await;
    assert_eq!(session(&running, &cheat.url()).in_flight, 1, "it lost");
    let published = std::fs::read(running.file("movie/180p/0.ts")).unwrap();
    assert_eq!(published, clip::renditions(&clip::segment(0), &clip::profiles())[0].bytes);
    settled(&running, &cheat).await;
    assert_eq!(session(&running, &cheat.url()).verdict, Some(Verdict::BlackFrames));
    assert_eq!(session(&running, &honest.url()).verdict, None);
    running.push_clip("movie", 1).await;
    assert_eq!((cheat.seen().segments, honest.seen().segments), (vec![0], vec![0, 1]));
    let status = running.handle.status();
    assert_eq!((status.segments.failed, status.segments.retried, status.segments.hedged), (0, 0, 0));
    running.stop().await;
}

#[tokio::test]
async fn all_of_several_are_paid_and_looked_at() {
    let redundant = |setup: &mut Setup| setup.config.redundancy = RedundancyConfig { orchestrators: 2, every: 1 };
    let (first, second, running) = two(Conduct::Honest, redundant).await;
    for seq in 0..2 {
        running.push_clip("movie", seq).await;
        settled(&running, &first).await;
        settled(&running, &second).await;
    }
    for one in [&first, &second] {
        assert_eq!((one.seen().segments, one.seen().fetched), (vec![0, 1], 4));
        let known = session(&running, &one.url());
        assert_eq!((known.segments, known.failures, known.verdict), (2, 0, None));
    }
    assert_eq!(running.handle.status().segments.transcoded, 2);
    running.stop().await;
}

#[tokio::test]
async fn nobody_is_paid_for_a_segment_once_its_stream_has_ended() {
    let only = FakeOrchestrator::start(1, Conduct::Refuses(500, "Internal Server Error"), true).await;
    let brief = |setup: &mut Setup| setup.config.drain_timeout = Duration::from_millis(300);
    let running = Setup::new(&[only.url()]).with(brief).start().await;
    let first = running.push("/live/movie/5.ts", clip::segment(1));
    // The encoder counts anew, and the first recording ends while its segment is being tried.
    let anew = async {
        until("a try", || only.seen().requests >= 1).await;
        running.push("/live/movie/0.ts", clip::segment(0)).await
    };
    let recovers = async {
        until("the end of the first recording", || running.file("movie~1").exists()).await;
        only.behave(Conduct::Honest);
    };
    let (first, anew, ()) = tokio::join!(first, anew, recovers);
    assert_eq!((first.status(), anew.status()), (StatusCode::INTERNAL_SERVER_ERROR, StatusCode::OK));
    assert_eq!(only.seen().segments, [0]);
    running.stop().await;
}
