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

use super::{Answer, JOB_MARK, Order, ProtocolError, Reply, Request, WorkerError, protocol, split_transcoded};
use crate::{MediaError, TranscodeReport, Transcoded};

const INDEX: &str = "index.json";

/// What was made of one source segment.
#[derive(Serialize, Deserialize)]
struct Entry {
    key: u64,
    report: TranscodeReport,
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
        let key = key(&segment);
        let (report, blobs) = transcoded.split();
        for (index, blob) in blobs.iter().enumerate() {
            fs::write(directory.join(file(key, index)), blob)?;
        }
        entries.push(Entry { key, report });
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
    serve(&stored, encode, &mut input, &mut output).map_err(WorkerError::Protocol)
}

fn serve(
    stored: &HashMap<u64, Transcoded>,
    encode: Duration,
    input: &mut impl Read,
    output: &mut impl Write,
) -> Result<(), ProtocolError> {
    while let Some((Order { job, request }, blobs)) = protocol::read::<Order>(input)? {
        let mut reply = |answer, blobs: &[Bytes]| {
            protocol::write(output, &Reply { job, wall: encode, cpu: Duration::ZERO, answer }, blobs)
        };
        let done = match request {
            Request::Hello(_) => reply(Answer::Ready, &[]),
            Request::ProbeEncoder(_) | Request::ProbeFilters => reply(Answer::Works, &[]),
            Request::Transcode(_) => {
                let (segment, streamed) = match blobs.into_iter().next() {
                    Some(segment) => (Some(segment), false),
                    None => (fed(input)?, true),
                };
                let began = Instant::now();
                let found = segment.and_then(|segment| stored.get(&key(&segment))).cloned().map(split_transcoded);
                wait(encode.saturating_sub(began.elapsed()));
                let (answer, mut blobs) = found.unwrap_or((Answer::Failed(MediaError::NoVideoStream), Vec::new()));
                if let (true, Answer::Transcoded(report)) = (streamed, &answer) {
                    for (rendition, (piece, made)) in blobs.drain(..).zip(&report.renditions).enumerate() {
                        reply(Answer::Piece { rendition, pixels: made.pixels }, &[piece])?;
                    }
                }
                reply(answer, &blobs)
            }
            _ => reply(Answer::Failed(MediaError::NoVideoStream), &[]),
        };
        let _ = writeln!(io::stderr(), "{JOB_MARK}{job}");
        done?;
    }
    Ok(())
}

/// A segment that comes in pieces; `None` when it is aborted.
fn fed(input: &mut impl Read) -> Result<Option<Bytes>, ProtocolError> {
    let mut segment = Vec::new();
    while let Some((Order { request, .. }, blobs)) = protocol::read::<Order>(input)? {
        match request {
            Request::Feed => blobs.iter().for_each(|piece| segment.extend_from_slice(piece)),
            Request::FeedEnd => return Ok(Some(segment.into())),
            _ => break,
        }
    }
    Ok(None)
}

fn load(directory: &Path) -> io::Result<HashMap<u64, Transcoded>> {
    let entries: Vec<Entry> = serde_json::from_slice(&fs::read(directory.join(INDEX))?)?;
    let load = |Entry { key, report }: Entry| {
        let bytes = (0..report.renditions.len()).map(|index| fs::read(directory.join(file(key, index))));
        let bytes = bytes.map(|bytes| bytes.map(Bytes::from)).collect::<io::Result<Vec<_>>>()?;
        Ok((key, report.with_bytes(bytes)))
    };
    entries.into_iter().map(load).collect()
}

/// As long as an encoder would work.
#[allow(clippy::disallowed_methods)] // the process has nothing else to do
fn wait(encode: Duration) {
    std::thread::sleep(encode);
}
