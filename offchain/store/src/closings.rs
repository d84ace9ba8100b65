//! What may be passed: keys that no winner can come for any more (docs/designs/023-closing.md).

use std::{collections::HashSet, time::Duration};

use alloy_primitives::{Address, B256, U256};
use streamflow_pm::{QuoteDomain, ordered, ticket_hash};
use streamflow_types::{Round, WinningTicket};

use crate::{
    Store, StoreError, TicketRecord,
    backlog::pending_between,
    column, leases,
    sql::{Transaction, query},
    tickets,
};

/// A desk that told nothing for this time is taken for dead: what it had not stored is gone with it.
pub const DESK_TIMEOUT: Duration = Duration::from_secs(60);
/// Rows of dead desks are kept for this time, milliseconds.
const FORGET_AFTER: i64 = 86_400_000;

/// Name of a process that takes tickets, drawn at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeskId(pub [u8; 16]);

/// Tickets of one sender that an ordered batch passes, in ascending order of their keys.
#[derive(Debug, Clone, Copy)]
pub struct Passing<'a> {
    /// Who signed them.
    pub sender: Address,
    /// The mark that the batch is planned on.
    pub mark: U256,
    /// The tickets.
    pub tickets: &'a [TicketRecord],
}

/// An ordered batch that is about to be sent.
#[derive(Debug, Clone, Copy)]
pub struct OrderedBatch<'a> {
    /// Name of its transaction.
    pub intent: &'a str,
    /// Chain and contract.
    pub domain: &'a QuoteDomain,
    /// Who is paid.
    pub recipient: Address,
    /// What it passes.
    pub groups: &'a [Passing<'a>],
    /// Tickets of earlier rounds can never be paid, so they hold up nothing.
    pub oldest: Round,
    /// Tickets of this round and of earlier ones do not wait for the desks: they would expire otherwise.
    pub urgent: Option<Round>,
    /// Newest block.
    pub block: u64,
}

/// What became of winners that a desk delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivered {
    /// How many were new.
    pub new: u64,
    /// Those that came too late: a batch has passed their keys. They are not stored and must earn no credit.
    pub late: Vec<B256>,
}

impl Store {
    /// A desk tells that it credits no ticket on params that expired by `block`, and has stored every winner on them. It
    /// never takes that back. Said again in time, it also tells that the desk lives.
    pub async fn close_params(
        &self,
        domain: &QuoteDomain,
        recipient: Address,
        desk: DeskId,
        block: u64,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let now = leases::now(&mut tx).await?;
        let said = query(
            "SELECT closed_block FROM desks WHERE chain_id = $1 AND broker = $2 AND recipient = $3 AND desk = $4",
        )
        .bind(column::int("chain_id", domain.chain_id)?)
        .bind(domain.broker.as_slice())
        .bind(recipient.as_slice())
        .bind(desk.0.as_slice())
        .fetch_optional(&mut tx)
        .await?;
        let said = said.map_or(Ok(0), |row| row.number("closed_block"))?;
        query(
            "INSERT INTO desks (chain_id, broker, recipient, desk, closed_block, seen_at) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (chain_id, broker, recipient, desk) DO UPDATE SET closed_block = $5, seen_at = $6",
        )
        .bind(column::int("chain_id", domain.chain_id)?)
        .bind(domain.broker.as_slice())
        .bind(recipient.as_slice())
        .bind(desk.0.as_slice())
        .bind(column::int("closed_block", block.max(said))?)
        .bind(now)
        .execute(&mut tx)
        .await?;
        query("DELETE FROM desks WHERE seen_at < $1").bind(now - FORGET_AFTER).execute(&mut tx).await?;
        tx.commit().await
    }

    /// A desk ends: it has stored all that it took.
    pub async fn leave_desk(&self, domain: &QuoteDomain, recipient: Address, desk: DeskId) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query("DELETE FROM desks WHERE chain_id = $1 AND broker = $2 AND recipient = $3 AND desk = $4")
            .bind(column::int("chain_id", domain.chain_id)?)
            .bind(domain.broker.as_slice())
            .bind(recipient.as_slice())
            .bind(desk.0.as_slice())
            .execute(&mut tx)
            .await?;
        tx.commit().await
    }

    /// The block by which every living desk of the recipient has closed its params; `None` if there is no such desk.
    pub async fn closed_through(&self, domain: &QuoteDomain, recipient: Address) -> Result<Option<u64>, StoreError> {
        closed_through(&mut self.read().await?, domain, recipient).await
    }

    /// Stores winners, but for those whose keys an ordered batch has passed. When this returns they are on the disk.
    ///
    /// # Errors
    /// Any [`StoreError`]; then none of them is stored and the payment must not be acknowledged.
    pub async fn deliver(&self, domain: &QuoteDomain, winners: &[WinningTicket]) -> Result<Delivered, StoreError> {
        let mut tx = self.write().await?;
        let mut delivered = Delivered::default();
        for winner in winners {
            let hash = ticket_hash(&winner.signed.ticket);
            if is_passed(&mut tx, domain, winner).await? && !tickets::is_known(&mut tx, hash).await? {
                delivered.late.push(hash);
            } else {
                delivered.new += tickets::insert(&mut tx, winner).await?;
            }
        }
        tx.commit().await?;
        Ok(delivered)
    }

    /// Binds tickets to an ordered batch that is about to be sent, and closes the keys that it passes: all or nothing.
    ///
    /// # Errors
    /// [`StoreError::ParamsOpen`] if a desk may still take tickets on params of the batch, [`StoreError::PassesWinner`] if a
    /// winner below its last key is not in it: the batch must be planned anew. Those of [`Store::submit`].
    pub async fn submit_in_order(&self, batch: &OrderedBatch<'_>) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let tickets = || batch.groups.iter().flat_map(|group| group.tickets);
        let waiting = tickets().filter(|record| Some(record.ticket.signed.ticket.creation_round) > batch.urgent);
        if let Some(expiration_block) = waiting.map(|record| record.ticket.params_expiration_block).max()
            && let Some(closed_block) = closed_through(&mut tx, batch.domain, batch.recipient).await?
            && expiration_block > closed_block
        {
            return Err(StoreError::ParamsOpen { expiration_block, closed_block });
        }
        for group in batch.groups {
            pass(&mut tx, batch, group).await?;
        }
        let hashes: Vec<B256> = tickets().map(|record| record.hash).collect();
        tickets::bind(&mut tx, batch.intent, &hashes, batch.block).await?;
        tx.commit().await
    }
}

async fn closed_through(
    tx: &mut Transaction,
    domain: &QuoteDomain,
    recipient: Address,
) -> Result<Option<u64>, StoreError> {
    let since = leases::now(tx).await? - DESK_TIMEOUT.as_millis() as i64;
    let row = query(
        "SELECT min(closed_block) AS closed_block FROM desks \
         WHERE chain_id = $1 AND broker = $2 AND recipient = $3 AND seen_at >= $4",
    )
    .bind(column::int("chain_id", domain.chain_id)?)
    .bind(domain.broker.as_slice())
    .bind(recipient.as_slice())
    .bind(since)
    .fetch_one(tx)
    .await?;
    row.number_opt("closed_block")
}

/// Closes the keys of one sender up to the last of the group.
async fn pass(tx: &mut Transaction, batch: &OrderedBatch<'_>, group: &Passing<'_>) -> Result<(), StoreError> {
    let keys: HashSet<U256> = group.tickets.iter().map(|record| key(&record.ticket)).collect();
    let Some(last) = keys.iter().max() else { return Ok(()) };
    let pair = (batch.recipient, group.sender);
    let below = pending_between(&mut *tx, pair, (group.mark, *last), batch.oldest, u32::MAX).await?;
    if let Some(left_out) = below.iter().find(|record| !keys.contains(&key(&record.ticket))) {
        return Err(StoreError::PassesWinner { hash: left_out.hash });
    }
    let passed = passed(tx, batch.domain, batch.recipient, group.sender).await?.unwrap_or_default();
    query(
        "INSERT INTO closed_keys (chain_id, broker, recipient, sender, key) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (chain_id, broker, recipient, sender) DO UPDATE SET key = $5",
    )
    .bind(column::int("chain_id", batch.domain.chain_id)?)
    .bind(batch.domain.broker.as_slice())
    .bind(batch.recipient.as_slice())
    .bind(group.sender.as_slice())
    .bind(column::u256(passed.max(*last)))
    .execute(tx)
    .await?;
    Ok(())
}

/// Whether an ordered batch has passed the place of this winner.
async fn is_passed(tx: &mut Transaction, domain: &QuoteDomain, winner: &WinningTicket) -> Result<bool, StoreError> {
    if !is_marked(winner) {
        return Ok(false);
    }
    let ticket = &winner.signed.ticket;
    let passed = passed(tx, domain, ticket.recipient, ticket.sender).await?;
    Ok(passed.is_some_and(|passed| key(winner) <= passed))
}

/// The highest key of the two accounts that a batch has passed.
async fn passed(
    tx: &mut Transaction,
    domain: &QuoteDomain,
    recipient: Address,
    sender: Address,
) -> Result<Option<U256>, StoreError> {
    let row =
        query("SELECT key FROM closed_keys WHERE chain_id = $1 AND broker = $2 AND recipient = $3 AND sender = $4")
            .bind(column::int("chain_id", domain.chain_id)?)
            .bind(domain.broker.as_slice())
            .bind(recipient.as_slice())
            .bind(sender.as_slice())
            .fetch_optional(tx)
            .await?;
    row.map(|row| row.uint("key")).transpose()
}

fn is_marked(winner: &WinningTicket) -> bool {
    ordered::is_marked(winner.recipient_rand)
}

fn key(winner: &WinningTicket) -> U256 {
    let ticket = &winner.signed.ticket;
    ordered::key(ticket.creation_round, ordered::serial(winner.recipient_rand), ticket.sender_nonce)
}
