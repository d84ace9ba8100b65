//! Which keeper of an account leads: a lease by the clock of the database, and a token that grows with every leader.
//!
//! The lease only says when another may take over. That a keeper which lost it writes nothing more rests on the token alone:
//! [`Store::fenced`] compares it in every transaction that writes, and transactions that write come one after the other. So
//! no clock has to be right.

use std::time::Duration;

use alloy_primitives::Address;

use crate::{
    Store, StoreError, column,
    sql::{Transaction, query},
};

/// What a leading keeper holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeeperLease {
    chain_id: u64,
    account: Address,
    token: u64,
}

impl KeeperLease {
    /// Its number among the leases of the account; the highest one leads.
    pub const fn token(&self) -> u64 {
        self.token
    }
}

/// What came of asking to lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The caller leads.
    Leads(KeeperLease),
    /// Another does, for at least this long.
    Follows {
        /// Who, in its own words.
        holder: String,
        /// Until its lease ends, if it does not renew it.
        remaining: Duration,
    },
}

/// A row of the table, and the time by the same clock.
struct Held {
    token: u64,
    holder: String,
    expires_at: i64,
    length: i64,
    now: i64,
}

impl Held {
    /// Milliseconds until another may lead. A lease that ends later than it can was made before the clock was set back.
    fn remaining(&self) -> Option<u64> {
        let left = self.expires_at.saturating_sub(self.now);
        if left > self.length { None } else { u64::try_from(left).ok().filter(|left| *left > 0) }
    }
}

impl Store {
    /// Leads from now on for `length`, unless another keeper of the account does. `holder` is for people.
    pub async fn claim_lead(
        &self,
        chain_id: u64,
        account: Address,
        holder: &str,
        length: Duration,
    ) -> Result<Claim, StoreError> {
        let mut tx = self.write().await?;
        let held = held(&mut tx, chain_id, account).await?;
        if let Some((held, remaining)) = held.as_ref().and_then(|held| Some((held, held.remaining()?))) {
            let remaining = Duration::from_millis(remaining);
            return Ok(Claim::Follows { holder: held.holder.clone(), remaining });
        }
        let token = held.map_or(0, |held| held.token).saturating_add(1);
        let length = millis(length)?;
        let expires_at = now(&mut tx).await?.saturating_add(length);
        query(
            "INSERT INTO keeper_leases (chain_id, account, token, holder, expires_at, length) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (chain_id, account) DO UPDATE SET token = $3, holder = $4, expires_at = $5, length = $6",
        )
        .bind(column::int("chain_id", chain_id)?)
        .bind(account.as_slice())
        .bind(column::int("token", token)?)
        .bind(holder)
        .bind(expires_at)
        .bind(length)
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(Claim::Leads(KeeperLease { chain_id, account, token }))
    }

    /// Leads for `length` more, also when the lease has ended and nobody has taken over.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when another leads.
    pub async fn renew_lead(&self, lease: &KeeperLease, length: Duration) -> Result<(), StoreError> {
        let mut tx = self.fenced(*lease).write().await?;
        let length = millis(length)?;
        let expires_at = now(&mut tx).await?.saturating_add(length);
        set_end(&mut tx, lease, expires_at, length).await?;
        tx.commit().await
    }

    /// Leads no more: another may take over at once.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when another has.
    pub async fn release_lead(&self, lease: &KeeperLease) -> Result<(), StoreError> {
        let mut tx = self.fenced(*lease).write().await?;
        set_end(&mut tx, lease, 0, 0).await?;
        tx.commit().await
    }
}

/// Refuses what is written under a lease that another has followed.
pub(crate) async fn require_current(tx: &mut Transaction, lease: &KeeperLease) -> Result<(), StoreError> {
    let current = held(tx, lease.chain_id, lease.account).await?.map_or(0, |held| held.token);
    if current == lease.token {
        return Ok(());
    }
    Err(StoreError::Fenced { account: lease.account, token: lease.token, current })
}

async fn held(tx: &mut Transaction, chain_id: u64, account: Address) -> Result<Option<Held>, StoreError> {
    let sql = "SELECT token, holder, expires_at, length FROM keeper_leases WHERE chain_id = $1 AND account = $2";
    let row = query(sql).bind(column::int("chain_id", chain_id)?).bind(account.as_slice());
    let Some(row) = row.fetch_optional(&mut *tx).await? else { return Ok(None) };
    Ok(Some(Held {
        token: row.number("token")?,
        holder: row.text("holder")?,
        expires_at: row.signed("expires_at")?,
        length: row.signed("length")?,
        now: now(tx).await?,
    }))
}

/// Milliseconds since 1970 by the clock of the database: of its machine, not of the transaction, which may have waited.
pub(crate) async fn now(tx: &mut Transaction) -> Result<i64, StoreError> {
    let sql = match tx {
        Transaction::Sqlite(_) => "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) AS now",
        Transaction::Postgres(_) => "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) AS now",
    };
    query(sql).fetch_one(tx).await?.signed("now")
}

async fn set_end(tx: &mut Transaction, lease: &KeeperLease, expires_at: i64, length: i64) -> Result<(), StoreError> {
    query("UPDATE keeper_leases SET expires_at = $3, length = $4 WHERE chain_id = $1 AND account = $2")
        .bind(column::int("chain_id", lease.chain_id)?)
        .bind(lease.account.as_slice())
        .bind(expires_at)
        .bind(length)
        .execute(tx)
        .await?;
    Ok(())
}

fn millis(length: Duration) -> Result<i64, StoreError> {
    i64::try_from(length.as_millis()).map_err(|_| StoreError::OutOfRange { column: "length" })
}
