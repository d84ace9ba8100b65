//! Settings of the close look at results.
use std::time::Duration;

use serde::{Deserialize, Serialize};
use streamflow_media::MAX_COMPARED_FRAMES;
use url::Url;

use super::conviction::Terms;

/// Ten years.
const LONGEST_SUSPENSION: Duration = Duration::from_secs(3650 * 24 * 3600);

/// How results are looked at beyond decoding them, and what follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VerificationConfig {
    /// One result in so many is compared with its source, by chance; 1: each, 0: none.
    pub one_in: u32,
    /// Results of an orchestrator that must pass before chance decides.
    pub probation: u32,
    /// Frames of each rendition compared in full size.
    pub frames: u32,
    /// Signal-to-noise ratio below which a rendition is encoded again to compare, decibels.
    pub odd_psnr_db: u32,
    /// Part of the source's finest detail below which it is, of a thousand.
    pub odd_detail_permille: u32,
    /// How long a convicted orchestrator gets no work while there is another.
    #[serde(with = "humantime_serde")]
    pub suspension: Duration,
    /// The same where only pixels or sizes are wrong, as an odd peer may have them: twice as long each time it is let back in
    /// and does it again, up to `suspension`.
    #[serde(with = "humantime_serde")]
    pub form_suspension: Duration,
    /// Orchestrators that are not sampled; the first one encodes in doubt, in place of our own workers.
    pub trusted: Vec<Url>,
    /// Whether a result without a good receipt is refused. Deployed peers send none.
    pub require_receipts: bool,
    /// How long receipts are kept.
    #[serde(with = "humantime_serde")]
    pub keep_receipts: Duration,
}

impl Default for VerificationConfig {
    fn default() -> Self {
        Self {
            one_in: 10,
            probation: 3,
            frames: 6,
            odd_psnr_db: 28,
            odd_detail_permille: 500,
            suspension: Duration::from_secs(6 * 3600),
            form_suspension: Duration::from_secs(600),
            trusted: Vec::new(),
            require_receipts: false,
            keep_receipts: Duration::from_secs(14 * 24 * 3600),
        }
    }
}

impl VerificationConfig {
    /// The first setting that makes no sense, by its name below `broadcaster.`.
    pub(crate) fn unusable(&self) -> Option<&'static str> {
        if self.frames == 0 || self.frames > MAX_COMPARED_FRAMES {
            return Some("verification.frames");
        }
        let bad = |url: &Url| !matches!(url.scheme(), "http" | "https") || url.host_str().is_none();
        if self.trusted.iter().any(bad) {
            return Some("verification.trusted");
        }
        if self.suspension.is_zero() || self.suspension > LONGEST_SUSPENSION {
            return Some("verification.suspension");
        }
        self.form_suspension.is_zero().then_some("verification.form_suspension")
    }

    pub(crate) fn terms(&self) -> Terms {
        Terms { cheat: self.suspension, form: self.form_suspension }
    }
}
