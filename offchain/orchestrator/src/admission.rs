//! Room for sessions by what their work was measured to take, device by device (docs/designs/030-admission-and-pool.md).
//!
//! A device is a remote transcoder, or the workers of this process. Its lanes are the segments that it does side by side. Two
//! figures are kept of it, each per pixel that is asked for: the time of a lane that a segment takes, and the time until the
//! segment is there. The first says how much of the device its sessions need, the second whether they keep up with the stream.
use std::{collections::HashMap, time::Duration};

use streamflow_pm::estimated_pixels;
use streamflow_types::Profile;
use tokio::time::Instant;

/// Sessions that a lane gets before anything was measured on it.
const UNMEASURED_SESSIONS: usize = 2;
/// A session without work holds its room for so many of its segments' durations, at least for [`LEAST_HOLD`].
const HOLD_SEGMENTS: u32 = 2;
const LEAST_HOLD: Duration = Duration::from_secs(1);
/// How long a session has room before its first segment is there: whatever length its sender names, the least that any gets to come.
const FIRST_HOLD: Duration = Duration::from_secs(8);
/// Time between two looks for sessions whose room is free again.
const PRUNE_INTERVAL: Duration = Duration::from_millis(500);

/// Why a session is refused. Peers are told `OrchestratorCapped`; this is what it means.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Overload {
    /// The operator's bound.
    #[error(
        "{sessions} sessions have work, orchestrator.max_sessions is {max}: raise it, or set it to \"auto\" to go by \
         measured load"
    )]
    Sessions {
        /// That have work.
        sessions: usize,
        /// As set.
        max: usize,
    },
    /// Every device would fall behind.
    #[error(
        "with this session the least loaded of {devices} devices would be busy for {predicted:.2} of the time, \
         orchestrator.admission.max_ratio is {limit:.2}: add a transcoder, or ask for fewer pixels"
    )]
    Ratio {
        /// Time of transcoding over time of video, on the device that is best off.
        predicted: f64,
        /// As set.
        limit: f64,
        /// Devices that were looked at.
        devices: usize,
    },
    /// Every transcoder has as many sessions as it said it takes.
    #[error(
        "{sessions} sessions have work, the {devices} transcoders take {capacity}: add one, or raise transcoder.capacity"
    )]
    Places {
        /// That have work.
        sessions: usize,
        /// All transcoders together.
        capacity: usize,
        /// Transcoders that were looked at.
        devices: usize,
    },
}

/// What a session asks of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Of all renditions.
    pub(crate) pixels_per_second: u64,
    /// Duration of one segment.
    pub(crate) segment: Duration,
}

impl Demand {
    /// Of somebody who only asks whether there is room.
    pub(crate) const NONE: Self = Self { pixels_per_second: 0, segment: Duration::ZERO };

    pub(crate) fn of(profiles: &[Profile], segment: Duration) -> Self {
        Self { pixels_per_second: estimated_pixels(profiles, 1000), segment }
    }

    /// Of one segment.
    fn pixels(&self) -> f64 {
        self.pixels_per_second as f64 * self.segment.as_secs_f64()
    }

    /// How long a session without work keeps its room.
    pub(crate) fn hold(&self) -> Duration {
        self.segment.saturating_mul(HOLD_SEGMENTS).max(LEAST_HOLD)
    }
}

/// Mean of the newest samples, and how far they lie from it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Average {
    mean: f64,
    deviation: f64,
}

impl Average {
    /// Weights of a new sample, as TCP has them for round trips.
    const MEAN_WEIGHT: f64 = 0.125;
    const DEVIATION_WEIGHT: f64 = 0.25;

    fn with(before: Option<Self>, sample: f64) -> Self {
        match before {
            None => Self { mean: sample, deviation: sample / 2.0 },
            Some(Self { mean, deviation }) => {
                let off = sample - mean;
                Self {
                    mean: mean + off * Self::MEAN_WEIGHT,
                    deviation: deviation + (off.abs() - deviation) * Self::DEVIATION_WEIGHT,
                }
            }
        }
    }

    /// Hardly any sample lies above.
    fn upper(&self) -> f64 {
        self.mean + 4.0 * self.deviation
    }
}

/// A session's room.
#[derive(Clone, Copy, Debug)]
struct Hold {
    pixels_per_second: u64,
    until: Instant,
}

/// A segment on a device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    at: Instant,
    lane_time: f64,
}

/// How a segment on a device ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With renditions.
    Done,
    /// Nobody waits for it any more: it takes at least as long as it has.
    GivenUp,
    /// It says nothing about the device.
    Failed,
}

/// What a device would be like with one more session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Forecast {
    /// Time of transcoding over time of video; what is nearer to 1 of the lanes' and of the slowest session's.
    pub(crate) ratio: f64,
    /// Sessions with work now.
    pub(crate) sessions: usize,
}

impl Forecast {
    /// A device without work takes any session: nobody would be better off if it did not.
    pub(crate) fn fits(&self, limit: f64) -> bool {
        self.sessions == 0 || self.ratio < limit
    }
}

/// What is known of a device, and which sessions have room on it.
#[derive(Debug)]
pub(crate) struct Device {
    lanes: usize,
    running: usize,
    /// Time that a lane has given to each segment that runs all along, in seconds: with more segments than lanes, each gets
    /// its part.
    lane_time: f64,
    told: Instant,
    /// Lane time per pixel, seconds.
    lane_cost: Option<Average>,
    /// Time until the result is there, per pixel, seconds.
    wall_cost: Option<Average>,
    sessions: HashMap<String, Hold>,
    pruned: Instant,
}

impl Device {
    pub(crate) fn new(lanes: usize, now: Instant) -> Self {
        Self {
            lanes: lanes.max(1),
            running: 0,
            lane_time: 0.0,
            told: now,
            lane_cost: None,
            wall_cost: None,
            sessions: HashMap::new(),
            pruned: now,
        }
    }

    /// Gives a session room until then, or changes how much.
    pub(crate) fn hold(&mut self, session: &str, demand: Demand, until: Instant) {
        let pixels_per_second = demand.pixels_per_second;
        match self.sessions.get_mut(session) {
            Some(hold) => *hold = Hold { pixels_per_second, until },
            None => drop(self.sessions.insert(session.to_owned(), Hold { pixels_per_second, until })),
        }
    }

    /// Gives a session room while its first segment comes. One that has room already has it for no longer.
    pub(crate) fn reserve(&mut self, session: &str, demand: Demand, now: Instant) {
        let held = self.sessions.get(session).filter(|hold| hold.until > now);
        let (held, until) = held.map_or((0, now + FIRST_HOLD), |hold| (hold.pixels_per_second, hold.until));
        let pixels_per_second = demand.pixels_per_second.max(held);
        self.hold(session, Demand { pixels_per_second, ..demand }, until);
    }

    pub(crate) fn release(&mut self, session: &str) {
        self.sessions.remove(session);
    }

    /// Whether the session has room here.
    pub(crate) fn holds(&self, session: &str, now: Instant) -> bool {
        self.sessions.get(session).is_some_and(|hold| hold.until > now)
    }

    /// Whether that room is large enough.
    pub(crate) fn has_room_for(&self, session: &str, demand: Demand, now: Instant) -> bool {
        let held = self.sessions.get(session).filter(|hold| hold.until > now);
        held.is_some_and(|hold| hold.pixels_per_second >= demand.pixels_per_second)
    }

    /// Sessions that have work.
    pub(crate) fn active(&mut self, now: Instant) -> usize {
        self.prune(now);
        self.sessions.values().filter(|hold| hold.until > now).count()
    }

    /// Those sessions.
    pub(crate) fn held(&self, now: Instant) -> impl Iterator<Item = &str> {
        self.sessions.iter().filter(move |(_, hold)| hold.until > now).map(|(session, _)| session.as_str())
    }

    /// Segments under way.
    pub(crate) fn running(&self) -> usize {
        self.running
    }

    fn prune(&mut self, now: Instant) {
        if now.duration_since(self.pruned) >= PRUNE_INTERVAL {
            self.pruned = now;
            self.sessions.retain(|_, hold| hold.until > now);
        }
    }

    /// A segment begins.
    pub(crate) fn start(&mut self, now: Instant) -> Started {
        self.tick(now);
        self.running += 1;
        Started { at: now, lane_time: self.lane_time }
    }

    /// A segment that began here ended.
    pub(crate) fn finish(&mut self, started: Started, demand: Demand, ended: Ended, now: Instant) {
        self.tick(now);
        self.running = self.running.saturating_sub(1);
        let pixels = demand.pixels();
        if pixels <= 0.0 || ended == Ended::Failed {
            return;
        }
        let lane = (self.lane_time - started.lane_time) / pixels;
        let wall = now.duration_since(started.at).as_secs_f64() / pixels;
        let is_news = |known: Option<Average>| known.is_none_or(|known| wall > known.mean);
        if ended == Ended::Done || is_news(self.wall_cost) {
            self.lane_cost = Some(Average::with(self.lane_cost, lane));
            self.wall_cost = Some(Average::with(self.wall_cost, wall));
        }
    }

    fn tick(&mut self, now: Instant) {
        let passed = now.duration_since(self.told).as_secs_f64();
        self.told = now;
        let share = self.lanes as f64 / self.running.max(self.lanes) as f64;
        self.lane_time += passed * share;
    }

    /// Time after which a segment that is not there yet is late; none before anything was measured.
    pub(crate) fn expected(&self, demand: Demand) -> Option<Duration> {
        let seconds = self.wall_cost?.upper() * demand.pixels();
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// The device with one more session, or with one that it has.
    pub(crate) fn forecast(&mut self, session: Option<&str>, demand: Demand, now: Instant) -> Forecast {
        self.prune(now);
        let others = self.sessions.iter().filter(|(id, hold)| hold.until > now && Some(id.as_str()) != session);
        let (mut sessions, mut asked, mut largest) = (0, demand.pixels_per_second, demand.pixels_per_second);
        for (_, hold) in others {
            sessions += 1;
            asked = asked.saturating_add(hold.pixels_per_second);
            largest = largest.max(hold.pixels_per_second);
        }
        let ratio = match (self.lane_cost, self.wall_cost) {
            (Some(lane), Some(wall)) => (lane.mean * asked as f64 / self.lanes as f64).max(wall.mean * largest as f64),
            _ => sessions as f64 / (self.lanes * UNMEASURED_SESSIONS) as f64,
        };
        Forecast { ratio, sessions }
    }

    /// About how many more sessions like those it has would fit.
    pub(crate) fn spare(&mut self, limit: f64, now: Instant) -> usize {
        let Forecast { ratio, sessions } = self.forecast(None, Demand::NONE, now);
        let fitting = match ratio {
            _ if sessions == 0 => self.lanes,
            ratio if ratio <= 0.0 => self.lanes,
            // Of the whole, each of those takes as much as the others.
            ratio => ((limit / ratio - 1.0) * sessions as f64).clamp(0.0, f64::from(u16::MAX)) as usize,
        };
        fitting.max(usize::from(sessions == 0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: f64 = 0.8;
    const SECOND: Duration = Duration::from_secs(1);

    fn demand(pixels_per_second: u64) -> Demand {
        Demand { pixels_per_second, segment: 2 * SECOND }
    }

    /// One segment alone on the device.
    fn run(device: &mut Device, demand: Demand, now: &mut Instant, took: Duration) {
        let started = device.start(*now);
        *now += took;
        device.finish(started, demand, Ended::Done, *now);
    }

    #[test]
    fn sessions_fit_until_the_measured_ratio_reaches_the_limit() {
        let mut now = Instant::now();
        let mut device = Device::new(1, now);
        // A session of this size takes 0.3 of the device.
        for _ in 0..20 {
            run(&mut device, demand(1000), &mut now, Duration::from_millis(600));
        }
        let mut taken = 0;
        while device.forecast(None, demand(1000), now).fits(LIMIT) {
            device.hold(&taken.to_string(), demand(1000), now + SECOND);
            taken += 1;
        }
        assert_eq!(taken, 2);
        let refused = device.forecast(None, demand(1000), now);
        assert!((refused.ratio - 0.9).abs() < 1e-9, "{refused:?}");
        // A smaller one fits still, and the larger one as soon as a session has no more work.
        assert!(device.forecast(None, demand(500), now).fits(LIMIT));
        assert!(device.forecast(None, demand(1000), now + SECOND).fits(LIMIT));
    }

    #[test]
    fn waiting_in_a_queue_is_not_taken_for_work() {
        let mut now = Instant::now();
        let mut device = Device::new(1, now);
        for _ in 0..40 {
            // Three segments come at once and are done one after the other.
            let started: Vec<_> = (0..3).map(|_| device.start(now)).collect();
            for started in started {
                now += Duration::from_millis(400);
                device.finish(started, demand(1000), Ended::Done, now);
            }
            now += 800 * Duration::from_millis(1);
        }
        for session in ["a", "b", "c"] {
            device.hold(session, demand(1000), now + SECOND);
        }
        let ratio = device.forecast(None, Demand::NONE, now).ratio;
        assert!((0.55..0.66).contains(&ratio), "three sessions of a fifth each: {ratio}");
    }

    #[test]
    fn lanes_work_side_by_side_and_a_slow_session_counts_by_itself() {
        let mut now = Instant::now();
        let mut device = Device::new(4, now);
        run(&mut device, demand(1000), &mut now, Duration::from_millis(1400));
        device.hold("a", demand(1000), now + SECOND);
        let two = device.forecast(None, demand(1000), now);
        assert!((two.ratio - 0.7).abs() < 1e-9, "each has a lane: {two:?}");
        assert!(!device.forecast(None, demand(1200), now).fits(LIMIT), "alone on a lane it would fall behind");
    }

    #[test]
    fn who_is_given_up_is_known_to_be_slow() {
        let mut now = Instant::now();
        let mut device = Device::new(1, now);
        run(&mut device, demand(1000), &mut now, Duration::from_millis(200));
        let before = device.expected(demand(1000)).unwrap();
        let started = device.start(now);
        now += 4 * SECOND;
        device.finish(started, demand(1000), Ended::GivenUp, now);
        assert!(device.expected(demand(1000)).unwrap() > before);
        let known = device.expected(demand(1000));
        let started = device.start(now);
        device.finish(started, demand(1000), Ended::GivenUp, now);
        assert_eq!(device.expected(demand(1000)), known, "cut short, it says nothing");
    }

    #[test]
    fn demand_of_no_length_or_size_is_harmless() {
        let now = Instant::now();
        let mut device = Device::new(0, now);
        let started = device.start(now);
        device.finish(started, Demand::NONE, Ended::Done, now);
        assert_eq!(device.expected(demand(1000)), None);
        assert!(device.spare(LIMIT, now) > 0);
        let huge = Demand { pixels_per_second: u64::MAX, segment: Duration::MAX };
        let started = device.start(now);
        device.finish(started, huge, Ended::Done, now + SECOND);
        device.hold("a", huge, now + SECOND);
        assert!(device.forecast(None, huge, now).ratio.is_finite());
        let _whatever = (device.expected(huge), device.spare(LIMIT, now), huge.hold());
    }

    /// One thing that happens to a set of devices.
    #[derive(Clone, Debug)]
    enum Event {
        Arrives { size: u64 },
        Leaves { which: usize },
        Works { device: usize, took: u64 },
        Passes { millis: u64 },
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (1_u64..5_000_000).prop_map(|size| Event::Arrives { size }),
            1 => (0_usize..64).prop_map(|which| Event::Leaves { which }),
            4 => (0_usize..4, 1_u64..8000).prop_map(|(device, took)| Event::Works { device, took }),
            2 => (0_u64..3000).prop_map(|millis| Event::Passes { millis }),
        ]
    }

    proptest! {
        #[test]
        fn nobody_is_refused_while_a_device_idles(
            lanes in prop::collection::vec(1_usize..5, 1..4),
            events in prop::collection::vec(event(), 1..120),
        ) {
            let mut now = Instant::now();
            let mut devices: Vec<_> = lanes.iter().map(|lanes| Device::new(*lanes, now)).collect();
            let mut taken: Vec<(usize, String)> = Vec::new();
            for (number, event) in events.into_iter().enumerate() {
                match event {
                    Event::Arrives { size } => {
                        let forecasts: Vec<_> =
                            devices.iter_mut().map(|device| device.forecast(None, demand(size), now)).collect();
                        let best = forecasts
                            .iter()
                            .enumerate()
                            .filter(|(_, forecast)| forecast.fits(LIMIT))
                            .min_by(|a, b| a.1.ratio.total_cmp(&b.1.ratio));
                        match best {
                            Some((device, _)) => {
                                let session = number.to_string();
                                devices[device].hold(&session, demand(size), now + demand(size).hold());
                                taken.push((device, session));
                            }
                            None => for device in &mut devices {
                                prop_assert!(device.active(now) > 0, "refused beside an idle device");
                                prop_assert!(device.forecast(None, demand(size), now).ratio >= LIMIT);
                            },
                        }
                    }
                    Event::Leaves { which } => if !taken.is_empty() {
                        let (device, session) = taken.swap_remove(which % taken.len());
                        devices[device].release(&session);
                    },
                    Event::Works { device, took } => {
                        let count = devices.len();
                        run(&mut devices[device % count], demand(1_000_000), &mut now, Duration::from_millis(took));
                    }
                    Event::Passes { millis } => now += Duration::from_millis(millis),
                }
            }
        }
    }
}
