//! A segment that is transcoded while it comes in, and renditions that leave while they are made.
use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alloy_primitives::B256;
use bytes::{Bytes, BytesMut};
use futures::Stream;
use streamflow_wire::{
    TranscodeError,
    stream::{DownFrame, MAX_MEDIA},
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

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
    /// Time in which there was nothing to fetch.
    waited: Duration,
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
            let since = Instant::now();
            changed.await;
            self.0.lock().waited += since.elapsed();
        }
    }

    /// Tells how long nothing was there for whoever takes the segment.
    pub(crate) fn waiting(&self) -> Waiting {
        Waiting(self.0.clone())
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

/// Time for which a segment kept its taker waiting.
#[derive(Debug)]
pub(crate) struct Waiting(Arc<Inflow>);

impl Waiting {
    pub(crate) fn time(&self) -> Duration {
        self.0.lock().waited
    }
}

/// Pieces on their way to the sender. A piece joins those of its rendition that have not left yet, so there are never more than
/// renditions, whoever is slow.
struct Outflow {
    pieces: Mutex<Pieces>,
    changed: Notify,
    /// The last frame was taken, or nobody will.
    ended: Notify,
}

struct Pieces {
    renditions: Vec<Made>,
    /// Renditions of which something waits, in the order in which they leave.
    waiting: VecDeque<usize>,
    room: AnswerRoom,
    /// Why no more was put in.
    overrun: Option<Overrun>,
    /// Made since the renditions began.
    made: u64,
    /// The same of what has left.
    left: u64,
    /// The most that ever left of one beginning, once anything did.
    most_left: Option<u64>,
    /// Something has left since the renditions began.
    begun: bool,
    /// What has left is void, and nobody was told yet.
    again: bool,
    last: Option<DownFrame>,
    /// Nothing is put in any more.
    closed: bool,
    /// Nobody fetches any more.
    unwanted: bool,
}

/// What the renditions of one answer may take.
#[derive(Debug)]
pub(crate) struct AnswerRoom {
    /// Accounts for what waits, among all requests.
    pub(crate) all: BudgetShare,
    /// The same among answers to this sender.
    pub(crate) own: BudgetShare,
    /// Most pixels.
    pub(crate) pixels: Option<u64>,
}

impl AnswerRoom {
    fn grow(&mut self, bytes: usize) -> Result<(), Overrun> {
        self.own.grow(bytes).map_err(|_| Overrun::Unfetched { max: self.own.max() })?;
        self.all.grow(bytes).map_err(|_| Overrun::Memory).inspect_err(|_| self.own.shrink(bytes))
    }

    fn shrink(&mut self, bytes: usize) {
        self.own.shrink(bytes);
        self.all.shrink(bytes);
    }
}

/// Why an answer has no room for what is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overrun {
    /// All requests together hold as much as they may.
    Memory,
    /// Its sender leaves as much unfetched as it may.
    Unfetched { max: u64 },
    /// More pictures came out than a segment of its length has.
    Pixels { got: u64 },
}

impl From<Overrun> for TranscodeError {
    fn from(overrun: Overrun) -> Self {
        match overrun {
            Overrun::Memory | Overrun::Unfetched { .. } => Self::Busy,
            Overrun::Pixels { got } => Self::Other(format!("{got} pixels are too many for the segment's length")),
        }
    }
}

#[derive(Default)]
struct Made {
    unsent: BytesMut,
    /// Of the pictures in `unsent`.
    pixels: u64,
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
    /// Hands over the next bytes of a rendition, by its place among the profiles, and the pixels of the pictures in them.
    ///
    /// # Errors
    /// There is no such rendition, no memory for it, or too much of it: the segment is lost.
    pub fn put(&self, rendition: usize, bytes: &[u8], pixels: u64) -> Result<(), TranscodeError> {
        let mut pieces = self.0.lock();
        pieces.check(pixels)?;
        let pieces = &mut *pieces;
        pieces.made = pieces.made.saturating_add(pixels);
        let made = pieces.renditions.get_mut(rendition).ok_or(TranscodeError::MismatchedSegments)?;
        made.hasher.update(bytes);
        made.length += bytes.len() as u64;
        if pieces.unwanted || bytes.is_empty() {
            return Ok(());
        }
        if let Err(overrun) = pieces.room.grow(bytes.len()) {
            return Err(pieces.refuse(overrun));
        }
        if made.unsent.is_empty() {
            pieces.waiting.push_back(rendition);
        }
        made.unsent.extend_from_slice(bytes);
        made.pixels = made.pixels.saturating_add(pixels);
        self.0.changed.notify_one();
        Ok(())
    }

    /// Whether so many more pixels may be put in. Who has renditions whole asks before it puts in the first: nothing of them
    /// leaves then.
    ///
    /// # Errors
    /// They are too many for the segment's length: it is lost.
    pub fn check(&self, pixels: u64) -> Result<(), TranscodeError> {
        self.0.lock().check(pixels)
    }

    /// All that was put in is void: another worker makes the renditions anew.
    pub fn again(&self) {
        let mut pieces = self.0.lock();
        pieces.drop_waiting();
        pieces.renditions.iter_mut().for_each(|made| *made = Made::default());
        (pieces.made, pieces.left) = (0, 0);
        pieces.again |= std::mem::take(&mut pieces.begun);
        self.0.changed.notify_one();
    }

    /// Hash and length of each rendition as far as it was made.
    pub(crate) fn seals(&self) -> Vec<(B256, u64)> {
        self.0.lock().renditions.iter().map(|made| (made.hasher.clone().finalize(), made.length)).collect()
    }

    /// No piece leaves from now on. Tells the pixels that the sender has got, or may have; none if not even a byte.
    pub(crate) fn stop(&self) -> Option<u64> {
        let mut pieces = self.0.lock();
        pieces.drop_waiting();
        pieces.unwanted = true;
        pieces.most_left
    }

    /// Why pieces were lost, if any were.
    pub(crate) fn overrun(&self) -> Option<Overrun> {
        self.0.lock().overrun
    }
}

/// The answer to a stream, while it is made. When it is dropped, the answer ends.
#[derive(Debug)]
pub(crate) struct Answer(LiveOutput);

impl Answer {
    /// For so many renditions, and the way to fetch it.
    pub(crate) fn new(renditions: usize, room: AnswerRoom) -> (Self, Outbox) {
        let renditions = (0..renditions).map(|_| Made::default()).collect();
        let pieces = Pieces {
            renditions,
            waiting: VecDeque::new(),
            room,
            overrun: None,
            made: 0,
            left: 0,
            most_left: None,
            begun: false,
            again: false,
            last: None,
            closed: false,
            unwanted: false,
        };
        let (changed, ended) = (Notify::new(), Notify::new());
        let outflow = Arc::new(Outflow { pieces: Mutex::new(pieces), changed, ended });
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

    /// Waits until the last frame was fetched. Who has not done so within `limit` does not want it: what waits is dropped.
    pub(crate) async fn fetched(self, limit: Duration) {
        let outflow = &self.0.0;
        if timeout(limit, outflow.ended.notified()).await.is_err() {
            let mut pieces = outflow.lock();
            pieces.drop_waiting();
            (pieces.last, pieces.unwanted) = (None, true);
        }
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
            let made = &mut self.renditions[rendition];
            made.pixels = 0;
            self.room.shrink(std::mem::take(&mut made.unsent).len());
        }
    }

    fn refuse(&mut self, overrun: Overrun) -> TranscodeError {
        self.overrun.get_or_insert(overrun);
        overrun.into()
    }

    fn check(&mut self, pixels: u64) -> Result<(), TranscodeError> {
        let got = self.made.saturating_add(pixels);
        match self.room.pixels {
            Some(max) if got > max => Err(self.refuse(Overrun::Pixels { got })),
            _ => Ok(()),
        }
    }

    /// The next frame. Each rendition that has something gets its turn.
    fn pop(&mut self) -> Option<DownFrame> {
        if std::mem::take(&mut self.again) {
            return Some(DownFrame::Again);
        }
        let Some(rendition) = self.waiting.pop_front() else { return self.last.take() };
        let Made { unsent, pixels, .. } = &mut self.renditions[rendition];
        let all = unsent.len();
        let bytes = unsent.split_to(all.min(MAX_MEDIA)).freeze();
        // Pictures are as large as each other, as far as anybody knows.
        let share = u128::from(*pixels) * bytes.len() as u128 / all.max(1) as u128;
        let share = u64::try_from(share).unwrap_or(*pixels);
        *pixels -= share;
        if !unsent.is_empty() {
            self.waiting.push_back(rendition);
        }
        self.room.shrink(bytes.len());
        self.left = self.left.saturating_add(share);
        self.most_left = self.most_left.max(Some(self.left));
        self.begun = true;
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
                    if matches!(frame, DownFrame::Result(_) | DownFrame::Failure(_)) {
                        self.0.ended.notify_one();
                    }
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
        self.0.ended.notify_one();
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

    fn room(all: &ByteBudget) -> AnswerRoom {
        AnswerRoom { all: all.share(), own: ByteBudget::new(1000).share(), pixels: Some(100) }
    }

    fn piece(rendition: usize, bytes: &'static [u8]) -> Option<DownFrame> {
        Some(DownFrame::Piece { rendition, bytes: bytes.into() })
    }

    #[tokio::test]
    async fn renditions_take_turns_and_the_end_comes_last() {
        let budget = ByteBudget::new(1000);
        let (answer, mut outbox) = Answer::new(2, room(&budget));
        let output = answer.output().clone();
        for (rendition, bytes) in [(0, "a"), (1, "b"), (0, "c")] {
            output.put(rendition, bytes.as_bytes(), 10).unwrap();
        }
        answer.end(DownFrame::Result(Box::default()));
        let frames = [outbox.next().await, outbox.next().await, outbox.next().await];
        let end = Some(DownFrame::Result(Box::<StreamResult>::default()));
        assert_eq!(frames, [piece(0, b"ac"), piece(1, b"b"), end]);
        assert_eq!(output.stop(), Some(30));
        assert_eq!(output.seals(), [(keccak256("ac"), 2), (keccak256("b"), 1)]);
        drop(answer);
        assert_eq!(outbox.next().await, None);
    }

    #[tokio::test]
    async fn who_has_void_pieces_is_told_before_the_new_ones() {
        let (answer, mut outbox) = Answer::new(1, room(&ByteBudget::new(1000)));
        let output = answer.output();
        output.put(0, b"none has left", 10).unwrap();
        output.again();
        output.put(0, b"one", 10).unwrap();
        assert_eq!(outbox.next().await, piece(0, b"one"));
        output.put(0, b"two", 10).unwrap();
        output.again();
        output.put(0, b"new", 10).unwrap();
        assert_eq!([outbox.next().await, outbox.next().await], [Some(DownFrame::Again), piece(0, b"new")]);
        assert_eq!(output.seals(), [(keccak256("new"), 3)]);
    }

    #[tokio::test]
    async fn pixels_are_those_of_what_has_left_and_of_the_beginning_with_the_most() {
        let budget = ByteBudget::new(10_000_000);
        let room = || AnswerRoom { all: budget.share(), own: budget.share(), pixels: None };
        assert_eq!(Answer::new(2, room()).0.output().stop(), None);
        let (answer, mut outbox) = Answer::new(2, room());
        let output = answer.output();
        output.put(0, &vec![7; 2 * MAX_MEDIA], 60).unwrap();
        output.put(1, b"waits", 20).unwrap();
        assert!(outbox.next().await.is_some());
        output.again();
        output.put(0, b"x", 5).unwrap();
        output.again();
        assert_eq!(outbox.next().await, Some(DownFrame::Again), "nothing has left in between");
        output.put(1, b"y", 10).unwrap();
        assert_eq!(outbox.next().await, piece(1, b"y"));
        output.put(0, b"waits", 10).unwrap();
        assert_eq!(output.stop(), Some(30), "half of the first beginning");
    }

    #[tokio::test]
    async fn no_more_pictures_come_out_than_may() {
        let (answer, mut outbox) = Answer::new(1, room(&ByteBudget::new(1000)));
        let output = answer.output();
        output.put(0, b"most", 99).unwrap();
        assert!(output.check(1).is_ok());
        assert!(output.put(0, b"one more", 2).is_err());
        assert_eq!(output.overrun(), Some(Overrun::Pixels { got: 101 }));
        assert_eq!(outbox.next().await, piece(0, b"most"));
        assert_eq!(output.stop(), Some(99));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_fetches_is_dropped_in_time_and_bounded_for_each_sender() {
        let (all, own) = (ByteBudget::new(1000), ByteBudget::new(10));
        let room = || AnswerRoom { all: all.share(), own: own.share(), pixels: None };
        let (answer, mut fetching) = Answer::new(1, room());
        answer.output().put(0, b"12345678", 1).unwrap();
        let (other, _kept) = Answer::new(1, room());
        assert!(other.output().put(0, b"9ab", 1).is_err());
        assert_eq!(other.output().overrun(), Some(Overrun::Unfetched { max: 10 }));
        answer.end(DownFrame::Result(Box::default()));
        answer.fetched(Duration::from_secs(8)).await;
        assert!(all.is_unused() && own.is_unused());
        assert_eq!(fetching.next().await, None, "it ends without a result");
        // Who fetches is not waited for.
        let (answer, mut fetching) = Answer::new(1, room());
        answer.output().put(0, b"12345678", 1).unwrap();
        answer.end(DownFrame::Result(Box::default()));
        assert!(fetching.next().await.is_some() && fetching.next().await.is_some());
        let before = Instant::now();
        answer.fetched(Duration::from_secs(8)).await;
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_given_back_and_dropped_after_a_failure() {
        let budget = ByteBudget::new(4);
        let (answer, mut outbox) = Answer::new(1, room(&budget));
        let output = answer.output();
        output.put(0, b"1234", 10).unwrap();
        assert_eq!(output.put(0, b"5", 10), Err(TranscodeError::Busy));
        assert_eq!(output.overrun(), Some(Overrun::Memory));
        assert_eq!(outbox.next().await, piece(0, b"1234"));
        output.put(0, b"5678", 10).unwrap();
        answer.end(DownFrame::Failure(Box::default()));
        assert_eq!(outbox.next().await, Some(DownFrame::Failure(Box::<StreamFailure>::default())));
        output.put(0, b"1234", 10).unwrap();
        drop(outbox);
        assert_eq!(output.put(0, &[0; 100], 10), Ok(()), "nobody waits for it");
        assert_eq!(output.put(1, b"x", 10), Err(TranscodeError::MismatchedSegments));
    }
}
