//! What the fault tests found, step by step.
use alloy::primitives::U256;
use streamflow_keeper::KeeperConfig;
use streamflow_store::TicketStatus;

use crate::world::{World, ether, eventually, face_value};

/// Seed 4 of the fault tests. A batch that a reorganisation took back still counted as paid, since its payout was not old enough to
/// be looked up again. The next batch moved the mark above its tickets: they were lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_a_later_batch_does_not_pass_tickets_whose_payout_left_the_chain() {
    let world = World::new().await;
    world.name_redeemer().await;
    let expiration = world.block().await + 1;
    let mut winners = Vec::new();
    for serial in 1..=3 {
        winners.push(world.marked(&world.sender, (serial, 1), face_value(), expiration).await);
    }
    world.store.insert_winners(&winners[..2]).await.unwrap();
    let anvil = &world.deployment.anvil;
    anvil.mine(3).await.unwrap();
    let before = anvil.snapshot().await.unwrap();
    let running = world.start(KeeperConfig { finality_blocks: 50, ..World::config() }).await;
    let redeemed = async || world.store.ticket_total(TicketStatus::Redeemed).await.unwrap().count;
    eventually("the first two are redeemed", || async { redeemed().await == 2 }).await;

    world.deployment.anvil.revert(before).await.unwrap();
    world.store.insert_winners(&winners[2..]).await.unwrap();
    eventually("all three are paid on the new branch", || async {
        anvil.mine(1).await.unwrap();
        world.deposit(world.sender.address()).await == ether(1) - face_value() * U256::from(3)
    })
    .await;
    eventually("and recorded", || async { redeemed().await == 3 }).await;
    assert_eq!(world.store.redemption_summary().await.unwrap().payout, face_value() * U256::from(3));
    running.stop().await;
    world.close().await;
}
