//! Where the pinned tools are.
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Root of the checkout.
pub fn workspace_root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().with_context(|| format!("no checkout at {}", root.display()))
}

/// The anvil that npm installed, or what `STREAMFLOW_ANVIL` names, or the one on the `PATH`.
pub fn anvil_program() -> Result<PathBuf> {
    program("anvil", "STREAMFLOW_ANVIL")
}

/// The forge that npm installed, or what `STREAMFLOW_FORGE` names, or the one on the `PATH`.
pub fn forge_program() -> Result<PathBuf> {
    program("forge", "STREAMFLOW_FORGE")
}

fn program(name: &str, variable: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(path.into());
    }
    let installed = workspace_root()?.join("node_modules/.bin").join(name);
    Ok(if installed.is_file() { installed } else { name.into() })
}
