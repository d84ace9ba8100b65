//! Winners that another process is to redeem: the table of winners is the outbox.

use alloy_primitives::B256;
use sqlx::AssertSqlSafe;

use crate::{
    Store, StoreError, column,
    sql::query,
    tickets::{COLUMNS, TicketRecord, record},
};

impl Store {
    /// Pending winners whose waiting time is over at `block`, at most `limit`. Those of one sender come in the order of
    /// their keys: round, serial, nonce.
    ///
    /// # Errors
    /// Any [`StoreError`].
    pub async fn undelivered(&self, block: u64, limit: u32) -> Result<Vec<TicketRecord>, StoreError> {
        let sql = AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM winning_tickets WHERE state = 'pending' AND not_before <= $1 \
             ORDER BY creation_round, recipient_rand, sender_nonce, hash LIMIT $2"
        ));
        let query = query(sql).bind(column::int("not_before", block)?).bind(limit);
        query.fetch_all(self.reader()).await?.iter().map(record).collect()
    }

    /// Forgets a winner that another process has stored. Whether it was still pending here: one that a keeper of this database
    /// has taken up stays.
    ///
    /// # Errors
    /// Any [`StoreError`]; then it is still there.
    pub async fn delivered(&self, hash: B256) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let sql = "DELETE FROM winning_tickets WHERE hash = $1 AND state = 'pending'";
        let deleted = query(sql).bind(hash.to_vec()).execute(&mut tx).await?;
        tx.commit().await?;
        Ok(deleted > 0)
    }
}
