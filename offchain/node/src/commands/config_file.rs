//! `config check|print-default`
use std::path::PathBuf;

use serde::Serialize;

use crate::{
    cli::ConfigCommand,
    config::{self, Config},
    output::{Output, Report, to_stdout},
};

#[derive(Serialize)]
struct Checked {
    valid: bool,
    file: Option<PathBuf>,
    config: Config,
}

impl Report for Checked {
    fn text(&self) -> String {
        match &self.file {
            Some(file) => format!("{} is valid", file.display()),
            None => "the default configuration with the environment is valid".into(),
        }
    }
}

/// Runs one of them.
///
/// # Errors
/// The first thing wrong with the configuration.
pub fn run(command: &ConfigCommand, file: Option<PathBuf>, output: Output) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check => {
            let config = Config::load(file.as_deref())?;
            output.result(&Checked { valid: true, file, config })?;
        }
        ConfigCommand::PrintDefault if output.is_json() => output.document(&Config::default())?,
        ConfigCommand::PrintDefault => to_stdout(config::print_default()?.as_bytes())?,
    }
    Ok(())
}
