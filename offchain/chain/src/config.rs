//! Settings of chain access.
use std::time::Duration;

use alloy::primitives::Address;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::ChainProfile;

/// `[chain]`: which node and deployment, and how patient to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChainConfig {
    /// JSON-RPC endpoint of an Ethereum node.
    pub rpc_url: Url,
    /// Address of Controller; the other contracts are found through it.
    pub controller: Option<Address>,
    /// Expected chain id; `None` accepts any.
    pub chain_id: Option<u64>,
    /// Further endpoints of the same chain, after `rpc_url`.
    pub rpc_urls: Vec<Url>,
    /// Which habits of the chain to count on.
    pub profile: ChainProfile,
    /// Endpoints that must agree before something is taken as settled for ever; 0 asks for more than half of them.
    pub quorum: usize,
    /// Blocks by which an endpoint may be behind the others before it is left; 0 leaves it to the profile.
    pub max_lag_blocks: u64,
    /// Age of the newest block from which an endpoint counts as stale; 0 leaves it to the chain.
    #[serde(with = "humantime_serde")]
    pub max_head_age: Duration,
    /// Time between two looks at every endpoint.
    #[serde(with = "humantime_serde")]
    pub check_interval: Duration,
    /// Whether blocks, logs and receipts are checked against the hashes that commit to them.
    pub verify: bool,
    /// Longest time to open a connection.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Longest time for one request.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// How often a request is repeated when the node limits the rate.
    pub rate_limit_retries: u32,
    /// Time between two looks at the head.
    #[serde(with = "humantime_serde")]
    pub poll_interval: Duration,
    /// Longest pause between two tries while the node does not answer.
    #[serde(with = "humantime_serde")]
    pub max_backoff: Duration,
    /// Blocks kept to recognise a reorganisation; a deeper one makes every consumer read the chain anew.
    pub history: usize,
    /// Senders whose funds are kept in memory.
    pub max_senders: usize,
    /// Transactions.
    pub tx: TxConfig,
}

impl Default for ChainConfig {
    fn default() -> Self {
        Self {
            rpc_url: default_rpc_url(),
            controller: None,
            chain_id: None,
            rpc_urls: Vec::new(),
            profile: ChainProfile::Auto,
            quorum: 0,
            max_lag_blocks: 0,
            max_head_age: Duration::ZERO,
            check_interval: Duration::from_secs(10),
            verify: true,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            rate_limit_retries: 3,
            poll_interval: Duration::from_secs(1),
            max_backoff: Duration::from_secs(15),
            history: 256,
            max_senders: 4096,
            tx: TxConfig::default(),
        }
    }
}

/// Where anvil and most nodes listen.
fn default_rpc_url() -> Url {
    match Url::parse("http://127.0.0.1:8545") {
        Ok(url) => url,
        Err(_) => unreachable!("a literal URL parses"),
    }
}

/// `[chain.tx]`: fees, confirmations, replacement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TxConfig {
    /// Blocks, the including one counted, after which an outcome is taken as final.
    pub confirmations: u64,
    /// Ceiling of the fee cap, wei per gas.
    pub max_fee_per_gas: u64,
    /// Tip, wei per gas. Arbitrum ignores it.
    pub priority_fee_per_gas: u64,
    /// Fee cap as a percentage of the base fee.
    pub base_fee_percent: u32,
    /// Blocks without inclusion after which the fees are raised; 0 (chains without a mempool) raises them only when the
    /// base fee has passed the cap.
    pub bump_after_blocks: u64,
    /// Percentage by which both caps are raised; nodes demand at least 10.
    pub bump_percent: u32,
    /// Without a mempool: how long a transaction may wait before its gas is estimated anew and it is replaced.
    #[serde(with = "humantime_serde")]
    pub replace_after: Duration,
    /// Percentage added to an estimate of gas.
    pub gas_headroom_percent: u32,
    /// Transactions of one key that may wait for inclusion together.
    pub max_in_flight: usize,
}

impl Default for TxConfig {
    fn default() -> Self {
        Self {
            confirmations: 1,
            max_fee_per_gas: 500_000_000_000,
            priority_fee_per_gas: 0,
            base_fee_percent: 200,
            bump_after_blocks: 3,
            bump_percent: 12,
            replace_after: Duration::from_secs(120),
            gas_headroom_percent: 20,
            max_in_flight: 16,
        }
    }
}

/// A setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("chain.{setting} must be at least {least}")]
    TooSmall { setting: &'static str, least: u64 },
    #[error("chain.quorum is {quorum}, but there are only {endpoints} endpoints")]
    Quorum { quorum: usize, endpoints: usize },
}

impl ChainConfig {
    /// Every endpoint once, `rpc_url` first.
    pub(crate) fn endpoints(&self) -> Vec<Url> {
        let mut urls = vec![self.rpc_url.clone()];
        for url in &self.rpc_urls {
            if !urls.contains(url) {
                urls.push(url.clone());
            }
        }
        urls
    }

    /// # Errors
    ///
    /// The first setting that cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let least = |setting, value: u64, least| {
            if value < least { Err(ConfigError::TooSmall { setting, least }) } else { Ok(()) }
        };
        least("history", self.history as u64, 2)?;
        least("max_senders", self.max_senders as u64, 1)?;
        let endpoints = self.endpoints().len();
        if self.quorum > endpoints {
            return Err(ConfigError::Quorum { quorum: self.quorum, endpoints });
        }
        if self.check_interval.is_zero() {
            return Err(ConfigError::TooSmall { setting: "check_interval", least: 1 });
        }
        if self.poll_interval.is_zero() || self.request_timeout.is_zero() || self.connect_timeout.is_zero() {
            return Err(ConfigError::TooSmall {
                setting: "poll_interval, request_timeout and connect_timeout",
                least: 1,
            });
        }
        least("tx.confirmations", self.tx.confirmations, 1)?;
        least("tx.base_fee_percent", self.tx.base_fee_percent.into(), 100)?;
        least("tx.bump_percent", self.tx.bump_percent.into(), 10)?;
        least("tx.max_in_flight", self.tx.max_in_flight as u64, 1)?;
        least("tx.max_fee_per_gas", self.tx.max_fee_per_gas, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_is_valid_and_survives_serialisation() {
        let config = ChainConfig::default();
        assert_eq!(config.validate(), Ok(()));
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<ChainConfig>(&text).unwrap(), config);
        assert_eq!(config.rpc_url.as_str(), "http://127.0.0.1:8545/");
    }

    #[test]
    fn unknown_key_and_useless_value_are_refused() {
        assert!(serde_json::from_str::<ChainConfig>(r#"{"rpc":"http://x"}"#).is_err());
        let mut config = ChainConfig::default();
        config.tx.bump_percent = 9;
        assert_eq!(config.validate(), Err(ConfigError::TooSmall { setting: "tx.bump_percent", least: 10 }));
    }

    #[test]
    fn more_endpoints_must_agree_than_there_are_is_refused() {
        let url = |host: &str| Url::parse(&format!("http://{host}")).unwrap();
        let mut config =
            ChainConfig { rpc_urls: vec![url("b"), url("b"), default_rpc_url()], ..ChainConfig::default() };
        assert_eq!(config.endpoints(), [default_rpc_url(), url("b")], "each once, the single setting first");
        config.quorum = 2;
        assert_eq!(config.validate(), Ok(()));
        config.quorum = 3;
        assert_eq!(config.validate(), Err(ConfigError::Quorum { quorum: 3, endpoints: 2 }));
    }
}
