//! Conversions of on-chain integers.
use alloy::primitives::U256;

use crate::ChainError;

/// # Errors
///
/// The value does not fit; `what` says which one.
pub(crate) fn to_u64(value: U256, what: &'static str) -> Result<u64, ChainError> {
    value.try_into().map_err(|_| ChainError::OutOfRange { what })
}
