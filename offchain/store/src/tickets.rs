//! Winning tickets and their way from "won" to "paid".
//!
//! ```text
//!            submit            settle(Redeemed)
//!  pending ─────────▶ submitted ─────────▶ redeemed
//!     ▲ │ ◀─settle(Waiting)─┘ │
//!     └─┘ settle(Waiting)     │ settle(Dead)
//!       └──────────▶ dead ◀───┘          pending may also become redeemed: somebody else sent it
//! ```
//!
//! Dead is final, and so is redeemed, unless a reorganisation takes the payout back: see [`Store::revoke_payouts`].
//! Settling a ticket as redeemed twice by the same transaction is a no-op, so that a receipt can be processed again after
//! a crash.

use std::fmt;

use alloy_primitives::{Address, B256, U256};
use sqlx::{AssertSqlSafe, Row, Sqlite, SqliteConnection, Transaction, sqlite::SqliteRow};
use streamflow_types::{Round, Signature65, SignedTicket, Ticket, WinProb, WinningTicket};

use crate::{
    Store, StoreError,
    column::{self, ReadColumn},
    earnings::{self, RedemptionReceipt},
};

/// Where a winning ticket stands, without details.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TicketStatus {
    /// Waits for its params to expire, for a batch, or for a new attempt.
    Pending,
    /// Part of a redemption transaction whose outcome is not known yet.
    Submitted,
    /// Paid.
    Redeemed,
    /// Can never be paid.
    Dead,
}

impl TicketStatus {
    const ALL: [Self; 4] = [Self::Pending, Self::Submitted, Self::Redeemed, Self::Dead];

    /// The word in the database and in listings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Submitted => "submitted",
            Self::Redeemed => "redeemed",
            Self::Dead => "dead",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }
}

impl fmt::Display for TicketStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a winning ticket stands, with what is known of it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TicketState {
    /// Not to be tried before block `not_before`; `reason` is what stopped the last attempt.
    Pending {
        /// First block of the next attempt.
        not_before: u64,
        /// Why the last attempt did not pay.
        reason: Option<String>,
    },
    /// In the redemption transaction with this intent.
    Submitted {
        /// Intent of the transaction.
        intent: String,
    },
    /// Paid.
    Redeemed(Payout),
    /// Can never be paid, for this reason.
    Dead {
        /// Why.
        reason: String,
    },
}

impl TicketState {
    /// The state without details.
    pub const fn status(&self) -> TicketStatus {
        match self {
            Self::Pending { .. } => TicketStatus::Pending,
            Self::Submitted { .. } => TicketStatus::Submitted,
            Self::Redeemed(_) => TicketStatus::Redeemed,
            Self::Dead { .. } => TicketStatus::Dead,
        }
    }
}

/// What a redemption moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payout {
    /// Wei that really moved (`WinningTicketTransfer.amount`), at most the face value.
    pub amount: U256,
    /// The transaction that moved it.
    pub tx_hash: B256,
    /// Its block.
    pub block: u64,
}

/// A stored winner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketRecord {
    /// Hash of the ticket.
    pub hash: B256,
    /// The ticket, its signature and the secret number.
    pub ticket: WinningTicket,
    /// Where it stands.
    pub state: TicketState,
    /// How many redemption transactions have carried it.
    pub attempts: u32,
}

/// How a redemption ended for one ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TicketOutcome {
    /// Paid, as the chain's event says.
    Redeemed(Payout),
    /// Not paid, may be paid later.
    Waiting {
        /// What stopped it.
        reason: String,
        /// First block of the next attempt.
        not_before: u64,
    },
    /// Not paid and never payable.
    Dead {
        /// Why.
        reason: String,
    },
}

impl TicketOutcome {
    const fn status(&self) -> TicketStatus {
        match self {
            Self::Redeemed(_) => TicketStatus::Redeemed,
            Self::Waiting { .. } => TicketStatus::Pending,
            Self::Dead { .. } => TicketStatus::Dead,
        }
    }
}

/// A redemption transaction in the making or on its way, and the tickets in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmittedBatch {
    /// Intent of the transaction.
    pub intent: String,
    /// Its tickets, by hash ascending.
    pub tickets: Vec<TicketRecord>,
}

/// Number and face value of the tickets in one state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TicketTotal {
    /// How many.
    pub count: u64,
    /// Σ face value, wei. Stops at 2^256 − 1.
    pub face_value: U256,
    /// Σ payout, wei; zero unless redeemed.
    pub payout: U256,
}

pub(crate) const COLUMNS: &str = "hash, recipient, sender, face_value, win_prob, sender_nonce, recipient_rand_hash, creation_round, \
                       creation_round_block_hash, deployment, sig, recipient_rand, params_expiration_block, state, intent, payout, \
                       tx_hash, reason, attempts, not_before, changed_block";

impl Store {
    /// Stores winners. When this returns they are on the disk. Returns how many were new: a known hash is left as it is.
    ///
    /// # Errors
    /// Any [`StoreError`]; then none of them is stored and the payment must not be acknowledged.
    pub async fn insert_winners(&self, winners: &[WinningTicket]) -> Result<u64, StoreError> {
        let mut tx = self.write().await?;
        let mut new = 0;
        for winner in winners {
            new += insert(&mut tx, winner).await?;
        }
        tx.commit().await?;
        Ok(new)
    }

    /// One ticket.
    pub async fn ticket(&self, hash: B256) -> Result<Option<TicketRecord>, StoreError> {
        let sql = AssertSqlSafe(format!("SELECT {COLUMNS} FROM winning_tickets WHERE hash = ?"));
        let row = sqlx::query(sql).bind(hash.to_vec()).fetch_optional(self.reader()).await?;
        row.as_ref().map(record).transpose()
    }

    /// Tickets by creation round, newest first, at most `limit`; all states if `status` is `None`.
    pub async fn tickets(&self, status: Option<TicketStatus>, limit: u32) -> Result<Vec<TicketRecord>, StoreError> {
        let sql = AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM winning_tickets WHERE ?1 IS NULL OR state = ?1 \
             ORDER BY creation_round DESC, params_expiration_block DESC, hash LIMIT ?2"
        ));
        let rows = sqlx::query(sql).bind(status.map(TicketStatus::as_str)).bind(limit).fetch_all(self.reader()).await?;
        rows.iter().map(record).collect()
    }

    /// Pending tickets that may be sent at `block`: params expired, waiting time over, created in `oldest` or later.
    /// Earliest round first, then highest face value; at most `limit`.
    pub async fn redeemable(&self, block: u64, oldest: Round, limit: u32) -> Result<Vec<TicketRecord>, StoreError> {
        let sql = AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM winning_tickets WHERE state = 'pending' AND creation_round >= ?1 \
             AND params_expiration_block <= ?2 AND not_before <= ?2 \
             ORDER BY creation_round, face_value DESC, hash LIMIT ?3"
        ));
        let query = sqlx::query(sql)
            .bind(column::int("creation_round", oldest.0)?)
            .bind(column::int("params_expiration_block", block)?)
            .bind(limit);
        query.fetch_all(self.reader()).await?.iter().map(record).collect()
    }

    /// Marks pending tickets that were created before `oldest` as dead. Returns their hashes.
    pub async fn expire_before(&self, oldest: Round, block: u64) -> Result<Vec<B256>, StoreError> {
        let mut tx = self.write().await?;
        let rows = sqlx::query(
            "UPDATE winning_tickets SET state = 'dead', reason = 'ticket is expired' || \
             CASE WHEN reason IS NULL THEN '' ELSE '; before: ' || reason END, changed_block = ?2 \
             WHERE state = 'pending' AND creation_round < ?1 RETURNING hash",
        )
        .bind(column::int("creation_round", oldest.0)?)
        .bind(column::int("changed_block", block)?)
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        rows.iter().map(|row| row.hash("hash")).collect()
    }

    /// Binds pending tickets to a redemption transaction that is about to be sent: all or none.
    ///
    /// # Errors
    /// [`StoreError::UnknownTicket`], [`StoreError::IllegalTransition`] if one is not pending.
    pub async fn submit(&self, intent: &str, hashes: &[B256], block: u64) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        bind(&mut tx, intent, hashes, block).await?;
        Ok(tx.commit().await?)
    }

    /// Every redemption whose outcome is not recorded yet, with its tickets.
    pub async fn submitted_batches(&self) -> Result<Vec<SubmittedBatch>, StoreError> {
        let sql = AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM winning_tickets WHERE state = 'submitted' ORDER BY intent, hash"
        ));
        let mut batches: Vec<SubmittedBatch> = Vec::new();
        for row in sqlx::query(sql).fetch_all(self.reader()).await? {
            let intent = row.text("intent")?;
            let ticket = record(&row)?;
            match batches.last_mut() {
                Some(batch) if batch.intent == intent => batch.tickets.push(ticket),
                _ => batches.push(SubmittedBatch { intent, tickets: vec![ticket] }),
            }
        }
        Ok(batches)
    }

    /// Records the outcome of each ticket, and the mined transaction if there was one, together.
    ///
    /// # Errors
    /// [`StoreError::UnknownTicket`], [`StoreError::IllegalTransition`]; then nothing of it is recorded.
    pub async fn settle(
        &self,
        outcomes: &[(B256, TicketOutcome)],
        receipt: Option<&RedemptionReceipt>,
        block: u64,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        if let Some(receipt) = receipt {
            earnings::insert_receipt(&mut tx, receipt).await?;
        }
        for (hash, outcome) in outcomes {
            settle_one(&mut tx, *hash, outcome, block).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Totals of one state.
    pub async fn ticket_total(&self, status: TicketStatus) -> Result<TicketTotal, StoreError> {
        let rows = sqlx::query("SELECT face_value, payout FROM winning_tickets WHERE state = ?")
            .bind(status.as_str())
            .fetch_all(self.reader())
            .await?;
        rows.iter().try_fold(TicketTotal::default(), |sum, row| {
            Ok(TicketTotal {
                count: sum.count + 1,
                face_value: sum.face_value.saturating_add(row.uint("face_value")?),
                payout: sum.payout.saturating_add(row.uint_opt("payout")?.unwrap_or_default()),
            })
        })
    }

    /// Σ face value of the sender's winners that are not paid yet, wei: what that sender still owes. Stops at 2^256 − 1.
    pub async fn outstanding(&self, sender: Address) -> Result<U256, StoreError> {
        let rows = sqlx::query(
            "SELECT face_value FROM winning_tickets WHERE sender = ? AND state IN ('pending', 'submitted')",
        )
        .bind(sender.to_vec())
        .fetch_all(self.reader())
        .await?;
        rows.iter().try_fold(U256::ZERO, |sum, row| Ok(sum.saturating_add(row.uint("face_value")?)))
    }
}

pub(crate) async fn bind(
    tx: &mut Transaction<'static, Sqlite>,
    intent: &str,
    hashes: &[B256],
    block: u64,
) -> Result<(), StoreError> {
    for &hash in hashes {
        let from = status(tx, hash).await?;
        if from != TicketStatus::Pending {
            return Err(StoreError::IllegalTransition { hash, from, to: TicketStatus::Submitted });
        }
        sqlx::query(
            "UPDATE winning_tickets SET state = 'submitted', intent = ?2, attempts = attempts + 1, \
             changed_block = ?3 WHERE hash = ?1",
        )
        .bind(hash.to_vec())
        .bind(intent)
        .bind(column::int("changed_block", block)?)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

pub(crate) async fn is_known(tx: &mut Transaction<'static, Sqlite>, hash: B256) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT 1 FROM winning_tickets WHERE hash = ?1").bind(hash.to_vec());
    Ok(row.fetch_optional(&mut **tx).await?.is_some())
}

pub(crate) async fn insert(tx: &mut Transaction<'static, Sqlite>, winner: &WinningTicket) -> Result<u64, StoreError> {
    let ticket = &winner.signed.ticket;
    let inserted = sqlx::query(
        "INSERT INTO winning_tickets (hash, recipient, sender, face_value, win_prob, sender_nonce, recipient_rand_hash, \
         creation_round, creation_round_block_hash, deployment, sig, recipient_rand, params_expiration_block) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (hash) DO NOTHING",
    )
    .bind(streamflow_pm::ticket_hash(ticket).to_vec())
    .bind(ticket.recipient.to_vec())
    .bind(ticket.sender.to_vec())
    .bind(column::u256(ticket.face_value))
    .bind(column::u256(ticket.win_prob.0))
    .bind(ticket.sender_nonce)
    .bind(ticket.recipient_rand_hash.to_vec())
    .bind(column::int("creation_round", ticket.creation_round.0)?)
    .bind(ticket.creation_round_block_hash.to_vec())
    .bind(ticket.deployment.map(|tag| tag.to_vec()))
    .bind(winner.signed.sig.as_bytes().to_vec())
    .bind(column::u256(winner.recipient_rand))
    .bind(column::int("params_expiration_block", winner.params_expiration_block)?)
    .execute(&mut **tx)
    .await?;
    Ok(inserted.rows_affected())
}

pub(crate) async fn status(connection: &mut SqliteConnection, hash: B256) -> Result<TicketStatus, StoreError> {
    let row = sqlx::query("SELECT state FROM winning_tickets WHERE hash = ?")
        .bind(hash.to_vec())
        .fetch_optional(connection)
        .await?
        .ok_or(StoreError::UnknownTicket(hash))?;
    read_status(&row)
}

async fn settle_one(
    connection: &mut SqliteConnection,
    hash: B256,
    outcome: &TicketOutcome,
    block: u64,
) -> Result<(), StoreError> {
    let sql = AssertSqlSafe(format!("SELECT {COLUMNS} FROM winning_tickets WHERE hash = ?"));
    let row = sqlx::query(sql).bind(hash.to_vec()).fetch_optional(&mut *connection).await?;
    let before = record(&row.ok_or(StoreError::UnknownTicket(hash))?)?.state;
    match (&before, outcome) {
        (TicketState::Pending { .. } | TicketState::Submitted { .. }, _) => {}
        (TicketState::Redeemed(was), TicketOutcome::Redeemed(now)) if was.tx_hash == now.tx_hash => return Ok(()),
        _ => return Err(StoreError::IllegalTransition { hash, from: before.status(), to: outcome.status() }),
    }
    let (payout, reason, not_before) = match outcome {
        TicketOutcome::Redeemed(payout) => (Some(*payout), None, 0),
        TicketOutcome::Waiting { reason, not_before } => (None, Some(reason), *not_before),
        TicketOutcome::Dead { reason } => (None, Some(reason), 0),
    };
    sqlx::query(
        "UPDATE winning_tickets SET state = ?2, intent = NULL, payout = ?3, tx_hash = ?4, reason = ?5, not_before = ?6, \
         changed_block = ?7 WHERE hash = ?1",
    )
    .bind(hash.to_vec())
    .bind(outcome.status().as_str())
    .bind(payout.map(|p| column::u256(p.amount)))
    .bind(payout.map(|p| p.tx_hash.to_vec()))
    .bind(reason)
    .bind(column::int("not_before", not_before)?)
    .bind(column::int("changed_block", payout.map_or(block, |p| p.block))?)
    .execute(connection)
    .await?;
    Ok(())
}

fn read_status(row: &SqliteRow) -> Result<TicketStatus, StoreError> {
    TicketStatus::parse(&row.text("state")?).ok_or(StoreError::BadColumn { column: "state" })
}

pub(crate) fn record(row: &SqliteRow) -> Result<TicketRecord, StoreError> {
    let ticket = Ticket {
        recipient: row.address("recipient")?,
        sender: row.address("sender")?,
        face_value: row.uint("face_value")?,
        win_prob: WinProb(row.uint("win_prob")?),
        sender_nonce: row.try_get("sender_nonce")?,
        recipient_rand_hash: row.hash("recipient_rand_hash")?,
        creation_round: Round(row.number("creation_round")?),
        creation_round_block_hash: row.hash("creation_round_block_hash")?,
        deployment: row.fixed_opt("deployment")?.map(B256::new),
    };
    let state = match read_status(row)? {
        TicketStatus::Pending => {
            TicketState::Pending { not_before: row.number("not_before")?, reason: row.text_opt("reason")? }
        }
        TicketStatus::Submitted => TicketState::Submitted { intent: row.text("intent")? },
        TicketStatus::Redeemed => TicketState::Redeemed(Payout {
            amount: row.uint("payout")?,
            tx_hash: row.hash("tx_hash")?,
            block: row.number("changed_block")?,
        }),
        TicketStatus::Dead => TicketState::Dead { reason: row.text("reason")? },
    };
    Ok(TicketRecord {
        hash: row.hash("hash")?,
        ticket: WinningTicket {
            signed: SignedTicket { ticket, sig: Signature65::new(row.fixed::<65>("sig")?) },
            recipient_rand: row.uint("recipient_rand")?,
            params_expiration_block: row.number("params_expiration_block")?,
        },
        state,
        attempts: row.try_get("attempts")?,
    })
}
