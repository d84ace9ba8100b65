//! Attacks of orchestrators.
use alloy::primitives::U256;
use streamflow_bindings::TicketBroker;
use streamflow_pm::{ParamsError, PriceGuard, SenderError, SenderLimits, signed_from_params, wins};
use streamflow_types::{Price, WinningTicket};

use super::{Arena, AttackOutcome, Cover, EV, FACE_VALUE, FUNDS, OFFER, Plan, Switch, other_secret};
use crate::{
    SimulatorError, Wei,
    scenario::delegators::{Scheme, play, promised},
    world::{Offer, Payer},
};

/// Tickets that pay an interval of work at the first price.
const PER_INTERVAL: usize = 10;

pub(super) const PLANS: &[Plan] = &[
    Plan {
        id: "A4",
        name: "cuts the delegators' share of fees before it redeems",
        victim: "delegators",
        defence: "fees count under the terms of the ticket's round; a worse commission gives seven rounds of notice",
        bound: 4,
        switchable: false,
        play: fee_theft,
    },
    Plan {
        id: "A5",
        name: "shows another secret number for which a losing ticket wins",
        victim: "sender",
        defence: "the ticket names the hash of the secret number",
        bound: 0,
        switchable: false,
        play: bias,
    },
    Plan {
        id: "A14",
        name: "takes payment and delivers nothing",
        victim: "sender",
        defence: "an interval is paid after the one before was delivered, and no payment may be worth more",
        bound: EV * PER_INTERVAL as u128,
        switchable: true,
        play: no_delivery,
    },
    Plan {
        id: "A15",
        name: "quotes tickets ten times as dear",
        victim: "sender",
        defence: "bounds on the worth of a ticket and of a payment",
        bound: 0,
        switchable: true,
        play: dear_tickets,
    },
    Plan {
        id: "A16",
        name: "raises its price tenfold once the stream runs",
        victim: "sender",
        defence: "a session ends when the price has more than doubled",
        // What a doubled price costs more, for the intervals that are played.
        bound: EV * PER_INTERVAL as u128,
        switchable: true,
        play: bait,
    },
];

fn fee_theft(arena: &mut Arena<'_>, _: Switch) -> Result<AttackOutcome, SimulatorError> {
    let [delegator, _] = play(&mut arena.world, Scheme::CutShareNextRound, arena.rng)?;
    let what = format!("the delegator got {delegator} of {} wei", promised());
    Ok(AttackOutcome::moved(promised() - delegator, what))
}

fn bias(arena: &mut Arena<'_>, _: Switch) -> Result<AttackOutcome, SimulatorError> {
    let (mut desks, payer) = arena.market(1, Cover::Blind)?;
    let desk = &mut desks[0];
    let params = arena.quote(desk, &payer)?;
    let payment = payer.pay(&mut arena.world, params, 40, desk.price)?;
    desk.receive(&mut arena.world, &payment)?;
    desk.held.clear();
    let Some(params) = payment.params else { return Err(SimulatorError::Lease) };
    let secret = desk.secret.recipient_rand(&arena.world.domain(), payer.account(), &params, desk.price);
    let (mut tried, mut stolen) = (0, Wei::ZERO);
    for own in &payment.tickets {
        let signed = signed_from_params(&params, payer.account(), own);
        if wins(&signed, secret) {
            continue;
        }
        let better = (0..64).map(|attempt| other_secret(secret, attempt)).find(|secret| wins(&signed, *secret));
        let Some(recipient_rand) = better else { continue };
        let forged = WinningTicket { signed, recipient_rand, params_expiration_block: 0 };
        tried += 1;
        match arena.world.redeem(&forged)? {
            Ok(paid) => stolen += paid.wei,
            Err(refusal) if refusal.is::<TicketBroker::InvalidRecipientRand>() => {}
            Err(refusal) => {
                return Err(streamflow_evm::EvmError::Refused { call: "redeemWinningTicket", refusal }.into());
            }
        }
    }
    Ok(AttackOutcome::moved(stolen, format!("{tried} losing tickets shown with a secret that wins")))
}

fn no_delivery(arena: &mut Arena<'_>, switch: Switch) -> Result<AttackOutcome, SimulatorError> {
    let desk = &mut arena.world.desk(OFFER, arena.rng)?;
    let interval = U256::from(EV) * U256::from(PER_INTERVAL);
    let most = if switch == Switch::On { interval + interval / U256::from(100) } else { U256::MAX >> 1 };
    let limits = SenderLimits { max_ticket_ev: U256::MAX >> 1, max_total_ev: most, ..SenderLimits::default() };
    let payer = Payer::with_limits(limits, arena.rng)?;
    arena.world.fund(payer.account(), FUNDS, FUNDS)?;
    let mut paid = 0;
    // The orchestrator asks for an hour in advance; a sender with a bound pays the first interval.
    for tickets in [20 * PER_INTERVAL, PER_INTERVAL] {
        let params = arena.quote(desk, &payer)?;
        match payer.pay(&mut arena.world, params, tickets, desk.price) {
            Ok(payment) => {
                desk.receive(&mut arena.world, &payment)?;
                paid += tickets;
                break;
            }
            Err(SimulatorError::Sender(SenderError::Params(ParamsError::TotalEv { .. }))) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(AttackOutcome::moved(Wei((EV * paid as u128) as i128), format!("{paid} tickets paid, nothing delivered")))
}

fn dear_tickets(arena: &mut Arena<'_>, switch: Switch) -> Result<AttackOutcome, SimulatorError> {
    let dear = Offer { face_value: 20 * FACE_VALUE, ev: 10 * EV, cover: Cover::Blind };
    let desk = &mut arena.world.desk(dear, arena.rng)?;
    let most = if switch == Switch::On { U256::from(2 * EV) } else { U256::MAX >> 1 };
    let limits = SenderLimits { max_ticket_ev: most, max_total_ev: U256::MAX >> 1, ..SenderLimits::default() };
    let payer = Payer::with_limits(limits, arena.rng)?;
    arena.world.fund(payer.account(), FUNDS, FUNDS)?;
    let params = arena.quote(desk, &payer)?;
    let paid = match payer.pay(&mut arena.world, params, 1, desk.price) {
        Ok(_) => Wei(dear.ev as i128) - Wei(EV as i128),
        Err(SimulatorError::Sender(SenderError::Params(ParamsError::TicketEv { .. }))) => Wei::ZERO,
        Err(error) => return Err(error),
    };
    let what = if paid > Wei::ZERO { "the first ticket was signed" } else { "no ticket was signed" };
    Ok(AttackOutcome::moved(paid, what))
}

fn bait(arena: &mut Arena<'_>, switch: Switch) -> Result<AttackOutcome, SimulatorError> {
    let (mut desks, payer) = arena.market(1, Cover::Blind)?;
    let desk = &mut desks[0];
    let first = desk.price;
    let guard = PriceGuard::new(first, None);
    let (mut paid, mut fair) = (0, 0);
    for factor in [1, 2, 10, 10] {
        desk.price = Price::new(first.wei_per_unit() * factor, first.pixels_per_unit())?;
        if switch == Switch::On && guard.check(desk.price).is_err() {
            break;
        }
        let params = arena.quote(desk, &payer)?;
        let tickets = PER_INTERVAL * factor as usize;
        let payment = payer.pay(&mut arena.world, params, tickets, desk.price)?;
        if let Some(error) = desk.receive(&mut arena.world, &payment)?.error {
            return Err(error.into());
        }
        paid += tickets;
        fair += PER_INTERVAL;
    }
    let more = Wei((EV * (paid - fair) as u128) as i128);
    Ok(AttackOutcome::moved(more, format!("{paid} tickets paid for work worth {fair}")))
}
