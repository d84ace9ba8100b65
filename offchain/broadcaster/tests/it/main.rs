//! The broadcaster on a real port, with real video, against orchestrators that keep to the rules and such that do not.
#![allow(clippy::unwrap_used)]

mod ahead;
mod browser;
mod cheater;
mod clip;
mod discovery;
mod fixture;
mod hls;
mod hostile;
mod http;
mod live;
mod obs;
mod orchestrator;
mod ours;
mod output;
mod payment;
mod race;
mod receipts;
mod refusals;
mod retry;
mod rtmp;
mod signer;
mod streams;
mod waiting;
mod webhook;
