//! How chains differ: whose block number contracts see, whether there is a mempool, how often blocks come.
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ChainConfig, TxConfig};

/// Ethereum, its lasting test networks.
const L1_CHAINS: [u64; 3] = [1, 11_155_111, 560_048];
/// Arbitrum One, Nova, Sepolia.
const ARBITRUM_CHAINS: [u64; 3] = [42_161, 42_170, 421_614];

/// `chain.profile`: which habits of a chain to count on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainProfile {
    /// By the chain id; a chain that is not known counts as `l1`.
    #[default]
    Auto,
    /// A mempool in which the higher fee replaces the lower.
    L1,
    /// No mempool, no tips; contracts see the block number of L1, and an estimate of gas contains the share of L1.
    Arbitrum,
}

/// What `block.number` of contracts is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContractNumber {
    /// The block's own number.
    Own,
    /// `l1BlockNumber` of the header: without it a node's answer is useless.
    L1,
    /// `l1BlockNumber` where the header has it.
    L1IfTold,
}

/// A profile, for one chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    setting: ChainProfile,
    chain_id: u64,
}

impl Profile {
    pub(crate) const fn new(setting: ChainProfile, chain_id: u64) -> Self {
        Self { setting, chain_id }
    }

    fn is_arbitrum(self) -> bool {
        match self.setting {
            ChainProfile::Auto => ARBITRUM_CHAINS.contains(&self.chain_id),
            ChainProfile::L1 => false,
            ChainProfile::Arbitrum => true,
        }
    }

    pub(crate) fn contract_number(self) -> ContractNumber {
        match self.setting {
            ChainProfile::L1 => ContractNumber::Own,
            _ if self.is_arbitrum() => ContractNumber::L1,
            _ => ContractNumber::L1IfTold,
        }
    }

    /// Age from which the newest block shows that a node, or its chain, stands still. `None` where blocks come when they
    /// please, as on a chain for development.
    pub(crate) fn max_head_age(self, config: &ChainConfig) -> Option<Duration> {
        match config.max_head_age {
            age if !age.is_zero() => Some(age),
            _ if self.is_arbitrum() => Some(Duration::from_secs(15)),
            _ if L1_CHAINS.contains(&self.chain_id) => Some(Duration::from_secs(30)),
            _ => None,
        }
    }

    /// Blocks by which a node may be behind the others.
    pub(crate) fn max_lag(self, config: &ChainConfig) -> u64 {
        match config.max_lag_blocks {
            0 if self.is_arbitrum() => 40,
            0 => 3,
            blocks => blocks,
        }
    }

    /// Settings of transactions: without a mempool a tip buys nothing, and a raised fee replaces nothing.
    pub(crate) fn tx(self, config: &TxConfig) -> TxConfig {
        if !self.is_arbitrum() {
            return config.clone();
        }
        TxConfig { priority_fee_per_gas: 0, bump_after_blocks: 0, ..config.clone() }
    }

    /// Where nothing is raised: how long a transaction may wait before its gas is estimated anew and it is replaced.
    pub(crate) fn replace_after(self, config: &TxConfig) -> Option<Duration> {
        self.is_arbitrum().then_some(config.replace_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_goes_by_the_chain_id() {
        let profile = |chain_id| Profile::new(ChainProfile::Auto, chain_id);
        assert_eq!(profile(42_161).contract_number(), ContractNumber::L1);
        assert_eq!(profile(1).contract_number(), ContractNumber::L1IfTold);
        let config = ChainConfig::default();
        assert_eq!(profile(42_161).max_head_age(&config), Some(Duration::from_secs(15)));
        assert_eq!(profile(1).max_head_age(&config), Some(Duration::from_secs(30)));
        assert_eq!(profile(31_337).max_head_age(&config), None, "a chain for development mines when it likes");
        assert_eq!((profile(42_161).max_lag(&config), profile(1).max_lag(&config)), (40, 3));
        let patient = ChainConfig { max_head_age: Duration::from_secs(99), max_lag_blocks: 7, ..config };
        assert_eq!(profile(1).max_head_age(&patient), Some(Duration::from_secs(99)));
        assert_eq!(profile(42_161).max_lag(&patient), 7);
    }

    #[test]
    fn arbitrum_pays_no_tip_and_raises_nothing() {
        let config = TxConfig { priority_fee_per_gas: 5, bump_after_blocks: 3, ..TxConfig::default() };
        let arbitrum = Profile::new(ChainProfile::Arbitrum, 31_337);
        let adapted = arbitrum.tx(&config);
        assert_eq!((adapted.priority_fee_per_gas, adapted.bump_after_blocks), (0, 0));
        assert_eq!(arbitrum.replace_after(&config), Some(Duration::from_secs(120)));
        let l1 = Profile::new(ChainProfile::L1, 42_161);
        assert_eq!(l1.tx(&config), config);
        assert_eq!((l1.replace_after(&config), l1.contract_number()), (None, ContractNumber::Own));
    }
}
