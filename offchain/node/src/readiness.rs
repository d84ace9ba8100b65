//! What a role needs before it can work, and what is missing: the answer of `/readyz`.
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::time::Instant;
use tracing::Level;

/// Time after the start in which needs that are not met yet are no reason to warn.
const STARTING: Duration = Duration::from_secs(5);

/// What a role needs before it can work, and what is missing.
#[derive(Clone, Debug)]
pub struct Readiness {
    started: Instant,
    needs: Arc<Mutex<BTreeMap<&'static str, Known>>>,
}

/// What is known of a need, and whether a warning about it is in the log.
#[derive(Clone, Debug)]
struct Known {
    need: Need,
    warned: bool,
}

/// One thing that a role needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Need {
    /// It is there.
    Met,
    /// It is not.
    Missing(Lack),
}

/// Why a need is not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lack {
    /// In words, with what to do.
    pub reason: String,
    /// What was measured and what it is held against.
    #[serde(flatten)]
    pub figures: Option<Figures>,
}

/// A measured value that is beyond its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Measured.
    pub got: u64,
    /// Allowed.
    pub limit: u64,
    /// Setting that the limit comes from.
    pub setting: &'static str,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { started: Instant::now(), needs: Arc::default() }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Met => f.write_str("met"),
            Self::Missing(lack) => f.write_str(&lack.reason),
        }
    }
}

impl Need {
    fn missing(reason: impl fmt::Display, figures: Option<Figures>) -> Self {
        Self::Missing(Lack { reason: reason.to_string(), figures })
    }

    /// Whether there is nothing to tell after `before`. A figure that moves beyond its limit is no news.
    fn is_as(&self, before: &Self) -> bool {
        let beyond = |need: &Self| match need {
            Self::Missing(Lack { figures: Some(figures), .. }) => Some(figures.setting),
            _ => None,
        };
        self == before || (beyond(self).is_some() && beyond(self) == beyond(before))
    }
}

impl Readiness {
    /// `need` is there.
    pub fn met(&self, need: &'static str) {
        self.set(need, Need::Met);
    }

    /// `need` is not there. Logged whenever the reason changes; a warning only after `STARTING`.
    pub fn missing(&self, need: &'static str, reason: impl fmt::Display) {
        self.set(need, Need::missing(reason, None));
    }

    /// The same because a measured value is beyond its limit.
    pub fn beyond(&self, need: &'static str, reason: impl fmt::Display, figures: Figures) {
        self.set(need, Need::missing(reason, Some(figures)));
    }

    /// Everything, by name.
    pub fn needs(&self) -> BTreeMap<&'static str, Need> {
        self.lock().iter().map(|(name, known)| (*name, known.need.clone())).collect()
    }

    /// Whether nothing is missing.
    pub fn is_ready(&self) -> bool {
        self.lock().values().all(|known| known.need == Need::Met)
    }

    fn set(&self, name: &'static str, need: Need) {
        match self.change(name, &need) {
            Some(Level::WARN) => tracing::warn!(need = name, reason = need.to_string(), "not ready"),
            Some(_) if need == Need::Met => tracing::info!(need = name, "ready"),
            Some(_) => tracing::info!(need = name, reason = need.to_string(), "not ready yet"),
            None => {}
        }
    }

    /// How loud the news is, if it is any.
    fn change(&self, name: &'static str, need: &Need) -> Option<Level> {
        let warn = *need != Need::Met && self.started.elapsed() >= STARTING;
        let mut needs = self.lock();
        let before = needs.get(name);
        // What was missing from the start on and still is, has not been warned of.
        let is_news = before.is_none_or(|before| !need.is_as(&before.need) || (warn && !before.warned));
        needs.insert(name, Known { need: need.clone(), warned: warn });
        is_news.then_some(if warn { Level::WARN } else { Level::INFO })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Known>> {
        self.needs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_missing_right_after_the_start_is_no_warning() {
        let readiness = Readiness::default();
        let missing = |reason: &str| Need::missing(reason, None);
        assert_eq!(readiness.change("chain", &missing("connecting")), Some(Level::INFO));
        assert_eq!(readiness.change("chain", &missing("refused")), Some(Level::INFO));
        assert_eq!(readiness.change("chain", &missing("refused")), None);
        tokio::time::advance(STARTING).await;
        assert_eq!(readiness.change("chain", &missing("refused")), Some(Level::WARN));
        assert_eq!(readiness.change("chain", &missing("refused")), None);
        assert_eq!(readiness.change("chain", &Need::Met), Some(Level::INFO));
        assert_eq!(readiness.change("chain", &Need::Met), None);
        assert_eq!(readiness.change("chain", &missing("no answer")), Some(Level::WARN));
    }

    #[tokio::test]
    async fn a_figure_that_moves_is_told_once() {
        let readiness = Readiness::default();
        let free = |got| Need::missing(got, Some(Figures { got, limit: 9, setting: "data.min_free_bytes" }));
        assert!(readiness.change("disk", &free(3)).is_some());
        assert_eq!(readiness.change("disk", &free(2)), None);
        assert!(readiness.change("disk", &Need::Met).is_some());
        assert_eq!(
            serde_json::to_value(free(2)).unwrap(),
            serde_json::json!({
                "state": "missing", "reason": "2", "got": 2, "limit": 9, "setting": "data.min_free_bytes"
            })
        );
        assert_eq!(serde_json::to_value(Need::Met).unwrap(), serde_json::json!({ "state": "met" }));
    }
}
