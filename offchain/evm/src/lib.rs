//! The contracts in process: deployed by the deploy script, executed by revm. Nothing here listens, waits or reads a clock.

mod chain;
mod cheats;
mod deploy;
mod error;
mod script;

pub use chain::{Done, LocalChain, Refusal};
pub use deploy::{Deployed, Params};
pub use error::{EvmError, ScriptError};
pub use script::{BUILD_COMMAND, DeployScript};
