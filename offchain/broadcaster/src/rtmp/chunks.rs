//! Messages out of the chunks of a connection, with a bound on what a peer can make us hold.
use std::collections::HashMap;

use bytes::BytesMut;
use rtmp_rs::protocol::chunk::{ChunkDecoder, RtmpChunk};

/// Chunk streams of one connection; encoders use five.
const MAX_CHUNK_STREAMS: usize = 64;

/// What a peer sends that is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChunkError {
    #[error("message of {size} bytes, more than {max} (setting broadcaster.rtmp.max_message_bytes)")]
    MessageSize { size: usize, max: usize },
    #[error("{size} bytes in unfinished messages, more than {max} (setting broadcaster.rtmp.max_message_bytes)")]
    Unfinished { size: usize, max: usize },
    #[error("more than {MAX_CHUNK_STREAMS} chunk streams")]
    ChunkStreams,
    #[error("chunk size {size} is not within 1 to {max}")]
    ChunkSize { size: u32, max: usize },
    #[error("not RTMP: {0}")]
    Malformed(String),
}

/// Puts messages together. The decoder makes room for whatever length a header announces and on as many chunk streams as
/// a peer likes, so every header is looked at before the decoder sees it.
pub(crate) struct Messages {
    decoder: ChunkDecoder,
    buffer: BytesMut,
    /// Announced length of the last message on each chunk stream, and whether it is unfinished.
    streams: HashMap<u32, (usize, bool)>,
    max: usize,
}

/// The start of a chunk: its stream and, where it has one, the announced length of its message.
struct Start {
    csid: u32,
    length: Option<usize>,
}

impl Messages {
    pub(crate) fn new(max: usize) -> Self {
        Self { decoder: ChunkDecoder::new(), buffer: BytesMut::new(), streams: HashMap::new(), max }
    }

    /// What was read from the peer goes here.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    pub(crate) fn set_chunk_size(&mut self, size: u32) -> Result<(), ChunkError> {
        if size == 0 || size as usize > self.max {
            return Err(ChunkError::ChunkSize { size, max: self.max });
        }
        self.decoder.set_chunk_size(size);
        Ok(())
    }

    pub(crate) fn abort(&mut self, csid: u32) {
        self.decoder.abort(csid);
        if let Some((_, unfinished)) = self.streams.get_mut(&csid) {
            *unfinished = false;
        }
    }

    /// The next whole message, if it is there.
    pub(crate) fn next(&mut self) -> Result<Option<RtmpChunk>, ChunkError> {
        while let Some(Start { csid, length }) = start(&self.buffer) {
            self.admit(csid, length)?;
            let before = self.buffer.len();
            let decoded = self.decoder.decode(&mut self.buffer);
            let decoded = decoded.map_err(|error| ChunkError::Malformed(error.to_string()))?;
            let progress = self.buffer.len() < before;
            if let Some((_, unfinished)) = self.streams.get_mut(&csid) {
                *unfinished = if progress { decoded.is_none() } else { *unfinished };
            }
            if decoded.is_some() || !progress {
                return Ok(decoded);
            }
        }
        Ok(None)
    }

    /// Whether a chunk may be decoded.
    fn admit(&mut self, csid: u32, length: Option<usize>) -> Result<(), ChunkError> {
        let known = self.streams.get(&csid).copied();
        if known.is_none() && self.streams.len() >= MAX_CHUNK_STREAMS {
            return Err(ChunkError::ChunkStreams);
        }
        let (before, unfinished) = known.unwrap_or_default();
        // Within a message the decoder keeps to the length announced first.
        let size = if unfinished { before } else { length.unwrap_or(before) };
        if size > self.max {
            return Err(ChunkError::MessageSize { size, max: self.max });
        }
        self.streams.insert(csid, (size, unfinished));
        let others = self.streams.iter().filter(|(other, (_, unfinished))| **other != csid && *unfinished);
        let size = others.map(|(_, (size, _))| size).sum::<usize>() + size;
        if size > 2 * self.max {
            return Err(ChunkError::Unfinished { size, max: 2 * self.max });
        }
        Ok(())
    }
}

/// Reads the start of a chunk, as far as it is there.
fn start(buffer: &[u8]) -> Option<Start> {
    let first = *buffer.first()?;
    let (csid, header) = match first & 0x3f {
        0 => (64 + u32::from(*buffer.get(1)?), 2),
        1 => (64 + u32::from(*buffer.get(1)?) + 256 * u32::from(*buffer.get(2)?), 3),
        csid => (u32::from(csid), 1),
    };
    let length = match first >> 6 {
        0 | 1 => {
            let bytes = buffer.get(header + 3..header + 6)?;
            Some(bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
        }
        _ => None,
    };
    Some(Start { csid, length })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chunk with a full header.
    fn chunk(csid: u8, length: u32, payload: &[u8]) -> Vec<u8> {
        let length = length.to_be_bytes();
        [&[csid, 0, 0, 0], &length[1..], &[9, 1, 0, 0, 0], payload].concat()
    }

    fn feed(messages: &mut Messages, bytes: &[u8]) -> Result<Vec<usize>, ChunkError> {
        messages.buffer().extend_from_slice(bytes);
        let mut lengths = Vec::new();
        while let Some(message) = messages.next()? {
            lengths.push(message.payload.len());
        }
        Ok(lengths)
    }

    #[test]
    fn messages_are_put_together_byte_by_byte_and_interleaved() {
        let mut messages = Messages::new(1000);
        let bytes = [
            chunk(4, 200, &[1; 128]),
            chunk(6, 10, &[2; 10]),
            [&[0xc4][..], &[1; 72]].concat(),
            [&[0xc6][..], &[2; 10]].concat(),
        ]
        .concat();
        let lengths: Vec<_> = bytes.iter().flat_map(|byte| feed(&mut messages, &[*byte]).unwrap()).collect();
        assert_eq!(lengths, [10, 200, 10]);
    }

    #[test]
    fn a_huge_message_is_refused_by_its_header() {
        let mut messages = Messages::new(1000);
        let refused = feed(&mut messages, &chunk(4, 1001, &[]));
        assert_eq!(refused, Err(ChunkError::MessageSize { size: 1001, max: 1000 }));
    }

    #[test]
    fn unfinished_messages_share_a_bound() {
        let mut messages = Messages::new(1000);
        for csid in [4, 5] {
            assert_eq!(feed(&mut messages, &chunk(csid, 900, &[0; 128])), Ok(vec![]));
        }
        let refused = feed(&mut messages, &chunk(6, 900, &[0; 128]));
        assert_eq!(refused, Err(ChunkError::Unfinished { size: 2700, max: 2000 }));
        messages = Messages::new(1000);
        feed(&mut messages, &chunk(4, 900, &[0; 128])).unwrap();
        messages.abort(4);
        feed(&mut messages, &chunk(5, 900, &[0; 128])).unwrap();
        assert_eq!(feed(&mut messages, &chunk(6, 900, &[0; 128])), Ok(vec![]));
    }

    #[test]
    fn chunk_streams_and_their_size_are_bounded() {
        let mut messages = Messages::new(1000);
        let many = (2..62).flat_map(|csid| chunk(csid, 0, &[])).collect::<Vec<_>>();
        feed(&mut messages, &many).unwrap();
        let more = (0..5).flat_map(|csid| [&[0, csid][..], &chunk(0, 0, &[])[1..]].concat()).collect::<Vec<_>>();
        assert_eq!(feed(&mut messages, &more), Err(ChunkError::ChunkStreams));
        assert_eq!(messages.set_chunk_size(0), Err(ChunkError::ChunkSize { size: 0, max: 1000 }));
        assert_eq!(messages.set_chunk_size(1001), Err(ChunkError::ChunkSize { size: 1001, max: 1000 }));
        assert_eq!(messages.set_chunk_size(1000), Ok(()));
    }
}
