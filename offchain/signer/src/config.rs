//! Settings of the signer.
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use alloy_primitives::U256;
use serde::{Deserialize, Serialize};
use streamflow_types::{Price, Secret};
use url::Url;

/// Settings of the signer. The defaults run on a laptop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignerConfig {
    /// Where broadcasters reach it. Loopback by default: whoever reaches it without a webhook spends the deposit.
    pub listen: SocketAddr,
    /// Whether it may listen beyond loopback with no webhook to ask.
    pub allow_no_auth: bool,
    /// Whether tickets go to active orchestrators alone. Without it a client can invent one that pays itself.
    pub require_active: bool,
    /// Requests under way at a time; one more is refused.
    pub max_requests: usize,
    /// Time for a request's body to arrive.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// Whether one state may be paid on twice.
    pub fence: FenceKind,
    /// Sessions that the fence remembers.
    pub fence_sessions: usize,
    /// Limits on what is signed.
    pub tickets: TicketLimits,
    /// Ceilings on prices.
    pub price: PriceConfig,
    /// Who is asked before anything is signed.
    pub auth: AuthConfig,
    /// What one client may spend.
    pub budget: BudgetConfig,
    /// The list of orchestrators that is served.
    pub discovery: DiscoveryConfig,
}

/// What keeps a state from being paid on twice (payments.md §2.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FenceKind {
    /// Nothing: the orchestrator refuses the second payment by its nonces. Any number of signers may share one key.
    #[default]
    Off,
    /// A memory of this process.
    Memory,
}

/// Limits on what is signed (payments.md §1.6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TicketLimits {
    /// Largest expected value of one ticket, wei.
    #[serde(with = "crate::wei")]
    pub max_ticket_ev: U256,
    /// Largest expected value of the tickets of one payment, wei.
    #[serde(with = "crate::wei")]
    pub max_total_ev: U256,
    /// A face value may be at most the deposit divided by this.
    pub deposit_multiplier: u64,
}

/// Ceilings on prices; a request may ask for lower ones.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PriceConfig {
    /// Highest price of anything. None: any that stays below the session's first.
    pub max: Option<Price>,
    /// Highest price where the request asks for a capability, by its number; takes the place of `max`.
    pub capabilities: BTreeMap<String, Price>,
}

/// The webhook (payments.md §2.6).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// Asked with the headers of a request and its state before anything is signed. None: everybody may pay.
    pub webhook: Option<Url>,
    /// Headers sent to it.
    pub headers: BTreeMap<String, Secret>,
    /// Time for its answer.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

/// What one client, by its auth id, may spend. Kept in memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetConfig {
    /// Expected value of the tickets of one auth id in one window, wei; 0 sets no limit.
    #[serde(with = "crate::wei")]
    pub max_spend: U256,
    /// Payments of one auth id in one minute; 0 sets no limit.
    pub max_payments_per_minute: u32,
    /// Length of a window.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// Auth ids known at a time; one more is refused.
    pub max_clients: usize,
}

/// `GET /discover-orchestrators`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscoveryConfig {
    /// Whether it is served.
    pub enabled: bool,
    /// A list at this URL comes first.
    pub webhook: Option<Url>,
    /// Else these; else the orchestrators on chain.
    pub orchestrators: Vec<Url>,
    /// Time between two rounds of questions.
    #[serde(with = "humantime_serde")]
    pub refresh: Duration,
}

/// Why settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignerConfigError {
    /// Anybody could spend the deposit.
    #[error(
        "signer.listen {0} is reachable from other machines and signer.auth.webhook is not set: set it, or signer.allow_no_auth"
    )]
    NoAuth(SocketAddr),
    /// Not an address of a web server.
    #[error("signer.{setting}: {url} is not an http or https URL with a host")]
    Url {
        /// Name of the setting.
        setting: &'static str,
        /// Its value.
        url: Url,
    },
    /// A count or limit that must not be 0.
    #[error("signer.{0} must not be 0")]
    Zero(&'static str),
    /// Capabilities have numbers on the wire.
    #[error("signer.price.capabilities: {0:?} is not the number of a capability")]
    Capability(String),
    /// Not a header.
    #[error("signer.auth.headers: {0:?} is not a header that can be sent")]
    Header(String),
}

impl Default for SignerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8935)),
            allow_no_auth: false,
            require_active: true,
            max_requests: 128,
            body_timeout: Duration::from_secs(10),
            fence: FenceKind::Off,
            fence_sessions: 65_536,
            tickets: TicketLimits::default(),
            price: PriceConfig::default(),
            auth: AuthConfig::default(),
            budget: BudgetConfig::default(),
            discovery: DiscoveryConfig::default(),
        }
    }
}

impl Default for TicketLimits {
    fn default() -> Self {
        Self {
            max_ticket_ev: U256::from(3_000_000_000_000_u64),
            max_total_ev: U256::from(20_000_000_000_000_u64),
            deposit_multiplier: 1,
        }
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self { webhook: None, headers: BTreeMap::new(), timeout: Duration::from_secs(5) }
    }
}

impl Default for BudgetConfig {
    fn default() -> Self {
        let window = Duration::from_secs(24 * 3600);
        Self { max_spend: U256::ZERO, max_payments_per_minute: 0, window, max_clients: 65_536 }
    }
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        Self { enabled: false, webhook: None, orchestrators: Vec::new(), refresh: Duration::from_secs(25 * 60) }
    }
}

impl SignerConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the setting.
    pub fn validate(&self) -> Result<(), SignerConfigError> {
        if !self.listen.ip().is_loopback() && self.auth.webhook.is_none() && !self.allow_no_auth {
            return Err(SignerConfigError::NoAuth(self.listen));
        }
        let urls = [("auth.webhook", &self.auth.webhook), ("discovery.webhook", &self.discovery.webhook)];
        let urls = urls.into_iter().filter_map(|(setting, url)| url.as_ref().map(|url| (setting, url)));
        let listed = self.discovery.orchestrators.iter().map(|url| ("discovery.orchestrators", url));
        for (setting, url) in urls.chain(listed) {
            if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
                return Err(SignerConfigError::Url { setting, url: url.clone() });
            }
        }
        if let Some(name) = self.price.capabilities.keys().find(|name| name.parse::<u32>().is_err()) {
            return Err(SignerConfigError::Capability(name.clone()));
        }
        for (name, value) in &self.auth.headers {
            if name.parse::<axum::http::HeaderName>().is_err() || value.expose().chars().any(|c| c.is_control()) {
                return Err(SignerConfigError::Header(name.clone()));
            }
        }
        let positive = [
            ("max_requests", self.max_requests > 0),
            ("body_timeout", !self.body_timeout.is_zero()),
            ("fence_sessions", self.fence_sessions > 0),
            ("tickets.deposit_multiplier", self.tickets.deposit_multiplier > 0),
            ("auth.timeout", !self.auth.timeout.is_zero()),
            ("budget.window", !self.budget.window.is_zero()),
            ("budget.max_clients", self.budget.max_clients > 0),
            ("discovery.refresh", !self.discovery.refresh.is_zero()),
        ];
        match positive.into_iter().find(|(_, holds)| !holds) {
            Some((name, _)) => Err(SignerConfigError::Zero(name)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut SignerConfig)) -> SignerConfigError {
        let mut config = SignerConfig::default();
        change(&mut config);
        config.validate().unwrap_err()
    }

    #[test]
    fn defaults_are_valid_and_stay_on_loopback() {
        assert_eq!(SignerConfig::default().validate(), Ok(()));
        assert!(SignerConfig::default().listen.ip().is_loopback());
    }

    #[test]
    fn a_public_address_needs_a_webhook_or_a_word() {
        let public: SocketAddr = "0.0.0.0:8935".parse().unwrap();
        assert_eq!(refused(|c| c.listen = public), SignerConfigError::NoAuth(public));
        let word = SignerConfig { listen: public, allow_no_auth: true, ..SignerConfig::default() };
        assert_eq!(word.validate(), Ok(()));
        let mut asked = SignerConfig { listen: public, ..SignerConfig::default() };
        asked.auth.webhook = Some("https://auth.example/".parse().unwrap());
        assert_eq!(asked.validate(), Ok(()));
    }

    #[test]
    fn unusable_settings_are_named() {
        assert_eq!(refused(|c| c.max_requests = 0), SignerConfigError::Zero("max_requests"));
        let ftp: Url = "ftp://a/".parse().unwrap();
        let error = refused(|c| c.auth.webhook = Some(ftp.clone()));
        assert_eq!(error, SignerConfigError::Url { setting: "auth.webhook", url: ftp });
        let error = refused(|c| c.price.capabilities.extend([("llm".into(), Price::FREE)]));
        assert_eq!(error, SignerConfigError::Capability("llm".into()));
        let error = refused(|c| c.auth.headers.extend([("a b".into(), Secret::new("x"))]));
        assert_eq!(error, SignerConfigError::Header("a b".into()));
    }

    #[test]
    fn a_header_for_the_webhook_is_not_printed() {
        let config: SignerConfig = toml::from_str("[auth.headers]\nAuthorization = \"swordfish\"\n").unwrap();
        assert_eq!(config.auth.headers["Authorization"].expose(), "swordfish");
        assert!(!format!("{config:?}").contains("swordfish"));
        assert!(!toml::to_string(&config).unwrap().contains("swordfish"));
        assert!(toml::from_str::<SignerConfig>("listne = \"127.0.0.1:1\"").is_err());
    }
}
