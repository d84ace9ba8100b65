//! Jobs of the protocol of 2018, as orchestrators look them up: a bounded number at a time, remembered for a moment.
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use alloy::{
    eips::BlockId,
    primitives::{Address, U256, keccak256},
};
use streamflow_bindings::{Controller, JobsManager};
use streamflow_types::Job;
use tokio::sync::Semaphore;

use crate::{Chain, ChainError, Rpc};

/// Name under which Controller knows JobsManager: its own is that of TicketBroker for older clients.
const NAME: &str = "TranscodingJobs";
/// Look-ups at a time: anybody can ask for jobs that do not exist.
const MAX_LOOKUPS: usize = 8;
/// Jobs remembered.
const MAX_KNOWN: usize = 1024;
/// For how long: a broadcaster may end a job at any time.
const FRESH: Duration = Duration::from_secs(5);

/// Reads jobs. Clones share what they know.
#[derive(Clone, Debug)]
pub struct JobReader {
    rpc: Rpc,
    contract: Address,
    lookups: Arc<Semaphore>,
    known: Arc<Mutex<Known>>,
}

impl JobReader {
    /// Finds the contract through Controller.
    ///
    /// # Errors
    ///
    /// The node cannot be asked, or the deployment has no such contract.
    pub async fn find(chain: &Chain) -> Result<Self, ChainError> {
        let controller = chain.contracts.controller;
        let call = Controller::getContractCall { id: keccak256(NAME) };
        let contract = chain.rpc.view(controller, call, BlockId::latest()).await?;
        if contract.is_zero() {
            return Err(ChainError::NoJobs { controller });
        }
        let (lookups, known) = (Arc::new(Semaphore::new(MAX_LOOKUPS)), Arc::default());
        Ok(Self { rpc: chain.rpc.clone(), contract, lookups, known })
    }

    /// The contract that keeps the jobs.
    pub const fn contract(&self) -> Address {
        self.contract
    }

    /// The job of this number, not older than a few seconds; none if there is none yet. What is not there is asked again.
    ///
    /// # Errors
    ///
    /// The node cannot be asked.
    pub async fn job(&self, id: u64) -> Result<Option<Job>, ChainError> {
        if let Some(job) = self.known().get(id, Instant::now()) {
            return Ok(Some(job));
        }
        // The semaphore is never closed.
        let _permit = self.lookups.acquire().await.ok();
        // Another request may have asked meanwhile.
        if let Some(job) = self.known().get(id, Instant::now()) {
            return Ok(Some(job));
        }
        let asked = Instant::now();
        let call = JobsManager::getJobCall { jobId: U256::from(id) };
        let job = match self.rpc.view(self.contract, call, BlockId::latest()).await {
            Ok(job) => read(id, job),
            Err(ChainError::Reverted { reason, .. }) if reason.decode::<JobsManager::NoSuchJob>().is_some() => {
                return Ok(None);
            }
            Err(err) => return Err(err),
        };
        self.known().put(job.clone(), asked);
        Ok(Some(job))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // No code panics half-way through a change.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(id: u64, job: streamflow_bindings::jobs_manager::IJobsManager::Job) -> Job {
    Job {
        id,
        broadcaster: job.broadcaster,
        orchestrator: job.orchestrator,
        creation_block: job.creationBlock.to(),
        end_block: job.endBlock.to(),
        max_price_per_unit: U256::from(job.maxPricePerUnit),
        stream_id: job.streamId,
        transcoding_options: job.transcodingOptions,
    }
}

/// Jobs by number, with the time at which they were asked for.
#[derive(Debug, Default)]
struct Known(HashMap<u64, (Instant, Job)>);

impl Known {
    fn get(&self, id: u64, now: Instant) -> Option<Job> {
        let (asked, job) = self.0.get(&id)?;
        (now.saturating_duration_since(*asked) < FRESH).then(|| job.clone())
    }

    fn put(&mut self, job: Job, asked: Instant) {
        if self.0.len() >= MAX_KNOWN && !self.0.contains_key(&job.id) {
            self.0.retain(|_, (then, _)| asked.saturating_duration_since(*then) < FRESH);
        }
        if self.0.len() >= MAX_KNOWN && !self.0.contains_key(&job.id) {
            let oldest = self.0.iter().min_by_key(|(_, (then, _))| *then).map(|(id, _)| *id);
            oldest.map(|id| self.0.remove(&id));
        }
        self.0.insert(job.id, (asked, job));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: u64) -> Job {
        Job {
            id,
            broadcaster: Address::repeat_byte(1),
            orchestrator: Address::repeat_byte(2),
            creation_block: 1,
            end_block: 2,
            max_price_per_unit: U256::ZERO,
            stream_id: "s".into(),
            transcoding_options: "P240p30fps16x9".into(),
        }
    }

    #[test]
    fn a_job_is_remembered_for_a_moment() {
        let (mut known, now) = (Known::default(), Instant::now());
        known.put(job(1), now);
        assert_eq!(known.get(1, now + FRESH / 2), Some(job(1)));
        assert_eq!(known.get(1, now + FRESH), None);
        assert_eq!(known.get(2, now), None);
    }

    #[test]
    fn jobs_remembered_are_bounded_and_the_oldest_goes() {
        let (mut known, now) = (Known::default(), Instant::now());
        for id in 0..=MAX_KNOWN as u64 {
            known.put(job(id), now + Duration::from_micros(id));
        }
        assert_eq!(known.0.len(), MAX_KNOWN);
        assert_eq!(known.get(0, now), None);
        assert!(known.get(MAX_KNOWN as u64, now).is_some());
        // Those that are too old go all at once.
        known.put(job(MAX_KNOWN as u64 + 1), now + 2 * FRESH);
        assert_eq!(known.0.len(), 1);
    }
}
