//! Small simulations over the real contracts.
#![allow(clippy::unwrap_used)]

mod artifacts;
mod report;

use std::sync::OnceLock;

use anyhow::Result;
use streamflow_simulator::{Cover, Path, Policy, Settings, Simulation, Size, Wei, simulate};

fn run(seed: u64) -> Result<Simulation> {
    Ok(simulate(&artifacts::script()?, &Settings { seed, size: Size::small() })?)
}

/// The run of seed 1, made once.
fn first() -> &'static Simulation {
    static FIRST: OnceLock<Simulation> = OnceLock::new();
    FIRST.get_or_init(|| run(1).unwrap())
}

#[test]
fn a_seed_decides_the_trace() -> Result<()> {
    let again = run(1)?;
    assert_eq!(first().trace_hash, again.trace_hash);
    assert_eq!(serde_json::to_string(first())?, serde_json::to_string(&again)?);
    assert_ne!(first().trace_hash, run(2)?.trace_hash);
    Ok(())
}

#[test]
fn the_payout_lies_in_the_interval_of_theory() {
    let income = &first().income;
    let [low, high] = income.interval_99;
    assert!(low < income.expected && income.expected < high, "{income:?}");
    assert!(income.inside && (low..=high).contains(&income.paid), "{income:?}");
    assert_eq!(income.paid.0, income.face_value.0 * i128::from(income.winners));
    let last = income.points.last().unwrap();
    assert_eq!(last.incomes.iter().copied().sum::<Wei>(), income.paid);
    assert!((last.interval_99[0]..=last.interval_99[1]).contains(&last.measured), "{last:?}");
}

#[test]
fn only_orchestrators_that_count_on_more_than_their_share_lose() {
    let bursts = &first().defaults.bursts;
    for burst in bursts {
        assert_eq!(burst.won, burst.paid + burst.lost);
        match burst.cover {
            Cover::Blind => assert!(burst.lost > Wei::ZERO, "{burst:?}"),
            Cover::ShareOnly => assert_eq!(burst.lost, Wei::ZERO, "{burst:?}"),
            Cover::MaxFloat | Cover::Part => {}
        }
    }
    // A third of the deposit each is too much for eight. Of an eighth each, those who come late lose theirs, and no more.
    let of_eight = |cover| bursts.iter().find(|burst| (burst.pool, burst.cover) == (8, cover)).unwrap();
    let (greedy, careful) = (of_eight(Cover::MaxFloat), of_eight(Cover::Part));
    assert!(greedy.lost > Wei::ZERO, "{greedy:?}");
    assert!(careful.lost < greedy.lost && careful.worst < greedy.worst, "{careful:?} {greedy:?}");
    // Its part of a deposit of 1 ETH, and what is left of its share when that is less than a winner of 0.04.
    assert!(careful.worst < Wei(1_000_000_000_000_000_000 / 8 + 40_000_000_000_000_000), "{careful:?}");
}

#[test]
fn ordered_batches_and_patience_save_gas() {
    let keeper = &first().keeper;
    let gas = |path, tickets| {
        let found = keeper.gas.iter().find(|batch| (batch.path, batch.tickets, batch.senders) == (path, tickets, 1));
        found.unwrap().per_ticket
    };
    assert!(gas(Path::Ordered, 5) < gas(Path::Deployed, 5) && gas(Path::Deployed, 5) < gas(Path::Deployed, 1));
    let cost = |path, policy| keeper.policies.iter().find(|cost| (cost.path, cost.policy) == (path, policy)).unwrap();
    for policy in Policy::ALL {
        let [deployed, ordered] = [Path::Deployed, Path::Ordered].map(|path| cost(path, policy));
        assert!(ordered.gas < deployed.gas, "{policy:?}: {} in order, {} deployed", ordered.gas, deployed.gas);
        for one in [deployed, ordered] {
            assert_eq!(one.lost, Wei::ZERO, "{policy:?}");
            assert!(one.gas_cost >= one.oracle, "{policy:?} beats perfect foresight");
        }
    }
    for path in [Path::Deployed, Path::Ordered] {
        assert!(cost(path, Policy::Deferred).gas_cost <= cost(path, Policy::Threshold).gas_cost, "{path:?}");
        assert!(cost(path, Policy::Threshold).gas_cost < cost(path, Policy::Batch).gas_cost, "{path:?}");
        assert!(cost(path, Policy::Batch).gas_cost < cost(path, Policy::AtOnce).gas_cost, "{path:?}");
    }
}

#[test]
fn every_attack_is_held_and_pays_without_its_defence() {
    let attacks = &first().attacks;
    let ids: Vec<_> = attacks.iter().map(|attack| attack.id).collect();
    let expected =
        ["A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8", "A9", "A10", "A11", "A12", "A13", "A14", "A15", "A16"];
    assert_eq!(ids, expected);
    for attack in attacks {
        assert!(attack.is_held(), "{attack:?}");
        assert_ne!(attack.pays_without_defence(), Some(false), "{attack:?}");
    }
    // The contracts alone decide about these.
    let unswitchable: Vec<_> = attacks.iter().filter(|attack| attack.undefended.is_none()).map(|a| a.id).collect();
    assert_eq!(unswitchable, ["A4", "A5", "A10"]);
}

#[test]
fn a_commission_cannot_be_cut_after_winning_but_a_late_redemption_can_be_diluted() {
    let delegators = &first().delegators;
    // Of a winner of 0.1 ETH: 90 % to all stake, 75 of 100 LPT the delegator's; 75 of 1,000 once it is diluted.
    let promised = 67_500_000_000_000_000;
    assert_eq!(delegators.promised, Wei(promised));
    let payouts: Vec<_> =
        delegators.schedules.iter().map(|schedule| (schedule.delegator, schedule.announced)).collect();
    let exact = [promised, promised, promised, promised, promised, promised / 10, 0];
    assert_eq!(payouts.len(), exact.len());
    for ((got, announced), exact) in payouts.into_iter().zip(exact) {
        assert!(got <= Wei(exact) && Wei(exact) - got <= Wei(4), "{got}, not {exact}");
        assert_eq!(announced, exact == 0);
    }
}
