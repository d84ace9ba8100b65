//! The broadcaster on a real port, with real video, against orchestrators that keep to the rules and such that do not.
#![allow(clippy::unwrap_used)]

mod cheater;
mod clip;
mod discovery;
mod fixture;
mod hls;
mod http;
mod orchestrator;
mod payment;
mod race;
mod receipts;
mod retry;
mod signer;
