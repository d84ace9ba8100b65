//! What operators complain of first: winners that cost too much gas, are redeemed late, are dropped after a revert, or
//! expire unpaid. One test for each cause.

use alloy::{
    primitives::{B256, U256},
    sol_types::SolCall,
};
use streamflow_chain::redeem_call;
use streamflow_keeper::KeeperConfig;
use streamflow_store::{TicketState, TicketStatus};
use streamflow_testkit::key;
use streamflow_types::{Ticket, WinningTicket};

use crate::{
    ordered::{ahead, mined_until, pending_transaction, second_sender},
    policy::{patient, stays_unsent},
    world::{ROUND_LENGTH, World, ether, eventually, face_value, hash},
};

async fn status(world: &World, winner: &WinningTicket) -> TicketStatus {
    world.record(hash(winner)).await.state.status()
}

async fn redeemed(world: &World) -> u64 {
    world.store.ticket_total(TicketStatus::Redeemed).await.unwrap().count
}

/// Cause: one transaction per ticket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_01_winners_of_several_senders_share_one_transaction() {
    let world = World::new().await;
    world.name_redeemer().await;
    let other = second_sender(&world, ether(1)).await;
    let expiration = world.block().await + 1;
    let mut winners = Vec::new();
    for serial in 1..=10 {
        winners.push(world.marked(&world.sender, (serial, 1), face_value(), expiration).await);
        winners.push(world.marked(&other, (serial, 2), face_value(), expiration).await);
    }
    world.store.insert_winners(&winners).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let running = world.start(World::config()).await;
    eventually("all are redeemed", || async { redeemed(&world).await == 20 }).await;
    let summary = world.store.redemption_summary().await.unwrap();
    assert_eq!(summary.transactions, 1);
    assert!(summary.gas_used / 20 < 20_000, "{} gas per ticket, 190,000 one by one", summary.gas_used / 20);
    running.stop().await;
    world.close().await;
}

/// Cause: each pass reads the earliest row again, so that one that cannot be paid yet blocks all younger ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_01_a_ticket_that_is_worth_less_than_its_gas_blocks_no_other() {
    let world = World::new().await;
    world.name_redeemer().await;
    let expiration = world.block().await + 1;
    let dust = U256::from(1_000);
    let dust_unmarked = world.drawn(&world.sender, (1, U256::from(5)), dust, expiration).await;
    let dust_marked = world.marked(&world.sender, (1, 1), dust, expiration).await;
    let younger = world.winner(&world.sender, 2, expiration).await;
    let above = world.marked(&world.sender, (2, 1), face_value(), expiration).await;
    world.store.insert_winners(&[dust_unmarked, dust_marked, younger, above]).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let running = world.start(World::config()).await;
    eventually("the younger ones are redeemed", || async {
        status(&world, &younger).await == TicketStatus::Redeemed
            && status(&world, &above).await == TicketStatus::Redeemed
    })
    .await;
    assert_eq!(status(&world, &dust_unmarked).await, TicketStatus::Pending, "it may pay when gas is cheap");
    running.stop().await;
    world.close().await;
}

/// The same where the sender has thousands that cannot be paid, more than a pass looks at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_01_a_sender_without_funds_hides_no_other() {
    let world = World::new().await;
    world.name_redeemer().await;
    let poor = key(4).unwrap();
    let expiration = world.block().await + 1;
    let mut winners = Vec::new();
    let first = world.marked(&poor, (1, 1), face_value(), expiration).await;
    for nonce in 1..=3_000 {
        let ticket = Ticket { sender_nonce: nonce, ..first.signed.ticket };
        winners.push(world.signed_anew(&poor, first, ticket));
    }
    let good = world.marked(&world.sender, (9, 1), face_value(), expiration).await;
    winners.push(good);
    world.store.insert_winners(&winners).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let running = world.start(World::config()).await;
    eventually("the good one is redeemed", || async { status(&world, &good).await == TicketStatus::Redeemed }).await;
    running.stop().await;
    world.close().await;
}

/// Cause: a transaction that reverted left the row marked as redeemed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_01_a_ticket_whose_transaction_reverted_is_redeemed_later() {
    let world = World::new().await;
    let poor = second_sender(&world, face_value()).await;
    let expiration = world.block().await + 1;
    let winner = world.winner(&poor, 1, expiration).await;
    let drain = world.drawn(&poor, (2, U256::from(77)), face_value(), expiration).await;
    world.store.insert_winners(&[winner]).await.unwrap();
    let anvil = &world.deployment.anvil;
    anvil.mine(3).await.unwrap();
    anvil.set_automine(false).await.unwrap();
    let running = world.start(World::config()).await;
    pending_transaction(&world).await;
    // a ticket that the keeper does not know takes the deposit first
    ahead(&world, &key(5).unwrap(), redeem_call(&drain).abi_encode()).await;
    anvil.set_automine(true).await.unwrap();
    eventually("the revert is known", || async {
        let record = world.record(hash(&winner)).await;
        record.attempts == 1 && matches!(record.state, TicketState::Pending { reason: Some(_), .. })
    })
    .await;
    assert_eq!(redeemed(&world).await, 0, "nothing was paid");
    world.deployment.fund_sender(&poor, face_value(), U256::ZERO).await.unwrap();
    mined_until(&world, "it is redeemed", async || redeemed(&world).await == 1).await;
    assert_eq!(world.deposit(poor.address()).await, U256::ZERO);
    running.stop().await;
    world.close().await;
}

/// Cause: the round of the ticket has no block hash on chain, or another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_01_a_ticket_of_a_round_without_its_block_hash_blocks_no_other() {
    let world = World::new().await;
    world.name_redeemer().await;
    let expiration = world.block().await + 1;
    let without = async |winner: WinningTicket| {
        let ticket = Ticket { creation_round_block_hash: B256::ZERO, ..winner.signed.ticket };
        world.signed_anew(&world.sender, winner, ticket)
    };
    let unmarked = without(world.winner(&world.sender, 1, expiration).await).await;
    let marked = without(world.marked(&world.sender, (1, 1), face_value(), expiration).await).await;
    let good = [
        world.winner(&world.sender, 2, expiration).await,
        world.marked(&world.sender, (2, 1), face_value(), expiration).await,
    ];
    world.store.insert_winners(&[unmarked, marked, good[0], good[1]]).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let running = world.start(KeeperConfig { finality_blocks: 8, ..World::config() }).await;
    mined_until(&world, "the good ones are redeemed", async || redeemed(&world).await == 2).await;
    for winner in good {
        assert_eq!(status(&world, &winner).await, TicketStatus::Redeemed);
    }
    running.stop().await;
    world.close().await;
}

/// Cause: tickets that wait, for others or for cheaper gas, until they have expired.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_01_a_ticket_that_gathers_is_redeemed_before_it_expires() {
    let world = World::new().await;
    world.name_redeemer().await;
    let expiration = world.block().await + 1;
    let winners = [
        world.winner(&world.sender, 1, expiration).await,
        world.marked(&world.sender, (1, 1), face_value(), expiration).await,
    ];
    world.store.insert_winners(&winners).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let running = world.start(patient()).await;
    stays_unsent(&world).await;
    // into its last valid round, and into the part of it in which the ceiling rises
    world.deployment.next_round().await.unwrap();
    stays_unsent(&world).await;
    world.deployment.anvil.mine(ROUND_LENGTH / 2).await.unwrap();
    mined_until(&world, "both are redeemed", async || redeemed(&world).await == 2).await;
    running.stop().await;
    world.close().await;
}

/// Cause: gas constants of one's own. What is offered follows from a run of the very transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_01_the_gas_of_a_redemption_is_that_of_a_run_and_not_a_constant() {
    let world = World::new().await;
    let expiration = world.block().await + 1;
    let winner = world.winner(&world.sender, 1, expiration).await;
    world.store.insert_winners(&[winner]).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let plan = world.dry_run(World::config()).await;
    let running = world.start(World::config()).await;
    eventually("it is redeemed", || async { redeemed(&world).await == 1 }).await;
    assert_eq!(world.store.redemption_summary().await.unwrap().gas_used, plan.batches[0].gas);
    running.stop().await;
    world.close().await;
}
