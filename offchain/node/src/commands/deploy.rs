//! `chain deploy`: runs the Solidity deploy script through forge.
use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
};

use alloy::{primitives::hex, signers::local::PrivateKeySigner};
use anyhow::{Context as _, bail};
use serde::Serialize;
use streamflow_bindings::{AddressBook, ContractName};
use tokio::process::Command;
use url::Url;

use super::Context;
use crate::{
    cli::DeployArgs,
    data_dir::DataDir,
    exit::Usage,
    output::{Report, Table},
};

const SCRIPT: &str = "script/Deploy.s.sol:Deploy";
/// Lines of forge's output that an error quotes.
const QUOTED_LINES: usize = 20;

/// A deployment to make.
#[derive(Debug)]
pub struct Deploy<'a> {
    /// Directory with foundry.toml.
    pub project: &'a Path,
    /// The node.
    pub rpc_url: &'a Url,
    /// Pays, and becomes owner.
    pub key: &'a PrivateKeySigner,
    /// Parameters that differ from the script's defaults, by environment variable: `STREAMFLOW_ROUND_LENGTH`.
    pub params: &'a [(&'a str, String)],
    /// Simulate only.
    pub dry_run: bool,
}

#[derive(Debug, Serialize)]
struct Deployed {
    dry_run: bool,
    /// Where the addresses are written; absent after a dry run.
    file: Option<PathBuf>,
    contracts: AddressBook,
}

/// Deploys, and writes the addresses down.
///
/// # Errors
/// [`Usage`] when there is no project; otherwise what forge says.
pub async fn run(context: &Context, args: &DeployArgs) -> anyhow::Result<()> {
    let project = find_project(args.project_dir.as_deref())?;
    let key = context.config.keys.load()?;
    let rpc = streamflow_chain::Rpc::new(&context.config.chain)?;
    rpc.chain_id(context.config.chain.chain_id).await?;
    let contracts = deploy(Deploy {
        project: &project,
        rpc_url: &context.config.chain.rpc_url,
        key: &key,
        params: &[],
        dry_run: args.spend.dry_run,
    })
    .await?;
    let file = if args.spend.dry_run { None } else { Some(write_addresses(context, args, &contracts)?) };
    context.output.result(&Deployed { dry_run: args.spend.dry_run, file, contracts })?;
    Ok(())
}

/// Deploys all contracts and returns where they are.
///
/// # Errors
/// When forge cannot be started or the script fails; the error quotes the end of its output.
pub async fn deploy(request: Deploy<'_>) -> anyhow::Result<AddressBook> {
    let out = request.project.join("out");
    std::fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    // forge may write below out/ only
    let answer = tempfile::Builder::new().prefix("deployment-").suffix(".json").tempfile_in(&out)?;
    let mut command = Command::new(foundry(request.project, "forge")?);
    command
        .current_dir(request.project)
        .args(["script", SCRIPT, "--non-interactive", "--rpc-url", request.rpc_url.as_str()])
        .env("FOUNDRY_PROFILE", "deploy")
        .env("STREAMFLOW_DEPLOYER_KEY", format!("0x{}", hex::encode(request.key.to_bytes())))
        .env("STREAMFLOW_DEPLOYMENT_FILE", answer.path())
        .envs(request.params.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if !request.dry_run {
        command.arg("--broadcast");
    }
    let output = command.output().await.context("cannot start forge")?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("forge script failed ({}):\n{}", output.status, last_lines(&String::from_utf8_lossy(&said)));
    }
    let text = std::fs::read_to_string(answer.path()).context("cannot read the addresses that forge wrote")?;
    serde_json::from_str(&text).context("forge wrote no addresses: is script/Deploy.s.sol of another version?")
}

/// A tool of Foundry: the one that npm installed, or one on the PATH.
///
/// # Errors
/// When there is neither.
pub(crate) fn foundry(project: &Path, tool: &str) -> anyhow::Result<PathBuf> {
    let installed = project.join("node_modules/.bin");
    let on_path = env::var_os("PATH").unwrap_or_default();
    std::iter::once(installed)
        .chain(env::split_paths(&on_path))
        .map(|dir| dir.join(tool))
        .find(|program| program.is_file())
        .with_context(|| format!("there is no {tool}: run script/setup, or put it on the PATH"))
}

/// The directory with foundry.toml: `given`, or the nearest one upwards.
///
/// # Errors
/// [`Usage`] when there is none.
pub fn find_project(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let here = env::current_dir().context("cannot read the working directory")?;
    let found = match given {
        Some(dir) => Some(here.join(dir)).filter(|dir| is_project(dir)),
        None => here.ancestors().find(|dir| is_project(dir)).map(Path::to_owned),
    };
    found.ok_or_else(|| {
        let place = given.map_or_else(|| format!("{} or above", here.display()), |dir| dir.display().to_string());
        Usage(format!("no Streamflow project with foundry.toml in {place}: give --project-dir")).into()
    })
}

fn is_project(dir: &Path) -> bool {
    dir.join("foundry.toml").is_file() && dir.join("script/Deploy.s.sol").is_file()
}

fn write_addresses(context: &Context, args: &DeployArgs, contracts: &AddressBook) -> anyhow::Result<PathBuf> {
    let file = match &args.out {
        Some(file) => file.clone(),
        None => DataDir::open(&context.config.data)?.path().join("deployment.json"),
    };
    let text = serde_json::to_string_pretty(contracts)?;
    std::fs::write(&file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n")
}

impl Report for Deployed {
    fn text(&self) -> String {
        let mut table = Table::facts();
        table.fact("Controller", self.contracts.controller);
        for name in ContractName::ALL {
            table.fact(name.as_str(), self.contracts.get(name));
        }
        let end = match &self.file {
            Some(file) => format!("written to {}; set chain.controller to the first", file.display()),
            None => "dry run, nothing was sent".to_owned(),
        };
        format!("{table}\n{end}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_is_found_from_below_and_must_have_the_script() {
        let project = find_project(None).unwrap();
        assert!(project.join("script/Deploy.s.sol").is_file());
        let empty = tempfile::tempdir().unwrap();
        let error = find_project(Some(empty.path())).unwrap_err();
        assert_eq!(crate::exit::code(&error), 2);
        assert!(error.to_string().contains("--project-dir"));
    }
}
