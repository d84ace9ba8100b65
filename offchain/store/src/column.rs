//! How values lie in columns: 256-bit integers, hashes and addresses as big-endian BLOBs of fixed width (so that SQLite
//! orders them by value), block numbers and rounds as INTEGER.

use alloy_primitives::{Address, B256, U256};
use sqlx::{Row, sqlite::SqliteRow};

use crate::StoreError;

/// 32 bytes, big-endian.
pub(crate) fn u256(value: U256) -> Vec<u8> {
    value.to_be_bytes::<32>().to_vec()
}

/// 16 bytes, big-endian.
pub(crate) fn u128(value: u128) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

/// A block number, round, nonce or gas figure.
pub(crate) fn int(column: &'static str, value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::OutOfRange { column })
}

/// Reads columns of one row into domain values; a value that does not decode names its column.
pub(crate) trait ReadColumn {
    fn fixed<const N: usize>(&self, column: &'static str) -> Result<[u8; N], StoreError>;
    fn fixed_opt<const N: usize>(&self, column: &'static str) -> Result<Option<[u8; N]>, StoreError>;
    fn number(&self, column: &'static str) -> Result<u64, StoreError>;
    fn number_opt(&self, column: &'static str) -> Result<Option<u64>, StoreError>;
    fn text(&self, column: &'static str) -> Result<String, StoreError>;
    fn text_opt(&self, column: &'static str) -> Result<Option<String>, StoreError>;
    fn bytes(&self, column: &'static str) -> Result<Vec<u8>, StoreError>;

    fn hash(&self, column: &'static str) -> Result<B256, StoreError> {
        self.fixed::<32>(column).map(B256::from)
    }
    fn uint(&self, column: &'static str) -> Result<U256, StoreError> {
        self.fixed::<32>(column).map(U256::from_be_bytes)
    }
    fn uint_opt(&self, column: &'static str) -> Result<Option<U256>, StoreError> {
        Ok(self.fixed_opt::<32>(column)?.map(U256::from_be_bytes))
    }
    fn address(&self, column: &'static str) -> Result<Address, StoreError> {
        self.fixed::<20>(column).map(Address::from)
    }
    fn wei(&self, column: &'static str) -> Result<u128, StoreError> {
        self.fixed::<16>(column).map(u128::from_be_bytes)
    }
    fn wei_opt(&self, column: &'static str) -> Result<Option<u128>, StoreError> {
        Ok(self.fixed_opt::<16>(column)?.map(u128::from_be_bytes))
    }
}

impl ReadColumn for SqliteRow {
    fn fixed<const N: usize>(&self, column: &'static str) -> Result<[u8; N], StoreError> {
        self.bytes(column)?.try_into().map_err(|_| StoreError::BadColumn { column })
    }

    fn fixed_opt<const N: usize>(&self, column: &'static str) -> Result<Option<[u8; N]>, StoreError> {
        let bytes: Option<Vec<u8>> = self.try_get(column)?;
        bytes.map(|b| b.try_into().map_err(|_| StoreError::BadColumn { column })).transpose()
    }

    fn number(&self, column: &'static str) -> Result<u64, StoreError> {
        self.number_opt(column)?.ok_or(StoreError::BadColumn { column })
    }

    fn number_opt(&self, column: &'static str) -> Result<Option<u64>, StoreError> {
        let number: Option<i64> = self.try_get(column)?;
        number.map(|n| u64::try_from(n).map_err(|_| StoreError::BadColumn { column })).transpose()
    }

    fn text(&self, column: &'static str) -> Result<String, StoreError> {
        Ok(self.try_get(column)?)
    }

    fn text_opt(&self, column: &'static str) -> Result<Option<String>, StoreError> {
        Ok(self.try_get(column)?)
    }

    fn bytes(&self, column: &'static str) -> Result<Vec<u8>, StoreError> {
        Ok(self.try_get(column)?)
    }
}
