//! What a keeper reads of the pending winners. Every read is bounded, however many there are.

use alloy_primitives::{Address, U256};
use sqlx::AssertSqlSafe;
use streamflow_pm::ordered::MARKER;
use streamflow_types::Round;

use crate::{
    Store, StoreError, TicketRecord, column,
    sql::{Link, query},
    tickets::{COLUMNS, record},
};

/// Serial of a marked ticket, as `streamflow_pm::ordered` lays it out.
const SERIAL: &str = "substr(recipient_rand, 9, 8)";

impl Store {
    /// Pending tickets that may be sent at `block`, as [`Store::redeemable`], but of each pair of recipient and sender at
    /// most `of_each`, those with the lowest keys; and fewer, though one at least, where that would be more than `limit` of
    /// all pairs. So no sender's tickets hide another's. Earliest round first, then highest face value.
    pub async fn redeemable_of_each(
        &self,
        block: u64,
        oldest: Round,
        of_each: u32,
        limit: u32,
    ) -> Result<Vec<TicketRecord>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM winning_tickets WHERE state = 'pending' AND recipient = $1 AND sender = $2 \
             AND creation_round >= $3 AND params_expiration_block <= $4 AND not_before <= $4 \
             ORDER BY creation_round, {SERIAL}, sender_nonce LIMIT $5"
        );
        let (oldest, block) =
            (column::int("creation_round", oldest.0)?, column::int("params_expiration_block", block)?);
        let pairs = self.pending_pairs().await?;
        let share = u32::try_from(limit as usize / pairs.len().max(1)).unwrap_or(limit);
        let mut records = Vec::new();
        for (recipient, sender) in pairs {
            let query = query(AssertSqlSafe(sql.clone())).bind(recipient).bind(sender);
            let query = query.bind(oldest).bind(block).bind(of_each.min(share.max(1)));
            for row in &query.fetch_all(self.reader()).await? {
                records.push(record(row)?);
            }
        }
        records.sort_by(|a, b| {
            let (a, b) = (&a.ticket.signed.ticket, &b.ticket.signed.ticket);
            a.creation_round.cmp(&b.creation_round).then(b.face_value.cmp(&a.face_value))
        });
        Ok(records)
    }

    /// Every pair of recipient and sender that a pending ticket has.
    async fn pending_pairs(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let rows = query("SELECT DISTINCT recipient, sender FROM winning_tickets WHERE state = 'pending'")
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(|row| Ok((row.bytes("recipient")?, row.bytes("sender")?))).collect()
    }

    /// The sender's pending marked tickets for the recipient above the key `mark`, created in `oldest` or later, those whose
    /// params live included: the `limit` lowest keys, in ascending order. None with a lower key is left out.
    pub async fn pending_above(
        &self,
        recipient: Address,
        sender: Address,
        mark: U256,
        oldest: Round,
        limit: u32,
    ) -> Result<Vec<TicketRecord>, StoreError> {
        pending_between(self.reader(), (recipient, sender), (mark, U256::MAX), oldest, limit).await
    }

    /// Number of winners that are pending or under way.
    pub async fn unpaid(&self) -> Result<u64, StoreError> {
        let row = query("SELECT COUNT(*) AS unpaid FROM winning_tickets WHERE state IN ('pending', 'submitted')");
        row.fetch_one(self.reader()).await?.number("unpaid")
    }

    /// Σ face value of the winners of one round that are not dead, wei: of at most `most` of them in each state, the dearest,
    /// so that the sum may be too low. Stops at 2^256 − 1.
    pub async fn won_in(&self, round: Round, most: u32) -> Result<U256, StoreError> {
        let mut sum = U256::ZERO;
        for state in ["pending", "submitted", "redeemed"] {
            let rows = query(
                "SELECT face_value FROM winning_tickets WHERE state = $1 AND creation_round = $2 \
                 ORDER BY face_value DESC LIMIT $3",
            )
            .bind(state)
            .bind(column::int("creation_round", round.0)?)
            .bind(most)
            .fetch_all(self.reader())
            .await?;
            for row in &rows {
                sum = sum.saturating_add(row.uint("face_value")?);
            }
        }
        Ok(sum)
    }
}

/// The sender's pending marked tickets for the recipient above the first key and up to the last, in ascending order, at most
/// `limit`.
pub(crate) async fn pending_between(
    on: impl Into<Link<'_>>,
    (recipient, sender): (Address, Address),
    (above, through): (U256, U256),
    oldest: Round,
    limit: u32,
) -> Result<Vec<TicketRecord>, StoreError> {
    let [nonce, serial, round, _] = *above.as_limbs();
    let [last_nonce, last_serial, last_round, _] = *through.as_limbs();
    // A key beyond what a column can hold has nothing above it.
    let (Ok(round), Ok(nonce)) = (i64::try_from(round), i64::try_from(nonce)) else { return Ok(Vec::new()) };
    let sql = AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM winning_tickets WHERE state = 'pending' AND recipient = $1 AND sender = $2 \
         AND creation_round >= $3 AND creation_round >= $4 AND substr(recipient_rand, 1, 8) = $5 \
         AND (creation_round > $4 OR {SERIAL} > $6 OR ({SERIAL} = $6 AND sender_nonce > $7)) \
         AND (creation_round < $8 OR (creation_round = $8 AND ({SERIAL} < $9 OR ({SERIAL} = $9 AND sender_nonce <= $10)))) \
         ORDER BY creation_round, {SERIAL}, sender_nonce LIMIT $11"
    ));
    let query = query(sql)
        .bind(recipient.to_vec())
        .bind(sender.to_vec())
        .bind(column::int("creation_round", oldest.0)?)
        .bind(round)
        .bind(MARKER.to_be_bytes().to_vec())
        .bind(serial.to_be_bytes().to_vec())
        .bind(nonce)
        .bind(i64::try_from(last_round).unwrap_or(i64::MAX))
        .bind(last_serial.to_be_bytes().to_vec())
        .bind(i64::try_from(last_nonce).unwrap_or(i64::MAX))
        .bind(limit);
    query.fetch_all(on).await?.iter().map(record).collect()
}
