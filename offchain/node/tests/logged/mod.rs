//! What a process of the real binary says of itself in its log.
use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::Child,
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;

/// A process that has not done what it should by then never will.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The `address` of the log line with this message. The rest of the log is read and dropped, so that the pipe stays open.
pub(crate) fn address(child: &mut Child, message: &'static str) -> SocketAddr {
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (found, address) = mpsc::channel();
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not a JSON log line: {line}"));
            if line["message"] == message {
                let _ = found.send(line["address"].as_str().unwrap().parse().unwrap());
            }
        }
    });
    address.recv_timeout(PATIENCE).unwrap()
}
