use std::time::Duration;

use alloy::{
    primitives::{Address, B256, U256, hex},
    providers::{Provider, ext::AnvilApi},
    rpc::types::{TransactionReceipt, TransactionRequest},
    signers::local::PrivateKeySigner,
    sol_types::SolCall,
};
use streamflow_bindings::TicketBroker;
use streamflow_chain::{OrderedGroup, redeem_call, redeem_ordered_call};
use streamflow_keeper::{KeeperConfig, ordered::plan::key};
use streamflow_pm::QuoteDomain;
use streamflow_store::{DeskId, TicketState, TicketStatus};
use streamflow_testkit::key as account;
use streamflow_types::{Ticket, WinningTicket};

use crate::world::{ROUND_LENGTH, World, ether, eventually, face_value, hash};

async fn total(world: &World, status: TicketStatus) -> u64 {
    world.store.ticket_total(status).await.unwrap().count
}

async fn status(world: &World, winner: &WinningTicket) -> TicketStatus {
    world.record(hash(winner)).await.state.status()
}

async fn paid(world: &World, winner: &WinningTicket) -> streamflow_store::Payout {
    match world.record(hash(winner)).await.state {
        TicketState::Redeemed(payout) => payout,
        other => panic!("not redeemed: {other:?}"),
    }
}

/// A funded sender beside the usual one.
pub(crate) async fn second_sender(world: &World, deposit: U256) -> PrivateKeySigner {
    let sender = account(4).unwrap();
    world.deployment.fund_sender(&sender, deposit, U256::ZERO).await.unwrap();
    sender
}

async fn is_used(world: &World, winner: &WinningTicket) -> bool {
    let call = TicketBroker::usedTicketsCall { ticketHash: hash(winner) };
    world.deployment.view(world.deployment.contracts.ticket_broker, call).await.unwrap()
}

/// Redeems in order as the recipient itself does, ahead of the keeper's transactions in the same block.
async fn overtake(world: &World, tickets: &[&WinningTicket], mark: U256) -> TransactionReceipt {
    let group = OrderedGroup { sender: tickets[0].signed.ticket.sender, mark, tickets: tickets.to_vec() };
    let call = redeem_ordered_call(world.orchestrator.address(), &[group]).unwrap();
    ahead(world, &world.orchestrator, call.abi_encode()).await
}

pub(crate) async fn ahead(world: &World, from: &PrivateKeySigner, data: Vec<u8>) -> TransactionReceipt {
    let request = TransactionRequest::default()
        .from(from.address())
        .to(world.deployment.contracts.ticket_broker)
        .input(data.into())
        .gas_limit(900_000)
        .max_priority_fee_per_gas(5_000_000_000)
        .max_fee_per_gas(50_000_000_000);
    let anvil = &world.deployment.anvil;
    let pending = anvil.wallet(from.clone()).send_transaction(request).await.unwrap();
    anvil.mine(1).await.unwrap();
    let receipt = pending.get_receipt().await.unwrap();
    assert!(receipt.status());
    receipt
}

pub(crate) async fn pending_transaction(world: &World) {
    let anvil = &world.deployment.anvil;
    eventually("the keeper's transaction is pending", || async {
        anvil.provider().get_transaction_count(world.keeper_key.address()).pending().await.unwrap() == 1
    })
    .await;
}

pub(crate) async fn mined_until(world: &World, what: &str, done: impl AsyncFn() -> bool) {
    eventually(what, || async {
        world.deployment.anvil.mine(1).await.unwrap();
        done().await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marked_tickets_of_all_senders_go_in_one_transaction_and_unmarked_ones_in_another() {
    let world = World::new().await;
    world.name_redeemer().await;
    let other = second_sender(&world, ether(1)).await;
    let expiration = world.block().await + 1;
    let mut marked = Vec::new();
    for (sender, place) in [(&world.sender, (3, 1)), (&other, (2, 1)), (&world.sender, (3, 2)), (&world.sender, (1, 9))]
    {
        marked.push(world.marked(sender, place, face_value(), expiration).await);
    }
    let unmarked = [world.winner(&world.sender, 1, expiration).await, world.winner(&other, 2, expiration).await];
    world.store.insert_winners(&marked).await.unwrap();
    world.store.insert_winners(&unmarked).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();

    let running = world.start(World::config()).await;
    eventually("all are redeemed", || async { total(&world, TicketStatus::Redeemed).await == 6 }).await;
    let summary = world.store.redemption_summary().await.unwrap();
    assert_eq!((summary.transactions, summary.payout), (2, face_value() * U256::from(6)));
    let batch = paid(&world, &marked[0]).await;
    for winner in &marked {
        assert_eq!(paid(&world, winner).await, batch);
        assert_eq!(batch.amount, face_value());
        assert!(!is_used(&world, winner).await, "no flag was written");
    }
    assert_eq!(world.mark(&world.sender).await, key(&world.record(hash(&marked[2])).await));
    assert_eq!(world.mark(&other).await, key(&world.record(hash(&marked[1])).await));
    for winner in &unmarked {
        assert_ne!(paid(&world, winner).await.tx_hash, batch.tx_hash);
        assert!(is_used(&world, winner).await);
    }
    assert_eq!(world.deposit(world.sender.address()).await, ether(1) - face_value() * U256::from(4));
    assert_eq!(world.deposit(other.address()).await, ether(1) - face_value() * U256::from(2));
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_passed_while_a_lower_ticket_may_still_win() {
    let world = World::new().await;
    world.name_redeemer().await;
    let soon = world.block().await + 1;
    let later = soon + 30;
    let first = world.marked(&world.sender, (1, 1), face_value(), soon).await;
    let live = world.marked(&world.sender, (2, 1), face_value(), later).await;
    let above = world.marked(&world.sender, (3, 1), face_value(), soon).await;
    world.store.insert_winners(&[first, live, above]).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let running = world.start(World::config()).await;
    eventually("the lowest is redeemed", || async { status(&world, &first).await == TicketStatus::Redeemed }).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.mark(&world.sender).await, key(&world.record(hash(&first)).await));
    assert_eq!(world.nonce(&world.keeper_key).await, 1);

    world.deployment.anvil.mine(later + 1 - world.block().await).await.unwrap();
    eventually("the others are redeemed", || async { total(&world, TicketStatus::Redeemed).await == 3 }).await;
    assert_eq!(paid(&world, &live).await.tx_hash, paid(&world, &above).await.tx_hash);
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_overtaken_by_another_of_the_recipient_is_planned_anew() {
    let world = World::new().await;
    world.name_redeemer().await;
    let expiration = world.block().await + 1;
    let mut winners = Vec::new();
    for serial in 1..=4 {
        winners.push(world.marked(&world.sender, (serial, 1), face_value(), expiration).await);
    }
    world.store.insert_winners(&winners).await.unwrap();
    let anvil = &world.deployment.anvil;
    anvil.mine(3).await.unwrap();
    anvil.set_automine(false).await.unwrap();
    let running = world.start(KeeperConfig { finality_blocks: 8, ..World::config() }).await;
    pending_transaction(&world).await;
    // The first is passed over, the second and third are paid.
    let faster = overtake(&world, &[&winners[1], &winners[2]], U256::ZERO).await;
    anvil.set_automine(true).await.unwrap();

    mined_until(&world, "the others are redeemed", async || total(&world, TicketStatus::Redeemed).await == 3).await;
    for winner in &winners[1..3] {
        let payout = paid(&world, winner).await;
        assert_eq!((payout.tx_hash, payout.amount), (faster.transaction_hash, face_value()));
    }
    assert_ne!(paid(&world, &winners[3]).await.tx_hash, faster.transaction_hash);
    mined_until(&world, "the one passed over is given up", async || total(&world, TicketStatus::Dead).await == 1).await;
    let TicketState::Dead { reason } = world.record(hash(&winners[0])).await.state else { panic!("not dead") };
    assert!(reason.starts_with("passed unpaid"), "{reason}");
    let end = world.block().await + 20;
    mined_until(&world, "payouts are final", async || {
        world.store.unconfirmed_payouts(end, 9).await.unwrap().is_empty()
    })
    .await;
    assert_eq!(world.deposit(world.sender.address()).await, ether(1) - face_value() * U256::from(3));
    assert_eq!(world.store.redemption_summary().await.unwrap().payout, face_value() * U256::from(3));
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_uncovered_ticket_is_set_aside_for_those_behind_it_and_paid_by_itself_later() {
    let world = World::new().await;
    world.name_redeemer().await;
    let poor = second_sender(&world, face_value() * U256::from(2)).await;
    let expiration = world.block().await + 1;
    let dear = world.marked(&poor, (1, 1), face_value() * U256::from(3), expiration).await;
    let small = world.marked(&poor, (2, 1), face_value(), expiration).await;
    let last = world.marked(&poor, (3, 1), face_value() * U256::from(3), expiration).await;
    world.store.insert_winners(&[dear, small, last]).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let running = world.start(World::config()).await;
    eventually("the small one is redeemed", || async { status(&world, &small).await == TicketStatus::Redeemed }).await;
    assert_eq!(world.mark(&poor).await, key(&world.record(hash(&small)).await), "not passed for nothing");
    mined_until(&world, "the others wait for funds", async || {
        let waits = async |winner: &WinningTicket| {
            let state = world.record(hash(winner)).await.state;
            matches!(state, TicketState::Pending { reason: Some(reason), .. } if reason.contains("do not cover"))
        };
        waits(&dear).await && waits(&last).await
    })
    .await;
    assert_eq!(world.nonce(&world.keeper_key).await, 1);

    world.deployment.fund_sender(&poor, ether(1), U256::ZERO).await.unwrap();
    mined_until(&world, "all are redeemed", async || total(&world, TicketStatus::Redeemed).await == 3).await;
    assert!(is_used(&world, &dear).await, "by the deployed call");
    assert!(!is_used(&world, &last).await, "in order");
    assert_eq!(world.deposit(poor.address()).await, ether(1) - face_value() * U256::from(5));
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_drained_before_the_batch_is_mined_does_not_stop_the_others() {
    let world = World::new().await;
    world.name_redeemer().await;
    let deposit = face_value() * U256::from(8);
    let drained = second_sender(&world, deposit).await;
    let expiration = world.block().await + 1;
    let good = [
        world.marked(&world.sender, (1, 1), face_value(), expiration).await,
        world.marked(&world.sender, (1, 2), face_value(), expiration).await,
    ];
    let mut poor = Vec::new();
    for serial in 2..10 {
        poor.push(world.marked(&drained, (serial, 1), face_value(), expiration).await);
    }
    world.store.insert_winners(&good).await.unwrap();
    world.store.insert_winners(&poor).await.unwrap();
    let anvil = &world.deployment.anvil;
    anvil.mine(3).await.unwrap();
    let drain = world.drawn(&drained, (1, U256::from(77)), deposit, expiration).await;
    anvil.set_automine(false).await.unwrap();
    let running = world.start(World::config()).await;
    pending_transaction(&world).await;
    // A ticket that the keeper does not know takes all of the deposit: eight new storage words that nobody estimated.
    ahead(&world, &account(5).unwrap(), redeem_call(&drain).abi_encode()).await;
    anvil.set_automine(true).await.unwrap();

    eventually("the others are redeemed", || async { total(&world, TicketStatus::Redeemed).await == 2 }).await;
    assert_eq!(paid(&world, &good[0]).await, paid(&world, &good[1]).await);
    assert_eq!(total(&world, TicketStatus::Pending).await, 8);
    assert_eq!(world.deposit(drained.address()).await, U256::ZERO);
    world.deployment.fund_sender(&drained, ether(1), U256::ZERO).await.unwrap();
    mined_until(&world, "they are paid by themselves", async || total(&world, TicketStatus::Redeemed).await == 10)
        .await;
    for winner in &poor {
        assert!(is_used(&world, winner).await);
    }
    assert_eq!(world.deposit(drained.address()).await, ether(1) - deposit);
    assert_eq!(world.nonce(&world.keeper_key).await, 2);
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordered_batch_sent_before_a_kill_is_recorded_after_the_restart() {
    let world = World::new().await;
    world.name_redeemer().await;
    let expiration = world.block().await + 1;
    let mut winners = Vec::new();
    for serial in 1..=3 {
        winners.push(world.marked(&world.sender, (serial, 1), face_value(), expiration).await);
    }
    world.store.insert_winners(&winners).await.unwrap();
    let anvil = &world.deployment.anvil;
    anvil.mine(3).await.unwrap();
    anvil.set_automine(false).await.unwrap();
    let first = world.start(World::config()).await;
    pending_transaction(&world).await;
    first.kill().await;
    assert_eq!(total(&world, TicketStatus::Submitted).await, 3);

    // It is mined while nobody looks.
    anvil.mine(1).await.unwrap();
    anvil.set_automine(true).await.unwrap();
    let second = world.start(World::config()).await;
    mined_until(&world, "all are redeemed", async || total(&world, TicketStatus::Redeemed).await == 3).await;
    assert_eq!(world.store.redemption_summary().await.unwrap().transactions, 1);
    assert_eq!(world.nonce(&world.keeper_key).await, 1, "sent once");
    assert_eq!(world.deposit(world.sender.address()).await, ether(1) - face_value() * U256::from(3));
    second.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payouts_that_the_store_forgot_are_found_in_the_chain() {
    let world = World::new().await;
    let expiration = world.block().await + 1;
    let mut winners = Vec::new();
    for serial in 1..=3 {
        winners.push(world.marked(&world.sender, (serial, 1), face_value(), expiration).await);
    }
    world.deployment.anvil.mine(3).await.unwrap();
    let earlier = overtake(&world, &winners.iter().collect::<Vec<_>>(), U256::ZERO).await;
    // As after restoring a backup; the keeper need not be the redeemer for this.
    world.store.insert_winners(&winners).await.unwrap();
    let running = world.start(World::config()).await;
    eventually("all are recorded", || async { total(&world, TicketStatus::Redeemed).await == 3 }).await;
    for winner in &winners {
        let payout = paid(&world, winner).await;
        assert_eq!((payout.tx_hash, payout.amount), (earlier.transaction_hash, face_value()));
    }
    assert_eq!(world.nonce(&world.keeper_key).await, 0);
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordered_payout_that_a_reorganisation_took_back_is_made_again() {
    let world = World::new().await;
    world.name_redeemer().await;
    let expiration = world.block().await + 1;
    let mut winners = Vec::new();
    for serial in 1..=3 {
        winners.push(world.marked(&world.sender, (serial, 1), face_value(), expiration).await);
    }
    world.store.insert_winners(&winners).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let before = world.deployment.anvil.snapshot().await.unwrap();
    let running = world.start(KeeperConfig { finality_blocks: 6, ..World::config() }).await;
    eventually("all are redeemed", || async { total(&world, TicketStatus::Redeemed).await == 3 }).await;
    world.deployment.anvil.revert(before).await.unwrap();
    assert_eq!(world.mark(&world.sender).await, U256::ZERO, "the chain forgot it");

    mined_until(&world, "all are paid on the new branch", async || {
        world.deposit(world.sender.address()).await == ether(1) - face_value() * U256::from(3)
    })
    .await;
    let end = world.block().await + 10;
    mined_until(&world, "and final", async || {
        total(&world, TicketStatus::Redeemed).await == 3
            && world.store.unconfirmed_payouts(end, 9).await.unwrap().is_empty()
    })
    .await;
    assert_eq!(world.store.redemption_summary().await.unwrap().transactions, 1);
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordered_payout_that_comes_aside_on_another_branch_is_not_kept_as_paid() {
    let world = World::new().await;
    world.name_redeemer().await;
    let poor = second_sender(&world, face_value() * U256::from(2)).await;
    let expiration = world.block().await + 1;
    let winners = [
        world.marked(&poor, (1, 1), face_value(), expiration).await,
        world.marked(&poor, (2, 1), face_value(), expiration).await,
    ];
    let drain = world.winner(&poor, 1, expiration).await;
    world.store.insert_winners(&winners).await.unwrap();
    let anvil = &world.deployment.anvil;
    anvil.mine(3).await.unwrap();
    let before = anvil.snapshot().await.unwrap();
    let config = || KeeperConfig { finality_blocks: 6, ..World::config() };
    let running = world.start(config()).await;
    eventually("both are redeemed", || async { total(&world, TicketStatus::Redeemed).await == 2 }).await;
    let batch = paid(&world, &winners[0]).await.tx_hash;
    let raw: alloy::primitives::Bytes =
        anvil.provider().raw_request("debug_getRawTransaction".into(), (batch,)).await.unwrap();
    running.stop().await;

    // On the other branch somebody drains the sender first, and then the very same transaction is mined.
    anvil.revert(before).await.unwrap();
    world
        .deployment
        .call(&account(5).unwrap(), world.deployment.contracts.ticket_broker, redeem_call(&drain), U256::ZERO)
        .await
        .unwrap();
    let sent = anvil.provider().send_raw_transaction(&raw).await.unwrap().get_receipt().await.unwrap();
    assert_eq!((sent.transaction_hash, sent.status()), (batch, true));
    anvil.mine(10).await.unwrap();
    let running = world.start(config()).await;
    mined_until(&world, "the second waits", async || status(&world, &winners[1]).await == TicketStatus::Pending).await;
    assert_eq!(paid(&world, &winners[0]).await.tx_hash, batch);
    assert_eq!(world.deposit(poor.address()).await, U256::ZERO);
    world.deployment.fund_sender(&poor, ether(1), U256::ZERO).await.unwrap();
    mined_until(&world, "it is paid by itself", async || total(&world, TicketStatus::Redeemed).await == 2).await;
    assert_eq!(world.deposit(poor.address()).await, ether(1) - face_value());
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_that_is_not_the_redeemer_waits_and_says_what_to_do() {
    let world = World::new().await;
    let expiration = world.block().await + 1;
    let marked = world.marked(&world.sender, (1, 1), face_value(), expiration).await;
    let unmarked = world.winner(&world.sender, 1, expiration).await;
    world.store.insert_winners(&[marked, unmarked]).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let running = world.start(World::config()).await;
    let reason = || async {
        match world.record(hash(&marked)).await.state {
            TicketState::Pending { reason, .. } => reason,
            other => panic!("must wait: {other:?}"),
        }
    };
    eventually("it waits", || async { reason().await.is_some() }).await;
    let (keeper, orchestrator) = (world.keeper_key.address(), world.orchestrator.address());
    let expected = format!(
        "{keeper} may not redeem for {orchestrator}: run `streamflow chain set-redeemer --redeemer {keeper}` with the \
         key of {orchestrator}"
    );
    assert_eq!(reason().await, Some(expected));
    eventually("the unmarked one is not held up", || async {
        status(&world, &unmarked).await == TicketStatus::Redeemed
    })
    .await;

    world.name_redeemer().await;
    mined_until(&world, "it is redeemed", async || status(&world, &marked).await == TicketStatus::Redeemed).await;
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_that_cannot_win_is_dead_and_does_not_hold_up_its_group() {
    let world = World::new().await;
    world.name_redeemer().await;
    let expiration = world.block().await + 1;
    let first = world.marked(&world.sender, (1, 1), face_value(), expiration).await;
    let mut forged = world.marked(&world.sender, (2, 1), face_value(), expiration).await;
    forged.signed.ticket.face_value += U256::from(1); // the signature is over another face value
    let mut large = world.marked(&world.sender, (3, 1), face_value(), expiration).await;
    large.signed.ticket.face_value = U256::ONE << 96;
    let last = world.marked(&world.sender, (4, 1), face_value(), expiration).await;
    world.store.insert_winners(&[first, forged, large, last]).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let running = world.start(World::config()).await;
    eventually("the good ones are redeemed", || async { total(&world, TicketStatus::Redeemed).await == 2 }).await;
    let dead = async |winner: &WinningTicket| -> String {
        match world.record(hash(winner)).await.state {
            TicketState::Dead { reason } => reason,
            other => panic!("not dead: {other:?}"),
        }
    };
    assert_eq!(dead(&forged).await, "invalid signature over ticket hash");
    assert!(dead(&large).await.contains("96 bits"));
    let batch: B256 = paid(&world, &first).await.tx_hash;
    assert_eq!(paid(&world, &last).await.tx_hash, batch);
    assert_eq!(world.nonce(&world.keeper_key).await, 1, "the simulation found it, not a transaction");
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_to_the_recipient_pays_on_both_ways() {
    let world = World::new().await;
    world.name_redeemer().await;
    let broker = world.deployment.contracts.ticket_broker;
    let sender = account(4).unwrap();
    let commit = TicketBroker::commitReserveCall { recipient: world.orchestrator.address() };
    world.deployment.call(&sender, broker, commit, face_value() * U256::from(2)).await.unwrap();
    let expiration = world.block().await + 1;
    let marked = world.marked(&sender, (1, 1), face_value(), expiration).await;
    let unmarked = world.winner(&sender, 1, expiration).await;
    world.store.insert_winners(&[marked, unmarked]).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let running = world.start(World::config()).await;
    eventually("both are redeemed", || async { total(&world, TicketStatus::Redeemed).await == 2 }).await;
    let call = TicketBroker::claimableCommittedReserveCall {
        sender: sender.address(),
        recipient: world.orchestrator.address(),
    };
    assert_eq!(world.deployment.view(broker, call).await.unwrap(), U256::ZERO);
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_does_not_fit_into_a_block_goes_in_parts() {
    let world = World::new().await;
    world.name_redeemer().await;
    let expiration = world.block().await + 1;
    let mut winners = Vec::new();
    for serial in 1..=12 {
        winners.push(world.marked(&world.sender, (serial, 1), face_value(), expiration).await);
    }
    world.store.insert_winners(&winners).await.unwrap();
    let anvil = &world.deployment.anvil;
    anvil.provider().raw_request::<_, bool>("evm_setBlockGasLimit".into(), (U256::from(500_000),)).await.unwrap();
    anvil.mine(3).await.unwrap();
    let running = world.start(World::config()).await;
    eventually("all are redeemed", || async { total(&world, TicketStatus::Redeemed).await == 12 }).await;
    assert_eq!(world.store.redemption_summary().await.unwrap().transactions, 2);
    assert_ne!(paid(&world, &winners[5]).await.tx_hash, paid(&world, &winners[6]).await.tx_hash);
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_with_another_block_hash_does_not_hold_up_those_above_it_for_ever() {
    let world = World::new().await;
    world.name_redeemer().await;
    let expiration = world.block().await + 1;
    let winner = world.marked(&world.sender, (1, 1), face_value(), expiration).await;
    let orphan = Ticket { creation_round_block_hash: B256::repeat_byte(7), ..winner.signed.ticket };
    let orphan = world.signed_anew(&world.sender, winner, orphan);
    let above = world.marked(&world.sender, (2, 1), face_value(), expiration).await;
    world.store.insert_winners(&[orphan, above]).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let running = world.start(KeeperConfig { finality_blocks: 15, ..World::config() }).await;
    eventually("it waits for the chain to settle", || async {
        let state = world.record(hash(&orphan)).await.state;
        matches!(state, TicketState::Pending { reason: Some(reason), .. } if reason.contains("another block hash"))
    })
    .await;
    assert_eq!(status(&world, &above).await, TicketStatus::Pending);
    mined_until(&world, "it is given up", async || status(&world, &orphan).await == TicketStatus::Dead).await;
    mined_until(&world, "the other is paid", async || status(&world, &above).await == TicketStatus::Redeemed).await;
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_bound_to_the_deployment_is_redeemed_in_order_and_from_aside() {
    let world = World::new().await;
    world.name_redeemer().await;
    let broker = world.deployment.contracts.ticket_broker;
    let tag = world.deployment.view(broker, TicketBroker::deploymentTagCall {}).await.unwrap();
    let poor = second_sender(&world, face_value()).await;
    let expiration = world.block().await + 1;
    let mut winners = Vec::new();
    for (serial, faces) in [(1, 2), (2, 1)] {
        let winner = world.marked(&poor, (serial, 1), face_value() * U256::from(faces), expiration).await;
        let bound = Ticket { deployment: Some(tag), ..winner.signed.ticket };
        winners.push(world.signed_anew(&poor, winner, bound));
    }
    world.store.insert_winners(&winners).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let running = world.start(World::config()).await;
    eventually("one is redeemed", || async { status(&world, &winners[1]).await == TicketStatus::Redeemed }).await;
    world.deployment.fund_sender(&poor, ether(1), U256::ZERO).await.unwrap();
    mined_until(&world, "so is the other", async || status(&world, &winners[0]).await == TicketStatus::Redeemed).await;
    assert!(is_used(&world, &winners[0]).await && !is_used(&world, &winners[1]).await);
    running.stop().await;
    world.close().await;
}

/// Code that delegates every call to `target` but those of `refused`, on which it reverts without a word.
fn without(refused: [u8; 4], target: Address) -> Vec<u8> {
    let mut code = delegating(refused, target);
    code.push(0xfd); // REVERT
    code
}

/// Code that delegates every call to `target` but those of `taken`, which do nothing and succeed.
pub(crate) fn burning(taken: [u8; 4], target: Address) -> Vec<u8> {
    let mut code = delegating(taken, target);
    code.push(0xf3); // RETURN
    code
}

/// The same but for its last byte, which ends a call of `other` with nothing on the stack but an empty answer.
fn delegating(other: [u8; 4], target: Address) -> Vec<u8> {
    let mut code = hex!("5f3560e01c63").to_vec(); // selector, PUSH4
    code.extend(other);
    code.extend(hex!("14603b57365f5f375f5f365f73")); // JUMPI to the end; calldata to memory; PUSH20
    code.extend(target.as_slice());
    code.extend(hex!("5af43d5f5f3e6037573d5ffd5b3d5ff35b5f5f")); // delegatecall, and hand on what it says
    code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contracts_that_know_no_order_get_every_ticket_by_the_deployed_calls() {
    let world = World::new().await;
    let anvil = world.deployment.anvil.provider();
    let (broker, elsewhere) = (world.deployment.contracts.ticket_broker, Address::repeat_byte(0xe1));
    let code = anvil.get_code_at(broker).await.unwrap();
    anvil.anvil_set_code(elsewhere, code).await.unwrap();
    anvil.anvil_set_code(broker, without(TicketBroker::redemptionMarkCall::SELECTOR, elsewhere).into()).await.unwrap();
    let expiration = world.block().await + 1;
    let marked = world.marked(&world.sender, (1, 1), face_value(), expiration).await;
    let unmarked = world.winner(&world.sender, 1, expiration).await;
    world.store.insert_winners(&[marked, unmarked]).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let running = world.start(World::config()).await;
    eventually("the unmarked one is redeemed", || async { status(&world, &unmarked).await == TicketStatus::Redeemed })
        .await;
    // These contracts refuse it there, which others do not: so it was tried.
    eventually("the marked one was tried", || async {
        let state = world.record(hash(&marked)).await.state;
        matches!(state, TicketState::Pending { reason: Some(reason), .. } if reason.starts_with("TicketMarked"))
    })
    .await;
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_passed_only_when_every_desk_has_closed_it() {
    let world = World::new().await;
    world.name_redeemer().await;
    let expiration = world.block().await + 1;
    let first = world.marked(&world.sender, (1, 1), face_value(), expiration).await;
    let low = world.marked(&world.sender, (2, 1), face_value(), expiration + 1).await;
    let high = world.marked(&world.sender, (2, 2), face_value(), expiration + 1).await;
    let domain = QuoteDomain {
        chain_id: world.deployment.anvil.provider().get_chain_id().await.unwrap(),
        broker: world.deployment.contracts.ticket_broker,
    };
    let (recipient, desk) = (world.orchestrator.address(), DeskId([1; 16]));
    world.store.close_params(&domain, recipient, desk, expiration).await.unwrap();
    world.store.deliver(&domain, &[first, high]).await.unwrap();
    world.deployment.anvil.mine(5).await.unwrap();
    let running = world.start(World::config()).await;
    eventually("the first is redeemed", async || total(&world, TicketStatus::Redeemed).await == 1).await;
    paid(&world, &first).await;

    // The desk stores late what it took in time.
    assert!(world.store.deliver(&domain, &[low]).await.unwrap().late.is_empty());
    world.store.close_params(&domain, recipient, desk, expiration + 1).await.unwrap();
    eventually("all are redeemed", async || total(&world, TicketStatus::Redeemed).await == 3).await;
    assert_eq!(world.deposit(world.sender.address()).await, ether(1) - face_value() * U256::from(3));
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_tickets_that_were_paid_are_recorded_and_the_others_given_up() {
    let world = World::new().await;
    let expiration = world.block().await;
    let mut marked = Vec::new();
    for nonce in 1..=3 {
        marked.push(world.marked(&world.sender, (1, nonce), face_value(), expiration).await);
    }
    let used = world.winner(&world.sender, 9, expiration).await;
    let unused = world.winner(&world.sender, 10, expiration).await;
    let batch = overtake(&world, &[&marked[0], &marked[1]], U256::ZERO).await;
    let single = ahead(&world, &world.orchestrator, redeem_call(&used).abi_encode()).await;
    // The store knows of none of this, as after a reorganisation that gave the payouts back at the last moment.
    world.store.insert_winners(&marked).await.unwrap();
    world.store.insert_winners(&[used, unused]).await.unwrap();
    world.deployment.anvil.mine(2 * ROUND_LENGTH + World::config().finality_blocks).await.unwrap();
    let running = world.start(World::config()).await;
    eventually("all are decided", || async {
        world.deployment.anvil.mine(1).await.unwrap();
        total(&world, TicketStatus::Pending).await == 0
    })
    .await;
    for (winner, receipt) in [(&marked[0], &batch), (&marked[1], &batch), (&used, &single)] {
        let payout = paid(&world, winner).await;
        assert_eq!((payout.tx_hash, payout.amount), (receipt.transaction_hash, face_value()));
    }
    for winner in [&marked[2], &unused] {
        let TicketState::Dead { reason } = world.record(hash(winner)).await.state else { panic!("not dead") };
        assert_eq!(reason, "ticket is expired");
    }
    running.stop().await;
    world.close().await;
}
