//! Transcoding a segment while it comes in.
use std::{ops::ControlFlow, pin::pin, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use streamflow_media::{Made, PoolError, TranscodeReport};
use streamflow_types::Profile;
use tokio::time::timeout;

use crate::{LocalError, LocalTranscoder};

/// What comes of a segment before all of it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveEvent {
    /// The next bytes of a rendition.
    Piece {
        /// Place among the profiles.
        rendition: usize,
        /// The bytes.
        bytes: Bytes,
    },
    /// Another worker begins anew: all pieces so far are void.
    Again,
}

/// A segment that can be read once more from its start.
struct Source<S> {
    coming: S,
    came: Vec<Bytes>,
    next: usize,
}

impl<S, E> Source<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    async fn next(&mut self) -> Option<Result<Bytes, E>> {
        if self.next == self.came.len() {
            match self.coming.next().await? {
                Ok(bytes) => self.came.push(bytes),
                Err(broken) => return Some(Err(broken)),
            }
        }
        let bytes = self.came.get(self.next)?.clone();
        self.next += 1;
        Some(Ok(bytes))
    }
}

impl LocalTranscoder {
    /// Makes one rendition per profile of a segment while it comes in, within `limit`. `put` gets the renditions piece by
    /// piece, and gives up the segment with [`ControlFlow::Break`]. A worker that dies does not cost the segment: another one
    /// gets it from its start, once.
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
        let mut source = Source { coming: segment, came: Vec::new(), next: 0 };
        let twice = async {
            match self.feed(&mut source, &profiles, put).await {
                Err(LocalError::Worker(error @ (PoolError::WorkerDied { .. } | PoolError::WorkerGarbage { .. }))) => {
                    tracing::warn!(%error, "segment is given to another worker");
                    if put(LiveEvent::Again).is_break() {
                        return Err(LocalError::GivenUp);
                    }
                    source.next = 0;
                    self.feed(&mut source, &profiles, put).await
                }
                done => done,
            }
        };
        timeout(limit, twice).await.unwrap_or(Err(LocalError::TimedOut { limit }))
    }

    async fn feed<S, E>(
        &self,
        source: &mut Source<S>,
        profiles: &[Profile],
        put: &mut (dyn FnMut(LiveEvent) -> ControlFlow<()> + Send),
    ) -> Result<TranscodeReport, LocalError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
    {
        let (feed, mut made) = self.pool().transcode_stream(profiles.to_vec(), self.settings().clone())?;
        let feeding = async {
            loop {
                match source.next().await {
                    // The stream says why it is not taken.
                    Some(Ok(bytes)) => {
                        if !feed.send(bytes).await {
                            return Ok(());
                        }
                    }
                    Some(Err(_)) => return Err(LocalError::BrokenOff),
                    None => {
                        feed.finish().await;
                        return Ok(());
                    }
                }
            }
        };
        let mut taking = pin!(async {
            loop {
                match made.next().await {
                    Some(Ok(Made::Piece(piece))) => {
                        let event = LiveEvent::Piece { rendition: piece.rendition, bytes: piece.bytes };
                        if put(event).is_break() {
                            return Err(LocalError::GivenUp);
                        }
                    }
                    Some(Ok(Made::Done(report))) => return Ok(report.output),
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err(LocalError::Stopped),
                }
            }
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
