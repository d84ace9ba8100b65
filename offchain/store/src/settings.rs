//! Small named values that outlive a process: the secret behind ticket params, cursors.

use crate::{Store, StoreError, sql::query};

impl Store {
    /// The value stored under a name.
    pub async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let row = query("SELECT value FROM settings WHERE name = $1").bind(name).fetch_optional(self.reader()).await?;
        row.map(|row| row.bytes("value")).transpose()
    }

    /// Stores a value under a name, replacing what was there.
    pub async fn set_setting(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query("INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = $2")
            .bind(name)
            .bind(value)
            .execute(&mut tx)
            .await?;
        tx.commit().await
    }

    /// Stores `new` under a name if `expected` is stored there, and tells whether it was. Of those who saw the same value
    /// one succeeds.
    pub async fn swap_setting(&self, name: &str, expected: Option<&[u8]>, new: &[u8]) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let swap = match expected {
            None => query("INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
                .bind(name)
                .bind(new),
            Some(expected) => query("UPDATE settings SET value = $2 WHERE name = $1 AND value = $3")
                .bind(name)
                .bind(new)
                .bind(expected),
        };
        let swapped = swap.execute(&mut tx).await?;
        tx.commit().await?;
        Ok(swapped == 1)
    }

    /// The value stored under a name, or `value` stored now. Processes that start together agree on one value.
    pub async fn setting_or(&self, name: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut tx = self.write().await?;
        query("INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
            .bind(name)
            .bind(value)
            .execute(&mut tx)
            .await?;
        let stored =
            query("SELECT value FROM settings WHERE name = $1").bind(name).fetch_one(&mut tx).await?.bytes("value")?;
        tx.commit().await?;
        Ok(stored)
    }
}
