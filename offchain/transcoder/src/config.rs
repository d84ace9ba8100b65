//! Settings of the transcoder.
use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use streamflow_nats::{NatsConfig, NatsConfigError};
use streamflow_types::Secret;
use url::Url;

/// Settings of a transcoder that works for a remote orchestrator, which they have to name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TranscoderConfig {
    /// Where the orchestrator listens.
    pub orchestrator: Option<Url>,
    /// The server of a pool that several orchestrators share, instead of `orchestrator`.
    pub nats: NatsConfig,
    /// What the orchestrator wants to see.
    pub secret: Secret,
    /// File that holds the secret, instead of `secret`; surrounding white space is ignored.
    pub secret_file: Option<PathBuf>,
    /// Streams taken at a time.
    pub capacity: usize,
    /// Largest segment that is downloaded, bytes.
    pub max_segment_bytes: u64,
    /// Time to reach the orchestrator.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Time to download a segment.
    #[serde(with = "humantime_serde")]
    pub fetch_timeout: Duration,
    /// Time to upload the renditions.
    #[serde(with = "humantime_serde")]
    pub post_timeout: Duration,
    /// Time between two probes of a silent connection. One without an answer for four times as long is gone.
    #[serde(with = "humantime_serde")]
    pub keep_alive: Duration,
    /// First pause before connecting again; doubles each time.
    #[serde(with = "humantime_serde")]
    pub min_backoff: Duration,
    /// Longest pause before connecting again.
    #[serde(with = "humantime_serde")]
    pub max_backoff: Duration,
    /// Time that segments in flight get when the node stops.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
}

impl Default for TranscoderConfig {
    fn default() -> Self {
        Self {
            orchestrator: None,
            nats: NatsConfig::default(),
            secret: Secret::default(),
            secret_file: None,
            capacity: 4,
            max_segment_bytes: 300_000_000,
            connect_timeout: Duration::from_secs(3),
            fetch_timeout: Duration::from_secs(4),
            post_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(2),
            min_backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Whom to work for.
    #[error("neither orchestrator nor nats.url is set")]
    NoOrchestrator,
    /// Two to work for.
    #[error("set either orchestrator or nats.url, not both")]
    TwoOrchestrators,
    /// The NATS server.
    #[error(transparent)]
    Nats(#[from] NatsConfigError),
    /// Only these can be dialled.
    #[error("orchestrator {0} is not an https URL with a host")]
    Orchestrator(Url),
    /// Nothing would be accepted.
    #[error("neither secret nor secret_file is set")]
    NoSecret,
    /// Two sources of one secret.
    #[error("set either secret or secret_file, not both")]
    TwoSecrets,
    /// A bound or time of zero refuses everything.
    #[error("{0} must be more than 0")]
    Zero(&'static str),
    /// Pauses would shrink.
    #[error("min_backoff must not be more than max_backoff")]
    Backoff,
}

impl TranscoderConfig {
    /// Whether the node can start with these settings.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.nats.validate()?;
        match (&self.orchestrator, &self.nats.url) {
            (None, None) => return Err(ConfigError::NoOrchestrator),
            (Some(_), Some(_)) => return Err(ConfigError::TwoOrchestrators),
            (Some(orchestrator), None) if orchestrator.scheme() != "https" || !orchestrator.has_host() => {
                return Err(ConfigError::Orchestrator(orchestrator.clone()));
            }
            _ => {}
        }
        match (self.secret.is_empty(), self.secret_file.is_some()) {
            (true, false) => return Err(ConfigError::NoSecret),
            (false, true) => return Err(ConfigError::TwoSecrets),
            _ => {}
        }
        if self.capacity == 0 {
            return Err(ConfigError::Zero("capacity"));
        }
        if self.max_segment_bytes == 0 {
            return Err(ConfigError::Zero("max_segment_bytes"));
        }
        let times = [
            ("connect_timeout", self.connect_timeout),
            ("fetch_timeout", self.fetch_timeout),
            ("post_timeout", self.post_timeout),
            ("keep_alive", self.keep_alive),
            ("min_backoff", self.min_backoff),
            ("drain_timeout", self.drain_timeout),
        ];
        if let Some((name, _)) = times.iter().find(|(_, time)| time.is_zero()) {
            return Err(ConfigError::Zero(name));
        }
        if self.min_backoff > self.max_backoff { Err(ConfigError::Backoff) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TranscoderConfig {
        let orchestrator = "https://127.0.0.1:8935".parse().ok();
        TranscoderConfig { orchestrator, secret: Secret::new("s"), ..Default::default() }
    }

    #[test]
    fn address_and_secret_are_all_that_the_defaults_lack() {
        assert_eq!(config().validate(), Ok(()));
        assert_eq!(TranscoderConfig::default().validate(), Err(ConfigError::NoOrchestrator));
        let no_secret = TranscoderConfig { secret: Secret::default(), ..config() };
        assert_eq!(no_secret.validate(), Err(ConfigError::NoSecret));
    }

    #[test]
    fn contradictions_are_refused() {
        let refusal = |change: fn(&mut TranscoderConfig)| {
            let mut config = config();
            change(&mut config);
            config.validate().unwrap_err()
        };
        assert_eq!(refusal(|c| c.secret_file = Some("f".into())), ConfigError::TwoSecrets);
        assert_eq!(refusal(|c| c.nats.url = "nats://h".parse().ok()), ConfigError::TwoOrchestrators);
        assert_eq!(refusal(|c| c.nats.url = "http://h".parse().ok()), ConfigError::Nats(NatsConfigError::Url));
        assert_eq!(refusal(|c| c.capacity = 0), ConfigError::Zero("capacity"));
        assert_eq!(refusal(|c| c.fetch_timeout = Duration::ZERO), ConfigError::Zero("fetch_timeout"));
        assert_eq!(refusal(|c| c.min_backoff = Duration::from_secs(61)), ConfigError::Backoff);
        assert!(matches!(
            refusal(|c| c.orchestrator = "http://127.0.0.1:1".parse().ok()),
            ConfigError::Orchestrator(_)
        ));
    }

    #[test]
    fn settings_are_written_and_read() {
        let text = "orchestrator = \"https://o.example:8935\"\nsecret_file = \"secret\"\nfetch_timeout = \"4s\"";
        let config: TranscoderConfig = toml::from_str(text).unwrap();
        assert_eq!(config.validate(), Ok(()));
        assert!(toml::to_string(&config).unwrap().contains("fetch_timeout = \"4s\""));
        assert!(toml::from_str::<TranscoderConfig>("orchestrater = \"https://o\"").is_err());
    }
}
