//! Segments and playlists on disk.
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use alloy_primitives::{B256, keccak256};
use bytes::Bytes;
use streamflow_types::{ManifestId, ManifestIdError};
use tokio::fs;

use super::playlist::{Entry, Shown, Variant, master_playlist, media_playlist};
use crate::Fragment;

/// File name of every playlist of one rendition.
const PLAYLIST: &str = "index.m3u8";
/// File name of the master playlist.
const MASTER: &str = "master.m3u8";

/// How one rendition is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HlsConfig {
    /// Segments in the playlist while the stream runs.
    pub window: usize,
    /// Expected length of a segment.
    pub target: Duration,
    /// Number of the first segment.
    pub first_seq: u64,
    /// Segments held back for a missing one, after which the missing one counts as lost.
    pub hold_back: usize,
}

impl Default for HlsConfig {
    fn default() -> Self {
        Self { window: 6, target: Duration::from_secs(2), first_seq: 0, hold_back: 16 }
    }
}

/// Why a segment or a playlist was not written.
#[derive(Debug, thiserror::Error)]
pub enum HlsError {
    /// The name becomes a directory and follows the rule of manifest ids.
    #[error("rendition name {name:?} is not usable")]
    Name {
        /// As given.
        name: String,
        /// The rule it breaks.
        #[source]
        source: ManifestIdError,
    },
    /// The disk said no.
    #[error("cannot write {path}")]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Already published, waiting, or declared lost.
    #[error("segment {seq} is already decided")]
    AlreadyDecided {
        /// Its number.
        seq: u64,
    },
    /// The stream has ended.
    #[error("stream has ended")]
    Ended,
}

/// Writes one rendition to `<directory>/<name>/`: `<seq>.ts` and `index.m3u8`. Segments that are fragments of MP4 are
/// `<seq>.m4s`, and `init-<number>.mp4` is what goes before them; a new one is written only when it has changed.
///
/// Segments may come in any order and are published in theirs: one that comes early is on disk at once but enters the
/// playlist only after all before it came or were declared lost. Every file appears whole or not at all.
#[derive(Debug)]
pub struct HlsWriter {
    directory: PathBuf,
    config: HlsConfig,
    published: Vec<Entry>,
    /// Number of the next segment to publish.
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
    /// Digest and number of the newest initialisation segment.
    init: Option<(B256, u64)>,
    lost: BTreeSet<u64>,
    after_gap: bool,
    peak_bandwidth: u64,
    ended: bool,
}

/// A segment on disk whose turn has not come.
#[derive(Debug)]
struct Waiting {
    file: String,
    duration: Duration,
    init: Option<String>,
}

impl HlsWriter {
    /// Makes the directory; what an earlier stream of the same name left in it is overwritten as segments come.
    pub async fn create(directory: &Path, name: &str, config: HlsConfig) -> Result<Self, HlsError> {
        ManifestId::new(name).map_err(|source| HlsError::Name { name: name.into(), source })?;
        let directory = directory.join(name);
        fs::create_dir_all(&directory).await.map_err(|source| HlsError::Io { path: directory.clone(), source })?;
        Ok(Self {
            directory,
            config,
            published: Vec::new(),
            next: config.first_seq,
            waiting: BTreeMap::new(),
            init: None,
            lost: BTreeSet::new(),
            after_gap: false,
            peak_bandwidth: 0,
            ended: false,
        })
    }

    /// Writes a segment, and publishes it and those that waited for it as soon as their turn has come.
    pub async fn publish(&mut self, seq: u64, bytes: &Bytes, duration: Duration) -> Result<(), HlsError> {
        self.check_open(seq)?;
        self.keep(seq, file_name(seq), bytes, duration, None).await
    }

    /// The same with a fragment of MP4. Returns the file name of what goes before it.
    pub async fn publish_fragment(
        &mut self,
        seq: u64,
        made: &Fragment,
        duration: Duration,
    ) -> Result<String, HlsError> {
        self.check_open(seq)?;
        let digest = keccak256(&made.init);
        let number = match self.init {
            Some((known, number)) if known == digest => number,
            known => {
                let number = known.map_or(0, |(_, number)| number + 1);
                write_whole(&self.directory.join(init_name(number)), &made.init).await?;
                self.init = Some((digest, number));
                number
            }
        };
        let init = init_name(number);
        self.keep(seq, format!("{seq}.m4s"), &made.media, duration, Some(init.clone())).await?;
        Ok(init)
    }

    async fn keep(
        &mut self,
        seq: u64,
        file: String,
        bytes: &Bytes,
        duration: Duration,
        init: Option<String>,
    ) -> Result<(), HlsError> {
        write_whole(&self.directory.join(&file), bytes).await?;
        self.peak_bandwidth = self.peak_bandwidth.max(bits_per_second(bytes.len(), duration));
        self.waiting.insert(seq, Waiting { file, duration, init });
        self.advance().await
    }

    /// Gives up on a segment: those after it no longer wait, and players are told of the gap.
    pub async fn declare_lost(&mut self, seq: u64) -> Result<(), HlsError> {
        self.check_open(seq)?;
        self.lost.insert(seq);
        self.advance().await
    }

    /// Ends the stream: publishes what waits, and the playlist becomes one of all segments with an end.
    pub async fn finish(&mut self) -> Result<(), HlsError> {
        if self.ended {
            return Ok(());
        }
        while let Some((seq, segment)) = self.waiting.pop_first() {
            self.after_gap |= seq > self.next && !self.published.is_empty();
            self.append(seq, segment);
        }
        self.ended = true;
        self.write_playlist().await
    }

    /// Text of the playlist as it is now.
    pub fn text(&self) -> String {
        let shown = if self.ended { Shown::Ended } else { Shown::Live(self.config.window) };
        media_playlist(&self.published, self.config.target, shown)
    }

    /// Text of the playlist of all segments so far.
    pub fn recording(&self) -> String {
        let shown = if self.ended { Shown::Ended } else { Shown::Event };
        media_playlist(&self.published, self.config.target, shown)
    }

    /// The playlist's path.
    pub fn playlist(&self) -> PathBuf {
        self.directory.join(PLAYLIST)
    }

    /// Segments published.
    pub fn published(&self) -> usize {
        self.published.len()
    }

    /// Highest bit rate of any segment so far, in bits per second.
    pub fn peak_bandwidth(&self) -> u64 {
        self.peak_bandwidth
    }

    fn check_open(&self, seq: u64) -> Result<(), HlsError> {
        if self.ended {
            return Err(HlsError::Ended);
        }
        if seq < self.next || self.waiting.contains_key(&seq) || self.lost.contains(&seq) {
            return Err(HlsError::AlreadyDecided { seq });
        }
        Ok(())
    }

    async fn advance(&mut self) -> Result<(), HlsError> {
        let before = self.published.len();
        loop {
            if let Some(segment) = self.waiting.remove(&self.next) {
                self.append(self.next, segment);
            } else if self.lost.remove(&self.next) {
                self.skip();
            } else if self.waiting.len() > self.config.hold_back {
                tracing::warn!(seq = self.next, "segment did not come in time and counts as lost");
                self.skip();
            } else {
                break;
            }
        }
        if self.published.len() == before {
            return Ok(());
        }
        self.write_playlist().await
    }

    fn append(&mut self, seq: u64, segment: Waiting) {
        let after_gap = std::mem::take(&mut self.after_gap);
        let Waiting { file, duration, init } = segment;
        self.published.push(Entry { uri: file, duration, after_gap, init });
        self.next = seq + 1;
    }

    fn skip(&mut self) {
        self.after_gap = !self.published.is_empty();
        self.next += 1;
    }

    async fn write_playlist(&self) -> Result<(), HlsError> {
        write_whole(&self.playlist(), self.text().as_bytes()).await
    }
}

/// Writes `<directory>/master.m3u8` and returns its path.
pub async fn write_master(directory: &Path, variants: &[Variant]) -> Result<PathBuf, HlsError> {
    let path = directory.join(MASTER);
    write_whole(&path, master_playlist(variants).as_bytes()).await?;
    Ok(path)
}

fn file_name(seq: u64) -> String {
    format!("{seq}.ts")
}

fn init_name(number: u64) -> String {
    format!("init-{number}.mp4")
}

fn bits_per_second(bytes: usize, duration: Duration) -> u64 {
    let bits = bytes as u128 * 8 * 1_000_000_000;
    u64::try_from(bits / duration.as_nanos().max(1)).unwrap_or(u64::MAX)
}

/// Writes beside the target and renames, so that a reader never sees half a file.
async fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), HlsError> {
    let failed = |source| HlsError::Io { path: path.to_owned(), source };
    let temporary = path.with_added_extension("part");
    fs::write(&temporary, bytes).await.map_err(failed)?;
    fs::rename(&temporary, path).await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_SECONDS: Duration = Duration::from_secs(2);

    fn bytes() -> Bytes {
        Bytes::from_static(&[0x47; 188])
    }

    async fn writer(config: HlsConfig) -> (tempfile::TempDir, HlsWriter) {
        let dir = tempfile::tempdir().unwrap();
        let writer = HlsWriter::create(dir.path(), "720p", config).await.unwrap();
        (dir, writer)
    }

    fn listed(writer: &HlsWriter) -> Vec<String> {
        let text = std::fs::read_to_string(writer.playlist()).unwrap_or_default();
        text.lines().filter(|line| !line.starts_with('#')).map(Into::into).collect()
    }

    #[tokio::test]
    async fn early_segments_wait_for_their_turn() {
        let (_dir, mut writer) = writer(HlsConfig::default()).await;
        writer.publish(1, &bytes(), TWO_SECONDS).await.unwrap();
        assert!(listed(&writer).is_empty());
        writer.publish(0, &bytes(), TWO_SECONDS).await.unwrap();
        assert_eq!(listed(&writer), ["0.ts", "1.ts"]);
    }

    #[tokio::test]
    async fn lost_segment_lets_the_others_pass() {
        let (_dir, mut writer) = writer(HlsConfig::default()).await;
        for seq in [0, 2, 3] {
            writer.publish(seq, &bytes(), TWO_SECONDS).await.unwrap();
        }
        assert_eq!(listed(&writer), ["0.ts"]);
        writer.declare_lost(1).await.unwrap();
        assert_eq!(listed(&writer), ["0.ts", "2.ts", "3.ts"]);
        let text = std::fs::read_to_string(writer.playlist()).unwrap();
        assert!(text.contains("#EXT-X-DISCONTINUITY\n#EXTINF:2.000000,\n2.ts\n"));
        let late = writer.publish(1, &bytes(), TWO_SECONDS).await;
        assert!(matches!(late, Err(HlsError::AlreadyDecided { seq: 1 })));
    }

    #[tokio::test]
    async fn waiting_is_bounded() {
        let (_dir, mut writer) = writer(HlsConfig { hold_back: 2, ..HlsConfig::default() }).await;
        for seq in [1, 2] {
            writer.publish(seq, &bytes(), TWO_SECONDS).await.unwrap();
        }
        assert!(listed(&writer).is_empty());
        writer.publish(3, &bytes(), TWO_SECONDS).await.unwrap();
        assert_eq!(listed(&writer), ["1.ts", "2.ts", "3.ts"]);
    }

    #[tokio::test]
    async fn end_keeps_every_segment_on_disk_and_in_the_list() {
        let (_dir, mut writer) = writer(HlsConfig::default()).await;
        for seq in 0..9 {
            writer.publish(seq, &bytes(), TWO_SECONDS).await.unwrap();
        }
        writer.publish(10, &bytes(), TWO_SECONDS).await.unwrap();
        assert_eq!(listed(&writer).len(), 6);
        writer.finish().await.unwrap();
        writer.finish().await.unwrap();
        let all = listed(&writer);
        assert_eq!(
            (all.len(), all.first().map(String::as_str), all.last().map(String::as_str)),
            (10, Some("0.ts"), Some("10.ts"))
        );
        assert!(std::fs::read_to_string(writer.playlist()).unwrap().ends_with("#EXT-X-ENDLIST\n"));
        assert!(matches!(writer.publish(11, &bytes(), TWO_SECONDS).await, Err(HlsError::Ended)));
        let left: Vec<_> = std::fs::read_dir(writer.playlist().parent().unwrap())
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
            .filter(|name| name.ends_with(".part"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }

    #[tokio::test]
    async fn names_cannot_leave_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["..", "a/b", "", ".hidden"] {
            let refused = HlsWriter::create(dir.path(), name, HlsConfig::default()).await;
            assert!(matches!(refused, Err(HlsError::Name { .. })), "{name}");
        }
    }

    #[tokio::test]
    async fn full_disk_or_missing_directory_is_an_error() {
        let (dir, mut writer) = writer(HlsConfig::default()).await;
        drop(dir);
        assert!(matches!(writer.publish(0, &bytes(), TWO_SECONDS).await, Err(HlsError::Io { .. })));
    }
}
