//! What of a stream goes into which store.
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use serde::Serialize;
use streamflow_types::Secret;
use tokio::time::Instant;

use super::{
    Shown,
    store::{OutputStoreError, Store, Uploader},
};

/// How often a recording begins a new list (node.md §4.4).
const ROTATION: Duration = Duration::from_secs(3600);
const PLAYLIST: &str = "application/vnd.apple.mpegurl";

/// Copies of one stream.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    output: Option<Uploader>,
    recording: Option<(Uploader, Mutex<Recording>)>,
}

/// A segment as it was published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Published<'a> {
    pub(crate) seq: u64,
    pub(crate) duration: Duration,
    pub(crate) shown: &'a Shown,
    /// File name of what goes before a fragment.
    pub(crate) init: Option<&'a str>,
}

/// A list of a recording, as deployed nodes read it.
#[derive(Debug, Serialize)]
struct Recording {
    #[serde(skip)]
    name: String,
    #[serde(skip)]
    since: Instant,
    duration_ms: u64,
    tracks: Vec<Track>,
    segments: BTreeMap<String, Vec<Recorded>>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Track {
    pub(crate) name: String,
    pub(crate) bandwidth: u64,
    pub(crate) resolution: String,
}

impl Track {
    pub(crate) fn new(name: &str, bandwidth: u64, (width, height): (u32, u32)) -> Self {
        Self { name: name.to_owned(), bandwidth, resolution: format!("{width}x{height}") }
    }
}

#[derive(Debug, Serialize)]
struct Recorded {
    seq_no: u64,
    uri: String,
    duration_ms: u64,
}

impl Recording {
    fn new() -> Self {
        Self {
            name: format!("playlist_{}.json", unix_nanos()),
            since: Instant::now(),
            duration_ms: 0,
            tracks: Vec::new(),
            segments: BTreeMap::new(),
        }
    }
}

#[allow(clippy::disallowed_methods)] // names an object after the day's time, as deployed nodes do; nothing waits for it
fn unix_nanos() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos())
}

impl Copies {
    pub(crate) fn start(
        name: &str,
        output: Option<&Secret>,
        recording: Option<&Secret>,
    ) -> Result<Self, OutputStoreError> {
        let open = |address: &Secret| Ok::<_, OutputStoreError>(Uploader::start(Store::open(address)?, name));
        Ok(Self {
            output: output.map(open).transpose()?,
            recording: recording.map(open).transpose()?.map(|uploader| (uploader, Mutex::new(Recording::new()))),
        })
    }

    /// Whether anything is copied at all.
    pub(crate) fn any(&self) -> bool {
        self.output.is_some() || self.recording.is_some()
    }

    /// A published segment, its playlist as it stands, and what is known of its rendition.
    pub(crate) fn segment(&self, published: &Published<'_>, playlist: String, track: Track) {
        let Published { seq, duration, shown, init } = *published;
        let path = format!("{}/{}", track.name, shown.file(seq));
        for uploader in self.uploaders() {
            if let (Shown::Fragment(made), Some(init)) = (shown, init) {
                uploader.put(&format!("{}/{init}", track.name), "video/mp4", made.init.clone());
            }
            uploader.put(&path, shown.content_type(), shown.bytes().clone());
        }
        if let Some(output) = &self.output {
            output.put(&format!("{}/index.m3u8", track.name), PLAYLIST, Bytes::from(playlist));
        }
        if let Some((uploader, recording)) = &self.recording {
            let mut recording = recording.lock().unwrap_or_else(PoisonError::into_inner);
            if recording.since.elapsed() > ROTATION {
                *recording = Recording::new();
            }
            let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            recording.record(track, Recorded { seq_no: seq, uri: path, duration_ms });
            match serde_json::to_vec(&*recording) {
                Ok(text) => uploader.put(&recording.name, "application/json", text.into()),
                Err(error) => tracing::warn!(%error, "list of the recording cannot be written"),
            }
        }
    }

    /// The playlists as they are at the end.
    pub(crate) fn playlist(&self, path: &str, text: String) {
        if let Some(output) = &self.output {
            output.put(path, PLAYLIST, Bytes::from(text));
        }
    }

    /// Waits until everything is up, for at most as long as given.
    pub(crate) async fn finish(self, patience: Duration) {
        let recording = self.recording.map(|(uploader, _)| uploader);
        let finish = |uploader: Option<Uploader>| async move {
            if let Some(uploader) = uploader {
                uploader.finish(patience).await;
            }
        };
        tokio::join!(finish(self.output), finish(recording));
    }

    fn uploaders(&self) -> impl Iterator<Item = &Uploader> {
        self.output.iter().chain(self.recording.as_ref().map(|(uploader, _)| uploader))
    }
}

impl Recording {
    fn record(&mut self, track: Track, segment: Recorded) {
        let segments = self.segments.entry(track.name.clone()).or_default();
        segments.push(segment);
        let length = segments.iter().map(|segment| segment.duration_ms).sum();
        self.duration_ms = self.duration_ms.max(length);
        match self.tracks.iter_mut().find(|known| known.name == track.name) {
            Some(known) => *known = track,
            None => self.tracks.push(track),
        }
    }
}
