//! Opening a database, and the one way to write to it.

use std::{fmt, path::Path, time::Duration};

use sqlx::{PgPool, SqlitePool};

use crate::{
    KeeperLease, StoreError, leases, postgres,
    sql::{Link, Transaction},
    sqlite,
};

/// How long a statement waits for another process's write lock before [`StoreError::Locked`].
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a call waits for the connection that writes.
pub(crate) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);
pub(crate) const READERS: u32 = 4;

/// The database of one operator: winning tickets, nonces, transactions, earnings, settings.
///
/// A commit is on the disk when the call returns (SQLite: WAL with `synchronous = FULL`; Postgres: `synchronous_commit`), so
/// it survives `kill -9` and loss of power. Several processes may open the same database; one of them writes at a time.
/// Clones share the connections.
#[derive(Clone)]
pub struct Store {
    engine: Engine,
    /// Under which every write is made, if this store is a leading keeper's.
    lease: Option<KeeperLease>,
}

/// One connection writes: there is one writer at a time, so waiting here is cheaper and fairer than on the lock.
#[derive(Clone)]
enum Engine {
    Sqlite { writer: SqlitePool, reader: SqlitePool },
    Postgres { writer: PgPool, reader: PgPool },
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let engine = match &self.engine {
            Engine::Sqlite { .. } => "SQLite",
            Engine::Postgres { .. } => "Postgres",
        };
        f.debug_struct("Store").field("engine", &engine).field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens or creates the SQLite file and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`] when a newer program wrote the file; [`StoreError::Open`] when the path cannot be used.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let (writer, reader) = sqlite::open(path.as_ref()).await?;
        Ok(Self { engine: Engine::Sqlite { writer, reader }, lease: None })
    }

    /// Opens what the URL names, `postgres://USER@HOST/DATABASE` or `sqlite:/PATH`, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::DatabaseUrl`], [`StoreError::Unreachable`], [`StoreError::Login`], [`StoreError::NoDatabase`], and
    /// those of [`Store::open`]. None repeats the URL, which may hold a password.
    pub async fn open_url(url: &str) -> Result<Self, StoreError> {
        match url.split_once(':') {
            Some(("sqlite", path)) => Self::open(path).await,
            Some(("postgres" | "postgresql", _)) => {
                let (writer, reader) = postgres::open(url).await?;
                Ok(Self { engine: Engine::Postgres { writer, reader }, lease: None })
            }
            _ => Err(StoreError::DatabaseUrl { reason: "is of no known kind" }),
        }
    }

    /// A private database that lives as long as this value and its clones. For tests.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn in_memory() -> Result<Self, StoreError> {
        let writer = sqlite::in_memory().await?;
        Ok(Self { engine: Engine::Sqlite { reader: writer.clone(), writer }, lease: None })
    }

    /// The same database for a keeper that leads: each write is refused, in its own transaction, once another leads.
    pub fn fenced(&self, lease: KeeperLease) -> Self {
        Self { engine: self.engine.clone(), lease: Some(lease) }
    }

    /// Waits for running statements and closes the connections. SQLite folds its log into the file.
    pub async fn close(&self) {
        match &self.engine {
            Engine::Sqlite { writer, reader } => {
                reader.close().await;
                writer.close().await;
            }
            Engine::Postgres { writer, reader } => {
                reader.close().await;
                writer.close().await;
            }
        }
    }

    /// For single statements that read.
    pub(crate) fn reader(&self) -> Link<'_> {
        match &self.engine {
            Engine::Sqlite { reader, .. } => Link::SqlitePool(reader),
            Engine::Postgres { reader, .. } => Link::PostgresPool(reader),
        }
    }

    /// For statements that read the same state.
    pub(crate) async fn read(&self) -> Result<Transaction, StoreError> {
        Ok(match &self.engine {
            Engine::Sqlite { reader, .. } => Transaction::Sqlite(reader.begin().await?),
            Engine::Postgres { reader, .. } => Transaction::Postgres(postgres::begin_read(reader).await?),
        })
    }

    /// Starts a write. Takes the write lock at once: a lock taken later can fail half-way with "busy", and what was read
    /// before it may be stale. From here to the commit nobody else writes.
    pub(crate) async fn write(&self) -> Result<Transaction, StoreError> {
        let mut tx = match &self.engine {
            Engine::Sqlite { writer, .. } => Transaction::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await?),
            Engine::Postgres { writer, .. } => Transaction::Postgres(postgres::begin_write(writer).await?),
        };
        if let Some(lease) = &self.lease {
            leases::require_current(&mut tx, lease).await?;
        }
        Ok(tx)
    }
}
