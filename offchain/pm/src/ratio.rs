//! Balances as text: reduced fractions of wei, as remote signers write them (payments.md §2.3).
use alloy_primitives::Sign;
use streamflow_types::Price;

use crate::{
    Balance,
    amount::{I768, U768},
};

/// Longest text read: two numbers of 768 bits and what stands around them.
const MAX_TEXT: usize = 2 * 232 + 2;

/// Why a text is not a balance in the terms of a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RatioError {
    /// Neither `n` nor `n/d` in decimal digits, or longer than any balance.
    #[error("not a fraction")]
    Malformed,
    /// The balance would have to be rounded.
    #[error("fraction is not exact in the terms of the price")]
    Inexact,
    /// More than any balance.
    #[error("fraction is too large")]
    TooLarge,
}

impl Balance {
    /// The exact amount in wei: `125/7`, `10`, `-3/2`.
    pub fn to_ratio(&self) -> String {
        let (sign, size) = self.numerator.into_sign_and_abs();
        let unit = self.unit();
        let divisor = size.gcd(unit);
        let sign = if sign == Sign::Negative { "-" } else { "" };
        match unit / divisor {
            U768::ONE => format!("{sign}{}", size / divisor),
            rest => format!("{sign}{}/{rest}", size / divisor),
        }
    }

    /// Reads an exact amount in wei, in the terms of `price`.
    ///
    /// # Errors
    /// The text is no fraction, or this balance cannot hold it exactly.
    pub fn from_ratio(text: &str, price: Price) -> Result<Self, RatioError> {
        if text.len() > MAX_TEXT {
            return Err(RatioError::Malformed);
        }
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (above, below) = digits.split_once('/').unwrap_or((digits, "1"));
        let (above, below) = (number(above)?, number(below)?);
        if below.is_zero() {
            return Err(RatioError::Malformed);
        }
        let zero = Self::zero(price);
        let unit = zero.unit();
        let divisor = above.gcd(below);
        let (above, below) = (above / divisor, below / divisor);
        if !(unit % below).is_zero() {
            return Err(RatioError::Inexact);
        }
        let size = above.checked_mul(unit / below).filter(|size| size.bit_len() < U768::BITS);
        let size = I768::from_raw(size.ok_or(RatioError::TooLarge)?);
        Ok(Self { numerator: if negative { -size } else { size }, ..zero })
    }
}

fn number(digits: &str) -> Result<U768, RatioError> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(RatioError::Malformed);
    }
    U768::from_str_radix(digits, 10).map_err(|_| RatioError::TooLarge)
}

#[cfg(test)]
mod tests {
    use alloy_primitives::U256;
    use proptest::prelude::*;
    use streamflow_types::WinProb;

    use super::*;
    use crate::TicketEv;

    fn price(wei: u64, pixels: u64) -> Price {
        Price::new(wei, pixels).unwrap()
    }

    #[test]
    fn published_balances_are_written_and_read_back() {
        let price = price(150, 175);
        let mut balance = Balance::zero(price);
        balance.credit(TicketEv::from_wei(U256::from(35)).times(25));
        balance.debit(price, 1000);
        assert_eq!(balance.to_ratio(), "125/7");
        assert_eq!(Balance::from_ratio("125/7", price), Ok(balance));
        balance.credit(TicketEv::from_wei(U256::from(35)).times(61));
        balance.debit(price, 2500);
        assert_eq!(balance.to_ratio(), "10");
        balance.debit(price, 175 * 3);
        assert_eq!(balance.to_ratio(), "-440");
        assert_eq!(Balance::from_ratio("-440", price), Ok(balance));
    }

    #[test]
    fn what_is_no_exact_fraction_is_refused() {
        let price = price(1, 7);
        for text in ["", "-", "1/0", "a", "1/-2", "+1", "1/2/3", " 1", "0x10", &"1".repeat(467)] {
            assert_eq!(Balance::from_ratio(text, price), Err(RatioError::Malformed), "{text}");
        }
        assert_eq!(Balance::from_ratio("1/11", price), Err(RatioError::Inexact));
        assert_eq!(Balance::from_ratio(&"9".repeat(400), price), Err(RatioError::TooLarge));
        // 22/77 is 2/7.
        assert_eq!(Balance::from_ratio("22/77", price).unwrap().to_ratio(), "2/7");
    }

    proptest! {
        #[test]
        fn every_balance_survives_its_text(
            face in 0..u64::MAX, prob: [u64; 4], count in 0..100_usize, wei in 1..1_000_000_u64,
            pixels_per_unit in 1..i64::MAX as u64, pixels in 0..u64::MAX,
        ) {
            let price = price(wei, pixels_per_unit);
            let mut balance = Balance::zero(price);
            balance.credit(TicketEv::new(U256::from(face), WinProb(U256::from_limbs(prob))).times(count));
            balance.debit(price, pixels);
            prop_assert_eq!(Balance::from_ratio(&balance.to_ratio(), price), Ok(balance));
        }
    }
}
