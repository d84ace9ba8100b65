//! What one attempt and its race tell each other.
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio_util::sync::CancellationToken;

use crate::verify::Rendition;

/// How an attempt ended that did not fail.
#[derive(Debug)]
pub(crate) enum Finished {
    /// With verified renditions.
    Done(Vec<Rendition>),
    /// Another was first: paid and settled, but not fetched.
    Overtaken,
    /// Another was first, before anything was paid.
    Unpaid,
    /// There was no segment in the end, or none that was expected.
    BrokenOff,
}

#[derive(Clone, Debug)]
pub(crate) struct Lane {
    won: CancellationToken,
    compared: bool,
    accepted: Arc<AtomicBool>,
}

impl Lane {
    /// In a race that ends with `won`; with `compared` the result counts although another was first.
    pub(crate) fn new(won: CancellationToken, compared: bool) -> Self {
        Self { won, compared, accepted: Arc::default() }
    }

    /// Of an attempt that races with nobody.
    pub(crate) fn alone() -> Self {
        Self::new(CancellationToken::new(), false)
    }

    /// Whether the result is of no use any more.
    pub(crate) fn is_overtaken(&self) -> bool {
        !self.compared && self.won.is_cancelled()
    }

    /// Whether somebody has done the segment.
    pub(crate) fn is_won(&self) -> bool {
        self.won.is_cancelled()
    }

    /// Whether every result is compared with the source.
    pub(crate) fn is_compared(&self) -> bool {
        self.compared
    }

    /// The orchestrator has the segment, and says that it works on it.
    pub(crate) fn accept(&self) {
        self.accepted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }
}
