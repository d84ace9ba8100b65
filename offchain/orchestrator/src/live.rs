//! A segment that is transcoded while it comes in, and renditions that leave while they are made.
use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use alloy_primitives::B256;
use bytes::{Bytes, BytesMut};
use futures::Stream;
use streamflow_wire::{
    TranscodeError,
    stream::{DownFrame, MAX_MEDIA},
};
use tokio::sync::Notify;

use streamflow_types::Keccak256;

use crate::intake::BudgetShare;

/// What a transcoder gets of a segment that is still coming, and where its renditions go.
#[derive(Debug)]
pub struct Live {
    /// The segment.
    pub input: LiveInput,
    /// Its renditions.
    pub output: LiveOutput,
}

/// The sender broke off: there will be no whole segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the segment broke off while it came in")]
pub struct BrokenOff;

impl From<BrokenOff> for TranscodeError {
    fn from(error: BrokenOff) -> Self {
        Self::Other(error.to_string())
    }
}

/// How far a segment has come. What was not fetched yet is one piece, so its size is bounded by that of the segment.
#[derive(Debug, Default)]
struct Inflow {
    unread: Mutex<Unread>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Unread {
    bytes: BytesMut,
    end: Option<Result<(), BrokenOff>>,
}

impl Inflow {
    fn lock(&self) -> MutexGuard<'_, Unread> {
        // No code panics half-way through a change.
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, end: Result<(), BrokenOff>) {
        self.lock().end.get_or_insert(end);
        self.changed.notify_one();
    }
}

/// Puts in what arrives. Dropped before [`Self::finish`], the segment broke off.
#[derive(Debug)]
pub(crate) struct LiveFeed(Arc<Inflow>);

impl LiveFeed {
    pub(crate) fn put(&self, bytes: &[u8]) {
        self.0.lock().bytes.extend_from_slice(bytes);
        self.0.changed.notify_one();
    }

    /// That was all of it.
    pub(crate) fn finish(self) {
        self.0.end(Ok(()));
    }
}

impl Drop for LiveFeed {
    fn drop(&mut self) {
        self.0.end(Err(BrokenOff));
    }
}

/// A segment as it comes in.
#[derive(Debug)]
pub struct LiveInput(Arc<Inflow>);

impl LiveInput {
    /// A segment, and the way to put it in.
    pub(crate) fn new() -> (LiveFeed, Self) {
        let inflow = Arc::<Inflow>::default();
        (LiveFeed(inflow.clone()), Self(inflow))
    }

    /// What has come since the last call, never empty; none when that was all.
    ///
    /// # Errors
    /// There will be no whole segment.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BrokenOff> {
        loop {
            let changed = self.0.changed.notified();
            {
                let mut unread = self.0.lock();
                match unread.end {
                    Some(Err(broken)) => return Err(broken),
                    _ if !unread.bytes.is_empty() => return Ok(Some(unread.bytes.split().freeze())),
                    Some(Ok(())) => return Ok(None),
                    None => {}
                }
            }
            changed.await;
        }
    }

    /// The same as a stream, which ends after an error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, BrokenOff>> + Send + Unpin {
        let pieces = futures::stream::unfold(Some(self), |input| async move {
            let mut input = input?;
            match input.next().await {
                Ok(bytes) => bytes.map(|bytes| (Ok(bytes), Some(input))),
                Err(broken) => Some((Err(broken), None)),
            }
        });
        Box::pin(pieces)
    }

    /// All of it, for who cannot begin before.
    ///
    /// # Errors
    /// There will be no whole segment.
    pub async fn whole(mut self) -> Result<Bytes, BrokenOff> {
        let mut all = BytesMut::new();
        while let Some(bytes) = self.next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }
}

/// Pieces on their way to the sender. A piece joins those of its rendition that have not left yet, so there are never more than
/// renditions, whoever is slow.
struct Outflow {
    pieces: Mutex<Pieces>,
    changed: Notify,
}

struct Pieces {
    renditions: Vec<Made>,
    /// Renditions of which something waits, in the order in which they leave.
    waiting: VecDeque<usize>,
    /// Accounts for what waits.
    share: BudgetShare,
    /// Memory was full.
    overrun: bool,
    /// What has left is void, and nobody was told yet.
    again: bool,
    last: Option<DownFrame>,
    /// Nothing is put in any more.
    closed: bool,
    /// Nobody fetches any more.
    unwanted: bool,
    any_left: bool,
}

#[derive(Default)]
struct Made {
    unsent: BytesMut,
    hasher: Keccak256,
    length: u64,
}

impl Outflow {
    fn lock(&self) -> MutexGuard<'_, Pieces> {
        // No code panics half-way through a change.
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes renditions as they are made.
#[derive(Clone)]
pub struct LiveOutput(Arc<Outflow>);

impl fmt::Debug for LiveOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveOutput").finish_non_exhaustive()
    }
}

impl LiveOutput {
    /// Hands over the next bytes of a rendition, by its place among the profiles.
    ///
    /// # Errors
    /// There is no such rendition, or no memory for it: the segment is lost.
    pub fn put(&self, rendition: usize, bytes: &[u8]) -> Result<(), TranscodeError> {
        let mut pieces = self.0.lock();
        let pieces = &mut *pieces;
        let made = pieces.renditions.get_mut(rendition).ok_or(TranscodeError::MismatchedSegments)?;
        made.hasher.update(bytes);
        made.length += bytes.len() as u64;
        if pieces.unwanted || bytes.is_empty() {
            return Ok(());
        }
        if pieces.share.grow(bytes.len()).is_err() {
            pieces.overrun = true;
            return Err(TranscodeError::Busy);
        }
        if made.unsent.is_empty() {
            pieces.waiting.push_back(rendition);
        }
        made.unsent.extend_from_slice(bytes);
        self.0.changed.notify_one();
        Ok(())
    }

    /// All that was put in is void: another worker makes the renditions anew.
    pub fn again(&self) {
        let mut pieces = self.0.lock();
        pieces.drop_waiting();
        pieces.renditions.iter_mut().for_each(|made| *made = Made::default());
        pieces.again = pieces.any_left;
        self.0.changed.notify_one();
    }

    /// Hash and length of each rendition as far as it was made.
    pub(crate) fn seals(&self) -> Vec<(B256, u64)> {
        self.0.lock().renditions.iter().map(|made| (made.hasher.clone().finalize(), made.length)).collect()
    }

    /// Whether the sender has got something, or may have.
    pub(crate) fn any_left(&self) -> bool {
        self.0.lock().any_left
    }

    /// Whether pieces were lost for want of memory.
    pub(crate) fn overrun(&self) -> bool {
        self.0.lock().overrun
    }
}

/// The answer to a stream, while it is made. When it is dropped, the answer ends.
#[derive(Debug)]
pub(crate) struct Answer(LiveOutput);

impl Answer {
    /// For so many renditions, and the way to fetch it.
    pub(crate) fn new(renditions: usize, share: BudgetShare) -> (Self, Outbox) {
        let renditions = (0..renditions).map(|_| Made::default()).collect();
        let pieces = Pieces {
            renditions,
            waiting: VecDeque::new(),
            share,
            overrun: false,
            again: false,
            last: None,
            closed: false,
            unwanted: false,
            any_left: false,
        };
        let outflow = Arc::new(Outflow { pieces: Mutex::new(pieces), changed: Notify::new() });
        (Self(LiveOutput(outflow.clone())), Outbox(outflow))
    }

    pub(crate) fn output(&self) -> &LiveOutput {
        &self.0
    }

    /// How it ended, after which no piece leaves. After a failure those that wait do not either.
    pub(crate) fn end(&self, last: DownFrame) {
        let mut pieces = self.0.0.lock();
        if matches!(last, DownFrame::Failure(_)) {
            pieces.drop_waiting();
        }
        pieces.last = Some(last);
        self.0.0.changed.notify_one();
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.0.0.lock().closed = true;
        self.0.0.changed.notify_one();
    }
}

impl Pieces {
    fn drop_waiting(&mut self) {
        for rendition in std::mem::take(&mut self.waiting) {
            let unsent = std::mem::take(&mut self.renditions[rendition].unsent);
            self.share.shrink(unsent.len());
        }
    }

    /// The next frame. Each rendition that has something gets its turn.
    fn pop(&mut self) -> Option<DownFrame> {
        if std::mem::take(&mut self.again) {
            return Some(DownFrame::Again);
        }
        let Some(rendition) = self.waiting.pop_front() else { return self.last.take() };
        let unsent = &mut self.renditions[rendition].unsent;
        let bytes = unsent.split_to(unsent.len().min(MAX_MEDIA)).freeze();
        if !unsent.is_empty() {
            self.waiting.push_back(rendition);
        }
        self.share.shrink(bytes.len());
        self.any_left = true;
        Some(DownFrame::Piece { rendition, bytes })
    }
}

/// The answer to a stream, as it leaves. Dropped before its end, the sender has gone.
pub(crate) struct Outbox(Arc<Outflow>);

impl Outbox {
    /// The next frame; none at the end.
    pub(crate) async fn next(&mut self) -> Option<DownFrame> {
        loop {
            let changed = self.0.changed.notified();
            {
                let mut pieces = self.0.lock();
                if let Some(frame) = pieces.pop() {
                    return Some(frame);
                }
                if pieces.closed {
                    return None;
                }
            }
            changed.await;
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let mut pieces = self.0.lock();
        pieces.unwanted = true;
        pieces.drop_waiting();
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::keccak256;
    use streamflow_wire::stream::{StreamFailure, StreamResult};

    use super::*;
    use crate::intake::ByteBudget;

    #[tokio::test]
    async fn a_segment_is_read_as_it_comes_and_once() {
        let (feed, mut input) = LiveInput::new();
        feed.put(b"one");
        feed.put(b"two");
        assert_eq!(input.next().await, Ok(Some("onetwo".into())));
        let rest = tokio::spawn(input.whole());
        tokio::task::yield_now().await;
        feed.put(b"three");
        feed.finish();
        assert_eq!(rest.await.unwrap(), Ok("three".into()));
    }

    #[tokio::test]
    async fn a_segment_that_breaks_off_is_none() {
        let (feed, mut input) = LiveInput::new();
        feed.put(b"one");
        drop(feed);
        assert_eq!(input.next().await, Err(BrokenOff));
        assert_eq!(input.whole().await, Err(BrokenOff));
    }

    fn piece(rendition: usize, bytes: &'static [u8]) -> Option<DownFrame> {
        Some(DownFrame::Piece { rendition, bytes: bytes.into() })
    }

    #[tokio::test]
    async fn renditions_take_turns_and_the_end_comes_last() {
        let budget = ByteBudget::new(1000);
        let (answer, mut outbox) = Answer::new(2, budget.share());
        let output = answer.output().clone();
        for (rendition, bytes) in [(0, "a"), (1, "b"), (0, "c")] {
            output.put(rendition, bytes.as_bytes()).unwrap();
        }
        assert!(!output.any_left());
        answer.end(DownFrame::Result(Box::default()));
        let frames = [outbox.next().await, outbox.next().await, outbox.next().await];
        let end = Some(DownFrame::Result(Box::<StreamResult>::default()));
        assert_eq!(frames, [piece(0, b"ac"), piece(1, b"b"), end]);
        assert!(output.any_left());
        assert_eq!(output.seals(), [(keccak256("ac"), 2), (keccak256("b"), 1)]);
        drop(answer);
        assert_eq!(outbox.next().await, None);
    }

    #[tokio::test]
    async fn who_has_void_pieces_is_told_before_the_new_ones() {
        let (answer, mut outbox) = Answer::new(1, ByteBudget::new(1000).share());
        let output = answer.output();
        output.put(0, b"none has left").unwrap();
        output.again();
        output.put(0, b"one").unwrap();
        assert_eq!(outbox.next().await, piece(0, b"one"));
        output.put(0, b"two").unwrap();
        output.again();
        output.put(0, b"new").unwrap();
        assert_eq!([outbox.next().await, outbox.next().await], [Some(DownFrame::Again), piece(0, b"new")]);
        assert_eq!(output.seals(), [(keccak256("new"), 3)]);
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_given_back_and_dropped_after_a_failure() {
        let budget = ByteBudget::new(4);
        let (answer, mut outbox) = Answer::new(1, budget.share());
        let output = answer.output();
        output.put(0, b"1234").unwrap();
        assert_eq!(output.put(0, b"5"), Err(TranscodeError::Busy));
        assert!(output.overrun());
        assert_eq!(outbox.next().await, piece(0, b"1234"));
        output.put(0, b"5678").unwrap();
        answer.end(DownFrame::Failure(Box::default()));
        assert_eq!(outbox.next().await, Some(DownFrame::Failure(Box::<StreamFailure>::default())));
        output.put(0, b"1234").unwrap();
        drop(outbox);
        assert_eq!(output.put(0, &[0; 100]), Ok(()), "nobody waits for it");
        assert_eq!(output.put(1, b"x"), Err(TranscodeError::MismatchedSegments));
    }
}
