//! `completions <shell>`
use std::io;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{cli::Cli, output::to_stdout};

/// Prints the script on stdout.
///
/// # Errors
/// When stdout cannot take it.
pub fn run(shell: Shell) -> io::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "streamflow", &mut script);
    to_stdout(&script)
}
