//! What roles must know of the chain.
use alloy_primitives::{B256, U256};
use serde::{Deserialize, Serialize};

use crate::Round;

/// The chain as a role sees it at one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainView {
    /// Newest block number, as the contracts see it (the L1 block on Arbitrum).
    pub block: u64,
    /// Last *initialised* round.
    pub round: Round,
    /// Block hash that the contracts stored for `round`; tickets commit to it.
    pub round_block_hash: B256,
    /// Whether the current round is initialised. If not, `round` is an earlier one.
    pub round_initialized: bool,
    /// Number of active orchestrators: each is guaranteed an equal share of a reserve.
    pub pool_size: u64,
    /// Base fee of the newest block, wei per gas.
    pub base_fee: u128,
}

/// What a sender has in TicketBroker, all amounts in wei, as one recipient sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderFunds {
    /// Spendable by any winning ticket.
    pub deposit: U256,
    /// Round from which the sender may withdraw; 0 while locked.
    pub withdraw_round: Round,
    /// Reserve that is left.
    pub reserve: U256,
    /// Taken from the reserve in the current round, by all recipients.
    pub claimed_in_current_round: U256,
    /// Taken from the reserve in the current round by this recipient.
    pub claimed_by_recipient: U256,
    /// Number of recipients who share the reserve.
    pub pool_size: u64,
    /// Reserve beside all that, committed to this recipient alone; without what the sender is taking back.
    pub committed: U256,
}
