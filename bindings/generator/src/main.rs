//! Compiles `contracts/` with the settings of `foundry.toml` and writes one `{contractName, abi}` file per deployable
//! contract into `bindings/abi/`. Run through `script/bindings`, which also checks for drift.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use foundry_compilers::{
    ConfigurableArtifacts, ProjectBuilder, ProjectPathsConfig,
    artifacts::{BytecodeHash, EvmVersion, Remapping, SettingsMetadata, Severity},
    multi::MultiCompilerLanguage,
    solc::{Solc, SolcCompiler, SolcSettings},
};
use serde::Deserialize;
use serde_json::{Value, json};

/// The compiler settings that forge reads from `foundry.toml`.
#[derive(Debug, Deserialize)]
struct FoundryProfile {
    src: String,
    solc: String,
    evm_version: String,
    optimizer: bool,
    optimizer_runs: usize,
    #[serde(default)]
    via_ir: bool,
    remappings: Vec<String>,
}

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let profile = foundry_profile(&root)?;
    let contracts = compile(&root, &profile)?;
    write_bindings(&root.join("bindings/abi"), &contracts)?;
    eprintln!("bindings: wrote {} contracts to bindings/abi", contracts.len());
    Ok(())
}

fn foundry_profile(root: &Path) -> Result<FoundryProfile> {
    let text = fs::read_to_string(root.join("foundry.toml")).context("cannot read foundry.toml")?;
    let mut config: toml::Table = text.parse().context("foundry.toml is not valid TOML")?;
    let profile = config
        .get_mut("profile")
        .and_then(|profiles| profiles.get_mut("default"))
        .context("foundry.toml has no [profile.default]")?;
    profile.clone().try_into().context("foundry.toml [profile.default] lacks a compiler setting")
}

/// Deployable contracts by name: those declared in `contracts/` and `contracts/verifiers/`, one per file of the same name.
fn compile(root: &Path, profile: &FoundryProfile) -> Result<BTreeMap<String, Value>> {
    let scratch = tempfile::tempdir()?;
    let remappings =
        profile.remappings.iter().map(|remapping| remapping.parse::<Remapping>()).collect::<Result<Vec<_>, _>>()?;
    let remappings = remappings
        .into_iter()
        .map(|remapping| Remapping { path: root.join(&remapping.path).to_string_lossy().into_owned(), ..remapping });
    let sources = root.join(&profile.src);
    let paths = ProjectPathsConfig::builder()
        .sources(&sources)
        .tests(scratch.path().join("test"))
        .scripts(scratch.path().join("script"))
        .artifacts(scratch.path().join("out"))
        .cache(scratch.path().join("cache.json"))
        .build_infos(scratch.path().join("build-info"))
        .lib(root.join("node_modules"))
        .remappings(remappings)
        .build_with_root::<MultiCompilerLanguage>(root)
        .with_language();

    let mut settings = SolcSettings::default();
    settings.settings.optimizer.enabled = Some(profile.optimizer);
    settings.settings.optimizer.runs = Some(profile.optimizer_runs);
    settings.settings.via_ir = profile.via_ir.then_some(true);
    settings.settings.evm_version =
        Some(profile.evm_version.parse::<EvmVersion>().map_err(|err| anyhow::anyhow!("evm_version: {err}"))?);
    settings.settings.metadata = Some(SettingsMetadata::new(BytecodeHash::None, false));

    let solc = root.join(&profile.solc);
    let solc = Solc::new(&solc).with_context(|| format!("cannot run {}; run script/setup first", solc.display()))?;
    let project = ProjectBuilder::<SolcCompiler>::new(ConfigurableArtifacts::default())
        .paths(paths)
        .settings(settings)
        .set_compiler_severity_filter(Severity::Error)
        .build(SolcCompiler::Specific(solc))?;
    let output = project.compile()?;
    if output.has_compiler_errors() {
        bail!("the contracts do not compile:\n{output}");
    }

    let folders = [sources.as_path(), &sources.join("verifiers")];
    let mut contracts = BTreeMap::new();
    for (path, name, artifact) in output.into_artifacts_with_files() {
        if path.parent().is_none_or(|folder| !folders.contains(&folder))
            || path.file_stem().is_none_or(|stem| stem != name.as_str())
        {
            continue;
        }
        let abi = artifact.abi.context("compiler output has no ABI")?;
        let bytecode = artifact
            .bytecode
            .and_then(|bytecode| bytecode.object.into_bytes())
            .with_context(|| format!("{name} has no linked bytecode"))?;
        if bytecode.is_empty() {
            continue; // abstract
        }
        contracts.insert(name.clone(), json!({ "contractName": name, "abi": abi }));
    }
    ensure!(!contracts.is_empty(), "no contracts found in {}", sources.display());
    Ok(contracts)
}

fn write_bindings(folder: &Path, contracts: &BTreeMap<String, Value>) -> Result<()> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let known = path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| contracts.contains_key(stem));
        if !known {
            fs::remove_file(&path).with_context(|| format!("cannot remove stale {}", path.display()))?;
        }
    }
    for (name, contract) in contracts {
        fs::write(folder.join(format!("{name}.json")), format!("{contract:#}\n"))?;
    }
    Ok(())
}
