//! Amounts of the summary.
use std::{fmt, iter::Sum, ops};

use alloy::primitives::U256;
use serde::{Serialize, Serializer};

/// Wei, won or lost. An integer, as text in JSON: programs read numbers above 2^53 wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wei(pub i128);

impl Wei {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount on the chain. There are less than 2^90 wei; more would count as `i128::MAX`.
    pub fn from_chain(wei: U256) -> Self {
        Self(i128::try_from(wei).unwrap_or(i128::MAX))
    }

    /// What `gas` costs at `price` wei per gas.
    pub fn of_gas(gas: u64, price: u128) -> Self {
        Self::from_chain(U256::from(gas) * U256::from(price))
    }

    /// For plots and statistics alone.
    pub fn approx(self) -> f64 {
        self.0 as f64
    }

    /// ETH, for plots alone.
    pub fn eth(self) -> f64 {
        self.approx() / 1e18
    }
}

impl fmt::Display for Wei {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Wei {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl ops::Add for Wei {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl ops::AddAssign for Wei {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl ops::Sub for Wei {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl ops::Neg for Wei {
    type Output = Self;

    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl Sum for Wei {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, ops::Add::add)
    }
}
