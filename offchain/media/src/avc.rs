//! Names of codecs as playlists write them (RFC 6381).
use ffmpeg_next::{Packet, codec::Id};

use crate::MediaError;

/// `avc1.PPCCLL` of the first sequence parameter set in an Annex B stream.
pub(crate) fn codec_of(packets: &[Packet]) -> Option<String> {
    packets.iter().filter_map(Packet::data).find_map(codec_of_annex_b)
}

pub(crate) fn codec_of_annex_b(data: &[u8]) -> Option<String> {
    const SEQUENCE_PARAMETER_SET: u8 = 7;
    let at = data.windows(4).position(|w| w[..3] == [0, 0, 1] && w[3] & 0x1f == SEQUENCE_PARAMETER_SET)?;
    let [profile, constraints, level] = *data.get(at + 4..)?.first_chunk::<3>()?;
    Some(format!("avc1.{profile:02x}{constraints:02x}{level:02x}"))
}

/// Whether the first picture in this Annex B data is an instantaneous refresh (IDR).
pub(crate) fn is_idr(data: &[u8]) -> bool {
    const SLICE: u8 = 1;
    const IDR_SLICE: u8 = 5;
    data.windows(4)
        .filter(|w| w[..3] == [0, 0, 1])
        .map(|w| w[3] & 0x1f)
        .find(|kind| (SLICE..=IDR_SLICE).contains(kind))
        .is_some_and(|kind| kind == IDR_SLICE)
}

/// Refuses audio that a transport stream rendition cannot carry on unchanged.
pub(crate) fn check_audio(id: Id) -> Result<(), MediaError> {
    audio_codec(id).map(|_| ()).ok_or_else(|| MediaError::UnsupportedAudio { codec: id.name().into() })
}

/// Refuses a packet of sound that is not passed through. Transport streams call layers II and III of MPEG audio the same: the
/// packet itself tells them apart.
pub(crate) fn check_sound(id: Option<Id>, packet: &Packet) -> Result<(), MediaError> {
    const LAYER_II: u8 = 0b10;
    let id = id.unwrap_or(Id::None);
    let layer = packet.data().and_then(|data| data.get(1)).map(|byte| byte >> 1 & 0b11);
    check_audio(if id == Id::MP3 && layer == Some(LAYER_II) { Id::MP2 } else { id })
}

/// Name of a passed-through audio codec.
pub(crate) fn audio_codec(id: Id) -> Option<&'static str> {
    match id {
        Id::AAC => Some("mp4a.40.2"),
        Id::MP3 => Some("mp4a.40.34"),
        Id::AC3 => Some("ac-3"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_and_level_are_read_from_the_parameter_set() {
        let data = [0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x67, 0x64, 0x00, 0x1f, 0xac, 0, 0, 1, 0x65, 0x88];
        assert_eq!(codec_of_annex_b(&data).as_deref(), Some("avc1.64001f"));
        assert!(is_idr(&data));
    }

    #[test]
    fn data_without_a_parameter_set_has_no_name() {
        assert_eq!(codec_of_annex_b(&[0, 0, 1, 0x41, 0x9a]), None);
        assert_eq!(codec_of_annex_b(&[0, 0, 1, 0x67, 0x64]), None);
        assert!(!is_idr(&[0, 0, 1, 0x41, 0x9a]));
    }
}
