//! Nodes that misbehave cost time, never a wrong transaction.
use std::{collections::BTreeSet, time::Duration};

use alloy::{
    consensus::{Transaction, TxEnvelope, transaction::SignerRecoverable},
    eips::eip2718::Decodable2718,
    primitives::{TxKind, U256},
    providers::Provider,
    rpc::types::Filter,
    sol_types::SolEvent,
};
use streamflow_bindings::TicketBroker;
use streamflow_chain::ChainConfig;
use streamflow_keeper::KeeperConfig;
use streamflow_store::TicketStatus;
use streamflow_testkit::{Chaos, ChaosProxy};
use streamflow_types::WinningTicket;

use crate::world::{Running, World, ether, eventually, face_value, hash};

fn faults() -> Vec<Chaos> {
    vec![
        Chaos::Stall,
        Chaos::Limited { retry_after: Some(1) },
        Chaos::Truncated,
        Chaos::StaleHead,
        Chaos::FalseHeader,
        Chaos::ForgedLogs,
        Chaos::DroppedReceipts,
        Chaos::FailedReceipts,
        Chaos::WrongChain(5),
        Chaos::SwallowedTransactions,
    ]
}

pub(crate) async fn start(world: &World, nodes: &[ChaosProxy], config: KeeperConfig) -> Running {
    let change = |config: &mut ChainConfig| {
        config.rpc_url = nodes[0].url();
        config.rpc_urls = nodes[1..].iter().map(ChaosProxy::url).collect();
        config.request_timeout = Duration::from_secs(1);
        config.check_interval = Duration::from_millis(200);
        config.max_backoff = Duration::from_millis(500);
        config.max_head_age = Duration::from_secs(3);
    };
    world.start_through(config, change).await
}

/// A winner that may be redeemed from now on.
pub(crate) async fn due(world: &World, nonce: u32) -> WinningTicket {
    let winner = world.winner(&world.sender, nonce, world.block().await).await;
    world.store.insert_winners(std::slice::from_ref(&winner)).await.unwrap();
    winner
}

pub(crate) async fn mine_slowly(world: &World, blocks: u32) {
    for _ in 0..blocks {
        world.deployment.anvil.mine(1).await.unwrap();
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Mines slowly: at the end of a round the keeper would send something else.
pub(crate) async fn redeemed(world: &World, winner: &WinningTicket, after: &impl std::fmt::Debug) {
    eventually(&format!("a ticket is redeemed after {after:?}"), || async {
        mine_slowly(world, 1).await;
        world.record(hash(winner)).await.state.status() == TicketStatus::Redeemed
    })
    .await;
}

/// Every transaction that any node was given redeems, and every winner was paid once.
pub(crate) async fn nothing_wrong_was_sent(world: &World, nodes: &[ChaosProxy], winners: u64) {
    let anvil = world.deployment.anvil.provider();
    let broker = world.deployment.contracts.ticket_broker;
    let mut sent = BTreeSet::new();
    for raw in nodes.iter().flat_map(ChaosProxy::transactions) {
        let raw = alloy::hex::decode(raw).unwrap();
        let transaction = TxEnvelope::decode_2718(&mut raw.as_slice()).unwrap();
        assert_eq!(transaction.recover_signer().unwrap(), world.keeper_key.address());
        assert_eq!(transaction.kind(), TxKind::Call(broker));
        sent.insert((transaction.nonce(), *transaction.tx_hash()));
        let receipt = anvil.get_transaction_receipt(*transaction.tx_hash()).await.unwrap();
        assert!(receipt.is_some_and(|receipt| receipt.status()), "one was refused, or gave way to another");
    }
    let nonces: BTreeSet<u64> = sent.iter().map(|(nonce, _)| *nonce).collect();
    assert_eq!((nonces.len(), sent.len() as u64), (sent.len(), world.nonce(&world.keeper_key).await));

    let filter = Filter::new()
        .address(broker)
        .from_block(0)
        .event_signature(TicketBroker::WinningTicketRedeemed::SIGNATURE_HASH);
    let paid = anvil.get_logs(&filter).await.unwrap();
    let tickets: BTreeSet<U256> = paid
        .iter()
        .map(|log| TicketBroker::WinningTicketRedeemed::decode_log(&log.inner).unwrap().senderNonce)
        .collect();
    assert_eq!((paid.len() as u64, tickets.len() as u64), (winners, winners), "each once");
    assert_eq!(world.deposit(world.sender.address()).await, ether(1) - face_value() * U256::from(winners));
    let booked = world.store.redemption_summary().await.unwrap();
    assert_eq!((booked.redeemed, booked.payout), (winners, face_value() * U256::from(winners)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_whatever_the_only_node_does_each_winner_is_redeemed_once_and_nothing_else_is_sent() {
    let world = World::new().await;
    let nodes = [ChaosProxy::start(world.deployment.anvil.url()).await.unwrap()];
    let running = start(&world, &nodes, World::config()).await;
    let mut winners = 0;
    for chaos in faults() {
        nodes[0].set(chaos.clone()).await.unwrap();
        winners += 1;
        let winner = due(&world, winners).await;
        mine_slowly(&world, 8).await;
        nodes[0].clear();
        redeemed(&world, &winner, &chaos).await;
    }
    running.stop().await;
    nothing_wrong_was_sent(&world, &nodes, winners.into()).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_while_one_of_two_nodes_misbehaves_winners_are_redeemed_through_the_other() {
    let world = World::new().await;
    let url = || world.deployment.anvil.url();
    let nodes = [ChaosProxy::start(url()).await.unwrap(), ChaosProxy::start(url()).await.unwrap()];
    let running = start(&world, &nodes, World::config()).await;
    let mut winners = 0;
    for (round, chaos) in faults().into_iter().enumerate() {
        let node = &nodes[round % 2];
        node.set(chaos.clone()).await.unwrap();
        winners += 1;
        let winner = due(&world, winners).await;
        redeemed(&world, &winner, &chaos).await;
        node.clear();
        mine_slowly(&world, 4).await;
    }
    running.stop().await;
    nothing_wrong_was_sent(&world, &nodes, winners.into()).await;
    world.close().await;
}
