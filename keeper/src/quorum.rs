//! What most endpoints say, for decisions that cannot be taken back (docs/designs/019-endpoints.md): that a ticket can never
//! be paid, that a payout is final, that it has left the chain. While the endpoints do not agree, the decision waits.

use alloy::{
    eips::BlockId,
    primitives::{Address, Bytes, U256, hex},
    providers::Provider,
    rpc::types::TransactionRequest,
    sol_types::SolCall,
};
use streamflow_bindings::{RoundsManager, TicketBroker};
use streamflow_chain::{Chain, ChainError, redeem_call};
use streamflow_store::TicketRecord;
use streamflow_types::Round;

use crate::{
    metrics,
    number::to_u64,
    planner::Situation,
    verdict::{Verdict, classify},
};

/// Blocks below the head at which a block is looked for that most endpoints have: some are always a little behind, on Arbitrum
/// up to 40 blocks of a quarter of a second (`chain.max_lag_blocks`).
const BEHIND: [u64; 5] = [0, 1, 4, 16, 64];

/// Code that gives `block.number` when it is run to create a contract: NUMBER, kept at 0, 32 bytes from there.
const BLOCK_NUMBER: [u8; 9] = hex!("4360005260206000f3");

/// The state of a block that most endpoints have, as most of them tell it.
#[derive(Clone, Debug)]
pub(crate) struct Quorum {
    /// Every question goes to all endpoints.
    pub(crate) chain: Chain,
    /// Newest block that most of them have. Depth counts from here: one endpoint alone could make up a head.
    pub(crate) newest: u64,
}

impl Quorum {
    /// At `head` or a little below. `None` while the endpoints do not agree.
    pub(crate) async fn find(chain: &Chain, head: u64) -> Option<Self> {
        let chain = Chain { rpc: chain.rpc.agreed(), ..chain.clone() };
        for behind in BEHIND {
            let Some(number) = head.checked_sub(behind) else { break };
            let round = RoundsManager::currentRoundCall {};
            // Asked for a state, an endpoint without the block says nothing; asked for the block it would say that there is none.
            match chain.rpc.view(chain.contracts.rounds_manager, round, BlockId::number(number)).await {
                Ok(_) => return Some(Self { chain, newest: number }),
                Err(err) => tracing::debug!(%err, block = number, "most endpoints tell no state of this block"),
            }
        }
        undecided(&"no block that most endpoints have");
        None
    }

    /// What a view of the contract at `to` gives after `block`. `None` while most endpoints do not say the same.
    pub(crate) async fn view<C: SolCall>(&self, to: Address, call: C, block: u64) -> Option<C::Return> {
        self.chain.rpc.view(to, call, BlockId::number(block)).await.inspect_err(|err| undecided(err)).ok()
    }

    /// Whether the ticket is used.
    pub(crate) async fn is_used(&self, record: &TicketRecord, block: u64) -> Option<bool> {
        let call = TicketBroker::usedTicketsCall { ticketHash: record.hash };
        self.view(self.chain.contracts.ticket_broker, call, block).await
    }

    /// Whether the ticket was set aside.
    pub(crate) async fn is_aside(&self, record: &TicketRecord, block: u64) -> Option<bool> {
        let call = TicketBroker::isSetAsideCall { ticketHash: record.hash };
        self.view(self.chain.contracts.ticket_broker, call, block).await
    }

    /// The mark of the ticket's sender for its recipient.
    pub(crate) async fn mark(&self, record: &TicketRecord, block: u64) -> Option<U256> {
        self.told_mark(record, block).await.inspect_err(|err| undecided(err)).ok()
    }

    /// The same, or why it cannot be told: contracts without the ordered call have none.
    pub(crate) async fn told_mark(&self, record: &TicketRecord, block: u64) -> Result<U256, ChainError> {
        let ticket = &record.ticket.signed.ticket;
        let call = TicketBroker::redemptionMarkCall { recipient: ticket.recipient, sender: ticket.sender };
        self.chain.rpc.view(self.chain.contracts.ticket_broker, call, BlockId::number(block)).await
    }

    /// Oldest creation round that can be redeemed after `block`.
    pub(crate) async fn oldest_round(&self, block: u64) -> Option<Round> {
        let contracts = &self.chain.contracts;
        let round = self.view(contracts.rounds_manager, RoundsManager::currentRoundCall {}, block).await?;
        let validity = self.view(contracts.ticket_broker, TicketBroker::ticketValidityPeriodCall {}, block).await?;
        let validity = to_u64(validity, "the ticket validity period").ok()?;
        Some(Round(to_u64(round, "the round").ok()?).next().saturating_sub(validity))
    }

    /// Where the protocol stands at the newest block.
    pub(crate) async fn situation(&self) -> Option<Situation> {
        let (rounds, broker) = (self.chain.contracts.rounds_manager, self.chain.contracts.ticket_broker);
        let (block, round, start, length, validity) = tokio::join!(
            self.contract_number(),
            self.view(rounds, RoundsManager::currentRoundCall {}, self.newest),
            self.view(rounds, RoundsManager::currentRoundStartBlockCall {}, self.newest),
            self.view(rounds, RoundsManager::roundLengthCall {}, self.newest),
            self.view(broker, TicketBroker::ticketValidityPeriodCall {}, self.newest),
        );
        Some(Situation {
            block: block?,
            round: Round(to_u64(round?, "the round").ok()?),
            round_start: to_u64(start?, "the start of the round").ok()?,
            round_length: to_u64(length?, "the length of the round").ok()?,
            validity: to_u64(validity?, "the ticket validity period").ok()?,
        })
    }

    /// Number of the newest block as the contracts see it. Where that is another chain's, no hash vouches for what a header
    /// tells of it, so it is asked of a call.
    async fn contract_number(&self) -> Option<u64> {
        let request = TransactionRequest::default().input(Bytes::from_static(&BLOCK_NUMBER).into());
        let asked = self.chain.rpc.provider().call(request).block(BlockId::number(self.newest)).await;
        let word = asked.inspect_err(|err| undecided(err)).ok()?;
        to_u64(U256::try_from_be_slice(&word)?, "the block number").ok()
    }

    /// Whether most endpoints refuse the ticket for a reason that stays.
    pub(crate) async fn refuses_for_ever(&self, record: &TicketRecord) -> bool {
        let broker = self.chain.contracts.ticket_broker;
        match self.chain.rpc.view(broker, redeem_call(&record.ticket), BlockId::number(self.newest)).await {
            Err(ChainError::Reverted { reason, .. }) => classify(reason.data()) == Verdict::Dead,
            Err(err) => {
                undecided(&err);
                false
            }
            Ok(_) => false,
        }
    }
}

pub(crate) fn undecided(why: &dyn std::fmt::Display) {
    tracing::info!(%why, "the chain RPCs do not agree; what cannot be taken back waits");
    metrics::undecided();
}

#[cfg(test)]
mod tests {
    use streamflow_chain::ChainConfig;
    use streamflow_testkit::Deployment;

    use super::*;

    #[tokio::test]
    async fn a_block_that_most_have_is_found_below_the_head_of_one_that_is_as_far_ahead_as_it_may_be() {
        const MOST: u64 = 40;
        let deployment = Deployment::start().await.unwrap();
        deployment.anvil.mine(2 * MOST).await.unwrap();
        let config = ChainConfig {
            rpc_url: deployment.anvil.url(),
            controller: Some(deployment.contracts.controller),
            ..ChainConfig::default()
        };
        let chain = streamflow_chain::connect(&config).await.unwrap();
        let known = deployment.anvil.block_number().await.unwrap();
        let quorum = Quorum::find(&chain, known + MOST).await.unwrap();
        let situation = quorum.situation().await.unwrap();
        assert_eq!((situation.block, situation.round_length), (quorum.newest, 50));
        assert!(quorum.newest <= known && quorum.newest + 2 * MOST > known + MOST, "{}", quorum.newest);
    }
}
