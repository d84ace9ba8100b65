//! Who transcodes: the workers of this process, or remote transcoders; and whether they have room.
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use streamflow_types::Profile;
use streamflow_wire::capability::Capability;
use tokio::time::Instant;

use crate::{
    admission::{Demand, Device, Ended, Overload, Started},
    live::Live,
    pool::TranscoderPool,
    transcode::{LiveFuture, Transcode, TranscodeFuture, TranscodeJob, deadline, live_deadline},
};

/// A live segment that is waited for longer than this part of its time is no sample of what work costs.
const PACED_PART: u32 = 8;

/// Who transcodes. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) enum Workers {
    /// In this process.
    Local(LocalDevice),
    /// Elsewhere.
    Remote(TranscoderPool),
}

impl Workers {
    /// Sessions that have work.
    pub(crate) fn active(&self) -> usize {
        match self {
            Self::Local(local) => local.lock().active(Instant::now()),
            Self::Remote(pool) => pool.active(),
        }
    }

    /// Whether one of them can do this one of [`CODECS`](streamflow_wire::capability::CODECS).
    pub(crate) fn offers(&self, codec: Capability) -> bool {
        match self {
            Self::Local(local) => local.transcode.offers(codec),
            Self::Remote(pool) => pool.offers(codec),
        }
    }

    /// About how many more sessions would fit.
    pub(crate) fn spare(&self) -> usize {
        match self {
            Self::Local(local) => local.lock().spare(local.max_ratio(), Instant::now()),
            Self::Remote(pool) => pool.spare(),
        }
    }

    /// Takes sessions up to another load from now on.
    pub(crate) fn set_max_ratio(&self, max_ratio: f64) {
        match self {
            Self::Local(local) => local.max_ratio.store(max_ratio.to_bits(), Ordering::Relaxed),
            Self::Remote(pool) => pool.set_max_ratio(max_ratio),
        }
    }

    /// Whether another session of this demand would find room.
    pub(crate) fn room(&self, demand: Demand) -> Result<(), Overload> {
        match self {
            Self::Local(local) => local.room(demand),
            Self::Remote(pool) => pool.room(demand),
        }
    }

    /// Gives a session room for a few seconds from the first time on, whether or not there is any.
    pub(crate) fn hold(&self, session: &str, demand: Demand, profiles: &[Profile]) {
        match self {
            Self::Local(local) => local.lock().reserve(session, demand, Instant::now()),
            Self::Remote(pool) => pool.hold(session, demand, profiles),
        }
    }

    /// Gives a session room for as long as its next segment may take to come, whether or not there is any.
    pub(crate) fn place(&self, session: &str, demand: Demand, profiles: &[Profile]) {
        match self {
            Self::Local(local) => local.place(session, demand),
            Self::Remote(pool) => pool.place(session, demand, profiles),
        }
    }

    /// Whether a session has room for so much work.
    pub(crate) fn holds(&self, session: &str, demand: Demand) -> bool {
        match self {
            Self::Local(local) => local.lock().has_room_for(session, demand, Instant::now()),
            Self::Remote(pool) => pool.holds(session, demand),
        }
    }

    /// Transcodes one segment.
    pub(crate) fn transcode(&self, job: TranscodeJob) -> TranscodeFuture<'_> {
        match self {
            Self::Local(local) => local.transcode(job),
            Self::Remote(pool) => pool.transcode(job),
        }
    }

    /// Transcodes one that still comes in.
    pub(crate) fn transcode_live(&self, job: TranscodeJob, live: Live) -> LiveFuture<'_> {
        match self {
            Self::Local(local) => local.transcode_live(job, live),
            Self::Remote(pool) => pool.transcode_live(job, live),
        }
    }

    /// Frees what is kept for a session.
    pub(crate) fn end_session(&self, session: &str) {
        match self {
            Self::Local(local) => {
                local.lock().release(session);
                local.transcode.end_session(session);
            }
            Self::Remote(pool) => pool.end_session(session),
        }
    }
}

/// The workers of this process, as one device.
#[derive(Clone, Debug)]
pub(crate) struct LocalDevice {
    transcode: Arc<dyn Transcode>,
    device: Arc<Mutex<Device>>,
    /// Bits of the number: a reload may change it.
    max_ratio: Arc<AtomicU64>,
}

impl LocalDevice {
    pub(crate) fn new(transcode: Arc<dyn Transcode>, max_ratio: f64) -> Self {
        let device = Device::new(transcode.lanes(), Instant::now());
        let max_ratio = Arc::new(AtomicU64::new(max_ratio.to_bits()));
        Self { transcode, device: Arc::new(Mutex::new(device)), max_ratio }
    }

    fn max_ratio(&self) -> f64 {
        f64::from_bits(self.max_ratio.load(Ordering::Relaxed))
    }

    fn room(&self, demand: Demand) -> Result<(), Overload> {
        let forecast = self.lock().forecast(None, demand, Instant::now());
        let limit = self.max_ratio();
        match forecast.fits(limit) {
            true => Ok(()),
            false => Err(Overload::Ratio { predicted: forecast.ratio, limit, devices: 1 }),
        }
    }

    fn place(&self, session: &str, demand: Demand) {
        let now = Instant::now();
        self.lock().hold(session, demand, now + demand.hold());
    }

    fn transcode(&self, job: TranscodeJob) -> TranscodeFuture<'_> {
        let demand = Demand::of(&job.profiles, job.duration);
        let session = job.session_id.clone();
        Box::pin(async move {
            let mut running = Running::start(self, session, demand, deadline(job.duration));
            let result = self.transcode.transcode(job).await;
            running.ended = if result.is_ok() { Ended::Done } else { Ended::Failed };
            result
        })
    }

    /// The time that it comes in counts: meanwhile it has its lane.
    fn transcode_live(&self, job: TranscodeJob, live: Live) -> LiveFuture<'_> {
        let demand = Demand::of(&job.profiles, job.duration);
        let session = job.session_id.clone();
        Box::pin(async move {
            let mut running = Running::start(self, session, demand, live_deadline(job.duration));
            let (began, waiting) = (Instant::now(), live.input.waiting());
            let result = self.transcode.transcode_live(job, live).await;
            let was_paced = waiting.time() * PACED_PART > began.elapsed();
            // How fast a sender sends says nothing about the device.
            running.ended = if result.is_ok() && !was_paced { Ended::Done } else { Ended::Failed };
            result
        })
    }

    fn lock(&self) -> MutexGuard<'_, Device> {
        // No code panics half-way through a change.
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A segment in the hands of this process. Dropped while it runs, it was given up.
struct Running<'a> {
    local: &'a LocalDevice,
    session: String,
    demand: Demand,
    started: Started,
    ended: Ended,
}

impl<'a> Running<'a> {
    fn start(local: &'a LocalDevice, session: String, demand: Demand, limit: std::time::Duration) -> Self {
        let now = Instant::now();
        let mut device = local.lock();
        // Until it is done, however long that takes.
        device.hold(&session, demand, now + limit);
        let started = device.start(now);
        drop(device);
        Self { local, session, demand, started, ended: Ended::GivenUp }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut device = self.local.lock();
        device.finish(self.started, self.demand, self.ended, now);
        if device.holds(&self.session, now) {
            device.hold(&self.session, self.demand, now + self.demand.hold());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use streamflow_types::VideoCodec;
    use streamflow_wire::TranscodeError;

    use super::*;

    /// Takes this long for a segment, one at a time.
    #[derive(Debug)]
    struct Taking(Duration, tokio::sync::Semaphore);

    impl Transcode for Taking {
        fn transcode(&self, _job: TranscodeJob) -> TranscodeFuture<'_> {
            Box::pin(async {
                let _lane = self.1.acquire().await.map_err(|_| TranscodeError::TranscoderStopped)?;
                tokio::time::sleep(self.0).await;
                Ok(Vec::new())
            })
        }

        fn end_session(&self, _session_id: &str) {}
    }

    fn workers(takes: Duration) -> Workers {
        Workers::Local(LocalDevice::new(Arc::new(Taking(takes, tokio::sync::Semaphore::new(1))), 0.8))
    }

    fn job(session: &str, profiles: &[Profile]) -> TranscodeJob {
        TranscodeJob {
            manifest_id: "clip".parse().unwrap(),
            session_id: session.into(),
            seq: 0,
            duration: Duration::from_secs(2),
            source: VideoCodec::H264,
            input: bytes::Bytes::new(),
            profiles: profiles.to_vec(),
        }
    }

    /// A session that sends a segment every two seconds.
    async fn stream(workers: Workers, session: String, profiles: Vec<Profile>) {
        let mut tick = tokio::time::interval(Duration::from_secs(2));
        loop {
            tick.tick().await;
            drop(workers.transcode(job(&session, &profiles)).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn workers_refuse_with_figures_when_they_are_full_and_take_again_when_streams_end() {
        let workers = workers(Duration::from_millis(600));
        let profiles = vec![Profile::preset("P240p30fps16x9").unwrap()];
        let demand = Demand::of(&profiles, Duration::from_secs(2));
        let mut streams = Vec::new();
        for number in 0..8 {
            let session = number.to_string();
            if workers.room(demand).is_err() {
                break;
            }
            workers.place(&session, demand, &profiles);
            streams.push(tokio::spawn(stream(workers.clone(), session, profiles.clone())));
            tokio::time::sleep(Duration::from_secs(31)).await;
        }
        assert_eq!(streams.len(), 2, "each takes 0.3");
        let refused = workers.room(demand).unwrap_err();
        let Overload::Ratio { predicted, limit, devices } = refused else { panic!("{refused}") };
        assert!((0.85..0.95).contains(&predicted) && (limit, devices) == (0.8, 1), "{predicted}");
        streams.remove(0).abort();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(workers.room(demand), Ok(()), "quiet for two segments, it holds no room");
        streams.iter().for_each(tokio::task::JoinHandle::abort);
    }

    /// Makes nothing of what comes.
    #[derive(Debug)]
    struct Idle;

    impl Transcode for Idle {
        fn transcode(&self, _job: TranscodeJob) -> TranscodeFuture<'_> {
            Box::pin(std::future::ready(Ok(Vec::new())))
        }

        fn end_session(&self, _session_id: &str) {}
    }

    #[tokio::test(start_paused = true)]
    async fn how_fast_a_segment_comes_is_not_taken_for_what_it_costs() {
        use crate::{
            intake::ByteBudget,
            live::{Answer, AnswerRoom, LiveInput},
        };
        let device = LocalDevice::new(Arc::new(Idle), 0.8);
        let profiles = vec![Profile::preset("P240p30fps16x9").unwrap()];
        let demand = Demand::of(&profiles, Duration::from_secs(2));
        for (pause, is_sample) in [(Duration::from_secs(2), false), (Duration::ZERO, true)] {
            let (feed, input) = LiveInput::new();
            let budget = ByteBudget::new(1000);
            let room = AnswerRoom { all: budget.share(), own: budget.share(), pixels: None };
            let (answer, _outbox) = Answer::new(1, room);
            let live = Live { input, output: answer.output().clone() };
            let coming = async {
                tokio::time::sleep(pause).await;
                feed.put(b"all of it");
                feed.finish();
            };
            let (done, ()) = tokio::join!(device.transcode_live(job("a", &profiles), live), coming);
            done.unwrap();
            assert_eq!(device.lock().expected(demand).is_some(), is_sample);
        }
    }
}
