//! What a stream holds on to: its orchestrator, and what it has under way where.
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use url::Url;

/// Shared by a stream and its segments under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Affinity(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    home: Option<Url>,
    under_way: HashMap<Url, u32>,
    swaps: u64,
}

impl Affinity {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same stream once nothing of it is under way any more.
    pub(crate) fn later(&self) -> Self {
        Self(Arc::new(Mutex::new(Held { home: self.home(), ..Held::default() })))
    }

    /// The orchestrator of the stream.
    pub(crate) fn home(&self) -> Option<Url> {
        self.held().home.clone()
    }

    /// Makes `url` the orchestrator of the stream. Returns whether it was another before.
    pub(crate) fn settle(&self, url: &Url) -> bool {
        let mut held = self.held();
        let swapped = held.home.as_ref().is_some_and(|home| home != url);
        if held.home.as_ref() != Some(url) {
            held.home = Some(url.clone());
        }
        held.swaps += u64::from(swapped);
        swapped
    }

    /// Segments under way at `url`.
    pub(crate) fn ahead(&self, url: &Url) -> u32 {
        self.held().under_way.get(url).copied().unwrap_or(0)
    }

    pub(crate) fn begin(&self, url: &Url) {
        *self.held().under_way.entry(url.clone()).or_default() += 1;
    }

    pub(crate) fn end(&self, url: &Url) {
        let mut held = self.held();
        if let Some(count) = held.under_way.get_mut(url) {
            *count -= 1;
            if *count == 0 {
                held.under_way.remove(url);
            }
        }
    }

    /// How often the stream changed its orchestrator.
    pub(crate) fn swaps(&self) -> u64 {
        self.held().swaps
    }
}
