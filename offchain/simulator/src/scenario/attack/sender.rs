//! Attacks of senders.
use alloy::primitives::{B256, U256};
use streamflow_bindings::TicketBroker;
use streamflow_pm::{Payment, TicketEv, TicketSig, wins};
use streamflow_types::{Expiration, Price, Round, TicketParams, WinProb, WinningTicket};

use super::{Arena, AttackOutcome, Cover, EV, FACE_VALUE, FUNDS, GAS_PRICE, OFFER, Plan, Switch, signed};
use crate::{
    SimulatorError, Wei,
    scenario::defaults::burst,
    world::{Desk, Offer, Payer},
};

pub(super) const PLANS: &[Plan] = &[
    Plan {
        id: "A1",
        name: "promises more than it has to all orchestrators at once",
        victim: "orchestrators",
        defence: "winners in hand never exceed the recipient's share of the reserve",
        bound: 0,
        switchable: true,
        play: overspend,
    },
    Plan {
        id: "A2",
        name: "unlocks its funds, pays on, and withdraws",
        victim: "orchestrator",
        defence: "no ticket from a sender that may withdraw in the next round; winners are redeemed in their own round",
        bound: 0,
        switchable: true,
        play: withdraw,
    },
    Plan {
        id: "A3",
        name: "pays its deposit to an orchestrator of its own before honest winners are redeemed",
        victim: "orchestrator",
        defence: "the contract keeps a share of the reserve for each; the recipient counts on nothing else",
        bound: 0,
        switchable: true,
        play: drain,
    },
    Plan {
        id: "A6",
        name: "learns the secret number, then signs only tickets that lose",
        victim: "orchestrator",
        defence: "secrets are shown only after their params have expired",
        bound: 0,
        switchable: true,
        play: grind,
    },
    Plan {
        id: "A7",
        name: "sends one payment fifty times",
        victim: "orchestrator",
        defence: "every ticket number counts once per quote; the contract pays a ticket once",
        bound: 0,
        switchable: true,
        play: replay,
    },
    Plan {
        id: "A9",
        name: "dates its tickets back, so that they die before their secret may be shown",
        victim: "orchestrator",
        defence: "round and block hash are bound to the quote; the contract takes two rounds",
        bound: 0,
        switchable: true,
        play: back_date,
    },
    Plan {
        id: "A12",
        name: "makes many small tickets of one large one, worth less than their gas",
        victim: "orchestrator",
        defence: "face value and probability are bound to the quote",
        bound: 0,
        switchable: true,
        play: dust,
    },
    Plan {
        id: "A13",
        name: "names a lower price, or none, for the work",
        victim: "orchestrator",
        defence: "the price is bound to the quote and pinned to the session",
        bound: 0,
        switchable: true,
        play: price,
    },
];

/// Worth of `count` tickets.
fn worth(count: usize) -> Wei {
    Wei(EV as i128 * count as i128)
}

fn overspend(arena: &mut Arena<'_>, switch: Switch) -> Result<AttackOutcome, SimulatorError> {
    let cover = if switch == Switch::On { Cover::ShareOnly } else { Cover::Blind };
    let burst = burst(&mut arena.world, 8, cover, arena.rng)?;
    let what = format!("{} of {} wei won were paid, by 8 orchestrators' share", burst.paid, burst.won);
    Ok(AttackOutcome::moved(burst.lost, what))
}

fn withdraw(arena: &mut Arena<'_>, switch: Switch) -> Result<AttackOutcome, SimulatorError> {
    let (mut desks, payer) = arena.market(1, Cover::ShareOnly)?;
    let desk = &mut desks[0];
    let broker = arena.world.contracts.ticket_broker;
    arena.world.send(payer.account(), broker, TicketBroker::unlockCall {}, U256::ZERO)?;
    let mut refused = 0;
    // In the round of the unlock and in the next one.
    for round in 0..2 {
        if round > 0 {
            arena.world.next_round()?;
        }
        for _ in 0..12 {
            let mut funds = arena.world.funds(payer.account(), desk.account)?;
            if switch == Switch::Off {
                funds.withdraw_round = Round(0);
            }
            let (world, rng) = (&mut arena.world, &mut *arena.rng);
            let quote = desk.quote_on(world, payer.account(), &funds, super::Path::Deployed, rng)?;
            let Ok(params) = quote else {
                refused += 1;
                continue;
            };
            let payment = pay_blindly(&payer, params, 1, desk.price)?;
            if let Some(error) = desk.receive_on(world, &payment, &funds)?.error {
                return Err(error.into());
            }
        }
        arena.world.advance(50);
        if switch == Switch::On {
            arena.redeem_all(desk)?;
        }
    }
    arena.world.next_round()?;
    let before = arena.world.balance(payer.account())?;
    arena.world.send(payer.account(), broker, TicketBroker::withdrawCall {}, U256::ZERO)?;
    let back = arena.world.balance(payer.account())? - before;
    let unpaid = arena.redeem_all(desk)?;
    Ok(AttackOutcome::moved(unpaid, format!("{refused} quotes refused; withdrew {back} of {} wei", 2 * FUNDS)))
}

/// Tickets of a sender that asks nothing about its own funds.
fn pay_blindly(payer: &Payer, params: TicketParams, count: u32, price: Price) -> Result<Payment, SimulatorError> {
    let params = TicketParams { deployment: None, ..params };
    let tickets = (1..=count).map(|nonce| Ok(signed(payer, &params, nonce)?.0));
    let tickets = tickets.collect::<Result<Vec<TicketSig>, SimulatorError>>()?;
    Ok(Payment { sender: payer.account(), expected_price: Some(price), params: Some(params), tickets })
}

fn drain(arena: &mut Arena<'_>, switch: Switch) -> Result<AttackOutcome, SimulatorError> {
    let cover = if switch == Switch::On { Cover::ShareOnly } else { Cover::Blind };
    let (mut desks, payer) = arena.market(4, cover)?;
    let own = desks[1].account;
    let desk = &mut desks[0];
    for _ in 0..80 {
        let quote = desk.quote(&mut arena.world, payer.account(), super::Path::Deployed, arena.rng)?;
        let Ok(params) = quote else { break };
        let payment = pay_blindly(&payer, params, 1, desk.price)?;
        if let Some(error) = desk.receive(&mut arena.world, &payment)?.error {
            return Err(error.into());
        }
    }
    let won = desk.pending(payer.account());
    arena.world.advance(50);
    let drained = arena.certain(&payer, own, U256::from(FUNDS), 1)?;
    let taken = arena.world.must_redeem(&drained)?;
    let unpaid = arena.redeem_all(desk)?;
    let what = format!("{} wei of the deposit went to its own orchestrator; {won} wei were won", taken.wei);
    Ok(AttackOutcome::moved(unpaid, what))
}

fn grind(arena: &mut Arena<'_>, switch: Switch) -> Result<AttackOutcome, SimulatorError> {
    let (mut desks, payer) = arena.market(1, Cover::Blind)?;
    let desk = &mut desks[0];
    let params = TicketParams { deployment: None, ..arena.quote(desk, &payer)? };
    let (mut nonce, winner) = honest_winner(arena, desk, &payer, params)?;
    if switch == Switch::On {
        arena.world.advance(50);
    }
    // The keeper redeems, and the transaction shows the secret to everybody.
    let broker = arena.world.contracts.ticket_broker;
    let call = streamflow_chain::redeem_call(&winner);
    let done = arena.world.send(desk.account, broker, call, U256::ZERO)?;
    let shown = done.event::<TicketBroker::WinningTicketRedeemed>()?.recipientRand;
    let mut losers = Vec::new();
    while losers.len() < 100 {
        nonce += 1;
        let (own, ticket) = signed(&payer, &params, nonce)?;
        if !wins(&ticket, shown) {
            losers.push(own);
        }
    }
    let expected_price = Some(desk.price);
    let ground = Payment { sender: payer.account(), expected_price, params: Some(params), tickets: losers };
    let receipt = desk.receive(&mut arena.world, &ground)?;
    let what = format!("{} of 100 tickets that cannot win were credited", receipt.credited);
    Ok(AttackOutcome::moved(worth(receipt.credited), what))
}

/// Pays one ticket after the other on `params` until one wins. Returns the last number, and the winner.
fn honest_winner(
    arena: &mut Arena<'_>,
    desk: &mut Desk,
    payer: &Payer,
    params: TicketParams,
) -> Result<(u32, WinningTicket), SimulatorError> {
    let (sender, expected_price) = (payer.account(), Some(desk.price));
    let mut nonce = 0;
    loop {
        nonce += 1;
        let tickets = vec![signed(payer, &params, nonce)?.0];
        let payment = Payment { sender, expected_price, params: Some(params), tickets };
        let receipt = desk.receive(&mut arena.world, &payment)?;
        match (receipt.error, desk.held.pop()) {
            (Some(error), _) => return Err(error.into()),
            (None, Some(winner)) => return Ok((nonce, winner)),
            (None, None) => {}
        }
    }
}

fn replay(arena: &mut Arena<'_>, switch: Switch) -> Result<AttackOutcome, SimulatorError> {
    let (mut desks, payer) = arena.market(1, Cover::ShareOnly)?;
    let desk = &mut desks[0];
    let params = arena.quote(desk, &payer)?;
    let payment = payer.pay(&mut arena.world, params, 20, desk.price)?;
    let mut credited = 0;
    for _ in 0..50 {
        let receipt = desk.receive(&mut arena.world, &payment)?;
        // Without the memory of numbers, every ticket that is signed well counts.
        credited += if switch == Switch::On { receipt.credited } else { payment.tickets.len() };
    }
    arena.world.advance(50);
    if let Some(winner) = desk.held.first().cloned() {
        let first = arena.world.redeem(&winner)?;
        let again = arena.world.redeem(&winner)?;
        if first.is_err() || !again.is_err_and(|refusal| refusal.is::<TicketBroker::TicketUsed>()) {
            return Err(SimulatorError::NotRefused("a ticket redeemed twice"));
        }
    }
    let free = worth(credited) - worth(payment.tickets.len());
    Ok(AttackOutcome::moved(free, format!("{credited} tickets credited for 20")))
}

fn back_date(arena: &mut Arena<'_>, switch: Switch) -> Result<AttackOutcome, SimulatorError> {
    let (mut desks, payer) = arena.market(1, Cover::Blind)?;
    let desk = &mut desks[0];
    refused_by_the_contract(arena, desk, &payer)?;
    // So late that the params expire in the next round, when a ticket of the last one is dead.
    let end = arena.world.round_end()?;
    arena.world.go_to(end - 20)?;
    let params = arena.quote(desk, &payer)?;
    let round = Round(params.expiration.creation_round.0 - 1);
    let hash = arena.world.round_hash(round)?;
    let expiration = Expiration { creation_round: round, creation_round_block_hash: hash };
    let dated = TicketParams { expiration, deployment: None, ..params };
    let payment = pay_blindly(&payer, dated, 20, desk.price)?;
    let receipt = desk.receive(&mut arena.world, &payment)?;
    let credited = if switch == Switch::On { receipt.credited } else { payment.tickets.len() };
    let mut unpaid = Wei::ZERO;
    if switch == Switch::Off {
        let domain = arena.world.domain();
        let rand = desk.secret.recipient_rand(&domain, payer.account(), &params, desk.price);
        for nonce in 1..=20 {
            let (_, ticket) = signed(&payer, &dated, nonce)?;
            if wins(&ticket, rand) {
                let params_expiration_block = params.expiration_block;
                desk.held.push(WinningTicket { signed: ticket, recipient_rand: rand, params_expiration_block });
            }
        }
    }
    arena.world.next_round()?;
    arena.world.advance(50);
    unpaid += arena.redeem_all(desk)?;
    Ok(AttackOutcome::moved(unpaid, format!("{credited} of 20 tickets credited")))
}

/// Two rounds ago, the next round, no block hash.
fn refused_by_the_contract(arena: &mut Arena<'_>, desk: &Desk, payer: &Payer) -> Result<(), SimulatorError> {
    arena.world.next_round()?;
    arena.world.next_round()?;
    let now = arena.world.chain_view()?.round;
    let old = Round(now.0 - 2);
    let dates = [(old, arena.world.round_hash(old)?), (now.next(), B256::repeat_byte(1)), (now, B256::ZERO)];
    for (nonce, (round, hash)) in (1..).zip(dates) {
        let mut winner = arena.certain(payer, desk.account, U256::from(FACE_VALUE), nonce)?;
        let ticket = &mut winner.signed.ticket;
        (ticket.creation_round, ticket.creation_round_block_hash) = (round, hash);
        winner.signed = streamflow_pm::sign_ticket(*ticket, &*payer.signer)?;
        if arena.world.redeem(&winner)?.is_ok() {
            return Err(SimulatorError::NotRefused("a ticket of another round"));
        }
    }
    Ok(())
}

fn dust(arena: &mut Arena<'_>, switch: Switch) -> Result<AttackOutcome, SimulatorError> {
    // Quoted so that redemption costs about one in a hundred.
    let offer = Offer { face_value: 1_900_000_000_000_000, ev: 190_000_000_000, cover: Cover::Blind };
    let (_, payer) = arena.market(1, OFFER.cover)?;
    let desk = &mut arena.world.desk(offer, arena.rng)?;
    let params = arena.quote(desk, &payer)?;
    let part = U256::from(1_000);
    let small = TicketParams {
        face_value: params.face_value / part,
        win_prob: WinProb(params.win_prob.0 * part),
        deployment: None,
        ..params
    };
    let payment = pay_blindly(&payer, small, 500, desk.price)?;
    let receipt = desk.receive(&mut arena.world, &payment)?;
    let credited = if switch == Switch::On { receipt.credited } else { payment.tickets.len() };
    let credit = Wei::from_chain(TicketEv::new(small.face_value, small.win_prob).times(credited).floor_wei());
    // What a redemption alone costs, from one that goes through.
    let sample = arena.certain(&payer, desk.account, small.face_value, 1)?;
    let gas = arena.world.must_redeem(&sample)?.gas;
    let (cost, face) = (Wei::of_gas(gas, GAS_PRICE), Wei::from_chain(small.face_value));
    if cost <= face {
        return Err(SimulatorError::Books { what: "dust that carries its gas", expected: face, got: cost });
    }
    Ok(AttackOutcome::moved(credit, format!("{credited} of 500 credited; one pays {face} wei for gas of {cost}")))
}

fn price(arena: &mut Arena<'_>, switch: Switch) -> Result<AttackOutcome, SimulatorError> {
    let (mut desks, payer) = arena.market(1, Cover::ShareOnly)?;
    let desk = &mut desks[0];
    let mut credited = 0;
    let prices = [Some(Price::new(1, 1)?), Some(Price::new(0, 1)?), None];
    for price in prices {
        let params = arena.quote(desk, &payer)?;
        let honest = payer.pay(&mut arena.world, params, 1, desk.price)?;
        let lower = Payment { expected_price: price, ..honest };
        let receipt = desk.receive(&mut arena.world, &lower)?;
        credited += if switch == Switch::On { receipt.credited } else { 1 };
    }
    // Pixels that a ticket buys at a thousandth of the price, at their worth.
    let work = Wei(EV as i128 * i128::from(desk.price.wei_per_unit()) * i128::from(credited > 0));
    let paid = worth(usize::from(credited > 0));
    Ok(AttackOutcome::moved(work - paid, format!("{credited} of 3 payments at another price were credited")))
}
