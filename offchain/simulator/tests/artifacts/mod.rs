//! The compiled deploy script, as the sources are now.
use std::{fs::File, process::Command, sync::OnceLock};

use anyhow::{Context, Result, ensure};
use streamflow_evm::DeployScript;
use streamflow_testkit::{forge_program, workspace_root};

/// Compiles it if the sources have changed; one forge at a time, over all test processes.
pub(crate) fn script() -> Result<DeployScript> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}"))).clone().map_err(anyhow::Error::msg)?;
    let folder = DeployScript::default_folder(&workspace_root()?);
    Ok(DeployScript::load(&folder)?)
}

fn build() -> Result<()> {
    let root = workspace_root()?;
    std::fs::create_dir_all(root.join("cache/deploy"))?;
    let lock = File::create(root.join("cache/deploy/lock"))?;
    lock.lock()?;
    let output = Command::new(forge_program()?)
        .args(["build", "script/Deploy.s.sol"])
        .current_dir(&root)
        .env("FOUNDRY_PROFILE", "deploy")
        .env("FOUNDRY_DISABLE_NIGHTLY_WARNING", "1")
        .output()
        .context("forge does not start")?;
    ensure!(output.status.success(), "forge failed:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
