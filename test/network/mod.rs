//! What tests of a whole network share: a chain with accounts, roles as processes, and books that must add up.

pub(crate) mod audit;
pub(crate) mod chain;
pub(crate) mod role;
