//! The journal of signed transactions. `chain` says what a record means; here it is only kept.

use alloy_primitives::{Address, B256, Bytes, U256};
use sqlx::AssertSqlSafe;

use crate::{
    Store, StoreError, column,
    sql::{Row, Transaction, query},
};

/// One signed form of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRow {
    /// Hash it will be mined under.
    pub hash: B256,
    /// The signed bytes.
    pub raw: Bytes,
    /// Fee cap, wei per gas.
    pub max_fee: u128,
    /// Tip, wei per gas.
    pub tip: u128,
    /// Newest block when it was signed.
    pub signed_at: u64,
}

/// A transaction with everything signed for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionRow {
    /// Chain it is for.
    pub chain_id: u64,
    /// Account of the key.
    pub sender: Address,
    /// Names what is wanted; unique with chain and account.
    pub intent: String,
    /// What it is, for logs.
    pub label: String,
    /// Unique among open transactions of the account.
    pub nonce: u64,
    /// Contract or account called.
    pub recipient: Address,
    /// Call data.
    pub data: Bytes,
    /// Wei sent along.
    pub value: U256,
    /// Gas limit.
    pub gas_limit: u64,
    /// Highest fee cap it may be raised to, wei per gas, where it has one of its own.
    pub max_fee: Option<u128>,
    /// Whether it can still be mined.
    pub open: bool,
    /// Where it stands, in the words of the one who keeps the journal.
    pub state: String,
    /// Signed forms, oldest first.
    pub attempts: Vec<AttemptRow>,
}

const SELECT: &str = "SELECT chain_id, sender, intent, label, nonce, recipient, data, value, gas_limit, max_fee, open, state \
                      FROM transactions";

impl Store {
    /// Inserts the transaction, or replaces the one with the same chain, account and intent. On the disk when this returns.
    ///
    /// # Errors
    /// [`StoreError::NonceTaken`] when another open transaction of the account holds the nonce.
    pub async fn put_transaction(&self, row: &TransactionRow) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        upsert(&mut tx, row).await?;
        query("DELETE FROM transaction_attempts WHERE chain_id = $1 AND sender = $2 AND intent = $3")
            .bind(column::int("chain_id", row.chain_id)?)
            .bind(row.sender.to_vec())
            .bind(&row.intent)
            .execute(&mut tx)
            .await?;
        for (position, attempt) in (0_i64..).zip(&row.attempts) {
            query(
                "INSERT INTO transaction_attempts (chain_id, sender, intent, position, hash, raw, max_fee, tip, signed_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            )
            .bind(column::int("chain_id", row.chain_id)?)
            .bind(row.sender.to_vec())
            .bind(&row.intent)
            .bind(position)
            .bind(attempt.hash.to_vec())
            .bind(attempt.raw.to_vec())
            .bind(column::u128(attempt.max_fee))
            .bind(column::u128(attempt.tip))
            .bind(column::int("signed_at", attempt.signed_at)?)
            .execute(&mut tx)
            .await?;
        }
        tx.commit().await
    }

    /// Open transactions of an account, by nonce.
    pub async fn open_transactions(&self, chain_id: u64, sender: Address) -> Result<Vec<TransactionRow>, StoreError> {
        let mut tx = self.read().await?;
        let rows =
            query(AssertSqlSafe(format!("{SELECT} WHERE chain_id = $1 AND sender = $2 AND open = 1 ORDER BY nonce")))
                .bind(column::int("chain_id", chain_id)?)
                .bind(sender.to_vec())
                .fetch_all(&mut tx)
                .await?;
        let mut open = Vec::with_capacity(rows.len());
        for row in &rows {
            open.push(transaction(&mut tx, row).await?);
        }
        Ok(open)
    }

    /// The transaction of an intent, open or not.
    pub async fn transaction(
        &self,
        chain_id: u64,
        sender: Address,
        intent: &str,
    ) -> Result<Option<TransactionRow>, StoreError> {
        let mut tx = self.read().await?;
        let row = query(AssertSqlSafe(format!("{SELECT} WHERE chain_id = $1 AND sender = $2 AND intent = $3")))
            .bind(column::int("chain_id", chain_id)?)
            .bind(sender.to_vec())
            .bind(intent)
            .fetch_optional(&mut tx)
            .await?;
        match row {
            Some(row) => Ok(Some(transaction(&mut tx, &row).await?)),
            None => Ok(None),
        }
    }

    /// Accounts other than `sender` that have a transaction of this intent, open or not.
    pub async fn other_senders(
        &self,
        chain_id: u64,
        sender: Address,
        intent: &str,
    ) -> Result<Vec<Address>, StoreError> {
        let rows = query("SELECT sender FROM transactions WHERE chain_id = $1 AND sender <> $2 AND intent = $3")
            .bind(column::int("chain_id", chain_id)?)
            .bind(sender.to_vec())
            .bind(intent)
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(|row| row.address("sender")).collect()
    }

    /// Forgets closed transactions whose last signature was made before `block`, unless a ticket still waits for the
    /// outcome. Returns how many were forgotten.
    pub async fn prune_transactions(&self, block: u64) -> Result<u64, StoreError> {
        let mut tx = self.write().await?;
        let pruned = query(
            "DELETE FROM transactions AS t WHERE t.open = 0 \
             AND t.intent NOT IN (SELECT intent FROM winning_tickets WHERE intent IS NOT NULL) \
             AND NOT EXISTS (SELECT 1 FROM transaction_attempts AS a WHERE a.chain_id = t.chain_id \
             AND a.sender = t.sender AND a.intent = t.intent AND a.signed_at >= $1)",
        )
        .bind(column::int("signed_at", block)?)
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(pruned)
    }
}

/// Writes the row without its signed forms.
async fn upsert(tx: &mut Transaction, row: &TransactionRow) -> Result<(), StoreError> {
    let upserted = query(
        "INSERT INTO transactions (chain_id, sender, intent, label, nonce, recipient, data, value, gas_limit, open, state, \
         max_fee) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
         ON CONFLICT (chain_id, sender, intent) DO UPDATE SET label = $4, nonce = $5, recipient = $6, data = $7, value = $8, \
         gas_limit = $9, open = $10, state = $11, max_fee = $12",
    )
    .bind(column::int("chain_id", row.chain_id)?)
    .bind(row.sender.to_vec())
    .bind(&row.intent)
    .bind(&row.label)
    .bind(column::int("nonce", row.nonce)?)
    .bind(row.recipient.to_vec())
    .bind(row.data.to_vec())
    .bind(column::u256(row.value))
    .bind(column::int("gas_limit", row.gas_limit)?)
    .bind(row.open)
    .bind(&row.state)
    .bind(row.max_fee.map(column::u128))
    .execute(tx)
    .await;
    match upserted {
        Ok(_) => Ok(()),
        Err(StoreError::Database(e)) if e.as_database_error().is_some_and(|d| d.is_unique_violation()) => {
            Err(StoreError::NonceTaken { sender: row.sender, nonce: row.nonce })
        }
        Err(e) => Err(e),
    }
}

async fn transaction(tx: &mut Transaction, row: &Row) -> Result<TransactionRow, StoreError> {
    let chain_id = row.number("chain_id")?;
    let sender = row.address("sender")?;
    let intent = row.text("intent")?;
    let attempts = query(
        "SELECT hash, raw, max_fee, tip, signed_at FROM transaction_attempts \
         WHERE chain_id = $1 AND sender = $2 AND intent = $3 ORDER BY position",
    )
    .bind(column::int("chain_id", chain_id)?)
    .bind(sender.to_vec())
    .bind(&intent)
    .fetch_all(tx)
    .await?;
    let attempts = attempts.iter().map(|attempt| {
        Ok(AttemptRow {
            hash: attempt.hash("hash")?,
            raw: attempt.bytes("raw")?.into(),
            max_fee: attempt.wei("max_fee")?,
            tip: attempt.wei("tip")?,
            signed_at: attempt.number("signed_at")?,
        })
    });
    Ok(TransactionRow {
        chain_id,
        sender,
        intent,
        label: row.text("label")?,
        nonce: row.number("nonce")?,
        recipient: row.address("recipient")?,
        data: row.bytes("data")?.into(),
        value: row.uint("value")?,
        gas_limit: row.number("gas_limit")?,
        max_fee: row.wei_opt("max_fee")?,
        open: row.number("open")? == 1,
        state: row.text("state")?,
        attempts: attempts.collect::<Result<_, StoreError>>()?,
    })
}
