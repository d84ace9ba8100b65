//! Which device a job goes to: the least loaded of those that work.
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use streamflow_types::VideoCodec;

use super::{
    Coding, Fallback, UsableDevice,
    breaker::{Breaker, BreakerPolicy, BreakerState, Outcome},
};
use crate::{Encoder, PoolError, metrics};

/// The device of one job, as its worker is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Assignment {
    /// Its number.
    pub(crate) device: u32,
    /// Codings that it decodes and whose frames it scales; others are decoded on the CPU.
    pub(crate) decodes: Vec<Coding>,
    /// Codecs that it encodes; renditions of others are encoded on the CPU.
    pub(crate) encodes: Vec<VideoCodec>,
}

/// Where a job is to be done.
#[derive(Debug)]
pub(crate) enum Placement {
    /// On a device.
    Device(Lease),
    /// On the CPU, encoder and all: no device takes it now.
    Cpu,
}

/// No device takes a job, and the CPU may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDevice {
    /// Every device is kept from work after faults.
    #[error("every device failed, the next is tried in {wait:?}")]
    Broken {
        /// Time until one is tried again.
        wait: Duration,
    },
    /// Those that work have no encoders left.
    #[error("no device has {sessions} encoders left")]
    Full {
        /// Encoders that the job needs.
        sessions: u32,
    },
}

/// The devices of this machine and the jobs on them. Clones share them.
#[derive(Clone, Debug)]
pub struct Fleet {
    encoder: Encoder,
    fallback: Fallback,
    slots: Arc<Mutex<Vec<Slot>>>,
}

#[derive(Debug)]
struct Slot {
    usable: UsableDevice,
    breaker: Breaker,
    jobs: u32,
    sessions: u32,
}

impl Slot {
    fn has_room(&self, sessions: u32) -> bool {
        self.usable.sessions.is_none_or(|limit| self.sessions.saturating_add(sessions) <= limit)
    }

    /// Share of the sessions that is in use, in millionths; where there is no limit, jobs decide.
    fn load(&self) -> (u64, u32) {
        let limit = u64::from(self.usable.sessions.unwrap_or(UNLIMITED).max(1));
        (u64::from(self.sessions) * 1_000_000 / limit, self.jobs)
    }
}

/// Sessions that a device without limit counts as having when it is compared with one that has.
const UNLIMITED: u32 = 64;

impl Fleet {
    /// Devices for jobs of `encoder`.
    pub fn new(devices: Vec<UsableDevice>, encoder: Encoder, fallback: Fallback, policy: BreakerPolicy) -> Self {
        let slot = |usable| Slot { usable, breaker: Breaker::new(policy), jobs: 0, sessions: 0 };
        let fleet = Self { encoder, fallback, slots: Arc::new(Mutex::new(devices.into_iter().map(slot).collect())) };
        fleet.report(&fleet.lock(), Instant::now());
        fleet
    }

    /// Finds a device for a job with so many renditions, other than those to `avoid`. A device that is tried again after
    /// faults comes first: else it would wait for the others to be busy.
    ///
    /// # Errors
    /// [`NoDevice`], where the CPU may not take the job either.
    pub(crate) fn place(&self, renditions: usize, avoid: &[u32]) -> Result<Placement, NoDevice> {
        self.place_at(renditions, avoid, Instant::now())
    }

    fn place_at(&self, renditions: usize, avoid: &[u32], now: Instant) -> Result<Placement, NoDevice> {
        let sessions = match self.encoder {
            Encoder::Nvenc => u32::try_from(renditions).unwrap_or(u32::MAX),
            _ => 0,
        };
        let mut slots = self.lock();
        let found = slots
            .iter_mut()
            .enumerate()
            .filter(|(_, slot)| !avoid.contains(&slot.usable.device))
            .filter(|(_, slot)| slot.breaker.admits(now) && slot.has_room(sessions))
            .min_by_key(|(_, slot)| (slot.breaker.state(now) == BreakerState::Closed, slot.load()));
        let Some((index, slot)) = found else {
            let working = slots.iter().any(|slot| slot.breaker.admits(now));
            let wait = slots.iter().map(|slot| slot.breaker.rest_left(now)).min().unwrap_or_default();
            return match self.fallback {
                Fallback::Cpu => {
                    metrics::fell_back_to_cpu();
                    Ok(Placement::Cpu)
                }
                Fallback::Refuse if working => Err(NoDevice::Full { sessions }),
                Fallback::Refuse => Err(NoDevice::Broken { wait }),
            };
        };
        let trial = slot.breaker.begin();
        slot.jobs += 1;
        slot.sessions += sessions;
        let UsableDevice { device, decodes, encodes, .. } = slot.usable.clone();
        let assignment = Assignment { device, decodes, encodes };
        if trial {
            tracing::info!(device = assignment.device, "device is tried again");
        }
        self.report(&slots, now);
        let (fleet, load) = (self.clone(), Some(sessions));
        Ok(Placement::Device(Lease { fleet, index, load, trial, assignment, judged: false }))
    }

    fn release(&self, index: usize, sessions: u32) {
        let mut slots = self.lock();
        if let Some(slot) = slots.get_mut(index) {
            slot.jobs = slot.jobs.saturating_sub(1);
            slot.sessions = slot.sessions.saturating_sub(sessions);
        }
        self.report(&slots, Instant::now());
    }

    fn judge(&self, lease: &Lease, outcome: Outcome, now: Instant) {
        let mut slots = self.lock();
        let Some(slot) = slots.get_mut(lease.index) else { return };
        let device = slot.usable.device;
        if slot.breaker.ended(lease.trial, outcome, now) {
            let rest = slot.breaker.rest_left(now);
            tracing::error!(device, ?rest, "device failed too often and gets no work");
        } else if lease.trial && outcome == Outcome::Done {
            tracing::info!(device, "device works again");
        }
        self.report(&slots, now);
    }

    fn report(&self, slots: &[Slot], now: Instant) {
        let broken = slots.iter().filter(|slot| slot.breaker.state(now) != BreakerState::Closed).count();
        metrics::devices(slots.len(), broken, slots.iter().map(|slot| u64::from(slot.sessions)).sum());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job's place on a device, until it is dropped. One that is dropped without a verdict says nothing of the device.
#[derive(Debug)]
pub(crate) struct Lease {
    fleet: Fleet,
    index: usize,
    /// Sessions taken, until they are given back.
    load: Option<u32>,
    trial: bool,
    assignment: Assignment,
    judged: bool,
}

impl Lease {
    pub(crate) fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    /// Gives the place back; what the job says of the device is still to be seen.
    pub(crate) fn release(&mut self) {
        if let Some(sessions) = self.load.take() {
            self.fleet.release(self.index, sessions);
        }
    }

    /// The job was done.
    pub(crate) fn done(self) {
        self.done_at(Instant::now());
    }

    fn done_at(mut self, now: Instant) {
        self.judge(Outcome::Done, now);
    }

    /// The device is to blame for how the job ended.
    pub(crate) fn failed(self, error: &PoolError) {
        self.failed_at(error, Instant::now());
    }

    fn failed_at(mut self, error: &PoolError, now: Instant) {
        let (device, cause) = (self.assignment.device, error.outcome());
        metrics::device_fault(cause);
        tracing::warn!(device, cause, %error, "device failed");
        self.judge(Outcome::Fault, now);
    }

    fn judge(&mut self, outcome: Outcome, now: Instant) {
        self.release();
        self.judged = true;
        self.fleet.judge(self, outcome, now);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.judged {
            self.judge(Outcome::Undecided, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn fleet(limits: &[Option<u32>], fallback: Fallback) -> Fleet {
        let devices = limits.iter().enumerate().map(|(number, sessions)| UsableDevice {
            device: u32::try_from(number).unwrap(),
            decodes: Coding::ALL.to_vec(),
            encodes: vec![VideoCodec::H264],
            sessions: *sessions,
        });
        Fleet::new(devices.collect(), Encoder::Nvenc, fallback, BreakerPolicy::default())
    }

    fn lease(fleet: &Fleet, renditions: usize, now: Instant) -> Lease {
        match fleet.place_at(renditions, &[], now) {
            Ok(Placement::Device(lease)) => lease,
            other => panic!("{other:?}"),
        }
    }

    fn device(lease: &Lease) -> u32 {
        lease.assignment().device
    }

    fn died() -> PoolError {
        PoolError::WorkerDied { signal: Some(11), exit: None, stderr: Vec::new() }
    }

    /// Lets device 0 fail until it gets no work; the others must be busier.
    fn break_first(fleet: &Fleet, now: Instant) {
        for _ in 0..BreakerPolicy::default().faults {
            let lease = lease(fleet, 3, now);
            assert_eq!(device(&lease), 0);
            lease.failed_at(&died(), now);
        }
    }

    #[test]
    fn jobs_spread_by_the_share_of_sessions_in_use() {
        let now = Instant::now();
        let fleet = fleet(&[Some(24), Some(8)], Fallback::Refuse);
        let leases: Vec<_> = (0..8).map(|_| lease(&fleet, 3, now)).collect();
        let on = |number| leases.iter().filter(|lease| device(lease) == number).count();
        assert_eq!((on(0), on(1)), (6, 2));
        drop(leases);
        assert!(fleet.lock().iter().all(|slot| slot.jobs == 0 && slot.sessions == 0));
    }

    #[test]
    fn without_limits_jobs_take_turns_and_encoders_on_the_cpu_take_no_sessions() {
        let now = Instant::now();
        let open = fleet(&[None, None, None], Fallback::Refuse);
        let leases: Vec<_> = (0..6).map(|_| lease(&open, 3, now)).collect();
        assert!((0..3).all(|number| leases.iter().filter(|lease| device(lease) == number).count() == 2));
        let feeding = Fleet { encoder: Encoder::X264, ..fleet(&[Some(3)], Fallback::Refuse) };
        let leases: Vec<_> = (0..5).map(|_| lease(&feeding, 3, now)).collect();
        assert_eq!(leases.len(), 5);
    }

    #[test]
    fn a_full_machine_refuses_or_falls_back() {
        let now = Instant::now();
        let strict = fleet(&[Some(5)], Fallback::Refuse);
        let _first = lease(&strict, 3, now);
        assert_eq!(strict.place_at(3, &[], now).unwrap_err(), NoDevice::Full { sessions: 3 });
        assert_eq!(device(&lease(&strict, 2, now)), 0);
        let lenient = fleet(&[Some(5)], Fallback::Cpu);
        let _first = lease(&lenient, 5, now);
        assert!(matches!(lenient.place_at(3, &[], now), Ok(Placement::Cpu)));
    }

    #[test]
    fn a_place_given_back_is_free_before_the_verdict() {
        let now = Instant::now();
        let fleet = fleet(&[Some(3)], Fallback::Refuse);
        let mut suspect = lease(&fleet, 3, now);
        suspect.release();
        let next = lease(&fleet, 3, now);
        suspect.failed_at(&died(), now);
        assert_eq!(fleet.place_at(1, &[], now).unwrap_err(), NoDevice::Full { sessions: 1 });
        next.done_at(now);
        assert_eq!(fleet.lock()[0].sessions, 0);
    }

    #[test]
    fn a_job_avoids_devices_that_failed_it() {
        let now = Instant::now();
        let fleet = fleet(&[None, None], Fallback::Cpu);
        for _ in 0..3 {
            let Ok(Placement::Device(lease)) = fleet.place_at(3, &[0], now) else { panic!("no device") };
            assert_eq!(device(&lease), 1);
        }
        assert!(matches!(fleet.place_at(3, &[0, 1], now), Ok(Placement::Cpu)));
    }

    #[test]
    fn jobs_leave_a_broken_device_and_one_comes_back_to_try_it() {
        let now = Instant::now();
        let fleet = fleet(&[Some(24), Some(8)], Fallback::Refuse);
        break_first(&fleet, now);
        let leases: Vec<_> = (0..2).map(|_| lease(&fleet, 1, now)).collect();
        assert!(leases.iter().all(|lease| device(lease) == 1));
        let rested = now + 30 * SECOND;
        let trial = lease(&fleet, 1, rested);
        assert_eq!(device(&trial), 0, "else it would never be tried");
        assert_eq!(device(&lease(&fleet, 1, rested)), 1, "one trial at a time");
        trial.done_at(rested);
        assert_eq!(device(&lease(&fleet, 1, rested)), 0);
    }

    #[test]
    fn without_a_working_device_jobs_are_refused_or_go_to_the_cpu() {
        let now = Instant::now();
        let strict = fleet(&[None], Fallback::Refuse);
        break_first(&strict, now);
        let refused = strict.place_at(3, &[], now + 10 * SECOND).unwrap_err();
        assert_eq!(refused, NoDevice::Broken { wait: 20 * SECOND });
        let lenient = fleet(&[None], Fallback::Cpu);
        break_first(&lenient, now);
        assert!(matches!(lenient.place_at(3, &[], now), Ok(Placement::Cpu)));
    }

    #[test]
    fn jobs_without_verdict_are_no_faults() {
        let now = Instant::now();
        let fleet = fleet(&[None], Fallback::Refuse);
        for _ in 0..50 {
            drop(lease(&fleet, 3, now));
        }
        assert_eq!(device(&lease(&fleet, 3, now)), 0);
    }
}
