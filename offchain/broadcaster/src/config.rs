//! Settings of the broadcaster.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use alloy_primitives::U256;
use serde::{Deserialize, Serialize};
use streamflow_types::{ManifestId, Price, Profile, ProfileError, Secret};
use url::Url;

use crate::{
    discovery::{DiscoveryConfig, DiscoveryError},
    race::{FailoverConfig, RedundancyConfig},
    selection::{SelectionConfig, SelectionError},
    verification::VerificationConfig,
    webhook,
};

/// Settings of the broadcaster. The defaults run on a laptop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BroadcasterConfig {
    /// Where segments are pushed to and HLS is served from. Loopback by default: whoever reaches it spends our deposit.
    pub listen: SocketAddr,
    /// Streams are kept here, one directory each.
    pub data_dir: PathBuf,
    /// Renditions of every stream, largest first.
    pub profiles: Vec<Profile>,
    /// Our own orchestrators, such as `https://127.0.0.1:8935`; https and port 8935 may be left out. Empty: those registered on
    /// chain.
    #[serde(deserialize_with = "crate::discovery::addresses")]
    pub orchestrators: Vec<Url>,
    /// Where others are looked for, and which of them may be used.
    pub discovery: DiscoveryConfig,
    /// Who of them gets a segment.
    pub selection: SelectionConfig,
    /// Signer that pays, such as `https://signer.example`; no key and no chain are needed then. None: pay with our own key.
    pub signer: Option<Url>,
    /// Headers sent to the signer, such as a credential.
    pub signer_headers: BTreeMap<String, Secret>,
    /// Streams that may be pushed. Empty: any.
    pub streams: Vec<ManifestId>,
    /// How results are looked at beyond decoding them.
    pub verification: VerificationConfig,
    /// Keys of streams, by name: who publishes one must know its key, and others may not be published. Empty: none is
    /// needed. Over RTMP the key stands behind the name; a push brings it as `Authorization: Bearer <key>`.
    pub stream_keys: BTreeMap<ManifestId, Secret>,
    /// Asked before a stream is published (node.md §4.5); answers with its renditions, too. None: nobody is asked.
    pub auth_webhook_url: Option<Secret>,
    /// Whether anybody may publish where `listen` or `rtmp.listen` is not loopback and neither `streams` nor `stream_keys` nor
    /// `auth_webhook_url` says who.
    pub allow_anyone: bool,
    /// Where encoders publish over RTMP. None: nowhere.
    pub rtmp: Option<RtmpConfig>,
    /// Container of the segments that viewers get.
    pub hls_format: HlsFormat,
    /// Store to which playlists and segments are copied, such as `s3://KEY:SECRET@region/bucket/prefix` (node.md §4.6).
    pub object_store: Option<Secret>,
    /// Store to which recordings go: every segment, and lists of them.
    pub record_store: Option<Secret>,
    /// Whether `/stream/current.m3u8` is the newest live stream.
    pub current_stream: bool,
    /// What happens when an orchestrator is slow or fails.
    pub failover: FailoverConfig,
    /// Segments that several orchestrators do.
    pub redundancy: RedundancyConfig,
    /// A file to play as a live stream as soon as there is an orchestrator.
    pub input: Option<FileInput>,
    /// Limits on what is paid.
    pub payment: PaymentConfig,
    /// What may be spent.
    pub budget: BudgetConfig,
    /// Whether the deposit is topped up. None: it is not.
    pub top_up: Option<TopUpConfig>,
    /// HTTP connections at a time.
    pub max_connections: usize,
    /// HTTP connections of one address at a time; all viewers behind a proxy have one.
    pub max_connections_per_address: usize,
    /// Time for the headers of a request; a connection without a request for this long is closed.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// Largest segment accepted, in bytes.
    pub max_segment_bytes: u64,
    /// Bytes of segments held in memory, all streams together, pushed or cut here; an upload beyond them is refused, a segment
    /// of an RTMP encoder is lost.
    pub max_upload_bytes: usize,
    /// Segments of one stream that are transcoded at a time.
    pub max_segments_in_flight: usize,
    /// Segments of one stream that wait for their turn; one more is refused.
    pub max_segments_waiting: usize,
    /// Streams that are live at a time.
    pub max_streams: usize,
    /// Attempts at one segment. A segment is lost when nobody can do it, or after so many.
    pub max_attempts: u32,
    /// Factor on the deadlines of a segment (node.md §2.5), for its first attempt; the second gets twice that, the others three
    /// times.
    pub timeout_multiplier: u32,
    /// Time for a quote, connection included.
    #[serde(with = "humantime_serde")]
    pub quote_timeout: Duration,
    /// A stream without a segment for this long has ended.
    #[serde(with = "humantime_serde")]
    pub stream_idle: Duration,
    /// Time that segments in flight get when the broadcaster stops.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
}

/// Limits on what is paid (payments.md §1.6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PaymentConfig {
    /// Highest price accepted, wei per pixel. None: any that does not double within a session.
    pub max_price: Option<Price>,
    /// Largest expected value of one ticket, wei.
    pub max_ticket_ev: U256,
    /// Largest expected value of the tickets of one payment, wei.
    pub max_total_ev: U256,
    /// A face value may be at most the deposit divided by this.
    pub deposit_multiplier: u64,
}

/// What may be spent on tickets, by their expected value. None: anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetConfig {
    /// By one stream, wei.
    pub per_stream: Option<U256>,
    /// By all streams in a day (UTC), wei. Broadcasters of one account on one database share it.
    pub per_day: Option<U256>,
}

/// When the deposit is topped up, and with how much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopUpConfig {
    /// A deposit of fewer wei is topped up.
    pub below: U256,
    /// Wei added at a time.
    pub amount: U256,
    /// Most wei added in a day (UTC).
    pub max_per_day: U256,
}

/// Container of the segments that viewers get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HlsFormat {
    /// Transport streams.
    #[default]
    Ts,
    /// Fragmented MP4 (CMAF).
    Fmp4,
}

/// How encoders publish over RTMP (node.md §4.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RtmpConfig {
    /// Where encoders connect. Loopback by default: whoever reaches it spends our deposit.
    pub listen: SocketAddr,
    /// Streams published at a time.
    pub max_streams: usize,
    /// Connections at a time, those that only play included.
    pub max_connections: usize,
    /// Connections of one address at a time.
    pub max_connections_per_address: usize,
    /// Length of a segment; cuts are made at key frames, so that segments last longer where these are rarer.
    #[serde(with = "humantime_serde")]
    pub segment: Duration,
    /// Longest message, in bytes: one picture, as a rule.
    pub max_message_bytes: usize,
}

/// A file played as a live stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileInput {
    /// Name of the stream.
    pub stream: ManifestId,
    /// The clip; repeated until `duration` is full. `-` is standard input, which is played as it comes and not repeated: H.264
    /// with AAC in FLV, a transport stream, Matroska or MP4.
    pub path: PathBuf,
    /// Length of the stream.
    #[serde(with = "humantime_serde")]
    pub duration: Duration,
}

/// Why settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BroadcasterConfigError {
    /// Nothing to transcode to.
    #[error("broadcaster.profiles is empty: name at least one rendition")]
    NoProfiles,
    /// A profile cannot be encoded or signed.
    #[error("broadcaster.profiles: profile {name:?} is not usable")]
    Profile {
        /// Its name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: ProfileError,
    },
    /// Names are directories, and only names are signed.
    #[error("broadcaster.profiles: {0:?} appears twice or is reserved")]
    ProfileName(String),
    /// Not an address of an orchestrator.
    #[error("broadcaster.orchestrators: {0} is not an http or https URL with a host")]
    OrchestratorUrl(Url),
    /// Not an address of a signer.
    #[error("broadcaster.signer: {0} is not an http or https URL with a host")]
    SignerUrl(Url),
    /// A limit on money that somebody else spends.
    #[error(
        "broadcaster.{0} cannot be kept where broadcaster.signer pays: remove it here, and set signer.budget there"
    )]
    NotOurs(&'static str),
    /// No top-up would ever be made.
    #[error("broadcaster.top_up.amount {amount} wei is more than max_per_day {max_per_day} wei")]
    TopUpCap {
        /// Wei.
        amount: U256,
        /// Wei.
        max_per_day: U256,
    },
    /// A setting of the race for a segment.
    #[error("broadcaster.{setting} is {got}: {would_do}")]
    Race {
        /// Which.
        setting: &'static str,
        /// Its value.
        got: u32,
        /// What would do.
        would_do: &'static str,
    },
    /// Not all of them could be asked.
    #[error("broadcaster.redundancy.orchestrators {orchestrators} is more than max_attempts {max_attempts}")]
    TooRedundant {
        /// At once.
        orchestrators: u32,
        /// In all.
        max_attempts: u32,
    },
    /// A setting of the close look at results.
    #[error(
        "broadcaster.{0} is not usable: 1 to 32 frames, http or https URLs with a host, a time above 0 and at most 10 years"
    )]
    Verification(&'static str),
    /// Not an address of a webhook. It is not shown, as it may hold a secret.
    #[error("broadcaster.auth_webhook_url is not an http or https URL with a host")]
    WebhookUrl,
    /// Whoever reaches it spends our deposit.
    #[error(
        "broadcaster.{setting} {address} is open to other machines, and anybody could publish: say who may with \
         broadcaster.streams, broadcaster.stream_keys or broadcaster.auth_webhook_url, listen on 127.0.0.1, or set \
         broadcaster.allow_anyone = true"
    )]
    AnyoneMayPublish {
        /// Which port.
        setting: &'static str,
        /// Its address.
        address: SocketAddr,
    },
    /// Anybody could publish it.
    #[error("broadcaster.stream_keys: the key of {0} is empty")]
    EmptyKey(ManifestId),
    /// A message has a length of three bytes.
    #[error("broadcaster.rtmp.max_message_bytes {got} is not within {min} to {max}")]
    MessageBytes {
        /// As given.
        got: usize,
        /// At least.
        min: usize,
        /// At most.
        max: usize,
    },
    /// A count or limit that must not be 0.
    #[error("broadcaster.{0} must not be 0")]
    Zero(&'static str),
    /// Orchestrators could not be found.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// Orchestrators could not be chosen.
    #[error(transparent)]
    Selection(#[from] SelectionError),
}

/// Name under which the pushed segments themselves are served.
pub(crate) const SOURCE: &str = "source";

impl Default for BroadcasterConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9935)),
            data_dir: PathBuf::from("data/broadcaster"),
            profiles: streamflow_media::devnet_ladder(),
            orchestrators: Vec::new(),
            discovery: DiscoveryConfig::default(),
            selection: SelectionConfig::default(),
            signer: None,
            signer_headers: BTreeMap::new(),
            streams: Vec::new(),
            stream_keys: BTreeMap::new(),
            auth_webhook_url: None,
            allow_anyone: false,
            rtmp: None,
            hls_format: HlsFormat::default(),
            object_store: None,
            record_store: None,
            current_stream: false,
            input: None,
            payment: PaymentConfig::default(),
            budget: BudgetConfig::default(),
            top_up: None,
            verification: VerificationConfig::default(),
            failover: FailoverConfig::default(),
            redundancy: RedundancyConfig::default(),
            max_connections: 1024,
            max_connections_per_address: 512,
            header_timeout: Duration::from_secs(60),
            max_segment_bytes: 300_000_000,
            max_upload_bytes: 1 << 30,
            max_segments_in_flight: 4,
            max_segments_waiting: 8,
            max_streams: 32,
            max_attempts: 32,
            timeout_multiplier: 1,
            quote_timeout: Duration::from_millis(2500),
            stream_idle: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

impl Default for RtmpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 1935)),
            max_streams: 10,
            max_connections: 64,
            max_connections_per_address: 32,
            segment: Duration::from_secs(2),
            max_message_bytes: 8 << 20,
        }
    }
}

impl RtmpConfig {
    /// A header and a picture of the smallest kind.
    const MIN_MESSAGE: usize = 64 << 10;
    /// What three bytes can say.
    const MAX_MESSAGE: usize = (1 << 24) - 1;

    fn validate(&self) -> Result<(), BroadcasterConfigError> {
        let (got, min, max) = (self.max_message_bytes, Self::MIN_MESSAGE, Self::MAX_MESSAGE);
        if !(min..=max).contains(&got) {
            return Err(BroadcasterConfigError::MessageBytes { got, min, max });
        }
        let positive = [
            ("rtmp.max_streams", self.max_streams > 0),
            ("rtmp.max_connections", self.max_connections > 0),
            ("rtmp.max_connections_per_address", self.max_connections_per_address > 0),
            ("rtmp.segment", self.segment >= Duration::from_millis(100)),
        ];
        match positive.into_iter().find(|(_, holds)| !holds) {
            Some((name, _)) => Err(BroadcasterConfigError::Zero(name)),
            None => Ok(()),
        }
    }
}

impl Default for PaymentConfig {
    fn default() -> Self {
        Self {
            max_price: None,
            max_ticket_ev: U256::from(3_000_000_000_000_u64),
            max_total_ev: U256::from(20_000_000_000_000_u64),
            deposit_multiplier: 1,
        }
    }
}

impl BroadcasterConfig {
    /// Whether orchestrators of others are used: of the chain, of the signer.
    pub fn wants_market(&self) -> bool {
        self.orchestrators.is_empty() || self.discovery.overflow
    }

    /// Whether the list on chain is read.
    pub fn wants_chain_list(&self) -> bool {
        self.wants_market() && self.discovery.webhook.is_none() && self.signer.is_none()
    }

    /// node.md §4.1: a port that others reach takes no streams from just anybody.
    fn check_publishers(&self) -> Result<(), BroadcasterConfigError> {
        let known = !self.streams.is_empty() || !self.stream_keys.is_empty() || self.auth_webhook_url.is_some();
        if known || self.allow_anyone {
            return Ok(());
        }
        let ports = [("listen", Some(self.listen)), ("rtmp.listen", self.rtmp.as_ref().map(|rtmp| rtmp.listen))];
        let open = |(setting, address): (_, Option<SocketAddr>)| Some((setting, address?));
        match ports.into_iter().filter_map(open).find(|(_, address)| !address.ip().is_loopback()) {
            Some((setting, address)) => Err(BroadcasterConfigError::AnyoneMayPublish { setting, address }),
            None => Ok(()),
        }
    }

    /// Checks what the types cannot.
    pub fn validate(&self) -> Result<(), BroadcasterConfigError> {
        if self.profiles.is_empty() {
            return Err(BroadcasterConfigError::NoProfiles);
        }
        let mut names = BTreeSet::from([SOURCE]);
        for profile in &self.profiles {
            profile
                .validate()
                .map_err(|source| BroadcasterConfigError::Profile { name: profile.name.clone(), source })?;
            if !names.insert(&profile.name) {
                return Err(BroadcasterConfigError::ProfileName(profile.name.clone()));
            }
        }
        for url in &self.orchestrators {
            if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
                return Err(BroadcasterConfigError::OrchestratorUrl(url.clone()));
            }
        }
        self.discovery.validate()?;
        self.selection.validate()?;
        if let Some(url) = &self.signer
            && (!matches!(url.scheme(), "http" | "https") || url.host_str().is_none())
        {
            return Err(BroadcasterConfigError::SignerUrl(url.clone()));
        }
        if self.auth_webhook_url.as_ref().is_some_and(|url| webhook::address(url).is_none()) {
            return Err(BroadcasterConfigError::WebhookUrl);
        }
        if let Some((name, _)) = self.stream_keys.iter().find(|(_, key)| key.is_empty()) {
            return Err(BroadcasterConfigError::EmptyKey(name.clone()));
        }
        if let Some(rtmp) = &self.rtmp {
            rtmp.validate()?;
        }
        self.check_publishers()?;
        if self.signer.is_some() {
            let ours = [("top_up", self.top_up.is_some()), ("budget", self.budget != BudgetConfig::default())];
            if let Some((name, _)) = ours.into_iter().find(|(_, set)| *set) {
                return Err(BroadcasterConfigError::NotOurs(name));
            }
        }
        if let Some(TopUpConfig { amount, max_per_day, .. }) = self.top_up.clone().filter(|t| t.amount > t.max_per_day)
        {
            return Err(BroadcasterConfigError::TopUpCap { amount, max_per_day });
        }
        if let Some(name) = self.verification.unusable() {
            return Err(BroadcasterConfigError::Verification(name));
        }
        if let Some((setting, got, would_do)) = self.failover.unusable().or_else(|| self.redundancy.unusable()) {
            return Err(BroadcasterConfigError::Race { setting, got, would_do });
        }
        let (orchestrators, max_attempts) = (self.redundancy.orchestrators, self.max_attempts);
        if max_attempts > 0 && orchestrators > max_attempts {
            return Err(BroadcasterConfigError::TooRedundant { orchestrators, max_attempts });
        }
        let positive = [
            ("top_up.amount", self.top_up.as_ref().is_none_or(|top_up| !top_up.amount.is_zero())),
            ("max_connections", self.max_connections > 0),
            ("max_connections_per_address", self.max_connections_per_address > 0),
            ("header_timeout", !self.header_timeout.is_zero()),
            ("max_segment_bytes", self.max_segment_bytes > 0),
            ("max_upload_bytes", self.max_upload_bytes > 0),
            ("max_segments_in_flight", self.max_segments_in_flight > 0),
            ("max_streams", self.max_streams > 0),
            ("max_attempts", self.max_attempts > 0),
            ("timeout_multiplier", self.timeout_multiplier > 0),
            ("quote_timeout", !self.quote_timeout.is_zero()),
            ("stream_idle", !self.stream_idle.is_zero()),
            ("payment.deposit_multiplier", self.payment.deposit_multiplier > 0),
        ];
        match positive.into_iter().find(|(_, holds)| !holds) {
            Some((name, _)) => Err(BroadcasterConfigError::Zero(name)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut BroadcasterConfig)) -> BroadcasterConfigError {
        let mut config = BroadcasterConfig::default();
        change(&mut config);
        config.validate().unwrap_err()
    }

    #[test]
    fn defaults_are_valid_and_stay_on_loopback() {
        let config = BroadcasterConfig::default();
        assert_eq!(config.validate(), Ok(()));
        assert!(config.listen.ip().is_loopback());
    }

    #[test]
    fn unusable_settings_are_refused() {
        assert_eq!(refused(|c| c.profiles.clear()), BroadcasterConfigError::NoProfiles);
        assert!(matches!(refused(|c| c.profiles[0].width = 3), BroadcasterConfigError::Profile { .. }));
        assert_eq!(refused(|c| c.profiles[0].name = SOURCE.into()), BroadcasterConfigError::ProfileName(SOURCE.into()));
        assert_eq!(refused(|c| c.max_attempts = 0), BroadcasterConfigError::Zero("max_attempts"));
        let (below, amount, max_per_day) = (U256::from(1), U256::from(3), U256::from(2));
        let capped = refused(|c| c.top_up = Some(TopUpConfig { below, amount, max_per_day }));
        assert_eq!(capped, BroadcasterConfigError::TopUpCap { amount, max_per_day });
        let ftp: Url = "ftp://a/".parse().unwrap();
        assert_eq!(
            refused(|c| c.orchestrators = vec![ftp.clone()]),
            BroadcasterConfigError::OrchestratorUrl(ftp.clone())
        );
        assert_eq!(refused(|c| c.signer = Some(ftp.clone())), BroadcasterConfigError::SignerUrl(ftp));
        let limited = refused(|c| {
            c.signer = Some("https://signer/".parse().unwrap());
            c.budget.per_day = Some(U256::from(1));
        });
        assert_eq!(limited, BroadcasterConfigError::NotOurs("budget"));
        let refused_hedges = refused(|c| c.failover.hedge_percent = 101).to_string();
        assert_eq!(refused_hedges, "broadcaster.failover.hedge_percent is 101: 0 to 100");
        let impatient = refused(|c| c.failover.patience_percent = 99).to_string();
        assert_eq!(impatient, "broadcaster.failover.patience_percent is 99: 100 or more");
        assert!(refused(|c| c.failover.hedge_burst = 0).to_string().contains("failover.hedge_burst is 0"));
        assert!(refused(|c| c.redundancy.orchestrators = 9).to_string().contains("9: 1 to 8"));
        assert!(refused(|c| c.redundancy.every = 0).to_string().contains("redundancy.every is 0"));
        let redundant = refused(|c| (c.redundancy.orchestrators, c.max_attempts) = (3, 2));
        assert_eq!(redundant, BroadcasterConfigError::TooRedundant { orchestrators: 3, max_attempts: 2 });
    }

    #[test]
    fn a_port_that_others_reach_needs_somebody_who_says_who_publishes() {
        let open: SocketAddr = "0.0.0.0:9935".parse().unwrap();
        let refused_http = refused(|c| c.listen = open);
        assert_eq!(refused_http, BroadcasterConfigError::AnyoneMayPublish { setting: "listen", address: open });
        let rtmp = |config: &mut BroadcasterConfig| {
            config.rtmp = Some(RtmpConfig { listen: "[::]:1935".parse().unwrap(), ..RtmpConfig::default() });
        };
        let told = refused(rtmp).to_string();
        for setting in ["rtmp.listen", "streams", "stream_keys", "auth_webhook_url", "allow_anyone"] {
            assert!(told.contains(&format!("broadcaster.{setting}")), "{told}");
        }
        let who: [fn(&mut BroadcasterConfig); 4] = [
            |c| c.streams = vec!["movie".parse().unwrap()],
            |c| c.stream_keys = BTreeMap::from([("movie".parse().unwrap(), Secret::new("k3y"))]),
            |c| c.auth_webhook_url = Some(Secret::new("https://hook.example/?t=1")),
            |c| c.allow_anyone = true,
        ];
        for say in who {
            let mut config = BroadcasterConfig { listen: open, ..BroadcasterConfig::default() };
            rtmp(&mut config);
            say(&mut config);
            assert_eq!(config.validate(), Ok(()));
        }
    }

    #[test]
    fn the_address_of_a_webhook_is_never_printed() {
        let secret = "https://user:pw@hook.example/?token=h00k";
        let config = BroadcasterConfig { auth_webhook_url: Some(Secret::new(secret)), ..BroadcasterConfig::default() };
        assert_eq!(config.validate(), Ok(()));
        for shown in [format!("{config:?}"), serde_json::to_string(&config).unwrap()] {
            assert!(!shown.contains("h00k") && !shown.contains("hook.example"), "{shown}");
        }
        for bad in ["ftp://user:pw@hook.example", "h00k", "https://"] {
            let refused = refused(|c| c.auth_webhook_url = Some(Secret::new(bad)));
            assert_eq!(refused, BroadcasterConfigError::WebhookUrl);
            assert!(!refused.to_string().contains(bad));
        }
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(serde_json::from_str::<BroadcasterConfig>(r#"{"listne":"127.0.0.1:1"}"#).is_err());
        let read: BroadcasterConfig =
            serde_json::from_str(r#"{"stream_idle":"5s","payment":{"max_ticket_ev":"12000000000000"}}"#).unwrap();
        assert_eq!(read.stream_idle, Duration::from_secs(5));
        assert_eq!(read.payment.max_ticket_ev, U256::from(12_000_000_000_000_u64));
    }
}
