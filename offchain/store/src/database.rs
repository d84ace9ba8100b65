//! Opening the file, its settings, migrations, and the one way to write.

use std::{path::Path, time::Duration};

use sqlx::{
    Connection, Sqlite, SqliteConnection, SqlitePool, Transaction,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::StoreError;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// How long a statement waits for another process's write lock before [`StoreError::Locked`].
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a call waits for the connection that writes.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);
const READERS: u32 = 4;

/// The database of one node: winning tickets, nonces, transactions, earnings, settings.
///
/// A commit is on the disk when the call returns (WAL with `synchronous = FULL`), so it survives `kill -9` and loss of
/// power. Several processes may open the same file. Clones share the connections.
#[derive(Debug, Clone)]
pub struct Store {
    /// One connection: SQLite has one writer, so waiting here is cheaper and fairer than on the file lock.
    writer: SqlitePool,
    reader: SqlitePool,
}

impl Store {
    /// Opens or creates the database file and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::NewerSchema`] when a newer program wrote the file; [`StoreError::Open`] when the path cannot be used.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let opening = |source| StoreError::Open { path: path.to_owned(), source };
        let options = base_options().filename(path).create_if_missing(true);
        migrate_with_retry(&options).await.map_err(|e| match e {
            StoreError::NotWritable(source) => opening(source),
            other => other,
        })?;
        let writer = pool(1).connect_with(options.clone()).await.map_err(opening)?;
        let reader = pool(READERS)
            .connect_with(options.create_if_missing(false).pragma("query_only", "ON"))
            .await
            .map_err(opening)?;
        Ok(Self { writer, reader })
    }

    /// A private database that lives as long as this value and its clones. For tests.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn in_memory() -> Result<Self, StoreError> {
        // a memory database belongs to its connection: exactly one, never recycled
        let writer = pool(1).connect_with(base_options().in_memory(true)).await?;
        let mut connection = writer.acquire().await?;
        migrate(&mut connection).await?;
        drop(connection);
        Ok(Self { reader: writer.clone(), writer })
    }

    /// Waits for running statements, folds the write-ahead log into the file, and closes it.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    /// Connections for reading.
    pub(crate) fn reader(&self) -> &SqlitePool {
        &self.reader
    }

    /// Starts a write. Takes the write lock at once: a lock taken later can fail half-way with "busy".
    pub(crate) async fn write(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }
}

fn base_options() -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        // SQLite ends a transaction by itself when the disk is full or fails. The driver does not notice and would
        // refuse every later write on that connection, so such a connection is replaced.
        .before_acquire(|connection, _| {
            let idle = !connection.is_in_transaction();
            Box::pin(async move { Ok(idle) })
        })
}

/// Switching a new file to WAL does not wait for the busy timeout, so two processes that start together need a few tries.
async fn migrate_with_retry(options: &SqliteConnectOptions) -> Result<(), StoreError> {
    const TRIES: u32 = 50;
    const PAUSE: Duration = Duration::from_millis(100);
    let mut tries = 0;
    loop {
        tries += 1;
        match connect_and_migrate(options).await {
            Err(StoreError::Locked(_)) if tries < TRIES => tokio::time::sleep(PAUSE).await,
            done => return done,
        }
    }
}

async fn connect_and_migrate(options: &SqliteConnectOptions) -> Result<(), StoreError> {
    let mut connection = SqliteConnection::connect_with(options).await?;
    migrate(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Runs all pending migrations in one transaction: two processes cannot both run one, and a failure leaves the old schema.
async fn migrate(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    MIGRATIONS.run(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}
