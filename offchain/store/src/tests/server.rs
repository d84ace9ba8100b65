//! What is particular to Postgres: durability, what it refuses, a server that goes away.

use std::{collections::BTreeSet, time::Duration};

use streamflow_testkit::{Database, Postgres, on_both_engines};

use super::{hash, open, winner};
use crate::{Store, StoreError, TicketOutcome, TicketState, sql::query};

async fn refused(url: &str) -> StoreError {
    let refused = Store::open_url(url).await.unwrap_err();
    let told = format!("{refused} {refused:?}");
    assert!(!told.contains("swordfish"), "{told}");
    refused
}

#[tokio::test]
async fn what_is_wrong_with_the_url_or_the_server_is_told_apart_and_no_password_with_it() {
    let server = Postgres::shared().unwrap();
    server.run_sql("CREATE ROLE locked LOGIN PASSWORD 'right'").unwrap();
    let wrong = refused(&server.url("locked:swordfish", "postgres")).await;
    assert!(matches!(&wrong, StoreError::Login { server, .. } if server.ends_with("user locked")), "{wrong:?}");
    let missing = refused(&server.url("streamflow:swordfish", "nowhere")).await;
    assert!(matches!(missing, StoreError::NoDatabase { .. }), "{missing:?}");
    let away = refused("postgres://u:swordfish@127.0.0.1:1/db").await;
    assert!(matches!(&away, StoreError::Unreachable { server, .. } if server.starts_with("127.0.0.1:1,")), "{away:?}");
    let kind = refused("mysql://u:swordfish@127.0.0.1:1/db").await;
    assert!(matches!(kind, StoreError::DatabaseUrl { .. }), "{kind:?}");
    let poor = refused(&server.url("locked:right", "postgres")).await;
    assert!(matches!(poor, StoreError::NotPermitted(_)), "{poor:?}");
}

#[tokio::test]
async fn commits_wait_for_the_servers_disk_whatever_its_default_is() {
    for (default, expected) in [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")] {
        let server = Postgres::shared().unwrap();
        let role = format!("commits_{default}");
        server.run_sql(&format!("CREATE ROLE {role} SUPERUSER LOGIN")).unwrap();
        server.run_sql(&format!("ALTER ROLE {role} SET synchronous_commit = {default}")).unwrap();
        let database = Database::postgres().unwrap();
        let store = Store::open_url(&database.url().replace("//streamflow@", &format!("//{role}@"))).await.unwrap();
        let mut tx = store.write().await.unwrap();
        let set = query("SHOW synchronous_commit").fetch_one(&mut tx).await.unwrap();
        assert_eq!(set.text("synchronous_commit").unwrap(), expected);
        tx.commit().await.unwrap();
        store.close().await;
    }
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused() {
    let database = Database::postgres().unwrap();
    let store = open(&database).await;
    let mut tx = store.write().await.unwrap();
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'later', TRUE, '', 0)";
    query(later).execute(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    store.close().await;
    assert!(matches!(refused(database.url()).await, StoreError::NewerSchema { version: 9999 }));
}

#[tokio::test]
async fn a_server_that_goes_away_is_a_transient_failure() {
    let server = Postgres::start().unwrap();
    let store = Store::open_url(&server.database().unwrap()).await.unwrap();
    store.insert_winners(&[winner(0)]).await.unwrap();
    let mut writing = store.write().await.unwrap();
    server.stop().unwrap();
    let lost = query("SELECT 1 AS one").fetch_one(&mut writing).await.map(drop).unwrap_err();
    assert!(matches!(lost, StoreError::Unavailable(_)) && lost.is_transient(), "{lost:?}");
}

/// A process that is paused in a transaction must not keep the others waiting for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_stands_still_loses_its_transaction() {
    let database = Database::postgres().unwrap();
    let (still, store) = (open(&database).await, open(&database).await);
    let mut paused = still.write().await.unwrap();
    let insert = "INSERT INTO settings (name, value) VALUES ('paused', '')";
    query(insert).execute(&mut paused).await.unwrap();
    let winners = [winner(0)];
    let waiting = tokio::time::timeout(Duration::from_secs(9), store.insert_winners(&winners));
    assert_eq!(waiting.await.unwrap().unwrap(), 1);
    let late = paused.commit().await.unwrap_err();
    assert!(late.is_transient(), "{late:?}");
    assert_eq!(store.setting("paused").await.unwrap(), None);
}

/// What the schema is made of, as far as both engines have it.
async fn columns(store: &Store, sql: &'static str) -> BTreeSet<(String, String, i64)> {
    let rows = query(sql).fetch_all(store.reader()).await.unwrap();
    let column =
        |row: &crate::sql::Row| (row.text("tab").unwrap(), row.text("col").unwrap(), row.signed("required").unwrap());
    rows.iter().map(column).collect()
}

#[tokio::test]
async fn both_engines_have_the_same_tables() {
    let (file, server) = (Database::sqlite().unwrap(), Database::postgres().unwrap());
    let on_sqlite = columns(
        &open(&file).await,
        "SELECT t.name AS tab, c.name AS col, c.\"notnull\" AS required FROM sqlite_schema AS t, \
         pragma_table_info(t.name) AS c WHERE t.type = 'table' AND t.name NOT LIKE '\\_sqlx%' ESCAPE '\\' \
         AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )
    .await;
    let on_postgres = columns(
        &open(&server).await,
        "SELECT CAST(table_name AS TEXT) AS tab, CAST(column_name AS TEXT) AS col, \
         CAST(CASE is_nullable WHEN 'NO' THEN 1 ELSE 0 END AS BIGINT) AS required FROM information_schema.columns \
         WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations'",
    )
    .await;
    assert!(on_sqlite.len() > 60, "{on_sqlite:?}");
    assert_eq!(on_sqlite, on_postgres);
}

/// A contract chooses the reason of a revert. Postgres takes no NUL in a text.
async fn a_reason_with_a_nul_is_kept_without_it(database: Database) {
    let store = open(&database).await;
    store.insert_winners(&[winner(0)]).await.unwrap();
    let reason = "bad\0reason".to_owned();
    store.settle(&[(hash(&winner(0)), TicketOutcome::Dead { reason })], None, 1).await.unwrap();
    let state = store.ticket(hash(&winner(0))).await.unwrap().unwrap().state;
    assert_eq!(state, TicketState::Dead { reason: "bad\u{fffd}reason".to_owned() });
}

on_both_engines! {
    a_reason_with_a_nul_is_kept_without_it,
}
