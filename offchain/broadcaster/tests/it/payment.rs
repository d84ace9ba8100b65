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
