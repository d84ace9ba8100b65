//! What becomes of a segment, given as a whole and as it comes in: the same.
use std::{
    io::{self, Read},
    ops::ControlFlow,
};

use bytes::{Buf as _, Bytes};
use streamflow_media::{
    MediaError, Rendition, RenditionReport, SourceReport, TranscodeReport, TranscodeSettings, Transcoded, inspect,
    transcode, transcode_live,
};
use streamflow_types::{Container, Profile};

/// The same bytes in every run.
pub(crate) fn settings() -> TranscodeSettings {
    TranscodeSettings { preset: "ultrafast".into(), deterministic: true, ..TranscodeSettings::default() }
}

/// A rendition of 160 x 90 for sources of that shape, with bits enough to look like them.
pub(crate) fn profile(format: Container) -> Profile {
    Profile { format, ..Profile::new("made", 160, 90, 2_000_000).unwrap() }
}

/// Makes renditions of a segment, all at once and piece by piece.
///
/// # Panics
/// Where the two differ in anything.
pub(crate) fn transcoded(segment: &Bytes, profiles: &[Profile]) -> Result<Transcoded, MediaError> {
    transcoded_with(segment, profiles, &settings())
}

/// The same with other settings; they must make the same bytes in every run.
pub(crate) fn transcoded_with(
    segment: &Bytes,
    profiles: &[Profile],
    settings: &TranscodeSettings,
) -> Result<Transcoded, MediaError> {
    let whole = transcode(segment, profiles, settings);
    let live = piece_by_piece(segment, profiles, settings, 0);
    // Without the bytes, which nobody reads.
    assert!(live == whole, "{:?} piece by piece, {:?} at once", told(&live), told(&whole));
    whole
}

fn told(outcome: &Result<Transcoded, MediaError>) -> Result<SourceReport, &MediaError> {
    outcome.as_ref().map(|made| made.source)
}

/// Makes renditions while the segment comes in, in pieces whose lengths begin with the `first`th of a few odd ones.
pub(crate) fn piece_by_piece(
    segment: &Bytes,
    profiles: &[Profile],
    settings: &TranscodeSettings,
    first: usize,
) -> Result<Transcoded, MediaError> {
    let mut bytes = vec![Vec::new(); profiles.len()];
    let input = Trickle { rest: segment.clone(), turn: first };
    let TranscodeReport { renditions, source, evidence } = transcode_live(input, profiles, settings, &mut |piece| {
        assert!(!piece.bytes.is_empty());
        bytes[piece.rendition].extend_from_slice(&piece.bytes);
        ControlFlow::Continue(())
    })?;
    let with_bytes = |(report, bytes): (RenditionReport, Vec<u8>)| {
        let RenditionReport { name, width, height, frames, pixels, codecs, hash } = report;
        Rendition { name, bytes: bytes.into(), width, height, frames, pixels, codecs, hash }
    };
    Ok(Transcoded { renditions: renditions.into_iter().zip(bytes).map(with_bytes).collect(), source, evidence })
}

/// What everything that looks at a segment says of one that cannot be used.
pub(crate) fn refused(segment: impl Into<Bytes>) -> MediaError {
    let segment = segment.into();
    let error = match transcoded(&segment, &[profile(Container::MpegTs)]) {
        Err(error) => error,
        Ok(made) => panic!("taken: {:?}", made.source),
    };
    assert_eq!(inspect(&segment).unwrap_err(), error);
    error
}

/// Bytes that come in a few at a time, cut at odd places.
struct Trickle {
    rest: Bytes,
    turn: usize,
}

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        const LENGTHS: [usize; 6] = [1, 187, 1000, 13, 4096, 65_537];
        let length = LENGTHS[self.turn % LENGTHS.len()].min(self.rest.len()).min(buffer.len());
        self.turn += 1;
        self.rest.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
