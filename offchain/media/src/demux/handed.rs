//! An input read on a thread of its own: libav keeps what it reads from for as long as it likes, a caller may not.
use std::{
    io::{self, Read},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

use bytes::{Buf as _, Bytes};

/// Bytes asked for at once.
const PIECE_BYTES: usize = 32 * 1024;
/// Pieces read ahead.
const AHEAD: usize = 2;

type Piece = io::Result<Bytes>;

/// The two ends: one reads the input, the other is read from.
pub(crate) fn handed<R: Read>(input: R) -> (Hand<R>, Handed) {
    let (sender, pieces) = sync_channel(AHEAD);
    (Hand { input, pieces: sender }, Handed { pieces, current: Bytes::new() })
}

/// Reads the input.
pub(crate) struct Hand<R> {
    input: R,
    pieces: SyncSender<Piece>,
}

impl<R: Read> Hand<R> {
    /// Until the input ends, or has given more to somebody who is not there any more.
    pub(crate) fn run(mut self) {
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let piece = match self.input.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map(|read| Bytes::copy_from_slice(buffer.get(..read).unwrap_or_default())),
            };
            let (ended, failed) = (piece.as_ref().is_ok_and(Bytes::is_empty), piece.is_err());
            if ended || self.pieces.send(piece).is_err() || failed {
                return;
            }
        }
    }
}

/// Reads as the input did.
pub(crate) struct Handed {
    pieces: Receiver<Piece>,
    current: Bytes,
}

impl Read for Handed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() {
            match self.pieces.recv() {
                Ok(piece) => self.current = piece?,
                Err(_) => return Ok(0),
            }
        }
        let len = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..len]);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_is_handed_on_is_what_came() {
        let sent: Vec<u8> = (0..200_000_u32).map(|at| at as u8).collect();
        let (hand, mut handed) = handed(sent.as_slice());
        let mut received = Vec::new();
        thread::scope(|scope| {
            scope.spawn(|| hand.run());
            handed.read_to_end(&mut received).unwrap();
        });
        assert_eq!(received, sent);
    }

    #[test]
    fn a_reader_who_leaves_ends_the_reading() {
        let (hand, handed) = handed(io::repeat(1));
        drop(handed);
        hand.run();
    }

    #[test]
    fn an_error_comes_after_what_was_read() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionAborted.into())
            }
        }
        let (hand, mut handed) = handed(Read::chain(&b"abc"[..], Broken));
        hand.run();
        let mut read = Vec::new();
        assert_eq!(handed.read_to_end(&mut read).unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(read, b"abc");
    }
}
