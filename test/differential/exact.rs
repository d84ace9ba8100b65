//! Exact numbers, and how far below them the contracts may be.
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, Zero};

/// A number without rounding.
pub(crate) type Rational = BigRational;

/// Bits behind the point of a slack. Slacks are rounded up to them, or they would grow as long as the exact numbers.
const SLACK_BITS: u32 = 32;

pub(crate) fn whole(number: u128) -> Rational {
    Rational::from_integer(BigInt::from(number))
}

pub(crate) fn ratio(numerator: u128, denominator: u128) -> Rational {
    Rational::new(BigInt::from(numerator), BigInt::from(denominator))
}

/// `1 / number`; nothing is larger than the whole where there is nothing to divide by.
pub(crate) fn inverse_or_one(number: &Rational) -> Rational {
    if number.is_positive() { number.recip() } else { Rational::one() }
}

/// A figure of the model. The contracts have at most `exact`, and at least `exact - slack`.
#[derive(Clone, Debug)]
pub(crate) struct Bounded {
    pub(crate) exact: Rational,
    slack: Rational,
}

impl Bounded {
    pub(crate) fn zero() -> Self {
        Self::whole(0)
    }

    /// Without any slack.
    pub(crate) fn whole(number: u128) -> Self {
        Self { exact: whole(number), slack: Rational::zero() }
    }

    pub(crate) fn slack(&self) -> &Rational {
        &self.slack
    }

    /// The least that the contracts may have.
    pub(crate) fn least(&self) -> Rational {
        (&self.exact - &self.slack).max(Rational::zero())
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.exact += &other.exact;
        self.slack += &other.slack;
    }

    pub(crate) fn add_whole(&mut self, number: u128) {
        self.exact += whole(number);
    }

    /// Both grow or shrink.
    pub(crate) fn scale(&mut self, by: &Rational) {
        self.exact *= by;
        self.slack = rounded_up(&self.slack * by);
    }

    /// The contracts' roundings took no more than this.
    pub(crate) fn loosen(&mut self, by: &Rational) {
        self.slack += rounded_up(by.clone());
    }

    /// The contracts may have nothing at all.
    pub(crate) fn loosen_all(&mut self) {
        self.slack = rounded_up(self.exact.clone());
    }

    /// Takes `number` or all there is; returns what it took.
    pub(crate) fn take(&mut self, number: &Rational) -> Rational {
        let taken = number.min(&self.exact).clone();
        self.exact -= &taken;
        taken
    }
}

fn rounded_up(number: Rational) -> Rational {
    let one = BigInt::one() << SLACK_BITS;
    let (numerator, denominator) = number.into_raw();
    let scaled = Rational::new_raw(numerator << SLACK_BITS, denominator).ceil().to_integer();
    Rational::new(scaled, one)
}
