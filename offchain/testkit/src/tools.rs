//! Where the pinned tools are.
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Root of the checkout.
pub fn workspace_root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().with_context(|| format!("no checkout at {}", root.display()))
}

/// The native anvil of npm's package, or what `STREAMFLOW_ANVIL` names.
///
/// Not the one in `.bin`: that is a Node wrapper whose child outlives it.
pub fn anvil_program() -> Result<PathBuf> {
    program("anvil", "STREAMFLOW_ANVIL")
}

/// The native forge of npm's package, or what `STREAMFLOW_FORGE` names.
pub fn forge_program() -> Result<PathBuf> {
    program("forge", "STREAMFLOW_FORGE")
}

fn program(name: &str, variable: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(path.into());
    }
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let os = if std::env::consts::OS == "macos" { "darwin" } else { std::env::consts::OS };
    let path = workspace_root()?.join(format!("node_modules/@foundry-rs/{name}-{os}-{arch}/bin/{name}"));
    ensure!(path.is_file(), "no {name} at {}: run script/setup, or set {variable}", path.display());
    Ok(path)
}
