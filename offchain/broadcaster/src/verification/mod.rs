//! Looking closely at a part of the results, which nobody can foresee, and telling honest work from cheats
//! (docs/designs/028-verification.md).
//!
//! Every result is decoded and counted ([`crate::verify`]). Of these, one in N is compared with its source, frame by frame. What
//! looks odd is no proof: the segment is encoded again, by ourselves or by an orchestrator that is trusted, and the result is
//! held against that.
mod conviction;
mod judge;
mod receipts;
mod seen;
mod settings;
#[cfg(test)]
mod tests;
mod trust;
mod verdict;

use alloy_primitives::keccak256;
use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use streamflow_media::{Comparison, PoolError, Sampling, TranscodeSettings};
use streamflow_types::{Profile, with_causes};
use tokio::time::Instant;
use url::Url;

pub(crate) use conviction::{Conviction, Terms};
pub use receipts::ReceiptError;
pub(crate) use seen::{Looked, Seen, key};
pub use settings::VerificationConfig;
pub(crate) use trust::Trust;
pub use verdict::{Evidence, Verdict};

use crate::{
    broadcaster::Core,
    discovery::Candidate,
    error::{AttemptError, VerifyError},
    metrics,
    race::{Deadlines, Finished, Lane, Link},
    segment::Segment,
    session::Session,
    stream::LiveStream,
    verify::{Checked, Scrutiny},
};

/// What the re-encode is made with: the least that an honest encoder does.
fn reference_settings() -> TranscodeSettings {
    TranscodeSettings { preset: "ultrafast".into(), encoder_threads: 1, ..TranscodeSettings::default() }
}

impl Core {
    /// Whether this orchestrator's result is compared with its source, and by which frames. Drawn once the result is there,
    /// unless `all` are.
    pub(crate) fn scrutiny(&self, session: &Session, segment: &Segment, all: bool) -> Option<Scrutiny> {
        let config = &self.config.verification;
        let one_in = session.compared_one_in(config.one_in);
        let drawn = all || self.trust.draw(&session.url, config, one_in);
        drawn.then(|| Scrutiny {
            source: segment.media.clone(),
            sampling: Sampling { seed: self.trust.seed(keccak256(&segment.media)), frames: config.frames },
        })
    }

    /// Judges a result that was compared; what was not passes.
    ///
    /// # Errors
    /// [`VerifyError::Cheat`] with the evidence, [`VerifyError::Doubtful`] when nothing could be held against it.
    pub(crate) async fn judge(
        &self,
        stream: &LiveStream,
        segment: &Segment,
        session: &Session,
        checked: &Checked,
    ) -> Result<(), VerifyError> {
        let Some(compared) = &checked.compared else { return Ok(()) };
        metrics::compared();
        let config = &self.config.verification;
        let suspects: Vec<usize> =
            (0..compared.len()).filter(|index| judge::doubt(&compared[*index], config).is_some()).collect();
        for index in &suspects {
            let name = stream.profiles()[*index].name.clone();
            if let Some(evidence) = judge::proof(&compared[*index]) {
                return Err(VerifyError::Cheat { name, evidence });
            }
        }
        if let Some(first) = suspects.first() {
            let doubt = judge::doubt(&compared[*first], config).unwrap_or_default();
            let name = &stream.profiles()[*first].name;
            tracing::info!(url = %session.url, rendition = name, doubt, "result looks odd, segment is encoded again");
            metrics::suspected(doubt);
            let honest = self.reference(stream, segment, session, &suspects).await.map_err(|error| {
                tracing::warn!(error = with_causes(&error), "no reference to judge a result by");
                VerifyError::Doubtful { name: name.clone(), doubt, source: Box::new(error) }
            })?;
            for (index, honest) in suspects.iter().zip(&honest) {
                if let Some(evidence) = judge::convict(&compared[*index], honest, &segment.info) {
                    return Err(VerifyError::Cheat { name: stream.profiles()[*index].name.clone(), evidence });
                }
            }
        }
        self.trust.passed(&session.url);
        Ok(())
    }

    /// What honest renditions of these profiles look like beside the source.
    async fn reference(
        &self,
        stream: &LiveStream,
        segment: &Segment,
        session: &Session,
        indices: &[usize],
    ) -> Result<Vec<Comparison>, AttemptError> {
        let sampling =
            Sampling { seed: self.trust.seed(keccak256(&segment.media)), frames: self.config.verification.frames };
        let other = self.config.verification.trusted.iter().find(|url| **url != session.url);
        if let Some(url) = other {
            match self.trusted_renditions(stream, segment, url).await {
                Ok(all) => {
                    let some: Vec<Bytes> = indices.iter().filter_map(|index| all.get(*index).cloned()).collect();
                    return Ok(self.checker.compare_with(&segment.media, &some, sampling).await.map_err(unchecked)?);
                }
                Err(error) => {
                    tracing::warn!(%url, error = with_causes(&error), "trusted orchestrator gave no reference, own worker does");
                }
            }
        }
        let profiles: Vec<Profile> = indices.iter().map(|index| stream.profiles()[*index].clone()).collect();
        let compared = self.checker.reference(&segment.media, profiles, sampling, reference_settings()).await;
        Ok(compared.map_err(unchecked)?)
    }

    /// Boxed, because it is an attempt within an attempt.
    fn trusted_renditions<'a>(
        &'a self,
        stream: &'a LiveStream,
        segment: &'a Segment,
        url: &'a Url,
    ) -> BoxFuture<'a, Result<Vec<Bytes>, AttemptError>> {
        let attempt = async move {
            let candidate = Candidate::own(url.clone());
            let deadline = self.config.selection.deadline(segment.duration);
            let load = stream.load(&segment.outline(), segment.media.len(), deadline);
            let multiplier = stream.orders().timeout_multiplier(&self.config);
            let deadlines = Deadlines::new(load, &Link::default(), None, multiplier);
            match self.attempt(stream, segment, &candidate, deadlines, &Lane::alone()).await? {
                Finished::Done(renditions) => Ok(renditions.into_iter().map(|rendition| rendition.media).collect()),
                Finished::Overtaken | Finished::Unpaid | Finished::BrokenOff => Ok(Vec::new()),
            }
        };
        attempt.boxed()
    }

    /// Notes what a failed attempt proves, if it does.
    pub(crate) fn note_verdict(&self, url: &Url, error: &AttemptError) {
        let AttemptError::Verify(error) = error else { return };
        let Some(verdict) = Verdict::of(error) else { return };
        let (why, terms, now) = (with_causes(error), self.config.verification.terms(), Instant::now());
        let rest = self.orchestrators.convicted(url, verdict, &why, terms, now);
        tracing::warn!(%url, %verdict, ?rest, error = why, "orchestrator is convicted and suspended");
        metrics::convicted(verdict);
        self.trust.forget(url);
    }
}

fn unchecked(source: PoolError) -> VerifyError {
    VerifyError::Unchecked { name: "made to compare with".to_owned(), source }
}
