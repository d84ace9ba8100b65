//! Reading request bodies within bounds.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use alloy_primitives::B256;
use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use tokio::time::{Instant, timeout};

use streamflow_types::Keccak256;

use crate::config::LimitsConfig;

/// Most room that a body gets at once, bytes: as much as most segments have.
const FIRST_ROOM: u64 = 4 << 20;

/// Bytes that all requests together may hold.
#[derive(Clone, Debug)]
pub(crate) struct ByteBudget {
    used: Arc<AtomicU64>,
    max: u64,
}

impl ByteBudget {
    pub(crate) fn new(max: u64) -> Self {
        Self { used: Arc::default(), max }
    }

    /// The same bytes under another bound.
    pub(crate) fn with_max(&self, max: u64) -> Self {
        Self { used: self.used.clone(), max }
    }

    pub(crate) fn is_unused(&self) -> bool {
        self.used.load(Ordering::Acquire) == 0
    }

    /// A share of no bytes yet.
    pub(crate) fn share(&self) -> BudgetShare {
        BudgetShare { budget: self.clone(), bytes: 0 }
    }

    fn take(&self, bytes: u64) -> bool {
        let add = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.max);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).is_ok()
    }
}

/// Bytes taken from a budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct BudgetShare {
    budget: ByteBudget,
    bytes: u64,
}

impl BudgetShare {
    /// Takes more, if there is enough left.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), BodyError> {
        let bytes = bytes as u64;
        if !self.budget.take(bytes) {
            return Err(BodyError::Overloaded);
        }
        self.bytes += bytes;
        Ok(())
    }

    /// What all shares of the budget may have.
    pub(crate) fn max(&self) -> u64 {
        self.budget.max
    }

    /// Gives some back.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let bytes = (bytes as u64).min(self.bytes);
        self.budget.used.fetch_sub(bytes, Ordering::AcqRel);
        self.bytes -= bytes;
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// Why a body was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("body has more than {max} bytes")]
    TooLarge { max: u64 },
    #[error("body took too long")]
    TimedOut,
    #[error("too many bytes are held already")]
    Overloaded,
    #[error("body broke off: {0}")]
    Broken(String),
}

/// A whole body.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) data: Bytes,
    /// keccak256 of `data`.
    pub(crate) hash: B256,
    /// Keep it for as long as `data` is held.
    pub(crate) share: BudgetShare,
}

/// Bounds on one body.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    limits: LimitsConfig,
    budget: ByteBudget,
}

impl Intake {
    pub(crate) fn new(limits: LimitsConfig) -> Self {
        Self { limits, budget: ByteBudget::new(limits.max_buffered_bytes) }
    }

    /// Limits that hold for every body.
    pub(crate) fn limits(&self) -> &LimitsConfig {
        &self.limits
    }

    pub(crate) fn budget(&self) -> &ByteBudget {
        &self.budget
    }

    /// Reads a segment, which has to be there `within` this time. `declared` is the Content-Length: one over the limit is refused
    /// before anything is read.
    pub(crate) async fn segment<S, E>(
        &self,
        stream: &mut S,
        declared: Option<u64>,
        within: Duration,
    ) -> Result<Received, BodyError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: std::fmt::Display,
    {
        let max = self.limits.max_segment_bytes;
        if declared.is_some_and(|length| length > max) {
            return Err(BodyError::TooLarge { max });
        }
        let mut share = self.budget.share();
        let (mut data, mut hasher) = (BytesMut::with_capacity(first_room(declared)), Keccak256::new());
        let mut stream = Timed::within(stream, &self.limits, within);
        while let Some(chunk) = stream.next().await? {
            if data.len() as u64 + chunk.len() as u64 > max {
                return Err(BodyError::TooLarge { max });
            }
            share.grow(chunk.len())?;
            hasher.update(&chunk);
            data.extend_from_slice(&chunk);
        }
        Ok(Received { data: data.freeze(), hash: hasher.finalize(), share })
    }
}

/// Room that a body of this length gets before any of it has come. What a length promises is not counted against the budget, so a
/// lie must not take much.
fn first_room(declared: Option<u64>) -> usize {
    declared.map_or(0, |length| length.min(FIRST_ROOM) as usize)
}

impl Intake {
    /// Reads a short text.
    pub(crate) async fn text(&self, stream: &mut BodyDataStream, max: usize) -> Result<String, BodyError> {
        let mut text = BytesMut::new();
        let mut stream = Timed::new(stream, &self.limits);
        while let Some(chunk) = stream.next().await? {
            if text.len() + chunk.len() > max {
                return Err(BodyError::TooLarge { max: max as u64 });
            }
            text.extend_from_slice(&chunk);
        }
        String::from_utf8(text.into()).map_err(|error| BodyError::Broken(error.to_string()))
    }
}

/// A stream whose pieces, and whose end, have to come in time.
pub(crate) struct Timed<'a, S> {
    stream: &'a mut S,
    limits: LimitsConfig,
    end: Instant,
}

impl<'a, S, E> Timed<'a, S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    pub(crate) fn new(stream: &'a mut S, limits: &LimitsConfig) -> Self {
        Self { stream, limits: *limits, end: Instant::now() + limits.body_timeout }
    }

    /// With less time for the whole.
    pub(crate) fn within(stream: &'a mut S, limits: &LimitsConfig, whole: Duration) -> Self {
        Self::new(stream, &LimitsConfig { body_timeout: limits.body_timeout.min(whole), ..*limits })
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let left = self.end.saturating_duration_since(Instant::now()).min(self.limits.body_idle_timeout);
        let chunk = timeout(left, self.stream.next()).await.map_err(|_| BodyError::TimedOut)?;
        chunk.transpose().map_err(|error| BodyError::Broken(error.to_string()))
    }
}

/// What is read and thrown away of a refused body, so that a peer that sends first and listens later gets the answer
/// instead of a reset connection.
const DRAIN_BYTES: u64 = 16 << 20;

/// Throws some of a body away.
pub(crate) async fn drain(rest: &mut BodyDataStream, limits: &LimitsConfig) {
    let (mut rest, mut read) = (Timed::new(rest, limits), 0);
    while let Ok(Some(chunk)) = rest.next().await {
        read += chunk.len() as u64;
        if read > DRAIN_BYTES {
            break;
        }
    }
}

/// An answer to a request whose body has not been read: `text` leaves at once, then some of the body is thrown away.
pub(crate) fn answer_and_drain(text: String, rest: BodyDataStream, limits: LimitsConfig) -> Body {
    let drain = futures::stream::once(async move {
        let mut rest = rest;
        drain(&mut rest, &limits).await;
    });
    // Nothing is sent for it: a peer closes a connection, with all the segments on it, for a hundred empty frames.
    let drain = drain.filter_map(|()| std::future::ready(None));
    let text = futures::stream::once(async move { Ok::<_, std::convert::Infallible>(Bytes::from(text)) });
    Body::from_stream(text.chain(drain))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use alloy_primitives::keccak256;
    use futures::stream;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn intake(max_segment_bytes: u64, max_buffered_bytes: u64) -> Intake {
        Intake::new(LimitsConfig { max_segment_bytes, max_buffered_bytes, ..Default::default() })
    }

    fn chunks(count: usize) -> impl Stream<Item = Result<Bytes, Infallible>> + Unpin {
        stream::iter((0..count).map(|_| Ok(Bytes::from_static(&[1; 100]))))
    }

    #[tokio::test]
    async fn body_up_to_the_limit_is_taken_and_hashed() {
        let received = intake(300, 300).segment(&mut chunks(3), Some(300), LONG).await.unwrap();
        assert_eq!(received.hash, keccak256([1; 300]));
        assert_eq!(received.data.len(), 300);
    }

    #[tokio::test]
    async fn longer_body_is_refused_whatever_its_length_says() {
        let refused = Err(BodyError::TooLarge { max: 299 });
        assert_eq!(intake(299, 299).segment(&mut chunks(3), None, LONG).await.map(|r| r.hash), refused);
        // Declared, and nothing is read.
        let mut stream = chunks(3);
        assert_eq!(intake(299, 299).segment(&mut stream, Some(400_000_000), LONG).await.map(|r| r.hash), refused);
        assert_eq!(stream.count().await, 3);
    }

    #[test]
    fn a_length_that_is_a_lie_takes_little_memory() {
        assert_eq!([None, Some(700_000)].map(first_room), [0, 700_000], "a segment gets its room at once");
        assert_eq!([300_000_000, u64::MAX].map(|length| first_room(Some(length))), [4 << 20; 2]);
    }

    #[tokio::test]
    async fn bytes_held_together_are_bounded_and_given_back() {
        let intake = intake(300, 500);
        let first = intake.segment(&mut chunks(3), None, LONG).await.unwrap();
        assert_eq!(intake.segment(&mut chunks(3), None, LONG).await.map(|r| r.hash), Err(BodyError::Overloaded));
        drop(first);
        assert!(intake.segment(&mut chunks(3), None, LONG).await.is_ok());
    }

    fn impatient() -> Intake {
        let (idle, whole) = (Duration::from_millis(100), Duration::from_millis(300));
        Intake::new(LimitsConfig { body_idle_timeout: idle, body_timeout: whole, ..Default::default() })
    }

    #[tokio::test]
    async fn silent_body_is_given_up() {
        let mut silent = stream::pending::<Result<Bytes, Infallible>>();
        assert_eq!(impatient().segment(&mut silent, None, LONG).await.map(|r| r.hash), Err(BodyError::TimedOut));
    }

    #[tokio::test]
    async fn trickling_body_is_given_up() {
        let tick = || async { tokio::time::sleep(Duration::from_millis(20)).await };
        let mut trickle =
            Box::pin(stream::repeat(()).then(move |()| tick()).map(|()| Ok::<_, Infallible>(Bytes::from_static(&[1]))));
        assert_eq!(impatient().segment(&mut trickle, None, LONG).await.map(|r| r.hash), Err(BodyError::TimedOut));
    }

    #[tokio::test(start_paused = true)]
    async fn body_that_trickles_is_given_up_when_nobody_waits_for_the_segment_any_more() {
        let tick = || async { tokio::time::sleep(Duration::from_secs(1)).await };
        let mut trickle =
            Box::pin(stream::repeat(()).then(move |()| tick()).map(|()| Ok::<_, Infallible>(Bytes::from_static(&[1]))));
        let before = Instant::now();
        let within = Duration::from_secs(8);
        let given_up = intake(300, 300).segment(&mut trickle, None, within).await.map(|r| r.hash);
        assert_eq!((given_up, before.elapsed()), (Err(BodyError::TimedOut), within));
    }
}
