//! What a delegator gets of a winner when its orchestrator works against it.
use alloy::primitives::{Address, U256};
use rand::Rng;
use rand_chacha::ChaCha20Rng;
use serde::Serialize;
use streamflow_bindings::BondingManager;
use streamflow_types::WinningTicket;

use super::{Cover, Path};
use crate::{
    SimulatorError, Wei,
    world::{Desk, Offer, Payer, UNIT, World},
};

/// Fees that delegators get, ppm.
const FEE_SHARE: u32 = 900_000;
/// Stake of the orchestrator and of its delegator, LPT wei.
const OWN_STAKE: u128 = 25 * UNIT;
const DELEGATED: u128 = 75 * UNIT;
/// Stake that dilutes the delegator, LPT wei.
const DILUTION: u128 = 900 * UNIT;
/// Rounds of notice that a worse commission has to give.
const NOTICE: u64 = 7;
/// One ticket in two wins.
const OFFER: Offer = Offer { face_value: UNIT / 10, ev: UNIT / 20, cover: Cover::Blind };

/// What a delegator gets of one winner.
#[derive(Debug, Serialize)]
pub struct Delegators {
    /// Face value of the winner.
    pub face_value: Wei,
    /// The delegator's part on the terms under which it was earned.
    pub promised: Wei,
    /// What it got.
    pub schedules: Vec<Schedule>,
}

/// One way to redeem a winner.
#[derive(Clone, Debug, Serialize)]
pub struct Schedule {
    /// What the orchestrator did.
    pub what: &'static str,
    /// Fees of the delegator.
    pub delegator: Wei,
    /// Fees of the orchestrator.
    pub orchestrator: Wei,
    /// Whether the delegator could have left before the tickets were made, so that it gets what it agreed to.
    pub announced: bool,
}

/// What the orchestrator does between winning and redeeming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Honest,
    NextRound,
    CutShare,
    CutShareNextRound,
    Dilute,
    DiluteNextRound,
    Announced,
}

const SCHEMES: [(Scheme, &str); 7] = [
    (Scheme::Honest, "redeems at once"),
    (Scheme::NextRound, "redeems a round later"),
    (Scheme::CutShare, "cuts the fee share to 0, redeems"),
    (Scheme::CutShareNextRound, "cuts the fee share to 0, redeems a round later"),
    (Scheme::Dilute, "stakes 36 times its own, redeems"),
    (Scheme::DiluteNextRound, "stakes 36 times its own, redeems a round later"),
    (Scheme::Announced, "cut the fee share seven rounds before"),
];

/// Plays every scheme on a fork.
pub(crate) fn delegators(world: &mut World, rng: &mut ChaCha20Rng) -> Result<Delegators, SimulatorError> {
    let mut schedules = Vec::new();
    for (scheme, what) in SCHEMES {
        let mut fork = world.fork();
        let [delegator, orchestrator] = play(&mut fork, scheme, rng)?;
        world.absorb(&fork);
        schedules.push(Schedule { what, delegator, orchestrator, announced: scheme == Scheme::Announced });
    }
    Ok(Delegators { face_value: Wei(OFFER.face_value as i128), promised: promised(), schedules })
}

/// The delegator's part on the first terms, rounded down.
pub(crate) fn promised() -> Wei {
    let fees = OFFER.face_value * u128::from(FEE_SHARE) / 1_000_000;
    Wei((fees * DELEGATED / (OWN_STAKE + DELEGATED)) as i128)
}

/// Fees of delegator and orchestrator for one winner.
pub(crate) fn play(world: &mut World, scheme: Scheme, rng: &mut ChaCha20Rng) -> Result<[Wei; 2], SimulatorError> {
    let [orchestrator, delegator] = [(); 2].map(|()| Address::new(rng.random()));
    world.register(orchestrator, OWN_STAKE, FEE_SHARE)?;
    world.bond(delegator, orchestrator, DELEGATED)?;
    let mut desk = Desk::new(world, orchestrator, OFFER, rng)?;
    let payer = Payer::new(rng)?;
    world.fund(payer.account(), 10 * UNIT, 10 * UNIT)?;
    world.next_round()?;
    if scheme == Scheme::Announced {
        cut_share(world, orchestrator)?;
        for _ in 0..NOTICE {
            world.next_round()?;
        }
    }
    let winner = winner(world, &mut desk, &payer, rng)?;
    world.advance(50);
    match scheme {
        Scheme::CutShare | Scheme::CutShareNextRound => cut_share(world, orchestrator)?,
        Scheme::Dilute | Scheme::DiluteNextRound => world.bond(orchestrator, orchestrator, DILUTION)?,
        Scheme::Honest | Scheme::NextRound | Scheme::Announced => {}
    }
    if matches!(scheme, Scheme::NextRound | Scheme::CutShareNextRound | Scheme::DiluteNextRound) {
        world.next_round()?;
    }
    let paid = world.must_redeem(&winner)?;
    let fees = [world.fees(delegator)?, world.fees(orchestrator)?];
    // Each part is rounded down.
    if paid.wei - fees[0] - fees[1] > Wei(4) || fees[0] + fees[1] > paid.wei {
        return Err(SimulatorError::Books { what: "fees", expected: paid.wei, got: fees[0] + fees[1] });
    }
    Ok(fees)
}

fn cut_share(world: &mut World, orchestrator: Address) -> Result<(), SimulatorError> {
    // Commissions can only change after the round's reward.
    world.send(orchestrator, world.contracts.bonding_manager, BondingManager::rewardCall {}, U256::ZERO)?;
    Ok(world.set_commission(orchestrator, 0)?)
}

fn winner(
    world: &mut World,
    desk: &mut Desk,
    payer: &Payer,
    rng: &mut ChaCha20Rng,
) -> Result<WinningTicket, SimulatorError> {
    loop {
        let params = desk.quote(world, payer.account(), Path::Deployed, rng)??;
        let payment = payer.pay(world, params, 1, desk.price)?;
        if let Some(winner) = desk.receive(world, &payment)?.winners.pop() {
            return Ok(winner);
        }
    }
}
