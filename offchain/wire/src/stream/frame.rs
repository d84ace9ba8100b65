//! Frames: a byte for the kind, four for the length, big-endian, and that many bytes.
use alloy_primitives::B256;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::{StreamError, StreamFailure, StreamResult, StreamTrailer, result::signature};
use crate::profile::MAX_PROFILES;

/// Most bytes of media in one frame.
pub const MAX_MEDIA: usize = 256 << 10;
/// Longest result or failure: terms, a receipt, and a line for each rendition.
const MAX_END: usize = 256 << 10;
/// Kind and length.
const HEAD: usize = 5;
/// Length of a segment, and its hash.
const UNSIGNED_TRAILER: usize = 8 + 32;
const SIGNED_TRAILER: usize = UNSIGNED_TRAILER + 65;

const MEDIA: u8 = 1;
const TRAILER: u8 = 2;
const PIECE: u8 = 16;
const RESULT: u8 = 17;
const FAILURE: u8 = 18;
const AGAIN: u8 = 19;

/// What goes to an orchestrator: media, and the trailer last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpFrame {
    /// The next bytes of the segment; never empty, at most [`MAX_MEDIA`].
    Media(Bytes),
    /// What all of it was.
    Trailer(StreamTrailer),
}

impl UpFrame {
    /// Bytes of a segment as frames.
    pub fn media(bytes: Bytes) -> impl Iterator<Item = Self> + Send {
        parts(bytes).map(Self::Media)
    }

    /// As it travels.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Media(bytes) => frame(MEDIA, &[bytes]),
            Self::Trailer(StreamTrailer { length, hash, signature }) => {
                let signature = signature.as_ref().map(|signature| signature.as_bytes().as_slice());
                frame(TRAILER, &[&length.to_be_bytes(), hash.as_slice(), signature.unwrap_or_default()])
            }
        }
    }

    fn read(kind: u8, mut payload: Bytes) -> Result<Self, StreamError> {
        match kind {
            MEDIA => Ok(Self::Media(payload)),
            TRAILER => {
                let length = payload.get_u64();
                let hash = B256::from_slice(&payload.split_to(32));
                Ok(Self::Trailer(StreamTrailer { length, hash, signature: signature(&payload)? }))
            }
            other => Err(StreamError::Kind(other)),
        }
    }
}

/// What comes from an orchestrator: pieces of renditions, and how it ended last.
#[derive(Clone, Debug, PartialEq)]
pub enum DownFrame {
    /// The next bytes of a rendition; never empty, at most [`MAX_MEDIA`]. Of no worth without a result.
    Piece {
        /// Place among the profiles.
        rendition: usize,
        /// The bytes.
        bytes: Bytes,
    },
    /// All pieces so far are void: the renditions begin anew.
    Again,
    /// It is done.
    Result(Box<StreamResult>),
    /// It has failed.
    Failure(Box<StreamFailure>),
}

impl DownFrame {
    /// Bytes of a rendition as frames.
    pub fn pieces(rendition: usize, bytes: Bytes) -> impl Iterator<Item = Self> + Send {
        parts(bytes).map(move |bytes| Self::Piece { rendition, bytes })
    }

    /// As it travels.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            // There are at most 32 of them.
            Self::Piece { rendition, bytes } => frame(PIECE, &[&[u8::try_from(*rendition).unwrap_or(u8::MAX)], bytes]),
            Self::Again => frame(AGAIN, &[]),
            Self::Result(result) => frame(RESULT, &[&result.encode()]),
            Self::Failure(failure) => frame(FAILURE, &[&failure.encode()]),
        }
    }

    fn read(kind: u8, mut payload: Bytes) -> Result<Self, StreamError> {
        match kind {
            PIECE => match usize::from(payload.get_u8()) {
                rendition if rendition < MAX_PROFILES => Ok(Self::Piece { rendition, bytes: payload }),
                rendition => Err(StreamError::Renditions { got: rendition + 1, max: MAX_PROFILES }),
            },
            AGAIN => Ok(Self::Again),
            RESULT => StreamResult::decode(payload).map(Box::new).map(Self::Result),
            FAILURE => StreamFailure::decode(payload).map(Box::new).map(Self::Failure),
            other => Err(StreamError::Kind(other)),
        }
    }
}

fn parts(mut bytes: Bytes) -> impl Iterator<Item = Bytes> + Send {
    std::iter::from_fn(move || (!bytes.is_empty()).then(|| bytes.split_to(bytes.len().min(MAX_MEDIA))))
}

fn frame(kind: u8, parts: &[&[u8]]) -> Bytes {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut bytes = BytesMut::with_capacity(HEAD + length);
    bytes.put_u8(kind);
    // No frame that is written here is near 4 GiB.
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    parts.iter().for_each(|part| bytes.put_slice(part));
    bytes.freeze()
}

/// Least and most bytes of a frame of a kind.
fn bounds(kind: u8) -> Result<(usize, usize), StreamError> {
    match kind {
        MEDIA => Ok((1, MAX_MEDIA)),
        TRAILER => Ok((UNSIGNED_TRAILER, SIGNED_TRAILER)),
        PIECE => Ok((2, 1 + MAX_MEDIA)),
        AGAIN => Ok((0, 0)),
        RESULT | FAILURE => Ok((0, MAX_END)),
        other => Err(StreamError::Kind(other)),
    }
}

/// Cuts what arrives into frames. Holds at most one frame, besides what was just pushed.
#[derive(Debug, Default)]
pub struct FrameReader {
    unread: BytesMut,
}

impl FrameReader {
    /// Takes bytes as they arrive.
    pub fn push(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// Whether nothing of a frame that is not over is left.
    pub fn is_empty(&self) -> bool {
        self.unread.is_empty()
    }

    /// The next frame of an upload, if all of it is there.
    ///
    /// # Errors
    /// What came is none. Nothing can be read any more.
    pub fn next_up(&mut self) -> Result<Option<UpFrame>, StreamError> {
        self.next_part()?.map(|(kind, payload)| UpFrame::read(kind, payload)).transpose()
    }

    /// The next frame of an answer, if all of it is there.
    ///
    /// # Errors
    /// What came is none. Nothing can be read any more.
    pub fn next_down(&mut self) -> Result<Option<DownFrame>, StreamError> {
        self.next_part()?.map(|(kind, payload)| DownFrame::read(kind, payload)).transpose()
    }

    /// A length is judged before what it promises has come.
    fn next_part(&mut self) -> Result<Option<(u8, Bytes)>, StreamError> {
        let Some((head, _)) = self.unread.split_first_chunk::<HEAD>() else { return Ok(None) };
        let [kind, length @ ..] = *head;
        let (got, (least, most)) = (u32::from_be_bytes(length) as usize, bounds(kind)?);
        if !(least..=most).contains(&got) {
            return Err(StreamError::Length { kind, got, least, most });
        }
        if self.unread.len() < HEAD + got {
            return Ok(None);
        }
        self.unread.advance(HEAD);
        Ok(Some((kind, self.unread.split_to(got).freeze())))
    }
}
