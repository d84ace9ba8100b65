//! Which tickets go into the next transaction, and whether it is worth sending. Pure: facts in, decision out.

use std::collections::HashMap;

use alloy::primitives::{Address, B256, U256};
use streamflow_store::{TicketRecord, TicketState};
use streamflow_types::Round;

use crate::KeeperConfig;

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

    /// Whether the ticket's secret may be shown to the chain, when every desk has closed the params that expired by `closed`.
    /// What would expire otherwise does not wait for the desks.
    pub fn may_be_shown(&self, record: &TicketRecord, closed: u64, config: &KeeperConfig) -> bool {
        let expiration = record.ticket.params_expiration_block;
        let waits = expiration > closed && !self.is_urgent(record.ticket.signed.ticket.creation_round, config);
        !waits && self.revealable(config).is_some_and(|revealable| expiration <= revealable)
    }

    /// Whether a ticket is in the last part of its last valid round.
    pub fn is_urgent(&self, creation_round: Round, config: &KeeperConfig) -> bool {
        let last_round = creation_round.0.saturating_add(self.validity).saturating_sub(1);
        let end = self.round_start.saturating_add(self.round_length);
        let left = u128::from(end.saturating_sub(self.block));
        self.round.0 >= last_round
            && left * 100 <= u128::from(self.round_length) * u128::from(config.escalation_percent)
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
}

impl SenderCover {
    /// Sets the ticket's face value aside if all of it is covered: first from the deposit, the rest from the reserve.
    fn take(&mut self, recipient: Address, face_value: U256) -> bool {
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
}

/// The next batch, if it is time for one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Tickets to simulate and send, in this order.
    pub batch: Vec<TicketRecord>,
    /// Whether one of them is about to expire.
    pub urgent: bool,
    /// Tickets that the sender's funds do not cover, and why they wait.
    pub uncovered: Vec<(B256, &'static str)>,
}

/// Chooses tickets in the given order (the store gives the oldest round and then the highest value first) while their
/// senders' funds last. The batch is empty while it is better to wait for more tickets.
pub fn select(
    tickets: Vec<TicketRecord>,
    situation: &Situation,
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
        selection.urgent |= situation.is_urgent(ticket.creation_round, config);
        selection.batch.push(record);
        if selection.batch.len() >= config.max_batch as usize {
            break;
        }
    }
    if !is_time(selection.batch.iter(), situation, config) {
        selection.batch.clear();
    }
    selection
}

/// Whether to send these tickets now: they are enough, one has waited for long, or is about to expire. Else it is better to
/// wait for more.
pub fn is_time<'a>(
    batch: impl Iterator<Item = &'a TicketRecord> + Clone,
    situation: &Situation,
    config: &KeeperConfig,
) -> bool {
    let is_due = |record: &TicketRecord| {
        situation.is_urgent(record.ticket.signed.ticket.creation_round, config)
            || waited(record, situation, config) >= config.gather_blocks
    };
    batch.clone().count() >= config.min_batch as usize || batch.clone().any(is_due)
}

/// Blocks since the ticket could first have been sent.
fn waited(record: &TicketRecord, situation: &Situation, config: &KeeperConfig) -> u64 {
    let expired = record.ticket.params_expiration_block.saturating_add(config.expiry_margin_blocks);
    let ready = match record.state {
        TicketState::Pending { not_before, .. } => expired.max(not_before),
        _ => expired,
    };
    situation.block.saturating_sub(ready)
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

/// Whether the face values carry the gas: Σ face value > cost · (1 + margin), and without the margin for an urgent batch.
pub fn decide(face_values: &[U256], cost: Cost, urgent: bool, config: &KeeperConfig) -> Decision {
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
    if carries(total, cost, urgent, config) { Decision::Send } else { Decision::Hold }
}

/// Whether a payout of `total` wei carries the gas: total > cost · (1 + margin), and without the margin for an urgent batch.
pub fn carries(total: U256, cost: Cost, urgent: bool, config: &KeeperConfig) -> bool {
    let margin = if urgent { 0 } else { config.margin_percent };
    // rounded up: the margin is a minimum
    total > cost.wei() + (cost.wei() * U256::from(margin)).div_ceil(U256::from(100))
}

/// Most wei per gas at which the face values still carry `gas` with the margin, rounded down; break-even for an urgent
/// batch.
pub fn fee_cap(face_values: &[U256], gas: u64, urgent: bool, config: &KeeperConfig) -> u128 {
    let margin = if urgent { 0 } else { config.margin_percent };
    let total = face_values.iter().fold(U256::ZERO, |sum, face| sum.saturating_add(*face));
    // cost · (100 + margin) / 100 <= total
    let divisor = U256::from(gas.max(1)) * U256::from(u64::from(margin) + 100);
    (total.saturating_mul(U256::from(100)) / divisor).saturating_to()
}

#[cfg(test)]
mod tests {
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
        HashMap::from([(SENDER, SenderCover { deposit: U256::from(deposit), claimable, unlocked: false })])
    }

    fn config() -> KeeperConfig {
        KeeperConfig {
            min_batch: 3,
            gather_blocks: 5,
            max_batch: 4,
            expiry_margin_blocks: 1,
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
    fn only_the_end_of_the_last_valid_round_is_urgent() {
        let config = config(); // the last quarter of 100 blocks: from 1,075
        let urgent = |block, round| situation(block).is_urgent(Round(round), &config);
        assert!(!urgent(1_074, 9));
        assert!(urgent(1_075, 9));
        assert!(!urgent(1_099, 10));
        assert!(urgent(1_500, 9), "past the end of a round that nobody initialised");
    }

    #[test]
    fn several_ready_tickets_go_together() {
        let tickets = (1..=3).map(|n| record(n, 10, 10)).collect();
        let selection = select(tickets, &situation(1_001), covers(100, 0), &config());
        assert_eq!(numbers(&selection), [1, 2, 3]);
    }

    #[test]
    fn a_lone_ticket_waits_for_others_but_not_for_ever() {
        let at = |block| numbers(&select(vec![record(1, 10, 10)], &situation(block), covers(100, 0), &config())).len();
        assert_eq!((at(1_001), at(1_005), at(1_006)), (0, 0, 1)); // expired at 1,000, margin 1, gathered for 5
    }

    #[test]
    fn a_lone_ticket_that_expires_soon_goes_at_once() {
        let mut ticket = record(1, 10, 9);
        ticket.ticket.params_expiration_block = 1_074;
        let selection = select(vec![ticket], &situation(1_075), covers(100, 0), &config());
        assert!(selection.urgent);
        assert_eq!(numbers(&selection), [1]);
    }

    #[test]
    fn a_batch_has_a_largest_size() {
        let tickets = (1..=9).map(|n| record(n, 10, 10)).collect();
        assert_eq!(numbers(&select(tickets, &situation(1_001), covers(1_000, 0), &config())), [1, 2, 3, 4]);
    }

    #[test]
    fn tickets_beyond_deposit_and_claimable_reserve_wait() {
        // 25 of deposit and 10 of reserve carry two tickets of 10 and then 15 more
        let tickets = vec![record(1, 10, 10), record(2, 10, 10), record(3, 16, 10), record(4, 15, 10)];
        let selection = select(tickets, &situation(1_100), covers(25, 10), &config());
        assert_eq!(numbers(&selection), [1, 2, 4]);
        assert_eq!(selection.uncovered, [(B256::with_last_byte(3), "sender's funds do not cover the face value")]);
    }

    #[test]
    fn an_unlocked_or_unknown_sender_covers_nothing() {
        let mut unlocked = covers(100, 100);
        unlocked.get_mut(&SENDER).unwrap().unlocked = true;
        let selection = select(vec![record(1, 10, 10)], &situation(1_100), unlocked, &config());
        assert_eq!((selection.batch.len(), selection.uncovered[0].1), (0, "sender is unlocked"));
        let selection = select(vec![record(1, 10, 10)], &situation(1_100), HashMap::new(), &config());
        assert_eq!(selection.uncovered.len(), 1);
    }

    fn faces(values: &[u64]) -> Vec<U256> {
        values.iter().copied().map(U256::from).collect()
    }

    #[test]
    fn a_payout_must_exceed_gas_and_margin() {
        let config = KeeperConfig { margin_percent: 25, ..KeeperConfig::default() };
        let cost = Cost { gas: 100, gas_price: 10 }; // 1,000, with margin 1,250
        assert_eq!(decide(&faces(&[1_250]), cost, false, &config), Decision::Hold);
        assert_eq!(decide(&faces(&[1_251]), cost, false, &config), Decision::Send);
        assert_eq!(decide(&faces(&[1_001]), cost, true, &config), Decision::Send, "no margin when urgent");
        assert_eq!(decide(&faces(&[1_000]), cost, true, &config), Decision::Hold);
        assert_eq!(decide(&[], cost, true, &config), Decision::Hold);
    }

    #[test]
    fn the_margin_is_rounded_up() {
        let config = KeeperConfig { margin_percent: 1, ..KeeperConfig::default() };
        let cost = Cost { gas: 1, gas_price: 101 }; // margin 1.01, so 2
        assert_eq!(decide(&faces(&[103]), cost, false, &config), Decision::Hold);
        assert_eq!(decide(&faces(&[104]), cost, false, &config), Decision::Send);
    }

    #[test]
    fn fees_may_rise_to_what_the_payout_carries_with_the_margin() {
        let config = KeeperConfig { margin_percent: 25, ..KeeperConfig::default() };
        let cap = |values: &[u64], gas, urgent| fee_cap(&faces(values), gas, urgent, &config);
        assert_eq!(cap(&[1_000, 250], 100, false), 10);
        assert_eq!(cap(&[1_249], 100, false), 9, "rounded down");
        assert_eq!(cap(&[1_250], 100, true), 12, "break-even when urgent");
        assert_eq!(cap(&[], 100, true), 0);
        let most = KeeperConfig { margin_percent: u32::MAX, ..KeeperConfig::default() };
        assert_eq!(fee_cap(&[U256::MAX, U256::MAX], 1, false, &most), u128::MAX);
        assert_eq!(fee_cap(&[U256::from(1)], u64::MAX, false, &most), 0);
    }

    #[test]
    fn what_is_sent_is_within_its_fee_cap() {
        for (total, gas, gas_price, margin_percent) in [(1_251, 100, 10, 25), (104, 1, 101, 1), (1_002, 7, 143, 0)] {
            let config = KeeperConfig { margin_percent, ..KeeperConfig::default() };
            let faces = faces(&[total]);
            assert_eq!(decide(&faces, Cost { gas, gas_price }, false, &config), Decision::Send);
            assert!(fee_cap(&faces, gas, false, &config) >= gas_price);
        }
    }

    #[test]
    fn tickets_that_do_not_carry_their_own_gas_are_left_out() {
        let config = KeeperConfig { margin_percent: 0, ..KeeperConfig::default() };
        let cost = Cost { gas: 100, gas_price: 10 };
        assert_eq!(decide(&faces(&[5_000, 500]), cost, false, &config), Decision::Trim(U256::from(500)));
        assert_eq!(decide(&faces(&[5_000, 501]), cost, false, &config), Decision::Send);
        assert_eq!(decide(&faces(&[400, 300]), cost, false, &config), Decision::Hold);
    }
}
