//! Settings of the orchestrator.
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use alloy_primitives::{Address, U256};
use serde::{Deserialize, Serialize};
use streamflow_nats::{NatsConfig, NatsConfigError};
use streamflow_pm::MAX_TICKETS;
use streamflow_types::{Price, Secret};
use url::Url;

use crate::{
    jobs::JobsConfig,
    price_feed::{PriceFeedConfig, PriceFeedError},
    quotas::QuotaConfig,
};

/// A quote is long dead a day after the secret that made it was replaced.
const LEAST_SECRET_LIFE: Duration = Duration::from_secs(24 * 3600);

/// No chain takes more blocks back while anybody is left to quote.
const MAX_ROUND_DEPTH: u64 = 256;

/// Settings of the orchestrator. The defaults run on a laptop.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrchestratorConfig {
    /// Where the TLS port listens.
    pub listen: SocketAddr,
    /// Where broadcasters and transcoders reach this node, as in the service registry. Unset: the bound address.
    pub service_uri: Option<Url>,
    /// Asked for each encoded pixel. Ignored without a chain: work is free then.
    pub price: Price,
    /// Asked of single accounts instead.
    pub prices: BTreeMap<Address, Price>,
    /// The price in another currency, in place of `price`.
    pub price_feed: PriceFeedConfig,
    /// Asked whether an account is served, and at what price: `POST {"id":"0x…"}`. Unset: everybody is.
    pub auth_webhook: Option<Url>,
    /// Terms of the tickets that are accepted.
    pub tickets: TicketConfig,
    /// Transcode sessions with work at a time, or "auto": as many as the devices keep up with.
    pub max_sessions: MaxSessions,
    /// Which sessions the devices keep up with.
    pub admission: AdmissionConfig,
    /// Segments that wait in one session while another is transcoded.
    pub session_queue: usize,
    /// A session without segments is closed after this time.
    #[serde(with = "humantime_serde")]
    pub session_idle: Duration,
    /// Balances of a session that nobody used for this time are dropped.
    #[serde(with = "humantime_serde")]
    pub balance_idle: Duration,
    /// What remote transcoders must present. Unset: none may register.
    pub transcoder_secret: Secret,
    /// File that holds the secret, instead of `transcoder_secret`; surrounding white space is ignored.
    pub transcoder_secret_file: Option<PathBuf>,
    /// The server of a pool that other orchestrators share. Remote transcoders may connect directly as well.
    pub nats: NatsConfig,
    /// Remote transcoders connected at a time.
    pub max_transcoders: usize,
    /// Whether a broadcaster may send the URL of a segment instead of its bytes. The URL is fetched from this machine.
    pub fetch_segments_by_url: bool,
    /// Whether a broadcaster may have its renditions put into a store of its own, by an upload policy. This machine sends
    /// them wherever the broadcaster says.
    pub deliver_to_sender_stores: bool,
    /// Where broadcasters reach other instances of the same operator.
    pub nodes: Vec<Url>,
    /// Chain state that has not changed for this time is too old to take payments on.
    #[serde(with = "humantime_serde")]
    pub max_chain_age: Duration,
    /// Another node that redeems the winners, `https://host:port`. Unset: a keeper that shares this node's database does.
    pub redeemer: Option<Url>,
    /// File with the token that it wants to see; surrounding white space is ignored.
    pub redeemer_token_file: Option<PathBuf>,
    /// File with its certificate, PEM. Unset: any is taken, as peers do.
    pub redeemer_certificate_file: Option<PathBuf>,
    /// What one sender may ask of this node.
    pub quotas: QuotaConfig,
    /// Renditions kept for download.
    pub storage: StorageConfig,
    /// Bounds on connections and bodies.
    pub limits: LimitsConfig,
    /// The protocol of 2018.
    pub jobs_2018: JobsConfig,
}

/// Bound on the transcode sessions with work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaxSessions {
    /// By measured load alone.
    #[default]
    Auto,
    /// No more than this, whatever was measured.
    AtMost(usize),
}

impl MaxSessions {
    /// The bound, if there is one.
    pub const fn bound(self) -> Option<usize> {
        match self {
            Self::Auto => None,
            Self::AtMost(max) => Some(max),
        }
    }
}

impl Serialize for MaxSessions {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str(AUTO),
            Self::AtMost(max) => serializer.serialize_u64(*max as u64),
        }
    }
}

impl<'de> Deserialize<'de> for MaxSessions {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a number of sessions or \"auto\"")]
        enum Written {
            Number(usize),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(max) => Ok(Self::AtMost(max)),
            Written::Text(text) if text == AUTO => Ok(Self::Auto),
            // From the environment a number comes as text.
            Written::Text(text) => text.parse().map(Self::AtMost).map_err(|_| {
                serde::de::Error::invalid_value(serde::de::Unexpected::Str(&text), &"a number of sessions or \"auto\"")
            }),
        }
    }
}

/// How [`MaxSessions::Auto`] is written.
const AUTO: &str = "auto";

/// Which sessions the devices keep up with.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdmissionConfig {
    /// Time of transcoding over time of video up to which a device takes sessions.
    pub max_ratio: f64,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self { max_ratio: 0.8 }
    }
}

/// Terms of the tickets that are accepted (payments.md §1.4).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TicketConfig {
    /// Expected value of one ticket, wei.
    #[serde(with = "crate::wei")]
    pub ev: U256,
    /// Gas that redeeming one ticket takes, until our own redemptions tell; what they tell is bounded by it.
    pub redeem_gas: u64,
    /// Face value over the cost of redemption.
    pub tx_cost_multiplier: u64,
    /// Gas price below which the face value does not follow the base fee, wei per gas.
    pub min_gas_price: u64,
    /// Largest face value, wei; 0 sets no limit.
    #[serde(with = "crate::wei")]
    pub max_face_value: U256,
    /// Parts that a sender's deposit is divided into, one of which is counted on beside the share of its reserve; never more
    /// than there are active orchestrators, and 0 sets no other limit. 1: all of it, as the deployed network does.
    pub deposit_divisor: u64,
    /// Blocks for which quoted terms stay valid.
    pub params_life_blocks: u64,
    /// Blocks that must lie upon the first block of a round before quotes name it; the round before is named until then.
    /// Unset: as the chain needs it. Whoever makes the view of the chain sees to it.
    pub round_depth_blocks: Option<u64>,
    /// Tickets of one sender checked in a second, in the long run.
    pub max_per_second: u32,
    /// Tickets of one sender checked at once, after a pause.
    pub max_burst: u32,
    /// The secret behind quotes is replaced when it is this old; the one before it is kept meanwhile.
    #[serde(with = "humantime_serde")]
    pub secret_life: Duration,
}

/// Renditions kept in memory for download.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// Objects kept in each directory.
    pub objects_per_directory: usize,
    /// Bytes kept in all.
    pub max_bytes: u64,
}

/// Bounds on connections and bodies.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Open connections.
    pub max_connections: usize,
    /// Open connections from one address.
    pub max_connections_per_ip: usize,
    /// Time for the TLS handshake, and for the head of a request.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// Time between two pieces of a body.
    #[serde(with = "humantime_serde")]
    pub body_idle_timeout: Duration,
    /// Time for a whole body.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// Largest segment, bytes.
    pub max_segment_bytes: u64,
    /// Largest set of renditions that a transcoder may post, bytes.
    pub max_result_bytes: u64,
    /// Bytes of segments and results held at a time, all requests together.
    pub max_buffered_bytes: u64,
    /// Time between two probes of a silent HTTP/2 peer. One that answers none for four times as long is gone.
    #[serde(with = "humantime_serde")]
    pub keep_alive: Duration,
    /// Time that segments in flight get when the node stops.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
}

impl Default for OrchestratorConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8935)),
            service_uri: None,
            price: Price::new(1, 1).unwrap_or(Price::FREE),
            prices: BTreeMap::new(),
            price_feed: PriceFeedConfig::default(),
            auth_webhook: None,
            tickets: TicketConfig::default(),
            max_sessions: MaxSessions::Auto,
            admission: AdmissionConfig::default(),
            session_queue: 4,
            session_idle: Duration::from_secs(70),
            balance_idle: Duration::from_secs(600),
            transcoder_secret: Secret::default(),
            transcoder_secret_file: None,
            nats: NatsConfig::default(),
            max_transcoders: 256,
            fetch_segments_by_url: false,
            deliver_to_sender_stores: false,
            nodes: Vec::new(),
            max_chain_age: Duration::from_secs(120),
            redeemer: None,
            redeemer_token_file: None,
            redeemer_certificate_file: None,
            quotas: QuotaConfig::default(),
            storage: StorageConfig::default(),
            limits: LimitsConfig::default(),
            jobs_2018: JobsConfig::default(),
        }
    }
}

impl Default for TicketConfig {
    fn default() -> Self {
        Self {
            ev: U256::from(8_000_000_000_u64),
            redeem_gas: 350_000,
            tx_cost_multiplier: 100,
            min_gas_price: 0,
            max_face_value: U256::ZERO,
            deposit_divisor: 10,
            params_life_blocks: 40,
            round_depth_blocks: None,
            max_per_second: 2_000,
            max_burst: 12_000,
            secret_life: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self { objects_per_directory: 12, max_bytes: 1 << 30 }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_connections_per_ip: 256,
            header_timeout: Duration::from_secs(10),
            body_idle_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            max_segment_bytes: 128 << 20,
            max_result_bytes: 1_000_000_000,
            max_buffered_bytes: 2_000_000_000,
            keep_alive: Duration::from_secs(2),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// Most other instances that are named.
const MAX_NODES: usize = 16;

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// Only these can be dialled.
    #[error("service_uri {0} is not an https URL with a host and no path, query or user")]
    ServiceUri(Url),
    /// Only these can be dialled.
    #[error("redeemer {0} is not an https URL with a host and no path, query or user")]
    Redeemer(Url),
    /// Only these can be dialled.
    #[error("nodes: {0} is not an https URL with a host and no path, query or user")]
    Node(Url),
    /// Every answer to a broadcaster has all of them in it.
    #[error("nodes: {0} are more than {MAX_NODES}")]
    TooManyNodes(usize),
    /// The price feed.
    #[error(transparent)]
    PriceFeed(#[from] PriceFeedError),
    /// Only these can be asked.
    #[error("auth_webhook is not an http or https URL with a host")]
    AuthWebhook,
    /// The NATS server.
    #[error(transparent)]
    Nats(#[from] NatsConfigError),
    /// It has no members without.
    #[error("nats.url is set, and neither transcoder_secret nor transcoder_secret_file is")]
    NatsWithoutSecret,
    /// Two sources of one secret.
    #[error("set either transcoder_secret or transcoder_secret_file, not both")]
    TwoSecrets,
    /// A bound or time of zero refuses everything.
    #[error("{0} must be more than 0")]
    Zero(&'static str),
    /// More than all the time there is, or none.
    #[error("admission.max_ratio {0} is not more than 0 and at most 1")]
    MaxRatio(f64),
    /// A bound that contradicts another.
    #[error("{smaller} must not be more than {larger}")]
    Order {
        /// Setting that is too large.
        smaller: &'static str,
        /// Setting that is too small.
        larger: &'static str,
    },
    /// Large payments would be refused for ever.
    #[error("tickets.max_burst {max_burst} is less than the {MAX_TICKETS} tickets of one payment")]
    Burst {
        /// Tickets.
        max_burst: u32,
    },
    /// Nothing would be quoted on a round for a large part of it.
    #[error("tickets.round_depth_blocks {blocks} is more than {MAX_ROUND_DEPTH}")]
    RoundDepth {
        /// As set.
        blocks: u64,
    },
    /// Quotes would outlive the secrets they are known by.
    #[error("tickets.secret_life {secret_life:?} is less than {LEAST_SECRET_LIFE:?}")]
    SecretLife {
        /// As set.
        secret_life: Duration,
    },
    /// Jobs would be done for nobody.
    #[error("jobs_2018.enabled is set and jobs_2018.broadcasters is empty: list the accounts whose jobs are done")]
    NoJobBroadcasters,
    /// More accounts than are looked through for each request.
    #[error("jobs_2018.broadcasters has {got} accounts, more than {max}")]
    TooManyJobBroadcasters {
        /// As set.
        got: usize,
        /// Allowed.
        max: usize,
    },
    /// Every ticket would be refused.
    #[error("tickets.max_face_value {max_face_value} wei is not more than tickets.ev {ev} wei")]
    FaceValueBelowEv {
        /// Wei.
        max_face_value: U256,
        /// Wei.
        ev: U256,
    },
}

impl OrchestratorConfig {
    /// Whether the node can start with these settings.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if let Some(uri) = &self.service_uri {
            validate_service_uri(uri)?;
        }
        let can_be_asked = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        if !self.auth_webhook.as_ref().is_none_or(can_be_asked) {
            return Err(ConfigError::AuthWebhook);
        }
        if let Some(redeemer) = self.redeemer.as_ref().filter(|url| !is_https_origin(url)) {
            return Err(ConfigError::Redeemer(redeemer.clone()));
        }
        if let Some(node) = self.nodes.iter().find(|url| !is_https_origin(url)) {
            return Err(ConfigError::Node(node.clone()));
        }
        if self.nodes.len() > MAX_NODES {
            return Err(ConfigError::TooManyNodes(self.nodes.len()));
        }
        if !self.transcoder_secret.is_empty() && self.transcoder_secret_file.is_some() {
            return Err(ConfigError::TwoSecrets);
        }
        self.price_feed.validate()?;
        self.nats.validate()?;
        if self.nats.url.is_some() && self.transcoder_secret.is_empty() && self.transcoder_secret_file.is_none() {
            return Err(ConfigError::NatsWithoutSecret);
        }
        self.refuse_zeros()?;
        if !(self.admission.max_ratio > 0.0 && self.admission.max_ratio <= 1.0) {
            return Err(ConfigError::MaxRatio(self.admission.max_ratio));
        }
        if self.limits.max_segment_bytes > self.limits.max_buffered_bytes {
            return Err(ConfigError::Order {
                smaller: "limits.max_segment_bytes",
                larger: "limits.max_buffered_bytes",
            });
        }
        self.jobs_2018.validate()?;
        self.tickets.validate()
    }

    fn refuse_zeros(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        let counts = [
            ("max_sessions", self.max_sessions.bound().unwrap_or(1) as u64),
            ("session_queue", self.session_queue as u64),
            ("max_transcoders", self.max_transcoders as u64),
            ("storage.objects_per_directory", self.storage.objects_per_directory as u64),
            ("storage.max_bytes", self.storage.max_bytes),
            ("limits.max_connections", limits.max_connections as u64),
            ("limits.max_connections_per_ip", limits.max_connections_per_ip as u64),
            ("limits.max_segment_bytes", limits.max_segment_bytes),
            ("limits.max_result_bytes", limits.max_result_bytes),
            ("limits.max_buffered_bytes", limits.max_buffered_bytes),
        ];
        let times = [
            ("session_idle", self.session_idle),
            ("balance_idle", self.balance_idle),
            ("max_chain_age", self.max_chain_age),
            ("limits.header_timeout", limits.header_timeout),
            ("limits.body_idle_timeout", limits.body_idle_timeout),
            ("limits.body_timeout", limits.body_timeout),
            ("limits.keep_alive", limits.keep_alive),
            ("limits.drain_timeout", limits.drain_timeout),
        ];
        let quotas = self.quotas.counts();
        let zero_count = counts.iter().chain(&quotas).find(|(_, value)| *value == 0).map(|(name, _)| *name);
        let zero_time = times.iter().find(|(_, value)| value.is_zero()).map(|(name, _)| *name);
        zero_count.or(zero_time).map_or(Ok(()), |name| Err(ConfigError::Zero(name)))
    }
}

impl TicketConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        if self.ev.is_zero() {
            return Err(ConfigError::Zero("tickets.ev"));
        }
        if self.redeem_gas == 0 {
            return Err(ConfigError::Zero("tickets.redeem_gas"));
        }
        if self.tx_cost_multiplier == 0 {
            return Err(ConfigError::Zero("tickets.tx_cost_multiplier"));
        }
        if self.params_life_blocks == 0 {
            return Err(ConfigError::Zero("tickets.params_life_blocks"));
        }
        if let Some(blocks) = self.round_depth_blocks.filter(|blocks| *blocks > MAX_ROUND_DEPTH) {
            return Err(ConfigError::RoundDepth { blocks });
        }
        if self.max_per_second == 0 {
            return Err(ConfigError::Zero("tickets.max_per_second"));
        }
        if (self.max_burst as usize) < MAX_TICKETS {
            return Err(ConfigError::Burst { max_burst: self.max_burst });
        }
        if self.secret_life < LEAST_SECRET_LIFE {
            return Err(ConfigError::SecretLife { secret_life: self.secret_life });
        }
        // A sender refuses a ticket whose expected value is its face value (payments.md §1.6).
        if !self.max_face_value.is_zero() && self.max_face_value <= self.ev {
            return Err(ConfigError::FaceValueBelowEv { max_face_value: self.max_face_value, ev: self.ev });
        }
        Ok(())
    }
}

fn validate_service_uri(uri: &Url) -> Result<(), ConfigError> {
    if is_https_origin(uri) { Ok(()) } else { Err(ConfigError::ServiceUri(uri.clone())) }
}

fn is_https_origin(url: &Url) -> bool {
    let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    url.scheme() == "https" && url.has_host() && plain && matches!(url.path(), "" | "/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut OrchestratorConfig)) -> ConfigError {
        let mut config = OrchestratorConfig::default();
        change(&mut config);
        config.validate().unwrap_err()
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(OrchestratorConfig::default().validate(), Ok(()));
    }

    #[test]
    fn unusable_service_uris_are_refused() {
        for text in ["http://o.example:8935", "https://o.example/path", "https://o.example/?q", "https://me@o.example"]
        {
            let uri: Url = text.parse().unwrap();
            assert_eq!(refusal(|c| c.service_uri = Some(uri.clone())), ConfigError::ServiceUri(uri));
        }
        let file = "file:///etc/passwd".parse().ok();
        assert_eq!(refusal(|c| c.auth_webhook = file), ConfigError::AuthWebhook);
        let plain: Url = "http://r.example:8935".parse().unwrap();
        assert_eq!(refusal(|c| c.redeemer = Some(plain.clone())), ConfigError::Redeemer(plain.clone()));
        assert_eq!(refusal(|c| c.nodes = vec![plain.clone()]), ConfigError::Node(plain));
        let node: Url = "https://o2.example:8935".parse().unwrap();
        assert_eq!(refusal(|c| c.nodes = vec![node; 17]), ConfigError::TooManyNodes(17));
        let good = OrchestratorConfig { service_uri: "https://127.0.0.1:8935".parse().ok(), ..Default::default() };
        assert_eq!(good.validate(), Ok(()));
    }

    #[test]
    fn contradictions_are_refused() {
        let two = |c: &mut OrchestratorConfig| {
            c.transcoder_secret = Secret::new("a");
            c.transcoder_secret_file = Some("b".into());
        };
        assert_eq!(refusal(two), ConfigError::TwoSecrets);
        assert_eq!(refusal(|c| c.max_sessions = MaxSessions::AtMost(0)), ConfigError::Zero("max_sessions"));
        assert_eq!(refusal(|c| c.session_idle = Duration::ZERO), ConfigError::Zero("session_idle"));
        assert_eq!(refusal(|c| c.tickets.ev = U256::ZERO), ConfigError::Zero("tickets.ev"));
        assert!(matches!(refusal(|c| c.limits.max_buffered_bytes = 1), ConfigError::Order { .. }));
        assert_eq!(refusal(|c| c.tickets.max_burst = 599), ConfigError::Burst { max_burst: 599 });
        let deep = |c: &mut OrchestratorConfig| c.tickets.round_depth_blocks = Some(257);
        assert_eq!(refusal(deep), ConfigError::RoundDepth { blocks: 257 });
        let hour = Duration::from_secs(3600);
        assert_eq!(refusal(|c| c.tickets.secret_life = hour), ConfigError::SecretLife { secret_life: hour });
        let small = |c: &mut OrchestratorConfig| c.tickets.max_face_value = c.tickets.ev;
        assert!(matches!(refusal(small), ConfigError::FaceValueBelowEv { .. }));
    }

    #[test]
    fn unknown_key_is_refused() {
        assert!(serde_json::from_str::<OrchestratorConfig>(r#"{"max_session":1}"#).is_err());
        assert!(serde_json::from_str::<OrchestratorConfig>(r#"{"tickets":{"evs":"1"}}"#).is_err());
        assert!(toml::from_str::<OrchestratorConfig>("[tickets]\nev = -1").is_err());
        assert!(toml::from_str::<OrchestratorConfig>("[tickets]\nev = \"much\"").is_err());
    }

    #[test]
    fn written_settings_are_read_back() {
        let mut config = OrchestratorConfig { max_sessions: MaxSessions::AtMost(3), ..Default::default() };
        config.tickets.max_face_value = U256::MAX;
        let text = toml::to_string(&config).unwrap();
        let back: OrchestratorConfig = toml::from_str(&text).unwrap();
        assert_eq!((back.max_sessions, back.tickets.ev), (config.max_sessions, config.tickets.ev));
        assert_eq!(back.tickets.max_face_value, U256::MAX);
    }

    #[test]
    fn sessions_are_bounded_by_a_number_or_by_load() {
        let read = |text: &str| toml::from_str::<OrchestratorConfig>(text).map(|config| config.max_sessions).ok();
        assert_eq!(read("max_sessions = 7"), Some(MaxSessions::AtMost(7)));
        assert_eq!(read("max_sessions = \"7\""), Some(MaxSessions::AtMost(7)));
        assert_eq!(read("max_sessions = \"auto\""), Some(MaxSessions::Auto));
        assert_eq!(read("max_sessions = \"many\""), None);
        for ratio in [0.0, -1.0, 1.1, f64::NAN] {
            let told = refusal(|c| c.admission.max_ratio = ratio).to_string();
            assert!(told.contains("admission.max_ratio"), "{told}");
        }
    }

    #[test]
    fn settings_are_written_as_people_write_them() {
        let text = r#"
            service_uri = "https://o.example:8935"
            price = { wei_per_unit = 1200, pixels_per_unit = 1 }
            session_idle = "70s"
            [tickets]
            ev = 8000000000
            max_face_value = "100000000000000000000"
            min_gas_price = 10000000
            [limits]
            drain_timeout = "1m"
        "#;
        let config: OrchestratorConfig = toml::from_str(text).unwrap();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.tickets.ev, U256::from(8_000_000_000_u64));
        assert_eq!(config.tickets.max_face_value.to_string(), "100000000000000000000");
        assert_eq!(config.limits.drain_timeout, Duration::from_secs(60));
    }
}
