//! Reads what the time to send depends on: income, risk, gas prices.

use std::collections::{HashMap, HashSet};

use alloy::primitives::{Address, U256};
use streamflow_bindings::BondingManager;
use streamflow_chain::ChainError;
use streamflow_store::TicketRecord;

use crate::{
    KeeperError,
    economics::{Escalation, Outlook, Patience},
    number::to_u64,
    planner::{Market, RoughGas, SenderCover, Situation, pressure, weigh},
    redeem::Redeemer,
    snapshot::Snapshot,
};

/// Winners of a round that are added up in each state.
const ADDED_UP: u32 = 20_000;
/// Blocks whose gas prices make a usual one.
const LEAST_HISTORY: usize = 20;

impl Redeemer {
    /// What is known of a batch. `pending` are all winners of its senders that are known of, those in it included.
    pub(crate) async fn outlook(
        &self,
        (batch, pending): (&[&TicketRecord], &[TicketRecord]),
        covers: &HashMap<Address, SenderCover>,
        gas: RoughGas,
        situation: &Situation,
        snapshot: &Snapshot,
    ) -> Result<Outlook, KeeperError> {
        let recipient_leaves = self.recipient_leaves(batch, situation, snapshot).await?;
        let market = Market {
            gas_price: self.gas_price(&snapshot.head),
            usual_gas_price: self.usual_gas_price().await,
            income: self.income(situation).await?,
            recipient_leaves,
        };
        Ok(weigh((batch, pending), covers, gas, market, situation, &self.config))
    }

    /// How far the gas ceiling has risen for these tickets.
    pub(crate) async fn escalation(
        &self,
        tickets: &[&TicketRecord],
        covers: &HashMap<Address, SenderCover>,
        situation: &Situation,
        snapshot: &Snapshot,
    ) -> Result<Escalation, KeeperError> {
        let recipient_leaves = self.recipient_leaves(tickets, situation, snapshot).await?;
        Ok(pressure(tickets, covers, recipient_leaves, situation, &self.config).escalation)
    }

    /// Whether one of their recipients leaves the active set with this round.
    async fn recipient_leaves(
        &self,
        tickets: &[&TicketRecord],
        situation: &Situation,
        snapshot: &Snapshot,
    ) -> Result<bool, KeeperError> {
        let recipients: HashSet<Address> = tickets.iter().map(|record| record.ticket.signed.ticket.recipient).collect();
        let mut leaves = false;
        for recipient in recipients {
            leaves |= self.leaves(recipient, situation, snapshot).await?;
        }
        Ok(leaves)
    }

    pub(crate) fn patience(&self, situation: &Situation) -> Patience {
        Patience { blocks: self.config.defer_blocks, round_length: situation.round_length }
    }

    /// Wei per gas as a rule, if enough blocks are known.
    pub(crate) async fn usual_gas_price(&self) -> Option<u128> {
        self.fees.lock().await.median(LEAST_HISTORY).map(|fee| fee.saturating_add(self.priority_fee))
    }

    /// Wei won per round: those of the last whole round and of the running one, over the time of both.
    async fn income(&self, situation: &Situation) -> Result<U256, KeeperError> {
        let last = situation.round.saturating_sub(1);
        let mut won = self.store.won_in(situation.round, ADDED_UP).await?;
        if last < situation.round {
            won = won.saturating_add(self.store.won_in(last, ADDED_UP).await?);
        }
        let length = situation.round_length.max(1);
        let elapsed = situation.block.saturating_sub(situation.round_start).min(length);
        Ok(won.saturating_mul(U256::from(length)) / U256::from(length + elapsed))
    }

    /// Whether the recipient is active in this round and not in the next.
    async fn leaves(
        &self,
        recipient: Address,
        situation: &Situation,
        snapshot: &Snapshot,
    ) -> Result<bool, KeeperError> {
        let call = BondingManager::getTranscoderCall { transcoder_: recipient };
        let bonding = self.chain.contracts.bonding_manager;
        let end = match snapshot.view(bonding, call).await {
            Ok(record) => record.deactivationRound,
            Err(ChainError::Reverted { .. }) => return Ok(false),
            Err(err) => return Err(err.into()),
        };
        // "Never" is the largest number there is.
        let end = to_u64(end, "the deactivation round").unwrap_or(u64::MAX);
        Ok(situation.round.0 < end && end <= situation.round.0.saturating_add(1))
    }
}
