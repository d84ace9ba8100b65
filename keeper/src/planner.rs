//! Which tickets go into the next transaction, and whether it is worth sending. Pure: facts in, decision out.

use std::collections::HashMap;

use alloy::primitives::{Address, B256, U256};
use streamflow_store::TicketRecord;
use streamflow_types::Round;

use crate::{
    KeeperConfig,
    economics::{Escalation, Exposure, Outlook, Risk, carries, joint_risk},
};

/// Which of a recipient's tickets need not wait for its desks (docs/designs/023-closing.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Block by which every desk has closed its params.
    pub block: u64,
    /// Newest creation round that is so near its end, by the word of most endpoints, that its tickets do not wait for that.
    pub urgent: Option<Round>,
}

impl From<u64> for Closing {
    fn from(block: u64) -> Self {
        Self { block, urgent: None }
    }
}

/// Where the protocol stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// Newest block, as the contracts see it.
    pub block: u64,
    /// Round of that block.
    pub round: Round,
    /// First block of that round.
    pub round_start: u64,
    /// Blocks per round.
    pub round_length: u64,
    /// Rounds in which a ticket can be redeemed, its creation round included.
    pub validity: u64,
}

impl Situation {
    /// Oldest creation round that can still be redeemed: `creation_round + validity > round`.
    pub fn oldest_round(&self) -> Round {
        self.round.next().saturating_sub(self.validity)
    }

    /// Newest params expiry whose secrets may be shown now.
    pub fn revealable(&self, config: &KeeperConfig) -> Option<u64> {
        self.block.checked_sub(config.expiry_margin_blocks)
    }

    /// Whether the ticket's secret may be shown to the chain. What would expire otherwise does not wait for the desks.
    pub fn may_be_shown(&self, record: &TicketRecord, closing: Closing, config: &KeeperConfig) -> bool {
        let expiration = record.ticket.params_expiration_block;
        let is_open = expiration > closing.block && Some(record.ticket.signed.ticket.creation_round) > closing.urgent;
        !is_open && self.revealable(config).is_some_and(|revealable| expiration <= revealable)
    }

    /// Whether a ticket created in this round is so near its end that it is redeemed at any gain.
    pub fn is_urgent(&self, creation_round: Round, config: &KeeperConfig) -> bool {
        self.block >= self.deadline(creation_round, config)
    }

    /// The block from which on a ticket created in this round is redeemed at any gain.
    fn deadline(&self, creation_round: Round, config: &KeeperConfig) -> u64 {
        let last_round = creation_round.0.saturating_add(self.validity).saturating_sub(1);
        let rounds = last_round.saturating_sub(self.round.0).saturating_mul(self.round_length);
        let end = self.round_start.saturating_add(self.round_length).saturating_add(rounds);
        end.saturating_sub(config.deadline_blocks.min(self.round_length / 4))
    }

    /// How far the gas ceiling has risen for a ticket created in this round, and the blocks until it begins to rise.
    pub fn escalation(&self, creation_round: Round, config: &KeeperConfig) -> (Escalation, u64) {
        let deadline = self.deadline(creation_round, config);
        let rises = u128::from(self.round_length) * u128::from(config.escalation_percent) / 100;
        let begin = deadline.saturating_sub(u64::try_from(rises).unwrap_or(u64::MAX));
        (Escalation::between(begin, deadline, self.block), begin.saturating_sub(self.block))
    }
}

/// What a sender can pay with, wei.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SenderCover {
    /// Its deposit, for all recipients.
    pub deposit: U256,
    /// What each recipient may claim from its reserve in this round.
    pub claimable: HashMap<Address, U256>,
    /// True when its funds are unlocked and pay no ticket any more.
    pub unlocked: bool,
    /// Round from which it may withdraw them, if it has started to unlock them.
    pub withdraw_round: Option<Round>,
}

impl SenderCover {
    /// Sets the ticket's face value aside if all of it is covered: first from the deposit, the rest from the reserve.
    pub(crate) fn take(&mut self, recipient: Address, face_value: U256) -> bool {
        if self.unlocked {
            return false;
        }
        let from_deposit = face_value.min(self.deposit);
        let rest = face_value - from_deposit;
        let claimable = self.claimable.entry(recipient).or_default();
        if rest > *claimable {
            return false;
        }
        *claimable -= rest;
        self.deposit -= from_deposit;
        true
    }

    /// What the recipient has at stake, if so much is pending.
    pub fn exposure(&self, recipient: Address, pending: U256) -> Exposure {
        if self.unlocked {
            return Exposure { pending, ..Exposure::default() };
        }
        let claimable = self.claimable.get(&recipient).copied().unwrap_or_default();
        Exposure { pending, deposit: self.deposit, claimable, unlocking: self.withdraw_round.is_some() }
    }
}

/// Tickets that could go into the next batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Tickets to simulate and send, in this order.
    pub batch: Vec<TicketRecord>,
    /// Tickets that the sender's funds do not cover, and why they wait.
    pub uncovered: Vec<(B256, &'static str)>,
}

/// Chooses tickets in the given order (the store gives the oldest round and then the highest value first) while their
/// senders' funds last.
pub fn select(
    tickets: Vec<TicketRecord>,
    mut covers: HashMap<Address, SenderCover>,
    config: &KeeperConfig,
) -> Selection {
    let mut selection = Selection::default();
    for record in tickets {
        let ticket = record.ticket.signed.ticket;
        let cover = covers.entry(ticket.sender).or_default();
        if !cover.take(ticket.recipient, ticket.face_value) {
            let reason =
                if cover.unlocked { "sender is unlocked" } else { "sender's funds do not cover the face value" };
            selection.uncovered.push((record.hash, reason));
            continue;
        }
        selection.batch.push(record);
        if selection.batch.len() >= config.max_batch as usize {
            break;
        }
    }
    selection
}

/// What presses to send tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// How far the gas ceiling has risen for the ticket that must be paid first.
    pub escalation: Escalation,
    /// Blocks until it begins to rise.
    pub blocks_left: u64,
    /// Whether a ticket has waited for as long as it may.
    pub waited: bool,
}

/// What presses to send these tickets. A ticket must be paid before its last valid round ends, and before its sender may
/// withdraw its funds; if a recipient leaves the active set with this round, all in it: inactive it is paid nothing.
pub fn pressure(
    batch: &[&TicketRecord],
    covers: &HashMap<Address, SenderCover>,
    recipient_leaves: bool,
    situation: &Situation,
    config: &KeeperConfig,
) -> Pressure {
    let mut all = Pressure { escalation: Escalation::NONE, blocks_left: u64::MAX, waited: false };
    let mut press = |created: Round| {
        let (escalation, left) = situation.escalation(created, config);
        all.escalation = all.escalation.max(escalation);
        all.blocks_left = all.blocks_left.min(left);
    };
    for record in batch {
        let ticket = &record.ticket.signed.ticket;
        press(ticket.creation_round);
        let withdraw = covers.get(&ticket.sender).and_then(|cover| cover.withdraw_round);
        if let Some(withdraw) = withdraw.filter(|withdraw| *withdraw > situation.round) {
            // As a ticket whose last valid round is the one before.
            press(withdraw.saturating_sub(situation.validity));
        }
    }
    if recipient_leaves {
        press(situation.oldest_round());
    }
    all.waited = batch.iter().any(|record| waited(record, situation, config) >= config.gather_blocks);
    all
}

/// Blocks since the ticket could first have been sent.
fn waited(record: &TicketRecord, situation: &Situation, config: &KeeperConfig) -> u64 {
    let expired = record.ticket.params_expiration_block.saturating_add(config.expiry_margin_blocks);
    situation.block.saturating_sub(expired)
}

/// Gas of a transaction, roughly, before it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoughGas {
    /// What one transaction saves over two.
    pub fixed: u64,
    /// The whole.
    pub total: u64,
}

/// What does not depend on the tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Market {
    /// Wei per gas now.
    pub gas_price: u128,
    /// Median wei per gas of the recent blocks, if known.
    pub usual_gas_price: Option<u128>,
    /// Wei won per round.
    pub income: U256,
    /// Whether a recipient leaves the active set with this round.
    pub recipient_leaves: bool,
}

/// What speaks for sending a batch and what for waiting. `pending` are all winners of its senders that are known of, those
/// in it included.
pub fn weigh(
    (batch, pending): (&[&TicketRecord], &[TicketRecord]),
    covers: &HashMap<Address, SenderCover>,
    gas: RoughGas,
    market: Market,
    situation: &Situation,
    config: &KeeperConfig,
) -> Outlook {
    let Pressure { escalation, blocks_left, waited } =
        pressure(batch, covers, market.recipient_leaves, situation, config);
    let pair = |record: &TicketRecord| (record.ticket.signed.ticket.sender, record.ticket.signed.ticket.recipient);
    let face_value = |record: &TicketRecord| record.ticket.signed.ticket.face_value;
    let mut owed: HashMap<(Address, Address), U256> = HashMap::new();
    for record in pending {
        let owed = owed.entry(pair(record)).or_default();
        *owed = owed.saturating_add(face_value(record));
    }
    let risks: HashMap<(Address, Address), Risk> = owed
        .into_iter()
        .map(|((sender, recipient), pending)| {
            let exposure = covers.get(&sender).map(|cover| cover.exposure(recipient, pending)).unwrap_or_default();
            ((sender, recipient), exposure.risk(config.risk_ppm_per_round))
        })
        .collect();
    let usual_risk = Risk::PerRound(config.risk_ppm_per_round);
    let risk = |record: &TicketRecord| risks.get(&pair(record)).copied().unwrap_or(usual_risk);
    Outlook {
        worth: batch.iter().fold(U256::ZERO, |sum, record| sum.saturating_add(face_value(record))),
        risk: joint_risk(batch.iter().map(|record| (face_value(record), risk(record)))),
        recipient_leaves: market.recipient_leaves,
        income: market.income,
        fixed_gas: gas.fixed,
        gas: gas.total,
        gas_price: market.gas_price,
        usual_gas_price: market.usual_gas_price,
        waited,
        escalation,
        blocks_left,
    }
}

/// What a batch costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Gas as estimated for exactly this batch.
    pub gas: u64,
    /// Wei per gas.
    pub gas_price: u128,
}

impl Cost {
    /// Wei.
    pub fn wei(&self) -> U256 {
        U256::from(self.gas) * U256::from(self.gas_price)
    }
}

/// What to do with a batch whose cost is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Send it as it is.
    Send,
    /// Send it without the tickets that are worth at most this many wei: they do not carry their own gas.
    Trim(U256),
    /// Not now: it does not carry its gas.
    Hold,
}

/// Whether the face values carry the gas and the margin, which is in parts per million of the gas.
pub fn decide(face_values: &[U256], cost: Cost, margin: u64) -> Decision {
    let tickets = U256::from(face_values.len());
    if tickets.is_zero() {
        return Decision::Hold;
    }
    // average cost, rounded down; at least what one more ticket adds to a batch, because the fixed part is in it
    let share = cost.wei() / tickets;
    if face_values.len() > 1 && face_values.iter().any(|face| *face <= share) {
        return if face_values.iter().any(|face| *face > share) { Decision::Trim(share) } else { Decision::Hold };
    }
    let total = face_values.iter().fold(U256::ZERO, |sum, face| sum.saturating_add(*face));
    if carries(total, cost.wei(), margin) { Decision::Send } else { Decision::Hold }
}

#[cfg(test)]
mod tests {
    use streamflow_store::TicketState;
    use streamflow_types::{Signature65, SignedTicket, Ticket, WinProb, WinningTicket};

    use super::*;

    const SENDER: Address = Address::repeat_byte(0x51);
    const RECIPIENT: Address = Address::repeat_byte(0x0a);

    fn record(n: u32, face_value: u64, creation_round: u64) -> TicketRecord {
        let ticket = Ticket {
            recipient: RECIPIENT,
            sender: SENDER,
            face_value: U256::from(face_value),
            win_prob: WinProb::MAX,
            sender_nonce: n,
            creation_round: Round(creation_round),
            ..Ticket::default()
        };
        TicketRecord {
            hash: B256::with_last_byte(n as u8),
            ticket: WinningTicket {
                signed: SignedTicket { ticket, sig: Signature65::new([1; 65]) },
                recipient_rand: U256::from(n),
                params_expiration_block: 1_000,
            },
            state: TicketState::Pending { not_before: 0, reason: None },
            attempts: 0,
        }
    }

    fn situation(block: u64) -> Situation {
        Situation { block, round: Round(10), round_start: 1_000, round_length: 100, validity: 2 }
    }

    fn covers(deposit: u64, claimable: u64) -> HashMap<Address, SenderCover> {
        let claimable = HashMap::from([(RECIPIENT, U256::from(claimable))]);
        HashMap::from([(SENDER, SenderCover { deposit: U256::from(deposit), claimable, ..SenderCover::default() })])
    }

    fn config() -> KeeperConfig {
        KeeperConfig {
            gather_blocks: 5,
            max_batch: 4,
            expiry_margin_blocks: 1,
            deadline_blocks: 5,
            ..KeeperConfig::default()
        }
    }

    fn numbers(selection: &Selection) -> Vec<u32> {
        selection.batch.iter().map(|r| r.ticket.signed.ticket.sender_nonce).collect()
    }

    #[test]
    fn a_ticket_is_valid_in_its_round_and_the_next() {
        assert_eq!(situation(1_000).oldest_round(), Round(9));
        assert_eq!(Situation { validity: 1, ..situation(1_000) }.oldest_round(), Round(10));
        assert_eq!(Situation { round: Round(0), ..situation(1) }.oldest_round(), Round(0));
    }

    #[test]
    fn secrets_are_shown_only_after_the_margin() {
        let config = KeeperConfig { expiry_margin_blocks: 3, ..config() };
        assert_eq!(situation(1_002).revealable(&config), Some(999));
        assert_eq!(situation(2).revealable(&config), None);
    }

    #[test]
    fn what_a_desk_has_not_closed_is_shown_only_if_its_round_is_urgent() {
        let (config, old, new) = (config(), record(1, 1, 9), record(2, 1, 10)); // params of both expire at 1,000
        let shown =
            |closing: Closing| [&old, &new].map(|record| situation(1_098).may_be_shown(record, closing, &config));
        assert!(situation(1_098).is_urgent(Round(9), &config), "which is not enough by itself");
        assert_eq!(shown(Closing { block: 999, urgent: None }), [false, false]);
        assert_eq!(shown(Closing { block: 999, urgent: Some(Round(9)) }), [true, false]);
        assert_eq!(shown(Closing { block: 1_000, urgent: None }), [true, true]);
        assert!(!situation(1_000).may_be_shown(&old, Closing { block: 999, urgent: Some(Round(9)) }, &config));
    }

    #[test]
    fn the_ceiling_rises_in_the_last_valid_round_and_has_risen_at_the_deadline() {
        let config = config(); // a quarter of 100 blocks, up to 5 before the end at 1,100: from 1,070 to 1,095
        let at = |block, round| situation(block).escalation(Round(round), &config);
        assert_eq!(at(1_070, 9), (Escalation::NONE, 0));
        assert_eq!(at(1_060, 9), (Escalation::NONE, 10));
        assert_eq!(at(1_060, 10), (Escalation::NONE, 110), "one more round");
        assert!(at(1_071, 9).0.has_begun() && at(1_094, 9).0 < Escalation::FULL);
        assert_eq!(at(1_095, 9).0, Escalation::FULL);
        assert_eq!(at(1_500, 9).0, Escalation::FULL, "past the end of a round that nobody initialised");
        let late = KeeperConfig { deadline_blocks: 1_000, ..config };
        assert_eq!(situation(1_074).escalation(Round(9), &late).0, Escalation::between(1_050, 1_075, 1_074));
    }

    #[test]
    fn the_ticket_that_presses_most_decides_for_all() {
        let config = config();
        let press = |block, tickets: &[&TicketRecord]| {
            let Pressure { escalation, blocks_left, waited } =
                pressure(tickets, &HashMap::new(), false, &situation(block), &config);
            (escalation, blocks_left, waited)
        };
        assert_eq!(press(1_005, &[&record(1, 10, 10)]), (Escalation::NONE, 165, false));
        assert_eq!(press(1_006, &[&record(1, 10, 10)]), (Escalation::NONE, 164, true), "expired at 1,000, margin 1");
        let (escalation, left, _) = press(1_080, &[&record(1, 10, 10), &record(2, 10, 9)]);
        assert_eq!((escalation, left), (situation(1_080).escalation(Round(9), &config).0, 0));
        let mut tried = record(1, 10, 10);
        tried.state = TicketState::Pending { not_before: 1_004, reason: None };
        assert!(press(1_006, &[&tried]).2, "a ticket that was put off does not start to wait anew");
    }

    #[test]
    fn the_round_before_its_sender_may_withdraw_is_a_tickets_last() {
        let config = config();
        let ticket = record(1, 10, 10);
        let press = |block, withdraw_round| {
            let cover = SenderCover { withdraw_round, ..SenderCover::default() };
            pressure(&[&ticket], &HashMap::from([(SENDER, cover)]), false, &situation(block), &config)
        };
        let last = |block| situation(block).escalation(Round(9), &config).0;
        assert_eq!(press(1_080, None).escalation, Escalation::NONE);
        assert_eq!(press(1_080, Some(Round(11))).escalation, last(1_080), "withdrawn from the next round on");
        assert_eq!(press(1_080, Some(Round(12))), press(1_080, None), "valid no longer than that anyway");
        assert_eq!(press(1_080, Some(Round(10))), press(1_080, None), "too late");
    }

    #[test]
    fn a_batch_has_a_largest_size() {
        let tickets = (1..=9).map(|n| record(n, 10, 10)).collect();
        assert_eq!(numbers(&select(tickets, covers(1_000, 0), &config())), [1, 2, 3, 4]);
    }

    #[test]
    fn tickets_beyond_deposit_and_claimable_reserve_wait() {
        // 25 of deposit and 10 of reserve carry two tickets of 10 and then 15 more
        let tickets = vec![record(1, 10, 10), record(2, 10, 10), record(3, 16, 10), record(4, 15, 10)];
        let selection = select(tickets, covers(25, 10), &config());
        assert_eq!(numbers(&selection), [1, 2, 4]);
        assert_eq!(selection.uncovered, [(B256::with_last_byte(3), "sender's funds do not cover the face value")]);
    }

    #[test]
    fn an_unlocked_or_unknown_sender_covers_nothing() {
        let mut unlocked = covers(100, 100);
        unlocked.get_mut(&SENDER).unwrap().unlocked = true;
        let selection = select(vec![record(1, 10, 10)], unlocked, &config());
        assert_eq!((selection.batch.len(), selection.uncovered[0].1), (0, "sender is unlocked"));
        let selection = select(vec![record(1, 10, 10)], HashMap::new(), &config());
        assert_eq!(selection.uncovered.len(), 1);
    }

    #[test]
    fn the_risk_of_a_batch_is_that_of_its_senders_with_all_they_owe() {
        let (batch, waiting) = (record(1, 40, 10), record(2, 40, 10));
        let weigh = |pending: &[TicketRecord], deposit, recipient_leaves| {
            let market = Market { gas_price: 7, usual_gas_price: None, income: U256::from(9), recipient_leaves };
            let gas = RoughGas { fixed: 3, total: 4 };
            weigh((&[&batch], pending), &covers(deposit, 0), gas, market, &situation(1_080), &config())
        };
        let alone = weigh(std::slice::from_ref(&batch), 80, false);
        assert_eq!(
            (alone.worth, alone.risk, alone.escalation),
            (U256::from(40), Risk::PerRound(20_000), Escalation::NONE)
        );
        let both = [batch.clone(), waiting];
        assert_eq!(weigh(&both, 160, false).risk, Risk::PerRound(20_000), "it owes the one that waits as well");
        assert_eq!(weigh(&both, 80, false).risk, Risk::Imminent);
        assert!(weigh(&both, 160, true).escalation.has_begun(), "of a recipient that leaves, this round is the last");
    }

    fn faces(values: &[u64]) -> Vec<U256> {
        values.iter().copied().map(U256::from).collect()
    }

    #[test]
    fn a_payout_must_exceed_gas_and_margin() {
        let cost = Cost { gas: 100, gas_price: 10 }; // 1,000, with margin 1,250
        assert_eq!(decide(&faces(&[1_250]), cost, 250_000), Decision::Hold);
        assert_eq!(decide(&faces(&[1_251]), cost, 250_000), Decision::Send);
        assert_eq!(decide(&faces(&[1_001]), cost, 0), Decision::Send, "no margin at the deadline");
        assert_eq!(decide(&faces(&[1_000]), cost, 0), Decision::Hold);
        assert_eq!(decide(&[], cost, 0), Decision::Hold);
    }

    #[test]
    fn the_margin_is_rounded_up() {
        let cost = Cost { gas: 1, gas_price: 101 }; // margin 1.01, so 2
        assert_eq!(decide(&faces(&[103]), cost, 10_000), Decision::Hold);
        assert_eq!(decide(&faces(&[104]), cost, 10_000), Decision::Send);
    }

    #[test]
    fn tickets_that_do_not_carry_their_own_gas_are_left_out() {
        let cost = Cost { gas: 100, gas_price: 10 };
        assert_eq!(decide(&faces(&[5_000, 500]), cost, 0), Decision::Trim(U256::from(500)));
        assert_eq!(decide(&faces(&[5_000, 501]), cost, 0), Decision::Send);
        assert_eq!(decide(&faces(&[400, 300]), cost, 0), Decision::Hold);
    }
}
