//! How values lie in columns: 256-bit integers, hashes and addresses as big-endian bytes of fixed width (so that both
//! engines order them by value), block numbers and rounds as 64-bit integers.

use alloy_primitives::{Address, B256, U256};
use sqlx::{Decode, Postgres, Row as _, Sqlite, Type};

use crate::{StoreError, sql::Row};

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
impl Row {
    fn get<T>(&self, column: &'static str) -> Result<T, StoreError>
    where
        T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>,
    {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        })
    }

    pub(crate) fn fixed<const N: usize>(&self, column: &'static str) -> Result<[u8; N], StoreError> {
        self.bytes(column)?.try_into().map_err(|_| StoreError::BadColumn { column })
    }

    pub(crate) fn fixed_opt<const N: usize>(&self, column: &'static str) -> Result<Option<[u8; N]>, StoreError> {
        let bytes: Option<Vec<u8>> = self.get(column)?;
        bytes.map(|b| b.try_into().map_err(|_| StoreError::BadColumn { column })).transpose()
    }

    pub(crate) fn signed(&self, column: &'static str) -> Result<i64, StoreError> {
        self.get(column)
    }

    pub(crate) fn number(&self, column: &'static str) -> Result<u64, StoreError> {
        self.signed(column)?.try_into().map_err(|_| StoreError::BadColumn { column })
    }

    pub(crate) fn number_opt(&self, column: &'static str) -> Result<Option<u64>, StoreError> {
        let number: Option<i64> = self.get(column)?;
        number.map(|n| n.try_into().map_err(|_| StoreError::BadColumn { column })).transpose()
    }

    pub(crate) fn small(&self, column: &'static str) -> Result<u32, StoreError> {
        self.signed(column)?.try_into().map_err(|_| StoreError::BadColumn { column })
    }

    pub(crate) fn text(&self, column: &'static str) -> Result<String, StoreError> {
        self.get(column)
    }

    pub(crate) fn text_opt(&self, column: &'static str) -> Result<Option<String>, StoreError> {
        self.get(column)
    }

    pub(crate) fn bytes(&self, column: &'static str) -> Result<Vec<u8>, StoreError> {
        self.get(column)
    }

    pub(crate) fn hash(&self, column: &'static str) -> Result<B256, StoreError> {
        self.fixed::<32>(column).map(B256::from)
    }

    pub(crate) fn uint(&self, column: &'static str) -> Result<U256, StoreError> {
        self.fixed::<32>(column).map(U256::from_be_bytes)
    }

    pub(crate) fn uint_opt(&self, column: &'static str) -> Result<Option<U256>, StoreError> {
        Ok(self.fixed_opt::<32>(column)?.map(U256::from_be_bytes))
    }

    pub(crate) fn address(&self, column: &'static str) -> Result<Address, StoreError> {
        self.fixed::<20>(column).map(Address::from)
    }

    pub(crate) fn wei(&self, column: &'static str) -> Result<u128, StoreError> {
        self.fixed::<16>(column).map(u128::from_be_bytes)
    }

    pub(crate) fn wei_opt(&self, column: &'static str) -> Result<Option<u128>, StoreError> {
        Ok(self.fixed_opt::<16>(column)?.map(u128::from_be_bytes))
    }
}
