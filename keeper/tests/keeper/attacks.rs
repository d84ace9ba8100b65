//! The attacks of payments.md §6 that contracts and keeper withstand together (docs/designs/018-attacks.md).

use alloy::{
    primitives::{B256, U256},
    providers::{Provider, ext::AnvilApi},
    signers::local::PrivateKeySigner,
    sol_types::SolCall,
};
use streamflow_bindings::{BondingManager, LivepeerToken, RoundsManager, TicketBroker};
use streamflow_chain::redeem_call;
use streamflow_keeper::KeeperConfig;
use streamflow_store::{TicketState, TicketStatus};
use streamflow_testkit::{Anvil, AnvilOptions, Database, Deployment, key};
use streamflow_types::{Ticket, WinningTicket};

use crate::{
    ordered::{ahead, burning, mined_until, pending_transaction, second_sender},
    policy::{patient, redeemed_at_once, stays_unsent},
    world::{ROUND_LENGTH, World, ether, face_value, hash},
};

const UNCOVERED: &str = "sender's funds do not cover the face value";

async fn redeemed(world: &World) -> u64 {
    world.store.ticket_total(TicketStatus::Redeemed).await.unwrap().count
}

async fn paid(world: &World, winner: &WinningTicket) -> U256 {
    match world.record(hash(winner)).await.state {
        TicketState::Redeemed(payout) => payout.amount,
        other => panic!("not redeemed: {other:?}"),
    }
}

/// Waits until the ticket is put off for this reason. Nothing is sent for it.
async fn held(world: &World, winner: &WinningTicket, expected: &str) {
    let sent = world.nonce(&world.keeper_key).await;
    mined_until(world, "it is put off", async || {
        let state = world.record(hash(winner)).await.state;
        matches!(state, TicketState::Pending { reason: Some(reason), .. } if reason.starts_with(expected))
    })
    .await;
    assert_eq!(world.nonce(&world.keeper_key).await, sent, "nothing is sent for it");
}

async fn redeem(world: &World, winner: &WinningTicket) {
    let broker = world.deployment.contracts.ticket_broker;
    world.deployment.call(&key(7).unwrap(), broker, redeem_call(winner), U256::ZERO).await.unwrap();
}

async fn refusal(world: &World, winner: &WinningTicket) -> String {
    let broker = world.deployment.contracts.ticket_broker;
    let answer = world.deployment.view(broker, redeem_call(winner)).await;
    format!("{:#}", answer.err().expect("it would be paid"))
}

/// Whether an error tells of this refusal by the contracts.
fn tells<E: alloy::sol_types::SolError>(error: &str) -> bool {
    error.contains(&alloy::hex::encode(E::SELECTOR))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a02_what_a_sender_owes_is_paid_before_it_can_withdraw() {
    let world = World::new().await;
    world.name_redeemer().await;
    let broker = world.deployment.contracts.ticket_broker;
    let expiration = world.block().await + 1;
    let winners = [
        world.winner(&world.sender, 1, expiration).await,
        world.marked(&world.sender, (1, 1), face_value(), expiration).await,
    ];
    world.store.insert_winners(&winners).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    // It gathers as long as it may, were it not for the unlock.
    let running = world.start(patient()).await;
    stays_unsent(&world).await;
    world.deployment.call(&world.sender, broker, TicketBroker::unlockCall {}, U256::ZERO).await.unwrap();
    redeemed_at_once(&world, 2).await;
    running.stop().await;

    let withdraw = || world.deployment.call(&world.sender, broker, TicketBroker::withdrawCall {}, U256::ZERO);
    assert!(withdraw().await.is_err(), "it cannot be withdrawn yet");
    let info = TicketBroker::getSenderInfoCall { addr: world.sender.address() };
    let withdraw_round: u64 = world.deployment.view(broker, info).await.unwrap().sender.withdrawRound.to();
    while world.deployment.next_round().await.unwrap() < withdraw_round {}
    let balance = async || world.deployment.anvil.provider().get_balance(broker).await.unwrap();
    let before = balance().await;
    withdraw().await.unwrap();
    let owed = face_value() * U256::from(2);
    assert_eq!(before - balance().await, ether(2) - owed, "deposit and reserve without what it owed");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a03_a_deposit_drained_in_the_same_block_leaves_every_recipient_its_share_of_the_reserve() {
    let world = World::new().await;
    let own = key(5).unwrap();
    world.deployment.register(&own, ether(1_000), "https://127.0.0.1:8936").await.unwrap();
    world.deployment.next_round().await.unwrap();
    let share = ether(1) / U256::from(2);
    let expiration = world.block().await + 1;
    let mut winners = Vec::new();
    for nonce in 1..=2 {
        winners
            .push(world.drawn(&world.sender, (nonce, U256::from(70 + nonce)), share / U256::from(2), expiration).await);
    }
    world.store.insert_winners(&winners).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    // To the sender's own orchestrator.
    let to_own = async |nonce, face_value| {
        let winner = world.drawn(&world.sender, (nonce, U256::from(90)), face_value, expiration).await;
        let ticket = Ticket { recipient: own.address(), ..winner.signed.ticket };
        world.signed_anew(&world.sender, winner, ticket)
    };
    let everything = to_own(1, ether(2)).await;
    let most = to_own(2, ether(1) + share).await;

    let anvil = &world.deployment.anvil;
    anvil.set_automine(false).await.unwrap();
    let running = world.start(World::config()).await;
    pending_transaction(&world).await;
    let refused = refusal(&world, &everything).await;
    assert!(tells::<TicketBroker::InsufficientFunds>(&refused), "{refused}");
    ahead(&world, &own, redeem_call(&most).abi_encode()).await;
    anvil.set_automine(true).await.unwrap();
    mined_until(&world, "both are redeemed", async || redeemed(&world).await == 2).await;
    for winner in &winners {
        assert_eq!(paid(&world, winner).await, share / U256::from(2), "in full");
    }
    assert_eq!(world.deposit(world.sender.address()).await, U256::ZERO, "its own orchestrator was first");
    // The first was tried out while the deposit still paid, which takes less gas: no more than that one is lost.
    assert!(world.nonce(&world.keeper_key).await <= 2);
    running.stop().await;
    world.close().await;
}

/// An orchestrator with 1,000 LPT of its own and a delegator with 3,000.
struct Delegated<'a> {
    world: &'a World,
    delegator: PrivateKeySigner,
}

impl<'a> Delegated<'a> {
    /// The delegation counts from the round that begins then.
    async fn new(world: &'a World) -> Self {
        let delegated = Self { world, delegator: key(6).unwrap() };
        delegated.bond(&delegated.delegator, ether(3_000)).await;
        world.deployment.next_round().await.unwrap();
        delegated
    }

    /// To the orchestrator.
    async fn bond(&self, from: &PrivateKeySigner, amount: U256) {
        let Deployment { contracts, .. } = &self.world.deployment;
        self.world.deployment.give_lpt(from.address(), amount).await.unwrap();
        let approve = LivepeerToken::approveCall { spender: contracts.bonding_manager, value: amount };
        self.world.deployment.call(from, contracts.livepeer_token, approve, U256::ZERO).await.unwrap();
        let bond = BondingManager::bondCall { amount, to: self.world.orchestrator.address() };
        self.world.deployment.call(from, contracts.bonding_manager, bond, U256::ZERO).await.unwrap();
    }

    /// Leaves delegators nothing of the fees, as soon as the contract lets it.
    async fn cut_share(&self) {
        let bonding = self.world.deployment.contracts.bonding_manager;
        let orchestrator = &self.world.orchestrator;
        let reward = BondingManager::rewardCall {};
        self.world.deployment.call(orchestrator, bonding, reward, U256::ZERO).await.unwrap();
        let cut = BondingManager::transcoderCall { rewardCut: U256::from(100_000), feeShare: U256::ZERO };
        self.world.deployment.call(orchestrator, bonding, cut, U256::ZERO).await.unwrap();
    }

    async fn fees(&self) -> U256 {
        let call = BondingManager::pendingFeesCall { delegator: self.delegator.address(), _1: U256::ZERO };
        self.world.deployment.view(self.world.deployment.contracts.bonding_manager, call).await.unwrap()
    }

    /// Its part of a winner, wei: nine tenths go to all stake. Each of the two divisions rounds down, the first to the
    /// 10^27th part of a wei per LPT wei.
    async fn part(&self) -> U256 {
        let bonding = self.world.deployment.contracts.bonding_manager;
        let stake = BondingManager::pendingStakeCall { delegator: self.delegator.address(), _1: U256::ZERO };
        let stake = self.world.deployment.view(bonding, stake).await.unwrap();
        let all = BondingManager::transcoderTotalStakeCall { transcoder_: self.world.orchestrator.address() };
        let all = self.world.deployment.view(bonding, all).await.unwrap();
        face_value() * U256::from(9) / U256::from(10) * stake / all
    }

    /// What the delegator has more when this winner is redeemed now, by anybody.
    async fn gains(&self, winner: &WinningTicket) -> U256 {
        let before = self.fees().await;
        redeem(self.world, winner).await;
        self.fees().await - before
    }

    async fn winner(&self, nonce: u32) -> WinningTicket {
        self.world.winner(&self.world.sender, nonce, self.world.block().await + 1).await
    }
}

/// What decides is the commission of the ticket's round and the stake of the round in which it is redeemed. The contract
/// takes care of the one, the keeper of the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a04_delegators_get_their_part_to_the_wei_whatever_the_orchestrator_does_before_it_redeems() {
    let world = World::new().await;
    let delegated = Delegated::new(&world).await;
    let round = async || {
        let rounds = world.deployment.contracts.rounds_manager;
        world.deployment.view(rounds, RoundsManager::currentRoundCall {}).await.unwrap()
    };
    let part = face_value() * U256::from(9) / U256::from(10) * U256::from(3) / U256::from(4);

    // The keeper redeems in the round of the ticket, even when it gathers for as long as it may: as many blocks of its round
    // as by default.
    let (first, second) = (delegated.winner(1).await, delegated.winner(2).await);
    world.store.insert_winners(&[first]).await.unwrap();
    // Stake that counts from the next round on takes most of what is redeemed then.
    delegated.bond(&world.orchestrator, ether(36_000)).await;
    let default = KeeperConfig::default().gather_blocks * ROUND_LENGTH / 5_760;
    let creation = round().await;
    let running = world.start(KeeperConfig { gather_blocks: default, ..patient() }).await;
    mined_until(&world, "it is redeemed", async || redeemed(&world).await == 1).await;
    running.stop().await;
    assert_eq!(round().await, creation, "in the round of the ticket");
    assert_eq!(delegated.fees().await, part);

    // Without the keeper, a round later: a tenth.
    world.deployment.next_round().await.unwrap();
    assert_eq!(delegated.gains(&second).await, part / U256::from(10), "what waiting would have cost it");

    // A cut after winning changes nothing, whenever the winner is redeemed.
    let (third, fourth) = (delegated.winner(3).await, delegated.winner(4).await);
    delegated.cut_share().await;
    assert_eq!(delegated.gains(&third).await, part / U256::from(10));
    world.deployment.next_round().await.unwrap();
    let later = delegated.part().await;
    assert_eq!(delegated.gains(&fourth).await, later);

    // It comes into force seven rounds later, for the tickets made from then on.
    for _ in 0..5 {
        world.deployment.next_round().await.unwrap();
    }
    let last = delegated.winner(5).await;
    world.deployment.next_round().await.unwrap();
    assert_eq!(delegated.gains(&last).await, later, "a ticket of the last round of the notice");
    let announced = delegated.winner(6).await;
    assert_eq!(delegated.gains(&announced).await, U256::ZERO, "it had seven rounds to leave");
    world.close().await;
}

/// A second chain with another past, and a third with the same one and another number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a08_a_ticket_is_redeemed_on_its_own_chain_and_bound_ones_on_no_copy_of_it() {
    let numbered =
        |id: u64| AnvilOptions { args: vec!["--chain-id".to_owned(), id.to_string()], ..AnvilOptions::default() };
    let world = World::new().await;
    let other = World::on_chain(Database::sqlite().unwrap(), numbered(31_338)).await;
    assert_eq!(world.deployment.contracts, other.deployment.contracts, "the same addresses on both");
    let tag: B256 = {
        let broker = world.deployment.contracts.ticket_broker;
        world.deployment.view(broker, TicketBroker::deploymentTagCall {}).await.unwrap()
    };
    let expiration = world.block().await + 1;
    let plain = world.winner(&world.sender, 1, expiration).await;
    let bound = world.winner(&world.sender, 2, expiration).await;
    let bound = world.signed_anew(&world.sender, bound, Ticket { deployment: Some(tag), ..bound.signed.ticket });
    world.deployment.anvil.mine(3).await.unwrap();

    // Another past: the hash of the round is another.
    other.deployment.anvil.mine(5).await.unwrap();
    for winner in [&plain, &bound] {
        let refused = refusal(&other, winner).await;
        assert!(tells::<TicketBroker::InvalidCreationRoundBlockHash>(&refused), "{refused}");
    }
    other.store.insert_winners(&[plain, bound]).await.unwrap();
    let running = other.start(World::config()).await;
    held(&other, &plain, "InvalidCreationRoundBlockHash").await;
    held(&other, &bound, "InvalidCreationRoundBlockHash").await;
    running.stop().await;

    // The same past: only what is bound to the chain tells them apart.
    let copy = Anvil::spawn_with(numbered(31_339)).await.unwrap();
    let state = world.deployment.anvil.provider().anvil_dump_state().await.unwrap();
    assert!(copy.provider().anvil_load_state(state).await.unwrap());
    let (contracts, deployer) = (world.deployment.contracts, world.deployment.deployer.clone());
    let fork = World::at(Deployment { anvil: copy, contracts, deployer }).await;
    fork.store.insert_winners(&[bound]).await.unwrap();
    let running = fork.start(World::config()).await;
    held(&fork, &bound, "InvalidDeploymentTag").await;
    running.stop().await;
    let before = fork.deposit(world.sender.address()).await;
    redeem(&fork, &plain).await;
    assert_eq!(
        before - fork.deposit(world.sender.address()).await,
        face_value(),
        "a limit: what is not bound is paid on a chain with the same past"
    );

    // At home both are paid.
    world.store.insert_winners(&[plain, bound]).await.unwrap();
    let running = world.start(World::config()).await;
    mined_until(&world, "both are redeemed", async || redeemed(&world).await == 2).await;
    running.stop().await;
    for each in [world, other, fork] {
        each.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a10_a_share_that_shrank_or_was_claimed_is_waited_for_without_gas() {
    let world = World::new().await;
    let poor = key(4).unwrap();
    world.deployment.fund_sender(&poor, U256::ZERO, face_value()).await.unwrap();
    let expiration = world.block().await + 1;
    let winners = [world.winner(&poor, 1, expiration).await, world.winner(&poor, 2, expiration).await];
    // The reserve was for one orchestrator when they were won; now there are two.
    world.deployment.register(&key(5).unwrap(), ether(1_000), "https://127.0.0.1:8936").await.unwrap();
    world.deployment.next_round().await.unwrap();
    world.store.insert_winners(&winners).await.unwrap();
    let running = world.start(World::config()).await;
    for winner in &winners {
        held(&world, winner, UNCOVERED).await;
    }
    world.deployment.fund_sender(&poor, U256::ZERO, face_value()).await.unwrap();
    mined_until(&world, "one is redeemed", async || redeemed(&world).await == 1).await;
    // All of the share is claimed.
    let waiting = world.store.tickets(Some(TicketStatus::Pending), 9).await.unwrap();
    held(&world, &waiting[0].ticket, UNCOVERED).await;
    world.deployment.fund_sender(&poor, face_value(), U256::ZERO).await.unwrap();
    mined_until(&world, "both are redeemed", async || redeemed(&world).await == 2).await;
    for winner in &winners {
        assert_eq!(paid(&world, winner).await, face_value());
    }
    assert_eq!(world.nonce(&world.keeper_key).await, 2, "one transaction each");
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a11_a_ticket_that_is_covered_but_for_a_wei_is_not_sent_and_stays_whole() {
    let world = World::new().await;
    world.name_redeemer().await;
    let poor = second_sender(&world, face_value() - U256::ONE).await;
    let expiration = world.block().await + 1;
    let winner = world.winner(&poor, 1, expiration).await;
    world.store.insert_winners(&[winner]).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let running = world.start(World::config()).await;
    held(&world, &winner, UNCOVERED).await;
    // Whoever sends it all the same burns nothing of it.
    let refused = refusal(&world, &winner).await;
    assert!(tells::<TicketBroker::InsufficientFunds>(&refused), "{refused}");
    world.deployment.fund_sender(&poor, U256::ONE, U256::ZERO).await.unwrap();
    mined_until(&world, "it is redeemed", async || redeemed(&world).await == 1).await;
    assert_eq!((paid(&world, &winner).await, world.deposit(poor.address()).await), (face_value(), U256::ZERO));
    running.stop().await;
    world.close().await;
}

/// The deployed contracts before protocol#663: they take what is not covered, pay what there is and burn the ticket. Here they pay
/// nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a11_contracts_that_burn_what_is_not_covered_are_given_nothing_of_it() {
    let world = World::new().await;
    let anvil = world.deployment.anvil.provider();
    let (broker, elsewhere) = (world.deployment.contracts.ticket_broker, alloy::primitives::Address::repeat_byte(0xe1));
    let code = anvil.get_code_at(broker).await.unwrap();
    anvil.anvil_set_code(elsewhere, code.clone()).await.unwrap();
    let burns = burning(TicketBroker::redeemWinningTicketCall::SELECTOR, elsewhere);
    anvil.anvil_set_code(broker, burns.into()).await.unwrap();
    let poor = second_sender(&world, face_value() - U256::ONE).await;
    let winner = world.winner(&poor, 1, world.block().await + 1).await;
    assert!(world.deployment.view(broker, redeem_call(&winner)).await.is_ok(), "they take it");
    world.store.insert_winners(&[winner]).await.unwrap();
    world.deployment.anvil.mine(3).await.unwrap();
    let running = world.start(KeeperConfig { initialize_rounds: false, ..World::config() }).await;
    held(&world, &winner, UNCOVERED).await;
    // Nor in its last moments.
    world.deployment.next_round().await.unwrap();
    world.deployment.anvil.mine(ROUND_LENGTH - 20).await.unwrap();
    stays_unsent(&world).await;
    world.deployment.fund_sender(&poor, U256::ONE, U256::ZERO).await.unwrap();
    anvil.anvil_set_code(broker, code).await.unwrap();
    mined_until(&world, "it is redeemed", async || redeemed(&world).await == 1).await;
    assert_eq!(paid(&world, &winner).await, face_value());
    running.stop().await;
    world.close().await;
}
