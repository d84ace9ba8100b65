//! A worker that answers with renditions made before, after the time that making them would take: measurements of
//! everything around the encoder need one whose time is known.
use std::{
    collections::HashMap,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read, Write},
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    Answer, JOB_MARK, Order, RenditionHead, Reply, Request, SourceReport, WorkerError, protocol, split_transcoded,
};
use crate::{MediaError, Transcoded};

const INDEX: &str = "index.json";

/// What was made of one source segment.
#[derive(Serialize, Deserialize)]
struct Entry {
    key: u64,
    source: SourceReport,
    renditions: Vec<RenditionHead>,
}

/// Names a source segment in the index; the same in every process of this program.
fn key(segment: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    segment.hash(&mut hasher);
    hasher.finish()
}

fn file(key: u64, index: usize) -> String {
    format!("{key:016x}-{index}.ts")
}

/// Writes renditions for [`run_stored`] into `directory`, each list beside the segment that it was made of.
///
/// # Errors
/// A file cannot be written.
pub fn store(directory: &Path, made: impl IntoIterator<Item = (Bytes, Transcoded)>) -> io::Result<()> {
    let mut entries = Vec::new();
    for (segment, transcoded) in made {
        let (key, source) = (key(&segment), transcoded.source);
        let (_, blobs) = split_transcoded(transcoded.clone());
        for (index, blob) in blobs.iter().enumerate() {
            fs::write(directory.join(file(key, index)), blob)?;
        }
        let renditions = transcoded.renditions.into_iter().map(|rendition| super::split_rendition(rendition).0);
        entries.push(Entry { key, source, renditions: renditions.collect() });
    }
    fs::write(directory.join(INDEX), serde_json::to_vec(&entries)?)
}

/// The loop of a worker process that answers from `directory`, every job after `encode`. Segments that were not stored
/// are refused.
///
/// # Errors
/// The store cannot be read, or the pool is gone.
pub fn run_stored(
    directory: &Path,
    encode: Duration,
    input: impl Read,
    mut output: impl Write,
) -> Result<(), WorkerError> {
    let stored = load(directory).map_err(|error| WorkerError::Protocol(error.into()))?;
    let mut input = io::BufReader::new(input);
    while let Some((Order { job, request }, blobs)) =
        protocol::read::<Order>(&mut input).map_err(WorkerError::Protocol)?
    {
        let (answer, blobs) = match request {
            Request::Hello => (Answer::Ready, Vec::new()),
            Request::ProbeEncoder(_) => (Answer::EncoderWorks, Vec::new()),
            Request::Transcode { .. } => {
                let began = Instant::now();
                let found = match stored.get(&key(blobs.first().map_or(&[][..], |blob| blob))) {
                    Some(transcoded) => split_transcoded(transcoded.clone()),
                    None => (Answer::Failed(MediaError::NoVideoStream), Vec::new()),
                };
                wait(encode.saturating_sub(began.elapsed()));
                found
            }
            _ => (Answer::Failed(MediaError::NoVideoStream), Vec::new()),
        };
        let _ = writeln!(io::stderr(), "{JOB_MARK}{job}");
        let reply = Reply { job, wall: encode, cpu: Duration::ZERO, answer };
        protocol::write(&mut output, &reply, &blobs).map_err(WorkerError::Protocol)?;
    }
    Ok(())
}

fn load(directory: &Path) -> io::Result<HashMap<u64, Transcoded>> {
    let entries: Vec<Entry> = serde_json::from_slice(&fs::read(directory.join(INDEX))?)?;
    let load = |Entry { key, source, renditions }: Entry| {
        let renditions = renditions.into_iter().enumerate().map(|(index, head)| {
            let RenditionHead { name, width, height, frames, pixels, codecs } = head;
            let bytes = fs::read(directory.join(file(key, index)))?.into();
            Ok(crate::Rendition { name, bytes, width, height, frames, pixels, codecs })
        });
        Ok((key, Transcoded { renditions: renditions.collect::<io::Result<_>>()?, source }))
    };
    entries.into_iter().map(load).collect()
}

/// As long as an encoder would work.
#[allow(clippy::disallowed_methods)] // the process has nothing else to do
fn wait(encode: Duration) {
    std::thread::sleep(encode);
}
