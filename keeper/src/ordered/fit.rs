//! Which of the tickets that may be passed go into the next transaction. Pure.
//!
//! A transaction takes `keeper.max_batch` tickets. A sender's lowest keys may all be ones that pay nothing: not covered, or
//! worth less than their gas. Then nothing of that sender would ever gain, though what is above them is worth more than
//! passing all of them. So each sender's best end is looked for among all its tickets, with the cover that the contract
//! reports; where it lies beyond the transaction, what comes later counts.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use alloy::primitives::{Address, B256, U256};
use streamflow_store::TicketRecord;

use super::plan::{FIXED_GAS, Group, best_prefix, gain, worth};
use crate::planner::SenderCover;

/// At most `max_batch` tickets, the oldest rounds and then the highest values first; groups in ascending order of their
/// senders. `covers` are what the senders of the groups can pay `recipient`, at the block that the groups were planned on.
pub fn fit(
    mut groups: Vec<Group>,
    recipient: Address,
    covers: &HashMap<Address, SenderCover>,
    gas_price: u128,
    max_batch: u32,
) -> Vec<Group> {
    groups.sort_by_key(|group| (oldest_round(group), Reverse(worth(&group.tickets))));
    let mut room = max_batch as usize;
    for group in &mut groups {
        let cut = group.tickets.len().min(room);
        match covers.get(&group.sender).map(|cover| best_end(&group.tickets, recipient, cover.clone(), gas_price)) {
            // Enough to be told why; it must not take the others' room.
            Some((0, _)) => group.tickets.truncate(cut.min(1)),
            Some((end, aside)) if end > cut => {
                group.beyond = beyond(&group.tickets[..end], &aside, gas_price, cut);
                group.tickets.truncate(cut);
            }
            _ => group.tickets.truncate(cut),
        }
        room -= group.tickets.len();
    }
    groups.retain(|group| !group.tickets.is_empty());
    groups.sort_by_key(|group| group.sender);
    groups
}

/// How many of the sender's first tickets gain most, however many transactions that takes, and which of all its tickets the
/// contract would set aside.
fn best_end(
    tickets: &[TicketRecord],
    recipient: Address,
    cover: SenderCover,
    gas_price: u128,
) -> (usize, HashSet<B256>) {
    let aside = uncovered(tickets, recipient, cover);
    (best_prefix(tickets, &aside, gas_price), aside)
}

/// What the tickets after the first `cut` gain, gas of their transactions deducted. `None` if that is nothing.
fn beyond(tickets: &[TicketRecord], aside: &HashSet<B256>, gas_price: u128, cut: usize) -> Option<U256> {
    let later = tickets.get(cut..).filter(|_| cut > 0)?;
    let transactions = later.len().div_ceil(cut);
    let (paid, cost) = gain(later, aside, gas_price);
    let fixed = U256::from(FIXED_GAS).saturating_mul(U256::from(gas_price)).saturating_mul(U256::from(transactions));
    Some(paid.saturating_sub(cost).saturating_sub(fixed)).filter(|gained| !gained.is_zero())
}

/// The tickets that the contract would set aside, passed in this order.
fn uncovered(tickets: &[TicketRecord], recipient: Address, mut cover: SenderCover) -> HashSet<B256> {
    let mut is_uncovered = |record: &&TicketRecord| !cover.take(recipient, record.ticket.signed.ticket.face_value);
    tickets.iter().filter(&mut is_uncovered).map(|record| record.hash).collect()
}

fn oldest_round(group: &Group) -> Option<u64> {
    group.tickets.first().map(|record| record.ticket.signed.ticket.creation_round.0)
}

#[cfg(test)]
mod tests {
    use super::{
        super::plan::{ASIDE_GAS, GROUP_GAS, TICKET_GAS, drawn::record},
        *,
    };

    const RECIPIENT: Address = Address::repeat_byte(0x0a);

    fn group(sender: u8, faces: &[u64]) -> Group {
        let tickets = (1..).zip(faces).map(|(nonce, face)| record(sender, (9, 5, nonce), *face, 1)).collect();
        Group { sender: Address::repeat_byte(sender), mark: U256::ZERO, tickets, beyond: None }
    }

    fn covers(deposit: u64) -> HashMap<Address, SenderCover> {
        let cover = SenderCover { deposit: U256::from(deposit), ..SenderCover::default() };
        HashMap::from([(Address::repeat_byte(1), cover)])
    }

    fn beyond_of(faces: &[u64], deposit: u64, max_batch: u32) -> Option<u64> {
        let groups = fit(vec![group(1, faces)], RECIPIENT, &covers(deposit), 1, max_batch);
        assert!(groups[0].tickets.len() <= max_batch as usize);
        groups[0].beyond.map(|wei| wei.to())
    }

    #[test]
    fn a_full_batch_takes_the_oldest_rounds_and_then_the_most_valuable_senders() {
        let mut old = group(3, &[1]);
        old.tickets[0].ticket.signed.ticket.creation_round.0 = 8;
        let groups = fit(vec![group(1, &[10]), group(2, &[90, 90]), old], RECIPIENT, &HashMap::new(), 1, 2);
        let taken: Vec<_> = groups.iter().map(|group| (group.sender.0[0], group.tickets.len())).collect();
        assert_eq!(taken, [(2, 1), (3, 1)]);
    }

    #[test]
    fn a_sender_that_pays_nothing_takes_the_room_of_one_ticket() {
        let mut covers = covers(0);
        covers
            .insert(Address::repeat_byte(2), SenderCover { deposit: U256::from(1_000_000), ..SenderCover::default() });
        let groups = vec![group(1, &[900_000; 5]), group(2, &[300_000; 3])];
        let taken: Vec<_> = fit(groups, RECIPIENT, &covers, 1, 4)
            .iter()
            .map(|group| (group.sender.0[0], group.tickets.len()))
            .collect();
        assert_eq!(taken, [(1, 1), (2, 3)]);
    }

    #[test]
    fn dear_tickets_above_many_uncovered_ones_are_worth_passing_those() {
        let mut faces = vec![2_000_000; 6];
        faces.push(1_500_000);
        // 1,500,000 are covered: the six below are set aside, the fourth of them on in the second transaction
        let later = 1_500_000 - TICKET_GAS - 3 * ASIDE_GAS - FIXED_GAS * 2;
        assert_eq!(beyond_of(&faces, 1_500_000, 3), Some(later));
        assert_eq!(beyond_of(&faces, 1_499_999, 3), None, "nothing is covered");
        assert_eq!(beyond_of(&faces, 1_500_000, 7), None, "all of it fits");
    }

    #[test]
    fn dear_tickets_above_dust_are_worth_passing_the_dust() {
        let mut faces = vec![1; 10];
        faces.push(1_000_000);
        let later = 1_000_000 + 6 - 7 * TICKET_GAS - FIXED_GAS * 2;
        assert_eq!(beyond_of(&faces, 2_000_000, 4), Some(later));
        *faces.last_mut().unwrap() = 10 * TICKET_GAS + GROUP_GAS;
        assert_eq!(beyond_of(&faces, 2_000_000, 4), None, "not for so little");
    }

    #[test]
    fn what_comes_later_counts_only_if_it_gains() {
        assert_eq!(beyond_of(&[500_000, 500_000, 500_000], 10_000_000, 2), Some(500_000 - TICKET_GAS - FIXED_GAS));
        assert_eq!(beyond_of(&[500_000, 500_000, TICKET_GAS + 1], 10_000_000, 2), None, "not with its own transaction");
    }
}
