//! The contracts in process: deployed by the deploy script, executed by revm. Nothing here listens, waits or reads a clock;
//! [`list_crowd`] alone talks to a chain elsewhere.

mod chain;
mod cheats;
mod crowd;
mod deploy;
mod error;
mod script;

pub use chain::{Done, LocalChain, Refusal};
pub use crowd::{CrowdError, crowd_account, list_crowd};
pub use deploy::{Deployed, Params};
pub use error::{EvmError, ScriptError};
pub use script::{BUILD_COMMAND, DeployScript};
