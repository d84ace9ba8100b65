//! A segment as CMAF knows it: an initialisation segment, and a fragment that goes with it.
use bytes::Bytes;

use crate::{
    MediaError,
    demux::{self, Segment, Track},
    mux::{self, AUDIO_STREAM, VIDEO_STREAM},
};

/// The two halves of a fragmented MP4 file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// `ftyp` and `moov`: the same for all segments of one encoder.
    pub init: Bytes,
    /// `moof` and `mdat`, with the times that the segment has.
    pub media: Bytes,
}

/// Makes a fragment of a segment in this process; its pictures and its sound are not touched.
pub fn fragment(segment: &Bytes) -> Result<Fragment, MediaError> {
    let Segment { video, audio, fps, .. } = demux::segment(segment)?;
    let audio = audio.map(|track| numbered(track, AUDIO_STREAM));
    split(mux::fragmented(&numbered(video, VIDEO_STREAM), fps, audio.as_ref())?)
}

fn numbered(mut track: Track, index: usize) -> Track {
    track.packets.iter_mut().for_each(|packet| packet.set_stream(index));
    track
}

/// Cuts before the first box that belongs to a fragment.
fn split(file: Bytes) -> Result<Fragment, MediaError> {
    let mut at = 0;
    while let Some((length, kind)) = box_at(&file, at) {
        if matches!(&kind, b"styp" | b"sidx" | b"moof") {
            return Ok(Fragment { init: file.slice(..at), media: file.slice(at..) });
        }
        at += length;
    }
    Err(MediaError::Libav { step: "cut the file into fragments".into(), reason: "it has none".into() })
}

/// Length and kind of the box that begins there.
fn box_at(file: &[u8], at: usize) -> Option<(usize, [u8; 4])> {
    let header = file.get(at..at + 8)?;
    let length = usize::try_from(u32::from_be_bytes(*header.first_chunk()?)).ok()?;
    // The longer form of a length is for boxes that a segment does not have.
    (length >= 8).then_some((length, *header[4..].first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(kind: &[u8; 4], payload: &[u8]) -> Vec<u8> {
        [&(8 + payload.len() as u32).to_be_bytes()[..], kind, payload].concat()
    }

    #[test]
    fn a_file_is_cut_before_its_first_fragment() {
        let (head, rest) = ([boxed(b"ftyp", b"iso6"), boxed(b"moov", b"")].concat(), boxed(b"moof", b"x"));
        let cut = split([head.clone(), rest.clone()].concat().into()).unwrap();
        assert_eq!((cut.init, cut.media), (Bytes::from(head.clone()), Bytes::from(rest)));
        assert!(split(head.into()).is_err());
        assert!(split(Bytes::from_static(&[0, 0, 0, 0, b'm', b'o', b'o', b'f'])).is_err());
    }
}
