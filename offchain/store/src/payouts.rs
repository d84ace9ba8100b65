//! Payouts that a reorganisation may still take back, and what becomes of them.

use alloy_primitives::B256;
use sqlx::AssertSqlSafe;

use crate::{
    Store, StoreError, TicketRecord, TicketStatus, column,
    sql::{Transaction, query},
    tickets::{COLUMNS, record, status},
};

impl Store {
    /// Redeemed tickets that were paid in `block` or before and are not known to be final, oldest first, at most `limit`.
    pub async fn unconfirmed_payouts(&self, block: u64, limit: u32) -> Result<Vec<TicketRecord>, StoreError> {
        let sql = AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM winning_tickets WHERE state = 'redeemed' AND payout_final = 0 AND changed_block <= $1 \
             ORDER BY changed_block LIMIT $2"
        ));
        let rows = query(sql).bind(column::int("changed_block", block)?).bind(limit);
        rows.fetch_all(self.reader()).await?.iter().map(record).collect()
    }

    /// Marks payouts as final.
    ///
    /// # Errors
    /// [`StoreError::UnknownTicket`], [`StoreError::IllegalTransition`] if one is not redeemed; then none is marked.
    pub async fn confirm_payouts(&self, hashes: &[B256]) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for &hash in hashes {
            require_redeemed(&mut tx, hash, TicketStatus::Redeemed).await?;
            query("UPDATE winning_tickets SET payout_final = 1 WHERE hash = $1")
                .bind(hash.to_vec())
                .execute(&mut tx)
                .await?;
        }
        tx.commit().await
    }

    /// Makes tickets pending again whose payout left the chain, and forgets the transactions that had paid them.
    ///
    /// # Errors
    /// [`StoreError::UnknownTicket`], [`StoreError::IllegalTransition`] if one is not redeemed; then none is changed.
    pub async fn revoke_payouts(&self, hashes: &[B256]) -> Result<(), StoreError> {
        const FORGET: &str = "DELETE FROM redemption_transactions WHERE tx_hash = \
                              (SELECT tx_hash FROM winning_tickets WHERE hash = $1)";
        const REOPEN: &str = "UPDATE winning_tickets SET state = 'pending', payout = NULL, tx_hash = NULL, \
                              payout_final = 0, not_before = 0, changed_block = NULL, \
                              reason = 'its redemption left the chain' WHERE hash = $1";
        let mut tx = self.write().await?;
        for &hash in hashes {
            require_redeemed(&mut tx, hash, TicketStatus::Pending).await?;
            for sql in [FORGET, REOPEN] {
                query(sql).bind(hash.to_vec()).execute(&mut tx).await?;
            }
        }
        tx.commit().await
    }
}

async fn require_redeemed(tx: &mut Transaction, hash: B256, to: TicketStatus) -> Result<(), StoreError> {
    match status(tx, hash).await? {
        TicketStatus::Redeemed => Ok(()),
        from => Err(StoreError::IllegalTransition { hash, from, to }),
    }
}
