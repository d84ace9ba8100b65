//! What broadcasters learnt of orchestrators: whom they reached, at what price, how fast, how reliably.

use alloy_primitives::{Address, U256};
use streamflow_types::Price;

use crate::{
    Store, StoreError, column,
    sql::{Row, query},
};

/// An orchestrator as it was known last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownOrchestrator {
    /// Its service URI.
    pub url: String,
    /// Account that the chain lists at that URI.
    pub account: Option<Address>,
    /// LPT wei.
    pub stake: Option<U256>,
    /// Of its newest quote.
    pub price: Option<Price>,
    /// Mean time for a segment and its standard deviation, in millionths of the segment's length.
    pub latency_ppm: Option<(u64, u64)>,
    /// Segments it did, old ones counting less.
    pub served: u64,
    /// Segments it failed at, old ones counting less.
    pub failed: u64,
    /// When it answered last, in Unix seconds.
    pub seen_at: u64,
}

impl Store {
    /// Those that answered last, newest first, at most `limit`.
    pub async fn known_orchestrators(&self, limit: u32) -> Result<Vec<KnownOrchestrator>, StoreError> {
        let rows = query(
            "SELECT url, account, stake, price_wei, price_pixels, latency_ppm, deviation_ppm, served, failed, seen_at \
             FROM orchestrators ORDER BY seen_at DESC, url LIMIT $1",
        )
        .bind(limit)
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(known).collect()
    }

    /// Stores what is known now, and forgets those that have not answered since `forgotten_before`.
    pub async fn remember_orchestrators(
        &self,
        known: &[KnownOrchestrator],
        forgotten_before: u64,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for one in known {
            let price =
                |term: fn(Price) -> u64, name| one.price.map(|price| column::int(name, term(price))).transpose();
            let ppm =
                |term: fn((u64, u64)) -> u64, name| one.latency_ppm.map(|p| column::int(name, term(p))).transpose();
            query(
                "INSERT INTO orchestrators (url, account, stake, price_wei, price_pixels, latency_ppm, deviation_ppm, \
                 served, failed, seen_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
                 ON CONFLICT (url) DO UPDATE SET account = $2, stake = $3, price_wei = $4, price_pixels = $5, \
                 latency_ppm = $6, deviation_ppm = $7, served = $8, failed = $9, seen_at = $10",
            )
            .bind(&one.url)
            .bind(one.account.map(|account| account.to_vec()))
            .bind(one.stake.map(column::u256))
            .bind(price(Price::wei_per_unit, "price_wei")?)
            .bind(price(Price::pixels_per_unit, "price_pixels")?)
            .bind(ppm(|(mean, _)| mean, "latency_ppm")?)
            .bind(ppm(|(_, deviation)| deviation, "deviation_ppm")?)
            .bind(column::int("served", one.served)?)
            .bind(column::int("failed", one.failed)?)
            .bind(column::int("seen_at", one.seen_at)?)
            .execute(&mut tx)
            .await?;
        }
        query("DELETE FROM orchestrators WHERE seen_at < $1")
            .bind(column::int("seen_at", forgotten_before)?)
            .execute(&mut tx)
            .await?;
        tx.commit().await
    }
}

fn known(row: &Row) -> Result<KnownOrchestrator, StoreError> {
    let price = match (row.number_opt("price_wei")?, row.number_opt("price_pixels")?) {
        (Some(wei), Some(pixels)) => {
            Some(Price::new(wei, pixels).map_err(|_| StoreError::BadColumn { column: "price_pixels" })?)
        }
        _ => None,
    };
    Ok(KnownOrchestrator {
        url: row.text("url")?,
        account: row.fixed_opt::<20>("account")?.map(Address::from),
        stake: row.uint_opt("stake")?,
        price,
        latency_ppm: row.number_opt("latency_ppm")?.zip(row.number_opt("deviation_ppm")?),
        served: row.number("served")?,
        failed: row.number("failed")?,
        seen_at: row.number("seen_at")?,
    })
}
