//! Tickets as an orchestrator receives them.
use std::collections::BTreeSet;

use alloy_primitives::{B256, U256};
use streamflow_broadcaster::PaymentMode;
use streamflow_store::Store;
use streamflow_types::{ChainView, Price};

use crate::{
    clip,
    fixture::{Setup, VIEW},
    orchestrator::{Conduct, FakeOrchestrator},
};

fn distinct(tickets: &[(B256, u32)]) -> usize {
    tickets.iter().collect::<BTreeSet<_>>().len()
}

#[tokio::test]
async fn every_segment_is_paid_with_the_params_of_the_last_answer() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    for seq in 0..3 {
        running.push_clip("movie", seq).await;
    }
    let seen = orchestrator.seen();
    assert_eq!(seen.payments.len(), 3);
    assert!(seen.payments[0] > 1, "{:?}", seen.payments);
    // Change of the estimate, which takes 60 frames a second for 25, pays for what follows.
    assert!(seen.payments[1] < seen.payments[0], "{:?}", seen.payments);
    assert_eq!(distinct(&seen.tickets), seen.tickets.len());
    let status = running.handle.status();
    assert_eq!(status.tickets.sent, seen.tickets.len() as u64);
    assert_eq!(status.sessions[0].tickets.sent, status.tickets.sent);
    assert_eq!(status.sessions[0].orchestrator, Some(orchestrator.account()));
    assert_eq!(status.payments, PaymentMode::OnChain);
    running.stop().await;
}

#[tokio::test]
async fn concurrent_segments_never_share_a_nonce() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    let pushes = (0..3).map(|seq| running.push_clip("movie", seq));
    // The first number decides where the stream begins, so it goes first.
    let mut pushes = pushes.collect::<Vec<_>>();
    let rest = pushes.split_off(1);
    for first in pushes {
        first.await;
    }
    futures::future::join_all(rest).await;
    let seen = orchestrator.seen();
    assert_eq!(distinct(&seen.tickets), seen.tickets.len());
    assert_eq!(running.handle.status().segments.failed, 0);
    running.stop().await;
}

#[tokio::test]
async fn a_restart_repeats_no_ticket() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let store = Store::in_memory().await.unwrap();
    for _ in 0..2 {
        let kept = store.clone();
        let running = Setup::new(&[orchestrator.url()]).with(|setup| setup.store = Some(kept)).start().await;
        running.push_clip("movie", 0).await;
        running.stop().await;
    }
    let seen = orchestrator.seen();
    assert_eq!(seen.payments.len(), 2);
    assert_eq!(distinct(&seen.tickets), seen.tickets.len());
    for (commitment, nonce) in seen.tickets {
        assert!(store.last_nonce(commitment).await.unwrap() >= Some(nonce));
    }
}

#[tokio::test]
async fn params_too_old_for_the_orchestrator_are_renewed_there_at_once() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::ExpiredOnce, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    running.push_clip("movie", 0).await;
    let status = running.handle.status();
    assert_eq!((status.segments.retried, status.sessions[0].failures), (0, 0));
    running.stop().await;
}

#[tokio::test]
async fn params_too_old_for_us_are_renewed_before_anything_is_sent() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::ShortLivedQuote, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    running.push_clip("movie", 0).await;
    let quotes = orchestrator.quotes();
    running.chain.send_replace(Some(ChainView { block: VIEW.block + 39, ..VIEW }));
    let reply = running.push("/live/movie/1.ts", clip::segment(1)).await;
    // The orchestrator's own clock stands still, so its new params are as old as the ones before: it is given up.
    assert_eq!(reply.status(), 500);
    assert!(reply.text().await.unwrap().contains("TicketParams expired"));
    assert!(orchestrator.quotes() > quotes);
    assert_eq!(orchestrator.seen().segments, [0]);
    running.stop().await;
}

#[tokio::test]
async fn too_high_a_price_is_not_paid() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let frugal = |setup: &mut Setup| setup.config.payment.max_price = Some(Price::new(1, 1001).unwrap());
    let running = Setup::new(&[orchestrator.url()]).with(frugal).start().await;
    let reply = running.push("/live/movie/0.ts", clip::segment(0)).await;
    assert!(reply.text().await.unwrap().contains("is more than the maximum"));
    assert!(orchestrator.seen().payments.is_empty());
    running.stop().await;
}

#[tokio::test]
async fn tickets_of_too_much_value_are_not_signed() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let frugal = |setup: &mut Setup| setup.config.payment.max_ticket_ev = U256::from(2000_u64);
    let running = Setup::new(&[orchestrator.url()]).with(frugal).start().await;
    let reply = running.push("/live/movie/0.ts", clip::segment(0)).await;
    assert!(reply.text().await.unwrap().contains("> max ticket EV 2000"));
    assert_eq!(running.handle.status().tickets.sent, 0);
    running.stop().await;
}

#[tokio::test]
async fn off_chain_nothing_is_signed_or_paid() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, false).await;
    let running = Setup::new(&[orchestrator.url()]).with(|setup| setup.paid = false).start().await;
    running.push_clip("movie", 0).await;
    assert_eq!(orchestrator.seen().empty_headers, 1);
    assert_eq!(running.handle.status().payments, PaymentMode::OffChain);
    running.stop().await;
}

/// Wei that all tickets were worth which left.
fn spent(running: &crate::fixture::Running) -> u64 {
    running.handle.status().tickets.value.parse().unwrap()
}

#[tokio::test]
async fn a14_an_orchestrator_that_delivers_nothing_costs_one_segment() {
    let thief = FakeOrchestrator::start(1, Conduct::Fails("no transcoders available"), true).await;
    let good = FakeOrchestrator::start(2, Conduct::Honest, true).await;
    let running = Setup::new(&[thief.url(), good.url()]).start().await;
    running.push_clip("movie", 0).await;
    // It was tried once and rests; and nothing of what it got was more than the segment's worth and a ticket.
    assert_eq!(thief.seen().payments.len(), 1);
    let status = running.handle.status();
    let rests = status.sessions.iter().any(|session| session.url == thief.url() && session.failures == 1);
    assert!(rests, "{:?}", status.sessions);
    let (lost, ticket) = (thief.seen().payments[0] as u64, 2500);
    let segment = good.seen().payments[0] as u64;
    assert!(lost <= segment + 1, "{lost} tickets of {ticket} wei for a segment worth {segment}");
    running.stop().await;
}

#[tokio::test]
async fn a16_a_price_that_rises_within_a_session_is_not_paid() {
    let greedy = FakeOrchestrator::start(1, Conduct::RaisesPrice, true).await;
    let running = Setup::new(&[greedy.url()]).start().await;
    running.push_clip("movie", 0).await;
    let paid = greedy.seen().payments.len();
    // The answer brought the new price. A new session does not make it the first one.
    let before = spent(&running);
    let reply = running.push("/live/movie/1.ts", clip::segment(1)).await;
    assert_eq!(reply.status(), 500);
    assert!(reply.text().await.unwrap().contains("Orchestrator price has more than doubled"));
    assert_eq!((greedy.seen().payments.len(), spent(&running)), (paid, before));
    running.stop().await;
}

#[tokio::test]
async fn a17_a_verdict_against_a_result_stops_payment() {
    let cheat = FakeOrchestrator::start(1, Conduct::WrongPixels, true).await;
    let good = FakeOrchestrator::start(2, Conduct::Honest, true).await;
    let running = Setup::new(&[cheat.url(), good.url()]).start().await;
    for seq in 0..3 {
        running.push_clip("movie", seq).await;
    }
    assert_eq!(cheat.seen().payments.len(), 1, "not paid again after the verdict");
    assert_eq!(good.seen().segments, [0, 1, 2]);
    let status = running.handle.status();
    let session = status.sessions.iter().find(|session| session.url == cheat.url()).unwrap();
    assert!(session.suspended_ms > 0 && session.last_error.as_ref().unwrap().contains("PixelMismatch"));
    running.stop().await;
}

/// node.md §10 row 2: the sender's half. It says what the deposit is and what it would have to be.
#[tokio::test]
async fn pain_02_a_face_value_above_the_deposit_says_what_deposit_would_do() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let poor = |setup: &mut Setup| {
        setup.funds.as_mut().unwrap().deposit = U256::from(29_999);
        setup.config.payment.deposit_multiplier = 3;
    };
    let running = Setup::new(&[orchestrator.url()]).with(poor).start().await;
    let reply = running.push("/live/movie/0.ts", clip::segment(0)).await;
    let text = reply.text().await.unwrap();
    let expected = "ticket faceValue 10000 > max faceValue 9999: the deposit is 29999 wei, 30000 wei would do \
                    (`streamflow fund`, setting broadcaster.payment.deposit_multiplier)";
    assert!(text.contains(expected), "{text}");
    assert!(orchestrator.seen().payments.is_empty());
    running.funds.send_modify(|funds| funds.as_mut().unwrap().deposit = U256::from(30_000));
    running.push_clip("movie", 1).await;
    running.stop().await;
}

/// node.md §10 row 3: bursts of "TicketParams expired". New params come with the refusal, and the segment goes out at once.
#[tokio::test]
async fn pain_03_expired_params_are_replaced_by_the_refusal_itself() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::ExpiredOnceWithTerms, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    crate::fixture::until("a quote", || orchestrator.quotes() > 0).await;
    let started = std::time::Instant::now();
    running.push_clip("movie", 0).await;
    let status = running.handle.status();
    assert_eq!((status.segments.retried, status.sessions[0].failures), (0, 0));
    // At the start, for the session, in the refusal, with the result: none was asked for in between.
    assert_eq!(orchestrator.quotes(), 4);
    assert_eq!(orchestrator.seen().ended.len(), 0, "the session goes on");
    assert!(started.elapsed() < std::time::Duration::from_secs(20));
    running.stop().await;
}

/// Near their end nobody can tell whether params expired, so that our credit is still there, or the orchestrator started anew and
/// has forgotten it. A new session begins with nothing on both sides.
#[tokio::test]
async fn a_refusal_near_the_end_of_params_begins_a_new_session() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    running.push_clip("movie", 0).await;
    let before = running.handle.status().balances.unwrap();
    running.chain.send_replace(Some(ChainView { block: VIEW.block + 36, ..VIEW }));
    orchestrator.behave(Conduct::ExpiredOnceWithTerms);
    assert_eq!(running.push("/live/movie/1.ts", clip::segment(1)).await.status(), 200);
    let status = running.handle.status();
    assert_eq!((status.segments.retried, status.sessions[0].failures), (0, 0));
    let after = status.balances.unwrap();
    assert_eq!((before.len(), after.iter().filter(|held| held.session != before[0].session).count()), (1, 1));
    running.stop().await;
}

#[tokio::test]
async fn a_stream_stops_at_its_budget_and_another_goes_on() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    // What the first segment costs, and a little more.
    let running = Setup::new(&[orchestrator.url()]).start().await;
    running.push_clip("movie", 0).await;
    let cost = spent(&running);
    running.stop().await;
    let frugal = |setup: &mut Setup| setup.config.budget.per_stream = Some(U256::from(cost + 2500));
    let running = Setup::new(&[orchestrator.url()]).with(frugal).start().await;
    let mut refused = None;
    for seq in 0..3 {
        let reply = running.push(&format!("/live/movie/{seq}.ts"), clip::segment(seq)).await;
        if reply.status() == 503 {
            refused = Some((seq, reply.text().await.unwrap()));
            break;
        }
    }
    let (seq, text) = refused.unwrap();
    assert!(seq > 0, "the first segment is within the budget");
    assert!(text.contains("the budget of the stream is used up (setting broadcaster.budget.per_stream)"), "{text}");
    assert!(spent(&running) <= cost + 2500);
    running.push_clip("other", 0).await;
    let budget = running.handle.status().budget.unwrap();
    assert_eq!(budget.per_stream, Some((cost + 2500).to_string()));
    assert!(budget.runway_hours.is_some());
    running.stop().await;
}

/// An orchestrator that never answers holds the tickets all the same.
#[tokio::test]
async fn tickets_that_left_stay_spent_when_no_answer_comes() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    running.push_clip("movie", 0).await;
    let cost = spent(&running);
    running.stop().await;
    // Budgets round up what the count of tickets rounds down.
    let frugal = |setup: &mut Setup| setup.config.budget.per_stream = Some(U256::from(cost + 1));
    for conduct in [Conduct::Stalls, Conduct::HangsUp] {
        orchestrator.behave(conduct);
        let running = Setup::new(&[orchestrator.url()]).with(frugal).start().await;
        let reply = running.push("/live/movie/0.ts", clip::segment(0)).await;
        assert_eq!(reply.status(), 503, "{conduct:?}");
        let text = reply.text().await.unwrap();
        assert!(text.contains("the budget of the stream is used up"), "{conduct:?}: {text}");
        let status = running.handle.status();
        assert_eq!(spent(&running), cost, "{conduct:?}");
        assert_eq!(status.budget.unwrap().spent_today, (cost + 1).to_string(), "{conduct:?}");
        assert_eq!(status.streams[0].spent, (cost + 1).to_string(), "{conduct:?}");
        running.stop().await;
    }
}

#[tokio::test]
async fn tickets_that_did_not_leave_are_given_back() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::ServesNowhere, true).await;
    let frugal = |setup: &mut Setup| {
        setup.config.budget.per_stream = Some(U256::from(100_000));
        setup.config.max_attempts = 3;
    };
    let running = Setup::new(&[orchestrator.url()]).with(frugal).start().await;
    let reply = running.push("/live/movie/0.ts", clip::segment(0)).await;
    assert!(reply.text().await.unwrap().contains("no orchestrator transcoded the segment in 3 attempts"));
    assert_eq!((spent(&running), running.handle.status().budget.unwrap().spent_today.as_str()), (0, "0"));
    running.stop().await;
}
