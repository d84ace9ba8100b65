//! The bytes of a segment while they come in: kept for whoever needs all of them, and read by who sends them on.
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use streamflow_wire::stream::MAX_MEDIA;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};

/// A segment that is there within this time of its first byte is sent whole: nothing is gained by beginning before.
const AT_ONCE: Duration = Duration::from_millis(100);
/// Who is silent for longer has its upload given up. Orchestrators wait for 10 s by default, and take what it has cost.
const QUIET: Duration = Duration::from_secs(5);
/// Length of a packet of MPEG-TS, and its first byte.
const TS_PACKET: usize = 188;
const TS_SYNC: u8 = 0x47;

/// What has come of a segment. Clones are of the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arriving(Arc<Inflow>);

#[derive(Debug, Default)]
struct Inflow {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    bytes: Held,
    end: Option<End>,
}

#[derive(Debug)]
enum Held {
    Part(BytesMut),
    Whole(Bytes),
}

impl Default for Held {
    fn default() -> Self {
        Self::Part(BytesMut::new())
    }
}

impl Held {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Part(bytes) => bytes,
            Self::Whole(bytes) => bytes,
        }
    }

    /// The bytes from a place on, as many as go into a frame.
    fn from(&self, place: usize) -> Bytes {
        let end = self.as_slice().len().min(place + MAX_MEDIA);
        match self {
            Self::Part(bytes) => Bytes::copy_from_slice(bytes.get(place..end).unwrap_or_default()),
            Self::Whole(bytes) => bytes.slice(place.min(end)..end),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// All of it is there, and is a segment of the stream.
    Taken,
    BrokenOff,
}

/// What there is for who sends a segment on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Never empty.
    Bytes(Bytes),
    /// That was all of it.
    End,
    /// There will be no more.
    BrokenOff,
}

impl Arriving {
    /// One that is there.
    pub(crate) fn whole(media: Bytes) -> Self {
        let state = Mutex::new(State { bytes: Held::Whole(media), end: Some(End::Taken) });
        Self(Arc::new(Inflow { state, changed: Notify::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics half-way through a change.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, more: &[u8]) {
        if let Held::Part(bytes) = &mut self.lock().bytes {
            bytes.extend_from_slice(more);
        }
        self.0.changed.notify_one();
    }

    /// All of it. It may still be none that is taken.
    pub(crate) fn complete(&self) -> Bytes {
        let mut state = self.lock();
        let whole = match std::mem::take(&mut state.bytes) {
            Held::Part(bytes) => bytes.freeze(),
            Held::Whole(bytes) => bytes,
        };
        state.bytes = Held::Whole(whole.clone());
        whole
    }

    /// Lets who sends it on end it well, unless that one has given up.
    pub(crate) fn take(&self) -> bool {
        let taken = *self.lock().end.get_or_insert(End::Taken) == End::Taken;
        self.0.changed.notify_one();
        taken
    }

    /// Lets who sends it on end it without more, unless it was taken.
    fn break_off(&self) {
        let mut state = self.lock();
        if *state.end.get_or_insert(End::BrokenOff) == End::BrokenOff {
            state.bytes = Held::default();
        }
        self.0.changed.notify_one();
    }

    /// Returns when a part of it is there and the rest takes its time.
    pub(crate) async fn lasts(&self) {
        loop {
            let changed = self.0.changed.notified();
            if !self.lock().bytes.as_slice().is_empty() {
                break;
            }
            changed.await;
        }
        sleep(AT_ONCE).await;
    }

    /// Whether what is there begins as MPEG-TS, which can be read from its start on.
    pub(crate) fn is_transport_stream(&self) -> bool {
        let state = self.lock();
        let bytes = state.bytes.as_slice();
        [0, TS_PACKET].iter().all(|place| bytes.get(*place) == Some(&TS_SYNC))
    }

    /// The bytes from a place on, once there are any. Who waits for too long, or past `until`, has given up.
    pub(crate) async fn next(&self, place: usize, until: Instant) -> Next {
        let until = until.min(Instant::now() + QUIET);
        loop {
            let changed = self.0.changed.notified();
            {
                let state = self.lock();
                let bytes = state.bytes.from(place);
                match state.end {
                    Some(End::BrokenOff) => return Next::BrokenOff,
                    _ if !bytes.is_empty() => return Next::Bytes(bytes),
                    Some(End::Taken) => return Next::End,
                    None => {}
                }
            }
            if timeout_at(until, changed).await.is_err()
                && *self.lock().end.get_or_insert(End::BrokenOff) == End::BrokenOff
            {
                return Next::BrokenOff;
            }
        }
    }
}

/// Breaks a segment off when it is dropped, unless it was taken.
#[derive(Debug)]
pub(crate) struct UnlessTaken(pub(crate) Arriving);

impl Drop for UnlessTaken {
    fn drop(&mut self) {
        self.0.break_off();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn bytes(text: &'static [u8]) -> Next {
        Next::Bytes(text.into())
    }

    #[tokio::test]
    async fn it_is_read_while_it_comes_and_ends_when_it_is_taken() {
        let arriving = Arriving::default();
        let reader = arriving.clone();
        let rest = tokio::spawn(async move {
            let first = reader.next(0, later()).await;
            (first, reader.next(3, later()).await, reader.next(6, later()).await)
        });
        tokio::task::yield_now().await;
        arriving.put(b"one");
        tokio::task::yield_now().await;
        arriving.put(b"two");
        assert_eq!(arriving.complete(), "onetwo");
        tokio::task::yield_now().await;
        assert!(!rest.is_finished(), "all that came is not all that was taken");
        assert!(arriving.take());
        drop(UnlessTaken(arriving.clone()));
        assert_eq!(rest.await.unwrap(), (bytes(b"one"), bytes(b"two"), Next::End));
        assert_eq!(arriving.next(1, later()).await, bytes(b"netwo"), "as often as it is wanted");
    }

    #[tokio::test]
    async fn one_that_breaks_off_has_no_end() {
        let arriving = Arriving::default();
        arriving.put(b"one");
        drop(UnlessTaken(arriving.clone()));
        assert_eq!(arriving.next(0, later()).await, Next::BrokenOff);
        assert!(!arriving.take());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_too_long_gives_up_and_nothing_is_lost() {
        let start = Instant::now();
        for (until, given_up) in
            [(later(), QUIET), (start + QUIET + Duration::from_secs(1), QUIET + Duration::from_secs(1))]
        {
            let arriving = Arriving::default();
            arriving.put(b"one");
            assert_eq!((arriving.next(3, until).await, start.elapsed()), (Next::BrokenOff, given_up));
            arriving.put(b"two");
            assert!(!arriving.take());
            assert_eq!(arriving.complete(), "onetwo");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_its_time_is_noticed_and_known_by_its_first_bytes() {
        let start = Instant::now();
        let arriving = Arriving::default();
        arriving.put(&[TS_SYNC; TS_PACKET]);
        arriving.lasts().await;
        assert_eq!(start.elapsed(), AT_ONCE);
        assert!(!arriving.is_transport_stream());
        arriving.put(&[TS_SYNC]);
        assert!(arriving.is_transport_stream());
    }
}
