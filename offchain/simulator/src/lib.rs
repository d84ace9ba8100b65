//! Senders, orchestrators, delegators, gas prices and attackers as agents over the deployed contracts, in process
//! (docs/designs/017-simulator.md).
//!
//! The contracts are those that the deploy script deploys, the tickets those that the nodes make: quoted, signed, checked and
//! drawn by `streamflow-pm`. A run is decided by its seed. [`Simulation::trace_hash`] covers every transaction in order, so two
//! runs of one seed that differ anywhere differ in it.

mod error;
mod gas_price;
mod report;
mod scenario;
mod statistics;
mod trace;
mod wei;
mod world;

use alloy::primitives::B256;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use serde::Serialize;
use streamflow_evm::Deployed;

pub use error::SimulatorError;
pub use report::write_report;
pub use scenario::{
    Attack, AttackOutcome, Burst, Cover, DefaultLosses, Delegators, GasOfBatch, Income, IncomePoint, KeeperCosts, Path,
    Policy, PolicyCost, PriceStep, Schedule, Switch,
};
pub use streamflow_evm::DeployScript;
pub use wei::Wei;

use crate::{trace::Trace, world::World};

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// How much of it.
    pub size: Size,
}

/// How much is simulated. The default takes some tens of seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// Orchestrators whose incomes are compared.
    pub incomes: u64,
    /// Payments to each of them.
    pub payments: u64,
    /// Sizes of the active set that an overspending sender meets.
    pub pools: Vec<u64>,
    /// Sizes of batches whose gas is measured.
    pub batches: Vec<usize>,
    /// Rounds over which the keeper's policies are compared.
    pub keeper_rounds: u64,
}

impl Default for Size {
    fn default() -> Self {
        Self {
            incomes: 40,
            payments: 16,
            pools: vec![1, 2, 4, 8, 16, 32],
            batches: vec![1, 2, 5, 10, 20, 50],
            keeper_rounds: 4,
        }
    }
}

impl Size {
    /// For tests.
    pub fn small() -> Self {
        Self { incomes: 12, payments: 4, pools: vec![2, 8], batches: vec![1, 5], keeper_rounds: 2 }
    }
}

/// What came of a run.
#[derive(Debug, Serialize)]
pub struct Simulation {
    /// Decided everything that was drawn.
    pub seed: u64,
    /// keccak256 over the ordered trace of transactions: block, caller, call, value, outcome, gas, events.
    pub trace_hash: B256,
    /// Transactions in it.
    pub transactions: u64,
    /// How incomes vary.
    pub income: Income,
    /// What overspending senders cost.
    pub defaults: DefaultLosses,
    /// What redemption costs.
    pub keeper: KeeperCosts,
    /// What attackers and victims win and lose.
    pub attacks: Vec<Attack>,
    /// What delegators get when their orchestrator works against them.
    pub delegators: Delegators,
}

/// Runs all scenarios, each on a chain of its own.
///
/// # Errors
/// A contract refuses what must go through, or the agents' books do not agree with it.
pub fn simulate(script: &DeployScript, settings: &Settings) -> Result<Simulation, SimulatorError> {
    let deployed = Deployed::new(script, world::CHAIN_ID, |_| ())?;
    let size = &settings.size;
    // Each scenario has a chain and a stream of its own: how much one draws does not change another.
    let stage = |number| {
        let mut rng = ChaCha20Rng::seed_from_u64(settings.seed);
        rng.set_stream(number);
        Ok::<_, SimulatorError>((World::on(&deployed)?, rng))
    };
    let keeper = || {
        let (mut world, mut rng) = stage(3)?;
        Ok::<_, SimulatorError>((scenario::keeper(&mut world, size, &mut rng)?, world.trace()))
    };
    let (keeper, others) = std::thread::scope(|scope| {
        let keeper = scope.spawn(keeper);
        let others = || {
            let (mut world, mut rng) = stage(1)?;
            let income = (scenario::income(&mut world, size, &mut rng)?, world.trace());
            let (mut world, mut rng) = stage(2)?;
            let defaults = (scenario::defaults(&mut world, size, &mut rng)?, world.trace());
            let (mut world, mut rng) = stage(4)?;
            let attacks = (scenario::attacks(&mut world, script, &mut rng)?, world.trace());
            let (mut world, mut rng) = stage(5)?;
            let delegators = (scenario::delegators(&mut world, &mut rng)?, world.trace());
            Ok::<_, SimulatorError>((income, defaults, attacks, delegators))
        };
        let others = others();
        (keeper.join(), others)
    });
    let (keeper, third) = keeper.map_err(|_| SimulatorError::Panicked)??;
    let ((income, first), (defaults, second), (attacks, fourth), (delegators, fifth)) = others?;
    let mut trace = Trace::default();
    [first, second, third, fourth, fifth].into_iter().for_each(|scenario| trace.absorb(scenario));
    let (trace_hash, transactions) = (trace.hash(), trace.transactions());
    Ok(Simulation { seed: settings.seed, trace_hash, transactions, income, defaults, keeper, attacks, delegators })
}
