use super::winner;
use crate::{Store, StoreError, sql::query};

/// Lets the file grow no further, as a full disk would.
async fn fill_disk(store: &Store, more_pages: i64) {
    let mut tx = store.write().await.unwrap();
    let pages = query("PRAGMA page_count").fetch_one(&mut tx).await.unwrap().signed("page_count").unwrap();
    let limit = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {}", pages + more_pages));
    query(limit).execute(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_told_apart_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.sqlite");
    let store = Store::open(&path).await.unwrap();
    fill_disk(&store, 2).await;

    let mut stored = 0;
    let refused = loop {
        match store.insert_winners(&[winner(stored)]).await {
            Ok(_) => stored += 1,
            Err(refused) => break refused,
        }
        assert!(stored < 10_000, "the page limit never bit");
    };
    assert!(matches!(refused, StoreError::DiskFull(_)), "{refused:?}");
    assert!(refused.is_transient());
    assert!(matches!(store.insert_winners(&[winner(stored)]).await, Ok(1)), "the store works again once there is room");
    stored += 1;
    fill_disk(&store, 2).await;
    // a batch that does not fit is refused whole
    let batch: Vec<_> = (stored..stored + 500).map(winner).collect();
    let refused = store.insert_winners(&batch).await.unwrap_err();
    assert!(matches!(refused, StoreError::DiskFull(_)), "{refused:?}");
    assert_eq!(store.tickets(None, 20_000).await.unwrap().len(), stored as usize);

    fill_disk(&store, 1_000).await;
    assert_eq!(store.insert_winners(&batch).await.unwrap(), 500);
    store.close().await;
    let reopened = Store::open(&path).await.unwrap();
    assert_eq!(reopened.tickets(None, 20_000).await.unwrap().len(), stored as usize + 500);
}

#[tokio::test]
async fn a_file_of_a_newer_program_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.sqlite");
    let store = Store::open(&path).await.unwrap();
    let mut tx = store.write().await.unwrap();
    query("INSERT INTO _sqlx_migrations VALUES (9999, 'later', CURRENT_TIMESTAMP, TRUE, x'00', 0)")
        .execute(&mut tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    store.close().await;
    assert!(matches!(Store::open(&path).await, Err(StoreError::NewerSchema { version: 9999 })));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.sqlite");
    std::fs::write(&path, vec![7_u8; 8192]).unwrap();
    assert!(matches!(Store::open(&path).await, Err(StoreError::Damaged(_))));
    let missing = Store::open(dir.path().join("no/such/dir/node.sqlite")).await;
    assert!(matches!(missing, Err(StoreError::Open { .. })), "{missing:?}");
}

#[tokio::test]
async fn commits_are_flushed_to_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("node.sqlite")).await.unwrap();
    let mut tx = store.write().await.unwrap();
    let mode = query("PRAGMA journal_mode").fetch_one(&mut tx).await.unwrap().text("journal_mode").unwrap();
    let synchronous = query("PRAGMA synchronous").fetch_one(&mut tx).await.unwrap().signed("synchronous").unwrap();
    assert_eq!((mode.as_str(), synchronous), ("wal", 2)); // 2 = FULL: the log is synced at every commit
}
