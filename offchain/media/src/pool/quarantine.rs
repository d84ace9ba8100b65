//! Segments that workers failed on, kept for whoever wants to know why.
use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use alloy_primitives::keccak256;
use bytes::Bytes;
use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;

use super::{PoolError, QuarantineConfig};

/// How the names of kept files end; what ends otherwise is left alone.
const SUFFIX: &str = ".segment";
/// How names begin of files that are being written.
const UNFINISHED: &str = ".unfinished-";

/// A directory of segments, bounded in number and bytes.
#[derive(Debug)]
pub(super) struct Quarantine {
    config: QuarantineConfig,
    /// One writer at a time: each makes room for its own.
    writing: Mutex<()>,
}

impl Quarantine {
    pub(super) fn new(config: QuarantineConfig) -> Arc<Self> {
        Arc::new(Self { config, writing: Mutex::new(()) })
    }

    /// Keeps what a job was given, and says in the log where.
    pub(super) async fn keep(self: &Arc<Self>, kind: &str, blobs: &[Bytes], failures: [&PoolError; 2]) {
        let [first, second] = failures.map(PoolError::outcome);
        let (this, blobs) = (self.clone(), blobs.to_vec());
        let reason = format!("{kind}-{first}-{second}");
        let _ = spawn_blocking(move || {
            for blob in blobs.iter().filter(|blob| !blob.is_empty()) {
                match this.write(blob, &reason) {
                    Ok(file) => tracing::warn!(file = %file.display(), "segment quarantined"),
                    Err(error) => {
                        let directory = this.config.directory.display();
                        tracing::error!(%error, %directory, "segment cannot be quarantined");
                    }
                }
            }
        })
        .await;
    }

    fn write(&self, segment: &[u8], reason: &str) -> io::Result<PathBuf> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = &self.config.directory;
        fs::create_dir_all(directory)?;
        self.make_room(segment.len() as u64)?;
        let mut file = tempfile::Builder::new().prefix(UNFINISHED).suffix(SUFFIX).tempfile_in(directory)?;
        io::Write::write_all(&mut file, segment)?;
        let name = directory.join(format!("{:x}-{reason}{SUFFIX}", keccak256(segment)));
        NamedTempFile::persist(file, &name).map_err(|error| error.error)?;
        Ok(name)
    }

    /// Removes the oldest files until one more of `bytes` fits.
    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.config.directory)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with(SUFFIX) {
                let about = entry.metadata()?;
                files.push((about.modified().unwrap_or(SystemTime::UNIX_EPOCH), entry.path(), about.len()));
            }
        }
        files.sort_unstable();
        let mut left = files.len();
        let mut total: u64 = files.iter().map(|(.., len)| *len).sum();
        for (_, file, len) in files {
            if left < self.config.max_files && total.saturating_add(bytes) <= self.config.max_bytes {
                break;
            }
            fs::remove_file(file)?;
            (left, total) = (left - 1, total - len);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;

    fn quarantine(directory: &Path, max_files: usize, max_bytes: u64) -> Quarantine {
        let config = QuarantineConfig { directory: directory.join("new"), max_files, max_bytes };
        Quarantine { config, writing: Mutex::default() }
    }

    /// Writes files, each a little older than the next.
    fn write_all(quarantine: &Quarantine, segments: &[&[u8]]) -> Vec<PathBuf> {
        let files = segments.iter().enumerate().map(|(age, segment)| {
            let name = quarantine.write(segment, "transcode-died-hung").unwrap();
            let written = SystemTime::UNIX_EPOCH + Duration::from_secs(age as u64);
            fs::File::options().write(true).open(&name).unwrap().set_modified(written).unwrap();
            name
        });
        files.collect()
    }

    fn kept(quarantine: &Quarantine) -> usize {
        fs::read_dir(&quarantine.config.directory).unwrap().count()
    }

    #[test]
    fn a_file_is_named_by_its_bytes_and_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        let quarantine = quarantine(directory.path(), 10, 1000);
        let files = write_all(&quarantine, &[b"bad", b"bad", b"worse"]);
        let name = format!("{:x}-transcode-died-hung.segment", keccak256(b"bad"));
        assert_eq!(files[0].file_name().unwrap().to_str().unwrap(), name);
        assert_eq!(fs::read(&files[0]).unwrap(), b"bad");
        assert_eq!(kept(&quarantine), 2, "the same segment is there once, and nothing unfinished");
    }

    #[test]
    fn the_oldest_files_make_room() {
        let directory = tempfile::tempdir().unwrap();
        let few = quarantine(directory.path(), 2, 1000);
        let files = write_all(&few, &[b"a", b"b", b"c"]);
        assert!(!files[0].exists() && files[1].exists() && files[2].exists());
        let small = quarantine(directory.path(), 100, 10);
        let files = write_all(&small, &[b"dddd", b"eeee", b"ffff"]);
        assert!(!files[0].exists() && files[1].exists() && files[2].exists());
        let file = small.write(&[7; 50], "x").unwrap();
        assert!(file.exists() && kept(&small) == 1, "the newest is kept, whatever its size");
    }

    #[test]
    fn files_of_others_stay() {
        let directory = tempfile::tempdir().unwrap();
        let quarantine = quarantine(directory.path(), 1, 1);
        write_all(&quarantine, &[b"a"]);
        let other = quarantine.config.directory.join("notes.txt");
        fs::write(&other, "mine").unwrap();
        write_all(&quarantine, &[b"b"]);
        assert!(other.exists() && kept(&quarantine) == 2);
    }
}
