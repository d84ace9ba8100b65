//! Where winners are kept until they are redeemed.
use std::error::Error;

use alloy_primitives::{Address, U256};
use streamflow_types::WinningTicket;

/// Durable memory of winning tickets. Implemented by the `store` crate, which also serves the keeper's own queries.
pub trait TicketStore: Send + Sync {
    /// Writes a winner to disk. When this returns `Ok`, no crash loses the ticket; a ticket is kept once, by its hash.
    fn insert_winning(&self, ticket: &WinningTicket) -> impl Future<Output = Result<Inserted, StoreError>> + Send;

    /// Face value, in wei, of this sender's winners that are neither paid nor given up: the `pending` of
    /// [`crate::Backing`].
    fn pending_face_value(&self, sender: Address) -> impl Future<Output = Result<U256, StoreError>> + Send;
}

/// What became of a winner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It was not known.
    New,
    /// The same ticket was there already.
    Duplicate,
}

/// The store failed. The caller must not act as if the ticket were kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Disk, lock or connection; may pass.
    #[error("ticket store is unavailable")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// What is stored cannot be read as a ticket; will not pass.
    #[error("ticket store holds a row that is not a ticket")]
    Corrupt(#[source] Box<dyn Error + Send + Sync>),
}
