//! Frames on the pipes: `length of head: u32 BE | head: JSON | blobs`, where the head says how long each blob is.
use std::{
    io::{self, Read, Write},
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use streamflow_types::Profile;

use super::Limits;
use crate::{
    Comparison, IngestSettings, Inspection, MAX_RENDITIONS, MAX_SEGMENT_BYTES, MediaError, Quality, Sampling,
    SegmentInfo, SourceSettings, TranscodeReport, TranscodeSettings,
    gpu::{Assignment, Finding, Trial},
};

/// Longest head, in bytes.
const MAX_HEAD_BYTES: u32 = 1 << 20;
/// A source and all its renditions.
const MAX_BLOBS: usize = MAX_RENDITIONS + 1;
/// Starts the line on standard error before what is said about one job; the job's number follows.
pub(crate) const BEGIN_MARK: char = '\u{1d}';
/// Starts the line that ends what is said about one job.
pub(crate) const JOB_MARK: char = '\u{1e}';

/// What a pool asks of a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// The first order of a process.
    Hello(Limits),
    Probe,
    Inspect,
    /// The first blob is the source, the others are renditions of it.
    Compare(Sampling),
    /// The first blob is the reference, the second a rendition of it.
    Quality,
    Fragment,
    /// One blob is the segment. Without a blob it comes as [`Self::Feed`] until [`Self::FeedEnd`], and renditions leave
    /// as [`Answer::Piece`].
    Transcode(TranscodeOrder),
    ProbeEncoder(TranscodeSettings),
    ProbeFilters,
    TryDevice(Trial),
    Play(SourceSettings),
    /// What comes next is [`Self::Feed`] until [`Self::FeedEnd`]; the process ends with it.
    Ingest(IngestSettings),
    /// One blob: the next bytes for the order before.
    Feed,
    FeedEnd,
    /// The rest of what is fed will not come: the job fails, the worker goes on.
    FeedAbort,
}

impl Request {
    /// Whether it belongs to the order before, and is no order of its own.
    pub(crate) fn is_food(&self) -> bool {
        matches!(self, Self::Feed | Self::FeedEnd | Self::FeedAbort)
    }

    /// Whether its outcome must be the same in every run.
    pub(super) fn is_repeatable(&self) -> bool {
        match self {
            Self::Transcode(order) => order.settings.deterministic,
            Self::Inspect | Self::Compare(_) | Self::Quality => true,
            _ => false,
        }
    }
}

/// What is to be made of a segment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TranscodeOrder {
    pub(crate) profiles: Vec<Profile>,
    pub(crate) settings: TranscodeSettings,
    /// The device to use.
    pub(crate) device: Option<Assignment>,
}

/// A request and its number.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) job: u64,
    pub(crate) request: Request,
}

/// What a worker answers, job after job; [`Answer::Source`] comes once per segment, [`Answer::Piece`] as often as needed,
/// [`Answer::Ending`] once or not at all, the others end a job.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Ready,
    Probed(SegmentInfo),
    Inspected(Inspection),
    Compared(Vec<Result<Comparison, MediaError>>),
    Measured(Quality),
    /// Two blobs: what decoders need first, and the fragment.
    Fragmented,
    /// One blob: the next bytes of the rendition of this index, and the pixels of the pictures in them.
    Piece {
        rendition: usize,
        pixels: u64,
    },
    /// The first encoder of a segment that came whole is done: another order is served while the others end.
    Ending,
    /// One blob for each rendition, none where they left as pieces.
    Transcoded(TranscodeReport),
    /// What was tried.
    Works,
    Tried(Finding),
    Source(SourceHead),
    Played,
    Failed(MediaError),
}

impl Answer {
    /// Whether it is the last one of its job.
    pub(super) fn ends_job(&self) -> bool {
        !matches!(self, Self::Piece { .. } | Self::Source(_) | Self::Ending)
    }
}

/// An answer, the job it belongs to and what it cost.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) job: u64,
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    pub(crate) answer: Answer,
}

/// A source segment without its bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SourceHead {
    pub(crate) seq: u64,
    pub(crate) duration: Duration,
    pub(crate) frames: u64,
    pub(crate) start_pts: i64,
}

#[derive(Serialize, Deserialize)]
struct Head<T> {
    blobs: Vec<usize>,
    body: T,
}

/// Why a frame could not be sent or understood.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The pipe broke.
    #[error("pipe broke")]
    Io(#[from] io::Error),
    /// The head is longer than any of ours.
    #[error("frame head of {0} bytes")]
    HeadLength(u32),
    /// The head is not what the other side writes.
    #[error("frame head is not understood")]
    Head(#[from] serde_json::Error),
    /// More or longer blobs than a job has.
    #[error("frame announces {count} blobs of {bytes} bytes")]
    Blobs {
        /// How many.
        count: usize,
        /// All together.
        bytes: usize,
    },
}

/// The bytes before the blobs.
pub(crate) fn head<T: Serialize>(body: &T, blobs: &[Bytes]) -> Result<Vec<u8>, ProtocolError> {
    let head = Head { blobs: blobs.iter().map(Bytes::len).collect(), body };
    check_blobs(&head.blobs)?;
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, &head)?;
    let len = u32::try_from(bytes.len() - 4).unwrap_or(u32::MAX);
    if len > MAX_HEAD_BYTES {
        return Err(ProtocolError::HeadLength(len));
    }
    bytes[..4].copy_from_slice(&len.to_be_bytes());
    Ok(bytes)
}

/// Length of the head that follows these four bytes.
pub(crate) fn parse_len(bytes: [u8; 4]) -> Result<usize, ProtocolError> {
    match u32::from_be_bytes(bytes) {
        len if len > MAX_HEAD_BYTES => Err(ProtocolError::HeadLength(len)),
        len => Ok(len as usize),
    }
}

/// The body in a head, and the lengths of the blobs after it.
pub(crate) fn parse_head<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, Vec<usize>), ProtocolError> {
    let Head { blobs, body } = serde_json::from_slice(bytes)?;
    check_blobs(&blobs)?;
    Ok((body, blobs))
}

fn check_blobs(lengths: &[usize]) -> Result<(), ProtocolError> {
    let bytes = lengths.iter().fold(0usize, |sum, len| sum.saturating_add(*len));
    if lengths.len() > MAX_BLOBS || bytes > 4 * MAX_SEGMENT_BYTES {
        return Err(ProtocolError::Blobs { count: lengths.len(), bytes });
    }
    Ok(())
}

/// Writes one frame.
pub(super) fn write<T: Serialize>(output: &mut impl Write, body: &T, blobs: &[Bytes]) -> Result<(), ProtocolError> {
    output.write_all(&head(body, blobs)?)?;
    blobs.iter().try_for_each(|blob| output.write_all(blob))?;
    Ok(output.flush()?)
}

/// Reads one frame; `None` when the input ends before it.
pub(super) fn read<T: DeserializeOwned>(input: &mut impl Read) -> Result<Option<(T, Vec<Bytes>)>, ProtocolError> {
    let mut len = [0; 4];
    match input.read_exact(&mut len) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut bytes = vec![0; parse_len(len)?];
    input.read_exact(&mut bytes)?;
    let (body, lengths) = parse_head(&bytes)?;
    let blobs = lengths.into_iter().map(|len| {
        let mut blob = vec![0; len];
        input.read_exact(&mut blob).map(|()| Bytes::from(blob))
    });
    Ok(Some((body, blobs.collect::<Result<_, _>>()?)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_survives_the_pipe() {
        let order = Order { job: 7, request: Request::Probe };
        let blobs = [Bytes::from_static(b"abc"), Bytes::new()];
        let mut pipe = Vec::new();
        write(&mut pipe, &order, &blobs).unwrap();
        let (read_order, read_blobs) = read::<Order>(&mut pipe.as_slice()).unwrap().unwrap();
        assert_eq!(read_order.job, 7);
        assert_eq!(read_blobs, blobs);
        assert!(read::<Order>(&mut [].as_slice()).unwrap().is_none());
    }

    #[test]
    fn oversized_frames_are_refused_before_memory_is_taken() {
        let too_long = (MAX_HEAD_BYTES + 1).to_be_bytes();
        assert!(matches!(read::<Order>(&mut too_long.as_slice()), Err(ProtocolError::HeadLength(_))));
        let json = br#"{"blobs":[18446744073709551615,1],"body":{"job":1,"request":"Probe"}}"#;
        assert!(matches!(parse_head::<Order>(json), Err(ProtocolError::Blobs { count: 2, .. })));
        let json = br#"{"blobs":[0,0,0,0,0,0,0,0,0,0,0,0],"body":{"job":1,"request":"Probe"}}"#;
        assert!(matches!(parse_head::<Order>(json), Err(ProtocolError::Blobs { count: 12, .. })));
    }

    /// Two whole frames, one after the other.
    fn frames() -> Vec<u8> {
        let mut pipe = Vec::new();
        let blobs = [Bytes::from_static(b"abc"), Bytes::from_static(b"defgh")];
        for job in [7, 8] {
            write(&mut pipe, &Order { job, request: Request::Probe }, &blobs).unwrap();
        }
        pipe
    }

    proptest! {
        #[test]
        fn damaged_frames_are_refused_or_read(bytes in streamflow_fuzz::damaged(vec![frames()])) {
            let mut input = bytes.as_slice();
            // Nothing is read twice, so that it ends.
            while let Ok(Some((_, blobs))) = read::<Order>(&mut input) {
                prop_assert!(blobs.iter().map(Bytes::len).sum::<usize>() <= bytes.len());
            }
        }

        #[test]
        fn garbage_is_an_error_or_the_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(!matches!(read::<Order>(&mut bytes.as_slice()), Ok(Some(_))));
        }
    }
}
