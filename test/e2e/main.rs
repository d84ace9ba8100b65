//! The main job, run as a user runs it: `streamflow devnet` with real video, a real chain and every role.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod devnet;
mod faults;
mod main_job;
mod operations;
