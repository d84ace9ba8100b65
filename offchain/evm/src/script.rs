//! The compiled deploy script: the only artifact that is needed, since it has the contracts' code inside.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use alloy::{
    primitives::{Bytes, hex},
    sol_types::SolCall,
};
use serde::Deserialize;

use crate::{
    ScriptError,
    deploy::abi::Deploy::{defaultParamsCall, deployCall},
};

/// Compiles what [`DeployScript::load`] reads.
pub const BUILD_COMMAND: &str = "FOUNDRY_PROFILE=deploy forge build script/Deploy.s.sol";
/// Where that command puts it.
const ARTIFACT: &str = "Deploy.s.sol/Deploy.json";

/// Code of `script/Deploy.s.sol`, as it runs.
#[derive(Clone, Debug)]
pub struct DeployScript(pub(crate) Bytes);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    deployed_bytecode: Code,
    method_identifiers: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Code {
    object: Bytes,
}

impl DeployScript {
    /// Reads it from a folder of artifacts, such as `out/deploy`.
    ///
    /// # Errors
    /// When it is not there, or was compiled from a script with other parameters.
    pub fn load(artifacts: &Path) -> Result<Self, ScriptError> {
        let path = artifacts.join(ARTIFACT);
        let text = fs::read(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ScriptError::Missing(path.clone()),
            _ => ScriptError::Read { path: path.clone(), source },
        })?;
        let artifact: Artifact =
            serde_json::from_slice(&text).map_err(|source| ScriptError::Artifact { path: path.clone(), source })?;
        let selectors = [deployCall::SELECTOR, defaultParamsCall::SELECTOR].map(hex::encode);
        let has = |selector| artifact.method_identifiers.values().any(|known| known == selector);
        if !selectors.iter().all(has) {
            return Err(ScriptError::Stale(path));
        }
        Ok(Self(artifact.deployed_bytecode.object))
    }

    /// The folder `out/deploy` of the checkout around `directory`, whether or not anything is in it yet.
    pub fn default_folder(directory: &Path) -> PathBuf {
        let root = directory.ancestors().find(|folder| folder.join("foundry.toml").is_file());
        root.unwrap_or(directory).join("out/deploy")
    }
}
