//! What redemption cost and what the protocol paid: the books of a keeper.

use alloy_primitives::{Address, B256, U256};
use streamflow_types::Round;

use crate::{
    Store, StoreError, column,
    sql::{Row, Transaction, query},
    tickets::TicketStatus,
};

/// A mined redemption transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedemptionReceipt {
    /// Its hash.
    pub tx_hash: B256,
    /// Intent under which it was sent.
    pub intent: String,
    /// Block that holds it.
    pub block: u64,
    /// False when it reverted.
    pub success: bool,
    /// Tickets it carried.
    pub tickets: u32,
    /// Gas it used.
    pub gas_used: u64,
    /// Wei paid per gas.
    pub effective_gas_price: u128,
}

/// Sum over all redemptions so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RedemptionSummary {
    /// Mined transactions, reverted ones included.
    pub transactions: u64,
    /// Tickets that were paid.
    pub redeemed: u64,
    /// Gas used by all of them.
    pub gas_used: u64,
    /// Wei paid for that gas.
    pub gas_cost: U256,
    /// Wei received.
    pub payout: U256,
}

/// LPT that `reward()` minted for an orchestrator in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RewardRecord {
    /// Who earned it.
    pub orchestrator: Address,
    /// In which round.
    pub round: Round,
    /// LPT base units.
    pub amount: U256,
    /// The call.
    pub tx_hash: B256,
    /// Its block.
    pub block: u64,
}

impl Store {
    /// Totals over every redemption recorded.
    pub async fn redemption_summary(&self) -> Result<RedemptionSummary, StoreError> {
        let redeemed = self.ticket_total(TicketStatus::Redeemed).await?;
        let start =
            RedemptionSummary { redeemed: redeemed.count, payout: redeemed.payout, ..RedemptionSummary::default() };
        let rows =
            query("SELECT gas_used, effective_gas_price FROM redemption_transactions").fetch_all(self.reader()).await?;
        rows.iter().try_fold(start, |sum, row| {
            let gas = row.number("gas_used")?;
            let cost = U256::from(gas).saturating_mul(U256::from(row.wei("effective_gas_price")?));
            Ok(RedemptionSummary {
                transactions: sum.transactions + 1,
                gas_used: sum.gas_used.saturating_add(gas),
                gas_cost: sum.gas_cost.saturating_add(cost),
                ..sum
            })
        })
    }

    /// Records a reward. The same orchestrator and round again is a no-op.
    pub async fn record_reward(&self, reward: &RewardRecord) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query(
            "INSERT INTO rewards (orchestrator, round, amount, tx_hash, block_number) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT DO NOTHING",
        )
        .bind(reward.orchestrator.to_vec())
        .bind(column::int("round", reward.round.0)?)
        .bind(column::u256(reward.amount))
        .bind(reward.tx_hash.to_vec())
        .bind(column::int("block_number", reward.block)?)
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }

    /// Rewards of one orchestrator, newest first, at most `limit`.
    pub async fn rewards(&self, orchestrator: Address, limit: u32) -> Result<Vec<RewardRecord>, StoreError> {
        let rows = query(
            "SELECT round, amount, tx_hash, block_number FROM rewards WHERE orchestrator = $1 ORDER BY round DESC LIMIT $2",
        )
        .bind(orchestrator.to_vec())
        .bind(limit)
        .fetch_all(self.reader())
        .await?;
        let read = |row: &Row| {
            Ok(RewardRecord {
                orchestrator,
                round: Round(row.number("round")?),
                amount: row.uint("amount")?,
                tx_hash: row.hash("tx_hash")?,
                block: row.number("block_number")?,
            })
        };
        rows.iter().map(read).collect()
    }
}

/// The same transaction again is a no-op: a receipt may be processed twice after a crash.
pub(crate) async fn insert_receipt(tx: &mut Transaction, receipt: &RedemptionReceipt) -> Result<(), StoreError> {
    query(
        "INSERT INTO redemption_transactions (tx_hash, intent, block_number, success, tickets, gas_used, \
         effective_gas_price) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tx_hash) DO NOTHING",
    )
    .bind(receipt.tx_hash.to_vec())
    .bind(&receipt.intent)
    .bind(column::int("block_number", receipt.block)?)
    .bind(receipt.success)
    .bind(receipt.tickets)
    .bind(column::int("gas_used", receipt.gas_used)?)
    .bind(column::u128(receipt.effective_gas_price))
    .execute(tx)
    .await?;
    Ok(())
}
