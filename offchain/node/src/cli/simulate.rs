//! Options of `simulate`.
use std::path::PathBuf;

use clap::Args;

#[derive(Clone, Debug, Args)]
pub struct SimulateArgs {
    /// Decides everything that is drawn
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Where the report goes; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "simulation")]
    pub out: PathBuf,
    /// Compiled contracts [default: out/deploy in the checkout around the current directory]
    #[arg(long, value_name = "DIR")]
    pub artifacts: Option<PathBuf>,
}
