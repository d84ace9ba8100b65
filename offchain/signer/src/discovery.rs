//! The list of orchestrators and what each can do (payments.md §2.1). Asked for now and then, served from memory.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{auth, ceiling::Ceiling, config::DiscoveryConfig, signer::Roster};

/// Time for one orchestrator's answer, and its longest size.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_ANSWER: usize = 1 << 20;
/// Orchestrators asked at a time, and at most.
const PARALLEL: usize = 16;
const MAX_ORCHESTRATORS: usize = 10_000;
/// Entries and names kept of one orchestrator.
const MAX_ITEMS: usize = 256;
const MAX_NAME: usize = 256;
/// Score of an orchestrator that no webhook scored.
const TRUSTED: f64 = 1.0;
/// Units that a runner may be priced in.
const UNITS: [&str; 3] = ["seconds", "720p-pixel-seconds", "fixed"];

/// One orchestrator as it is served; empty fields are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    #[serde(default)]
    pub(crate) address: String,
    #[serde(default = "trusted")]
    pub(crate) score: f64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) capabilities: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) runners: Vec<serde_json::Value>,
}

fn trusted() -> f64 {
    TRUSTED
}

pub(crate) struct Discovery {
    config: DiscoveryConfig,
    roster: watch::Receiver<Option<Arc<Roster>>>,
    http: reqwest::Client,
    found: RwLock<Arc<Vec<Entry>>>,
    /// Held while it is asked around, so that requests on an empty list ask once.
    asking: tokio::sync::Mutex<()>,
    /// How often it was.
    asked: AtomicU64,
}

impl Discovery {
    pub(crate) fn new(
        config: &DiscoveryConfig,
        roster: watch::Receiver<Option<Arc<Roster>>>,
    ) -> Result<Self, reqwest::Error> {
        // Orchestrators have certificates of their own making, here as everywhere.
        let http = auth::client(ASK_TIMEOUT).tls_danger_accept_invalid_certs(true).build()?;
        let (found, asking, asked) = Default::default();
        Ok(Self { config: config.clone(), roster, http, found, asking, asked })
    }

    /// Asks around at once and then now and then.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        let mut tick = tokio::time::interval(self.config.refresh);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! { biased;
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            let _asking = self.asking.lock().await;
            tokio::select! { biased;
                () = stop.cancelled() => return,
                () = self.ask_around() => {}
            }
        }
    }

    /// Those that offer one of the wanted capabilities, or all; none while nobody is known.
    pub(crate) async fn find(&self, wanted: &[String]) -> Option<Vec<Entry>> {
        if self.found().is_empty() {
            let asked = self.asked.load(Ordering::SeqCst);
            let _asking = self.asking.lock().await;
            // Whoever waited shares what the one before found, even if that is nothing.
            if self.found().is_empty() && self.asked.load(Ordering::SeqCst) == asked {
                self.ask_around().await;
            }
        }
        let found = self.found();
        let fits = |entry: &&Entry| wanted.is_empty() || wanted.iter().any(|want| entry.capabilities.contains(want));
        (!found.is_empty()).then(|| found.iter().filter(fits).cloned().collect())
    }

    fn found(&self) -> Arc<Vec<Entry>> {
        self.found.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn ask_around(&self) {
        let sources = self.sources().await;
        let asked = stream::iter(sources.into_values()).map(|entry| self.ask(entry)).buffered(PARALLEL);
        let found: Vec<Entry> = asked.collect().await;
        tracing::info!(orchestrators = found.len(), "asked around");
        *self.found.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(found);
        self.asked.fetch_add(1, Ordering::SeqCst);
    }

    /// Whom to ask, by address without a slash at the end.
    async fn sources(&self) -> BTreeMap<String, Entry> {
        let listed = match &self.config.webhook {
            Some(webhook) => match self.fetch(webhook.clone()).await {
                Ok(entries) => entries,
                Err(err) => {
                    tracing::warn!(%err, "list of orchestrators cannot be fetched");
                    Vec::new()
                }
            },
            None if !self.config.orchestrators.is_empty() => entries(self.config.orchestrators.iter()),
            None => self.roster.borrow().as_ref().map(|roster| entries(roster.service_uris())).unwrap_or_default(),
        };
        let mut sources = BTreeMap::new();
        for entry in listed.into_iter().take(MAX_ORCHESTRATORS) {
            let address = entry.address.trim_end_matches('/').to_owned();
            sources.entry(address.clone()).or_insert(Entry { address, score: entry.score, ..Entry::default() });
        }
        sources
    }

    /// What an orchestrator says of itself; if it says nothing, where it is.
    async fn ask(&self, mut entry: Entry) -> Entry {
        let Ok(url) = Url::parse(&format!("{}/discovery", entry.address)) else { return entry };
        match self.fetch(url).await {
            Ok(answers) => merge(&mut entry, answers),
            Err(err) => tracing::debug!(address = entry.address, %err, "orchestrator did not describe itself"),
        }
        entry
    }

    async fn fetch(&self, url: Url) -> Result<Vec<Entry>, FetchError> {
        let reply = self.http.get(url).send().await?.error_for_status()?;
        let mut stream = reply.bytes_stream();
        let mut body = Vec::new();
        while let Some(chunk) = stream.next().await {
            body.extend_from_slice(&chunk?);
            if body.len() > MAX_ANSWER {
                return Err(FetchError::TooLong);
            }
        }
        Ok(read_entries(&body)?)
    }
}

/// A list; a single orchestrator may leave it away.
pub(crate) fn read_entries(body: &[u8]) -> Result<Vec<Entry>, serde_json::Error> {
    serde_json::from_slice(body).or_else(|_| Ok(vec![serde_json::from_slice(body)?]))
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{}", .0.status().map_or("no answer".to_owned(), |status| status.to_string()))]
    Http(#[from] reqwest::Error),
    #[error("answer is too long")]
    TooLong,
    #[error("answer is no list of orchestrators")]
    Json(#[from] serde_json::Error),
}

fn entries<'a>(urls: impl Iterator<Item = &'a Url>) -> Vec<Entry> {
    urls.map(|url| Entry { address: url.to_string(), score: TRUSTED, ..Entry::default() }).collect()
}

/// Adds what can be used of the answers: capabilities by name, runners by URL, the first of each.
pub(crate) fn merge(entry: &mut Entry, answers: Vec<Entry>) {
    let mut capabilities = BTreeSet::new();
    let mut runners = BTreeMap::new();
    for answer in answers {
        let named = answer.capabilities.into_iter().filter(|name| !name.is_empty() && name.len() <= MAX_NAME);
        capabilities.extend(named.take(MAX_ITEMS));
        for runner in answer.runners {
            if let Some((url, app)) = usable(&runner).filter(|_| runners.len() < MAX_ITEMS) {
                capabilities.insert(app);
                runners.entry(url).or_insert(runner);
            }
        }
    }
    entry.capabilities = capabilities.into_iter().take(MAX_ITEMS).collect();
    entry.runners = runners.into_values().collect();
}

/// URL and app of a runner that has what it needs: both, a positive price in wei, a known unit, metadata if any an object.
fn usable(runner: &serde_json::Value) -> Option<(String, String)> {
    let text = |name: &str| runner.get(name)?.as_str().filter(|text| !text.is_empty() && text.len() <= MAX_NAME);
    let (url, app) = (text("url")?, text("app")?);
    let url: Url = url.parse().ok()?;
    let price = runner.get("price")?;
    let is_wei = price.get("currency")?.as_str()?.eq_ignore_ascii_case("wei");
    let known_unit = UNITS.contains(&price.get("unit")?.as_str()?);
    let amount = price.get("price")?;
    let positive = Ceiling::from_decimal(amount.as_str().unwrap_or(&amount.to_string())).is_ok();
    let metadata = runner.get("metadata").is_none_or(|metadata| metadata.is_object());
    (is_wei && known_unit && positive && metadata).then(|| (url.to_string(), app.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn runner(change: impl FnOnce(&mut serde_json::Value)) -> serde_json::Value {
        let price = json!({ "price": 12.5, "currency": "wei", "unit": "seconds" });
        let mut runner = json!({ "url": "https://r.example/", "app": "live-video-to-video/m", "price": price });
        change(&mut runner);
        runner
    }

    #[test]
    fn a_runner_needs_an_address_an_app_and_a_price() {
        assert!(usable(&runner(|_| ())).is_some());
        let broken: [fn(&mut serde_json::Value); 6] = [
            |r| r["url"] = "".into(),
            |r| r["app"] = json!(null),
            |r| r["price"]["price"] = 0.into(),
            |r| r["price"]["currency"] = "usd".into(),
            |r| r["price"]["unit"] = "pixels".into(),
            |r| r["metadata"] = "x".into(),
        ];
        for change in broken {
            assert_eq!(usable(&runner(change)), None);
        }
    }

    #[test]
    fn the_first_of_two_runners_counts_and_apps_are_capabilities() {
        let answer = |capacity: u32| Entry {
            capabilities: vec!["a/b".into()],
            runners: vec![runner(|r| r["capacity"] = capacity.into())],
            ..Entry::default()
        };
        let mut entry = Entry::default();
        merge(&mut entry, vec![answer(1), answer(2)]);
        assert_eq!(entry.capabilities, ["a/b", "live-video-to-video/m"]);
        assert_eq!(entry.runners.len(), 1);
        assert_eq!(entry.runners[0]["capacity"], 1);
    }
}
