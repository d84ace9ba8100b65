//! The orchestrator's end: a connection, the outbox of winners, and the floats.
mod floats;
mod link;
mod outbox;

pub use floats::{FloatUnknown, Floats, covered_by};
pub use link::{LinkConfig, LinkError, RedeemerLink};
pub use outbox::Outbox;
