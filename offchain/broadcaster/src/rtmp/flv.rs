//! Sound and pictures as RTMP carries them, and as the media worker reads them.
use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::sync::OwnedSemaphorePermit;

/// H.264, of the codecs a picture can have.
const AVC: u8 = 7;
const AAC: u8 = 10;
const MP3: [u8; 2] = [2, 14];

/// What a tag holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Audio,
    Video,
}

/// One message of sound or pictures.
#[derive(Clone, Debug)]
pub(crate) struct Tag {
    pub(crate) kind: Kind,
    /// Milliseconds; wraps.
    pub(crate) timestamp: u32,
    pub(crate) data: Bytes,
}

/// A tag on its way to the worker, and the memory it takes.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) tag: Tag,
    pub(crate) memory: OwnedSemaphorePermit,
}

/// What is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// Only H.264 can be transcoded.
    #[error("video codec {0} is not taken: set the encoder to H.264")]
    Video(String),
    /// Only AAC and MP3 go through unchanged.
    #[error("audio codec {0} is not taken: set the encoder to AAC")]
    Audio(String),
    /// Shorter than its own header.
    #[error("{kind} message of {len} bytes is cut off")]
    CutOff {
        /// Sound or picture.
        kind: &'static str,
        /// Its length.
        len: usize,
    },
}

impl Tag {
    /// Refuses what no worker could do anything with. An empty message says nothing and is skipped by the caller.
    pub(crate) fn check(&self) -> Result<(), TagError> {
        let Some(first) = self.data.first() else { return Ok(()) };
        match self.kind {
            Kind::Video if first & 0x80 != 0 => {
                let name = self.data.get(1..5).map(|name| name.escape_ascii().to_string());
                Err(TagError::Video(name.unwrap_or_else(|| "without a name".into())))
            }
            Kind::Video if first & 0x0f != AVC => Err(TagError::Video(video_name(first & 0x0f))),
            // A picture has 5 bytes of header.
            Kind::Video if self.data.len() < 5 && first >> 4 != 5 => {
                Err(TagError::CutOff { kind: "video", len: self.data.len() })
            }
            Kind::Video => Ok(()),
            Kind::Audio if first >> 4 == AAC && self.data.len() < 2 => {
                Err(TagError::CutOff { kind: "audio", len: self.data.len() })
            }
            Kind::Audio if first >> 4 == AAC || MP3.contains(&(first >> 4)) => Ok(()),
            Kind::Audio => Err(TagError::Audio(audio_name(first >> 4))),
        }
    }

    /// Whether it tells the decoder what is to come.
    pub(crate) fn is_header(&self) -> bool {
        match (self.kind, &self.data[..]) {
            (Kind::Video, [_, 0, ..]) => true,
            (Kind::Audio, [first, 0, ..]) => first >> 4 == AAC,
            _ => false,
        }
    }

    /// Whether a decoder can begin here.
    pub(crate) fn is_key(&self) -> bool {
        matches!((self.kind, &self.data[..]), (Kind::Video, [first, 1, ..]) if first >> 4 == 1)
    }
}

fn video_name(codec: u8) -> String {
    match codec {
        2 => "Sorenson H.263".into(),
        3 | 6 => "screen video".into(),
        4 | 5 => "VP6".into(),
        12 => "HEVC".into(),
        13 => "AV1".into(),
        other => format!("number {other}"),
    }
}

fn audio_name(format: u8) -> String {
    match format {
        0 | 3 => "PCM".into(),
        1 => "ADPCM".into(),
        4..=6 => "Nellymoser".into(),
        7 | 8 => "G.711".into(),
        9 => "of enhanced RTMP".into(),
        11 => "Speex".into(),
        other => format!("number {other}"),
    }
}

/// Start of an FLV file.
pub(crate) fn file_header(audio: bool) -> Bytes {
    let flags = if audio { 5 } else { 1 };
    Bytes::copy_from_slice(&[b'F', b'L', b'V', 1, flags, 0, 0, 0, 9, 0, 0, 0, 0])
}

/// A tag as it stands in an FLV file, `millis` after its start. Its data is shorter than 2^24 bytes.
pub(crate) fn file_tag(tag: &Tag, millis: u32) -> Bytes {
    let kind = match tag.kind {
        Kind::Audio => 8,
        Kind::Video => 9,
    };
    let length = u32::try_from(tag.data.len()).unwrap_or(u32::MAX).to_be_bytes();
    let time = millis.to_be_bytes();
    let mut bytes = BytesMut::with_capacity(tag.data.len() + 15);
    bytes.put_u8(kind);
    bytes.put_slice(&length[1..]);
    bytes.put_slice(&time[1..]);
    bytes.put_u8(time[0]);
    bytes.put_slice(&[0; 3]);
    bytes.put_slice(&tag.data);
    bytes.put_u32(u32::try_from(tag.data.len() + 11).unwrap_or(u32::MAX));
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(kind: Kind, data: &[u8]) -> Tag {
        Tag { kind, timestamp: 0, data: Bytes::copy_from_slice(data) }
    }

    #[test]
    fn only_h264_with_aac_or_mp3_is_taken() {
        assert_eq!(tag(Kind::Video, &[0x17, 1, 0, 0, 0, 9]).check(), Ok(()));
        assert_eq!(tag(Kind::Audio, &[0xaf, 1]).check(), Ok(()));
        assert_eq!(tag(Kind::Audio, &[0x2f, 1]).check(), Ok(()));
        assert_eq!(tag(Kind::Video, b"\x90hvc1").check(), Err(TagError::Video("hvc1".into())));
        assert_eq!(tag(Kind::Video, &[0x12, 1, 0, 0, 0]).check(), Err(TagError::Video("Sorenson H.263".into())));
        assert_eq!(tag(Kind::Audio, &[0xb0, 1]).check(), Err(TagError::Audio("Speex".into())));
        assert_eq!(tag(Kind::Video, &[0x17, 1]).check(), Err(TagError::CutOff { kind: "video", len: 2 }));
    }

    #[test]
    fn headers_and_key_frames_are_told_apart() {
        let header = tag(Kind::Video, &[0x17, 0, 0, 0, 0]);
        let key = tag(Kind::Video, &[0x17, 1, 0, 0, 0]);
        let other = tag(Kind::Video, &[0x27, 1, 0, 0, 0]);
        assert_eq!(
            [&header, &key, &other].map(|tag| (tag.is_header(), tag.is_key())),
            [(true, false), (false, true), (false, false)]
        );
        assert!(tag(Kind::Audio, &[0xaf, 0]).is_header() && !tag(Kind::Audio, &[0xaf, 1]).is_header());
    }

    #[test]
    fn a_tag_of_a_file_has_its_length_twice_and_its_time_in_pieces() {
        let bytes = file_tag(&tag(Kind::Audio, &[0xaf, 1]), 0x0102_0304);
        assert_eq!(bytes[..], [8, 0, 0, 2, 2, 3, 4, 1, 0, 0, 0, 0xaf, 1, 0, 0, 0, 13]);
    }
}
