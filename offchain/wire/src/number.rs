//! Numbers and fixed-length fields in `bytes` (node.md §1.2).
use alloy_primitives::{Address, B256, U256};

use crate::PaymentError;

/// Big-endian without leading zeros; zero is empty.
pub(crate) fn minimal(number: U256) -> Vec<u8> {
    number.to_be_bytes_trimmed_vec()
}

/// At most 32 bytes; leading zeros are tolerated.
pub(crate) fn number(field: &'static str, bytes: &[u8]) -> Result<U256, PaymentError> {
    if bytes.len() > 32 {
        return Err(PaymentError::OutOfRange { field });
    }
    Ok(U256::from_be_slice(bytes))
}

pub(crate) fn number64(field: &'static str, bytes: &[u8]) -> Result<u64, PaymentError> {
    number(field, bytes)?.try_into().map_err(|_| PaymentError::OutOfRange { field })
}

pub(crate) fn hash(field: &'static str, bytes: &[u8]) -> Result<B256, PaymentError> {
    B256::try_from(bytes).map_err(|_| PaymentError::Length { field, expected: 32, got: bytes.len() })
}

/// 20 bytes; none at all is the zero address, as peers send it without a chain.
pub(crate) fn address(field: &'static str, bytes: &[u8]) -> Result<Address, PaymentError> {
    if bytes.is_empty() {
        return Ok(Address::ZERO);
    }
    Address::try_from(bytes).map_err(|_| PaymentError::Length { field, expected: 20, got: bytes.len() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zero_is_empty_and_256_has_two_bytes() {
        assert!(minimal(U256::ZERO).is_empty());
        assert_eq!(minimal(U256::from(256)), [1, 0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(number("seed", &[0; 33]), Err(PaymentError::OutOfRange { field: "seed" }));
        assert_eq!(number("seed", &[0, 0, 7]), Ok(U256::from(7)));
        assert_eq!(number64("block", &[1; 9]), Err(PaymentError::OutOfRange { field: "block" }));
        assert!(hash("hash", &[0; 31]).is_err());
        assert!(address("sender", &[0; 21]).is_err());
        assert_eq!(address("sender", &[]), Ok(Address::ZERO));
    }

    proptest! {
        #[test]
        fn numbers_round_trip(limbs: [u64; 4], zeros in 0..200_usize) {
            let n = U256::from_limbs(limbs) >> zeros;
            prop_assert_eq!(number("n", &minimal(n)), Ok(n));
            prop_assert!(minimal(n).first() != Some(&0));
        }
    }
}
