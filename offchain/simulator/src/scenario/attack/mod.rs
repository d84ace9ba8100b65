//! Attacks of payments.md §6, each played with its defence and, where the defence is the victim's policy, without.
mod chain;
mod orchestrator;
mod sender;

use alloy::primitives::{Address, U256, keccak256};
use rand::Rng;
use rand_chacha::ChaCha20Rng;
use serde::Serialize;
use streamflow_evm::DeployScript;
use streamflow_pm::{TicketSig, commitment, sign_ticket, signed_from_params, ticket_from_params};
use streamflow_types::{SignedTicket, Ticket, TicketParams, WinProb, WinningTicket};

use super::{Cover, Path};
use crate::{
    SimulatorError, Wei,
    world::{Desk, Offer, Payer, UNIT, World},
};

/// Face value and expected value, wei: one ticket in two wins.
const OFFER: Offer = Offer { face_value: FACE_VALUE, ev: EV, cover: Cover::ShareOnly };
const FACE_VALUE: u128 = UNIT / 50;
const EV: u128 = FACE_VALUE / 2;
/// Deposit and reserve of a sender, wei each.
const FUNDS: u128 = UNIT;
/// What gas costs, wei.
const GAS_PRICE: u128 = 100_000_000;

/// Whether the victim defends itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// As the node does.
    On,
    /// The victim's policy is switched off.
    Off,
}

/// What came of an attack.
#[derive(Clone, Debug, Serialize)]
pub struct AttackOutcome {
    /// What the attacker gained over honest play, gas not counted.
    pub profit: Wei,
    /// What its victims lost.
    pub loss: Wei,
    /// How it went.
    pub what: String,
}

/// An attack, with its defence and without.
#[derive(Clone, Debug, Serialize)]
pub struct Attack {
    /// As in payments.md §6.
    pub id: &'static str,
    /// What is tried.
    pub name: &'static str,
    /// Who loses if it works.
    pub victim: &'static str,
    /// What stands against it.
    pub defence: &'static str,
    /// The most that the defence lets through.
    pub bound: Wei,
    /// As nodes and contracts are.
    pub defended: AttackOutcome,
    /// With the victim's policy switched off; none where contracts alone decide, which cannot be switched off.
    pub undefended: Option<AttackOutcome>,
}

impl Attack {
    /// Whether the attacker gains, and the victim loses, no more than the defence lets through.
    pub fn is_held(&self) -> bool {
        self.defended.profit <= self.bound && self.defended.loss <= self.bound
    }

    /// Whether the defence matters: without it the attacker gains, or the victim loses, more than with it.
    pub fn pays_without_defence(&self) -> Option<bool> {
        let without = self.undefended.as_ref()?;
        Some(without.profit.max(without.loss) > self.bound)
    }
}

/// Chain and dice of one attack.
struct Arena<'a> {
    world: World,
    script: &'a DeployScript,
    rng: &'a mut ChaCha20Rng,
}

type Play = fn(&mut Arena<'_>, Switch) -> Result<AttackOutcome, SimulatorError>;

/// An attack as it is played.
struct Plan {
    id: &'static str,
    name: &'static str,
    victim: &'static str,
    defence: &'static str,
    bound: u128,
    /// Whether the victim's policy decides, not a contract alone.
    switchable: bool,
    play: Play,
}

/// Plays all of them.
pub(crate) fn attacks(
    world: &mut World,
    script: &DeployScript,
    rng: &mut ChaCha20Rng,
) -> Result<Vec<Attack>, SimulatorError> {
    let plans = sender::PLANS.iter().chain(orchestrator::PLANS).chain(chain::PLANS);
    let mut attacks = Vec::new();
    for plan in plans {
        let mut play = |switch| {
            let mut arena = Arena { world: world.fork(), script, rng };
            let outcome = (plan.play)(&mut arena, switch)?;
            let fork = arena.world;
            world.absorb(&fork);
            Ok::<_, SimulatorError>(outcome)
        };
        let defended = play(Switch::On)?;
        let undefended = if plan.switchable { Some(play(Switch::Off)?) } else { None };
        let Plan { id, name, victim, defence, bound, .. } = *plan;
        attacks.push(Attack { id, name, victim, defence, bound: Wei(bound as i128), defended, undefended });
    }
    attacks.sort_by_key(|attack| attack.id[1..].parse::<u32>().unwrap_or(u32::MAX));
    Ok(attacks)
}

impl AttackOutcome {
    /// The attacker gains what the victim loses.
    fn moved(amount: Wei, what: impl Into<String>) -> Self {
        Self { profit: amount, loss: amount, what: what.into() }
    }
}

impl Arena<'_> {
    /// Active orchestrators, and a sender with deposit and reserve.
    fn market(&mut self, pool: u64, cover: Cover) -> Result<(Vec<Desk>, Payer), SimulatorError> {
        let desks = self.world.desks(pool, Offer { cover, ..OFFER }, self.rng)?;
        let payer = Payer::new(self.rng)?;
        self.world.fund(payer.account(), FUNDS, FUNDS)?;
        Ok((desks, payer))
    }

    fn quote(&mut self, desk: &mut Desk, payer: &Payer) -> Result<TicketParams, SimulatorError> {
        Ok(desk.quote(&mut self.world, payer.account(), Path::Deployed, self.rng)??)
    }

    /// Pays one ticket after the other until the desk holds `count` winners.
    fn winners(&mut self, desk: &mut Desk, payer: &Payer, count: usize) -> Result<(), SimulatorError> {
        while desk.held.len() < count {
            let params = self.quote(desk, payer)?;
            let payment = payer.pay(&mut self.world, params, 1, desk.price)?;
            if let Some(error) = desk.receive(&mut self.world, &payment)?.error {
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Redeems what the desk holds, one by one. Returns what was not paid.
    fn redeem_all(&mut self, desk: &mut Desk) -> Result<Wei, SimulatorError> {
        let mut unpaid = Wei::ZERO;
        for winner in std::mem::take(&mut desk.held) {
            if self.world.redeem(&winner)?.is_err() {
                unpaid += Wei::from_chain(winner.signed.ticket.face_value);
                desk.held.push(winner);
            }
        }
        Ok(unpaid)
    }

    /// A ticket of `payer` to `recipient` that wins for certain, whose secret both know.
    fn certain(
        &mut self,
        payer: &Payer,
        recipient: Address,
        face_value: U256,
        nonce: u32,
    ) -> Result<WinningTicket, SimulatorError> {
        let chain = self.world.chain_view()?;
        let recipient_rand = U256::from_be_bytes(self.rng.random::<[u8; 32]>()) >> 8_usize;
        let ticket = Ticket {
            recipient,
            sender: payer.account(),
            face_value,
            win_prob: WinProb::MAX,
            sender_nonce: nonce,
            recipient_rand_hash: commitment(recipient_rand),
            creation_round: chain.round,
            creation_round_block_hash: chain.round_block_hash,
            deployment: None,
        };
        let signed = sign_ticket(ticket, &*payer.signer)?;
        Ok(WinningTicket { signed, recipient_rand, params_expiration_block: 0 })
    }
}

/// A ticket on `params` as `payer` signs it.
fn signed(payer: &Payer, params: &TicketParams, nonce: u32) -> Result<(TicketSig, SignedTicket), SimulatorError> {
    let signed = sign_ticket(ticket_from_params(params, payer.account(), nonce), &*payer.signer)?;
    let own = TicketSig { sender_nonce: nonce, sig: signed.sig };
    Ok((own, signed_from_params(params, payer.account(), &own)))
}

/// Another secret for each of `count` tries.
fn other_secret(secret: U256, attempt: u64) -> U256 {
    // The marker of the ordered path is left out, as in an honest secret of the deployed path.
    U256::from_be_bytes(keccak256([secret.to_be_bytes::<32>().as_slice(), &attempt.to_be_bytes()].concat()).0)
        >> 8_usize
}
