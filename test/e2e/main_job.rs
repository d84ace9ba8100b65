use std::{collections::BTreeMap, path::Path};

use alloy::{
    consensus::Transaction as _,
    primitives::{Address, B256, U256},
    providers::{Provider, ProviderBuilder},
    rpc::types::{Filter, TransactionRequest},
    sol_types::SolEvent as _,
};
use serde_json::Value;
use streamflow_bindings::{BondingManager, RoundsManager, TicketBroker};

use crate::devnet::{Devnet, play};

/// Acceptance: the clip through three renditions, playable, winners paid.
#[test]
fn a_clip_goes_through_and_its_winners_are_paid() {
    let mut net = Devnet::start(11_000, &["--once"]);
    let summary = net.summary();
    assert_eq!(net.exit_code(), 0);

    let segments = &summary["segments"];
    assert_eq!(segments["failed"], 0, "{summary:#}");
    assert_eq!(segments["source"], segments["transcoded"], "{summary:#}");
    let renditions = summary["renditions"].as_array().unwrap();
    assert_eq!(renditions.len(), 3, "{summary:#}");
    let count = |what: &str, name: &str| summary[what][name].as_u64().unwrap();
    assert!(count("tickets", "sent") >= 100, "{summary:#}");
    assert!(count("tickets", "redeemed") >= 3, "{summary:#}");
    assert_eq!(summary["tickets"]["won"], summary["tickets"]["redeemed"], "{summary:#}");
    assert_eq!(summary["redemption"]["ordered"], summary["tickets"]["redeemed"], "all by ordered batches: {summary:#}");
    assert!(summary["redemption"]["wei"].as_str().unwrap().parse::<U256>().unwrap() > U256::ZERO, "{summary:#}");

    let master = Path::new(summary["playlist"].as_str().unwrap());
    let source_frames = play(&master.parent().unwrap().join("source/index.m3u8")).frames;
    assert_eq!(source_frames, 500, "20 s of 25 frames");
    for rendition in renditions {
        assert_eq!(rendition["segments"], segments["source"], "{summary:#}");
        let played = play(Path::new(rendition["playlist"].as_str().unwrap()));
        assert_eq!(played.frames, source_frames, "{rendition:#}");
        assert_eq!(rendition["pixels"], played.pixels, "what is paid for is what players get: {rendition:#}");
    }
    play(master);
}

/// Acceptance: what moved on chain is what was won, split to the wei, and it ends as ETH in a wallet.
#[tokio::test]
async fn the_money_adds_up_on_chain() {
    let mut net = Devnet::start(12_000, &[]);
    let summary = net.summary();
    let network = net.network();
    let won = net.command("keeper", &["tickets", "list", "--state", "redeemed", "--json"]);
    let face_values: U256 = won["tickets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ticket| ticket["face_value"].as_str().unwrap().parse::<U256>().unwrap())
        .sum();
    let rpc = summary["rpc"].as_str().unwrap();
    let provider = ProviderBuilder::new().connect_http(rpc.parse().unwrap());
    let address = |name: &str| summary["contracts"][name].as_str().unwrap().parse::<Address>().unwrap();
    let broker = TicketBroker::new(address("TicketBroker"), &provider);
    let bonding = BondingManager::new(address("BondingManager"), &provider);
    let rounds = RoundsManager::new(address("RoundsManager"), &provider);

    let logs = |topic| Filter::new().address(*broker.address()).event_signature(topic).from_block(0);
    let transfers = provider.get_logs(&logs(TicketBroker::WinningTicketTransfer::SIGNATURE_HASH)).await.unwrap();
    let mut moved = BTreeMap::<Address, U256>::new();
    for log in &transfers {
        let event = log.log_decode::<TicketBroker::WinningTicketTransfer>().unwrap().inner.data;
        *moved.entry(event.recipient).or_default() += event.amount;
    }
    let total: U256 = moved.values().sum();
    assert_eq!(total, face_values);
    assert_eq!(total.to_string(), summary["redemption"]["wei"]);

    let delegators: Vec<Address> = network["delegators"]
        .as_array()
        .unwrap()
        .iter()
        .map(|delegator| delegator.as_str().unwrap().parse().unwrap())
        .collect();
    let mut pending = U256::ZERO;
    let mut holders = 0_u64;
    for holder in moved.keys().copied().chain(delegators) {
        pending += bonding.pendingFees(holder, U256::ZERO).call().await.unwrap();
        holders += 1;
    }
    assert!(pending <= total, "holders were credited {pending}, redemption moved {total}");
    assert!(total - pending <= U256::from(holders), "{pending} credited of {total}: more than 1 wei a holder is lost");

    replay_pays_nothing(&provider, *broker.address(), transfers.first().unwrap().transaction_hash.unwrap()).await;

    fee_ratio_equals_the_chain(&net, &bonding, &rounds, &moved).await;

    let (recipient, _) = moved.first_key_value().unwrap();
    let role = network["roles"]
        .as_object()
        .unwrap()
        .iter()
        .find(|(_, role)| role["account"].as_str().is_some_and(|account| account.parse() == Ok(*recipient)))
        .map(|(name, _)| name.clone())
        .unwrap();
    let fees = bonding.pendingFees(*recipient, U256::ZERO).call().await.unwrap();
    let before = provider.get_balance(*recipient).await.unwrap();
    let withdrawn = net.command(&role, &["stake", "withdraw-fees", "--json"]);
    let after = provider.get_balance(*recipient).await.unwrap();
    assert!(after > before, "{withdrawn:#}");
    assert!(
        before + fees - after < U256::from(10_u64).pow(U256::from(15_u64)),
        "only gas may be missing: {withdrawn:#}"
    );
    assert_eq!(bonding.pendingFees(*recipient, U256::ZERO).call().await.unwrap(), U256::ZERO);
}

/// Sends a batch that was mined once more, from the account that may.
async fn replay_pays_nothing(provider: &impl Provider, broker: Address, batch: B256) {
    let events = async |topic| {
        provider.get_logs(&Filter::new().address(broker).event_signature(topic).from_block(0)).await.unwrap().len()
    };
    let (paid, skipped) =
        (TicketBroker::WinningTicketTransfer::SIGNATURE_HASH, TicketBroker::OrderedGroupSkipped::SIGNATURE_HASH);
    let before = (events(paid).await, events(skipped).await);
    let transaction = provider.get_transaction_by_hash(batch).await.unwrap().unwrap();
    assert_eq!(transaction.to(), Some(broker));
    let keeper = transaction.inner.signer();
    provider.raw_request::<_, ()>("anvil_impersonateAccount".into(), (keeper,)).await.unwrap();
    let replay = TransactionRequest::default().from(keeper).to(broker).input(transaction.input().clone().into());
    let receipt = provider.send_transaction(replay).await.unwrap().get_receipt().await.unwrap();
    assert!(receipt.status());
    assert_eq!(events(paid).await, before.0, "a redeemed ticket was paid again");
    assert!(events(skipped).await > before.1, "the batch does not say why it paid nothing");
}

/// Acceptance: `delegator fee-ratio --json` shows the integers that the chain shows.
async fn fee_ratio_equals_the_chain<P: alloy::providers::Provider>(
    net: &Devnet,
    bonding: &BondingManager::BondingManagerInstance<P>,
    rounds: &RoundsManager::RoundsManagerInstance<P>,
    moved: &BTreeMap<Address, U256>,
) {
    let report = net.command("keeper", &["delegator", "fee-ratio", "--json"]);
    let uint = |value: &Value| value.as_str().unwrap().parse::<U256>().unwrap();
    for (orchestrator, moved) in moved {
        let listed = report["orchestrators"].as_array().unwrap();
        let own = listed.iter().find(|one| one["orchestrator"].as_str().unwrap().parse() == Ok(*orchestrator)).unwrap();
        let mine = own["rounds"].as_array().unwrap();
        assert_eq!(mine.iter().map(|row| uint(&row["fees"])).sum::<U256>(), *moved, "{report:#}");
        for row in mine.iter().filter(|row| !uint(&row["fees"]).is_zero()) {
            let round = U256::from(row["round"].as_u64().unwrap());
            let mut stake =
                bonding.getTranscoderEarningsPoolForRound(*orchestrator, round).call().await.unwrap().totalStake;
            if stake.is_zero() {
                let last = bonding.getTranscoder(*orchestrator).call().await.unwrap().lastActiveStakeUpdateRound;
                stake = bonding.getTranscoderEarningsPoolForRound(*orchestrator, last).call().await.unwrap().totalStake;
            }
            assert_eq!(uint(&row["stake"]), stake, "{row:#}");
            let ratio = uint(&row["fees"]) * U256::from(10_u64).pow(U256::from(27_u64)) / stake;
            assert_eq!(uint(&row["gross"]), ratio, "{row:#}");
        }
    }
    assert!(rounds.currentRound().call().await.unwrap() > U256::ZERO);
}
