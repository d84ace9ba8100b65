//! Settings of the service.
use std::{net::SocketAddr, path::PathBuf, time::Duration};

use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

/// `[keeper.redeemer]`: redeeming for orchestrators that run elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedeemerConfig {
    /// Where the service listens. Unset: there is none.
    pub listen: Option<SocketAddr>,
    /// Whose tickets are taken. Unset: those of the keeper's own account.
    pub recipient: Option<Address>,
    /// File with the token that callers must present; surrounding white space is ignored. Only a service on loopback may do
    /// without.
    pub token_file: Option<PathBuf>,
    /// Open connections.
    pub max_connections: usize,
    /// Tickets that are checked and stored at a time.
    pub max_tickets: usize,
    /// Streams of floats open at a time.
    pub max_subscribers: usize,
    /// A stream whose reader takes nothing for this time is closed.
    #[serde(with = "humantime_serde")]
    pub subscriber_idle: Duration,
    /// Longest silence on a stream: the float is told again though it has not changed.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// Time between two looks at what is pending, besides those after each block and each ticket.
    #[serde(with = "humantime_serde")]
    pub refresh: Duration,
}

impl Default for RedeemerConfig {
    fn default() -> Self {
        Self {
            listen: None,
            recipient: None,
            token_file: None,
            max_connections: 64,
            max_tickets: 64,
            max_subscribers: 1_024,
            subscriber_idle: Duration::from_secs(60),
            heartbeat: Duration::from_secs(20),
            refresh: Duration::from_secs(1),
        }
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Anybody could have the keeper store tickets, and learn what senders are good for.
    #[error("keeper.redeemer.listen {0} is not loopback: set keeper.redeemer.token_file")]
    Open(SocketAddr),
    /// A bound or time of zero refuses everything.
    #[error("keeper.redeemer.{0} must be more than 0")]
    Zero(&'static str),
}

impl RedeemerConfig {
    /// # Errors
    /// The first setting that cannot be used.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if let Some(listen) = self.listen
            && !listen.ip().is_loopback()
            && self.token_file.is_none()
        {
            return Err(ConfigError::Open(listen));
        }
        let zero = [
            ("max_connections", self.max_connections == 0),
            ("max_tickets", self.max_tickets == 0),
            ("max_subscribers", self.max_subscribers == 0),
            ("subscriber_idle", self.subscriber_idle.is_zero()),
            ("heartbeat", self.heartbeat.is_zero()),
            ("refresh", self.refresh.is_zero()),
        ];
        zero.iter().find(|(_, is_zero)| *is_zero).map_or(Ok(()), |(name, _)| Err(ConfigError::Zero(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_port_needs_a_token() {
        let mut config = RedeemerConfig::default();
        assert_eq!(config.validate(), Ok(()));
        for loopback in ["127.0.0.1:8935", "[::1]:8935"] {
            config.listen = loopback.parse().ok();
            assert_eq!(config.validate(), Ok(()));
        }
        for public in ["0.0.0.0:8935", "192.168.1.2:8935", "[::]:8935"] {
            let address = public.parse().unwrap();
            config.listen = Some(address);
            assert_eq!(config.validate(), Err(ConfigError::Open(address)));
            let closed = RedeemerConfig { token_file: Some("token".into()), ..config.clone() };
            assert_eq!(closed.validate(), Ok(()));
        }
    }

    #[test]
    fn a_bound_of_zero_is_named() {
        let none = RedeemerConfig { max_subscribers: 0, ..Default::default() };
        assert_eq!(none.validate(), Err(ConfigError::Zero("max_subscribers")));
        let never = RedeemerConfig { refresh: Duration::ZERO, ..Default::default() };
        assert_eq!(never.validate(), Err(ConfigError::Zero("refresh")));
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(serde_json::from_str::<RedeemerConfig>(r#"{"tokenfile":"x"}"#).is_err());
    }
}
