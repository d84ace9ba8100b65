//! Settings of the keeper.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use streamflow_redeemer::RedeemerConfig;

use crate::economics::PPM;

/// `[keeper]`: when to redeem, how much at once, and which duties to take on. Block counts are blocks as the contracts
/// see them (L1 blocks on Arbitrum).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeeperConfig {
    /// Longest time between two looks at the store while no new block arrives.
    #[serde(with = "humantime_serde")]
    pub sweep_interval: Duration,
    /// Pause after a failure of the node or the database.
    #[serde(with = "humantime_serde")]
    pub retry_interval: Duration,
    /// How long a stop waits for transactions on their way. What is not known then is picked up at the next start.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// How long a keeper leads without being heard of, so that another may take over. It is renewed at a third of this.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// Most tickets in one transaction.
    pub max_batch: u32,
    /// Longest that a ticket waits for others, in blocks. Mostly it goes sooner: as soon as the batch is worth what
    /// `risk_ppm_per_round` and the gas price ask for.
    pub gather_blocks: u64,
    /// What a pending winner loses per round, in parts per million: the chance that its sender can not pay any more, and
    /// the cost of waiting. More for a sender that owes much of its deposit.
    pub risk_ppm_per_round: u64,
    /// How long gas that is dearer than usual is taken to stay so, in blocks: it is waited out when that saves more than the
    /// risk costs in the meantime. 0 never waits.
    pub defer_blocks: u64,
    /// Blocks, as the node counts them, whose median gas price is the usual one.
    pub fee_history_blocks: u64,
    /// Blocks after the params' expiry before the secret number is shown to the chain, so that an orchestrator whose head
    /// is behind has stopped accepting tickets on them: a winner that is stored later than its batch is lost. They should
    /// take `orchestrator.max_chain_age` at least. The orchestrator reads this setting too.
    pub expiry_margin_blocks: u64,
    /// What a redemption must pay above its gas, in percent of the gas cost.
    pub margin_percent: u32,
    /// Last part of a ticket's last valid round, in percent, in which the margin falls from `margin_percent` to nothing.
    pub escalation_percent: u8,
    /// Blocks before the end of a ticket's last valid round from which on it is redeemed at any gain, so that there is time
    /// left for it to be mined. At most a quarter of a round.
    pub deadline_blocks: u64,
    /// Blocks before a ticket that could not be paid is looked at again.
    pub retry_blocks: u64,
    /// How many blocks back the event of a redemption by somebody else is searched.
    pub log_lookback_blocks: u64,
    /// Blocks, as the node counts them, after which a payout is looked up once more. Until then a reorganisation may take
    /// it back; after that it counts as final.
    pub finality_blocks: u64,
    /// Whether to initialise rounds.
    pub initialize_rounds: bool,
    /// Blocks between the turns of two orchestrators that could initialise a round.
    pub initialize_slot_blocks: u64,
    /// Whether to call `reward`.
    pub reward: bool,
    /// How long redemptions wait for a reward call that is under way.
    #[serde(with = "humantime_serde")]
    pub reward_head_start: Duration,
    /// Redeeming for orchestrators that run elsewhere.
    pub redeemer: RedeemerConfig,
}

impl Default for KeeperConfig {
    fn default() -> Self {
        Self {
            sweep_interval: Duration::from_secs(30),
            retry_interval: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(10),
            lease: Duration::from_secs(30),
            max_batch: 50,
            gather_blocks: 1_800,
            risk_ppm_per_round: 10_000,
            defer_blocks: 300,
            fee_history_blocks: 7_200,
            expiry_margin_blocks: 10,
            margin_percent: 25,
            escalation_percent: 25,
            deadline_blocks: 100,
            retry_blocks: 5,
            log_lookback_blocks: 50_000,
            finality_blocks: 64,
            initialize_rounds: true,
            initialize_slot_blocks: 2,
            reward: true,
            reward_head_start: Duration::from_secs(60),
            redeemer: RedeemerConfig::default(),
        }
    }
}

/// A setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Below what can work.
    #[error("keeper.{setting} must be at least {least}")]
    TooSmall {
        /// Name of the setting.
        setting: &'static str,
        /// Smallest value that works.
        least: u64,
    },
    /// A time below what can work.
    #[error("keeper.{setting} must be at least {least:?}")]
    TooShort {
        /// Name of the setting.
        setting: &'static str,
        /// Shortest time that works.
        least: Duration,
    },
    /// Above what can work.
    #[error("keeper.{setting} must be at most {most}")]
    TooLarge {
        /// Name of the setting.
        setting: &'static str,
        /// Largest value that works.
        most: u64,
    },
    /// Of the service for orchestrators that run elsewhere.
    #[error(transparent)]
    Redeemer(#[from] streamflow_redeemer::ConfigError),
}

/// What is planned and simulated at once. How many of them go into one transaction, its gas decides: deployed contracts take
/// about 84,000 gas per ticket (contracts.md §11), so that 199 fit; an ordered batch takes 9,000 to 23,000, and a gas limit
/// of 25,000 per ticket on top.
const MOST_PER_BATCH: u32 = 300;
/// A week of blocks on L1.
const MOST_FEE_HISTORY: u64 = 50_400;

/// A third of it must be enough for the database to answer.
const LEAST_LEASE: Duration = Duration::from_secs(1);

impl KeeperConfig {
    /// # Errors
    /// The first setting that cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let least = |setting, value: u64, least| {
            if value < least { Err(ConfigError::TooSmall { setting, least }) } else { Ok(()) }
        };
        let most = |setting, value: u64, most| {
            if value > most { Err(ConfigError::TooLarge { setting, most }) } else { Ok(()) }
        };
        for (setting, value) in [("sweep_interval", self.sweep_interval), ("retry_interval", self.retry_interval)] {
            if value.is_zero() {
                return Err(ConfigError::TooSmall { setting, least: 1 });
            }
        }
        if self.lease < LEAST_LEASE {
            return Err(ConfigError::TooShort { setting: "lease", least: LEAST_LEASE });
        }
        least("max_batch", self.max_batch.into(), 1)?;
        most("max_batch", self.max_batch.into(), MOST_PER_BATCH.into())?;
        most("risk_ppm_per_round", self.risk_ppm_per_round, PPM)?;
        least("fee_history_blocks", self.fee_history_blocks, 1)?;
        most("fee_history_blocks", self.fee_history_blocks, MOST_FEE_HISTORY)?;
        least("expiry_margin_blocks", self.expiry_margin_blocks, 1)?;
        least("retry_blocks", self.retry_blocks, 1)?;
        most("escalation_percent", self.escalation_percent.into(), 100)?;
        least("log_lookback_blocks", self.log_lookback_blocks, 1)?;
        Ok(self.redeemer.validate()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        assert_eq!(KeeperConfig::default().validate(), Ok(()));
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(serde_json::from_str::<KeeperConfig>(r#"{"max_batches":1}"#).is_err());
        let config: KeeperConfig = serde_json::from_str(r#"{"sweep_interval":"2s","max_batch":7}"#).unwrap();
        assert_eq!((config.sweep_interval, config.max_batch), (Duration::from_secs(2), 7));
    }

    #[test]
    fn a_setting_that_cannot_work_is_named() {
        let with = |change: fn(&mut KeeperConfig)| {
            let mut config = KeeperConfig::default();
            change(&mut config);
            config.validate()
        };
        let open = "0.0.0.0:8936".parse().unwrap();
        let redeemer = RedeemerConfig { listen: Some(open), ..RedeemerConfig::default() };
        let mut public = KeeperConfig { redeemer, ..KeeperConfig::default() };
        assert_eq!(public.validate(), Err(ConfigError::Redeemer(streamflow_redeemer::ConfigError::Open(open))));
        public.redeemer.token_file = Some("token".into());
        assert_eq!(public.validate(), Ok(()));
        assert_eq!(with(|c| c.max_batch = 0), Err(ConfigError::TooSmall { setting: "max_batch", least: 1 }));
        assert_eq!(with(|c| c.max_batch = 301), Err(ConfigError::TooLarge { setting: "max_batch", most: 300 }));
        assert_eq!(
            with(|c| c.risk_ppm_per_round = 1_000_001),
            Err(ConfigError::TooLarge { setting: "risk_ppm_per_round", most: 1_000_000 })
        );
        assert_eq!(
            with(|c| c.fee_history_blocks = 0),
            Err(ConfigError::TooSmall { setting: "fee_history_blocks", least: 1 })
        );
        assert_eq!(
            with(|c| c.escalation_percent = 101),
            Err(ConfigError::TooLarge { setting: "escalation_percent", most: 100 })
        );
        assert_eq!(
            with(|c| c.sweep_interval = Duration::ZERO),
            Err(ConfigError::TooSmall { setting: "sweep_interval", least: 1 })
        );
        let least = LEAST_LEASE;
        assert_eq!(with(|c| c.lease = LEAST_LEASE / 2), Err(ConfigError::TooShort { setting: "lease", least }));
    }
}
