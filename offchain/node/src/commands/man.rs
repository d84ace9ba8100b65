//! `man <directory>`: manual pages, made of the command line's own definition.
use std::{fs, path::Path};

use anyhow::Context as _;
use clap::CommandFactory;
use clap_mangen::Man;
use serde::Serialize;

use crate::{
    cli::Cli,
    output::{Output, Report},
};

#[derive(Serialize)]
struct Written {
    directory: String,
    pages: Vec<String>,
}

impl Report for Written {
    fn text(&self) -> String {
        format!("{} pages in {}: read one with man {}/streamflow.1", self.pages.len(), self.directory, self.directory)
    }
}

/// Writes `streamflow.1`, `streamflow-chain.1`, `streamflow-chain-fund.1` and so on.
///
/// # Errors
/// When the directory cannot be written.
pub fn run(directory: &Path, output: Output) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let mut command = Cli::command();
    command.build();
    let mut pages = Vec::new();
    write(&command, "streamflow", directory, &mut pages)?;
    output.result(&Written { directory: directory.display().to_string(), pages })?;
    Ok(())
}

/// The page of a command, and those of the commands below it.
fn write(command: &clap::Command, name: &str, directory: &Path, pages: &mut Vec<String>) -> anyhow::Result<()> {
    let mut page = Vec::new();
    Man::new(command.clone().display_name(name.to_owned())).title(name.to_uppercase()).render(&mut page)?;
    let file = format!("{name}.1");
    let path = directory.join(&file);
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    pages.push(file);
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help") {
        write(inner, &format!("{name}-{}", inner.get_name()), directory, pages)?;
    }
    Ok(())
}
