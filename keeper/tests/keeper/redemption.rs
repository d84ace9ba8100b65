use std::time::Duration;

use alloy::{
    primitives::{Bytes, U256},
    providers::{Provider, ext::AnvilApi},
    rpc::types::{Filter, TransactionRequest},
    sol_types::{SolCall, SolEvent},
};
use streamflow_bindings::TicketBroker;
use streamflow_chain::redeem_call;
use streamflow_keeper::KeeperConfig;
use streamflow_store::{TicketState, TicketStatus, TransactionRow};
use streamflow_testkit::key;

use crate::{
    chaos::mine_slowly,
    raising::round_start,
    world::{ROUND_LENGTH, World, ether, eventually, face_value, hash},
};

async fn total(world: &World, status: TicketStatus) -> u64 {
    world.store.ticket_total(status).await.unwrap().count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a06_winners_wait_for_their_params_and_then_go_in_one_transaction() {
    let world = World::new().await;
    let expiration = world.block().await + 5;
    let mut winners = Vec::new();
    for nonce in 1..=5 {
        winners.push(world.winner(&world.sender, nonce, expiration).await);
    }
    world.store.insert_winners(&winners).await.unwrap();
    let running = world.start(World::config()).await;

    // expiration + margin is not reached: nobody may learn the secrets yet
    world.deployment.anvil.mine(expiration - world.block().await).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(total(&world, TicketStatus::Pending).await, 5);
    assert_eq!(world.nonce(&world.keeper_key).await, 0);

    world.deployment.anvil.mine(1).await.unwrap();
    eventually("all five are redeemed", || async { total(&world, TicketStatus::Redeemed).await == 5 }).await;
    let summary = world.store.redemption_summary().await.unwrap();
    assert_eq!((summary.transactions, summary.redeemed), (1, 5));
    assert_eq!(summary.payout, face_value() * U256::from(5));
    assert!(summary.gas_used > 100_000 && summary.gas_cost > U256::ZERO);
    assert_eq!(world.nonce(&world.keeper_key).await, 1);
    assert_eq!(world.deposit(world.sender.address()).await, ether(1) - face_value() * U256::from(5));
    for winner in &winners {
        let TicketState::Redeemed(payout) = world.record(hash(winner)).await.state else { panic!("not redeemed") };
        assert_eq!(payout.amount, face_value());
        assert!(payout.block > expiration);
    }
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn used_and_uncovered_tickets_do_not_hold_up_the_others() {
    let world = World::new().await;
    let broker = world.deployment.contracts.ticket_broker;
    let poor = key(4).unwrap();
    world.deployment.fund_sender(&poor, U256::from(1), U256::from(1)).await.unwrap();
    let expiration = world.block().await + 1;
    let good = world.winner(&world.sender, 1, expiration).await;
    let used = world.winner(&world.sender, 2, expiration).await;
    let uncovered = world.winner(&poor, 3, expiration).await;
    let mut forged = world.winner(&world.sender, 4, expiration).await;
    forged.signed.ticket.face_value += U256::from(1); // the signature is over another face value
    world.deployment.anvil.mine(3).await.unwrap();
    let stranger = key(5).unwrap();
    let earlier = world.deployment.call(&stranger, broker, redeem_call(&used), U256::ZERO).await.unwrap();
    world.store.insert_winners(&[good, used, uncovered, forged]).await.unwrap();

    let running = world.start(World::config()).await;
    eventually("the good one is redeemed", || async {
        world.record(hash(&good)).await.state.status() == TicketStatus::Redeemed
    })
    .await;
    eventually("the used one is recorded", || async {
        world.record(hash(&used)).await.state.status() == TicketStatus::Redeemed
    })
    .await;
    let TicketState::Redeemed(payout) = world.record(hash(&used)).await.state else { panic!("not redeemed") };
    assert_eq!((payout.tx_hash, payout.amount), (earlier.transaction_hash, face_value()));
    eventually("the forged one is dead", || async {
        world.record(hash(&forged)).await.state.status() == TicketStatus::Dead
    })
    .await;
    let TicketState::Pending { reason: Some(reason), .. } = world.record(hash(&uncovered)).await.state else {
        panic!("an uncovered ticket must wait")
    };
    assert_eq!(reason, "sender's funds do not cover the face value");
    let sent = world.nonce(&world.keeper_key).await;
    assert_eq!(sent, 1, "only the good one costs gas");

    world.deployment.fund_sender(&poor, ether(1), ether(1)).await.unwrap();
    eventually("the uncovered one is redeemed after funding", || async {
        world.deployment.anvil.mine(1).await.unwrap();
        world.record(hash(&uncovered)).await.state.status() == TicketStatus::Redeemed
    })
    .await;
    assert_eq!(world.nonce(&world.keeper_key).await, 2);
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_a_transaction_sent_before_a_kill_is_recorded_after_the_restart() {
    let world = World::new().await;
    let expiration = world.block().await + 1;
    let mut winners = Vec::new();
    for nonce in 1..=3 {
        winners.push(world.winner(&world.sender, nonce, expiration).await);
    }
    world.store.insert_winners(&winners).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();

    world.deployment.anvil.set_automine(false).await.unwrap();
    let first = world.start(World::config()).await;
    eventually("a signed transaction is in the journal", || async {
        let chain_id = 31_337;
        !world.store.open_transactions(chain_id, world.keeper_key.address()).await.unwrap().is_empty()
    })
    .await;
    first.kill().await;
    assert_eq!(total(&world, TicketStatus::Submitted).await, 3);
    assert_eq!(world.nonce(&world.keeper_key).await, 0);

    let second = world.start(World::config()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.deployment.anvil.mine(1).await.unwrap();
    world.deployment.anvil.set_automine(true).await.unwrap();
    eventually("all are redeemed", || async {
        world.deployment.anvil.mine(1).await.unwrap();
        total(&world, TicketStatus::Redeemed).await == 3
    })
    .await;
    assert_eq!(world.store.redemption_summary().await.unwrap().transactions, 1);
    assert_eq!(world.nonce(&world.keeper_key).await, 1, "sent once");
    assert_eq!(world.deposit(world.sender.address()).await, ether(1) - face_value() * U256::from(3));
    second.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_a_payout_that_a_reorganisation_took_back_is_made_again() {
    let world = World::new().await;
    let expiration = world.block().await + 1;
    let mut winners = Vec::new();
    for nonce in 1..=3 {
        winners.push(world.winner(&world.sender, nonce, expiration).await);
    }
    world.store.insert_winners(&winners).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let before = world.deployment.anvil.snapshot().await.unwrap();
    let running = world.start(KeeperConfig { finality_blocks: 6, ..World::config() }).await;
    eventually("all are redeemed", || async { total(&world, TicketStatus::Redeemed).await == 3 }).await;
    world.deployment.anvil.revert(before).await.unwrap();
    assert_eq!(world.deposit(world.sender.address()).await, ether(1), "the chain forgot it");

    eventually("all are paid on the new branch", || async {
        world.deployment.anvil.mine(1).await.unwrap();
        world.deposit(world.sender.address()).await == ether(1) - face_value() * U256::from(3)
    })
    .await;
    eventually("and recorded", || async { total(&world, TicketStatus::Redeemed).await == 3 }).await;
    assert_eq!(world.store.redemption_summary().await.unwrap().transactions, 1);
    let end = world.block().await + 10;
    eventually("and final", || async {
        world.deployment.anvil.mine(1).await.unwrap();
        world.store.unconfirmed_payouts(end, 9).await.unwrap().is_empty()
    })
    .await;
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tickets_of_a_batch_that_was_never_signed_are_sent_again() {
    let world = World::new().await;
    let expiration = world.block().await + 1;
    let winners = [
        world.winner(&world.sender, 1, expiration).await,
        world.winner(&world.sender, 2, expiration).await,
        world.winner(&world.sender, 3, expiration).await,
    ];
    world.store.insert_winners(&winners).await.unwrap();
    world.store.submit("redeem/interrupted", &winners.each_ref().map(hash), 1).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let running = world.start(World::config()).await;
    eventually("all are redeemed", || async { total(&world, TicketStatus::Redeemed).await == 3 }).await;
    assert_eq!(world.nonce(&world.keeper_key).await, 1);
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_another_account_has_signed_is_left_to_it_until_the_round_ends() {
    let world = World::new().await;
    let winner = world.winner(&world.sender, 1, world.block().await).await;
    world.store.insert_winners(&[winner]).await.unwrap();
    world.store.submit("theirs", &[hash(&winner)], world.block().await).await.unwrap();
    let theirs = TransactionRow {
        chain_id: 31_337,
        sender: key(5).unwrap().address(),
        intent: "theirs".to_owned(),
        label: "redeem tickets".to_owned(),
        nonce: 7,
        recipient: world.deployment.contracts.ticket_broker,
        data: Bytes::new(),
        value: U256::ZERO,
        gas_limit: 500_000,
        max_fee: None,
        open: true,
        state: "\"Open\"".to_owned(),
        attempts: Vec::new(),
    };
    world.store.put_transaction(&theirs).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let running = world.start(World::config()).await;
    tokio::time::sleep(8 * World::config().sweep_interval).await;
    assert_eq!(world.nonce(&world.keeper_key).await, 0);
    assert_eq!(world.record(hash(&winner)).await.state, TicketState::Submitted { intent: "theirs".to_owned() });
    world.deployment.anvil.mine(ROUND_LENGTH).await.unwrap();
    let near_its_end = round_start(&world).await + ROUND_LENGTH * 3 / 4 + 1;
    world.deployment.anvil.mine(near_its_end - world.block().await).await.unwrap();
    eventually("nobody ended it, so this one does", || async {
        mine_slowly(&world, 1).await;
        total(&world, TicketStatus::Redeemed).await == 1
    })
    .await;
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payout_that_does_not_carry_the_gas_is_not_sent() {
    let world = World::new().await;
    let expiration = world.block().await + 1;
    let winner = world.winner(&world.sender, 1, expiration).await;
    world.store.insert_winners(&[winner]).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    world.deployment.anvil.provider().anvil_set_next_block_base_fee_per_gas(1_000_000_000).await.unwrap();
    world.deployment.anvil.mine(1).await.unwrap();
    let demanding = KeeperConfig { margin_percent: u32::MAX, ..World::config() };
    let running = world.start(demanding).await;
    let waits =
        || async { matches!(world.record(hash(&winner)).await.state, TicketState::Pending { reason: Some(_), .. }) };
    eventually("the ticket is put off", waits).await;
    assert_eq!(world.nonce(&world.keeper_key).await, 0);
    running.stop().await;

    let running = world.start(World::config()).await;
    eventually("it goes alone, by the single call", || async {
        world.deployment.anvil.mine(1).await.unwrap();
        world.record(hash(&winner)).await.state.status() == TicketStatus::Redeemed
    })
    .await;
    let filter = Filter::new()
        .address(world.deployment.contracts.ticket_broker)
        .event_signature(TicketBroker::WinningTicketTransfer::SIGNATURE_HASH)
        .from_block(0);
    let logs = world.deployment.anvil.provider().get_logs(&filter).await.unwrap();
    let moved: U256 = logs
        .iter()
        .map(|log| TicketBroker::WinningTicketTransfer::decode_log(&log.inner).unwrap().amount)
        .fold(U256::ZERO, |sum, amount| sum + amount);
    assert_eq!(moved, world.store.redemption_summary().await.unwrap().payout);
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a21_a_redemption_never_offers_more_than_its_tickets_pay() {
    let world = World::new().await;
    let anvil = &world.deployment.anvil;
    let winner = world.winner(&world.sender, 1, world.block().await + 1).await;
    world.store.insert_winners(&[winner]).await.unwrap();
    anvil.mine(3).await.unwrap();
    anvil.set_automine(false).await.unwrap();
    let running = world.start(World::config()).await;
    let open = || async { world.store.open_transactions(31_337, world.keeper_key.address()).await.unwrap() };
    eventually("it is sent", || async { !open().await.is_empty() }).await;
    // 100 gwei is far more than the payout carries, and far below chain.tx.max_fee_per_gas
    for _ in 0..8 {
        anvil.provider().anvil_set_next_block_base_fee_per_gas(100_000_000_000).await.unwrap();
        anvil.mine(1).await.unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let waiting = open().await.pop().expect("it was mined at 100 gwei");
    for attempt in &waiting.attempts {
        let cost = U256::from(attempt.max_fee) * U256::from(waiting.gas_limit);
        assert!(cost * U256::from(125) <= face_value() * U256::from(100), "{cost} wei for {}", face_value());
    }
    assert_eq!(world.nonce(&world.keeper_key).await, 0);
    eventually("it is paid once the base fee has fallen", || async {
        anvil.provider().anvil_set_next_block_base_fee_per_gas(1_000_000_000).await.unwrap();
        anvil.mine(1).await.unwrap();
        world.record(hash(&winner)).await.state.status() == TicketStatus::Redeemed
    })
    .await;
    running.stop().await;
    world.close().await;
}

/// The keeper's transaction is overtaken by a stranger's that redeems one of its tickets.
async fn overtaken(tickets: u32) {
    let world = World::new().await;
    let anvil = &world.deployment.anvil;
    let broker = world.deployment.contracts.ticket_broker;
    let expiration = world.block().await + 1;
    let mut winners = Vec::new();
    for nonce in 1..=tickets {
        winners.push(world.winner(&world.sender, nonce, expiration).await);
    }
    world.store.insert_winners(&winners).await.unwrap();
    anvil.mine(3).await.unwrap();

    anvil.set_automine(false).await.unwrap();
    let running = world.start(World::config()).await;
    eventually("the keeper's transaction is pending", || async {
        let pending = anvil.provider().get_transaction_count(world.keeper_key.address()).pending().await.unwrap();
        pending == 1
    })
    .await;
    let stranger = key(5).unwrap();
    let overtaking = TransactionRequest::default()
        .from(stranger.address())
        .to(broker)
        .input(redeem_call(&winners[0]).abi_encode().into())
        .gas_limit(600_000)
        .max_priority_fee_per_gas(5_000_000_000)
        .max_fee_per_gas(50_000_000_000);
    let pending = anvil.wallet(stranger).send_transaction(overtaking).await.unwrap();
    anvil.mine(1).await.unwrap();
    let faster = pending.get_receipt().await.unwrap();
    assert!(faster.status());
    anvil.set_automine(true).await.unwrap();

    eventually("every ticket is redeemed", || async {
        anvil.mine(1).await.unwrap();
        total(&world, TicketStatus::Redeemed).await == u64::from(tickets)
    })
    .await;
    let TicketState::Redeemed(payout) = world.record(hash(&winners[0])).await.state else { panic!("not redeemed") };
    assert_eq!((payout.tx_hash, payout.amount), (faster.transaction_hash, face_value()));
    let summary = world.store.redemption_summary().await.unwrap();
    assert_eq!((summary.transactions, summary.redeemed), (1, u64::from(tickets)));
    assert_eq!(world.deposit(world.sender.address()).await, ether(1) - face_value() * U256::from(tickets));
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_skipped_in_a_batch_is_recorded_by_the_event_that_paid_it() {
    overtaken(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reverted_single_redemption_is_recorded_by_the_event_that_paid_it() {
    overtaken(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_of_a_round_long_past_is_given_up() {
    let world = World::new().await;
    let poor = key(4).unwrap();
    let winner = world.winner(&poor, 1, world.block().await + 1).await;
    world.store.insert_winners(&[winner]).await.unwrap();
    let running = world.start(World::config()).await;
    eventually("it waits for funds", || async {
        world.deployment.anvil.mine(1).await.unwrap();
        matches!(world.record(hash(&winner)).await.state, TicketState::Pending { reason: Some(_), .. })
    })
    .await;
    // valid in the next round, not in the one after
    world.deployment.anvil.mine(2 * ROUND_LENGTH).await.unwrap();
    tokio::time::sleep(4 * World::config().sweep_interval).await;
    assert_eq!(total(&world, TicketStatus::Dead).await, 0, "a reorganisation may still take the new round back");
    world.deployment.anvil.mine(World::config().finality_blocks).await.unwrap();
    eventually("it is dead", || async { total(&world, TicketStatus::Dead).await == 1 }).await;
    let TicketState::Dead { reason } = world.record(hash(&winner)).await.state else { panic!("not dead") };
    assert_eq!(reason, "ticket is expired; before: sender's funds do not cover the face value");
    running.stop().await;
    world.close().await;
}
