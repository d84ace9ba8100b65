//! Amounts as people write them: `1.5eth`, `10gwei`, `100lpt`, plain wei. Integer arithmetic only.
use std::{fmt, str::FromStr};

use alloy::primitives::U256;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use streamflow_types::Ppm;

/// Decimals of ETH and LPT.
const DECIMALS: u8 = 18;
const ETH_UNITS: &[(&str, u8)] = &[("eth", DECIMALS), ("gwei", 9), ("wei", 0)];
const LPT_UNITS: &[(&str, u8)] = &[("lpt", DECIMALS), ("wei", 0)];

/// An amount of ETH in wei. Read from `1.5eth`, `10gwei`, `7wei` or `7`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Eth(pub U256);

/// An amount of LPT in its smallest unit (10^-18). Read from `100lpt`, `7wei` or `7`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lpt(pub U256);

/// A share, read from `12.5%` or `125000ppm`. A bare number is refused: it could mean either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(pub Ppm);

/// Why a text is no amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not digits, one optional point, then a unit.
    #[error("{0:?} is not an amount: write for example {1}")]
    Malformed(String, &'static str),
    /// A unit of something else.
    #[error("unknown unit {unit:?}: use {known}")]
    Unit { unit: String, known: String },
    /// More digits after the point than the unit has.
    #[error("{text:?} has a fraction smaller than the smallest unit")]
    TooPrecise { text: String },
    /// More than 256 bits.
    #[error("{0:?} is too large")]
    TooLarge(String),
    /// A share of more than everything.
    #[error("{0:?} is more than 100%")]
    MoreThanWhole(String),
}

fn parse_units(text: &str, units: &[(&str, u8)], example: &'static str) -> Result<U256, AmountError> {
    let malformed = || AmountError::Malformed(text.to_owned(), example);
    let trimmed = text.trim();
    let end = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(end);
    let unit = unit.trim_start();
    let decimals = if unit.is_empty() {
        0
    } else {
        let known = || units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        units
            .iter()
            .find(|(name, _)| unit.eq_ignore_ascii_case(name))
            .ok_or_else(|| AmountError::Unit { unit: unit.to_owned(), known: known() })?
            .1
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || (number.contains('.') && fraction.is_empty()) {
        return Err(malformed());
    }
    let missing = usize::from(decimals)
        .checked_sub(fraction.len())
        .ok_or_else(|| AmountError::TooPrecise { text: text.to_owned() })?;
    let digits = format!("{whole}{fraction}{}", "0".repeat(missing));
    U256::from_str_radix(&digits, 10).map_err(|_| AmountError::TooLarge(text.to_owned()))
}

/// `value` with its decimal point, without trailing zeros.
fn decimal(value: U256, decimals: u8) -> String {
    let digits = format!("{value:0>width$}", width = usize::from(decimals) + 1);
    let (whole, fraction) = digits.split_at(digits.len() - usize::from(decimals));
    match fraction.trim_end_matches('0') {
        "" => whole.to_owned(),
        rest => format!("{whole}.{rest}"),
    }
}

macro_rules! amount {
    ($name:ident, $units:expr, $suffix:literal, $example:literal) => {
        impl FromStr for $name {
            type Err = AmountError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_units(text, $units, $example).map(Self)
            }
        }

        /// Exact, in whole units with as many decimals as needed.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!("{} {}", decimal(self.0, DECIMALS), $suffix))
            }
        }

        impl Serialize for $name {
            /// Smallest units as a decimal string: JSON numbers lose digits above 2^53.
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                match NumberOrText::deserialize(deserializer)? {
                    NumberOrText::Number(wei) => Ok(Self(U256::from(wei))),
                    NumberOrText::Text(text) => text.parse().map_err(de::Error::custom),
                }
            }
        }
    };
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

amount!(Eth, ETH_UNITS, "ETH", "1.5eth, 10gwei or 7wei");
amount!(Lpt, LPT_UNITS, "LPT", "100lpt or 0.5lpt");

impl FromStr for Share {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXAMPLE: &str = "12.5% or 125000ppm";
        if text.trim().chars().all(|c| c.is_ascii_digit() || c == '.') {
            return Err(AmountError::Malformed(text.to_owned(), EXAMPLE));
        }
        let parts = parse_units(text, &[("%", 4), ("ppm", 0)], EXAMPLE)?;
        let parts = u32::try_from(parts).map_err(|_| AmountError::MoreThanWhole(text.to_owned()))?;
        Ppm::new(parts).map(Self).map_err(|_| AmountError::MoreThanWhole(text.to_owned()))
    }
}

/// Serialises an integer as decimal text: JSON numbers lose digits above 2^53.
///
/// # Errors
/// As the serializer.
pub fn as_decimal<S: Serializer>(value: &U256, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// `parts` of a million as a percentage, exact.
pub fn percent(parts: u64) -> String {
    format!("{}%", decimal(U256::from(parts), 4))
}

/// Wei as gwei, exact; below a thousandth of one as wei, which needs no counting of zeros.
pub fn gwei(wei: u128) -> String {
    if wei < 1_000_000 {
        return format!("{wei} wei");
    }
    format!("{} gwei", decimal(U256::from(wei), 9))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eth(text: &str) -> Result<u128, AmountError> {
        text.parse::<Eth>().map(|e| e.0.to())
    }

    #[test]
    fn every_unit_is_read_exactly() {
        assert_eq!(eth("1.5eth"), Ok(1_500_000_000_000_000_000));
        assert_eq!(eth("0.000000000000000001eth"), Ok(1));
        assert_eq!(eth("10gwei"), Ok(10_000_000_000));
        assert_eq!(eth(" 10 GWei"), Ok(10_000_000_000));
        assert_eq!(eth("7"), Ok(7));
        assert_eq!(eth("7wei"), Ok(7));
        assert_eq!("100lpt".parse::<Lpt>().unwrap().0, U256::from(100) * U256::from(10).pow(U256::from(18)));
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", "eth", ".5eth", "5.eth", "1.2.3eth", "-1eth", "1e18", "0x10", "1,5eth"] {
            assert!(eth(text).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn stake_is_not_paid_in_eth() {
        assert!(matches!("1eth".parse::<Lpt>(), Err(AmountError::Unit { .. })));
        assert!(matches!("1lpt".parse::<Eth>(), Err(AmountError::Unit { .. })));
    }

    #[test]
    fn fractions_of_a_wei_are_refused() {
        assert!(matches!(eth("1.5"), Err(AmountError::TooPrecise { .. })));
        assert!(matches!(eth("0.0000000001gwei"), Err(AmountError::TooPrecise { .. })));
        assert!(matches!(eth("0.0000000000000000001eth"), Err(AmountError::TooPrecise { .. })));
    }

    #[test]
    fn more_than_256_bits_is_refused() {
        assert!(matches!("9".repeat(80).parse::<Eth>(), Err(AmountError::TooLarge(_))));
        assert_eq!(U256::MAX.to_string().parse::<Eth>(), Ok(Eth(U256::MAX)));
    }

    #[test]
    fn printing_keeps_every_digit() {
        for text in ["0 ETH", "1 ETH", "1.5 ETH", "0.000000000000000001 ETH", "1200 ETH"] {
            assert_eq!(text.parse::<Eth>().unwrap().to_string(), text);
        }
        assert_eq!(gwei(10_500_000_000), "10.5 gwei");
        assert_eq!(
            (gwei(1_000_000), gwei(999_999), gwei(7)),
            ("0.001 gwei".into(), "999999 wei".into(), "7 wei".into())
        );
    }

    #[test]
    fn a_share_names_its_unit() {
        assert_eq!("12.5%".parse::<Share>(), Ok(Share(Ppm::new(125_000).unwrap())));
        assert_eq!("100%".parse::<Share>(), Ok(Share(Ppm::WHOLE)));
        assert_eq!("7ppm".parse::<Share>(), Ok(Share(Ppm::new(7).unwrap())));
        assert!(matches!("10".parse::<Share>(), Err(AmountError::Malformed(..))));
        assert!(matches!("100.0001%".parse::<Share>(), Err(AmountError::MoreThanWhole(_))));
        assert!(matches!("0.00001%".parse::<Share>(), Err(AmountError::TooPrecise { .. })));
        assert_eq!(percent(125_000), "12.5%");
    }

    #[test]
    fn configuration_takes_numbers_and_text() {
        assert_eq!(serde_json::from_str::<Eth>("12").unwrap(), Eth(U256::from(12)));
        assert_eq!(serde_json::from_str::<Eth>(r#""12gwei""#).unwrap(), Eth(U256::from(12_000_000_000_u64)));
        assert_eq!(serde_json::to_string(&Eth(U256::from(12))).unwrap(), r#""12""#);
    }
}
