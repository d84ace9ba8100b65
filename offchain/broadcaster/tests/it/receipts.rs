//! Receipts are checked, kept with what a challenge needs, and required where the settings say so.
use reqwest::StatusCode;
use streamflow_broadcaster::Verdict;
use streamflow_store::{ReceiptRecord, Store};

use crate::{
    clip::{self, Cheat},
    fixture::{RECEIPTS, Running, Setup},
    orchestrator::{Conduct, FakeOrchestrator},
};

/// One segment at somebody who behaves so, and then perhaps at an honest one.
async fn one_segment(conduct: Conduct, required: bool) -> (Vec<ReceiptRecord>, Running, [FakeOrchestrator; 2]) {
    let first = FakeOrchestrator::start(1, conduct, true).await;
    let good = FakeOrchestrator::start(2, Conduct::Honest, true).await;
    let store = Store::in_memory().await.unwrap();
    let running = Setup::new(&[first.url(), good.url()])
        .with(|setup| {
            setup.store = Some(store.clone());
            setup.config.verification.one_in = 1;
            setup.config.verification.require_receipts = required;
        })
        .start()
        .await;
    let reply = running.push("/live/movie/0.ts", clip::segment(0)).await;
    assert_eq!(reply.status(), StatusCode::OK, "{conduct:?}");
    (store.receipts(Some("movie"), 10).await.unwrap(), running, [first, good])
}

fn verdict(running: &Running, of: &FakeOrchestrator) -> Option<Verdict> {
    running.handle.status().sessions.into_iter().find(|session| session.url == of.url()).unwrap().verdict
}

#[tokio::test]
async fn every_result_leaves_a_receipt_that_its_orchestrator_signed() {
    let (receipts, running, [first, _]) = one_segment(Conduct::Honest, true).await;
    let [kept] = &receipts[..] else { panic!("{receipts:?}") };
    assert_eq!(kept.signed.signer(&RECEIPTS), Ok(first.account()));
    assert_eq!((kept.signed.receipt.sequence, kept.verdict.as_deref()), (0, None));
    assert_eq!(kept.signed.receipt.source_hash, alloy_primitives::keccak256(clip::segment(0)));
    running.stop().await;
}

#[tokio::test]
async fn the_receipt_of_a_cheat_is_kept_with_the_verdict() {
    let (receipts, running, [cheat, good]) = one_segment(Conduct::Cheats(Cheat::BlackFrames), false).await;
    let of = |account| receipts.iter().find(|kept| kept.signed.receipt.orchestrator == account).unwrap();
    assert_eq!(of(cheat.account()).verdict.as_deref(), Some("black_frames"));
    assert_eq!(of(good.account()).verdict, None);
    running.stop().await;
}

#[tokio::test]
async fn deployed_peers_send_none_and_are_used_unless_receipts_are_required() {
    let (receipts, running, [deployed, _]) = one_segment(Conduct::NoReceipt, false).await;
    assert!(receipts.is_empty());
    assert_eq!((deployed.seen().segments.len(), running.handle.status().segments.retried), (1, 0));
    running.stop().await;
    let (receipts, running, [deployed, good]) = one_segment(Conduct::NoReceipt, true).await;
    assert_eq!(receipts.len(), 1);
    assert_eq!(receipts[0].signed.receipt.orchestrator, good.account());
    assert_eq!(verdict(&running, &deployed), None, "to send none is no lie");
    running.stop().await;
}

#[tokio::test]
async fn a_receipt_of_another_segment_is_a_lie() {
    let (receipts, running, [liar, good]) = one_segment(Conduct::FalseReceipt, true).await;
    assert_eq!(verdict(&running, &liar), Some(Verdict::FalseReceipt));
    assert_eq!(receipts.len(), 1);
    assert_eq!(receipts[0].signed.receipt.orchestrator, good.account());
    running.stop().await;
}
