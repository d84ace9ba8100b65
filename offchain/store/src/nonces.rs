//! Nonces a broadcaster has signed, so that a restart never signs one twice under the same commitment.

use alloy_primitives::B256;

use crate::{Store, StoreError, column, sql::query};

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
        query(
            "INSERT INTO sender_nonces (recipient_rand_hash, last_nonce, expiration_block) VALUES ($1, $2, $3) \
             ON CONFLICT (recipient_rand_hash) DO UPDATE SET \
             last_nonce = CASE WHEN sender_nonces.last_nonce < $2 THEN $2 ELSE sender_nonces.last_nonce END, \
             expiration_block = CASE WHEN sender_nonces.expiration_block < $3 THEN $3 \
             ELSE sender_nonces.expiration_block END",
        )
        .bind(recipient_rand_hash.to_vec())
        .bind(last_nonce)
        .bind(column::int("expiration_block", expiration_block)?)
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }

    /// The last number used under a commitment.
    pub async fn last_nonce(&self, recipient_rand_hash: B256) -> Result<Option<u32>, StoreError> {
        let row = query("SELECT last_nonce FROM sender_nonces WHERE recipient_rand_hash = $1")
            .bind(recipient_rand_hash.to_vec())
            .fetch_optional(self.reader())
            .await?;
        row.map(|row| row.small("last_nonce")).transpose()
    }

    /// Forgets commitments whose params expired at or before `block`: no orchestrator takes a ticket on them any more.
    /// Returns how many were forgotten.
    pub async fn prune_nonces(&self, block: u64) -> Result<u64, StoreError> {
        let mut tx = self.write().await?;
        let pruned = query("DELETE FROM sender_nonces WHERE expiration_block <= $1")
            .bind(column::int("expiration_block", block)?)
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(pruned)
    }
}
