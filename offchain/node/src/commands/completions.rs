//! `completions <shell>`
use std::io;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;

/// Prints the script on stdout.
pub fn run(shell: Shell) {
    clap_complete::generate(shell, &mut Cli::command(), "streamflow", &mut io::stdout());
}
