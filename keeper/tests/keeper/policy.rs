//! When the keeper sends, what it tries out before, and what it says of it.

use std::{collections::HashSet, time::Duration};

use alloy::{
    consensus::Transaction as _,
    eips::BlockId,
    primitives::{Address, Bytes, U256},
    providers::Provider,
    rpc::types::{Log, TransactionRequest},
    sol_types::{SolCall, SolError},
};
use streamflow_bindings::{BondingManager, TicketBroker};
use streamflow_chain::{Chain, ChainConfig, OrderedGroup, redeem_call, redeem_ordered_call};
use streamflow_keeper::{
    Action, KeeperConfig,
    ordered::plan::key,
    preflight::{Bounds, Failure, MOST_GAS, Preflight, PreflightError, Trial},
};
use streamflow_store::{Finality, TicketState, TicketStatus};

use crate::{
    ordered::{mined_until, second_sender},
    proxy::Proxy,
    world::{ROUND_LENGTH, World, ether, eventually, face_value, hash},
};

async fn total(world: &World, status: TicketStatus) -> u64 {
    world.store.ticket_total(status).await.unwrap().count
}

/// Waits for others for longer than any test, and no risk presses: what is sent is sent for another reason.
pub(crate) fn patient() -> KeeperConfig {
    KeeperConfig { gather_blocks: 100_000, risk_ppm_per_round: 0, ..World::config() }
}

/// Waits until so many tickets are redeemed, for much less time than until the ceiling of any begins to rise.
pub(crate) async fn redeemed_at_once(world: &World, tickets: u64) {
    let since = world.block().await;
    while total(world, TicketStatus::Redeemed).await < tickets {
        assert!(world.block().await < since + ROUND_LENGTH / 4, "not redeemed at once");
        world.deployment.anvil.mine(1).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(crate) async fn stays_unsent(world: &World) {
    for _ in 0..3 {
        world.deployment.anvil.mine(1).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(world.nonce(&world.keeper_key).await, 0);
}

async fn tried(chain: &Chain, from: Address, data: &Bytes) -> Trial {
    let head = chain.rpc.head().await.unwrap();
    let preflight = Preflight::new(chain.clone(), Bounds::default());
    preflight.run(from, chain.contracts.ticket_broker, data.clone(), MOST_GAS, &head).await.unwrap()
}

fn contents(logs: &[Log]) -> Vec<&alloy::primitives::Log> {
    logs.iter().map(|log| &log.inner).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_run_leaves_the_logs_that_the_node_simulates_and_takes_the_gas_of_the_receipt() {
    let world = World::new().await;
    let poor = second_sender(&world, face_value()).await;
    let expiration = world.block().await;
    let rich = [
        world.marked(&world.sender, (1, 1), face_value(), expiration).await,
        world.marked(&world.sender, (2, 1), face_value(), expiration).await,
    ];
    let uncovered = [
        world.marked(&poor, (3, 1), face_value() * U256::from(2), expiration).await,
        world.marked(&poor, (4, 1), face_value(), expiration).await,
    ];
    let mut groups = [
        OrderedGroup { sender: world.sender.address(), mark: U256::ZERO, tickets: rich.iter().collect() },
        OrderedGroup { sender: poor.address(), mark: U256::ZERO, tickets: uncovered.iter().collect() },
    ];
    groups.sort_by_key(|group| group.sender);
    let recipient = world.orchestrator.address();
    let ordered = redeem_ordered_call(recipient, &groups).unwrap().abi_encode();
    let single = redeem_call(&world.winner(&world.sender, 9, expiration).await).abi_encode();
    let chain = streamflow_chain::connect(&world.chain_config()).await.unwrap();
    let broker = chain.contracts.ticket_broker;

    for data in [Bytes::from(single), Bytes::from(ordered)] {
        let head = chain.rpc.head().await.unwrap();
        let simulated = chain.rpc.simulate(recipient, broker, data.clone(), BlockId::from(head.hash)).await.unwrap();
        let trial = tried(&chain, recipient, &data).await;
        assert_eq!(trial.failure, None);
        assert_eq!(contents(&trial.logs), contents(&simulated.logs));
        assert!(!trial.logs.is_empty() && trial.gas_needed >= trial.gas_used && trial.reads > 10);
        let request = TransactionRequest::default().to(broker).input(data.clone().into());
        let receipt = world.deployment.anvil.send(&world.orchestrator, request).await.unwrap();
        assert_eq!(receipt.gas_used, trial.gas_used);
        assert_eq!(contents(receipt.logs()), contents(&trial.logs));
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_run_names_the_reason_of_a_refusal_and_stays_within_its_bounds() {
    let world = World::new().await;
    let chain = streamflow_chain::connect(&world.chain_config()).await.unwrap();
    let broker = chain.contracts.ticket_broker;
    let mut forged = world.winner(&world.sender, 1, world.block().await).await;
    forged.signed.ticket.face_value += U256::ONE;
    let data = Bytes::from(redeem_call(&forged).abi_encode());
    let from = world.keeper_key.address();
    let head = chain.rpc.head().await.unwrap();
    let simulated = chain.rpc.simulate(from, broker, data.clone(), BlockId::from(head.hash)).await.unwrap();
    let reason = simulated.refusal.unwrap();
    assert_eq!(reason.data()[..4], TicketBroker::InvalidSignature::SELECTOR);
    assert_eq!(tried(&chain, from, &data).await.failure, Some(Failure::Refused(reason)));

    let winner = world.winner(&world.sender, 2, world.block().await).await;
    let data = Bytes::from(redeem_call(&winner).abi_encode());
    let run =
        async |bounds, gas| Preflight::new(chain.clone(), bounds).run(from, broker, data.clone(), gas, &head).await;
    let few = Bounds { reads: 5, ..Bounds::default() };
    assert!(matches!(run(few, MOST_GAS).await, Err(PreflightError::TooManyReads(5))));
    let short = Bounds { time: Duration::ZERO, ..Bounds::default() };
    assert!(matches!(run(short, MOST_GAS).await, Err(PreflightError::TooLong(_))));
    assert_eq!(run(Bounds::default(), 60_000).await.unwrap().failure, Some(Failure::OutOfGas));

    // Word by word as well, of a node that lists no accesses.
    let proxy = Proxy::without(&world.deployment.anvil.url(), &["eth_createAccessList"]).await;
    let config = ChainConfig { rpc_url: proxy.url.clone(), ..world.chain_config() };
    let slow = streamflow_chain::connect(&config).await.unwrap();
    let (fast, slow) = (tried(&chain, from, &data).await, tried(&slow, from, &data).await);
    assert_eq!((slow.gas_used, contents(&slow.logs)), (fast.gas_used, contents(&fast.logs)));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_simulates_nothing_is_enough_to_redeem_in_order() {
    let world = World::new().await;
    world.name_redeemer().await;
    let expiration = world.block().await + 1;
    let winners = [
        world.marked(&world.sender, (1, 1), face_value(), expiration).await,
        world.marked(&world.sender, (2, 1), face_value(), expiration).await,
    ];
    world.store.insert_winners(&winners).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let lacking = &["eth_simulateV1", "eth_createAccessList", "eth_estimateGas", "eth_feeHistory"];
    let proxy = Proxy::without(&world.deployment.anvil.url(), lacking).await;
    let url = proxy.url.clone();
    let running = world.start_through(World::config(), |chain| chain.rpc_url = url).await;
    eventually("both are redeemed", || async { total(&world, TicketStatus::Redeemed).await == 2 }).await;
    assert_eq!(world.nonce(&world.keeper_key).await, 1);
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let world = World::new().await;
    world.name_redeemer().await;
    let poor = second_sender(&world, U256::ONE).await;
    let expiration = world.block().await + 1;
    let good = world.marked(&world.sender, (1, 1), face_value(), expiration).await;
    let live = world.marked(&world.sender, (2, 1), face_value(), expiration + 500).await;
    let uncovered = world.winner(&poor, 3, expiration).await;
    let unmarked = world.winner(&world.sender, 4, expiration).await;
    let all = [good, live, uncovered, unmarked];
    world.store.insert_winners(&all).await.unwrap();
    world.deployment.anvil.mine(30).await.unwrap();

    let plan = world.dry_run(World::config()).await;
    let of = |winner| plan.tickets.iter().find(|ticket| ticket.hash == hash(winner)).unwrap();
    assert_eq!((plan.tickets.len(), plan.unlisted, plan.account), (4, 0, world.keeper_key.address()));
    assert_eq!((of(&good).action, of(&unmarked).action), (Action::Redeem, Action::Redeem));
    assert!(of(&good).cost > U256::ZERO && of(&good).serial == Some(1));
    assert_eq!(of(&live).action, Action::Wait);
    assert!(of(&live).reason.contains(&format!("from block {}", expiration + 501)), "{}", of(&live).reason);
    assert_eq!((of(&uncovered).action, of(&uncovered).cost), (Action::Wait, U256::ZERO));
    assert!(of(&uncovered).reason.contains("do not cover"), "{}", of(&uncovered).reason);
    let [ordered, single] = &plan.batches[..] else { panic!("{:?}", plan.batches) };
    assert!(ordered.in_order && !single.in_order);
    assert_eq!((ordered.tickets, ordered.worth), (1, face_value()));
    assert_eq!(ordered.cost, U256::from(ordered.gas) * U256::from(plan.gas_price));
    assert!(plan.usual_gas_price.is_some(), "from eth_feeHistory");
    let gathering = world.dry_run(patient()).await;
    assert!(gathering.batches.is_empty());
    assert!(gathering.tickets.iter().any(|ticket| ticket.reason.starts_with("gathers until it is worth")));

    for winner in &all {
        let state = world.record(hash(winner)).await.state;
        assert_eq!(state, TicketState::Pending { not_before: 0, reason: None });
    }
    stays_unsent(&world).await;
    assert!(world.store.open_transactions(31_337, world.keeper_key.address()).await.unwrap().is_empty());
    // and the keeper does what the plan says
    let running = world.start(World::config()).await;
    eventually("the two are redeemed", || async { total(&world, TicketStatus::Redeemed).await == 2 }).await;
    let spent = world.store.redemption_summary().await.unwrap().gas_used;
    let planned = ordered.gas + single.gas;
    assert!(
        spent.abs_diff(planned) * 100 <= planned * 15,
        "{spent} for {planned}: each plan is made on the same state"
    );
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_gather_until_their_sender_owes_as_much_as_its_deposit() {
    let world = World::new().await;
    let poor = second_sender(&world, face_value() * U256::from(2)).await;
    let expiration = world.block().await + 1;
    let winners = [world.winner(&poor, 1, expiration).await, world.winner(&poor, 2, expiration).await];
    world.store.insert_winners(&winners[..1]).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let running = world.start(patient()).await;
    stays_unsent(&world).await;
    world.store.insert_winners(&winners[1..]).await.unwrap();
    redeemed_at_once(&world, 2).await;
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a10_tickets_gather_until_their_recipient_leaves_the_active_set() {
    let world = World::new().await;
    world.name_redeemer().await;
    let expiration = world.block().await + 1;
    let winner = world.marked(&world.sender, (1, 1), face_value(), expiration).await;
    world.store.insert_winners(&[winner]).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let running = world.start(patient()).await;
    stays_unsent(&world).await;
    let bonding = world.deployment.contracts.bonding_manager;
    let call = BondingManager::unbondCall { amount: ether(1_000) };
    world.deployment.call(&world.orchestrator, bonding, call, U256::ZERO).await.unwrap();
    redeemed_at_once(&world, 1).await;
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_covered_ticket_above_many_uncovered_ones_is_reached() {
    let world = World::new().await;
    world.name_redeemer().await;
    let poor = second_sender(&world, face_value()).await;
    let expiration = world.block().await + 1;
    let mut winners = Vec::new();
    for serial in 1..=5 {
        winners.push(world.marked(&poor, (serial, 1), face_value() * U256::from(2), expiration).await);
    }
    let covered = world.marked(&poor, (9, 1), face_value(), expiration).await;
    winners.push(covered);
    world.store.insert_winners(&winners).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let running = world.start(KeeperConfig { max_batch: 2, ..World::config() }).await;
    mined_until(&world, "the covered one is redeemed", async || total(&world, TicketStatus::Redeemed).await == 1).await;
    assert_eq!(world.record(hash(&covered)).await.state.status(), TicketStatus::Redeemed);
    assert_eq!(world.mark(&poor).await, key(&world.record(hash(&covered)).await));
    assert_eq!(world.nonce(&world.keeper_key).await, 3, "two that make way, and its own");
    assert_eq!(total(&world, TicketStatus::Pending).await, 5, "the others stay payable");
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_has_no_more_gas_than_can_be_mined() {
    let world = World::new().await;
    let expiration = world.block().await + 1;
    let mut winners = Vec::new();
    let small = face_value() / U256::from(20);
    for nonce in 1..=300 {
        winners.push(world.drawn(&world.sender, (nonce, U256::from(1_000 + nonce)), small, expiration).await);
    }
    world.store.insert_winners(&winners).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let running = world.start(KeeperConfig { max_batch: 300, ..World::config() }).await;
    mined_until(&world, "all are redeemed", async || total(&world, TicketStatus::Redeemed).await == 300).await;
    let mut transactions = HashSet::new();
    for winner in &winners {
        let TicketState::Redeemed(payout) = world.record(hash(winner)).await.state else { panic!("not redeemed") };
        transactions.insert(payout.tx_hash);
    }
    assert_eq!(transactions.len(), 2, "one would take more");
    for hash in transactions {
        let sent = world.deployment.anvil.provider().get_transaction_by_hash(hash).await.unwrap().unwrap();
        assert!(sent.gas_limit() <= 1 << 24, "{}", sent.gas_limit());
    }
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payout_is_included_then_safe_then_finalized() {
    let world = World::new().await;
    let winner = world.winner(&world.sender, 1, world.block().await + 1).await;
    world.store.insert_winners(&[winner]).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let running = world.start(KeeperConfig { finality_blocks: 12, ..World::config() }).await;
    let finality = async || world.store.payout_finality(hash(&winner)).await.unwrap();
    eventually("it is paid", || async { finality().await == Some(Finality::Included) }).await;
    // this chain calls the block before its head safe, and the one before that final
    world.deployment.anvil.mine(3).await.unwrap();
    eventually("it is safe", || async { finality().await == Some(Finality::Safe) }).await;
    world.deployment.anvil.mine(12).await.unwrap();
    eventually("it is final", || async { finality().await == Some(Finality::Finalized) }).await;
    running.stop().await;
    world.close().await;
}
