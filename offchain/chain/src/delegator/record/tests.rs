use super::*;

const FIRST: Address = Address::repeat_byte(1);
const SECOND: Address = Address::repeat_byte(2);
const SENDER: Address = Address::repeat_byte(3);
const SOMEBODY: Address = Address::repeat_byte(4);

/// A chain's logs, one block each.
#[derive(Default)]
struct Logs(Vec<Log>);

impl Logs {
    fn push(&mut self, transaction: u8, event: &impl SolEvent) -> &mut Self {
        let index = self.0.len() as u64;
        self.0.push(Log {
            inner: alloy::primitives::Log { address: Address::ZERO, data: event.encode_log_data() },
            block_number: Some(index * 10),
            log_index: Some(0),
            transaction_hash: Some(B256::repeat_byte(transaction)),
            ..Log::default()
        });
        self
    }

    fn round(&mut self, round: u64) -> &mut Self {
        self.push(0, &RoundsManager::NewRound { round: U256::from(round), blockHash: B256::ZERO })
    }

    fn paid(&mut self, transaction: u8, recipient: Address, amount: u64) -> &mut Self {
        let event = TicketBroker::WinningTicketTransfer { sender: SENDER, recipient, amount: U256::from(amount) };
        self.push(transaction, &event)
    }

    fn redeemed(&mut self, transaction: u8, recipient: Address, face_value: u64) -> &mut Self {
        let event = TicketBroker::WinningTicketRedeemed {
            sender: SENDER,
            recipient,
            faceValue: U256::from(face_value),
            winProb: U256::MAX,
            senderNonce: U256::ONE,
            recipientRand: U256::ONE,
            auxData: Default::default(),
        };
        self.push(transaction, &event)
    }

    fn bonded(&mut self, from: Address, to: Address, additional: u64, bonded: u64) -> &mut Self {
        let event = BondingManager::Bond {
            newDelegate: to,
            oldDelegate: from,
            delegator: SOMEBODY,
            additionalAmount: U256::from(additional),
            bondedAmount: U256::from(bonded),
        };
        self.push(0, &event)
    }

    fn unbonded(&mut self, from: Address, amount: u64) -> &mut Self {
        let event = BondingManager::Unbond {
            delegate: from,
            delegator: SOMEBODY,
            unbondingLockId: U256::ZERO,
            amount: U256::from(amount),
            withdrawRound: U256::ONE,
        };
        self.push(0, &event)
    }

    fn rewarded(&mut self, orchestrator: Address, amount: u64) -> &mut Self {
        self.push(0, &BondingManager::Reward { transcoder: orchestrator, amount: U256::from(amount) })
    }

    fn read(&self, rounds: usize) -> Record {
        Record::from_logs(&self.0, rounds).unwrap()
    }
}

fn income(fees: u64, winners: u64) -> Income {
    Income { fees: U256::from(fees), winners, complete: true }
}

#[test]
fn fees_count_in_the_round_that_runs_when_they_are_paid() {
    let mut logs = Logs::default();
    logs.paid(1, FIRST, 1).redeemed(1, FIRST, 1).round(7).paid(2, FIRST, 2).redeemed(2, FIRST, 2);
    logs.round(9).paid(3, FIRST, 4).redeemed(3, FIRST, 4).paid(3, SECOND, 8).redeemed(3, SECOND, 8);
    let record = logs.read(2);
    assert_eq!(record.rounds.iter().map(|started| started.round).collect::<Vec<_>>(), [7, 9]);
    assert_eq!(record.rounds[1].block, 50);
    assert_eq!(record.books[&FIRST].income, BTreeMap::from([(7, income(2, 1)), (9, income(4, 1))]));
    assert_eq!(record.books[&SECOND].income, BTreeMap::from([(9, income(8, 1))]));
    let newest = logs.read(1);
    assert_eq!(newest.books[&FIRST].income, BTreeMap::from([(9, income(4, 1))]), "what came before is left out");
}

#[test]
fn a_partial_payout_counts_as_what_moved() {
    let mut logs = Logs::default();
    logs.round(7).paid(1, FIRST, 30).redeemed(1, FIRST, 100);
    assert_eq!(logs.read(1).books[&FIRST].income[&7], income(30, 1));
}

#[test]
fn a_payment_without_a_tickets_log_is_an_ordered_one() {
    let mut logs = Logs::default();
    // One of an ordered batch, one single ticket of the same sender after it, one ordered at the end.
    logs.round(7).paid(1, FIRST, 30).paid(2, FIRST, 5).redeemed(2, FIRST, 5).paid(3, FIRST, 40);
    let record = logs.read(1);
    assert_eq!(record.books[&FIRST].income[&7], income(75, 1));
    let transactions: Vec<B256> = record.ordered.iter().map(|payment| payment.transaction).collect();
    assert_eq!(transactions, [B256::repeat_byte(1), B256::repeat_byte(3)]);
}

#[test]
fn a_ticket_that_moved_nothing_is_no_winner_of_another_payment() {
    let mut logs = Logs::default();
    logs.round(7).paid(1, FIRST, 30).redeemed(2, FIRST, 9);
    let record = logs.read(1);
    assert_eq!((record.books[&FIRST].income[&7], record.ordered.len()), (income(30, 0), 1));
}

#[test]
fn stake_of_a_round_is_told_from_what_came_later() {
    let mut logs = Logs::default();
    logs.round(7).bonded(Address::ZERO, FIRST, 10, 10).unbonded(FIRST, 3).rewarded(FIRST, 2);
    logs.round(8).bonded(FIRST, SECOND, 5, 14).bonded(SECOND, SECOND, 1, 15);
    let record = logs.read(2);
    let (first, second) = (&record.books[&FIRST], &record.books[&SECOND]);
    // Now FIRST has 91 and SECOND 115: 9 units moved in round 8, with 6 from a wallet.
    assert_eq!(first.stake_before(8, Some(U256::from(91))), Some(U256::from(100)));
    assert_eq!(first.stake_before(7, Some(U256::from(100))), Some(U256::from(91)));
    assert_eq!(second.stake_before(8, Some(U256::from(115))), Some(U256::from(100)));
    assert_eq!(second.stake_before(7, Some(U256::from(100))), Some(U256::from(100)), "nothing changed");
    assert_eq!(first.rewards, BTreeMap::from([(7, U256::from(2))]));
    assert_eq!(first.stake_before(7, Some(U256::from(1))), None, "less than what came cannot be");
}

#[test]
fn before_a_slash_the_stake_is_not_known() {
    let mut logs = Logs::default();
    let slash = BondingManager::TranscoderSlashed {
        transcoder: FIRST,
        finder: SOMEBODY,
        penalty: U256::from(5),
        finderReward: U256::ONE,
    };
    logs.round(7).push(1, &slash);
    let record = logs.read(1);
    let book = &record.books[&FIRST];
    assert!(book.is_slashed(7) && !book.is_slashed(8));
    assert_eq!(book.stake_before(7, Some(U256::from(100))), None);
}

#[test]
fn a_seat_is_held_from_its_first_round_until_it_is_lost() {
    let activated =
        |from: u64| BondingManager::TranscoderActivated { transcoder: FIRST, activationRound: U256::from(from) };
    let left =
        |from: u64| BondingManager::TranscoderDeactivated { transcoder: FIRST, deactivationRound: U256::from(from) };
    let mut logs = Logs::default();
    logs.round(7).push(0, &left(8)).round(9).push(0, &activated(10)).round(12).push(0, &left(13)).push(0, &left(12));
    let record = logs.read(3);
    let book = &record.books[&FIRST];
    let present = (U256::from(10), U256::from(12));
    let active: Vec<u64> = (5..15).filter(|round| book.is_active(*round, present)).collect();
    assert_eq!(active, [5, 6, 7, 10, 11], "a slash ends a seat in the round that runs");

    let quiet = Book::default();
    let active: Vec<u64> = (5..15).filter(|round| quiet.is_active(*round, present)).collect();
    assert_eq!(active, [10, 11], "without a log what the chain has now was so before");
    assert!(!quiet.is_active(0, (U256::ZERO, U256::MAX)), "who never had a seat has none");
}
