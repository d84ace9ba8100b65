//! Settings that may change while the broadcaster runs.
use std::sync::{Arc, PoisonError, RwLock};

use crate::{broadcaster::Core, config::BroadcasterConfig};

/// The newest settings. What is not meant to change is read from [`Core::config`], which stays as it was at the start.
#[derive(Debug)]
pub(crate) struct LiveConfig(RwLock<Arc<BroadcasterConfig>>);

impl LiveConfig {
    pub(crate) fn new(config: BroadcasterConfig) -> Self {
        Self(RwLock::new(Arc::new(config)))
    }

    fn get(&self) -> Arc<BroadcasterConfig> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Core {
    /// As they are now: renditions and budget of a stream that begins, limits on what is paid, number of streams.
    pub(crate) fn settings(&self) -> Arc<BroadcasterConfig> {
        self.live.get()
    }

    /// Takes new settings over. Streams and sessions that are open keep what they began with; limits on payments and the
    /// budget of the day hold at once. Whatever is of use only at the start stays as it was.
    pub(crate) fn reconfigure(&self, config: &BroadcasterConfig) {
        let adopted = BroadcasterConfig {
            profiles: config.profiles.clone(),
            payment: config.payment.clone(),
            budget: config.budget.clone(),
            max_streams: config.max_streams,
            ..self.config.clone()
        };
        if let Some(payer) = &self.payer {
            payer.set_limits(&adopted.payment, &adopted.budget);
        }
        *self.live.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(adopted);
    }
}
