//! What redemption costs: gas of batches, and policies over one path of gas prices.
mod gas;
mod policy;

use rand::Rng;
use rand_chacha::ChaCha20Rng;
use serde::Serialize;
use streamflow_types::WinningTicket;

pub use self::{
    gas::GasOfBatch,
    policy::{Policy, PolicyCost},
};
use super::{Cover, Path};
use crate::{
    SimulatorError, Size, Wei, gas_price,
    world::{Desk, Offer, Payer, UNIT, World},
};

/// Face value of a winner, wei: the network's example (payments.md §5.2). One ticket in two wins.
const OFFER: Offer = Offer { face_value: FACE_VALUE, ev: FACE_VALUE / 2, cover: Cover::Blind };
const FACE_VALUE: u128 = UNIT * 12 / 10_000;

/// What redemption costs.
#[derive(Debug, Serialize)]
pub struct KeeperCosts {
    /// Gas by path and size.
    pub gas: Vec<GasOfBatch>,
    /// Price of gas over time.
    pub prices: Vec<PriceStep>,
    /// Face value of each winner.
    pub face_value: Wei,
    /// Every policy on every path, over the same prices and arrivals.
    pub policies: Vec<PolicyCost>,
}

/// A price of gas, from a block on.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PriceStep {
    /// Blocks since the beginning.
    pub block: u64,
    /// Wei per gas.
    pub price: Wei,
}

/// A winner of each path that came at the same time.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    step: usize,
    /// First block in which it cannot be redeemed any more.
    dead: u64,
    deployed: WinningTicket,
    ordered: WinningTicket,
}

impl Arrival {
    fn winner(&self, path: Path) -> &WinningTicket {
        match path {
            Path::Deployed => &self.deployed,
            Path::Ordered => &self.ordered,
        }
    }
}

/// Measures the gas of batches, then lets every policy redeem the same winners at the same prices.
pub(crate) fn keeper(world: &mut World, size: &Size, rng: &mut ChaCha20Rng) -> Result<KeeperCosts, SimulatorError> {
    let desk = &mut world.desk(OFFER, rng)?;
    let payers = (0..10).map(|_| Payer::new(rng)).collect::<Result<Vec<_>, _>>()?;
    for payer in &payers {
        world.fund(payer.account(), 100 * UNIT, 10 * UNIT)?;
    }
    // Beyond the first of a pair, which finds its storage empty.
    for payer in &payers {
        let first = winners(world, desk, payer, Path::Ordered, 1, rng)?;
        let single = winners(world, desk, payer, Path::Deployed, 1, rng)?;
        world.advance(50);
        world.redeem_in_order(&first)?;
        world.redeem_batch(&single)?;
    }
    let gas = gas::measure(world, desk, &payers, size, rng)?;

    world.next_round()?;
    let round_blocks = world.round_end()? - world.block();
    let steps = (size.keeper_rounds * round_blocks / gas_price::STEP_BLOCKS) as usize;
    let prices = gas_price::path(steps + 2 * (round_blocks / gas_price::STEP_BLOCKS) as usize + 1, rng);
    let start = world.block();
    let arrivals = arrivals(world, desk, &payers, steps, rng)?;
    let mut policies = Vec::new();
    for path in [Path::Deployed, Path::Ordered] {
        let fixed = gas::Shape::of(&gas, path);
        for policy in Policy::ALL {
            let market = policy::Market { prices: &prices, arrivals: &arrivals, start, path, shape: fixed };
            policies.push(market.play(world, policy)?);
        }
    }
    let prices = prices
        .iter()
        .enumerate()
        .map(|(step, price)| PriceStep { block: step as u64 * gas_price::STEP_BLOCKS, price: Wei::of_gas(1, *price) });
    Ok(KeeperCosts { gas, prices: prices.collect(), face_value: Wei(FACE_VALUE as i128), policies })
}

/// Exactly `count` winners of `payer`; what wins beyond them is dropped.
fn winners(
    world: &mut World,
    desk: &mut Desk,
    payer: &Payer,
    path: Path,
    count: usize,
    rng: &mut ChaCha20Rng,
) -> Result<Vec<WinningTicket>, SimulatorError> {
    let mut found = Vec::new();
    while found.len() < count {
        let params = desk.quote(world, payer.account(), path, rng)??;
        let payment = payer.pay(world, params, 2 * (count - found.len()), desk.price)?;
        found.extend(desk.receive(world, &payment)?.winners);
        desk.held.clear();
    }
    found.truncate(count);
    Ok(found)
}

/// Winners as they come: a payment of two tickets in every other step, at random.
fn arrivals(
    world: &World,
    desk: &mut Desk,
    payers: &[Payer],
    steps: usize,
    rng: &mut ChaCha20Rng,
) -> Result<Vec<Arrival>, SimulatorError> {
    let mut world = world.fork();
    let start = world.block();
    let length = world.round_end()? - start;
    let mut arrivals = Vec::new();
    for step in 0..steps {
        world.go_to(start + step as u64 * gas_price::STEP_BLOCKS)?;
        if !rng.random_ratio(1, 2) {
            continue;
        }
        let payer = &payers[rng.random_range(0..payers.len() as u32) as usize];
        let params = desk.quote(&mut world, payer.account(), Path::Deployed, rng)??;
        let payment = payer.pay(&mut world, params, 2, desk.price)?;
        let deployed = desk.receive(&mut world, &payment)?.winners;
        desk.held.clear();
        let ordered = winners(&mut world, desk, payer, Path::Ordered, deployed.len(), rng)?;
        let round_end = world.round_end()?;
        for (deployed, ordered) in deployed.into_iter().zip(ordered) {
            arrivals.push(Arrival { step, dead: round_end + length, deployed, ordered });
        }
    }
    Ok(arrivals)
}
