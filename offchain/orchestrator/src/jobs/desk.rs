//! What is asked of a job before anything is done for it, in the order of the protocol.
use std::{sync::Arc, time::Duration};

use alloy_primitives::{B256, Keccak256, U256, hex};
use streamflow_types::{Job, Price, Profile};
use tokio::time::timeout;

use super::{options, refusal::JobRefusal, segment::DURATION, source::JobSource};
use crate::{admission::Demand, payments::Payments, quotas::Sender, service::Service, sessions::Claim};

/// A broadcaster of 2018 waits 8 s for an answer.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// Answers for jobs. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Jobs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    service: Service,
    payments: Payments,
    source: Arc<dyn JobSource>,
    session_key: B256,
}

/// What makes names of job sessions hard to guess, and says nothing about other uses of the node's secret.
pub(crate) fn session_key(secret: &[u8; 32]) -> B256 {
    let mut hasher = Keccak256::new();
    hasher.update(b"streamflow/job-session/v1");
    hasher.update(secret);
    hasher.finalize()
}

/// A job that this node does, and where.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) job: Job,
    /// Transcode session, the same each time.
    pub(super) session: String,
    /// What to make of its segments.
    pub(super) profiles: Vec<Profile>,
}

impl Running {
    /// A job has one session, which nothing renews.
    pub(super) fn claim(&self) -> Claim<'_> {
        Claim { session: &self.session, owner: Sender::Account(self.job.broadcaster), stream: &self.session }
    }
}

impl Jobs {
    /// None without a chain.
    pub(crate) fn new(service: Service, source: Arc<dyn JobSource>, session_key: B256) -> Option<Self> {
        let payments = service.payments()?.clone();
        Some(Self(Arc::new(Inner { service, payments, source, session_key })))
    }

    pub(super) fn service(&self) -> &Service {
        &self.0.service
    }

    pub(super) fn payments(&self) -> &Payments {
        &self.0.payments
    }

    /// The first three checks: the job exists, it is this orchestrator's, and it runs. `there` is the block that the asking
    /// side knows, if it tells one.
    pub(super) async fn running(&self, id: i64, there: Option<u64>) -> Result<Job, JobRefusal> {
        let here = self.0.payments.chain_view()?.block;
        // Numbers begin at 1.
        let known = match u64::try_from(id) {
            Ok(number @ 1..) => self.look_up(number).await?,
            Ok(0) | Err(_) => None,
        };
        let Some(job) = known else {
            return Err(match there.filter(|there| *there > here) {
                Some(there) => JobRefusal::Behind { job: id, here, there },
                None => JobRefusal::NoSuchJob { job: id, here },
            });
        };
        let this = self.0.payments.address();
        if job.orchestrator != this {
            return Err(JobRefusal::NotAssigned { job: job.id, assigned: job.orchestrator, this });
        }
        if here < job.creation_block {
            return Err(JobRefusal::NotBegun { job: job.id, begin: job.creation_block, here, there });
        }
        if here > job.end_block {
            return Err(JobRefusal::Ended { job: job.id, end: job.end_block, here });
        }
        Ok(job)
    }

    /// Whether this node does the job of a broadcaster that has proved to be itself, and where.
    pub(super) fn admit(&self, job: Job) -> Result<Running, JobRefusal> {
        let config = self.0.service.config();
        let served = &config.jobs_2018.broadcasters;
        if !served.contains(&job.broadcaster) {
            return Err(JobRefusal::NotServed { broadcaster: job.broadcaster, listed: served.len() });
        }
        let session = session(self.0.session_key, job.id);
        let price = self.0.payments.price(job.broadcaster, &session);
        if !is_within(price, job.max_price_per_unit) {
            return Err(JobRefusal::PriceCeiling { job: job.id, ceiling: job.max_price_per_unit, price });
        }
        let profiles = options::profiles(&job.transcoding_options)
            .map_err(|source| JobRefusal::Options { job: job.id, source })?;
        let running = Running { job, session, profiles };
        self.0.service.sessions().admits(running.claim(), demand(&running.profiles))?;
        Ok(running)
    }

    async fn look_up(&self, id: u64) -> Result<Option<Job>, JobRefusal> {
        let failed = |source| JobRefusal::Unreadable { job: id, source };
        let found = timeout(LOOKUP_TIMEOUT, self.0.source.job(id)).await.map_err(|_| failed(None))?;
        found.map_err(|source| failed(Some(source)))
    }
}

/// What a job's session asks of a device.
pub(super) fn demand(profiles: &[Profile]) -> Demand {
    Demand::of(profiles, DURATION)
}

/// Name of a job's session. Whoever knows it may fetch the renditions.
fn session(key: B256, id: u64) -> String {
    let mut hasher = Keccak256::new();
    hasher.update(key);
    hasher.update(id.to_be_bytes());
    format!("job-{id}-{}", hex::encode(&hasher.finalize()[..8]))
}

/// Whether the price of a pixel is at most so many wei.
fn is_within(price: Price, ceiling: U256) -> bool {
    U256::from(price.wei_per_unit()) <= ceiling.saturating_mul(U256::from(price.pixels_per_unit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_compared_as_a_ratio() {
        let within = |wei, pixels, ceiling| is_within(Price::new(wei, pixels).unwrap(), U256::from(ceiling));
        assert!(within(10, 1, 10_u64));
        assert!(!within(11, 1, 10_u64));
        assert!(within(31, 10, 4_u64));
        assert!(!within(31, 10, 3_u64));
        assert!(within(0, 1, 0_u64));
        assert!(is_within(Price::new(1, i64::MAX as u64).unwrap(), U256::MAX));
    }

    #[test]
    fn names_of_sessions_cannot_be_guessed_from_the_job() {
        let name = session(B256::repeat_byte(1), 7);
        assert_eq!(name.len(), "job-7-".len() + 16);
        assert_eq!(session(B256::repeat_byte(1), 7), name);
        assert_ne!(session(B256::repeat_byte(2), 7), name);
        let tail = |name: &str| name.rsplit('-').next().unwrap().to_owned();
        assert_ne!(tail(&session(B256::repeat_byte(1), 8)), tail(&name));
    }

    #[test]
    fn the_key_of_sessions_is_not_that_of_tokens() {
        assert_ne!(session_key(&[7; 32]).0, crate::service::token_key(&[7; 32]));
        assert_ne!(session_key(&[7; 32]), session_key(&[8; 32]));
    }
}
