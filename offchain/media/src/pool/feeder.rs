//! A segment on its way to a worker, kept for another one.
use std::time::Duration;

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::{PoolError, record::HEAD_BYTES};
use crate::{MAX_SEGMENT_BYTES, MediaError};

/// Largest piece of a segment on its way to the worker, in bytes.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces of the segment that wait to be taken.
const FED: usize = 8;

/// Takes a segment piece by piece. Dropping it before [`Feed::finish`] aborts the job.
#[derive(Debug)]
pub struct Feed(mpsc::Sender<Food>);

#[derive(Debug)]
enum Food {
    Piece(Bytes),
    End,
}

impl Feed {
    /// Hands over the next bytes, and waits while the worker is busy; the pieces made of what came before must be taken
    /// meanwhile. False once nobody takes them any more; the stream says why. Not to be cancelled: a part would be lost.
    pub async fn send(&self, mut bytes: Bytes) -> bool {
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
            if self.0.send(Food::Piece(piece)).await.is_err() {
                return false;
            }
        }
        !self.0.is_closed()
    }

    /// The segment is whole. False if nobody took it; the stream says why.
    pub async fn finish(self) -> bool {
        self.0.send(Food::End).await.is_ok()
    }
}

/// How a segment ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    Whole,
    /// The rest will not come.
    Cut(PoolError),
}

/// What is next of a segment.
#[derive(Debug)]
pub(super) enum Next {
    Piece(Bytes),
    End(End),
}

/// What came of a segment, and what is to come.
#[derive(Debug)]
pub(super) struct Feeder {
    food: mpsc::Receiver<Food>,
    /// One buffer: whoever feeds single bytes costs no more than others.
    came: Vec<u8>,
    end: Option<End>,
    began: Instant,
    limit: Duration,
}

/// A feed, and the feeder that takes from it; the segment has to be whole within `limit`.
pub(super) fn feed(limit: Duration) -> (Feed, Feeder) {
    let (sender, food) = mpsc::channel(FED);
    (Feed(sender), Feeder { food, came: Vec::new(), end: None, began: Instant::now(), limit })
}

impl Feeder {
    /// What comes at this place, or has come. May be cancelled.
    pub(super) async fn piece(&mut self, offset: usize) -> Next {
        loop {
            let there = self.came.get(offset..).unwrap_or_default();
            if !there.is_empty() {
                return Next::Piece(Bytes::copy_from_slice(&there[..there.len().min(PIECE_BYTES)]));
            }
            if let Some(end) = &self.end {
                return Next::End(end.clone());
            }
            self.take().await;
        }
    }

    async fn take(&mut self) {
        let end = match timeout_at(self.began + self.limit, self.food.recv()).await {
            Ok(Some(Food::Piece(piece))) => {
                let len = self.came.len() + piece.len();
                if len <= MAX_SEGMENT_BYTES {
                    return self.came.extend_from_slice(&piece);
                }
                End::Cut(MediaError::SegmentSize { len, max: MAX_SEGMENT_BYTES }.into())
            }
            Ok(Some(Food::End)) => End::Whole,
            Ok(None) => End::Cut(PoolError::FeedAborted),
            Err(_) => End::Cut(PoolError::FeedLate { limit: self.limit }),
        };
        self.food.close();
        self.end = Some(end);
    }

    /// Waits for so many bytes, or for the end, and tells it if it is known. May be cancelled.
    pub(super) async fn at_least(&mut self, bytes: usize) -> Option<End> {
        while self.came.len() < bytes && self.end.is_none() {
            self.take().await;
        }
        self.end.clone()
    }

    /// Waits for the bytes by which a segment is suspected, or for its end.
    pub(super) async fn head(&mut self) -> Bytes {
        self.at_least(HEAD_BYTES).await;
        Bytes::copy_from_slice(&self.came[..self.came.len().min(HEAD_BYTES)])
    }

    /// Waits for the end. May be cancelled.
    pub(super) async fn rest(&mut self) -> End {
        loop {
            if let Some(end) = &self.end {
                return end.clone();
            }
            self.take().await;
        }
    }

    /// Whether its end is not known yet.
    pub(super) fn is_coming(&self) -> bool {
        self.end.is_none()
    }

    /// Whether it is known that the rest will not come.
    pub(super) fn is_cut(&self) -> bool {
        match self.end {
            Some(End::Cut(_)) => true,
            Some(End::Whole) => false,
            None => self.food.is_closed() && self.food.is_empty(),
        }
    }

    /// What came so far.
    pub(super) fn segment(&self) -> Bytes {
        Bytes::copy_from_slice(&self.came)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_fed_can_be_taken_again() {
        let (feed, mut feeder) = feed(Duration::from_secs(1));
        let long = Bytes::from(vec![7; PIECE_BYTES + 1]);
        assert!(feed.send(long.clone()).await && feed.send(Bytes::from_static(b"end")).await && feed.finish().await);
        for _ in 0..2 {
            let mut taken = Vec::new();
            let end = loop {
                match feeder.piece(taken.len()).await {
                    Next::Piece(piece) => taken.extend_from_slice(&piece),
                    Next::End(end) => break end,
                }
            };
            assert!(matches!(end, End::Whole));
            assert_eq!(taken, [&long[..], b"end"].concat());
        }
        assert_eq!(feeder.segment(), [&long[..], b"end"].concat());
    }

    #[tokio::test(start_paused = true)]
    async fn every_end_but_the_right_one_is_an_error() {
        let (aborted, mut feeder) = feed(Duration::from_secs(1));
        drop(aborted);
        assert!(matches!(feeder.rest().await, End::Cut(PoolError::FeedAborted)));
        let (slow, mut feeder) = feed(Duration::from_secs(1));
        assert!(matches!(feeder.rest().await, End::Cut(PoolError::FeedLate { .. })));
        assert!(!slow.send(Bytes::from_static(b"late")).await);
    }

    #[tokio::test]
    async fn the_head_is_all_of_a_short_segment() {
        let (feed, mut feeder) = feed(Duration::from_secs(1));
        feed.send(Bytes::from_static(b"short")).await;
        feed.finish().await;
        assert_eq!(feeder.head().await, "short");
    }
}
