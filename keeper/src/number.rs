//! Numbers that the chain keeps in 256 bits and we in 64.

use alloy::primitives::U256;

/// A number on chain is larger than any it can be.
#[derive(Debug, thiserror::Error)]
#[error("{0} on chain is out of range")]
pub struct OutOfRange(&'static str);

pub(crate) fn to_u64(value: U256, what: &'static str) -> Result<u64, OutOfRange> {
    value.try_into().map_err(|_| OutOfRange(what))
}
