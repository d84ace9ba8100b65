//! Exact amounts of money below one wei: expected values and balances, without floats and without reducing fractions.
use std::{cmp::Ordering, fmt};

use alloy_primitives::{Sign, Signed, U256, Uint, aliases::U512};
use streamflow_types::{Price, WinProb};

/// Wide enough for face value · probability · pixels (575 bits) times 2^190.
pub(crate) type U768 = Uint<768, 12>;
pub(crate) type I768 = Signed<768, 12>;

/// Denominator of a win probability: 2^256 − 1.
const CERTAIN: U256 = U256::MAX;

/// Expected value of tickets, exactly: a numerator over 2^256 − 1 wei.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TicketEv(U512);

impl TicketEv {
    /// Nothing.
    pub const ZERO: Self = Self(U512::ZERO);

    /// Face value · probability.
    pub fn new(face_value: U256, win_prob: WinProb) -> Self {
        Self(face_value.widening_mul(win_prob.0))
    }

    /// A whole number of wei.
    pub fn from_wei(wei: U256) -> Self {
        Self(wei.widening_mul(CERTAIN))
    }

    /// Of `count` such tickets. Beyond 2^512 it stays there, which is more than any limit.
    pub fn times(self, count: usize) -> Self {
        Self(self.0.saturating_mul(U512::from(count)))
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// Whole wei, rounded down; more than 256 bits stays at the greatest.
    pub fn floor_wei(self) -> U256 {
        (self.0 / U512::from(CERTAIN)).saturating_to()
    }
}

impl TicketEv {
    /// Whole wei, rounded up; more than 256 bits stays at the greatest.
    pub fn ceil_wei(self) -> U256 {
        self.0.div_ceil(U512::from(CERTAIN)).saturating_to()
    }
}

impl fmt::Display for TicketEv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} wei", self.floor_wei())
    }
}

/// A balance, exactly: a signed numerator over (2^256 − 1) · `pixels_per_unit` wei.
///
/// A session has one pinned price, so credit (a numerator over 2^256 − 1) and debit (a numerator over
/// `pixels_per_unit`) are both whole numbers over this common denominator. Nothing is rounded, unless
/// [`Balance::repriced`] moves to a denominator that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    pub(crate) numerator: I768,
    pub(crate) pixels_per_unit: u64,
}

impl Balance {
    /// Nothing, in the terms of `price`.
    pub fn zero(price: Price) -> Self {
        Self { numerator: I768::ZERO, pixels_per_unit: price.pixels_per_unit() }
    }

    /// Adds the expected value of tickets.
    pub fn credit(&mut self, ev: TicketEv) {
        self.numerator = self.numerator.saturating_add(self.ev_numerator(ev));
    }

    /// Takes the expected value of tickets back; may go below zero.
    pub fn take_back(&mut self, ev: TicketEv) {
        self.numerator = self.numerator.saturating_sub(self.ev_numerator(ev));
    }

    /// Takes the cost of `pixels` at `price`; may go below zero.
    ///
    /// Exact when `price` has the balance's own denominator or one that divides it; else the cost is rounded up.
    pub fn debit(&mut self, price: Price, pixels: u64) {
        self.numerator = self.numerator.saturating_sub(self.cost_numerator(price, pixels));
    }

    /// Adds another balance, of the same denominator or rounded down to it.
    pub fn add(&mut self, other: Self) {
        self.numerator = self.numerator.saturating_add(other.rescaled(self.pixels_per_unit).numerator);
    }

    /// The same amount in the terms of another price. Exact if the old denominator divides the new one; else rounded
    /// down by less than one part in (2^256 − 1) · `pixels_per_unit`, so that the payer never counts on too much.
    pub fn repriced(self, price: Price) -> Self {
        self.rescaled(price.pixels_per_unit())
    }

    /// Whether it covers one such ticket.
    pub fn covers(&self, ev: TicketEv) -> bool {
        self.numerator >= self.ev_numerator(ev)
    }

    /// Whether it covers the cost of `pixels` at `price`.
    pub fn covers_pixels(&self, price: Price, pixels: u64) -> bool {
        self.numerator >= self.cost_numerator(price, pixels)
    }

    /// Tickets of `ev` each that are missing to the greater of `ev` and the cost of `pixels` (payments.md §1.9,
    /// `StageUpdate`). Worthless tickets are never asked for. Saturates.
    pub fn missing_tickets(&self, ev: TicketEv, price: Price, pixels: u64) -> u64 {
        let each = self.ev_numerator(ev);
        if each.is_zero() {
            return 0;
        }
        let missing = each.max(self.cost_numerator(price, pixels)).saturating_sub(self.numerator);
        if missing.is_positive() { missing.into_raw().div_ceil(each.into_raw()).saturating_to() } else { 0 }
    }

    /// Whole wei, rounded down (towards minus infinity): sign and size.
    pub fn floor_wei(&self) -> (Sign, U256) {
        let (sign, size) = self.numerator.into_sign_and_abs();
        let unit = self.unit();
        match sign {
            Sign::Positive => (sign, (size / unit).saturating_to()),
            Sign::Negative => (sign, size.div_ceil(unit).saturating_to()),
        }
    }

    pub(crate) fn unit(&self) -> U768 {
        U768::from(CERTAIN) * U768::from(self.pixels_per_unit)
    }

    /// At most 512 + 63 bits.
    fn ev_numerator(&self, ev: TicketEv) -> I768 {
        I768::from_raw(U768::from(ev.0) * U768::from(self.pixels_per_unit))
    }

    /// At most 63 + 64 + 256 + 63 bits.
    fn cost_numerator(&self, price: Price, pixels: u64) -> I768 {
        let over_price = U768::from(price.wei_per_unit()) * U768::from(pixels) * self.unit();
        I768::from_raw(over_price.div_ceil(U768::from(price.pixels_per_unit())))
    }

    fn rescaled(self, pixels_per_unit: u64) -> Self {
        if pixels_per_unit == self.pixels_per_unit {
            return self;
        }
        let old = I768::from_raw(U768::from(self.pixels_per_unit));
        let scaled = self.numerator.saturating_mul(I768::from_raw(U768::from(pixels_per_unit)));
        Self { numerator: scaled.div_euclid(old), pixels_per_unit }
    }
}

impl PartialOrd for Balance {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.pixels_per_unit == other.pixels_per_unit).then(|| self.numerator.cmp(&other.numerator))
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, wei) = self.floor_wei();
        let sign = if sign == Sign::Negative && !wei.is_zero() { "-" } else { "" };
        write!(f, "{sign}{wei} wei")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn price(wei: u64, pixels: u64) -> Price {
        Price::new(wei, pixels).unwrap()
    }

    fn wei(amount: u64) -> TicketEv {
        TicketEv::from_wei(U256::from(amount))
    }

    /// A balance of `numerator / denominator` wei.
    fn balance(numerator: i64, denominator: u64) -> Balance {
        let mut balance = Balance::zero(price(1, denominator));
        match u64::try_from(numerator) {
            Ok(n) => balance.credit(TicketEv(wei(n).0 / U512::from(denominator))),
            Err(_) => balance.debit(price(1, denominator), numerator.unsigned_abs()),
        }
        balance
    }

    #[test]
    fn expected_value_is_face_times_probability() {
        let face = U256::from(1000);
        assert_eq!(TicketEv::new(face, WinProb(U256::MAX >> 1)).floor_wei(), U256::from(499));
        assert_eq!(TicketEv::new(face, WinProb::ZERO), TicketEv::ZERO);
        assert_eq!(TicketEv::new(face, WinProb::MAX), wei(1000));
        assert_eq!(TicketEv::new(face, WinProb(U256::MAX >> 1)).ceil_wei(), U256::from(500));
        assert_eq!(wei(7).ceil_wei(), U256::from(7));
        // 500 when rounded to the nearest: twice the exact value is above 999 and at most 1000.
        let twice = TicketEv::new(face, WinProb(U256::MAX >> 1)).times(2);
        assert!(wei(999) < twice && twice <= wei(1000));
    }

    #[test]
    fn stage_update_vectors() {
        // existing; least credit, EV -> tickets (payments.md §7.7, node.md §11.4)
        let tickets = |existing: Balance, least: u64, ev: u64| existing.missing_tickets(wei(ev), price(1, 1), least);
        assert_eq!(tickets(balance(2, 1), 1, 1), 0);
        assert_eq!(tickets(balance(2, 1), 2, 1), 0);
        assert_eq!(tickets(balance(1, 1), 5, 1), 4);
        assert_eq!(tickets(balance(-5, 1), 2, 1), 7);
        assert_eq!(tickets(balance(0, 1), 2, 1), 2);
        let mut quarter = Balance::zero(price(1, 4));
        quarter.credit(wei(1));
        quarter.debit(price(1, 4), 3);
        assert_eq!(tickets(quarter, 2, 1), 2);
    }

    #[test]
    fn worthless_tickets_are_never_asked_for() {
        assert_eq!(balance(0, 1).missing_tickets(TicketEv::ZERO, price(5, 1), 100), 0);
    }

    #[test]
    fn at_least_one_ticket_is_held() {
        assert_eq!(balance(0, 1).missing_tickets(wei(10), price(1, 1), 3), 1);
        assert_eq!(balance(9, 1).missing_tickets(wei(10), price(1, 1), 3), 1);
        assert_eq!(balance(10, 1).missing_tickets(wei(10), price(1, 1), 3), 0);
    }

    #[test]
    fn debit_vector() {
        let mut account = Balance::zero(price(1, 5));
        account.debit(price(1, 5), 396_288_000);
        assert_eq!(account.floor_wei(), (Sign::Negative, U256::from(79_257_600)));
        assert_eq!(account.to_string(), "-79257600 wei");
    }

    #[test]
    fn a_third_is_paid_exactly() {
        let mut account = Balance::zero(price(1, 3));
        account.credit(wei(1));
        for _ in 0..3 {
            assert!(account.covers_pixels(price(1, 3), 1));
            account.debit(price(1, 3), 1);
        }
        assert_eq!(account, Balance::zero(price(1, 3)));
        assert!(!account.covers_pixels(price(1, 3), 1));
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let steep = price(i64::MAX as u64, 1);
        let fine = price(i64::MAX as u64, i64::MAX as u64);
        let mut account = Balance::zero(fine);
        for _ in 0..1000 {
            account.credit(TicketEv::new(U256::MAX, WinProb::MAX));
        }
        account.debit(steep, u64::MAX);
        assert_eq!(account.floor_wei(), (Sign::Positive, U256::MAX));
        assert_eq!(Balance::zero(fine).missing_tickets(TicketEv(U512::ONE), steep, u64::MAX), u64::MAX);
    }

    proptest! {
        #[test]
        fn credit_and_debit_agree_with_whole_numbers(
            credits in prop::collection::vec(0..1_000_000_u64, 0..20),
            debits in prop::collection::vec(0..1_000_000_u64, 0..20),
            rate in 0..1_000_u64,
            pixels_per_unit in 1..1_000_u64,
        ) {
            let price = price(rate, pixels_per_unit);
            let mut account = Balance::zero(price);
            credits.iter().for_each(|c| account.credit(wei(*c)));
            debits.iter().for_each(|d| account.debit(price, *d));
            let parts = i128::from(credits.iter().sum::<u64>()) * i128::from(pixels_per_unit)
                - i128::from(debits.iter().sum::<u64>()) * i128::from(rate);
            let expected = parts.div_euclid(i128::from(pixels_per_unit));
            let sign = if parts < 0 { Sign::Negative } else { Sign::Positive };
            prop_assert_eq!(account.floor_wei(), (sign, U256::from(expected.unsigned_abs())));
        }

        #[test]
        fn repricing_never_adds(amount in -1_000_000..1_000_000_i64, from in 1..1_000_u64, to in 1..1_000_u64) {
            let before = balance(amount, 1).repriced(price(1, from));
            let there_and_back = before.repriced(price(1, to)).repriced(price(1, from));
            prop_assert!(there_and_back <= before);
        }

        #[test]
        fn the_tickets_asked_for_are_enough_and_no_more(
            existing in -1_000..1_000_i64, ev in 1..100_u64, rate in 0..50_u64, pixels in 0..1_000_u64,
        ) {
            let price = price(rate, 7);
            let mut account = balance(existing, 1).repriced(price);
            let count = account.missing_tickets(wei(ev), price, pixels);
            if count > 0 {
                account.credit(wei(ev).times(count as usize - 1));
                prop_assert!(!(account.covers(wei(ev)) && account.covers_pixels(price, pixels)));
                account.credit(wei(ev));
            }
            prop_assert!(account.covers(wei(ev)) && account.covers_pixels(price, pixels));
        }
    }
}
