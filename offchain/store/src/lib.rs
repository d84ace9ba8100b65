//! Durable state: winning tickets, serials, nonces, transactions, earnings. SQLite through sqlx.
//!
//! Orchestrator, broadcaster and keeper of one operator may open the same file at once. Every change is one database
//! transaction that is on the disk when the call returns.

mod backlog;
mod column;
mod database;
mod earnings;
mod error;
mod nonces;
mod payouts;
mod serials;
mod settings;
mod ticket_store;
mod tickets;
mod transactions;

pub use database::Store;
pub use earnings::{RedemptionReceipt, RedemptionSummary, RewardRecord};
pub use error::StoreError;
pub use payouts::{Finality, PayoutTotal};
pub use serials::Leased;
pub use tickets::{Payout, SubmittedBatch, TicketOutcome, TicketRecord, TicketState, TicketStatus, TicketTotal};
pub use transactions::{AttemptRow, TransactionRow};

#[cfg(test)]
mod tests;
