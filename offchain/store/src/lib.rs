//! Durable state: winning tickets, serials, nonces, transactions, earnings, and which keeper leads. SQLite or Postgres
//! through sqlx (docs/designs/015-store-engines.md).
//!
//! Orchestrators, broadcasters and keepers of one operator may open the same database at once. Every change is one
//! transaction that is on the disk when the call returns.

mod backlog;
mod closings;
mod column;
mod convictions;
mod database;
mod earnings;
mod error;
mod leases;
mod nonces;
mod orchestrators;
mod outbox;
mod payouts;
mod postgres;
mod probe;
mod receipts;
mod serials;
mod settings;
mod sql;
mod sqlite;
mod ticket_store;
mod tickets;
mod transactions;

pub use closings::{DESK_TIMEOUT, Delivered, DeskId, OrderedBatch, Passing};
pub use convictions::KnownConviction;
pub use database::Store;
pub use earnings::{RedemptionReceipt, RedemptionSummary, RewardRecord};
pub use error::StoreError;
pub use leases::{Claim, KeeperLease};
pub use orchestrators::KnownOrchestrator;
pub use payouts::{Finality, PayoutTotal};
pub use receipts::ReceiptRecord;
pub use serials::Leased;
pub use tickets::{Payout, SubmittedBatch, TicketOutcome, TicketRecord, TicketState, TicketStatus, TicketTotal};
pub use transactions::{AttemptRow, TransactionRow};

#[cfg(test)]
mod tests;
