//! Jobs that workers failed on, remembered for a while: no job takes a third worker.
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alloy_primitives::B256;
use bytes::Bytes;
use tokio::{task::spawn_blocking, time::Instant};

use streamflow_types::Keccak256;

use super::PoolError;
use crate::worker::Request;

/// Jobs remembered; the oldest is forgotten for another.
const REMEMBERED: usize = 256;
/// How long.
const MEMORY: Duration = Duration::from_secs(600);
/// Bytes of a segment by which it is suspected, before all of it has come.
pub(super) const HEAD_BYTES: usize = 4096;

/// How workers failed on a job.
#[derive(Clone, Debug)]
pub(super) enum Failures {
    Once(Box<PoolError>),
    Twice(Box<PoolError>, Box<PoolError>),
}

/// What tells a job from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JobId {
    head: B256,
    whole: B256,
}

impl JobId {
    /// Reads everything, which takes a while.
    fn of(request: &[u8], blobs: &[Bytes]) -> Self {
        let mut whole = Keccak256::new();
        whole.update(request);
        for blob in blobs {
            whole.update(blob);
            whole.update(blob.len().to_be_bytes());
        }
        Self { head: head(request, blobs), whole: whole.finalize() }
    }
}

fn head(request: &[u8], blobs: &[Bytes]) -> B256 {
    let mut head = Keccak256::new();
    head.update(request);
    if let Some(segment) = blobs.first() {
        head.update(segment.get(..HEAD_BYTES).unwrap_or(segment));
    }
    head.finalize()
}

/// The request as it goes down the pipe; empty is nobody's.
fn written(request: &Request) -> Vec<u8> {
    serde_json::to_vec(request).unwrap_or_default()
}

#[derive(Debug)]
struct Entry {
    id: JobId,
    failures: Failures,
    until: Instant,
}

/// Jobs that workers failed on.
#[derive(Debug, Default)]
pub(super) struct Record(Mutex<VecDeque<Entry>>);

impl Record {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        entries.retain(|entry| entry.until > now);
        entries
    }

    /// Whether nothing is remembered, so that no job need be looked at.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Whether a job that begins like this one is remembered.
    pub(super) fn suspects(&self, request: &Request, blobs: &[Bytes]) -> bool {
        let head = head(&written(request), blobs);
        self.lock().iter().any(|entry| entry.id.head == head)
    }

    /// What is known of a job.
    pub(super) async fn find(&self, request: &Request, blobs: &[Bytes]) -> Option<Failures> {
        if self.is_empty() || !self.suspects(request, blobs) {
            return None;
        }
        let id = identify(request, blobs).await?;
        self.lock().iter().find(|entry| entry.id == id).map(|entry| entry.failures.clone())
    }

    /// Remembers how workers failed on a job, in place of what was known of it.
    pub(super) async fn remember(&self, request: &Request, blobs: &[Bytes], failures: Failures) {
        let Some(id) = identify(request, blobs).await else { return };
        let mut entries = self.lock();
        entries.retain(|entry| entry.id != id);
        if entries.len() >= REMEMBERED {
            entries.pop_front();
        }
        entries.push_back(Entry { id, failures, until: Instant::now() + MEMORY });
    }
}

async fn identify(request: &Request, blobs: &[Bytes]) -> Option<JobId> {
    let (request, blobs) = (written(request), blobs.to_vec());
    spawn_blocking(move || JobId::of(&request, &blobs)).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs(text: &str) -> Vec<Bytes> {
        vec![Bytes::from(text.repeat(1000))]
    }

    fn once() -> Failures {
        Failures::Once(Box::new(PoolError::WorkerHung { deadline: Duration::ZERO }))
    }

    fn twice() -> Failures {
        let hung = || Box::new(PoolError::WorkerHung { deadline: Duration::ZERO });
        Failures::Twice(hung(), hung())
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_is_known_by_all_of_it_and_for_a_while() {
        let record = Record::default();
        record.remember(&Request::Inspect, &blobs("bad"), once()).await;
        assert!(record.find(&Request::Inspect, &blobs("good")).await.is_none());
        assert!(record.find(&Request::Probe, &blobs("bad")).await.is_none(), "another job with the same segment");
        let longer = vec![Bytes::from("bad".repeat(1000) + "x".repeat(5000).as_str())];
        assert!(record.find(&Request::Inspect, &longer).await.is_none());
        assert!(matches!(record.find(&Request::Inspect, &blobs("bad")).await, Some(Failures::Once(_))));
        record.remember(&Request::Inspect, &blobs("bad"), twice()).await;
        assert!(matches!(record.find(&Request::Inspect, &blobs("bad")).await, Some(Failures::Twice(..))));
        tokio::time::advance(MEMORY).await;
        assert!(record.find(&Request::Inspect, &blobs("bad")).await.is_none());
        assert!(record.is_empty());
    }

    #[tokio::test]
    async fn what_begins_like_a_bad_job_is_suspected() {
        let record = Record::default();
        let begun = |rest: &str| vec![Bytes::from("a".repeat(HEAD_BYTES) + rest)];
        record.remember(&Request::Inspect, &begun("bad"), once()).await;
        assert!(record.suspects(&Request::Inspect, &begun("")));
        assert!(!record.suspects(&Request::Inspect, &[Bytes::from("a".repeat(HEAD_BYTES - 1))]));
        assert!(record.find(&Request::Inspect, &begun("")).await.is_none(), "suspicion is no proof");
    }

    #[tokio::test]
    async fn the_oldest_is_forgotten_for_the_newest() {
        let record = Record::default();
        for job in 0..=REMEMBERED {
            record.remember(&Request::Inspect, &blobs(&job.to_string()), once()).await;
        }
        assert_eq!(record.lock().len(), REMEMBERED);
        assert!(record.find(&Request::Inspect, &blobs("0")).await.is_none());
        assert!(record.find(&Request::Inspect, &blobs(&REMEMBERED.to_string())).await.is_some());
    }
}
