//! The service and its callers, over real connections and real databases.
#![allow(clippy::unwrap_used)]

mod fixture;
mod floats;
mod kill;
mod outbox;
mod tickets;
