//! The keeper against the real contracts on anvil.

#![allow(clippy::unwrap_used)]

mod attacks;
mod chaos;
mod duties;
mod exactly_once;
mod gas_spike;
mod leadership;
mod lies;
mod ordered;
mod pain_01;
mod policy;
mod proxy;
mod raising;
mod redemption;
mod reorganised;
mod world;
