//! A live input, as it comes down the pipe of orders.
use std::{
    io::{self, Read},
    sync::mpsc::Receiver,
};

use bytes::{Buf as _, Bytes};

use super::{Order, Request};

/// Reads what is fed until the end of it.
pub(super) struct Feed {
    inbox: Receiver<(Order, Vec<Bytes>)>,
    current: Bytes,
    ended: bool,
}

impl Feed {
    pub(super) fn new(inbox: Receiver<(Order, Vec<Bytes>)>) -> Self {
        Self { inbox, current: Bytes::new(), ended: false }
    }
}

impl Read for Feed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.inbox.recv() {
                Ok((Order { request: Request::Feed, .. }, blobs)) => {
                    self.current = blobs.into_iter().next().unwrap_or_default();
                }
                _ => self.ended = true,
            }
        }
        let len = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..len]);
        Ok(len)
    }
}
