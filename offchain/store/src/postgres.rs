//! Postgres: the server that `data.database_url` names, its sessions and migrations.

use std::{str::FromStr, time::Duration};

use sqlx::{
    Connection, PgConnection, PgPool, Postgres, Transaction,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
    raw_sql,
};
use url::Url;

use crate::{
    StoreError,
    database::{ACQUIRE_TIMEOUT, READERS},
};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/postgres");

/// How long a server that is up may take for a connection, or for one statement. A server whose machine is gone answers
/// nothing at all, not even that it is gone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Parameters a URL may have. The driver logs others with their value, which may be part of a password.
const PARAMETERS: [&str; 6] = ["host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey"];

/// One writer at a time in a database, whatever process it is in, as in SQLite. With it a transaction sees all that was
/// committed before it, nothing needs to be tried again, and what is read in a transaction still holds at its end.
const WRITE_LOCK: &str = "SELECT pg_advisory_xact_lock(6074312598023)";

/// For every session. `lock_timeout` is SQLite's busy timeout. A process that is paused inside a transaction loses it, or it
/// would keep all others waiting. Whoever waits for the write lock waits for longer than that. Replication that was asked to
/// wait for more than the local disk keeps doing so.
const SESSION: &str = "SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '5s'; \
                       SELECT set_config('synchronous_commit', 'on', false) \
                       WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')";

/// Connects, brings the schema up to date, and returns the connection that writes, and those that read.
pub(crate) async fn open(url: &str) -> Result<(PgPool, PgPool), StoreError> {
    let options = options(url)?;
    let server = server(&options);
    let connecting = PgConnection::connect_with(&options);
    let mut connection = match tokio::time::timeout(ANSWER_TIMEOUT, connecting).await {
        Ok(connected) => connected.map_err(|source| StoreError::connecting(&server, source))?,
        Err(_) => return Err(StoreError::Unreachable { server, source: sqlx::Error::PoolTimedOut }),
    };
    answered(raw_sql(SESSION).execute(&mut connection)).await?;
    warn_if_unsafe(&mut connection).await?;
    MIGRATIONS.run(&mut connection).await?;
    answered(connection.close()).await?;
    let writer = answered(pool(1, "").connect_with(options.clone())).await?;
    let reader = answered(pool(READERS, "; SET default_transaction_read_only = on").connect_with(options)).await?;
    Ok((writer, reader))
}

/// A transaction that writes: see [`WRITE_LOCK`]. The isolation level is named because a server may have another default,
/// and under a stricter one everything would be read as it was before the lock was had.
pub(crate) async fn begin_write(writer: &PgPool) -> Result<Transaction<'static, Postgres>, StoreError> {
    let mut tx = answered(writer.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")).await?;
    answered(sqlx::query(WRITE_LOCK).execute(&mut *tx)).await?;
    Ok(tx)
}

/// A transaction whose statements all see the same state.
pub(crate) async fn begin_read(reader: &PgPool) -> Result<Transaction<'static, Postgres>, StoreError> {
    answered(reader.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")).await
}

/// What the server answers within [`ANSWER_TIMEOUT`].
pub(crate) async fn answered<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(answer) => answer.map_err(StoreError::of_postgres),
        Err(_) => Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)),
    }
}

/// The URL, checked first for what the driver would log or repeat.
fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let refused = |reason| StoreError::DatabaseUrl { reason };
    let parsed = Url::parse(url).map_err(|_| refused("is not a URL (write % for %25, @ for %40 in a password)"))?;
    if parsed.query_pairs().any(|(name, _)| !PARAMETERS.contains(&&*name)) {
        return Err(refused("has a parameter other than host, port, sslmode, sslrootcert, sslcert, sslkey"));
    }
    if parsed.path().trim_start_matches('/').is_empty() {
        return Err(refused("names no database"));
    }
    let options = PgConnectOptions::from_str(url).map_err(|_| refused("has an sslmode or a port that is none"))?;
    Ok(options.application_name("streamflow"))
}

/// Where the options lead, for messages: never with the password.
fn server(options: &PgConnectOptions) -> String {
    let host = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    format!("{host}, database {}, user {}", options.get_database().unwrap_or_default(), options.get_username())
}

fn pool(connections: u32, and: &'static str) -> PgPoolOptions {
    PgPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT).after_connect(
        move |connection, _| {
            Box::pin(async move {
                raw_sql(sqlx::AssertSqlSafe(format!("{SESSION}{and}"))).execute(connection).await.map(drop)
            })
        },
    )
}

async fn warn_if_unsafe(connection: &mut PgConnection) -> Result<(), StoreError> {
    let fsync: String = answered(sqlx::query_scalar("SHOW fsync").fetch_one(connection)).await?;
    if fsync != "on" {
        tracing::warn!("the Postgres server runs with fsync off: winning tickets are lost if its machine fails");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        options(url).unwrap_err().to_string()
    }

    #[test]
    fn a_url_that_cannot_work_is_refused_without_being_repeated() {
        for url in [
            "postgres://u:herr?ing@host/db",
            "postgres://u:herring@host:99999/db",
            "postgres://u:herring@host/db?passwd=herring",
            "postgres://u:herring@host/db?sslmode=herring",
            "postgres://u:herring@host",
        ] {
            let refusal = refusal(url);
            assert!(refusal.starts_with("data.database_url "), "{refusal}");
            assert!(!refusal.contains("herr") && !refusal.contains("ing@"), "{refusal}");
        }
        assert!(refusal("postgres://u@host/db?application_name=x").contains("parameter other than"));
        assert!(refusal("postgres://u@host").contains("names no database"));
    }

    #[test]
    fn messages_name_the_server_and_not_the_password() {
        let told = |url| server(&options(url).unwrap());
        assert_eq!(told("postgres://u:herring@host:5433/db"), "host:5433, database db, user u");
        assert_eq!(told("postgresql://u@localhost/db?host=/run/pg"), "/run/pg, database db, user u");
    }
}
