//! Orchestrators that broadcasters caught, and until when they get no work for that.

use crate::{
    Store, StoreError, column,
    sql::{Row, query},
};

/// What an orchestrator was caught at last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownConviction {
    /// Its service URI.
    pub url: String,
    /// Name of the verdict.
    pub verdict: String,
    /// What was wrong, with both figures.
    pub why: String,
    /// Until when it rests, in Unix seconds.
    pub ends_at: u64,
    /// How often it was let back in and caught again.
    pub relapses: u32,
}

impl Store {
    /// Those that end after `since`, the longest first, at most `limit`.
    pub async fn convictions(&self, since: u64, limit: u32) -> Result<Vec<KnownConviction>, StoreError> {
        let rows = query(
            "SELECT url, verdict, why, ends_at, relapses FROM convictions WHERE ends_at > $1 \
             ORDER BY ends_at DESC, url LIMIT $2",
        )
        .bind(column::int("ends_at", since)?)
        .bind(limit)
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(known).collect()
    }

    /// Stores convictions in place of those of the same orchestrators that end earlier: another node may have caught one at
    /// something worse. Of more than `most`, those that end first are forgotten.
    pub async fn keep_convictions(&self, known: &[KnownConviction], most: u32) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for one in known {
            query(
                "INSERT INTO convictions (url, verdict, why, ends_at, relapses) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (url) DO UPDATE SET verdict = $2, why = $3, ends_at = $4, relapses = $5 \
                 WHERE excluded.ends_at >= convictions.ends_at",
            )
            .bind(&one.url)
            .bind(&one.verdict)
            .bind(&one.why)
            .bind(column::int("ends_at", one.ends_at)?)
            .bind(column::int("relapses", one.relapses.into())?)
            .execute(&mut tx)
            .await?;
        }
        // By their number and not by their age: nodes that share the database may suspend for other times.
        query(
            "DELETE FROM convictions WHERE url NOT IN \
             (SELECT url FROM convictions ORDER BY ends_at DESC, url LIMIT $1)",
        )
        .bind(most)
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }
}

fn known(row: &Row) -> Result<KnownConviction, StoreError> {
    Ok(KnownConviction {
        url: row.text("url")?,
        verdict: row.text("verdict")?,
        why: row.text("why")?,
        ends_at: row.number("ends_at")?,
        relapses: row.small("relapses")?,
    })
}
