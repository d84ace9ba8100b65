//! Payouts that a reorganisation may still take back, and what becomes of them.

use std::fmt;

use alloy_primitives::{B256, U256};
use sqlx::AssertSqlSafe;

use crate::{
    Store, StoreError, TicketRecord, TicketStatus, column,
    sql::{Row, Transaction, query},
    tickets::{COLUMNS, record, status},
};

/// How sure a payout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Finality {
    /// In a block of the chain.
    Included,
    /// In a block that the chain calls safe.
    Safe,
    /// In a block that the chain calls finalized, and as deep as configured: booked.
    Finalized,
}

impl Finality {
    const ALL: [Self; 3] = [Self::Included, Self::Safe, Self::Finalized];

    /// The word in listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Included => "included",
            Self::Safe => "safe",
            Self::Finalized => "finalized",
        }
    }

    const fn of(safe: bool, finalized: bool) -> Self {
        match (safe, finalized) {
            (_, true) => Self::Finalized,
            (true, false) => Self::Safe,
            (false, false) => Self::Included,
        }
    }
}

impl fmt::Display for Finality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Payouts that are equally sure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PayoutTotal {
    /// How many.
    pub count: u64,
    /// Σ payout, wei. Stops at 2^256 − 1.
    pub amount: U256,
}

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

    /// Redeemed tickets that were paid in `block` or before and are not known to be safe, oldest first, at most `limit`.
    pub async fn unsafe_payouts(&self, block: u64, limit: u32) -> Result<Vec<TicketRecord>, StoreError> {
        let sql = AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM winning_tickets WHERE state = 'redeemed' AND payout_final = 0 AND payout_safe = 0 \
             AND changed_block <= $1 ORDER BY changed_block LIMIT $2"
        ));
        let query = query(sql).bind(column::int("changed_block", block)?).bind(limit);
        query.fetch_all(self.reader()).await?.iter().map(record).collect()
    }

    /// Marks payouts as safe.
    ///
    /// # Errors
    /// [`StoreError::UnknownTicket`], [`StoreError::IllegalTransition`] if one is not redeemed; then none is marked.
    pub async fn secure_payouts(&self, hashes: &[B256]) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for &hash in hashes {
            require_redeemed(&mut tx, hash, TicketStatus::Redeemed).await?;
            query("UPDATE winning_tickets SET payout_safe = 1 WHERE hash = $1")
                .bind(hash.to_vec())
                .execute(&mut tx)
                .await?;
        }
        tx.commit().await
    }

    /// How sure the payout of a redeemed ticket is; `None` if the ticket is not redeemed.
    pub async fn payout_finality(&self, hash: B256) -> Result<Option<Finality>, StoreError> {
        let row = query("SELECT payout_safe, payout_final FROM winning_tickets WHERE hash = $1 AND state = 'redeemed'")
            .bind(hash.to_vec())
            .fetch_optional(self.reader())
            .await?;
        row.as_ref().map(finality).transpose()
    }

    /// Number and sum of the payouts, wei, by how sure they are.
    pub async fn payout_totals(&self) -> Result<[(Finality, PayoutTotal); 3], StoreError> {
        let rows = query("SELECT payout, payout_safe, payout_final FROM winning_tickets WHERE state = 'redeemed'")
            .fetch_all(self.reader())
            .await?;
        let mut totals = Finality::ALL.map(|finality| (finality, PayoutTotal::default()));
        for row in &rows {
            let (_, total) = &mut totals[finality(row)? as usize];
            total.count += 1;
            total.amount = total.amount.saturating_add(row.uint("payout")?);
        }
        Ok(totals)
    }

    /// Makes tickets pending again whose payout left the chain, and forgets the transactions that had paid them.
    ///
    /// # Errors
    /// [`StoreError::UnknownTicket`], [`StoreError::IllegalTransition`] if one is not redeemed; then none is changed.
    pub async fn revoke_payouts(&self, hashes: &[B256]) -> Result<(), StoreError> {
        const FORGET: &str = "DELETE FROM redemption_transactions WHERE tx_hash = \
                              (SELECT tx_hash FROM winning_tickets WHERE hash = $1)";
        const REOPEN: &str = "UPDATE winning_tickets SET state = 'pending', payout = NULL, tx_hash = NULL, \
                              payout_final = 0, payout_safe = 0, not_before = 0, changed_block = NULL, \
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

fn finality(row: &Row) -> Result<Finality, StoreError> {
    Ok(Finality::of(row.number("payout_safe")? == 1, row.number("payout_final")? == 1))
}

async fn require_redeemed(tx: &mut Transaction, hash: B256, to: TicketStatus) -> Result<(), StoreError> {
    match status(tx, hash).await? {
        TicketStatus::Redeemed => Ok(()),
        from => Err(StoreError::IllegalTransition { hash, from, to }),
    }
}
