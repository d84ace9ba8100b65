//! From the messages of an encoder to segments: a media worker cuts them, and they go the way of pushed ones.
use std::{sync::Arc, time::Duration};

use streamflow_media::{IngestFeed, IngestSettings, IngestStream, PoolError, SourceSegment, TICKS_PER_SECOND};
use tokio::sync::mpsc;

use super::{
    Live,
    flv::{Held, Kind, Tag, file_header, file_tag},
};
use crate::{admission::Admission, broadcaster::Core, config::RtmpConfig, pushes::Pushes};

/// How long sound is waited for, in the time of the stream.
const SOUND_WAIT_MILLIS: u32 = 1000;
/// How long the header of the pictures is waited for, in the time of the stream.
const PICTURE_WAIT_MILLIS: u32 = 5000;
/// Most bytes before the header of the pictures.
const MAX_HELD_BYTES: usize = 4 << 20;
/// The stream may stall for this many segments (node.md §4.2), and a key frame may keep away for as long.
pub(super) const STALL_SEGMENTS: u32 = 10;

/// Why a stream that was being published has ended.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// Sound, or something else, without pictures.
    #[error(
        "no H.264 header within the first {millis} ms and {bytes} bytes, where {max_millis} ms and {max_bytes} bytes are waited for: send video"
    )]
    NoVideoHeader {
        /// Time that passed in the stream.
        millis: u32,
        /// Bytes that came.
        bytes: usize,
        /// Time waited for.
        max_millis: u32,
        /// Bytes waited for.
        max_bytes: usize,
    },
    /// The worker cannot make segments of it.
    #[error("stream cannot be cut into segments")]
    Media(#[from] PoolError),
}

/// A stream that is coming in.
pub(super) struct Publication {
    pub(super) core: Arc<Core>,
    pub(super) config: RtmpConfig,
    pub(super) admission: Arc<Admission>,
    pub(super) live: Arc<Live>,
    pub(super) tags: mpsc::Receiver<Held>,
}

/// What is known before the worker is started.
#[derive(Default)]
struct Beginning {
    held: Vec<Held>,
    bytes: usize,
    first: Option<u32>,
    video: Option<Tag>,
    audio: Option<Tag>,
    sound: bool,
}

/// How far the segments are.
#[derive(Clone, Copy)]
struct Position {
    next_seq: u64,
    ticks: i64,
}

impl Publication {
    /// Until the encoder ends, or sends what cannot be used. The stream is ended either way.
    pub(super) async fn run(mut self) -> Result<(), IngestError> {
        let done = self.cut_all().await;
        if let Some(stream) = self.core.find_stream(self.live.name.as_str()) {
            stream.close(&self.core).await;
        }
        done
    }

    /// A worker for as long as the encoder's settings stay the same.
    async fn cut_all(&mut self) -> Result<(), IngestError> {
        let fresh = IngestSettings::default();
        let mut at = Position { next_seq: fresh.first_seq, ticks: fresh.start_ticks };
        let mut next = None;
        loop {
            let mut beginning = Beginning::default();
            if !self.begin(&mut beginning, next.take()).await? {
                return Ok(());
            }
            let segment = self.config.segment;
            let settings = IngestSettings {
                segment,
                max_segment: segment.saturating_mul(STALL_SEGMENTS),
                max_bytes: self.core.config.max_segment_bytes,
                first_seq: at.next_seq,
                start_ticks: at.ticks,
                ..IngestSettings::default()
            };
            let (feed, segments) = self.core.media.ingest(settings)?;
            let pushes = Pushes::new(self.core.clone(), self.admission.clone());
            let mut pushing = std::pin::pin!(push_all(pushes, segments, at));
            let feeding = feed_all(&mut self.tags, &self.live, beginning, feed);
            let restart = {
                let mut feeding = std::pin::pin!(feeding);
                tokio::select! { biased;
                    pushed = &mut pushing => return pushed.map(|_| ()),
                    restart = &mut feeding => restart,
                }
            };
            at = pushing.await?;
            match restart {
                Some(tag) => next = Some(tag),
                None => return Ok(()),
            }
        }
    }

    /// Collects messages until it is known whether there is sound. False if the encoder ends before.
    async fn begin(&mut self, beginning: &mut Beginning, first: Option<Held>) -> Result<bool, IngestError> {
        let mut next = first;
        loop {
            let held = match next.take() {
                Some(held) => held,
                None => match self.tags.recv().await {
                    Some(held) => held,
                    None => return Ok(false),
                },
            };
            self.live.show(&held.tag);
            let millis = beginning.take(held);
            let late = millis > PICTURE_WAIT_MILLIS || beginning.bytes > MAX_HELD_BYTES;
            match (&beginning.video, beginning.sound) {
                (Some(_), true) => return Ok(true),
                (Some(_), false) if millis >= SOUND_WAIT_MILLIS || late => return Ok(true),
                (None, _) if late => {
                    return Err(IngestError::NoVideoHeader {
                        millis,
                        bytes: beginning.bytes,
                        max_millis: PICTURE_WAIT_MILLIS,
                        max_bytes: MAX_HELD_BYTES,
                    });
                }
                _ => {}
            }
        }
    }
}

impl Beginning {
    /// Returns how far the stream is, in milliseconds.
    fn take(&mut self, held: Held) -> u32 {
        let tag = &held.tag;
        let first = *self.first.get_or_insert(tag.timestamp);
        let millis = since(first, tag.timestamp);
        match tag.kind {
            Kind::Video if tag.is_header() => self.video = Some(tag.clone()),
            // Sound other than AAC needs no header.
            Kind::Audio if tag.is_header() => (self.audio, self.sound) = (Some(tag.clone()), true),
            Kind::Audio if tag.data.first().is_some_and(|first| first >> 4 != 10) => self.sound = true,
            _ => {}
        }
        self.bytes += tag.data.len();
        self.held.push(held);
        millis
    }
}

/// Milliseconds since the first message; none for a message from before it.
fn since(first: u32, timestamp: u32) -> u32 {
    let millis = timestamp.wrapping_sub(first);
    if millis > u32::MAX / 2 { 0 } else { millis }
}

/// Hands the encoder's messages to the worker, until it ends or changes its settings: then the message that says so is
/// returned.
async fn feed_all(
    tags: &mut mpsc::Receiver<Held>,
    live: &Live,
    beginning: Beginning,
    feed: IngestFeed,
) -> Option<Held> {
    let Beginning { held, first, mut video, mut audio, sound, .. } = beginning;
    let first = first.unwrap_or_default();
    if !feed.send(file_header(sound)).await {
        return None;
    }
    for Held { tag, memory } in held {
        if !feed.send(file_tag(&tag, since(first, tag.timestamp))).await {
            return None;
        }
        drop(memory);
    }
    while let Some(Held { tag, memory }) = tags.recv().await {
        if tag.is_header() {
            let known = match tag.kind {
                Kind::Video => &mut video,
                Kind::Audio => &mut audio,
            };
            match known {
                Some(known) if known.data == tag.data => continue,
                Some(_) => return Some(Held { tag, memory }),
                None => *known = Some(tag.clone()),
            }
        }
        live.show(&tag);
        if !feed.send(file_tag(&tag, since(first, tag.timestamp))).await {
            return None;
        }
        drop(memory);
    }
    None
}

/// Pushes segments as they are cut.
async fn push_all(mut pushes: Pushes, mut segments: IngestStream, mut at: Position) -> Result<Position, IngestError> {
    let mut failed = None;
    while let Some(segment) = segments.next().await {
        match segment {
            Ok(segment) => {
                at = after(&segment);
                pushes.start(segment);
            }
            Err(error) => failed = Some(error),
        }
    }
    pushes.finish().await;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(at),
    }
}

fn after(segment: &SourceSegment) -> Position {
    let length = i64::try_from(segment.duration.as_nanos() * TICKS_PER_SECOND as u128 / 1_000_000_000);
    Position { next_seq: segment.seq + 1, ticks: segment.start_pts + length.unwrap_or_default() }
}

/// Longest silence of an encoder.
pub(super) fn stall(segment: Duration) -> Duration {
    segment.saturating_mul(STALL_SEGMENTS)
}
