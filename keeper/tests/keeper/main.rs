//! The keeper against the real contracts on anvil.

#![allow(clippy::unwrap_used)]

mod chaos;
mod duties;
mod leadership;
mod ordered;
mod redemption;
mod reorganised;
mod world;
