//! Settings of the discovery.
use std::time::Duration;

use alloy_primitives::{B256, U256};
use serde::{Deserialize, Serialize};
use streamflow_wire::capability;
use url::Url;

use super::filter::Blocked;

/// Where orchestrators are looked for, and which of them may be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscoveryConfig {
    /// A list at this URL, `[{"address": …, "score": …}]`; those with score 1.0 are our own.
    pub webhook: Option<Url>,
    /// With orchestrators named: whether the market (the webhook, the chain or the signer) takes what those cannot do.
    pub overflow: bool,
    /// Regions of the registry, any of which will do. Empty: all.
    pub regions: Vec<String>,
    /// Service of the registry that must be offered.
    pub service: Option<String>,
    /// Least stake of an orchestrator of the market that the chain tells, LPT wei.
    pub minimum_stake: U256,
    /// Whether to leave out those on chain that are not in the active set.
    pub active_only: bool,
    /// Accounts, hosts, or hosts with a port that are never used.
    pub blocklist: Vec<String>,
    /// Oldest version of an orchestrator's program, such as `0.8.0`.
    pub min_version: Option<String>,
    /// Orchestrators of the market that are kept warm; the others wait for a place.
    pub shortlist: usize,
    /// Time between two quotes of one that is kept warm.
    #[serde(with = "humantime_serde")]
    pub probe_interval: Duration,
    /// Further instances that one orchestrator may name; they are its own word, and asked for no more.
    pub extra_nodes: usize,
}

/// Why settings of the discovery cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// Not an address of a webhook.
    #[error("broadcaster.discovery.webhook: {0} is not an http or https URL with a host")]
    Webhook(Url),
    /// The registry keeps 32 bytes.
    #[error("broadcaster.discovery.{setting}: {id:?} has {} bytes, an id of the registry has 1 to 32", id.len())]
    Id {
        /// The setting.
        setting: &'static str,
        /// The id.
        id: String,
    },
    /// Matches nothing.
    #[error(
        "broadcaster.discovery.blocklist: {0:?} is neither an account (0x and 40 digits) nor a host, with or without a port"
    )]
    Blocklist(String),
    /// Not a version.
    #[error("broadcaster.discovery.min_version: {0:?} is not a version such as 0.8.0")]
    Version(String),
    /// Outside what is sensible.
    #[error("broadcaster.discovery.{setting} is {got}, but must be from {least} to {most}")]
    Range {
        /// The setting.
        setting: &'static str,
        /// As set.
        got: u64,
        /// Smallest.
        least: u64,
        /// Largest.
        most: u64,
    },
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        Self {
            webhook: None,
            overflow: false,
            regions: Vec::new(),
            service: None,
            minimum_stake: U256::ZERO,
            active_only: true,
            blocklist: Vec::new(),
            min_version: None,
            shortlist: 32,
            probe_interval: Duration::from_secs(60),
            extra_nodes: 0,
        }
    }
}

impl DiscoveryConfig {
    /// Checks what the types cannot.
    pub(crate) fn validate(&self) -> Result<(), DiscoveryError> {
        if let Some(url) = self.webhook.as_ref().filter(|u| !matches!(u.scheme(), "http" | "https") || !u.has_host()) {
            return Err(DiscoveryError::Webhook(url.clone()));
        }
        let regions = self.regions.iter().map(|id| ("regions", id));
        for (setting, id) in regions.chain(self.service.iter().map(|id| ("service", id))) {
            if registry_id(id).is_none() {
                return Err(DiscoveryError::Id { setting, id: id.clone() });
            }
        }
        if let Some(bad) = self.blocklist.iter().find(|entry| Blocked::parse(entry).is_none()) {
            return Err(DiscoveryError::Blocklist(bad.clone()));
        }
        if let Some(version) = self.min_version.as_ref().filter(|version| !capability::is_version(version)) {
            return Err(DiscoveryError::Version(version.clone()));
        }
        let ranges = [
            ("shortlist", self.shortlist as u64, 1, 256),
            ("probe_interval (seconds)", self.probe_interval.as_secs(), 5, 3600),
            ("extra_nodes", self.extra_nodes as u64, 0, 16),
        ];
        match ranges.into_iter().find(|(_, got, least, most)| got < least || got > most) {
            Some((setting, got, least, most)) => Err(DiscoveryError::Range { setting, got, least, most }),
            None => Ok(()),
        }
    }
}

/// A text as the registry keeps it: padded with zeros on the right.
pub(crate) fn registry_id(text: &str) -> Option<B256> {
    let fits = (1..=32).contains(&text.len());
    fits.then(|| B256::right_padding_from(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut DiscoveryConfig)) -> String {
        let mut config = DiscoveryConfig::default();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn settings_that_cannot_work_are_refused_with_what_would() {
        assert_eq!(DiscoveryConfig::default().validate(), Ok(()));
        let long = "x".repeat(33);
        assert!(refused(|c| c.regions = vec![long.clone()]).contains("33 bytes, an id of the registry has 1 to 32"));
        assert!(refused(|c| c.service = Some(String::new())).starts_with("broadcaster.discovery.service"));
        assert!(refused(|c| c.blocklist = vec!["https://".into()]).contains("neither an account"));
        assert!(refused(|c| c.min_version = Some("new".into())).contains("not a version such as 0.8.0"));
        assert!(refused(|c| c.shortlist = 0).contains("shortlist is 0, but must be from 1 to 256"));
        assert!(refused(|c| c.probe_interval = Duration::from_secs(1)).contains("must be from 5 to 3600"));
        assert!(refused(|c| c.extra_nodes = 17).contains("must be from 0 to 16"));
        assert!(refused(|c| c.webhook = "ftp://a/".parse().ok()).contains("ftp://a/"));
    }
}
