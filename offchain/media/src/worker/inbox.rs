//! What comes down the pipe of orders: the orders, and bytes fed to the one that is served.
use std::{
    io::{self, Read},
    sync::mpsc::Receiver,
};

use bytes::{Buf as _, Bytes};

use super::{Order, Request};

/// How the bytes fed to a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Complete,
    Aborted,
}

/// Orders in the order they came. Reads as what is fed to the last of them, until the end of it.
#[derive(Debug)]
pub(super) struct Inbox {
    orders: Receiver<(Order, Vec<Bytes>)>,
    fed: Bytes,
    end: Option<End>,
}

impl Inbox {
    pub(super) fn new(orders: Receiver<(Order, Vec<Bytes>)>) -> Self {
        Self { orders, fed: Bytes::new(), end: None }
    }

    /// The next order; what is still fed to one that has been answered is passed over.
    pub(super) fn next(&mut self) -> Option<(Order, Vec<Bytes>)> {
        (self.fed, self.end) = (Bytes::new(), None);
        loop {
            let (order, blobs) = self.orders.recv().ok()?;
            if !order.request.is_food() {
                return Some((order, blobs));
            }
        }
    }
}

impl Read for Inbox {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.fed.is_empty() && self.end.is_none() {
            match self.orders.recv() {
                Ok((Order { request: Request::Feed, .. }, blobs)) => {
                    self.fed = blobs.into_iter().next().unwrap_or_default();
                }
                Ok((Order { request: Request::FeedEnd, .. }, _)) => self.end = Some(End::Complete),
                _ => self.end = Some(End::Aborted),
            }
        }
        if self.fed.is_empty() && self.end == Some(End::Aborted) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the feed was aborted"));
        }
        let len = self.fed.len().min(buffer.len());
        self.fed.copy_to_slice(&mut buffer[..len]);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn inbox(orders: Vec<(Request, &'static [u8])>) -> Inbox {
        let (sender, receiver) = sync_channel(orders.len());
        for (request, blob) in orders {
            sender.send((Order { job: 1, request }, vec![Bytes::from_static(blob)])).unwrap();
        }
        Inbox::new(receiver)
    }

    #[test]
    fn what_is_fed_reads_as_one_and_ends_once() {
        let food = vec![
            (Request::Probe, &b""[..]),
            (Request::Feed, b"ab"),
            (Request::Feed, b""),
            (Request::Feed, b"cde"),
            (Request::FeedEnd, b""),
            (Request::Inspect, b""),
        ];
        let mut inbox = inbox(food);
        assert!(matches!(inbox.next(), Some((Order { request: Request::Probe, .. }, _))));
        let mut read = Vec::new();
        inbox.read_to_end(&mut read).unwrap();
        assert_eq!(read, b"abcde");
        assert_eq!(inbox.read(&mut [0; 8]).unwrap(), 0);
        assert!(matches!(inbox.next(), Some((Order { request: Request::Inspect, .. }, _))));
        assert!(inbox.next().is_none());
    }

    #[test]
    fn what_an_answered_order_was_still_fed_is_passed_over() {
        let food = vec![
            (Request::Probe, &b""[..]),
            (Request::Feed, b"abc"),
            (Request::Feed, b"old"),
            (Request::FeedAbort, b""),
            (Request::Inspect, b"new"),
            (Request::Feed, b"fresh"),
            (Request::FeedEnd, b""),
        ];
        let mut inbox = inbox(food);
        inbox.next().unwrap();
        assert_eq!(inbox.read(&mut [0; 2]).unwrap(), 2);
        assert!(matches!(inbox.next(), Some((Order { request: Request::Inspect, .. }, _))));
        let mut read = Vec::new();
        inbox.read_to_end(&mut read).unwrap();
        assert_eq!(read, b"fresh");
    }

    #[test]
    fn a_feed_that_is_aborted_is_no_end() {
        let mut inbox = inbox(vec![(Request::Feed, b"ab"), (Request::FeedAbort, b"")]);
        let mut read = Vec::new();
        let error = inbox.read_to_end(&mut read).unwrap_err();
        assert_eq!((read.as_slice(), error.kind()), (&b"ab"[..], io::ErrorKind::ConnectionAborted));
    }
}
