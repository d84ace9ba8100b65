//! Attacks that use what the chain does between winning and redeeming.
use alloy::primitives::{Address, U256};
use rand::Rng;
use streamflow_bindings::TicketBroker;
use streamflow_types::WinningTicket;

use super::{Arena, AttackOutcome, Cover, FACE_VALUE, GAS_PRICE, OFFER, Plan, Switch};
use crate::{
    SimulatorError, Wei,
    world::{CHAIN_ID, Desk, Payer, UNIT, World},
};

pub(super) const PLANS: &[Plan] = &[
    Plan {
        id: "A8",
        name: "redeems tickets again on another chain with the same past",
        victim: "sender",
        defence: "tickets name chain and contract",
        bound: 0,
        switchable: true,
        play: other_chain,
    },
    Plan {
        id: "A10",
        name: "pushes the recipient out of the active set before it redeems",
        victim: "orchestrator",
        defence: "the contract gives no seat to more stake: one is lost by unbonding alone, and then from the next round on",
        bound: 0,
        switchable: false,
        play: evict,
    },
    Plan {
        id: "A11",
        name: "leaves too little for the winners, so that redeeming them is wasted gas",
        victim: "orchestrator",
        defence: "the keeper simulates, and leaves out what is not covered; the contract burns nothing",
        bound: 0,
        switchable: true,
        play: uncovered,
    },
];

fn other_chain(arena: &mut Arena<'_>, switch: Switch) -> Result<AttackOutcome, SimulatorError> {
    let (mut desks, payer) = arena.market(1, Cover::ShareOnly)?;
    let desk = &mut desks[0];
    let broker = arena.world.contracts.ticket_broker;
    let tag = arena.world.view(broker, TicketBroker::deploymentTagCall {})?;
    let Payer { sender, signer, overspends } = payer;
    let sender = if switch == Switch::On { sender.bound_to(Some(tag)) } else { sender };
    let payer = Payer { sender, signer, overspends };
    arena.winners(desk, &payer, 5)?;
    arena.world.advance(50);
    let mut other = arena.world.fork_as(CHAIN_ID + 1);
    let winners = desk.held.clone();
    let unpaid = arena.redeem_all(desk)?;
    if unpaid > Wei::ZERO {
        return Err(SimulatorError::Books { what: "winners on their own chain", expected: Wei::ZERO, got: unpaid });
    }
    let mut stolen = Wei::ZERO;
    for winner in &winners {
        match other.redeem(winner)? {
            Ok(paid) => stolen += paid.wei,
            Err(refusal) if refusal.is::<TicketBroker::InvalidDeploymentTag>() => {}
            Err(refusal) => {
                return Err(streamflow_evm::EvmError::Refused { call: "redeemWinningTicket", refusal }.into());
            }
        }
    }
    arena.world.absorb(&other);
    Ok(AttackOutcome::moved(stolen, format!("{} winners shown to the other chain", winners.len())))
}

fn evict(arena: &mut Arena<'_>, _: Switch) -> Result<AttackOutcome, SimulatorError> {
    // Two seats.
    arena.world = World::open(arena.script, |params| params.numActiveTranscoders = U256::from(2))?;
    let accounts: [Address; 3] = std::array::from_fn(|_| Address::new(arena.rng.random()));
    let [victim, other, attacker] = accounts;
    arena.world.register(victim, 10 * UNIT, 500_000)?;
    arena.world.register(other, 100 * UNIT, 500_000)?;
    arena.world.next_round()?;
    let mut desk = Desk::new(&mut arena.world, victim, OFFER, arena.rng)?;
    let payer = Payer::new(arena.rng)?;
    arena.world.fund(payer.account(), UNIT, UNIT)?;
    arena.winners(&mut desk, &payer, 5)?;
    arena.world.register(attacker, 50 * UNIT, 500_000)?;
    arena.world.advance(50);
    // A patient keeper: the winners are valid for another round.
    arena.world.next_round()?;
    let unpaid = arena.redeem_all(&mut desk)?;
    Ok(AttackOutcome::moved(unpaid, "50 LPT of stake bid for a seat of 10 LPT, both seats taken"))
}

fn uncovered(arena: &mut Arena<'_>, switch: Switch) -> Result<AttackOutcome, SimulatorError> {
    let desk = &mut arena.world.desk(super::Offer { cover: Cover::Blind, ..OFFER }, arena.rng)?;
    let mut payer = Payer::new(arena.rng)?;
    payer.overspends = true;
    // Two winners and a half.
    arena.world.fund(payer.account(), FACE_VALUE * 2, FACE_VALUE / 2)?;
    arena.winners(desk, &payer, 8)?;
    arena.world.advance(50);
    let held = std::mem::take(&mut desk.held);
    let mut waste = Wei::ZERO;
    let mut unpaid: Vec<WinningTicket> = Vec::new();
    if switch == Switch::On {
        for winner in held {
            match arena.world.simulate_redeem(&winner)? {
                Ok(_) if arena.world.redeem(&winner)?.is_ok() => {}
                _ => unpaid.push(winner),
            }
        }
    } else {
        // Everything in one batch; what the same batch costs without what is skipped is not wasted.
        let covered = arena.world.fork().redeem_batch(&held[..2])?;
        let all = arena.world.redeem_batch(&held)?;
        waste = Wei::of_gas(all.gas, GAS_PRICE) - Wei::of_gas(covered.gas, GAS_PRICE);
        unpaid.extend_from_slice(&held[2..]);
    }
    // Nothing is burned: new funds pay every ticket in full.
    arena.world.fund(payer.account(), FACE_VALUE * 8, 0)?;
    let waiting = unpaid.len();
    desk.held = unpaid;
    let lost = arena.redeem_all(desk)?;
    let what = format!("{waiting} winners waited for funds and were paid in full; {waste} wei of gas wasted");
    Ok(AttackOutcome { profit: Wei::ZERO, loss: lost + waste, what })
}
