//! What a sender that promises more than it has costs the orchestrators, by what they ask of its funds.
use alloy::primitives::{Address, U256};
use rand::seq::SliceRandom;
use rand_chacha::ChaCha20Rng;
use serde::Serialize;
use streamflow_bindings::TicketBroker;
use streamflow_types::WinningTicket;

use super::{Cover, Path};
use crate::{
    SimulatorError, Size, Wei,
    world::{Offer, Payer, UNIT, World},
};

/// The sender's deposit and reserve, wei each.
const FUNDS: u128 = UNIT;
/// What it tries to buy, in worth of tickets: four times its funds.
const DEMAND: u128 = 8 * UNIT;
/// Face value aimed at and expected value, wei: one ticket in ten wins.
const FACE_VALUE: u128 = UNIT / 25;
const EV: u128 = UNIT / 250;
/// Tickets of a payment.
const TICKETS: usize = 4;
/// Most rounds of payments before the first secrets may be shown.
const STEPS: u64 = 36;

/// Losses by size of the active set and by what orchestrators ask.
#[derive(Debug, Serialize)]
pub struct DefaultLosses {
    /// The sender's deposit and reserve together.
    pub funds: Wei,
    /// What it tried to buy.
    pub demand: Wei,
    /// One overspending each.
    pub bursts: Vec<Burst>,
}

/// One sender that pays all orchestrators at once, more than it has, and what of it was paid in the end.
#[derive(Clone, Debug, Serialize)]
pub struct Burst {
    /// Orchestrators in the active set.
    pub pool: u64,
    /// What they ask of the sender's funds.
    pub cover: Cover,
    /// Worth of the tickets that they took: work they do for it.
    pub sold: Wei,
    /// Face value of the winners among them. Those that earned no credit are left out: nobody worked for them.
    pub won: Wei,
    /// Paid by the contracts.
    pub paid: Wei,
    /// Winners that were never paid.
    pub lost: Wei,
    /// The most that one orchestrator lost.
    pub worst: Wei,
}

/// Plays a burst for every pool and every kind of cover.
pub(crate) fn defaults(world: &mut World, size: &Size, rng: &mut ChaCha20Rng) -> Result<DefaultLosses, SimulatorError> {
    let mut bursts = Vec::new();
    for pool in size.pools.iter().copied() {
        for cover in [Cover::Blind, Cover::MaxFloat, Cover::Part, Cover::ShareOnly] {
            let mut fork = world.fork();
            bursts.push(burst(&mut fork, pool, cover, rng)?);
            world.absorb(&fork);
        }
    }
    Ok(DefaultLosses { funds: Wei(2 * FUNDS as i128), demand: Wei(DEMAND as i128), bursts })
}

/// One burst: every payment before the first redemption, so that nothing on chain warns anybody.
pub(crate) fn burst(
    world: &mut World,
    pool: u64,
    cover: Cover,
    rng: &mut ChaCha20Rng,
) -> Result<Burst, SimulatorError> {
    let mut desks = world.desks(pool, Offer { face_value: FACE_VALUE, ev: EV, cover }, rng)?;
    let mut payer = Payer::new(rng)?;
    payer.overspends = true;
    world.fund(payer.account(), FUNDS, FUNDS)?;
    let mut left = DEMAND;
    let mut sold = Wei::ZERO;
    for step in 0..STEPS {
        // The same demand for every pool, spread evenly over steps and desks.
        let share = left / u128::from(STEPS - step);
        let payments = (share / (EV * TICKETS as u128)).max(1);
        for turn in 0..payments {
            let desk = &mut desks[((u128::from(step) * payments + turn) % u128::from(pool)) as usize];
            if left < EV * TICKETS as u128 {
                break;
            }
            left -= EV * TICKETS as u128;
            let Ok(params) = desk.quote(world, payer.account(), Path::Deployed, rng)? else { continue };
            let payment = payer.pay(world, params, TICKETS, desk.price)?;
            let receipt = desk.receive(world, &payment)?;
            sold += Wei::from_chain(receipt.credit.floor_wei());
            // Winners that earned no credit cost nobody anything.
            let given: Vec<u32> = payment.tickets[receipt.credited..].iter().map(|own| own.sender_nonce).collect();
            desk.held.retain(|winner| {
                let ticket = &winner.signed.ticket;
                ticket.recipient_rand_hash != params.recipient_rand_hash || !given.contains(&ticket.sender_nonce)
            });
        }
        world.advance(1);
    }
    let mut held: Vec<WinningTicket> = desks.iter_mut().flat_map(|desk| desk.held.drain(..)).collect();
    held.shuffle(rng);
    let won = total(&held);
    let (paid, held) = redeem_while_valid(world, held)?;
    let lost_by = |desk: Address| held.iter().filter(move |winner| winner.signed.ticket.recipient == desk);
    let worst = desks.iter().map(|desk| total(lost_by(desk.account))).max().unwrap_or_default();
    let lost = total(&held);
    if paid + lost != won {
        return Err(SimulatorError::Books {
            what: "an overspending sender's winners",
            expected: won,
            got: paid + lost,
        });
    }
    Ok(Burst { pool, cover, sold, won, paid, lost, worst })
}

/// Tries every winner in both of its rounds, whose funds are shared out anew. Returns what was paid, and who got nothing.
fn redeem_while_valid(
    world: &mut World,
    mut held: Vec<WinningTicket>,
) -> Result<(Wei, Vec<WinningTicket>), SimulatorError> {
    let mut paid = Wei::ZERO;
    world.advance(50);
    for round in 0..2 {
        if round > 0 {
            world.next_round()?;
        }
        let mut unpaid = Vec::new();
        for winner in held {
            match world.redeem(&winner)? {
                Ok(done) => paid += done.wei,
                Err(refusal) if refusal.is::<TicketBroker::InsufficientFunds>() => unpaid.push(winner),
                Err(refusal) => {
                    return Err(streamflow_evm::EvmError::Refused { call: "redeemWinningTicket", refusal }.into());
                }
            }
        }
        held = unpaid;
    }
    Ok((paid, held))
}

fn total<'a>(winners: impl IntoIterator<Item = &'a WinningTicket>) -> Wei {
    Wei::from_chain(winners.into_iter().map(|winner| winner.signed.ticket.face_value).sum::<U256>())
}
