//! The seam between taking a segment and having it transcoded.
use std::{fmt, future::Future, pin::Pin, time::Duration};

use bytes::Bytes;
use streamflow_types::{ManifestId, Profile, VideoCodec};
use streamflow_wire::{TranscodeError, capability::Capability};

use crate::live::Live;

/// A segment to transcode, with all that a transcoder needs to know.
#[derive(Clone)]
pub struct TranscodeJob {
    /// The stream that the segment is from.
    pub manifest_id: ManifestId,
    /// Transcode session, chosen by the orchestrator. Segments of one session come in order and one at a time, so an
    /// implementation may keep state under this name until [`Transcode::end_session`].
    pub session_id: String,
    /// Number of the segment in its stream.
    pub seq: u64,
    /// How long the segment plays.
    pub duration: Duration,
    /// What its pictures are coded in, as its sender says.
    pub source: VideoCodec,
    /// The segment's container bytes; none where they come by [`Live`].
    pub input: Bytes,
    /// What to make of it; renditions come in this order.
    pub profiles: Vec<Profile>,
}

impl fmt::Debug for TranscodeJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TranscodeJob")
            .field("manifest_id", &self.manifest_id)
            .field("session_id", &self.session_id)
            .field("seq", &self.seq)
            .field("duration", &self.duration)
            .field("source", &self.source)
            .field("input_bytes", &self.input.len())
            .field("profiles", &self.profiles)
            .finish()
    }
}

/// One encoded output.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendition {
    /// Container bytes.
    pub data: Bytes,
    /// Encoded pixels: frames times width times height.
    pub pixels: u64,
}

impl fmt::Debug for Rendition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rendition").field("bytes", &self.data.len()).field("pixels", &self.pixels).finish()
    }
}

/// What [`Transcode::transcode`] returns.
pub type TranscodeFuture<'a> = Pin<Box<dyn Future<Output = Result<Vec<Rendition>, TranscodeError>> + Send + 'a>>;

/// What [`Transcode::transcode_live`] returns: the pixels of each rendition, frames times width times height, in the order of
/// the profiles.
pub type LiveFuture<'a> = Pin<Box<dyn Future<Output = Result<Vec<u64>, TranscodeError>> + Send + 'a>>;

/// Makes renditions of segments: the pool of remote transcoders, or workers of this process.
pub trait Transcode: Send + Sync + fmt::Debug {
    /// Transcodes one segment; the renditions come in the order of the profiles, as many as there are.
    ///
    /// The future may be dropped at any time, which gives up the segment. It must end by itself within
    /// [`deadline`]`(job.duration)`.
    fn transcode(&self, job: TranscodeJob) -> TranscodeFuture<'_>;

    /// The same for a segment that still comes in, with renditions that leave while they are made. Who cannot begin before
    /// all of it is there waits for that.
    ///
    /// It must end by itself within [`live_deadline`]`(job.duration)`.
    fn transcode_live(&self, job: TranscodeJob, live: Live) -> LiveFuture<'_> {
        Box::pin(async move {
            let input = live.input.whole().await?;
            let renditions = self.transcode(TranscodeJob { input, ..job }).await?;
            live.output.check(renditions.iter().fold(0, |sum, rendition| rendition.pixels.saturating_add(sum)))?;
            for (index, rendition) in renditions.iter().enumerate() {
                live.output.put(index, &rendition.data, rendition.pixels)?;
            }
            Ok(renditions.into_iter().map(|rendition| rendition.pixels).collect())
        })
    }

    /// Frees what is kept for a session. Unknown sessions are ignored.
    fn end_session(&self, session_id: &str);

    /// Whether it can do this one of [`CODECS`](streamflow_wire::capability::CODECS).
    fn offers(&self, _codec: Capability) -> bool {
        false
    }

    /// Segments that are done side by side.
    fn lanes(&self) -> usize {
        1
    }
}

/// How long a segment may take: four times its duration, at least 8 s (node.md §3).
pub fn deadline(segment_duration: Duration) -> Duration {
    segment_duration.saturating_mul(4).max(Duration::from_secs(8))
}

/// How long a segment may take that still comes in: as long to come as to be made.
pub fn live_deadline(segment_duration: Duration) -> Duration {
    deadline(segment_duration).saturating_mul(2)
}

/// Checks a result against what was asked for: one rendition per profile, none too small to be video.
pub(crate) fn check_renditions(renditions: &[Rendition], profiles: usize) -> Result<(), TranscodeError> {
    check_lengths(renditions.iter().map(|rendition| rendition.data.len() as u64), profiles)
}

/// The same by their lengths in bytes.
pub(crate) fn check_lengths(
    lengths: impl ExactSizeIterator<Item = u64>,
    profiles: usize,
) -> Result<(), TranscodeError> {
    /// A rendition below this size cannot hold a picture (node.md §2.4).
    const MIN_BYTES: u64 = 25;
    if lengths.len() != profiles {
        return Err(TranscodeError::MismatchedSegments);
    }
    let mut lengths = lengths;
    if lengths.any(|length| length < MIN_BYTES) {
        return Err(TranscodeError::ZeroSegments);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadline_is_at_least_eight_seconds() {
        assert_eq!(deadline(Duration::from_secs(2)), Duration::from_secs(8));
        assert_eq!(deadline(Duration::from_secs(10)), Duration::from_secs(40));
    }

    #[test]
    fn missing_and_tiny_renditions_are_refused() {
        let rendition = |bytes: usize| Rendition { data: vec![0; bytes].into(), pixels: 1 };
        assert_eq!(check_renditions(&[rendition(25)], 1), Ok(()));
        assert_eq!(check_renditions(&[rendition(25)], 2), Err(TranscodeError::MismatchedSegments));
        assert_eq!(check_renditions(&[rendition(24)], 1), Err(TranscodeError::ZeroSegments));
    }
}
