//! The switch of the protocol of 2018.
use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

use crate::ConfigError;

/// Accounts that may be listed.
const MAX_BROADCASTERS: usize = 1024;

/// Whether, and for whom, jobs of the protocol of 2018 are done.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobsConfig {
    /// Whether `GetTranscoder` is answered and segments of jobs are taken.
    pub enabled: bool,
    /// Whose jobs are done. That protocol carries no tickets: whoever is listed pays elsewhere, or not at all.
    pub broadcasters: Vec<Address>,
}

impl JobsConfig {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if self.enabled && self.broadcasters.is_empty() {
            return Err(ConfigError::NoJobBroadcasters);
        }
        if self.broadcasters.len() > MAX_BROADCASTERS {
            return Err(ConfigError::TooManyJobBroadcasters { got: self.broadcasters.len(), max: MAX_BROADCASTERS });
        }
        Ok(())
    }
}
