//! One of two endpoints lies about the state: what cannot be taken back waits until they agree.
use alloy::{
    primitives::U256,
    providers::Provider,
    sol_types::{SolCall, SolError},
};
use streamflow_bindings::{RoundsManager, TicketBroker};
use streamflow_keeper::KeeperConfig;
use streamflow_pm::QuoteDomain;
use streamflow_store::{DeskId, Finality, TicketStatus};
use streamflow_testkit::{Chaos, ChaosProxy};
use streamflow_types::WinningTicket;

use crate::{
    chaos::{due, mine_slowly, start},
    ordered::second_sender,
    world::{Running, World, ether, eventually, face_value, hash},
};

/// Two endpoints of one chain. The first leads.
async fn endpoints(world: &World) -> [ChaosProxy; 2] {
    let url = || world.deployment.anvil.url();
    [ChaosProxy::start(url()).await.unwrap(), ChaosProxy::start(url()).await.unwrap()]
}

fn says<C: SolCall>(_: C, word: U256) -> Chaos {
    Chaos::FalseView { selector: C::SELECTOR, word }
}

fn config() -> KeeperConfig {
    KeeperConfig { finality_blocks: 3, ..World::config() }
}

async fn status(world: &World, winner: &WinningTicket) -> TicketStatus {
    world.record(hash(winner)).await.state.status()
}

async fn in_order(world: &World, serial: u64) -> WinningTicket {
    let winner = world.marked(&world.sender, (serial, 1), face_value(), world.block().await).await;
    world.store.insert_winners(std::slice::from_ref(&winner)).await.unwrap();
    winner
}

/// All are redeemed, each once, and nothing else left the deposit.
async fn all_are_paid(world: World, running: Running, winners: &[WinningTicket]) {
    for winner in winners {
        eventually("a winner is redeemed once they agree", || async {
            mine_slowly(&world, 1).await;
            status(&world, winner).await == TicketStatus::Redeemed
        })
        .await;
    }
    running.stop().await;
    let paid = face_value() * U256::from(winners.len());
    assert_eq!(world.deposit(world.sender.address()).await, ether(1) - paid);
    assert_eq!(world.store.redemption_summary().await.unwrap().payout, paid);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_is_not_given_up_as_expired_on_the_word_of_one() {
    let world = World::new().await;
    let nodes = endpoints(&world).await;
    nodes[0].set(says(TicketBroker::ticketValidityPeriodCall {}, U256::ZERO)).await.unwrap();
    let winner = due(&world, 1).await;
    let running = start(&world, &nodes, config()).await;
    mine_slowly(&world, 10).await;
    assert_eq!(status(&world, &winner).await, TicketStatus::Pending);
    nodes[0].clear();
    all_are_paid(world, running, &[winner]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_is_not_given_up_as_void_on_the_word_of_one() {
    let world = World::new().await;
    let nodes = endpoints(&world).await;
    let reason = TicketBroker::TicketNotWinning {}.abi_encode();
    let selector = TicketBroker::redeemWinningTicketCall::SELECTOR;
    nodes[0].set(Chaos::FalseRefusal { selector, reason }).await.unwrap();
    let winner = due(&world, 1).await;
    let running = start(&world, &nodes, config()).await;
    mine_slowly(&world, 10).await;
    assert_eq!(status(&world, &winner).await, TicketStatus::Pending);
    nodes[0].clear();
    all_are_paid(world, running, &[winner]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_ticket_is_passed_over_because_one_says_that_it_has_expired() {
    let world = World::new().await;
    world.name_redeemer().await;
    let older = in_order(&world, 1).await;
    world.deployment.next_round().await.unwrap();
    let newer = in_order(&world, 2).await;
    let nodes = endpoints(&world).await;
    nodes[0].set(says(TicketBroker::ticketValidityPeriodCall {}, U256::ONE)).await.unwrap();
    let running = start(&world, &nodes, config()).await;
    mine_slowly(&world, 10).await;
    assert_eq!(world.mark(&world.sender).await, U256::ZERO);
    nodes[0].clear();
    all_are_paid(world, running, &[older, newer]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_that_one_calls_expired_holds_up_only_its_own_sender() {
    let world = World::new().await;
    world.name_redeemer().await;
    let other = second_sender(&world, ether(1)).await;
    let older = in_order(&world, 1).await;
    world.deployment.next_round().await.unwrap();
    let newer = in_order(&world, 2).await;
    let others = world.marked(&other, (1, 1), face_value(), world.block().await).await;
    world.store.insert_winners(&[others]).await.unwrap();
    let nodes = endpoints(&world).await;
    nodes[0].set(says(TicketBroker::ticketValidityPeriodCall {}, U256::ONE)).await.unwrap();
    let running = start(&world, &nodes, config()).await;
    eventually("the other sender's is paid", || async {
        mine_slowly(&world, 1).await;
        status(&world, &others).await == TicketStatus::Redeemed
    })
    .await;
    // While the liar leads these two wait. Where it was too slow, and the other one led for a while, they are paid.
    for winner in [&older, &newer] {
        assert_ne!(status(&world, winner).await, TicketStatus::Dead, "given up on the word of one");
    }
    nodes[0].clear();
    for winner in [&older, &newer] {
        eventually("theirs is paid once they agree", || async {
            mine_slowly(&world, 1).await;
            status(&world, winner).await == TicketStatus::Redeemed
        })
        .await;
    }
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_shown_before_its_desk_because_one_says_that_the_round_ends() {
    let world = World::new().await;
    world.name_redeemer().await;
    let domain = QuoteDomain {
        chain_id: world.deployment.anvil.provider().get_chain_id().await.unwrap(),
        broker: world.deployment.contracts.ticket_broker,
    };
    let (recipient, expiration) = (world.orchestrator.address(), world.block().await);
    world.store.close_params(&domain, recipient, DeskId([1; 16]), expiration - 1).await.unwrap();
    let marked = in_order(&world, 1).await;
    let unmarked = world.winner(&world.sender, 9, expiration).await;
    world.store.insert_winners(&[unmarked]).await.unwrap();
    // It began at zero, so it has long been over.
    let nodes = endpoints(&world).await;
    nodes[0].set(says(RoundsManager::currentRoundStartBlockCall {}, U256::ZERO)).await.unwrap();
    world.deployment.next_round().await.unwrap();
    let running = start(&world, &nodes, config()).await;
    mine_slowly(&world, 10).await;
    assert_eq!((world.mark(&world.sender).await, world.nonce(&world.keeper_key).await), (U256::ZERO, 0));
    world.store.close_params(&domain, recipient, DeskId([1; 16]), world.block().await).await.unwrap();
    all_are_paid(world, running, &[marked, unmarked]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payout_is_neither_final_nor_revoked_until_they_agree() {
    let world = World::new().await;
    world.name_redeemer().await;
    let nodes = endpoints(&world).await;
    let unused = || says(TicketBroker::usedTicketsCall { ticketHash: Default::default() }, U256::ZERO);
    nodes[1].set(unused()).await.unwrap();
    let running = start(&world, &nodes, config()).await;
    let winner = due(&world, 1).await;
    let finality = async || world.store.payout_finality(hash(&winner)).await.unwrap();
    eventually("it is paid", || async {
        mine_slowly(&world, 1).await;
        finality().await.is_some()
    })
    .await;
    mine_slowly(&world, 10).await;
    assert_eq!(finality().await, Some(Finality::Included));
    nodes[0].set(unused()).await.unwrap();
    nodes[1].clear();
    mine_slowly(&world, 10).await;
    assert_eq!(finality().await, Some(Finality::Included));
    nodes[0].clear();
    eventually("it is final", || async {
        mine_slowly(&world, 1).await;
        finality().await == Some(Finality::Finalized)
    })
    .await;
    all_are_paid(world, running, &[winner]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordered_payout_is_not_taken_back_on_the_word_of_one() {
    let world = World::new().await;
    world.name_redeemer().await;
    let nodes = endpoints(&world).await;
    let first = in_order(&world, 1).await;
    let running = start(&world, &nodes, KeeperConfig { finality_blocks: 60, ..World::config() }).await;
    eventually("it is paid", || async {
        mine_slowly(&world, 1).await;
        status(&world, &first).await == TicketStatus::Redeemed
    })
    .await;
    let pair = TicketBroker::redemptionMarkCall { recipient: Default::default(), sender: Default::default() };
    nodes[0].set(says(pair, U256::ZERO)).await.unwrap();
    let second = in_order(&world, 2).await;
    mine_slowly(&world, 10).await;
    assert_eq!(status(&world, &first).await, TicketStatus::Redeemed);
    assert_eq!((status(&world, &second).await, world.nonce(&world.keeper_key).await), (TicketStatus::Pending, 1));
    nodes[0].clear();
    all_are_paid(world, running, &[first, second]).await;
}
