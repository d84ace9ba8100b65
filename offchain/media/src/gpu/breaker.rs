//! Keeps work from a device that fails, and finds out when it works again.
//!
//! ```text
//! closed --faults within the window--> open --cool-down--> one trial --done--> closed
//!                                        ^------- fault ------'  (twice the cool-down)
//! ```
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// When a breaker opens and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Faults within [`Self::window`] that open it, at least 1.
    pub faults: usize,
    /// Time after which a fault is forgotten.
    pub window: Duration,
    /// Time without work before the first trial; doubles with every trial that fails.
    pub cool_down: Duration,
    /// Longest time between two trials.
    pub max_cool_down: Duration,
}

impl Default for BreakerPolicy {
    /// Three faults within a minute; a trial after half a minute, later every ten minutes.
    fn default() -> Self {
        Self {
            faults: 3,
            window: Duration::from_secs(60),
            cool_down: Duration::from_secs(30),
            max_cool_down: Duration::from_secs(600),
        }
    }
}

/// What a breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Everything.
    Closed,
    /// Nothing.
    Open,
    /// One job, to see whether the device works again.
    HalfOpen,
}

/// How a job on the device ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was done.
    Done,
    /// It failed for the device's sake.
    Fault,
    /// Nothing is known of the device: the job was abandoned, or its input was bad.
    Undecided,
}

/// The breaker of one device. Time is given with every call and must not run backwards.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    policy: BreakerPolicy,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// Times of the faults within the window, fewer than open it.
    Closed(VecDeque<Instant>),
    /// Until when it rests, and how long this rest is.
    Open { until: Instant, rest: Duration },
    /// One job is under way, after that rest.
    Trial { rest: Duration },
}

impl Breaker {
    pub(super) fn new(policy: BreakerPolicy) -> Self {
        Self { policy, state: State::Closed(VecDeque::new()) }
    }

    pub(super) fn state(&self, now: Instant) -> BreakerState {
        match &self.state {
            State::Closed(_) => BreakerState::Closed,
            State::Open { .. } if self.rest_left(now).is_zero() => BreakerState::HalfOpen,
            State::Open { .. } => BreakerState::Open,
            State::Trial { .. } => BreakerState::HalfOpen,
        }
    }

    /// Time until it lets a job through; zero where it would do so now.
    pub(super) fn rest_left(&self, now: Instant) -> Duration {
        match self.state {
            State::Closed(_) => Duration::ZERO,
            State::Open { until, .. } => until.saturating_duration_since(now),
            // As long as the trial lasts, which nobody knows; after that a fault costs at least this.
            State::Trial { rest } => rest,
        }
    }

    /// Whether a job may begin now.
    pub(super) fn admits(&self, now: Instant) -> bool {
        self.rest_left(now).is_zero()
    }

    /// A job that was admitted begins. True when it is the trial.
    pub(super) fn begin(&mut self) -> bool {
        if let State::Open { rest, .. } = self.state {
            self.state = State::Trial { rest };
            return true;
        }
        false
    }

    /// A job ended; `trial` is what [`Self::begin`] said of it. True when this opens the breaker.
    pub(super) fn ended(&mut self, trial: bool, outcome: Outcome, now: Instant) -> bool {
        let Self { policy, state } = self;
        match (state, outcome) {
            (State::Closed(faults), Outcome::Fault) => {
                faults.retain(|fault| now.saturating_duration_since(*fault) < policy.window);
                faults.push_back(now);
                if faults.len() < policy.faults {
                    return false;
                }
                self.state = State::Open { until: now + policy.cool_down, rest: policy.cool_down };
                true
            }
            (State::Trial { rest }, Outcome::Fault) if trial => {
                let rest = rest.saturating_mul(2).min(policy.max_cool_down);
                self.state = State::Open { until: now + rest, rest };
                true
            }
            (State::Trial { .. }, Outcome::Done) if trial => {
                self.state = State::Closed(VecDeque::new());
                false
            }
            (State::Trial { rest }, Outcome::Undecided) if trial => {
                let rest = *rest;
                self.state = State::Open { until: now, rest };
                false
            }
            // Others may fail while one is done: of a closed breaker only time forgives. And jobs from before it opened
            // say nothing of now.
            (State::Closed(_) | State::Open { .. } | State::Trial { .. }, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const POLICY: BreakerPolicy = BreakerPolicy {
        faults: 3,
        window: Duration::from_secs(60),
        cool_down: Duration::from_secs(30),
        max_cool_down: Duration::from_secs(100),
    };

    fn open_at(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(POLICY);
        let opened: Vec<_> = (0..POLICY.faults).map(|_| breaker.ended(false, Outcome::Fault, now)).collect();
        assert_eq!(opened.last(), Some(&true));
        breaker
    }

    #[test]
    fn it_opens_at_the_last_of_so_many_faults() {
        let now = Instant::now();
        let mut breaker = Breaker::new(POLICY);
        for fault in 0..2 {
            assert!(!breaker.ended(false, Outcome::Fault, now + fault * SECOND));
            assert!(breaker.admits(now));
        }
        assert!(breaker.ended(false, Outcome::Fault, now + 2 * SECOND));
        assert_eq!(breaker.state(now + 2 * SECOND), BreakerState::Open);
        assert!(!breaker.admits(now + 31 * SECOND));
    }

    #[test]
    fn faults_far_apart_change_nothing_and_successes_between_them_excuse_nothing() {
        let now = Instant::now();
        let mut breaker = Breaker::new(POLICY);
        for fault in 0..20 {
            assert!(!breaker.ended(false, Outcome::Fault, now + fault * 31 * SECOND), "two in every window");
        }
        let mut breaker = Breaker::new(POLICY);
        for fault in 0..3 {
            breaker.ended(false, Outcome::Done, now);
            let opened = breaker.ended(false, Outcome::Fault, now);
            assert_eq!(opened, fault == 2, "a device that fails every other time is broken");
        }
    }

    #[test]
    fn one_trial_after_the_rest_decides() {
        let now = Instant::now();
        let mut breaker = open_at(now);
        let rested = now + POLICY.cool_down;
        assert!(!breaker.admits(rested - SECOND));
        assert_eq!(breaker.state(rested), BreakerState::HalfOpen);
        assert!(breaker.admits(rested));
        assert!(breaker.begin());
        assert!(!breaker.admits(rested + 29 * SECOND), "one trial at a time");
        breaker.ended(true, Outcome::Done, rested);
        assert_eq!(breaker.state(rested), BreakerState::Closed);
        assert!(!breaker.begin());
        assert!(!breaker.ended(false, Outcome::Fault, rested), "the old faults are forgiven");
    }

    #[test]
    fn each_trial_that_fails_doubles_the_rest_up_to_a_limit() {
        let mut now = Instant::now();
        let mut breaker = open_at(now);
        for rest in [30, 60, 100, 100] {
            assert!(!breaker.admits(now + (rest - 1) * SECOND));
            now += rest * SECOND;
            assert!(breaker.admits(now));
            assert!(breaker.begin());
            assert!(breaker.ended(true, Outcome::Fault, now));
        }
    }

    #[test]
    fn a_trial_that_says_nothing_is_made_again() {
        let now = Instant::now();
        let mut breaker = open_at(now);
        let rested = now + POLICY.cool_down;
        assert!(breaker.begin());
        breaker.ended(true, Outcome::Undecided, rested);
        assert_eq!(breaker.state(rested), BreakerState::HalfOpen);
        assert!(breaker.admits(rested) && breaker.begin());
        breaker.ended(true, Outcome::Fault, rested);
        assert!(!breaker.admits(rested + 59 * SECOND), "the rest doubles all the same");
    }

    #[test]
    fn jobs_from_before_it_opened_say_nothing() {
        let now = Instant::now();
        let rested = now + POLICY.cool_down;
        for outcome in [Outcome::Done, Outcome::Fault, Outcome::Undecided] {
            let mut breaker = open_at(now);
            assert!(!breaker.ended(false, outcome, rested - SECOND));
            assert!(!breaker.admits(rested - SECOND) && breaker.admits(rested), "{outcome:?}");
            breaker.begin();
            assert!(!breaker.ended(false, outcome, rested));
            assert!(!breaker.admits(rested), "{outcome:?} does not end the trial");
        }
    }
}
