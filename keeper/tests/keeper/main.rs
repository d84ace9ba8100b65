//! The keeper against the real contracts on anvil.

#![allow(clippy::unwrap_used)]

mod duties;
mod ordered;
mod redemption;
mod reorganised;
mod world;
