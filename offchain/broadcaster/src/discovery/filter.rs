//! What keeps a candidate from being asked at all.
use std::{collections::BTreeMap, fmt};

use alloy_primitives::{Address, B256, U256};
use url::Url;

use super::{Candidate, DiscoveryConfig, config::registry_id, parse_address};
use crate::selection::Reason;

/// An entry of the blocklist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Blocked {
    Account(Address),
    Host(String, Option<u16>),
}

impl Blocked {
    pub(super) fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim();
        if let Ok(account) = entry.parse() {
            return Some(Self::Account(account));
        }
        let url = parse_address(entry).ok()?;
        let bare = entry.split_once("://").map_or(entry, |(_, rest)| rest).trim_end_matches('/');
        let host = url.host_str()?.to_owned();
        let port = (bare.len() > host.len()).then(|| url.port_or_known_default()).flatten();
        Some(Self::Host(host, port))
    }

    fn matches(&self, url: &Url, account: Option<Address>) -> bool {
        match self {
            Self::Account(blocked) => account == Some(*blocked),
            Self::Host(host, port) => {
                url.host_str() == Some(host) && port.is_none_or(|port| url.port_or_known_default() == Some(port))
            }
        }
    }
}

/// The configured filters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    blocked: Vec<(String, Blocked)>,
    regions: Vec<B256>,
    region_names: String,
    service: Option<(String, B256)>,
    minimum_stake: U256,
}

impl Filter {
    /// Of settings that are valid.
    pub(crate) fn new(config: &DiscoveryConfig) -> Self {
        let blocked = config.blocklist.iter().filter_map(|entry| Some((entry.clone(), Blocked::parse(entry)?)));
        Self {
            blocked: blocked.collect(),
            regions: config.regions.iter().filter_map(|id| registry_id(id)).collect(),
            region_names: config.regions.join(", "),
            service: config.service.as_ref().and_then(|id| Some((id.clone(), registry_id(id)?))),
            minimum_stake: config.minimum_stake,
        }
    }

    /// Why the candidate is not asked. `account` is the one that it quoted with, if it has. Our own need no stake, and what
    /// no registry tells cannot be filtered by.
    pub(crate) fn reason(&self, candidate: &Candidate, account: Option<Address>) -> Option<Reason> {
        let account = candidate.address.or(account);
        if let Some((entry, _)) = self.blocked.iter().find(|(_, blocked)| blocked.matches(&candidate.url, account)) {
            return Some(Reason::Blocked(entry.clone()));
        }
        if candidate.own {
            return None;
        }
        if let Some(got) = candidate.stake.filter(|stake| *stake < self.minimum_stake) {
            return Some(Reason::Stake { got, least: self.minimum_stake });
        }
        let offer = candidate.offer.as_ref()?;
        if let Some((name, service)) = &self.service
            && !offer.services.contains(service)
        {
            return Some(Reason::Service { wanted: name.clone() });
        }
        if !self.regions.is_empty() && !self.regions.iter().any(|region| offer.regions.contains(region)) {
            return Some(Reason::Region { wanted: self.region_names.clone() });
        }
        None
    }
}

/// How many candidates were dropped for what, with an example of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dropped(BTreeMap<&'static str, (usize, String)>);

impl Dropped {
    pub(crate) fn add(&mut self, reason: &Reason) {
        let (count, _) = self.0.entry(reason.code()).or_insert_with(|| (0, reason.to_string()));
        *count += 1;
    }

    /// How many in all.
    pub(crate) fn total(&self) -> usize {
        self.0.values().map(|(count, _)| count).sum()
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (code, (count, example)) in &other.0 {
            self.0.entry(code).or_insert_with(|| (0, example.clone())).0 += count;
        }
    }

    /// For `/status`: code, count, example.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'static str, usize, &str)> {
        self.0.iter().map(|(code, (count, example))| (*code, *count, example.as_str()))
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "none of {} orchestrators may be used", self.total())?;
        for (index, (count, example)) in self.0.values().enumerate() {
            write!(f, "{} {count} × {example}", if index == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::CandidateOffer;
    use super::*;

    fn candidate(url: &str) -> Candidate {
        let offer = CandidateOffer {
            services: vec![registry_id("transcoding/h264").unwrap()],
            regions: vec![registry_id("eu-west").unwrap()],
        };
        let url = url.parse().unwrap();
        let address = Some(Address::repeat_byte(7));
        Candidate { stake: Some(U256::from(50)), offer: Some(offer), ..Candidate::of_market(url, address) }
    }

    fn dropped(change: impl FnOnce(&mut DiscoveryConfig)) -> Option<&'static str> {
        let mut config = DiscoveryConfig::default();
        change(&mut config);
        let reason = Filter::new(&config).reason(&candidate("https://o.example:8935"), None);
        reason.map(|reason| reason.code())
    }

    #[test]
    fn each_filter_drops_what_it_names_and_nothing_else() {
        assert_eq!(dropped(|_| ()), None);
        assert_eq!(dropped(|c| c.minimum_stake = U256::from(51)), Some("stake"));
        assert_eq!(dropped(|c| c.minimum_stake = U256::from(50)), None);
        assert_eq!(dropped(|c| c.regions = vec!["us-east".into()]), Some("region"));
        assert_eq!(dropped(|c| c.regions = vec!["us-east".into(), "eu-west".into()]), None);
        assert_eq!(dropped(|c| c.service = Some("transcoding/av1".into())), Some("service"));
        assert_eq!(dropped(|c| c.service = Some("transcoding/h264".into())), None);
    }

    #[test]
    fn the_blocklist_knows_accounts_hosts_and_ports() {
        for (entry, drops) in [
            ("0x0707070707070707070707070707070707070707", true),
            ("0x0808080808080808080808080808080808080808", false),
            ("o.example", true),
            ("o.example:8935", true),
            ("https://o.example:8935", true),
            ("o.example:443", false),
            ("example", false),
        ] {
            assert_eq!(dropped(|c| c.blocklist = vec![entry.into()]).is_some(), drops, "{entry}");
        }
    }

    #[test]
    fn an_account_that_only_a_quote_told_is_blocked_too() {
        let config = DiscoveryConfig { blocklist: vec![Address::repeat_byte(9).to_string()], ..Default::default() };
        let unknown = Candidate::own("https://o.example".parse().unwrap());
        let filter = Filter::new(&config);
        assert_eq!(filter.reason(&unknown, None), None);
        assert!(filter.reason(&unknown, Some(Address::repeat_byte(9))).is_some());
    }

    #[test]
    fn our_own_need_no_stake() {
        let config = DiscoveryConfig { minimum_stake: U256::from(51), ..Default::default() };
        let own = Candidate { own: true, ..candidate("https://o.example") };
        assert_eq!(Filter::new(&config).reason(&own, None), None);
    }

    #[test]
    fn what_was_dropped_is_counted_with_figures_and_settings() {
        let mut dropped = Dropped::default();
        for got in [5, 6] {
            dropped.add(&Reason::Stake { got: U256::from(got), least: U256::from(7) });
        }
        dropped.add(&Reason::Blocked("o.example".into()));
        assert_eq!(
            dropped.to_string(),
            "none of 3 orchestrators may be used: \
             1 × blocked by \"o.example\" (setting broadcaster.discovery.blocklist); \
             2 × stake 5 LPT wei is below 7 (setting broadcaster.discovery.minimum_stake)"
        );
    }
}
