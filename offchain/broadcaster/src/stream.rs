//! One live stream: its files, its place in the queue, its sessions.
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use streamflow_media::{
    FrameRate, SegmentInfo,
    hls::{HlsConfig, HlsError, HlsWriter, Variant, master_playlist, write_master},
};
use streamflow_types::{ManifestId, Price, Profile, VideoCodec, with_causes};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use crate::{
    admission::Admission,
    broadcaster::Core,
    budget::StreamBudget,
    config::{BroadcasterConfig, SOURCE},
    discovery::Candidate,
    error::{AttemptError, PaymentError, Refusal, SegmentError},
    numbering::{Numbering, Numbers},
    orchestrators::{Orchestrators, millis},
    output::{Copies, Published, Shown, Track},
    race::{HedgeBudget, Load},
    segment::{Outline, codec_of},
    selection::Affinity,
    session::Session,
    status::{RenditionStatus, SegmentStatus, StreamStatus},
    verify::Rendition,
    webhook::StreamOrders,
};

/// Bit rate at which the source is announced at least (node.md §4.4).
const SOURCE_BANDWIDTH: u64 = 4_000_000;

/// A stream since its first segment.
#[derive(Debug)]
pub(crate) struct LiveStream {
    name: ManifestId,
    admission: Arc<Admission>,
    directory: PathBuf,
    progress: Mutex<Progress>,
    files: tokio::sync::Mutex<Files>,
    budget: StreamBudget,
    /// One for each segment being worked on or waiting.
    places: Arc<Semaphore>,
    capacity: usize,
    /// One for each segment being transcoded.
    turns: Arc<Semaphore>,
    /// For the one segment that goes to an orchestrator while it comes.
    ahead: Arc<Semaphore>,
    sessions: Mutex<HashMap<Url, Slot>>,
    /// What each orchestrator asked first.
    first_prices: Mutex<HashMap<Url, Price>>,
    /// The orchestrator that it stays with.
    affinity: Affinity,
    /// Length of the newest segment, in milliseconds; 0 before the first.
    segment_millis: AtomicU64,
    /// Length of the longest.
    longest_millis: AtomicU64,
    /// Attempts beside slow ones.
    hedges: HedgeBudget,
    /// Attempts under way, with those that were overtaken.
    attempts: TaskTracker,
    /// Not used for new segments any more, but perhaps still by segments under way.
    retired: Mutex<Vec<Arc<Session>>>,
    ended: CancellationToken,
}

type Slot = Arc<tokio::sync::Mutex<Option<Arc<Session>>>>;

#[derive(Debug)]
struct Progress {
    counts: SegmentStatus,
    /// One for the source and one for each profile.
    tallies: Vec<Tally>,
    numbers: Numbers,
    /// Length and coding of the newest segment with video.
    newest: Option<(Duration, VideoCodec)>,
    last_activity: Instant,
    life: Life,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Open,
    Closing,
    Ended,
}

/// What was published of one rendition.
#[derive(Clone, Debug)]
struct Tally {
    width: u32,
    height: u32,
    fps: FrameRate,
    codecs: Codecs,
    bandwidth: u64,
    segments: u64,
    pixels: u64,
}

/// Codecs as playlists name them: of pictures and of sound, as each was last seen. A player reads them once and for all
/// segments, and one of these may lack sound, as the last of a stream that was cut short does. An encoder that counts anew begins
/// a new stream, and so anew here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Codecs {
    pictures: Option<String>,
    sound: Option<String>,
}

/// What names of codecs of sound begin with (RFC 6381).
const SOUND: [&str; 2] = ["mp4a", "ac-3"];

impl Codecs {
    /// Takes over what a segment has.
    fn see(&mut self, names: &str) {
        for name in names.split(',').filter(|name| !name.is_empty()) {
            let is_sound = SOUND.iter().any(|begins| name.starts_with(begins));
            let known = if is_sound { &mut self.sound } else { &mut self.pictures };
            *known = Some(name.to_owned());
        }
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.pictures.iter().chain(&self.sound).map(String::as_str).collect();
        names.join(",")
    }
}

#[derive(Debug)]
struct Files {
    source: HlsWriter,
    renditions: Vec<HlsWriter>,
    master_written: bool,
    copies: Copies,
}

impl Files {
    /// Copies a published segment of the source, or of a rendition, into the stores.
    fn copy(&self, rendition: Option<usize>, published: &Published<'_>, track: Track) {
        if self.copies.any() {
            let writer = rendition.map_or(&self.source, |index| &self.renditions[index]);
            self.copies.segment(published, writer.text(), track);
        }
    }

    /// Lets every playlist go on without a segment. One that cannot be written does not hold up the others.
    async fn declare_lost(&mut self, seq: u64) -> Result<(), SegmentError> {
        let mut all = Ok(());
        for writer in std::iter::once(&mut self.source).chain(&mut self.renditions) {
            all = all.and(decided(writer.declare_lost(seq).await));
        }
        all
    }
}

/// Why a segment is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnterError {
    #[error(transparent)]
    Segment(#[from] SegmentError),
    #[error("the encoder counts anew")]
    Restarted,
    #[error("the stream is just ending")]
    Ending,
}

impl LiveStream {
    pub(crate) async fn create(
        admission: &Arc<Admission>,
        config: &BroadcasterConfig,
        first_seq: u64,
        duration: Duration,
    ) -> Result<Self, SegmentError> {
        let Admission { name, profiles, .. } = admission.as_ref();
        let directory = config.data_dir.join(name.as_str());
        // Every number taken is published or declared lost by us, so that holding back never decides.
        let hls = HlsConfig { first_seq, target: duration, hold_back: 1024, ..HlsConfig::default() };
        let source = HlsWriter::create(&directory, SOURCE, hls).await.map_err(keep)?;
        let mut renditions = Vec::with_capacity(profiles.len());
        for profile in profiles {
            renditions.push(HlsWriter::create(&directory, &profile.name, hls).await.map_err(keep)?);
        }
        let tally = |width, height| Tally {
            width,
            height,
            fps: FrameRate::new(0, 1),
            codecs: Codecs::default(),
            bandwidth: 0,
            segments: 0,
            pixels: 0,
        };
        let tallies = profiles.iter().map(|profile| tally(profile.width, profile.height));
        let tallies = std::iter::once(tally(0, 0)).chain(tallies).collect();
        let orders = &admission.orders;
        let output = orders.object_store.as_ref().or(config.object_store.as_ref());
        let recording = orders.record_store.as_ref().or(config.record_store.as_ref());
        let copies = Copies::start(name.as_str(), output, recording).map_err(SegmentError::Store)?;
        let capacity = config.max_segments_in_flight + config.max_segments_waiting;
        Ok(Self {
            name: name.clone(),
            admission: admission.clone(),
            directory,
            progress: Mutex::new(Progress {
                counts: SegmentStatus::default(),
                tallies,
                numbers: Numbers::from(first_seq),
                newest: None,
                last_activity: Instant::now(),
                life: Life::Open,
            }),
            files: tokio::sync::Mutex::new(Files { source, renditions, master_written: false, copies }),
            budget: StreamBudget::new(&config.budget),
            places: Arc::new(Semaphore::new(capacity)),
            capacity,
            turns: Arc::new(Semaphore::new(config.max_segments_in_flight)),
            ahead: Arc::new(Semaphore::new(1)),
            sessions: Mutex::default(),
            first_prices: Mutex::default(),
            affinity: Affinity::default(),
            segment_millis: AtomicU64::default(),
            longest_millis: AtomicU64::default(),
            hedges: HedgeBudget::new(&config.failover),
            attempts: TaskTracker::new(),
            retired: Mutex::default(),
            ended: CancellationToken::new(),
        })
    }

    pub(crate) fn name(&self) -> &ManifestId {
        &self.name
    }

    pub(crate) fn affinity(&self) -> &Affinity {
        &self.affinity
    }

    pub(crate) fn budget(&self) -> &StreamBudget {
        &self.budget
    }

    /// What the webhook orders for it.
    pub(crate) fn orders(&self) -> &StreamOrders {
        &self.admission.orders
    }

    pub(crate) fn profiles(&self) -> &[Profile] {
        &self.admission.profiles
    }

    pub(crate) fn hedges(&self) -> &HedgeBudget {
        &self.hedges
    }

    pub(crate) fn attempts(&self) -> &TaskTracker {
        &self.attempts
    }

    /// The length that a segment's deadlines follow: that of the longest so far. The last one, which is cut short, waits for the
    /// one before all the same, and players wait for it as for any other.
    pub(crate) fn pace(&self, segment: Duration) -> Duration {
        segment.max(Duration::from_millis(self.longest_millis.load(Ordering::Relaxed)))
    }

    /// What an attempt at a segment of so many bytes has to move.
    pub(crate) fn load(&self, outline: &Outline, up: usize, deadline: Duration) -> Load {
        let bits: u64 = self.profiles().iter().map(|profile| u64::from(profile.bitrate)).sum();
        let down = bits.saturating_mul(u64::from(outline.millis())) / 8000;
        Load { segment: self.pace(outline.duration), deadline, up: up as u64, down }
    }

    /// What a segment that has only begun to come will be: as the one before, if nothing speaks against it. `told` is the
    /// length that its encoder tells; one far from that of the segment before is not believed.
    pub(crate) fn foresee(&self, seq: u64, told: Option<Duration>) -> Option<Outline> {
        let progress = self.progress();
        let (newest, codec) =
            progress.newest.filter(|_| progress.life == Life::Open && progress.numbers.expects(seq))?;
        let duration = told.unwrap_or(newest);
        (duration <= newest * 2 && newest <= duration * 2).then_some(Outline { seq, duration, codec })
    }

    /// A segment came to nothing on its way: the next one is not foreseen, nor any until one has come.
    pub(crate) fn disappointed(&self) {
        self.progress().newest = None;
    }

    /// A turn for a segment that still comes, and the place of the only such segment. However long it takes, others find a
    /// turn.
    pub(crate) fn turn_ahead(&self) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let ahead = self.ahead.clone().try_acquire_owned().ok()?;
        let mut turns = self.turns.clone().try_acquire_many_owned(2).ok()?;
        Some((turns.split(1)?, ahead))
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.progress().life == Life::Open
    }

    /// Waits until a stream that is being closed has ended.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.progress().life == Life::Ended
    }

    /// Whether nothing came for `idle`, and nothing is being worked on.
    pub(crate) fn is_idle(&self, idle: Duration, now: Instant) -> bool {
        let progress = self.progress();
        progress.life == Life::Open
            && self.places.available_permits() == self.capacity
            && now.saturating_duration_since(progress.last_activity) >= idle
    }

    /// Takes the number of a segment, and a place in the queue until the permit is dropped.
    pub(crate) fn enter(&self, seq: u64) -> Result<OwnedSemaphorePermit, EnterError> {
        let waiting = self.capacity - self.places.available_permits();
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| SegmentError::Refused(Refusal::Behind(waiting)))?;
        let mut progress = self.progress();
        if progress.life != Life::Open {
            return Err(EnterError::Ending);
        }
        match progress.numbers.take(seq) {
            Numbering::Taken => {}
            Numbering::Late => return Err(SegmentError::Duplicate(seq).into()),
            Numbering::Restarted => return Err(EnterError::Restarted),
        }
        progress.last_activity = Instant::now();
        progress.counts.received += 1;
        Ok(place)
    }

    /// Waits until fewer segments than the limit are being transcoded.
    pub(crate) async fn turn(&self) -> Result<OwnedSemaphorePermit, SegmentError> {
        self.turns.clone().acquire_owned().await.map_err(|_| SegmentError::Abandoned)
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut SegmentStatus)) {
        change(&mut self.progress().counts);
    }

    /// Publishes a segment as it came.
    pub(crate) async fn keep_source(
        &self,
        seq: u64,
        duration: Duration,
        shown: &Shown,
        info: Option<&SegmentInfo>,
        resolution: Option<(u32, u32)>,
    ) -> Result<(), SegmentError> {
        let lost = std::mem::take(&mut self.progress().numbers.lost);
        let mut files = self.files.lock().await;
        let mut told = Ok(());
        for missing in lost {
            tracing::warn!(stream = %self.name, seq = missing, "segment never came");
            told = told.and(files.declare_lost(missing).await);
        }
        told?;
        let init = shown.publish(&mut files.source, seq, duration).await.map_err(keep)?;
        self.segment_millis.store(millis(duration), Ordering::Relaxed);
        self.longest_millis.fetch_max(millis(duration), Ordering::Relaxed);
        let bandwidth = files.source.peak_bandwidth().max(SOURCE_BANDWIDTH);
        let resolution = resolution.or(info.map(|info| (info.width, info.height)));
        let published = Published { seq, duration, shown, init: init.as_deref() };
        files.copy(None, &published, Track::new(SOURCE, bandwidth, resolution.unwrap_or_default()));
        let mut progress = self.progress();
        progress.newest = info.map(|info| (duration, codec_of(info)));
        let tally = &mut progress.tallies[0];
        tally.segments += 1;
        tally.bandwidth = bandwidth;
        if let Some(info) = info {
            tally.describe(info);
        }
        if let Some((width, height)) = resolution {
            (tally.width, tally.height) = (width, height);
        }
        Ok(())
    }

    /// Publishes verified renditions.
    pub(crate) async fn publish(
        &self,
        seq: u64,
        duration: Duration,
        renditions: &[Rendition],
        shown: &[Shown],
    ) -> Result<(), SegmentError> {
        let mut files = self.files.lock().await;
        for (index, (rendition, shown)) in renditions.iter().zip(shown).enumerate() {
            let init = shown.publish(&mut files.renditions[index], seq, duration).await.map_err(keep)?;
            let bandwidth = files.renditions[index].peak_bandwidth();
            let (name, size) = (&self.profiles()[index].name, (rendition.info.width, rendition.info.height));
            let published = Published { seq, duration, shown, init: init.as_deref() };
            files.copy(Some(index), &published, Track::new(name, bandwidth, size));
            let mut progress = self.progress();
            let tally = &mut progress.tallies[index + 1];
            tally.describe(&rendition.info);
            tally.segments += 1;
            tally.pixels += rendition.pixels;
            tally.bandwidth = bandwidth;
        }
        self.count(|counts| counts.transcoded += 1);
        self.write_first_master(&mut files).await
    }

    /// Publishes a segment without video as every rendition.
    pub(crate) async fn publish_copies(&self, seq: u64, duration: Duration, shown: &Shown) -> Result<(), SegmentError> {
        let mut files = self.files.lock().await;
        for (index, writer) in files.renditions.iter_mut().enumerate() {
            shown.publish(writer, seq, duration).await.map_err(keep)?;
            let bandwidth = writer.peak_bandwidth();
            let mut progress = self.progress();
            let tally = &mut progress.tallies[index + 1];
            tally.segments += 1;
            tally.bandwidth = bandwidth;
        }
        self.count(|counts| counts.transcoded += 1);
        self.write_first_master(&mut files).await
    }

    /// Lets the playlists go on without a segment.
    pub(crate) async fn lose(&self, seq: u64) -> Result<(), SegmentError> {
        self.count(|counts| counts.failed += 1);
        let mut files = self.files.lock().await;
        files.declare_lost(seq).await?;
        self.write_first_master(&mut files).await
    }

    async fn write_first_master(&self, files: &mut Files) -> Result<(), SegmentError> {
        if !files.master_written {
            self.write_master().await?;
            files.master_written = true;
            files.copies.playlist("index.m3u8", self.master_text());
        }
        Ok(())
    }

    /// The master playlist as it stands beside the directories of its renditions.
    fn master_text(&self) -> String {
        master_playlist(&self.variants(|name| format!("{name}/index.m3u8")))
    }

    async fn write_master(&self) -> Result<PathBuf, SegmentError> {
        let variants = self.variants(|name| format!("{name}/index.m3u8"));
        write_master(&self.directory, &variants).await.map_err(keep)
    }

    /// Those that have a segment.
    fn variants(&self, uri: impl Fn(&str) -> String) -> Vec<Variant> {
        let progress = self.progress();
        let names = std::iter::once(SOURCE).chain(self.profiles().iter().map(|profile| profile.name.as_str()));
        let published = names.zip(&progress.tallies).filter(|(_, tally)| tally.segments > 0);
        let variants = published.map(|(name, tally)| Variant {
            uri: uri(name),
            bandwidth: tally.bandwidth,
            width: tally.width,
            height: tally.height,
            fps: tally.fps,
            codecs: tally.codecs.names(),
        });
        variants.collect()
    }

    /// Text of the master playlist as it is served; `None` until the first segment is decided, because players read it
    /// but once.
    pub(crate) fn master_playlist(&self) -> Option<String> {
        let counts = self.progress().counts;
        let decided = counts.transcoded + counts.failed > 0;
        decided.then(|| master_playlist(&self.variants(|name| format!("{}/{name}.m3u8", self.name))))
    }

    /// Text of a rendition's playlist as it is served: its segments are one level below.
    pub(crate) async fn media_playlist(&self, rendition: &str) -> Option<String> {
        if rendition != SOURCE && !self.profiles().iter().any(|profile| profile.name == rendition) {
            return None;
        }
        let text = tokio::fs::read_to_string(self.directory.join(rendition).join("index.m3u8")).await.ok()?;
        Some(below(&text, rendition))
    }

    /// Every segment of a rendition so far, as a playlist.
    pub(crate) async fn recording_playlist(&self, rendition: &str) -> Option<String> {
        let files = self.files.lock().await;
        let index = self.profiles().iter().position(|profile| profile.name == rendition);
        let text = match (rendition, index) {
            (SOURCE, _) => files.source.recording(),
            (_, index) => files.renditions[index?].recording(),
        };
        Some(below(&text, rendition))
    }

    /// The master playlist of the recording.
    pub(crate) fn recording_master(&self) -> String {
        master_playlist(&self.variants(|name| format!("{name}.m3u8")))
    }

    /// Where a segment is kept. `rendition` is the source or a profile.
    pub(crate) fn segment_file(&self, rendition: &str, file: &str) -> PathBuf {
        self.directory.join(rendition).join(file)
    }

    /// The session with an orchestrator; opened if there is none that can be used, and never once the stream has ended:
    /// nobody would end it.
    pub(crate) async fn session(&self, core: &Core, candidate: &Candidate) -> Result<Arc<Session>, AttemptError> {
        let slot = self.slot(&candidate.url);
        let mut slot = slot.lock().await;
        if self.has_ended() {
            return Err(PaymentError::from(Refusal::Ending(self.name.clone())).into());
        }
        if let Some(session) = slot.as_ref().filter(|session| !session.is_stale(Instant::now())) {
            return Ok(session.clone());
        }
        let first = self.first_prices().get(&candidate.url).copied();
        let opened = core.open_session(candidate, self.profiles(), first).await?;
        let opened = Arc::new(opened.under(self.orders().clone()));
        if let Some(price) = opened.first_price() {
            self.first_prices().insert(candidate.url.clone(), price);
        }
        if let Some(old) = slot.replace(opened.clone()) {
            self.retire(old);
        }
        Ok(opened)
    }

    /// The session with an orchestrator that a segment may be streamed in at once.
    pub(crate) fn streaming_session(&self, url: &Url) -> Option<Arc<Session>> {
        let slot = self.slot(url);
        let session = slot.try_lock().ok()?.clone()?;
        (session.streams && !session.is_stale(Instant::now())).then_some(session)
    }

    /// Uses a session for no new segment.
    pub(crate) async fn forget(&self, session: &Arc<Session>) {
        let slot = self.slot(&session.url);
        let mut slot = slot.lock().await;
        if slot.as_ref().is_some_and(|current| Arc::ptr_eq(current, session))
            && let Some(old) = slot.take()
        {
            self.retire(old);
        }
    }

    fn first_prices(&self) -> MutexGuard<'_, HashMap<Url, Price>> {
        self.first_prices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, url: &Url) -> Slot {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).entry(url.clone()).or_default().clone()
    }

    fn retire(&self, session: Arc<Session>) {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }

    /// Retired sessions that no segment uses any more.
    pub(crate) fn take_unused(&self) -> Vec<Arc<Session>> {
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.extract_if(.., |session| Arc::strong_count(session) == 1).collect()
    }

    /// Ends the stream: takes no more segments, waits for those under way, ends playlists. Its sessions end when nobody who
    /// was overtaken needs them any more.
    pub(crate) async fn close(self: &Arc<Self>, core: &Arc<Core>) {
        if !self.begin_closing() {
            return self.ended().await;
        }
        let all = u32::try_from(self.capacity).unwrap_or(u32::MAX);
        if timeout(core.config.drain_timeout, self.places.acquire_many(all)).await.is_err() {
            tracing::warn!(stream = %self.name, "stream ends before its last segments are done");
        }
        if let Err(error) = self.finish_files(core.config.drain_timeout).await {
            tracing::error!(stream = %self.name, error = with_causes(&error), "playlists cannot be ended");
        }
        self.progress().life = Life::Ended;
        self.ended.cancel();
        tracing::info!(stream = %self.name, "stream ended");
        let (stream, core) = (self.clone(), core.clone());
        core.clone().tracker.spawn(async move { stream.end_sessions(&core).await });
    }

    async fn end_sessions(&self, core: &Core) {
        self.attempts.close();
        if timeout(core.config.drain_timeout, self.attempts.wait()).await.is_err() {
            tracing::warn!(stream = %self.name, attempts = self.attempts.len(), "sessions end before all payments are settled");
        }
        let slots: Vec<Slot> =
            self.sessions.lock().unwrap_or_else(PoisonError::into_inner).drain().map(|(_, slot)| slot).collect();
        for slot in slots {
            if let Some(session) = slot.lock().await.take() {
                self.retire(session);
            }
        }
        let sessions = std::mem::take(&mut *self.retired.lock().unwrap_or_else(PoisonError::into_inner));
        join_all(sessions.iter().map(|session| core.end_session(session))).await;
    }

    /// False if somebody else is closing it or has.
    fn begin_closing(&self) -> bool {
        let mut progress = self.progress();
        let open = progress.life == Life::Open;
        if open {
            progress.life = Life::Closing;
        }
        open
    }

    async fn finish_files(&self, patience: Duration) -> Result<(), SegmentError> {
        let mut files = self.files.lock().await;
        files.source.finish().await.map_err(keep)?;
        for writer in &mut files.renditions {
            writer.finish().await.map_err(keep)?;
        }
        self.write_master().await?;
        let names = std::iter::once(SOURCE).chain(self.profiles().iter().map(|profile| profile.name.as_str()));
        for (name, writer) in names.zip(std::iter::once(&files.source).chain(&files.renditions)) {
            files.copies.playlist(&format!("{name}/index.m3u8"), writer.text());
        }
        files.copies.playlist("index.m3u8", self.master_text());
        let copies = std::mem::take(&mut files.copies);
        drop(files);
        copies.finish(patience).await;
        Ok(())
    }

    /// Length of its newest segment.
    fn segment_length(&self) -> Option<Duration> {
        Some(Duration::from_millis(self.segment_millis.load(Ordering::Relaxed))).filter(|length| !length.is_zero())
    }

    pub(crate) fn status(&self, orchestrators: &Orchestrators, now: Instant) -> StreamStatus {
        let choice = (!self.has_ended()).then(|| orchestrators.explain(&self.affinity, self.segment_length(), now));
        let progress = self.progress();
        let renditions = self.profiles().iter().zip(&progress.tallies[1..]).map(|(profile, tally)| RenditionStatus {
            name: profile.name.clone(),
            width: tally.width,
            height: tally.height,
            segments: tally.segments,
            pixels: tally.pixels,
            playlist: absolute(&self.directory.join(&profile.name).join("index.m3u8")),
        });
        StreamStatus {
            name: self.name.clone(),
            live: progress.life != Life::Ended,
            playlist: format!("/stream/{}.m3u8", self.name),
            segments: progress.counts,
            spent: self.budget.spent().to_string(),
            choice,
            renditions: renditions.collect(),
            master: absolute(&self.directory.join("master.m3u8")),
        }
    }
}

impl Tally {
    fn describe(&mut self, info: &SegmentInfo) {
        (self.width, self.height) = (info.width, info.height);
        self.fps = info.fps;
        self.codecs.see(&info.codecs);
    }
}

fn keep(error: HlsError) -> SegmentError {
    SegmentError::Keep(error)
}

/// A segment that is published already need not be declared lost.
fn decided(result: Result<(), HlsError>) -> Result<(), SegmentError> {
    match result {
        Ok(()) | Err(HlsError::AlreadyDecided { .. }) => Ok(()),
        Err(error) => Err(SegmentError::Keep(error)),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Starts the line that names what decoders need first.
const MAP: &str = "#EXT-X-MAP:URI=\"";

/// A playlist's text with its segments one directory down.
fn below(playlist: &str, directory: &str) -> String {
    let mut text = String::with_capacity(playlist.len() * 2);
    for line in playlist.lines() {
        if let Some(init) = line.strip_prefix(MAP) {
            text.push_str(&format!("{MAP}{directory}/{init}\n"));
            continue;
        }
        if !line.is_empty() && !line.starts_with('#') {
            text.push_str(directory);
            text.push('/');
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_segment_that_cannot_be_shown_holds_up_no_playlist() {
        let dir = tempfile::tempdir().unwrap();
        let config = BroadcasterConfig { data_dir: dir.path().to_owned(), ..BroadcasterConfig::default() };
        let admission = Arc::new(Admission::plain(ManifestId::new("movie").unwrap(), &config));
        let length = Duration::from_secs(2);
        let stream = LiveStream::create(&admission, &config, 0, length).await.unwrap();
        let shown = Shown::Whole(bytes::Bytes::from_static(b"video"));
        for seq in 0..2 {
            drop(stream.enter(seq).unwrap());
        }
        // The source of the first was never published: no fragment could be made of it.
        stream.lose(0).await.unwrap();
        stream.keep_source(1, length, &shown, None, None).await.unwrap();
        stream.publish_copies(1, length, &shown).await.unwrap();
        for rendition in [SOURCE, config.profiles[0].name.as_str()] {
            let playlist = stream.media_playlist(rendition).await.unwrap_or_default();
            assert!(playlist.contains(&format!("{rendition}/1.ts")), "{rendition}: {playlist}");
        }
    }

    #[tokio::test]
    async fn a_short_segment_has_the_time_of_the_longest_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let config = BroadcasterConfig { data_dir: dir.path().to_owned(), ..BroadcasterConfig::default() };
        let admission = Arc::new(Admission::plain(ManifestId::new("movie").unwrap(), &config));
        let [long, short] = [4000, 40].map(Duration::from_millis);
        let stream = LiveStream::create(&admission, &config, 0, short).await.unwrap();
        assert_eq!(stream.pace(short), short);
        let shown = Shown::Whole(bytes::Bytes::from_static(b"video"));
        for (seq, length) in [(0, long), (1, short)] {
            stream.keep_source(seq, length, &shown, None, None).await.unwrap();
        }
        assert_eq!([short, 2 * long].map(|length| stream.pace(length)), [long, 2 * long]);
    }

    #[test]
    fn codecs_are_those_of_all_segments_as_last_seen() {
        let mut codecs = Codecs::default();
        let mut after = |names: &str| {
            codecs.see(names);
            codecs.names()
        };
        assert_eq!(after(""), "");
        assert_eq!(after("avc1.64001f"), "avc1.64001f");
        assert_eq!(after("avc1.64001f,mp4a.40.2"), "avc1.64001f,mp4a.40.2");
        assert_eq!(after("avc1.64001f"), "avc1.64001f,mp4a.40.2", "the last may be too short for sound");
        assert_eq!(after("ac-3"), "avc1.64001f,ac-3");
        assert_eq!(after("hvc1.1.6.L93.90,mp4a.40.34"), "hvc1.1.6.L93.90,mp4a.40.34");
    }

    #[test]
    fn served_playlist_points_below() {
        let mapped = below("#EXT-X-MAP:URI=\"init-0.mp4\"\n0.m4s\n", "720p");
        assert_eq!(mapped, "#EXT-X-MAP:URI=\"720p/init-0.mp4\"\n720p/0.m4s\n");
        let text = "#EXTM3U\n#EXTINF:2.0,\n0.ts\n#EXT-X-ENDLIST\n";
        assert_eq!(below(text, "720p"), "#EXTM3U\n#EXTINF:2.0,\n720p/0.ts\n#EXT-X-ENDLIST\n");
    }
}
