//! What can go wrong with the database, told apart by what the caller or the operator has to do.

use std::path::PathBuf;

use alloy_primitives::{Address, B256};
use sqlx::migrate::MigrateError;

use crate::tickets::TicketStatus;

/// Primary result codes of SQLite (sqlite3.h); the low byte of the extended code that the driver reports.
mod code {
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const READ_ONLY: i32 = 8;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANNOT_OPEN: i32 = 14;
    pub(super) const NOT_A_DATABASE: i32 = 26;
}

/// Failure of the store. After any of these the database holds either all or nothing of the operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk, a quota or the page limit is exhausted. What was stored before is intact.
    #[error(
        "no space left for the database: free disk space in the data directory, then retry; nothing stored was lost"
    )]
    DiskFull(#[source] sqlx::Error),
    /// Another process held the write lock for longer than the busy timeout.
    #[error("database is locked by another process for too long: retry, or find the process that holds it")]
    Locked(#[source] sqlx::Error),
    /// The file or its directory does not let this process write.
    #[error("database is not writable: check owner and mode of the data directory")]
    NotWritable(#[source] sqlx::Error),
    /// The file could not be opened or created.
    #[error("cannot open database {}", path.display())]
    Open {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: sqlx::Error,
    },
    /// The file is no SQLite database, or is damaged.
    #[error("database file is damaged or not a database: restore it from a copy")]
    Damaged(#[source] sqlx::Error),
    /// The file was written by a newer program.
    #[error("database has migration {version}, which this program does not know: run the newer program")]
    NewerSchema {
        /// The unknown migration.
        version: i64,
    },
    /// A migration failed, or the recorded ones differ from this program's.
    #[error("cannot migrate the database")]
    Migrate(#[source] MigrateError),
    /// A stored value does not decode: the file was edited or damaged.
    #[error("column {column} holds a value that does not decode")]
    BadColumn {
        /// Name of the column.
        column: &'static str,
    },
    /// A number exceeds what the column holds (2^63 - 1).
    #[error("value of {column} is out of range")]
    OutOfRange {
        /// Name of the column.
        column: &'static str,
    },
    /// No ticket with this hash is stored.
    #[error("no stored ticket has hash {0}")]
    UnknownTicket(B256),
    /// The ticket's state does not allow the change.
    #[error("ticket {hash} is {from} and cannot become {to}")]
    IllegalTransition {
        /// Which ticket.
        hash: B256,
        /// State in the database.
        from: TicketStatus,
        /// State that was asked for.
        to: TicketStatus,
    },
    /// Another open transaction of the account holds the nonce: the key has a second owner.
    #[error("nonce {nonce} of {sender} belongs to another open transaction: is a second process using the key?")]
    NonceTaken {
        /// Account of the key.
        sender: Address,
        /// The nonce.
        nonce: u64,
    },
    /// A desk may still take tickets on params that a batch would pass.
    #[error(
        "params that expire at block {expiration_block} are open: a desk has closed those up to block {closed_block} only"
    )]
    ParamsOpen {
        /// Expiry of the youngest params of the batch.
        expiration_block: u64,
        /// What every desk has closed.
        closed_block: u64,
    },
    /// A winner that came after the batch was planned would be passed.
    #[error("ticket {hash} would be passed by a batch that does not pay it")]
    PassesWinner {
        /// The winner.
        hash: B256,
    },
    /// Anything else the database reports.
    #[error("database failed")]
    Database(#[source] sqlx::Error),
}

impl StoreError {
    /// True when the same call may succeed later without anyone changing the request.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::DiskFull(_) | Self::Locked(_))
    }
}

/// The primary SQLite code of an error that came from the database.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if matches!(error, sqlx::Error::PoolTimedOut) {
            return Self::Locked(error);
        }
        match primary_code(&error) {
            Some(code::FULL) => Self::DiskFull(error),
            Some(code::BUSY | code::LOCKED) => Self::Locked(error),
            Some(code::READ_ONLY | code::CANNOT_OPEN) => Self::NotWritable(error),
            Some(code::CORRUPT | code::NOT_A_DATABASE) => Self::Damaged(error),
            _ => Self::Database(error),
        }
    }
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::VersionMissing(version) => Self::NewerSchema { version },
            MigrateError::Execute(e) | MigrateError::ExecuteMigration(e, _) => Self::from(e),
            other => Self::Migrate(other),
        }
    }
}
