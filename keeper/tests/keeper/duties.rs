use alloy::{primitives::U256, providers::Provider, rpc::types::Filter, sol_types::SolEvent};
use streamflow_bindings::{BondingManager, RoundsManager};
use streamflow_keeper::KeeperConfig;
use streamflow_types::Round;

use crate::world::{ROUND_LENGTH, World, eventually};

async fn logs(world: &World, event: alloy::primitives::B256) -> usize {
    let filter = Filter::new().event_signature(event).from_block(0);
    world.deployment.anvil.provider().get_logs(&filter).await.unwrap().len()
}

async fn last_reward_round(world: &World) -> U256 {
    let call = BondingManager::getTranscoderCall { transcoder_: world.orchestrator.address() };
    world.deployment.view(world.deployment.contracts.bonding_manager, call).await.unwrap().lastRewardRound
}

/// node.md §10 row 10: rewards missed after a boot in mid-round, and doubled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pain_10_rounds_are_initialised_when_due_and_rewarded_once() {
    let world = World::new().await;
    let rounds = world.deployment.contracts.rounds_manager;
    let round = world.deployment.view(rounds, RoundsManager::currentRoundCall {}).await.unwrap();
    let initialised = logs(&world, RoundsManager::NewRound::SIGNATURE_HASH).await;
    let rewarding = KeeperConfig { reward: true, ..World::config() };
    let running = world.start(rewarding.clone()).await;

    eventually("reward of the running round", || async { last_reward_round(&world).await == round }).await;
    world.deployment.anvil.mine(3).await.unwrap();
    assert_eq!(logs(&world, RoundsManager::NewRound::SIGNATURE_HASH).await, initialised, "not due yet");

    world.deployment.anvil.mine(ROUND_LENGTH).await.unwrap();
    let next = round + U256::from(1);
    eventually("reward of the next round, which must be initialised before", || async {
        last_reward_round(&world).await == next
    })
    .await;
    let address = world.orchestrator.address();
    eventually("both are recorded", || async { world.store.rewards(address, 9).await.unwrap().len() == 2 }).await;
    running.stop().await;

    // a restart in the same round does neither again
    let before = (world.nonce(&world.orchestrator).await, world.nonce(&world.keeper_key).await);
    let running = world.start(rewarding).await;
    for _ in 0..3 {
        world.deployment.anvil.mine(1).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    running.stop().await;
    assert_eq!((world.nonce(&world.orchestrator).await, world.nonce(&world.keeper_key).await), before);
    assert_eq!(logs(&world, RoundsManager::NewRound::SIGNATURE_HASH).await, initialised + 1);
    assert_eq!(logs(&world, BondingManager::Reward::SIGNATURE_HASH).await, 2);
    let rewards = world.store.rewards(address, 9).await.unwrap();
    assert_eq!(rewards[0].round, Round(next.to()));
    assert!(rewards.iter().all(|reward| reward.amount > U256::ZERO));
    world.close().await;
}
