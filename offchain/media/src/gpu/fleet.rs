//! Which device a job goes to: the least loaded of those that work.
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    Coding, Fallback, UsableDevice,
    breaker::{Breaker, BreakerPolicy, BreakerState, Outcome},
};
use crate::{Encoder, MediaError, PoolError, metrics};

/// The device of one job, as its worker is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Assignment {
    /// Its number.
    pub(crate) device: u32,
    /// Codings that it decodes and whose frames it scales; others are decoded on the CPU.
    pub(crate) decodes: Vec<Coding>,
}

/// Where a job is to be done.
#[derive(Debug)]
pub enum Placement {
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

    /// Finds a device for a job with so many renditions. A device that is tried again after faults comes first: else it
    /// would wait for the others to be busy.
    ///
    /// # Errors
    /// [`NoDevice`], where the CPU may not take the job either.
    pub fn place(&self, renditions: usize) -> Result<Placement, NoDevice> {
        self.place_at(renditions, Instant::now())
    }

    fn place_at(&self, renditions: usize, now: Instant) -> Result<Placement, NoDevice> {
        let sessions = match self.encoder {
            Encoder::Nvenc => u32::try_from(renditions).unwrap_or(u32::MAX),
            _ => 0,
        };
        let mut slots = self.lock();
        let found = (0..slots.len())
            .filter(|index| slots[*index].breaker.admits(now) && slots[*index].has_room(sessions))
            .min_by_key(|index| (slots[*index].breaker.state(now) == BreakerState::Closed, slots[*index].load()));
        let Some(index) = found else {
            let working = slots.iter().any(|slot| slot.breaker.admits(now));
            let wait = slots.iter().map(|slot| slot.breaker.rest_left(now)).min().unwrap_or_default();
            drop(slots);
            return match self.fallback {
                Fallback::Cpu => {
                    metrics::fell_back_to_cpu();
                    Ok(Placement::Cpu)
                }
                Fallback::Refuse if working => Err(NoDevice::Full { sessions }),
                Fallback::Refuse => Err(NoDevice::Broken { wait }),
            };
        };
        let slot = &mut slots[index];
        let trial = slot.breaker.begin();
        slot.jobs += 1;
        slot.sessions += sessions;
        let assignment = Assignment { device: slot.usable.device, decodes: slot.usable.decodes.clone() };
        if trial {
            tracing::info!(device = assignment.device, "device is tried again");
        }
        self.report(&slots, now);
        Ok(Placement::Device(Lease { fleet: self.clone(), index, sessions, trial, assignment, ended: false }))
    }

    fn end(&self, lease: &Lease, outcome: Outcome, now: Instant) {
        let mut slots = self.lock();
        let Some(slot) = slots.get_mut(lease.index) else { return };
        slot.jobs = slot.jobs.saturating_sub(1);
        slot.sessions = slot.sessions.saturating_sub(lease.sessions);
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

/// A job's place on a device, until the job ends. One that is dropped without [`Lease::end`] says nothing of the device.
#[derive(Debug)]
pub struct Lease {
    fleet: Fleet,
    index: usize,
    sessions: u32,
    trial: bool,
    assignment: Assignment,
    ended: bool,
}

impl Lease {
    /// The number of the device.
    pub fn device(&self) -> u32 {
        self.assignment.device
    }

    pub(crate) fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    /// Gives the place back and says how the job went; `None` is a job that was done. True when the device is to blame.
    pub fn end(mut self, error: Option<&PoolError>) -> bool {
        self.end_at(error, Instant::now())
    }

    fn end_at(&mut self, error: Option<&PoolError>, now: Instant) -> bool {
        let outcome = match error {
            None => Outcome::Done,
            Some(error) => match fault(error) {
                Some(cause) => {
                    metrics::device_fault(cause);
                    tracing::warn!(device = self.device(), cause, %error, "device failed");
                    Outcome::Fault
                }
                None => Outcome::Undecided,
            },
        };
        self.ended = true;
        self.fleet.end(self, outcome, now);
        outcome == Outcome::Fault
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.ended {
            self.fleet.end(self, Outcome::Undecided, Instant::now());
        }
    }
}

/// What a device is blamed for: a worker that died or hung while it used the device, which is what drivers do when a
/// device fails, and what libav says of the device. What is wrong with a segment is none of its faults.
fn fault(error: &PoolError) -> Option<&'static str> {
    match error {
        PoolError::WorkerDied { .. } => Some("died"),
        PoolError::WorkerHung { .. } => Some("hung"),
        PoolError::WorkerGarbage { .. } => Some("garbage"),
        PoolError::Media(MediaError::Gpu { .. }) => Some("refused"),
        _ => None,
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
            sessions: *sessions,
        });
        Fleet::new(devices.collect(), Encoder::Nvenc, fallback, BreakerPolicy::default())
    }

    fn lease(fleet: &Fleet, renditions: usize, now: Instant) -> Lease {
        match fleet.place_at(renditions, now) {
            Ok(Placement::Device(lease)) => lease,
            other => panic!("{other:?}"),
        }
    }

    fn died() -> PoolError {
        PoolError::WorkerDied { signal: Some(11), exit: None, stderr: Vec::new() }
    }

    /// Lets device 0 fail until it gets no work; the others must be busier.
    fn break_first(fleet: &Fleet, now: Instant) {
        for _ in 0..BreakerPolicy::default().faults {
            let mut lease = lease(fleet, 3, now);
            assert_eq!(lease.device(), 0);
            assert!(lease.end_at(Some(&died()), now));
        }
    }

    #[test]
    fn jobs_spread_by_the_share_of_sessions_in_use() {
        let now = Instant::now();
        let fleet = fleet(&[Some(24), Some(8)], Fallback::Refuse);
        let leases: Vec<_> = (0..8).map(|_| lease(&fleet, 3, now)).collect();
        let on = |device| leases.iter().filter(|lease| lease.device() == device).count();
        assert_eq!((on(0), on(1)), (6, 2));
        drop(leases);
        assert!(fleet.lock().iter().all(|slot| slot.jobs == 0 && slot.sessions == 0));
    }

    #[test]
    fn without_limits_jobs_take_turns_and_encoders_on_the_cpu_take_no_sessions() {
        let now = Instant::now();
        let open = fleet(&[None, None, None], Fallback::Refuse);
        let leases: Vec<_> = (0..6).map(|_| lease(&open, 3, now)).collect();
        assert!((0..3).all(|device| leases.iter().filter(|lease| lease.device() == device).count() == 2));
        let feeding = Fleet { encoder: Encoder::X264, ..fleet(&[Some(3)], Fallback::Refuse) };
        let leases: Vec<_> = (0..5).map(|_| lease(&feeding, 3, now)).collect();
        assert_eq!(leases.len(), 5);
    }

    #[test]
    fn a_full_machine_refuses_or_falls_back() {
        let now = Instant::now();
        let strict = fleet(&[Some(5)], Fallback::Refuse);
        let _first = lease(&strict, 3, now);
        assert_eq!(strict.place_at(3, now).unwrap_err(), NoDevice::Full { sessions: 3 });
        assert_eq!(lease(&strict, 2, now).device(), 0);
        let lenient = fleet(&[Some(5)], Fallback::Cpu);
        let _first = lease(&lenient, 5, now);
        assert!(matches!(lenient.place_at(3, now), Ok(Placement::Cpu)));
    }

    #[test]
    fn jobs_leave_a_broken_device_and_one_comes_back_to_try_it() {
        let now = Instant::now();
        let fleet = fleet(&[Some(24), Some(8)], Fallback::Refuse);
        let busy = lease(&fleet, 1, now);
        assert_eq!(busy.device(), 0);
        drop(busy);
        break_first(&fleet, now);
        assert!((0..2).map(|_| lease(&fleet, 1, now)).all(|lease| lease.device() == 1));
        let rested = now + 30 * SECOND;
        let mut trial = lease(&fleet, 1, rested);
        assert_eq!(trial.device(), 0, "else it would never be tried");
        let other = lease(&fleet, 1, rested);
        assert_eq!(other.device(), 1, "one trial at a time");
        assert!(!trial.end_at(None, rested));
        assert_eq!(lease(&fleet, 1, rested).device(), 0);
    }

    #[test]
    fn without_a_working_device_jobs_are_refused_or_go_to_the_cpu() {
        let now = Instant::now();
        let strict = fleet(&[None], Fallback::Refuse);
        break_first(&strict, now);
        let refused = strict.place_at(3, now + 10 * SECOND).unwrap_err();
        assert_eq!(refused, NoDevice::Broken { wait: 20 * SECOND });
        let lenient = fleet(&[None], Fallback::Cpu);
        break_first(&lenient, now);
        assert!(matches!(lenient.place_at(3, now), Ok(Placement::Cpu)));
    }

    #[test]
    fn bad_segments_and_abandoned_jobs_are_no_faults() {
        let now = Instant::now();
        let fleet = fleet(&[None], Fallback::Refuse);
        for _ in 0..50 {
            assert!(!lease(&fleet, 3, now).end_at(Some(&MediaError::NoKeyFrame.into()), now));
            drop(lease(&fleet, 3, now));
        }
        assert_eq!(lease(&fleet, 3, now).device(), 0);
        let refused = MediaError::Gpu { device: 0, step: "encode a frame".into(), reason: String::new() };
        for error in [died(), PoolError::WorkerHung { deadline: SECOND }, refused.into()] {
            assert!(fault(&error).is_some(), "{error}");
        }
    }
}
