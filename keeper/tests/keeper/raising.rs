//! A transaction that waits at its fee ceiling is raised as its margin falls.
use std::time::Duration;

use alloy::{primitives::U256, providers::ext::AnvilApi, signers::local::PrivateKeySigner};
use streamflow_bindings::RoundsManager;
use streamflow_keeper::KeeperConfig;
use streamflow_store::{TicketStatus, TransactionRow};
use streamflow_testkit::key as account;
use streamflow_types::WinningTicket;

use crate::{
    ordered::second_sender,
    world::{ROUND_LENGTH, Running, World, ether, eventually, face_value, hash},
};

/// About half of what the ticket carries without a margin, and twice what it carries with that of [`config`].
const DEAR: u128 = 44_000_000_000;

/// The margin falls from 300 % to nothing between blocks 130 and 150 of the last round's 200.
fn config() -> KeeperConfig {
    KeeperConfig { margin_percent: 300, escalation_percent: 10, defer_blocks: 0, max_batch: 2, ..World::config() }
}

async fn status(world: &World, winner: &WinningTicket) -> TicketStatus {
    world.record(hash(winner)).await.state.status()
}

async fn in_order(world: &World, sender: &PrivateKeySigner, face_value: U256) -> WinningTicket {
    world.marked(sender, (1, 1), face_value, world.block().await).await
}

async fn insert(world: &World, winner: &WinningTicket) {
    world.store.insert_winners(std::slice::from_ref(winner)).await.unwrap();
}

async fn under_way(world: &World) -> Vec<TransactionRow> {
    world.store.open_transactions(31_337, world.keeper_key.address()).await.unwrap()
}

async fn mine_dear(world: &World, blocks: u64, pause: Duration) {
    mine_at(world, DEAR, blocks, pause).await;
}

async fn mine_at(world: &World, base_fee: u128, blocks: u64, pause: Duration) {
    let anvil = &world.deployment.anvil;
    for _ in 0..blocks {
        anvil.provider().anvil_set_next_block_base_fee_per_gas(base_fee).await.unwrap();
        anvil.mine(1).await.unwrap();
        tokio::time::sleep(pause).await;
    }
}

/// First block of the round.
pub(crate) async fn round_start(world: &World) -> u64 {
    let rounds = world.deployment.contracts.rounds_manager;
    world.deployment.view(rounds, RoundsManager::currentRoundStartBlockCall {}).await.unwrap().to()
}

/// The only transaction is sent, and then gas becomes too dear for it.
async fn stuck(world: &World) -> Running {
    let anvil = &world.deployment.anvil;
    anvil.mine(3).await.unwrap();
    anvil.set_automine(false).await.unwrap();
    let running = world.start(config()).await;
    eventually("it is sent", || async { !under_way(world).await.is_empty() }).await;
    mine_dear(world, 6, Duration::from_millis(150)).await;
    let [waiting] = &under_way(world).await[..] else { panic!("one transaction") };
    assert!(waiting.attempts.iter().all(|attempt| attempt.max_fee < DEAR), "within its ceiling");
    running
}

/// Goes on to just before the margin begins to fall.
async fn to_the_fall(world: &World) {
    let fall = round_start(world).await + 125;
    mine_dear(world, fall - world.block().await, Duration::ZERO).await;
    mine_dear(world, 3, Duration::from_millis(150)).await;
    assert_eq!(world.nonce(&world.keeper_key).await, 0, "not before");
}

/// Gas stays dear, and all are redeemed before the round ends, at a gain.
async fn paid_before_the_end(world: World, running: Running, winners: &[WinningTicket]) {
    let end = round_start(&world).await + ROUND_LENGTH;
    let mut paid = U256::ZERO;
    for winner in winners {
        paid += winner.signed.ticket.face_value;
        while status(&world, winner).await != TicketStatus::Redeemed {
            assert!(world.block().await < end - 1, "the round is over");
            mine_dear(&world, 1, Duration::from_millis(150)).await;
        }
    }
    let summary = world.store.redemption_summary().await.unwrap();
    assert!(summary.payout == paid && summary.gas_cost < paid, "{summary:?}");
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordered_batch_at_its_ceiling_is_mined_once_its_margin_has_fallen() {
    let world = World::new().await;
    world.name_redeemer().await;
    let winner = in_order(&world, &world.sender, face_value()).await;
    world.deployment.next_round().await.unwrap();
    insert(&world, &winner).await;
    let running = stuck(&world).await;
    to_the_fall(&world).await;
    paid_before_the_end(world, running, &[winner]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_that_was_killed_goes_on_to_raise_what_is_under_way() {
    let world = World::new().await;
    let winner = world.winner(&world.sender, 1, world.block().await).await;
    world.deployment.next_round().await.unwrap();
    insert(&world, &winner).await;
    let running = stuck(&world).await;
    running.kill().await;
    let running = world.start(config()).await;
    to_the_fall(&world).await;
    paid_before_the_end(world, running, &[winner]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_an_urgent_ticket_waits_for_is_raised_though_it_has_time_itself() {
    let world = World::new().await;
    world.name_redeemer().await;
    let other = second_sender(&world, ether(1)).await;
    let urgent = in_order(&world, &other, face_value() * U256::from(5)).await;
    let broke = account(5).unwrap();
    let (dear, block) = (face_value() * U256::from(50), world.block().await);
    let uncovered = [world.marked(&broke, (1, 1), dear, block).await, world.marked(&broke, (1, 2), dear, block).await];
    world.deployment.next_round().await.unwrap();
    let early = in_order(&world, &world.sender, face_value()).await;
    insert(&world, &early).await;
    let running = stuck(&world).await;
    insert(&world, &urgent).await;
    // They fill a batch, and hide nothing.
    world.store.insert_winners(&uncovered).await.unwrap();
    to_the_fall(&world).await;
    paid_before_the_end(world, running, &[early, urgent]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_can_not_pay_makes_way_for_an_urgent_ticket_that_can() {
    // Twice what the first ticket carries without a margin, and far less than the other does with it.
    const DEARER: u128 = 4 * DEAR;
    let world = World::new().await;
    world.name_redeemer().await;
    let other = second_sender(&world, ether(1)).await;
    let urgent = in_order(&world, &other, face_value() * U256::from(20)).await;
    world.deployment.next_round().await.unwrap();
    let poor = in_order(&world, &world.sender, face_value()).await;
    insert(&world, &poor).await;
    let running = stuck(&world).await;
    insert(&world, &urgent).await;
    to_the_fall(&world).await;
    let end = round_start(&world).await + ROUND_LENGTH;
    while status(&world, &urgent).await != TicketStatus::Redeemed {
        assert!(world.block().await < end - 1, "the round is over");
        mine_at(&world, DEARER, 1, Duration::from_millis(150)).await;
    }
    assert_eq!(world.nonce(&world.keeper_key).await, 2, "one that makes way, and one that pays");
    eventually("the other goes with it, or once gas is cheap", || async {
        mine_at(&world, 1_000_000_000, 1, Duration::from_millis(150)).await;
        status(&world, &poor).await == TicketStatus::Redeemed
    })
    .await;
    running.stop().await;
    world.close().await;
}
