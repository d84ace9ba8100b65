//! The keeper against the real contracts on anvil.

#![allow(clippy::unwrap_used)]

mod duties;
mod leadership;
mod ordered;
mod redemption;
mod world;
