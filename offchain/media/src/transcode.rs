//! One segment in, every rendition of it out.
use std::{io::Read, ops::ControlFlow, thread};

use alloy_primitives::B256;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use streamflow_types::Profile;

use crate::{
    MediaError, TranscodeSettings,
    demux::{self, Ahead},
    engine::{self, Place},
    evidence::Evidence,
};

/// One encoded segment of one profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendition {
    /// Name of the profile.
    pub name: String,
    /// Transport stream.
    pub bytes: Bytes,
    /// Delivered size in pixels; see [`crate::rendition_size`].
    pub width: u32,
    /// Delivered size in pixels.
    pub height: u32,
    /// Frames that left the encoder.
    pub frames: u64,
    /// `frames` × `width` × `height`: what is billed (node.md §9.3).
    pub pixels: u64,
    /// Codecs as a playlist names them (RFC 6381).
    pub codecs: String,
    /// keccak256 of its bytes.
    pub hash: B256,
}

/// What the source segment was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Frames decoded.
    pub frames: u64,
    /// Σ width × height of the decoded frames.
    pub pixels: u64,
    /// Damaged packets and frames; they were concealed, not dropped.
    pub decode_errors: u64,
    /// Ticks of 1/90000 s, from the first frame to the end of the last.
    pub duration: i64,
}

/// Renditions in the order of the profiles, and what they were made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcoded {
    /// One per profile.
    pub renditions: Vec<Rendition>,
    /// The source.
    pub source: SourceReport,
    /// What made them.
    pub evidence: Evidence,
}

/// The next bytes of one rendition; pieces of one rendition come in the order of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Index of its profile.
    pub rendition: usize,
    /// Never empty.
    pub bytes: Bytes,
    /// Of the pictures in it; those of all pieces are those of the report.
    pub pixels: u64,
}

/// A rendition apart from its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenditionReport {
    /// Name of the profile.
    pub name: String,
    /// Delivered size in pixels; see [`crate::rendition_size`].
    pub width: u32,
    /// Delivered size in pixels.
    pub height: u32,
    /// Frames that left the encoder.
    pub frames: u64,
    /// `frames` × `width` × `height`: what is billed (node.md §9.3).
    pub pixels: u64,
    /// Codecs as a playlist names them (RFC 6381).
    pub codecs: String,
    /// keccak256 of its bytes.
    pub hash: B256,
}

/// What a segment was made into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TranscodeReport {
    /// One per profile.
    pub renditions: Vec<RenditionReport>,
    /// The source.
    pub source: SourceReport,
    /// What made them.
    pub evidence: Evidence,
}

impl RenditionReport {
    /// Of these bytes.
    pub(crate) fn with_bytes(self, bytes: Bytes) -> Rendition {
        let Self { name, width, height, frames, pixels, codecs, hash } = self;
        Rendition { name, bytes, width, height, frames, pixels, codecs, hash }
    }
}

impl TranscodeReport {
    /// Of these bytes, in the order of the renditions.
    pub(crate) fn with_bytes(self, bytes: impl IntoIterator<Item = Bytes>) -> Transcoded {
        let Self { renditions, source, evidence } = self;
        let renditions = renditions.into_iter().zip(bytes).map(|(report, bytes)| report.with_bytes(bytes));
        Transcoded { renditions: renditions.collect(), source, evidence }
    }
}

impl Transcoded {
    /// The report and the bytes.
    pub(crate) fn split(self) -> (TranscodeReport, Vec<Bytes>) {
        let Self { renditions, source, evidence } = self;
        let apart = renditions.into_iter().map(|rendition| {
            let Rendition { name, bytes, width, height, frames, pixels, codecs, hash } = rendition;
            (RenditionReport { name, width, height, frames, pixels, codecs, hash }, bytes)
        });
        let (renditions, bytes) = apart.unzip();
        (TranscodeReport { renditions, source, evidence }, bytes)
    }
}

/// Transcodes a segment while it comes in. `emit` gets renditions piece by piece, on the calling thread, and ends the work
/// with [`ControlFlow::Break`].
///
/// The same bytes as [`transcode`] makes of the whole segment. Returns when the input has ended, or has given something that
/// nobody takes any more.
pub fn transcode_live(
    input: impl Read + Send,
    profiles: &[Profile],
    settings: &TranscodeSettings,
    emit: &mut dyn FnMut(Piece) -> ControlFlow<()>,
) -> Result<TranscodeReport, MediaError> {
    transcode_live_on(input, profiles, settings, Place::default(), emit)
}

/// The same at a place.
pub(crate) fn transcode_live_on(
    input: impl Read + Send,
    profiles: &[Profile],
    settings: &TranscodeSettings,
    place: Place<'_>,
    emit: &mut dyn FnMut(Piece) -> ControlFlow<()>,
) -> Result<TranscodeReport, MediaError> {
    let (hand, input) = demux::handed(input);
    thread::scope(|scope| {
        scope.spawn(|| hand.run());
        engine::run(|| demux::coming_in(input, settings.audio), profiles, settings, place, emit)
    })
}

/// Transcodes a segment in this process. Nodes do this in a [`crate::WorkerPool`], where a crash costs one job.
pub fn transcode(
    segment: &Bytes,
    profiles: &[Profile],
    settings: &TranscodeSettings,
) -> Result<Transcoded, MediaError> {
    transcode_on(segment, profiles, settings, Place::default())
}

/// The same at a place.
pub(crate) fn transcode_on(
    segment: &Bytes,
    profiles: &[Profile],
    settings: &TranscodeSettings,
    place: Place<'_>,
) -> Result<Transcoded, MediaError> {
    let mut bytes = vec![Vec::new(); profiles.len()];
    let open = || demux::whole(segment, Ahead::Little, settings.audio);
    let report = engine::run(open, profiles, settings, place, &mut |piece| {
        if let Some(bytes) = bytes.get_mut(piece.rendition) {
            bytes.extend_from_slice(&piece.bytes);
        }
        ControlFlow::Continue(())
    })?;
    Ok(report.with_bytes(bytes.into_iter().map(Bytes::from)))
}
