//! Transcoding a segment while it comes in.
use std::{ops::ControlFlow, pin::pin, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use streamflow_media::{Made, Piece, TranscodeReport};
use streamflow_types::Profile;
use tokio::time::{Instant, timeout};

use crate::{LocalError, LocalTranscoder};

/// What the pool gets beyond a deadline: a worker that hangs is ended, and the segment known when it comes again.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What comes of a segment before all of it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveEvent {
    /// The next bytes of a rendition.
    Piece {
        /// Place among the profiles.
        rendition: usize,
        /// The bytes.
        bytes: Bytes,
        /// Of the pictures in them.
        pixels: u64,
    },
    /// Another worker begins anew: all pieces so far are void.
    Again,
}

impl LocalTranscoder {
    /// Makes one rendition per profile of a segment while it comes in, within `limit`. `put` gets the renditions piece by
    /// piece, and gives up the segment with [`ControlFlow::Break`]. A worker that fails does not cost the segment: another
    /// one gets it from its start, once.
    ///
    /// # Errors
    /// As of [`Self::transcode`]; [`LocalError::BrokenOff`] if `segment` ends with an error.
    pub async fn transcode_live<E: Send>(
        &self,
        segment: impl Stream<Item = Result<Bytes, E>> + Send + Unpin,
        profiles: Vec<Profile>,
        limit: Duration,
        put: &mut (dyn FnMut(LiveEvent) -> ControlFlow<()> + Send),
    ) -> Result<TranscodeReport, LocalError> {
        let deadline = Instant::now().checked_add(limit);
        let live = self.feed(segment, profiles, deadline, put);
        timeout(limit + LAST_WORD, live).await.unwrap_or(Err(LocalError::TimedOut { limit }))
    }

    async fn feed<E: Send>(
        &self,
        mut segment: impl Stream<Item = Result<Bytes, E>> + Send + Unpin,
        profiles: Vec<Profile>,
        deadline: Option<Instant>,
        put: &mut (dyn FnMut(LiveEvent) -> ControlFlow<()> + Send),
    ) -> Result<TranscodeReport, LocalError> {
        let (feed, mut made) = self.pool().transcode_stream(profiles, self.settings().clone(), deadline)?;
        let feeding = async {
            while let Some(bytes) = segment.next().await {
                let Ok(bytes) = bytes else { return Err(LocalError::BrokenOff) };
                // The stream says why nothing more is taken.
                if !feed.send(bytes).await {
                    return Ok(());
                }
            }
            feed.finish().await;
            Ok(())
        };
        let mut taking = pin!(async {
            while let Some(event) = made.next().await {
                let event = match event? {
                    Made::Piece(Piece { rendition, bytes, pixels }) => LiveEvent::Piece { rendition, bytes, pixels },
                    Made::Again => LiveEvent::Again,
                    Made::Done(report) => return Ok(report.output),
                };
                if put(event).is_break() {
                    return Err(LocalError::GivenUp);
                }
            }
            Err(LocalError::Stopped)
        });
        let fed = tokio::select! { biased;
            done = &mut taking => return done,
            fed = feeding => fed,
        };
        // The worker gives up a segment that broke off, and is ready for the next.
        let done = taking.await;
        fed.and(done)
    }
}
