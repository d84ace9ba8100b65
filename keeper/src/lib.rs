//! The keeper: redeems winning tickets in batches, calls `reward`, initialises rounds.
//!
//! Facts are read from the chain, [`planner`] and [`verdict`] decide without doing anything, transactions go through the
//! one owner of the key, and what happened is recorded from events, in one database transaction per batch.

mod calls;
mod config;
mod deployed;
mod dry_run;
mod duty;
pub mod economics;
mod error;
mod fees;
mod finality;
mod gas;
mod journal;
mod keeper;
mod leadership;
mod metrics;
mod number;
pub mod ordered;
pub mod planner;
pub mod preflight;
mod quorum;
mod raise;
pub mod receipt;
mod redeem;
mod reward;
mod rounds;
mod search;
mod snapshot;
mod timing;
pub mod verdict;

pub use config::{ConfigError, KeeperConfig};
pub use dry_run::{Action, DryRun, PlannedBatch, PlannedTicket};
pub use error::KeeperError;
pub use finality::oldest_redeemable;
pub use journal::Journal;
pub use keeper::{Keeper, KeeperChain, MOST_LISTED};
pub use leadership::{Candidate, Standing};
pub use number::OutOfRange;
pub use reward::Rewarder;
pub use rounds::turn;
