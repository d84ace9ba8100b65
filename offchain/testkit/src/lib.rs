//! Test fixtures: a chain of our own and a deployment on it, databases, a Postgres server. Used by tests only.
//!
//! A fixture takes a free port and ends its processes when it is dropped.

mod anvil;
mod chaos;
mod database;
mod deployment;
mod postgres;
mod tools;

pub use anvil::{Anvil, AnvilOptions, key};
pub use chaos::{Chaos, ChaosProxy};
pub use database::Database;
pub use deployment::{DeployOptions, Deployment};
pub use postgres::Postgres;
pub use streamflow_evm::crowd_account;
pub use tools::{anvil_program, forge_program, workspace_root};
