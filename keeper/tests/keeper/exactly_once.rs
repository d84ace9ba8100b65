//! A20 of payments.md §6: a keeper that dies at any step of a redemption, and a chain that takes it back. One payout each.
//! Leaders are in `leadership.rs`, nodes that lie in `chaos.rs`; the roles as processes, killed at random, in `test/faults`.
use std::time::Duration;

use alloy::{
    primitives::U256,
    providers::{Provider, ext::AnvilApi},
    rpc::types::Filter,
    sol_types::{SolCall, SolEvent},
};
use streamflow_bindings::TicketBroker;
use streamflow_chain::redeem_call;
use streamflow_keeper::KeeperConfig;
use streamflow_store::{TicketState, TicketStatus};
use streamflow_testkit::{Chaos, ChaosProxy, key};
use streamflow_types::WinningTicket;

use crate::{
    chaos::{mine_slowly, nothing_wrong_was_sent, redeemed, start},
    ordered::{ahead, mined_until},
    world::{World, ether, eventually, face_value, hash},
};

/// The last thing that a keeper does before it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The ticket is bound to a transaction that is not signed.
    Bound,
    /// The transaction is in the journal, and no node has it.
    Persisted,
    /// It is in the pool of the node.
    Sent,
    /// It is in a block, and the keeper has not been told.
    Mined,
    /// It is in the books.
    Recorded,
}

async fn status(world: &World, winner: &WinningTicket) -> TicketStatus {
    world.record(hash(winner)).await.state.status()
}

/// Starts a keeper and kills it at this step of redeeming the winner.
async fn dies_at(step: Step, world: &World, nodes: &[ChaosProxy], winner: &WinningTicket) {
    let (anvil, account) = (&world.deployment.anvil, &world.keeper_key);
    let mined = world.nonce(account).await;
    match step {
        Step::Bound => {
            let block = world.block().await;
            return world.store.submit("redeem/interrupted", &[hash(winner)], block).await.unwrap();
        }
        Step::Persisted => {
            // Empty blocks make gas cheaper, so that what were signed anew would offer less.
            anvil.provider().anvil_set_next_block_base_fee_per_gas(2_000_000_000).await.unwrap();
            anvil.mine(1).await.unwrap();
            nodes[0].set(Chaos::SwallowedTransactions).await.unwrap();
        }
        Step::Sent => anvil.set_automine(false).await.unwrap(),
        Step::Mined => nodes[0].set(Chaos::DroppedReceipts).await.unwrap(),
        Step::Recorded => {}
    }
    let given = nodes[0].transactions().len();
    let running = start(world, nodes, World::config()).await;
    eventually(&format!("a keeper is at {step:?}"), || async {
        let reached = match step {
            Step::Bound | Step::Persisted => nodes[0].transactions().len() > given,
            Step::Sent => {
                let pending = anvil.provider().get_transaction_count(account.address()).pending().await.unwrap();
                pending > mined
            }
            Step::Mined => world.nonce(account).await > mined,
            Step::Recorded => status(world, winner).await == TicketStatus::Redeemed,
        };
        if !reached && step != Step::Sent {
            mine_slowly(world, 1).await;
        }
        reached
    })
    .await;
    running.kill().await;
    let expected = if step == Step::Recorded { TicketStatus::Redeemed } else { TicketStatus::Submitted };
    assert_eq!(status(world, winner).await, expected, "{step:?}");
    nodes[0].clear();
    anvil.set_automine(true).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_a_keeper_that_dies_at_any_step_pays_each_ticket_once() {
    let world = World::new().await;
    let nodes = [ChaosProxy::start(world.deployment.anvil.url()).await.unwrap()];
    let mut winners = 0;
    for step in [Step::Bound, Step::Persisted, Step::Sent, Step::Mined, Step::Recorded] {
        winners += 1;
        let winner = world.winner(&world.sender, winners, world.block().await).await;
        world.store.insert_winners(&[winner]).await.unwrap();
        world.deployment.anvil.mine(3).await.unwrap();
        dies_at(step, &world, &nodes, &winner).await;
        let given = nodes[0].transactions().len();
        let running = start(&world, &nodes, World::config()).await;
        redeemed(&world, &winner, &step).await;
        running.stop().await;
        if step == Step::Persisted {
            let sent = nodes[0].transactions();
            assert!(sent.len() > given && sent[given..].iter().all(|raw| *raw == sent[given - 1]), "the same bytes");
        }
    }
    nothing_wrong_was_sent(&world, &nodes, winners.into()).await;
    world.close().await;
}

/// The branch that takes the payout back has another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_a_payout_that_a_stranger_makes_on_the_other_branch_is_the_only_one() {
    let world = World::new().await;
    let winner = world.winner(&world.sender, 1, world.block().await + 1).await;
    world.store.insert_winners(&[winner]).await.unwrap();
    let anvil = &world.deployment.anvil;
    anvil.mine(3).await.unwrap();
    let before = anvil.snapshot().await.unwrap();
    let running = world.start(KeeperConfig { finality_blocks: 6, ..World::config() }).await;
    eventually("it is redeemed", || async { status(&world, &winner).await == TicketStatus::Redeemed }).await;

    anvil.set_automine(false).await.unwrap();
    anvil.revert(before).await.unwrap();
    let strangers = ahead(&world, &key(5).unwrap(), redeem_call(&winner).abi_encode()).await;
    anvil.set_automine(true).await.unwrap();
    mined_until(&world, "the stranger's payout is in the books", async || {
        let state = world.record(hash(&winner)).await.state;
        matches!(state, TicketState::Redeemed(payout) if payout.tx_hash == strangers.transaction_hash)
    })
    .await;
    anvil.mine(10).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    running.stop().await;
    let transfers = Filter::new()
        .address(world.deployment.contracts.ticket_broker)
        .event_signature(TicketBroker::WinningTicketTransfer::SIGNATURE_HASH)
        .from_block(0);
    assert_eq!(anvil.provider().get_logs(&transfers).await.unwrap().len(), 1);
    assert_eq!(world.deposit(world.sender.address()).await, ether(1) - face_value());
    let booked = world.store.redemption_summary().await.unwrap();
    assert_eq!((booked.redeemed, booked.payout), (1, face_value() * U256::from(1)));
    world.close().await;
}
