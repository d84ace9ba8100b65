//! A segment, from the push to its renditions.
use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::try_join_all;
use streamflow_media::{MediaError, PoolError, SegmentInfo};
use streamflow_types::{ManifestId, VideoCodec, with_causes};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tracing::Instrument as _;

use crate::{
    admission::Admission,
    ahead::{Ahead, Begun},
    broadcaster::Core,
    error::{Refusal, SegmentError},
    metrics,
    stream::{EnterError, LiveStream},
};

/// Duration of a segment that does not tell its own and came without a header (node.md §4.3).
const DEFAULT_DURATION: Duration = Duration::from_secs(2);

/// A stream that ends while a segment comes is opened anew; nobody is that unlucky twice.
const ENTER_ATTEMPTS: usize = 3;

/// As it was pushed.
#[derive(Debug)]
pub(crate) struct Pushed {
    pub(crate) seq: u64,
    pub(crate) media: Bytes,
    pub(crate) duration: Option<Duration>,
    pub(crate) resolution: Option<(u32, u32)>,
    /// Memory that its bytes take; given back with it.
    pub(crate) memory: OwnedSemaphorePermit,
    /// What its stream is, if it is the first.
    pub(crate) admission: Arc<Admission>,
    /// Where it went while it came.
    pub(crate) ahead: Option<Ahead>,
}

/// Video that can be transcoded.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) seq: u64,
    pub(crate) media: Bytes,
    pub(crate) duration: Duration,
    pub(crate) info: SegmentInfo,
    /// When it was complete.
    pub(crate) arrived: Instant,
    /// Memory that its bytes take, until the last attempt at it has ended.
    pub(crate) _memory: OwnedSemaphorePermit,
}

impl Segment {
    pub(crate) fn outline(&self) -> Outline {
        Outline { seq: self.seq, duration: self.duration, codec: codec_of(&self.info) }
    }
}

/// What orchestrators must decode. The deployed wire has no word for AV1.
pub(crate) fn codec_of(info: &SegmentInfo) -> VideoCodec {
    match info.video_codec.as_str() {
        "hevc" => VideoCodec::H265,
        "vp9" => VideoCodec::Vp9,
        _ => VideoCodec::H264,
    }
}

/// What orchestrators are told of a segment before they have it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outline {
    pub(crate) seq: u64,
    pub(crate) duration: Duration,
    pub(crate) codec: VideoCodec,
}

impl Outline {
    /// At least 1.
    pub(crate) fn millis(&self) -> u32 {
        u32::try_from(self.duration.as_millis()).unwrap_or(u32::MAX).max(1)
    }
}

impl Core {
    /// Takes a segment in, and returns its renditions in the order of the profiles. Goes on when the caller gives up: a
    /// segment once paid for is published.
    pub(crate) async fn push(self: Arc<Self>, name: ManifestId, pushed: Pushed) -> Result<Vec<Bytes>, SegmentError> {
        let span = tracing::info_span!("segment", stream = %name, seq = pushed.seq);
        let core = self.clone();
        let task = self.tracker.spawn(async move { core.process(pushed).await }.instrument(span));
        task.await.map_err(|_| SegmentError::Abandoned)?
    }

    async fn process(self: &Arc<Self>, pushed: Pushed) -> Result<Vec<Bytes>, SegmentError> {
        self.check_ready()?;
        let arrived = Instant::now();
        let Pushed { seq, media, duration, resolution, memory, admission, ahead } = pushed;
        let info = self.probe(&media).await?;
        let known = info.as_ref().map(|info| info.duration).filter(|known| !known.is_zero());
        let duration = known.or(duration).unwrap_or(DEFAULT_DURATION);
        let (stream, _place) = self.enter(&admission, seq, duration).await?;
        self.count(|totals| totals.received += 1);
        metrics::received();
        let kept = async {
            let shown = self.show(&stream, &media, info.is_some()).await?;
            stream.keep_source(seq, duration, &shown, info.as_ref(), resolution).await?;
            Ok(shown)
        };
        let done = match (kept.await, info) {
            (Err(error), _) => Err(error),
            // A segment without video is every rendition of itself.
            (Ok(shown), None) => {
                let copies = vec![media; stream.profiles().len()];
                stream.publish_copies(seq, duration, &shown).await.map(|()| copies)
            }
            (Ok(_), Some(info)) => {
                let segment = Segment { seq, media, duration, info, arrived, _memory: memory };
                self.transcode_and_publish(&stream, segment, ahead).await
            }
        };
        match &done {
            Ok(_) => self.count(|totals| totals.transcoded += 1),
            Err(error) => {
                metrics::failed();
                self.count(|totals| totals.failed += 1);
                tracing::error!(error = with_causes(error), "segment lost");
                if let Err(error) = stream.lose(seq).await {
                    tracing::error!(error = with_causes(&error), "playlists cannot go on");
                }
            }
        }
        done
    }

    /// The stream, and the segment's place in it. An encoder that counts anew begins a new stream of the same name.
    async fn enter(
        self: &Arc<Self>,
        admission: &Arc<Admission>,
        seq: u64,
        duration: Duration,
    ) -> Result<(Arc<LiveStream>, OwnedSemaphorePermit), SegmentError> {
        for _ in 0..ENTER_ATTEMPTS {
            let stream = self.open_stream(admission, seq, duration).await?;
            match stream.enter(seq) {
                Ok(place) => return Ok((stream, place)),
                Err(EnterError::Segment(error)) => return Err(error),
                Err(EnterError::Ending) => {}
                Err(EnterError::Restarted) => stream.close(self).await,
            }
        }
        Err(Refusal::Ending(admission.name.clone()).into())
    }

    async fn transcode_and_publish(
        self: &Arc<Self>,
        stream: &Arc<LiveStream>,
        segment: Segment,
        ahead: Option<Ahead>,
    ) -> Result<Vec<Bytes>, SegmentError> {
        let (_turn, begun): (_, Option<Begun>) = match ahead.filter(|ahead| ahead.begun.is_of(stream, &segment)) {
            Some(Ahead { turn, begun }) => (turn, Some(begun)),
            None => (stream.turn().await?, None),
        };
        let (seq, duration, started) = (segment.seq, segment.duration, Instant::now());
        let renditions = self.transcode(stream, segment, begun).await?;
        metrics::transcoded(started.elapsed());
        let shown = renditions.iter().map(|rendition| self.show(stream, &rendition.media, true));
        let shown = try_join_all(shown).await?;
        stream.publish(seq, duration, &renditions, &shown).await?;
        Ok(renditions.into_iter().map(|rendition| rendition.media).collect())
    }

    /// What the segment is; `None` when it has no video, which no orchestrator can help with (node.md §4.3).
    async fn probe(&self, media: &Bytes) -> Result<Option<SegmentInfo>, SegmentError> {
        match self.checker.probe(media).await {
            Ok(info) => Ok(Some(info)),
            Err(PoolError::Media(MediaError::NoVideoStream | MediaError::NoFrames)) => Ok(None),
            Err(error @ PoolError::Media(MediaError::OutOfMemory { .. })) => Err(SegmentError::Worker(error)),
            Err(PoolError::Media(error)) => Err(SegmentError::Media(error)),
            Err(PoolError::QueueFull { .. }) => Err(Refusal::Memory.into()),
            Err(error) => Err(SegmentError::Worker(error)),
        }
    }
}
