//! Receipts come back as they were signed, newest first, and do not stay for ever.

use alloy_primitives::{Address, B256, keccak256};
use streamflow_pm::{KeySigner, ReceiptDomain, TRANSCODING_H264, TicketSigner as _, WorkReceipt};
use streamflow_testkit::{Database, on_both_engines};

use super::open;
use crate::ReceiptRecord;

const DOMAIN: ReceiptDomain = ReceiptDomain { chain_id: 42_161, contract: Address::repeat_byte(0x51) };

fn record(stream: &str, sequence: u64, received_at: u64) -> ReceiptRecord {
    let key = KeySigner::from_bytes([7; 32]).unwrap();
    let receipt = WorkReceipt {
        orchestrator: key.address(),
        sender: Address::repeat_byte(2),
        service: TRANSCODING_H264,
        manifest: keccak256(stream),
        sequence,
        source_hash: B256::repeat_byte(3),
        settings: B256::repeat_byte(4),
        software: B256::repeat_byte(5),
        result_hashes: vec![B256::repeat_byte(6), B256::repeat_byte(7)],
        round: 3500,
        deterministic: false,
    };
    let signed = receipt.sign(&DOMAIN, &key).unwrap();
    ReceiptRecord { domain: DOMAIN, signed, stream: stream.into(), received_at, verdict: None }
}

async fn receipts_come_back_newest_first_and_still_signed(database: Database) {
    let store = open(&database).await;
    let all = [record("studio", 0, 10), record("studio", 1, 20), record("other", 0, 30)];
    for record in all.iter().chain(&all) {
        store.insert_receipt(record).await.unwrap();
    }
    let found = store.receipts(None, 9).await.unwrap();
    assert_eq!(found, [all[2].clone(), all[1].clone(), all[0].clone()]);
    assert_eq!(found[0].signed.signer(&found[0].domain), Ok(found[0].signed.receipt.orchestrator));
    assert_eq!(store.receipts(Some("studio"), 1).await.unwrap(), [all[1].clone()]);
    assert_eq!(store.receipts(Some("none"), 9).await.unwrap(), []);
}

async fn a_verdict_is_kept_with_its_receipt(database: Database) {
    let store = open(&database).await;
    let caught = record("studio", 4, 10);
    store.insert_receipt(&caught).await.unwrap();
    let digest = caught.signed.receipt.digest(&DOMAIN);
    assert!(store.convict_receipt(digest, "black_frames").await.unwrap());
    assert!(!store.convict_receipt(B256::ZERO, "black_frames").await.unwrap());
    let found = store.receipts(None, 9).await.unwrap();
    assert_eq!(found[0].verdict.as_deref(), Some("black_frames"));
}

async fn old_receipts_are_forgotten(database: Database) {
    let store = open(&database).await;
    for sequence in 0..4 {
        store.insert_receipt(&record("studio", sequence, 100 + sequence)).await.unwrap();
    }
    assert_eq!(store.prune_receipts(102).await.unwrap(), 2);
    let left: Vec<u64> = store.receipts(None, 9).await.unwrap().iter().map(|r| r.received_at).collect();
    assert_eq!(left, [103, 102]);
}

on_both_engines! {
    receipts_come_back_newest_first_and_still_signed,
    a_verdict_is_kept_with_its_receipt,
    old_receipts_are_forgotten,
}
