//! Which numbers of a stream's segments come, come again, or stay away.
use std::collections::BTreeSet;

/// A number that is missing while so many later segments came does not come any more.
pub(crate) const GIVE_UP_AFTER: u64 = 4;
/// A larger jump of the numbers is another recording, not a loss.
const MAX_JUMP: u64 = 100;
/// Which numbers came.
#[derive(Debug)]
pub(crate) struct Numbers {
    first: u64,
    highest: u64,
    /// Below the highest, and may still come.
    missing: BTreeSet<u64>,
    /// Given up, but the files do not know yet.
    pub(crate) lost: Vec<u64>,
}

/// Whether a number is taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Numbering {
    Taken,
    /// It came before, or was given up.
    Late,
    /// The encoder counts anew.
    Restarted,
}

impl Numbers {
    /// Expects `first` and those after it.
    pub(crate) fn from(first: u64) -> Self {
        Self { first, highest: first, missing: BTreeSet::from([first]), lost: Vec::new() }
    }

    /// Whether this number would be taken, and is one of the next.
    pub(crate) fn expects(&self, seq: u64) -> bool {
        seq.checked_sub(self.highest).is_some_and(|ahead| (1..=GIVE_UP_AFTER).contains(&ahead))
    }

    pub(crate) fn take(&mut self, seq: u64) -> Numbering {
        if self.missing.remove(&seq) {
            return Numbering::Taken;
        }
        // The only number so far once more is a push that is tried again, not another recording.
        let again = seq == self.first && self.highest == self.first;
        if (seq <= self.first && !again) || seq > self.highest.saturating_add(MAX_JUMP) {
            return Numbering::Restarted;
        }
        if seq <= self.highest {
            return Numbering::Late;
        }
        self.missing.extend(self.highest + 1..seq);
        self.highest = seq;
        let kept = self.missing.split_off(&self.highest.saturating_sub(GIVE_UP_AFTER));
        self.lost.extend(std::mem::replace(&mut self.missing, kept));
        Numbering::Taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_come_out_of_order_but_once() {
        let mut numbers = Numbers::from(5);
        let taken: Vec<Numbering> = [5, 7, 6, 6, 7].into_iter().map(|seq| numbers.take(seq)).collect();
        use Numbering::{Late, Taken};
        assert_eq!(taken, [Taken, Taken, Taken, Late, Late]);
    }

    #[test]
    fn the_first_number_may_be_overtaken() {
        let mut numbers = Numbers::from(0);
        assert_eq!([1, 0, 2].map(|seq| numbers.take(seq)), [Numbering::Taken, Numbering::Taken, Numbering::Taken]);
        assert_eq!(numbers.take(0), Numbering::Restarted);
    }

    #[test]
    fn the_next_numbers_are_expected_and_no_other() {
        let mut numbers = Numbers::from(5);
        numbers.take(5);
        numbers.take(7);
        let expected: Vec<u64> = (0..200).filter(|seq| numbers.expects(*seq)).collect();
        assert_eq!(expected, [8, 9, 10, 11]);
    }

    #[test]
    fn a_number_that_stays_away_is_given_up() {
        let mut numbers = Numbers::from(0);
        for seq in [0, 2, 3, 4, 5] {
            assert_eq!(numbers.take(seq), Numbering::Taken);
        }
        assert!(numbers.lost.is_empty());
        assert_eq!(numbers.take(6), Numbering::Taken);
        assert_eq!(numbers.lost, [1]);
        assert_eq!(numbers.take(1), Numbering::Late);
    }

    #[test]
    fn an_encoder_that_counts_anew_is_noticed() {
        let mut numbers = Numbers::from(3);
        for seq in [3, 4, 5] {
            numbers.take(seq);
        }
        assert_eq!(numbers.take(3), Numbering::Restarted);
        assert_eq!(numbers.take(0), Numbering::Restarted);
        assert_eq!(numbers.take(5 + MAX_JUMP + 1), Numbering::Restarted);
        assert_eq!(numbers.take(5 + MAX_JUMP), Numbering::Taken);
    }

    #[test]
    fn the_first_segment_pushed_again_is_no_new_recording() {
        let mut numbers = Numbers::from(3);
        assert_eq!([3, 3].map(|seq| numbers.take(seq)), [Numbering::Taken, Numbering::Late]);
        assert_eq!(numbers.take(2), Numbering::Restarted);
        assert_eq!([4, 3].map(|seq| numbers.take(seq)), [Numbering::Taken, Numbering::Restarted]);
    }
}
