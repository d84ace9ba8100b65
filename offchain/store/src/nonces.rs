//! Nonces a broadcaster has signed, so that a restart never signs one twice under the same commitment.

use alloy_primitives::B256;

use crate::{
    Store, StoreError,
    column::{self, ReadColumn},
};

impl Store {
    /// Remembers that numbers up to `last_nonce` are used under a commitment. Never goes backwards. On the disk when this
    /// returns, so a payment that is sent afterwards can be lost but its numbers are never used again.
    pub async fn record_nonce(
        &self,
        recipient_rand_hash: B256,
        expiration_block: u64,
        last_nonce: u32,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sqlx::query(
            "INSERT INTO sender_nonces (recipient_rand_hash, last_nonce, expiration_block) VALUES (?1, ?2, ?3) \
             ON CONFLICT (recipient_rand_hash) DO UPDATE SET last_nonce = max(last_nonce, ?2), \
             expiration_block = max(expiration_block, ?3)",
        )
        .bind(recipient_rand_hash.to_vec())
        .bind(last_nonce)
        .bind(column::int("expiration_block", expiration_block)?)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// The last number used under a commitment.
    pub async fn last_nonce(&self, recipient_rand_hash: B256) -> Result<Option<u32>, StoreError> {
        let row = sqlx::query("SELECT last_nonce FROM sender_nonces WHERE recipient_rand_hash = ?")
            .bind(recipient_rand_hash.to_vec())
            .fetch_optional(self.reader())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let nonce = row.number("last_nonce")?;
        nonce.try_into().map(Some).map_err(|_| StoreError::BadColumn { column: "last_nonce" })
    }

    /// Forgets commitments whose params expired at or before `block`: no orchestrator takes a ticket on them any more.
    /// Returns how many were forgotten.
    pub async fn prune_nonces(&self, block: u64) -> Result<u64, StoreError> {
        let mut tx = self.write().await?;
        let pruned = sqlx::query("DELETE FROM sender_nonces WHERE expiration_block <= ?")
            .bind(column::int("expiration_block", block)?)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(pruned.rows_affected())
    }
}
