//! An orchestrator on a real TLS port, with real tickets, SQLite and video.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod blame;
mod checks;
mod clip;
mod discovery;
mod fixture;
mod hostile;
mod interop;
mod jobs;
mod paid;
mod port;
mod refusals;
mod rows;
mod shared_pool;
mod streams;
mod transcoders;
mod uploads;
mod video;
mod webhook;
