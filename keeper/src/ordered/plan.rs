//! Which marked tickets of a recipient can be passed now, and how far it pays. Pure: facts in, decision out.
//!
//! Redeeming a ticket moves its sender's mark to the ticket's key, and what lies at or below the mark is never paid again.
//! So a key may be passed only when no ticket with a lower key can win any more. The recipient's quotes see to it that
//! round and expiry never fall as the serial grows, so all params below an expired one have expired too. The plan does not
//! rely on it where it can see: it ends before the first stored winner whose params live.

use std::collections::{BTreeMap, HashMap, HashSet};

use alloy::primitives::{Address, B256, U256};
use streamflow_pm::ordered;
use streamflow_store::{TicketRecord, TicketState};

use crate::{
    KeeperConfig,
    planner::{Closing, RoughGas, Situation},
};

/// Gas that one more ticket of a group costs, rounded up (gas snapshot `ordered_batch_50_one_sender`).
pub(crate) const TICKET_GAS: u64 = 9_500;
/// Gas that one more group costs, rounded up (`ordered_batch_50_distinct_senders` less a ticket).
pub(crate) const GROUP_GAS: u64 = 14_500;
/// Gas that setting a ticket aside costs: 25,000 now, and 50,000 more than in order when it is paid by itself later.
pub(crate) const ASIDE_GAS: u64 = 75_000;
/// Gas of a batch beside its groups and tickets, rounded up (gas snapshot `ordered_batch_1` less a group and a ticket).
pub(crate) const FIXED_GAS: u64 = 80_000;

/// Tickets of one sender that are passed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Who signed them.
    pub sender: Address,
    /// The chain's mark when it was planned.
    pub mark: U256,
    /// In strictly ascending order of their keys, all above the mark.
    pub tickets: Vec<TicketRecord>,
    /// Wei that later transactions gain once these tickets are passed, if the sender's best end lies beyond them.
    pub beyond: Option<U256>,
}

/// Place of a marked ticket in its sender's order.
pub fn key(record: &TicketRecord) -> U256 {
    let ticket = &record.ticket.signed.ticket;
    ordered::key(ticket.creation_round, ordered::serial(record.ticket.recipient_rand), ticket.sender_nonce)
}

/// Whether a ticket can be redeemed in order only, unless it was set aside.
pub fn is_marked(record: &TicketRecord) -> bool {
    ordered::is_marked(record.ticket.recipient_rand)
}

/// For each sender the tickets that can be passed now: from its lowest key above the mark up to the first ticket that must
/// not be shown yet, or that waits. `tickets` are pending marked ones of one recipient, of each sender all or those with the
/// lowest keys; senders without an entry in `marks` are left out. `closing` says what need not wait for the desks, by a block
/// alone if nothing is urgent. Groups in ascending order of their senders.
pub fn passable(
    tickets: Vec<TicketRecord>,
    marks: &HashMap<Address, U256>,
    closing: impl Into<Closing>,
    situation: &Situation,
    config: &KeeperConfig,
) -> Vec<Group> {
    let closing = closing.into();
    let mut by_sender: BTreeMap<Address, Vec<TicketRecord>> = BTreeMap::new();
    for record in tickets {
        by_sender.entry(record.ticket.signed.ticket.sender).or_default().push(record);
    }
    let prefix = |(sender, mut tickets): (Address, Vec<TicketRecord>)| {
        let mark = *marks.get(&sender)?;
        tickets.retain(|record| key(record) > mark);
        let may_be_sent =
            |record: &&TicketRecord| is_due(record, situation.block) && situation.may_be_shown(record, closing, config);
        let wall = tickets.iter().filter(|record| !may_be_sent(record)).map(key).min();
        tickets.retain(|record| wall.is_none_or(|wall| key(record) < wall));
        // Of two with one key only the first can be paid: the dearer one.
        tickets.sort_by(|a, b| key(a).cmp(&key(b)).then(face_value(b).cmp(&face_value(a))).then(a.hash.cmp(&b.hash)));
        tickets.dedup_by_key(|record| key(record));
        (!tickets.is_empty()).then_some(Group { sender, mark, tickets, beyond: None })
    };
    by_sender.into_iter().filter_map(prefix).collect()
}

fn is_due(record: &TicketRecord, block: u64) -> bool {
    matches!(record.state, TicketState::Pending { not_before, .. } if not_before <= block)
}

/// How many of the group's first tickets to pass so that most is gained at this gas price: what is paid, less what passing
/// costs. `aside` are those that the sender's funds do not cover; none of them is last. Zero if nothing gains.
///
/// An uncovered ticket ends the group where waiting costs nothing, and is passed where those behind it are worth more than
/// setting it aside: it stays payable by itself.
pub fn best_prefix(tickets: &[TicketRecord], aside: &HashSet<B256>, gas_price: u128) -> usize {
    let (mut paid, mut cost) = (U256::ZERO, wei(GROUP_GAS, gas_price));
    let mut best = (0, U256::ZERO, U256::ZERO);
    for (count, record) in (1..).zip(tickets) {
        let (pays, costs) = gain(std::slice::from_ref(record), aside, gas_price);
        (paid, cost) = (paid.saturating_add(pays), cost.saturating_add(costs));
        // paid - cost > best paid - best cost
        if paid.saturating_add(best.2) > best.1.saturating_add(cost) {
            best = (count, paid, cost);
        }
    }
    best.0
}

/// What these tickets pay, and what passing them costs beside their group, wei.
pub(crate) fn gain(tickets: &[TicketRecord], aside: &HashSet<B256>, gas_price: u128) -> (U256, U256) {
    tickets.iter().fold((U256::ZERO, U256::ZERO), |(paid, cost), record| {
        if aside.contains(&record.hash) {
            (paid, cost.saturating_add(wei(ASIDE_GAS, gas_price)))
        } else {
            (paid.saturating_add(face_value(record)), cost.saturating_add(wei(TICKET_GAS, gas_price)))
        }
    })
}

fn wei(gas: u64, gas_price: u128) -> U256 {
    U256::from(gas).saturating_mul(U256::from(gas_price))
}

/// Gas of a batch of these groups, before it is tried.
pub fn rough_gas(groups: &[Group]) -> RoughGas {
    let tickets = groups.iter().map(|group| group.tickets.len() as u64).sum();
    let fixed = FIXED_GAS.saturating_add(GROUP_GAS.saturating_mul(groups.len() as u64));
    RoughGas { fixed, total: fixed.saturating_add(TICKET_GAS.saturating_mul(tickets)) }
}

/// Σ face value, wei.
pub fn worth<'a>(tickets: impl IntoIterator<Item = &'a TicketRecord>) -> U256 {
    tickets.into_iter().fold(U256::ZERO, |sum, record| sum.saturating_add(face_value(record)))
}

fn face_value(record: &TicketRecord) -> U256 {
    record.ticket.signed.ticket.face_value
}

/// Tickets for tests.
#[cfg(test)]
pub(crate) mod drawn {
    use streamflow_types::{Round, Signature65, SignedTicket, Ticket, WinProb, WinningTicket};

    use super::*;

    /// A ticket of sender `sender` with this round, serial and nonce.
    pub(crate) fn record(
        sender: u8,
        (round, serial, nonce): (u64, u64, u32),
        face_value: u64,
        expiration: u64,
    ) -> TicketRecord {
        let recipient_rand = ordered::numbered(serial, U256::from(serial));
        let ticket = Ticket {
            recipient: Address::repeat_byte(0x0a),
            sender: Address::repeat_byte(sender),
            face_value: U256::from(face_value),
            win_prob: WinProb::MAX,
            sender_nonce: nonce,
            recipient_rand_hash: streamflow_pm::commitment(recipient_rand),
            creation_round: Round(round),
            ..Ticket::default()
        };
        TicketRecord {
            hash: streamflow_pm::ticket_hash(&ticket),
            ticket: WinningTicket {
                signed: SignedTicket { ticket, sig: Signature65::new([1; 65]) },
                recipient_rand,
                params_expiration_block: expiration,
            },
            state: TicketState::Pending { not_before: 0, reason: None },
            attempts: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use streamflow_types::Round;

    use super::{super::fit::fit, drawn::record, *};

    const BLOCK: u64 = 1_000;

    fn situation() -> Situation {
        Situation { block: BLOCK, round: Round(10), round_start: 900, round_length: 200, validity: 2 }
    }

    fn config() -> KeeperConfig {
        KeeperConfig { expiry_margin_blocks: 1, ..KeeperConfig::default() }
    }

    fn marks(senders: &[(u8, U256)]) -> HashMap<Address, U256> {
        senders.iter().map(|(sender, mark)| (Address::repeat_byte(*sender), *mark)).collect()
    }

    fn plan(tickets: &[TicketRecord]) -> Vec<Group> {
        let none = [1, 2, 3, 4].map(|sender| (sender, U256::ZERO));
        passable(tickets.to_vec(), &marks(&none), u64::MAX, &situation(), &config())
    }

    fn nonces(group: &Group) -> Vec<u32> {
        group.tickets.iter().map(|record| record.ticket.signed.ticket.sender_nonce).collect()
    }

    #[test]
    fn a_group_ends_before_the_first_ticket_whose_params_live() {
        let tickets = [
            record(1, (9, 7, 4), 1, BLOCK),     // lives: the margin is one block
            record(1, (9, 6, 3), 1, BLOCK - 1), // out of order, as they come from the store
            record(1, (9, 5, 2), 1, BLOCK - 1),
            record(1, (9, 8, 5), 1, BLOCK - 9), // cannot be, by the recipient's promise; not passed even so
        ];
        let groups = plan(&tickets);
        assert_eq!((groups.len(), nonces(&groups[0])), (1, vec![2, 3]));
    }

    #[test]
    fn a_ticket_that_waits_holds_up_those_above_it() {
        let mut waiting = record(1, (9, 6, 3), 1, 1);
        waiting.state = TicketState::Pending { not_before: BLOCK + 1, reason: None };
        let tickets = [record(1, (9, 5, 2), 1, 1), waiting, record(1, (9, 7, 4), 1, 1)];
        assert_eq!(nonces(&plan(&tickets)[0]), [2]);
    }

    #[test]
    fn tickets_at_or_below_the_mark_and_of_senders_without_mark_are_left_out() {
        let tickets = [record(1, (9, 5, 2), 1, 1), record(1, (9, 5, 3), 1, 1), record(2, (9, 9, 1), 1, 1)];
        let mark = ordered::key(Round(9), 5, 2);
        let groups = passable(tickets.to_vec(), &marks(&[(1, mark)]), u64::MAX, &situation(), &config());
        assert_eq!((groups.len(), groups[0].mark, nonces(&groups[0])), (1, mark, vec![3]));
    }

    #[test]
    fn of_two_tickets_with_one_key_the_dearer_is_passed() {
        let tickets = [record(1, (9, 5, 2), 10, 1), record(1, (9, 5, 2), 30, 1), record(1, (9, 5, 2), 20, 1)];
        let groups = plan(&tickets);
        assert_eq!((groups[0].tickets.len(), worth(&groups[0].tickets)), (1, U256::from(30)));
    }

    #[test]
    fn what_a_desk_has_not_closed_is_passed_only_when_it_would_expire() {
        let tickets = [record(1, (9, 5, 1), 10, 1), record(1, (9, 6, 1), 10, 2), record(1, (10, 7, 1), 10, 3)];
        let with = |urgent| {
            let closing = Closing { block: 1, urgent };
            let groups = passable(tickets.to_vec(), &marks(&[(1, U256::ZERO)]), closing, &situation(), &config());
            groups[0].tickets.len()
        };
        assert_eq!(with(None), 1);
        assert_eq!(with(Some(Round(8))), 1);
        assert_eq!(with(Some(Round(9))), 2);
        assert!(!situation().is_urgent(Round(9), &config()));
        assert!(
            Situation { block: 1_050, ..situation() }.is_urgent(Round(9), &config()),
            "a quarter of a round before"
        );
    }

    fn best(faces: &[(u64, bool)], gas_price: u128) -> usize {
        let tickets: Vec<_> = (1..).zip(faces).map(|(nonce, (face, _))| record(1, (9, 5, nonce), *face, 1)).collect();
        let aside = tickets.iter().zip(faces).filter(|(_, (_, aside))| *aside).map(|(record, _)| record.hash).collect();
        best_prefix(&tickets, &aside, gas_price)
    }

    #[test]
    fn an_uncovered_ticket_is_passed_only_for_what_is_worth_more_behind_it() {
        // at one wei: a group costs 14,500, a ticket 9,500, setting one aside 75,000
        assert_eq!(best(&[(100_000, false), (100_000, false)], 1), 2);
        assert_eq!(best(&[(100_000, false), (900_000, true)], 1), 1, "nothing behind it");
        assert_eq!(best(&[(100_000, false), (900_000, true), (84_500, false)], 1), 1);
        assert_eq!(best(&[(100_000, false), (900_000, true), (84_501, false)], 1), 3);
        assert_eq!(best(&[(900_000, true)], 1), 0);
    }

    #[test]
    fn tickets_that_do_not_carry_their_gas_are_not_passed_at_the_end() {
        assert_eq!(best(&[(24_000, false)], 1), 0);
        assert_eq!(best(&[(24_001, false)], 1), 1);
        assert_eq!(best(&[(50_000, false), (9_500, false)], 1), 1);
        assert_eq!(best(&[(50_000, false), (9_499, false), (50_000, false)], 1), 3, "but before others they are");
        assert_eq!(best(&[(1, false), (1, true)], 0), 1);
        assert_eq!(best(&[(1, false)], u128::MAX), 0);
    }

    proptest! {
        /// Against any state of the store, also one that breaks the recipient's promise.
        #[test]
        fn no_key_is_passed_above_one_that_may_still_win(
            drawn in prop::collection::vec((1..4_u8, 9..11_u64, 0..6_u64, 1..4_u32, 1..99_u64, 0..3_u64, 0..4_u64), 0..40),
            passed in prop::collection::vec((9..11_u64, 0..6_u64, 0..4_u32), 3),
            max_batch in 1..20_u32,
            closed in BLOCK - 3..BLOCK + 2,
        ) {
            let tickets: Vec<_> = drawn.into_iter().map(|(sender, round, serial, nonce, face, late, rest)| {
                let mut record = record(sender, (round, serial, nonce), face, BLOCK - 2 + late);
                record.state = TicketState::Pending { not_before: BLOCK - 2 + rest, reason: None };
                record
            }).collect();
            let marks: HashMap<_, _> = (1..).zip(&passed).map(|(sender, (round, serial, nonce))| {
                (Address::repeat_byte(sender), ordered::key(Round(*round), *serial, *nonce))
            }).collect();
            let groups = passable(tickets.clone(), &marks, closed, &situation(), &config());
            let groups = fit(groups, Address::repeat_byte(0x0a), &HashMap::new(), 1, max_batch);
            let taken: usize = groups.iter().map(|group| group.tickets.len()).sum();
            prop_assert!(taken <= max_batch as usize);
            prop_assert!(groups.windows(2).all(|pair| pair[0].sender < pair[1].sender));
            for group in &groups {
                prop_assert_eq!(group.mark, marks[&group.sender]);
                prop_assert!(key(&group.tickets[0]) > group.mark);
                prop_assert!(group.tickets.windows(2).all(|pair| key(&pair[0]) < key(&pair[1])));
                let last = key(group.tickets.last().unwrap());
                for other in tickets.iter().filter(|other| other.ticket.signed.ticket.sender == group.sender) {
                    let live = other.ticket.params_expiration_block > closed.min(BLOCK - 1);
                    prop_assert!(!live || key(other) > last || key(other) <= group.mark);
                    let left_out = key(other) > group.mark && key(other) <= last && !group.tickets.contains(other);
                    let double = group.tickets.iter().any(|taken| key(taken) == key(other));
                    prop_assert!(!left_out || double, "passed without being in the batch");
                }
            }
        }

        #[test]
        fn the_best_prefix_gains_no_less_than_any_other(
            drawn in prop::collection::vec((0..200_000_u64, any::<bool>()), 0..30),
        ) {
            let gained = |count: usize| -> i128 {
                if count == 0 { return 0; }
                drawn[..count].iter().fold(-i128::from(GROUP_GAS), |sum, (face, aside)| {
                    sum + if *aside { -i128::from(ASIDE_GAS) } else { i128::from(*face) - i128::from(TICKET_GAS) }
                })
            };
            let best = best(&drawn, 1);
            prop_assert!((0..=drawn.len()).all(|count| gained(count) <= gained(best)));
            prop_assert!(best == 0 || !drawn[best - 1].1, "never ends with one aside");
        }
    }
}
