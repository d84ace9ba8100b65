//! SQLite: a file of this machine, its settings and migrations.

use std::{path::Path, time::Duration};

use sqlx::{
    Connection, SqliteConnection, SqlitePool,
    migrate::Migrator,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    StoreError,
    database::{ACQUIRE_TIMEOUT, BUSY_TIMEOUT, READERS},
};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/sqlite");

/// Opens or creates the file and brings its schema up to date. Returns the connection that writes, and those that read.
pub(crate) async fn open(path: &Path) -> Result<(SqlitePool, SqlitePool), StoreError> {
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
    Ok((writer, reader))
}

/// A memory database belongs to its connection: exactly one, never recycled.
pub(crate) async fn in_memory() -> Result<SqlitePool, StoreError> {
    let writer = pool(1).connect_with(base_options().in_memory(true)).await?;
    let mut connection = writer.acquire().await?;
    migrate(&mut connection).await?;
    drop(connection);
    Ok(writer)
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
