//! Fees and rewards of the contracts against an exact model (docs/designs/011-differential-model.md).
//!
//! The deploy script's contracts are taken out of anvil once. Then random sequences of calls run in process, on them and
//! on the model; after every call all views are compared. `PROPTEST_CASES` sets the number of sequences.
mod action;
mod compare;
mod exact;
mod market;
mod model;

use std::{cell::RefCell, collections::BTreeMap};

use anyhow::{Context, Result, ensure};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use revm::database::InMemoryDB;
use streamflow_bindings::RoundsManager;
use streamflow_evm_tests::dumped_state;
use streamflow_testkit::{DeployOptions, Deployment};

use crate::{
    action::{ANCHOR, Action, ROUND_LENGTH, sequences},
    compare::Gaps,
    market::{Deployed, LPT, Market},
};

/// Sequences of a normal run, and calls of each at most.
const SEQUENCES: u32 = 48;
const LENGTH: usize = 80;

/// What the runs of all sequences came to.
#[derive(Debug, Default)]
struct Summary {
    calls: usize,
    gaps: Gaps,
    tally: BTreeMap<&'static str, [u32; 2]>,
}

#[test]
fn fees_and_rewards_match_exact_model() -> Result<()> {
    let deployed = deploy()?;
    let config = Config {
        cases: std::env::var_os("PROPTEST_CASES").map_or(SEQUENCES, |_| Config::default().cases),
        rng_seed: RngSeed::Fixed(11),
        failure_persistence: None,
        max_shrink_iters: 4_000,
        ..Config::default()
    };
    let summary = RefCell::new(Summary::default());
    let played = TestRunner::new(config).run(&sequences(LENGTH), |actions| {
        let one = play(&deployed, &actions).map_err(|error| TestCaseError::fail(format!("{error:#}")))?;
        let mut all = summary.borrow_mut();
        all.calls += one.calls;
        all.gaps = all.gaps.max(one.gaps);
        for (call, counts) in one.tally {
            let sums = all.tally.entry(call).or_default();
            sums[0] += counts[0];
            sums[1] += counts[1];
        }
        Ok(())
    });
    let summary = summary.into_inner();
    match played {
        Ok(()) => {}
        Err(TestError::Fail(reason, actions)) => anyhow::bail!("{reason}\nafter the opening and {actions:#?}"),
        Err(error) => return Err(error.into()),
    }
    eprintln!(
        "{} calls; at most {}/1000 wei of stake and {}/1000 wei of fees below exact, {}/1000 were allowed; {:?}",
        summary.calls, summary.gaps.stake, summary.gaps.fees, summary.gaps.allowed, summary.tally,
    );
    // Few sequences need not meet everything.
    let enough = summary.calls > 1_000;
    for (call, [done, refused]) in summary.tally.into_iter().filter(|_| enough) {
        ensure!(done > 0 && refused > 0, "{call} went through {done} times and was refused {refused} times");
    }
    Ok(())
}

/// Plays the opening and `actions` on both sides, and compares after each.
fn play(deployed: &Deployed, actions: &[Action]) -> Result<Summary> {
    let mut market = Market::open(deployed)?;
    let mut gaps = Gaps::default();
    let opening = opening();
    for (i, action) in opening.iter().chain(actions).enumerate() {
        let context = || format!("call {i}, {action:?}");
        market.apply(*action).with_context(context)?;
        gaps = gaps.max(market.compare().with_context(context)?);
    }
    Ok(Summary { calls: opening.len() + actions.len(), gaps, tally: market.tally })
}

/// Three orchestrators of four have stake and delegators, and begin to work; the anchor keeps the round's total high.
fn opening() -> Vec<Action> {
    let bond = |who, to, lpt: u128| Action::Bond { who, to, wei: lpt * LPT };
    let terms = |who, reward_cut, fee_share| Action::SetCommissions { who, reward_cut, fee_share };
    let next_round = Action::Advance { rounds: 1, offset: 0, initialize: true };
    vec![
        Action::Initialize,
        bond(ANCHOR, ANCHOR, 1_000_000),
        terms(ANCHOR, 100_000, 500_000),
        bond(0, 0, 20_000),
        terms(0, 0, 1_000_000),
        bond(1, 1, 3_333),
        terms(1, 333_333, 666_667),
        bond(2, 2, 1),
        terms(2, 500_000, 250_000),
        bond(4, 0, 70_001),
        bond(5, 1, 7),
        bond(6, 2, 100_000),
        next_round,
    ]
}

/// A deployment with short periods and few seats; one more orchestrator than seats may want one.
fn deploy() -> Result<Deployed> {
    let env = [
        ("STREAMFLOW_UNBONDING_PERIOD", 3),
        ("STREAMFLOW_NUM_ACTIVE_TRANSCODERS", 4),
        ("STREAMFLOW_INFLATION", 5_000_000),
        ("STREAMFLOW_INFLATION_CHANGE", 250_000),
        ("STREAMFLOW_TARGET_BONDING_RATE", 120_000_000),
    ];
    let env = env.into_iter().map(|(name, value): (_, u64)| (name, value.to_string())).collect();
    let options = DeployOptions { round_length: ROUND_LENGTH, env, ..DeployOptions::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let deployment = Deployment::start_with(options).await?;
        let contracts = deployment.contracts;
        let start = deployment.view(contracts.rounds_manager, RoundsManager::currentRoundStartBlockCall {}).await?;
        let state: InMemoryDB = dumped_state(&deployment.anvil).await?;
        let block = start.to::<u64>() + ROUND_LENGTH;
        Ok(Deployed { state, contracts, deployer: deployment.deployer.address(), block })
    })
}
