//! A payout is recorded when it is mined, looked up when its block is called safe, and once more when a reorganisation can
//! hardly reach it: included, safe, finalized. Like the end of an expired ticket, that takes the word of most endpoints.

use std::collections::{HashMap, hash_map::Entry};

use alloy::{
    primitives::{Address, B256, U64},
    providers::Provider,
};
use futures::{StreamExt, TryStreamExt, stream};
use streamflow_chain::Chain;
use streamflow_store::{Store, TicketOutcome, TicketRecord, TicketState};
use streamflow_types::Round;

use crate::{
    KeeperError,
    duty::Progress,
    metrics,
    ordered::{
        batch, find, knows_no_order,
        outcome::{BatchOutcome, Fate},
        plan::{is_marked, key},
    },
    quorum::{Quorum, undecided},
    redeem::{Outcomes, READS, Redeemer},
    snapshot::Snapshot,
};

/// Payouts looked up in one pass.
const AT_ONCE: u32 = 500;
/// Expired tickets looked up in one pass.
const EXPIRED_AT_ONCE: u32 = 200;

impl Redeemer {
    /// Decides what can be decided now of payouts and expired tickets.
    pub(crate) async fn decide(self) -> Result<Progress, KeeperError> {
        let snapshot = Snapshot::newest(&self.chain).await?;
        check_payouts(&self.chain, &self.store, snapshot.head.number, self.config.finality_blocks).await?;
        self.give_up_expired(&snapshot).await?;
        Ok(Progress::NotYet)
    }

    /// Gives up tickets whose last round is over where a reorganisation can hardly reach it, some of them at a time. Those that
    /// were paid after all are recorded so: by a stranger, or on a branch that came back just before the round ended.
    async fn give_up_expired(&self, snapshot: &Snapshot) -> Result<(), KeeperError> {
        let block = snapshot.head.contract_number;
        let created = |record: &TicketRecord| record.ticket.signed.ticket.creation_round;
        let mut expired = self.store.redeemable(block, Round(0), EXPIRED_AT_ONCE).await?;
        if expired.is_empty() {
            return Ok(());
        }
        let situation = self.situation(snapshot).await?;
        expired.retain(|record| created(record) < situation.oldest_round());
        if expired.is_empty() {
            return Ok(());
        }
        let Some(quorum) = Quorum::find(&self.chain, snapshot.head.number).await else { return Ok(()) };
        let Some(deep) = quorum.newest.checked_sub(self.config.finality_blocks) else { return Ok(()) };
        let Some(oldest) = quorum.oldest_round(deep).await else { return Ok(()) };
        expired.retain(|record| created(record) < oldest);
        let ends: Vec<(TicketRecord, End)> = stream::iter(expired)
            .map(|record| async {
                let end = end(&quorum, &record).await;
                (record, end)
            })
            .buffered(READS)
            .collect()
            .await;
        let mut outcomes = Outcomes::new();
        let mut passed: HashMap<(Address, Address), Vec<TicketRecord>> = HashMap::new();
        for (record, end) in ends {
            let outcome = match end {
                End::Unpaid => TicketOutcome::Dead { reason: expired_after(&record) },
                End::Used => {
                    let found = self.find_redemption(&quorum.chain, quorum.newest, &record).await;
                    self.known_of(&record, found, block)
                }
                End::Passed => {
                    let ticket = &record.ticket.signed.ticket;
                    passed.entry((ticket.sender, ticket.recipient)).or_default().push(record);
                    continue;
                }
                End::Undecided => self.wait("expired; the endpoints do not agree whether it was paid", block),
            };
            outcomes.push((record.hash, outcome));
        }
        self.settle(outcomes, None, block).await?;
        for records in passed.into_values() {
            let outcomes = match find(&quorum.chain, &records, quorum.newest, self.config.log_lookback_blocks).await {
                Ok(found) => records
                    .iter()
                    .map(|record| (record.hash, self.passed_before(record, found.get(&record.hash), true, block)))
                    .collect(),
                Err(err) => {
                    undecided(&err);
                    let reason = "expired and passed by its sender's mark, but the batch cannot be looked for";
                    records.iter().map(|record| (record.hash, self.wait(reason, block))).collect()
                }
            };
            self.settle(outcomes, None, block).await?;
        }
        Ok(())
    }
}

/// How an expired ticket ended.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Neither used nor passed in order.
    Unpaid,
    /// Paid by itself.
    Used,
    /// Its sender's mark has passed it: a batch has paid it, or it is lost.
    Passed,
    /// The endpoints do not agree.
    Undecided,
}

async fn end(quorum: &Quorum, record: &TicketRecord) -> End {
    match quorum.is_used(record, quorum.newest).await {
        Some(true) => return End::Used,
        Some(false) if !is_marked(record) => return End::Unpaid,
        Some(false) => {}
        None => return End::Undecided,
    }
    match quorum.told_mark(record, quorum.newest).await {
        Ok(mark) if key(record) <= mark => {}
        Ok(_) => return End::Unpaid,
        Err(err) if knows_no_order(&err) => return End::Unpaid,
        Err(err) => {
            undecided(&err);
            return End::Undecided;
        }
    }
    match quorum.is_aside(record, quorum.newest).await {
        Some(true) => End::Unpaid,
        Some(false) => End::Passed,
        None => End::Undecided,
    }
}

fn expired_after(record: &TicketRecord) -> String {
    match &record.state {
        TicketState::Pending { reason: Some(reason), .. } => format!("ticket is expired; before: {reason}"),
        _ => "ticket is expired".to_owned(),
    }
}

/// Oldest creation round that can still be redeemed, as most endpoints tell it `depth` blocks below the newest that they have.
/// `None` while they do not agree.
pub async fn oldest_redeemable(chain: &Chain, depth: u64) -> Option<Round> {
    let head = chain.rpc.head().await.inspect_err(|err| undecided(err)).ok()?;
    let quorum = Quorum::find(chain, head.number).await?;
    quorum.oldest_round(quorum.newest.checked_sub(depth)?).await
}

/// Looks payouts up that have come to lie in a safe or in a finalized block: as the node calls them, if it does, and final
/// `depth` blocks below the newest that most endpoints have, at the earliest. Those that the chain does not know any more are
/// made anew: the ticket is neither used nor paid in order by the batch that paid it.
async fn check_payouts(chain: &Chain, store: &Store, head: u64, depth: u64) -> Result<(), KeeperError> {
    let (safe, finalized) = tokio::join!(tagged(chain, "safe"), tagged(chain, "finalized"));
    // A node that calls its head safe says nothing.
    let safe = safe.filter(|safe| *safe < head);
    let deep = |newest: u64| {
        let deep = newest.checked_sub(depth)?;
        Some(finalized.map_or(deep, |finalized| finalized.min(deep)))
    };
    if unsafe_payouts(store, safe).await?.is_empty() && unconfirmed_payouts(store, deep(head)).await?.is_empty() {
        return Ok(());
    }
    let Some(quorum) = Quorum::find(chain, head).await else { return Ok(()) };
    let safe = safe.map(|safe| safe.min(quorum.newest));
    let stands = check(&quorum, store, unsafe_payouts(store, safe).await?, safe.unwrap_or_default()).await?;
    store.secure_payouts(&stands).await?;
    let deep = deep(quorum.newest);
    let stands = check(&quorum, store, unconfirmed_payouts(store, deep).await?, deep.unwrap_or_default()).await?;
    Ok(store.confirm_payouts(&stands).await?)
}

async fn unsafe_payouts(store: &Store, safe: Option<u64>) -> Result<Vec<TicketRecord>, KeeperError> {
    let Some(safe) = safe else { return Ok(Vec::new()) };
    Ok(store.unsafe_payouts(safe, AT_ONCE).await?)
}

async fn unconfirmed_payouts(store: &Store, deep: Option<u64>) -> Result<Vec<TicketRecord>, KeeperError> {
    let Some(deep) = deep else { return Ok(Vec::new()) };
    Ok(store.unconfirmed_payouts(deep, AT_ONCE).await?)
}

/// Number of the block that the node gives this name. `None` if it knows none, as many nodes of second layers and of
/// development chains.
async fn tagged(chain: &Chain, tag: &'static str) -> Option<u64> {
    #[derive(Debug, serde::Deserialize)]
    struct Numbered {
        number: U64,
    }
    let request = chain.rpc.provider().raw_request::<_, Option<Numbered>>("eth_getBlockByNumber".into(), (tag, false));
    match request.await {
        Ok(block) => block.map(|block| block.number.to()),
        Err(err) => {
            tracing::debug!(%err, tag, "the node names no such block");
            None
        }
    }
}

/// Of these payouts, those that stand in `deep` or before. What left the chain is made anew. What the endpoints do not agree
/// on stays as it is.
async fn check(
    quorum: &Quorum,
    store: &Store,
    payouts: Vec<TicketRecord>,
    deep: u64,
) -> Result<Vec<B256>, KeeperError> {
    let looked_up: Vec<(TicketRecord, Option<Usage>)> = stream::iter(payouts)
        .map(|record| async move {
            let usage = usage(quorum, &record, deep).await;
            Ok::<_, KeeperError>((record, usage))
        })
        .buffered(READS)
        .try_collect()
        .await?;
    let (mut batches, mut mined) = (HashMap::new(), HashMap::new());
    let (mut paid, mut gone) = (Vec::new(), Vec::new());
    for (record, usage) in looked_up {
        let block = match (usage, &record.state) {
            (None, _) => continue,
            // Used, perhaps by somebody else's transaction on the branch that took ours away: then that one is the payout.
            (Some(Usage::By(block)), TicketState::Redeemed(payout)) => {
                let is_mined = match mined.entry(payout.tx_hash) {
                    Entry::Occupied(known) => *known.get(),
                    Entry::Vacant(new) => *new.insert(agreed_mined(quorum, payout.tx_hash).await),
                };
                let Some(is_mined) = is_mined else { continue };
                is_mined.then_some(block)
            }
            (Some(Usage::By(block)), _) => Some(block),
            // Paid in order it is not used: the batch itself must still be there, and pay it still.
            (Some(Usage::Unused), TicketState::Redeemed(payout)) if is_marked(&record) => {
                let found = match batches.entry(payout.tx_hash) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => new.insert(agreed_batch(quorum, payout.tx_hash).await),
                };
                let Some(found) = found else { continue };
                found.as_ref().filter(|(_, batch)| batch.fate(&record) == Some(Fate::Paid)).map(|(block, _)| *block)
            }
            (Some(Usage::Unused), _) => None,
        };
        match block {
            Some(block) if block <= deep => paid.push(record.hash),
            // mined again, too lately to tell
            Some(_) => {}
            None => gone.push(record.hash),
        }
    }
    if !gone.is_empty() {
        let block = quorum.newest;
        tracing::warn!(tickets = gone.len(), block, "payouts left the chain, redeeming the tickets again");
        metrics::revoked(gone.len() as u64);
        store.revoke_payouts(&gone).await?;
    }
    Ok(paid)
}

/// The batch in this transaction as most endpoints have it. The outer `None`: they do not agree.
async fn agreed_batch(quorum: &Quorum, tx_hash: B256) -> Option<Option<(u64, BatchOutcome)>> {
    batch(&quorum.chain, tx_hash).await.inspect_err(|err| undecided(err)).ok()
}

/// Whether the transaction is in the chain as most endpoints have it. `None` while they do not agree.
async fn agreed_mined(quorum: &Quorum, tx_hash: B256) -> Option<bool> {
    let mined = quorum.chain.rpc.mined_call(tx_hash).await.inspect_err(|err| undecided(err)).ok();
    mined.map(|call| call.is_some())
}

/// Whether a ticket is used.
#[derive(Clone, Copy, Debug)]
enum Usage {
    /// By this block.
    By(u64),
    Unused,
}

/// Whether the ticket is used by `deep`, or by the newest block. `None` while the endpoints do not agree.
async fn usage(quorum: &Quorum, record: &TicketRecord, deep: u64) -> Option<Usage> {
    for block in [deep, quorum.newest] {
        if quorum.is_used(record, block).await? {
            return Some(Usage::By(block));
        }
    }
    Some(Usage::Unused)
}
