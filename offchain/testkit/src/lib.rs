//! Test fixtures: a chain of our own and a deployment on it. Used by tests only.
//!
//! A fixture takes a free port and ends its processes when it is dropped.

mod anvil;
mod chaos;
mod deployment;
mod tools;

pub use anvil::{Anvil, AnvilOptions, key};
pub use chaos::{Chaos, ChaosProxy};
pub use deployment::{DeployOptions, Deployment};
pub use tools::{anvil_program, forge_program, workspace_root};
