//! Leases of serials, so that a quote costs no write (docs/designs/007-serials.md).

use alloy_primitives::Address;
use streamflow_pm::{LeaseTerms, QuoteDomain, SerialLease};
use streamflow_types::Round;

use crate::{
    Store, StoreError, column,
    sql::{Transaction, query},
};

/// A lease begins at its expiration block times this, or behind the last one. So a node that lost its database, and its
/// place in the sequence with it, does not number new tickets below those already redeemed.
const SERIALS_PER_BLOCK: u64 = 1 << 24;

/// What came of asking for serials.
#[derive(Debug, PartialEq, Eq)]
pub enum Leased {
    /// Serials of the caller's own, above all that were leased before.
    Lease(SerialLease),
    /// Others quote for a later round, or for longer than the caller would: nothing it can quote comes after theirs.
    Behind {
        /// Round of the last lease.
        round: Round,
        /// Its expiration block.
        expiration_block: u64,
    },
}

/// Where a recipient's sequence stands.
#[derive(Debug, Clone, Copy, Default)]
struct Last {
    serial: u64,
    round: Round,
    expiration_block: u64,
}

impl Store {
    /// Leases `count` serials for quotes of one recipient. Round and expiration block of a lease are never below those of
    /// the one before, whoever asks.
    ///
    /// The lease is on the disk when this returns. What is left of it when its holder ends is never used.
    pub async fn lease_serials(
        &self,
        domain: &QuoteDomain,
        recipient: Address,
        terms: &LeaseTerms,
        count: u64,
    ) -> Result<Leased, StoreError> {
        let mut tx = self.write().await?;
        let last = last_lease(&mut tx, domain, recipient).await?;
        let expiration_block = last.expiration_block.max(*terms.expiration_block.start());
        if terms.round < last.round || expiration_block > *terms.expiration_block.end() {
            return Ok(Leased::Behind { round: last.round, expiration_block: last.expiration_block });
        }
        let out_of_range = StoreError::OutOfRange { column: "last_serial" };
        let floor = expiration_block.checked_mul(SERIALS_PER_BLOCK);
        let first = floor.zip(last.serial.checked_add(1)).map(|(floor, next)| floor.max(next));
        let range = first.and_then(|first| Some((first, first.checked_add(count)?.checked_sub(1)?)));
        let (first, last) = range.ok_or(out_of_range)?;
        query(
            "INSERT INTO serial_sequences (chain_id, broker, recipient, last_serial, round, expiration_block) \
             VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (chain_id, broker, recipient) DO UPDATE SET last_serial = $4, round = $5, expiration_block = $6",
        )
        .bind(column::int("chain_id", domain.chain_id)?)
        .bind(domain.broker.as_slice())
        .bind(recipient.as_slice())
        .bind(column::int("last_serial", last)?)
        .bind(column::int("round", terms.round.0)?)
        .bind(column::int("expiration_block", expiration_block)?)
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(Leased::Lease(SerialLease::new(first..=last, terms.round, expiration_block)))
    }
}

async fn last_lease(tx: &mut Transaction, domain: &QuoteDomain, recipient: Address) -> Result<Last, StoreError> {
    let row = query(
        "SELECT last_serial, round, expiration_block FROM serial_sequences \
         WHERE chain_id = $1 AND broker = $2 AND recipient = $3",
    )
    .bind(column::int("chain_id", domain.chain_id)?)
    .bind(domain.broker.as_slice())
    .bind(recipient.as_slice())
    .fetch_optional(tx)
    .await?;
    let Some(row) = row else { return Ok(Last::default()) };
    Ok(Last {
        serial: row.number("last_serial")?,
        round: Round(row.number("round")?),
        expiration_block: row.number("expiration_block")?,
    })
}
