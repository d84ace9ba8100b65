//! A21 of payments.md §6: somebody drives the gas price up, to make redemption dear or to let tickets expire.
use std::time::Duration;

use alloy::{
    primitives::{U256, keccak256},
    providers::ext::AnvilApi,
};
use streamflow_bindings::RoundsManager;
use streamflow_keeper::{
    KeeperConfig,
    economics::{Escalation, Outlook, Patience, Risk, Timing, carries},
    planner::Situation,
};
use streamflow_store::{TicketState, TicketStatus};
use streamflow_types::Round;

use crate::world::{ROUND_LENGTH, World, face_value, hash};

const GWEI: u128 = 1_000_000_000;

// --- a path of gas prices, and what each policy pays on it ---

/// Blocks per round, and between two looks of a keeper at the chain.
const ROUND: u64 = 5_760;
const LOOK: u64 = 10;
/// Looks of two rounds: those in which a ticket can be redeemed.
const LOOKS: u64 = 2 * ROUND / LOOK;
/// Looks before, of which only the gas prices count.
const HISTORY: u64 = 720;
/// Wei per gas as a rule.
const USUAL: u128 = GWEI / 10;
/// Ten winners of 0.0012 ETH each, by the deployed calls.
const GAS: u64 = 119_000 + 10 * 84_000;

fn worth() -> U256 {
    U256::from(12_000_000_000_000_000_u64)
}

/// Wei per gas at every look, drawn from a seed.
struct Prices {
    seed: u64,
    drawn: u64,
    history: Vec<u128>,
    prices: Vec<u128>,
}

impl Prices {
    /// A fifth up and down around the usual price.
    fn calm(seed: u64) -> Self {
        let mut all = Self { seed, drawn: 0, history: Vec::new(), prices: Vec::new() };
        all.history = (0..HISTORY).map(|_| all.near(USUAL)).collect();
        all.prices = (0..LOOKS).map(|_| all.near(USUAL)).collect();
        all
    }

    /// The same with a spike of so many times the usual price. After it the price halves until it is as before.
    fn spike(seed: u64, looks: std::ops::Range<u64>, times: u128) -> Self {
        let mut all = Self::calm(seed);
        for look in looks.clone() {
            all.prices[look as usize] = all.near(USUAL * times);
        }
        for (look, halved) in (looks.end..LOOKS).zip(1..) {
            let falling = (USUAL * times) >> halved;
            if falling <= USUAL {
                break;
            }
            all.prices[look as usize] = falling;
        }
        all
    }

    /// Below `n`.
    fn draw(&mut self, n: u64) -> u64 {
        self.drawn += 1;
        let hash = keccak256([self.seed.to_be_bytes(), self.drawn.to_be_bytes()].concat());
        (U256::from_be_bytes(hash.0) % U256::from(n)).to()
    }

    fn near(&mut self, price: u128) -> u128 {
        price * (80 + u128::from(self.draw(41))) / 100
    }

    /// Median of what a keeper has seen by this look.
    fn usual(&self, look: u64) -> u128 {
        let mut seen = [&self.history, &self.prices[..=look as usize]].concat();
        let last = seen.len().saturating_sub((KeeperConfig::default().fee_history_blocks / LOOK) as usize);
        let seen = &mut seen[last..];
        let middle = (seen.len() - 1) / 2;
        *seen.select_nth_unstable(middle).1
    }

    fn cost(&self, look: u64) -> U256 {
        U256::from(GAS) * U256::from(self.prices[look as usize])
    }
}

/// What a redemption cost, and at which look.
type Paid = Option<(u64, U256)>;

/// The keeper with its default settings; the winners are of the first round, and may be redeemed from look `from` on.
fn keeper(prices: &Prices, from: u64) -> Paid {
    let config = KeeperConfig::default();
    (from..LOOKS).find_map(|look| {
        let block = look * LOOK;
        let round = block / ROUND;
        let situation =
            Situation { block, round: Round(round), round_start: round * ROUND, round_length: ROUND, validity: 2 };
        let (escalation, blocks_left) = situation.escalation(Round(0), &config);
        let outlook = Outlook {
            worth: worth(),
            risk: Risk::PerRound(config.risk_ppm_per_round),
            recipient_leaves: false,
            income: U256::from(50_000_000_000_000_000_u64),
            fixed_gas: 119_000,
            gas: GAS,
            gas_price: prices.prices[look as usize],
            usual_gas_price: Some(prices.usual(look)),
            waited: (look - from) * LOOK >= config.gather_blocks,
            escalation,
            blocks_left,
        };
        let due =
            matches!(outlook.timing(Patience { blocks: config.defer_blocks, round_length: ROUND }), Timing::Now(_));
        let margin = escalation.margin(config.margin_percent);
        (due && carries(worth(), prices.cost(look), margin)).then(|| (look, prices.cost(look)))
    })
}

/// Who knows no usual price redeems as soon as the payout carries the gas.
fn without_history(prices: &Prices, from: u64) -> Paid {
    (from..LOOKS).find(|look| carries(worth(), prices.cost(*look), 0)).map(|look| (look, prices.cost(look)))
}

/// Who knows what comes.
fn oracle(prices: &Prices, from: u64) -> U256 {
    (from..LOOKS).map(|look| prices.cost(look)).min().unwrap()
}

#[test]
fn a21_a_spike_that_falls_costs_a_keeper_next_to_nothing_and_others_all_of_it() {
    let (mut ours, mut theirs) = (U256::ZERO, U256::ZERO);
    for seed in 0..50 {
        let mut dice = Prices::calm(seed);
        // Less than half a day: what lasts longer is the usual price (`keeper.fee_history_blocks`).
        let (from, length, times) = (50 + dice.draw(300), 20 + dice.draw(320), 10 + u128::from(dice.draw(90)));
        let prices = Prices::spike(seed, from..from + length, times);
        let best = oracle(&prices, from);
        let (_, paid) = keeper(&prices, from).unwrap_or_else(|| panic!("seed {seed}: never redeemed"));
        let (_, at_once) = without_history(&prices, from).unwrap();
        assert!(paid <= best * U256::from(4), "seed {seed}: {paid} wei, {best} at best");
        assert!(paid * U256::from(3) < at_once, "seed {seed}: {paid} wei, {at_once} without a history of prices");
        ours += paid - best;
        theirs += at_once - best;
    }
    assert!(ours * U256::from(50) < theirs, "{ours} of {theirs} wei above the best");
}

/// It lasts until the tickets have expired: they are redeemed late, but not too late, and never for more than they pay.
#[test]
fn a21_a_spike_that_lasts_is_paid_before_the_deadline_up_to_break_even() {
    let config = KeeperConfig::default();
    let deadline = 2 * ROUND - config.deadline_blocks;
    let rises = deadline - ROUND * u64::from(config.escalation_percent) / 100;
    let margin = Escalation::NONE.margin(config.margin_percent);
    let break_even = (worth() / U256::from(GAS)).to::<u128>();
    let (mut redeemed, mut left) = (0, 0);
    for seed in 0..50 {
        let mut dice = Prices::calm(seed);
        // From three tenths of break-even to half as much again.
        let times = (3 + u128::from(dice.draw(13))) * break_even / 10 / USUAL;
        let from = dice.draw(300);
        let mut prices = Prices::spike(seed, from..LOOKS, times);
        // Steady, so that break-even is the same throughout.
        prices.prices[from as usize..].fill(USUAL * times);
        let cost = prices.cost(from);
        match keeper(&prices, from) {
            Some((look, paid)) => {
                let block = look * LOOK;
                assert!(paid < worth(), "seed {seed}: {paid} wei for {}", worth());
                assert!(block <= deadline + LOOK, "seed {seed}: redeemed in block {block}");
                // With less than the margin to gain, no sooner than the margin falls.
                assert!(carries(worth(), cost, margin) || block >= rises, "seed {seed}: redeemed in block {block}");
                redeemed += 1;
            }
            None => {
                assert!(cost >= worth(), "seed {seed}: given up though it cost {cost} wei");
                left += 1;
            }
        }
    }
    assert!(redeemed > 10 && left > 10, "{redeemed} redeemed, {left} not worth their gas");
}

// --- on a chain ---

async fn mine_at(world: &World, base_fee: u128) {
    let anvil = &world.deployment.anvil;
    anvil.provider().anvil_set_next_block_base_fee_per_gas(base_fee).await.unwrap();
    anvil.mine(1).await.unwrap();
}

async fn is_redeemed(world: &World) -> bool {
    world.store.ticket_total(TicketStatus::Redeemed).await.unwrap().count == 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a21_gas_that_spikes_is_waited_out_until_it_falls() {
    let world = World::new().await;
    let spike = 20 * GWEI;
    let winner = world.winner(&world.sender, 1, world.block().await + 1).await;
    world.store.insert_winners(&[winner]).await.unwrap();
    // Development chains grow cheaper with each empty block: the usual price is that of the last fifty.
    let heedful = KeeperConfig { defer_blocks: 20, fee_history_blocks: 50, ..World::config() };
    for _ in 0..50 {
        mine_at(&world, GWEI).await;
    }
    // It would pay: the face value is more than twice the gas even so.
    mine_at(&world, spike).await;
    let heedless = world.dry_run(KeeperConfig { defer_blocks: 0, ..heedful.clone() }).await;
    assert_eq!(heedless.batches.len(), 1);
    let plan = world.dry_run(heedful.clone()).await;
    assert!(plan.batches.is_empty() && plan.tickets[0].reason.starts_with("gas costs"), "{:?}", plan.tickets);

    let running = world.start(heedful).await;
    for _ in 0..8 {
        mine_at(&world, spike).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert_eq!(world.nonce(&world.keeper_key).await, 0, "it waits");
    for _ in 0..100 {
        mine_at(&world, GWEI).await;
        if is_redeemed(&world).await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let spent = world.store.redemption_summary().await.unwrap();
    assert_eq!((spent.redeemed, spent.payout), (1, face_value()));
    assert!(spent.gas_cost <= U256::from(spent.gas_used) * U256::from(2 * GWEI), "{} wei", spent.gas_cost);
    running.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a21_in_a_spike_without_end_a_ticket_is_redeemed_before_its_deadline_at_most_at_break_even() {
    let world = World::new().await;
    let winner = world.winner(&world.sender, 1, world.block().await + 1).await;
    world.store.insert_winners(&[winner]).await.unwrap();
    world.deployment.next_round().await.unwrap();
    let start = RoundsManager::currentRoundStartBlockCall {};
    let start: u64 = world.deployment.view(world.deployment.contracts.rounds_manager, start).await.unwrap().to();
    // Escalation and deadline of the default settings in a round of this length.
    let deadline = start + ROUND_LENGTH - ROUND_LENGTH / 4;
    let rises = deadline - ROUND_LENGTH / 4;

    let config = KeeperConfig { defer_blocks: 20, initialize_rounds: false, ..World::config() };
    let gas = world.dry_run(config.clone()).await.batches[0].gas;
    // An eighth below break-even: less than the margin leaves, more than the gas takes with its headroom.
    let limit = gas + gas / 5;
    let spike = (face_value() / U256::from(limit + limit / 8)).to::<u128>();
    for _ in 0..25 {
        mine_at(&world, spike).await;
    }
    let running = world.start(config).await;
    while !is_redeemed(&world).await {
        let block = world.block().await;
        assert!(block < start + ROUND_LENGTH, "it has expired");
        mine_at(&world, spike).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let TicketState::Redeemed(payout) = world.record(hash(&winner)).await.state else { panic!("not redeemed") };
    assert_eq!(payout.amount, face_value());
    assert!((rises..=deadline + 10).contains(&payout.block), "{} of {rises} to {deadline}", payout.block);
    let spent = world.store.redemption_summary().await.unwrap();
    assert!(spent.gas_cost <= face_value(), "{} wei for {}", spent.gas_cost, face_value());
    running.stop().await;
    world.close().await;
}
