//! Whole transport packets, each with its sync byte: checked while they pass.
use std::{
    io::{self, Read},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{MediaError, settings::MAX_SEGMENT_BYTES};

/// Bytes of one transport packet, each starting with the sync byte.
const PACKET_BYTES: usize = 188;
const SYNC_BYTE: u8 = 0x47;

/// What passed so far.
#[derive(Debug, Default)]
struct Passed {
    len: usize,
    packets: usize,
    in_sync: usize,
    /// Why reading ended before the input did.
    broken: Option<MediaError>,
}

impl Passed {
    fn see(&mut self, bytes: &[u8]) -> Result<(), MediaError> {
        let to_next = (PACKET_BYTES - self.len % PACKET_BYTES) % PACKET_BYTES;
        let starts = bytes.iter().skip(to_next).step_by(PACKET_BYTES);
        for start in starts {
            self.in_sync += usize::from(*start == SYNC_BYTE);
            self.packets += 1;
            if self.in_sync == 0 {
                return Err(MediaError::NotTransportStream);
            }
        }
        self.len += bytes.len();
        check_len(self.len)
    }

    fn verdict(&self) -> Result<(), MediaError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        check_len(self.len)?;
        let whole = self.len / PACKET_BYTES;
        if whole == 0 || self.in_sync * 10 < self.packets * 9 {
            return Err(MediaError::NotTransportStream);
        }
        if self.len.is_multiple_of(PACKET_BYTES) { Ok(()) } else { Err(MediaError::Truncated { len: self.len }) }
    }
}

/// Refuses nothing, and more than a segment may have.
pub(super) fn check_len(len: usize) -> Result<(), MediaError> {
    if (1..=MAX_SEGMENT_BYTES).contains(&len) {
        return Ok(());
    }
    Err(MediaError::SegmentSize { len, max: MAX_SEGMENT_BYTES })
}

/// Checks all of a segment at once.
pub(super) fn check(bytes: &[u8]) -> Result<(), MediaError> {
    check_len(bytes.len())?;
    let mut passed = Passed::default();
    passed.see(bytes)?;
    passed.verdict()
}

/// Knows what was wrong with the bytes that libav was given.
#[derive(Clone, Debug, Default)]
pub(super) struct Framing(Arc<Mutex<Passed>>);

impl Framing {
    fn lock(&self) -> MutexGuard<'_, Passed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads through this.
    pub(super) fn watch<R>(&self, input: R) -> Watched<R> {
        Watched { input, framing: self.clone() }
    }

    /// The error that ended reading, if one did.
    pub(super) fn broken(&self) -> Result<(), MediaError> {
        self.lock().broken.clone().map_or(Ok(()), Err)
    }

    /// What is to be said of the input once it has ended.
    pub(super) fn verdict(&self) -> Result<(), MediaError> {
        self.lock().verdict()
    }
}

/// An input whose framing is checked.
pub(super) struct Watched<R> {
    input: R,
    framing: Framing,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer);
        let mut passed = self.framing.lock();
        let read = read.inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                passed.broken = Some(MediaError::Source { reason: error.to_string() });
            }
        })?;
        if let Some(bytes) = buffer.get(..read)
            && let Err(error) = passed.see(bytes)
        {
            passed.broken = Some(error);
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(count: usize) -> Vec<u8> {
        (0..count * PACKET_BYTES).map(|at| if at % PACKET_BYTES == 0 { SYNC_BYTE } else { 0xff }).collect()
    }

    #[test]
    fn pieces_of_any_length_say_the_same_as_the_whole() {
        let mut noisy = packets(100);
        noisy[20 * PACKET_BYTES] = 0;
        let mut lost = packets(100);
        lost.chunks_mut(PACKET_BYTES).skip(50).for_each(|packet| packet[0] = 0);
        let cut = packets(10)[..1000].to_vec();
        for bytes in [packets(3), noisy, lost, cut, b"#EXTM3U".repeat(100), b"G".to_vec()] {
            let whole = check(&bytes);
            for piece in [1, 7, 187, 188, 189, 1000] {
                let mut passed = Passed::default();
                let seen = bytes.chunks(piece).try_for_each(|piece| passed.see(piece));
                assert_eq!(seen.and_then(|()| passed.verdict()), whole, "{piece} bytes at a time");
            }
        }
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        assert_eq!(check(&[]), Err(MediaError::SegmentSize { len: 0, max: MAX_SEGMENT_BYTES }));
        let mut passed = Passed { len: MAX_SEGMENT_BYTES, packets: 1, in_sync: 1, broken: None };
        let error = MediaError::SegmentSize { len: MAX_SEGMENT_BYTES + 1, max: MAX_SEGMENT_BYTES };
        assert_eq!(passed.see(&[0]), Err(error));
    }
}
