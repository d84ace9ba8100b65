//! When to redeem. Each policy meets the same winners at the same prices.
use alloy::primitives::U256;
use serde::Serialize;
use streamflow_types::WinningTicket;

use super::{
    Arrival, FACE_VALUE, Path,
    gas::{Shape, redeem},
};
use crate::{
    SimulatorError, Wei, gas_price,
    world::{Paid, World},
};

/// Winners of one transaction at most.
const MAX_BATCH: usize = 50;
/// Winners that a plain batch waits for.
const BATCH: usize = 10;
/// Blocks before the end of a winner's life at which it is redeemed at any price below its face value: three hours.
const URGENT_BLOCKS: u64 = 900;
/// Part of a day's pending value that waiting costs: one in a hundred (payments.md §5.2).
const HAZARD: u128 = 100;
const BLOCKS_PER_DAY: u128 = 7_200;
/// A price above this many medians of the day is a spike.
const SPIKE: u128 = 5;

/// When to redeem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Every winner by itself, as soon as its secret may be shown.
    AtOnce,
    /// Ten at a time.
    Batch,
    /// When what is pending is worth the fixed part: sqrt(2 · fixed cost · income per day / hazard).
    Threshold,
    /// The same, but not while gas costs more than five times the day's median.
    Deferred,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::AtOnce, Self::Batch, Self::Threshold, Self::Deferred];
}

/// What a policy came to.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyCost {
    /// By which calls it redeemed.
    pub path: Path,
    /// When.
    pub policy: Policy,
    /// Winners that were paid.
    pub tickets: usize,
    /// Paid for them.
    pub paid: Wei,
    /// Winners that died, face value.
    pub lost: Wei,
    /// Gas used.
    pub gas: u64,
    /// What the gas cost.
    pub gas_cost: Wei,
    /// What the wait cost: a hundredth of a winner's face value for each day.
    pub waiting_cost: Wei,
    /// Cost of gas if each winner had been redeemed at the lowest price of its life, for the gas of one more in a batch.
    pub oracle: Wei,
    /// Transactions, by step of the price path, with the winners in each.
    pub transactions: Vec<(usize, usize)>,
}

/// What every policy meets.
pub(crate) struct Market<'a> {
    pub(crate) prices: &'a [u128],
    pub(crate) arrivals: &'a [Arrival],
    /// Block of the first step.
    pub(crate) start: u64,
    pub(crate) path: Path,
    pub(crate) shape: Shape,
}

impl Market<'_> {
    /// Lets a policy redeem on a fork of `world`, whose trace takes it in.
    pub(crate) fn play(&self, world: &mut World, policy: Policy) -> Result<PolicyCost, SimulatorError> {
        let mut fork = world.fork();
        let mut waiting: Vec<&Arrival> = Vec::new();
        let mut coming = self.arrivals.iter().peekable();
        let mut cost = PolicyCost {
            path: self.path,
            policy,
            tickets: 0,
            paid: Wei::ZERO,
            lost: Wei::ZERO,
            gas: 0,
            gas_cost: Wei::ZERO,
            waiting_cost: Wei::ZERO,
            oracle: self.oracle(),
            transactions: Vec::new(),
        };
        for (step, price) in self.prices.iter().copied().enumerate() {
            let block = self.block(step);
            fork.go_to(block)?;
            // The params of what came a step ago have expired.
            while let Some(arrival) = coming.next_if(|arrival| arrival.step < step) {
                waiting.push(arrival);
            }
            waiting.retain(|arrival| {
                let alive = block < arrival.dead;
                cost.lost += if alive { Wei::ZERO } else { Wei(FACE_VALUE as i128) };
                alive
            });
            if !self.is_time(policy, &waiting, step) {
                continue;
            }
            let size = if policy == Policy::AtOnce { 1 } else { MAX_BATCH };
            for batch in std::mem::take(&mut waiting).chunks(size) {
                let winners: Vec<WinningTicket> = batch.iter().map(|one| *one.winner(self.path)).collect();
                let Paid { gas, wei } = redeem(&mut fork, self.path, &winners)?;
                cost.tickets += winners.len();
                cost.paid += wei;
                cost.gas += gas;
                cost.gas_cost += Wei::of_gas(gas, price);
                cost.transactions.push((step, winners.len()));
                for arrival in batch {
                    let blocks = u128::from(block - self.block(arrival.step + 1));
                    cost.waiting_cost += Wei((FACE_VALUE * blocks / (BLOCKS_PER_DAY * HAZARD)) as i128);
                }
            }
        }
        cost.lost += Wei(FACE_VALUE as i128 * waiting.len() as i128);
        world.absorb(&fork);
        let (all, seen) = (Wei(FACE_VALUE as i128 * self.arrivals.len() as i128), cost.paid + cost.lost);
        if all != seen {
            return Err(SimulatorError::Books { what: "a policy's winners", expected: all, got: seen });
        }
        Ok(cost)
    }

    fn block(&self, step: usize) -> u64 {
        self.start + step as u64 * gas_price::STEP_BLOCKS
    }

    fn is_time(&self, policy: Policy, waiting: &[&Arrival], step: usize) -> bool {
        if waiting.is_empty() {
            return false;
        }
        let price = self.prices[step];
        let pays = |tickets: usize| {
            let gas = self.shape.fixed + self.shape.per_ticket * tickets as u64;
            u128::from(gas) * price < FACE_VALUE * tickets as u128
        };
        if waiting.iter().any(|arrival| self.block(step) + URGENT_BLOCKS >= arrival.dead) {
            return pays(waiting.len());
        }
        let value = FACE_VALUE * waiting.len() as u128;
        match policy {
            Policy::AtOnce => true,
            Policy::Batch => waiting.len() >= BATCH,
            Policy::Threshold => value >= self.threshold(price),
            Policy::Deferred => {
                price <= SPIKE * gas_price::median_of_day(self.prices, step) && value >= self.threshold(price)
            }
        }
    }

    /// sqrt(2 · fixed cost · income per day / hazard per day), wei, rounded down.
    fn threshold(&self, price: u128) -> u128 {
        let steps = self.arrivals.last().map_or(1, |arrival| arrival.step + 1) as u128;
        let per_day = FACE_VALUE * self.arrivals.len() as u128 * gas_price::STEPS_PER_DAY as u128 / steps;
        let fixed = u128::from(self.shape.fixed) * price;
        let square = U256::from(2 * HAZARD) * U256::from(fixed) * U256::from(per_day);
        square.root(2).saturating_to()
    }

    fn oracle(&self) -> Wei {
        let lowest = |arrival: &Arrival| {
            let steps = (arrival.step + 1..self.prices.len()).take_while(|step| self.block(*step) < arrival.dead);
            steps.map(|step| self.prices[step]).min().unwrap_or(0)
        };
        self.arrivals.iter().map(|arrival| Wei::of_gas(self.shape.per_ticket, lowest(arrival))).sum()
    }
}
