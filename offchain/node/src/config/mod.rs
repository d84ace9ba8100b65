//! One TOML file, then `STREAMFLOW_*` environment variables. Unknown keys are errors.
mod default_file;
#[cfg(test)]
mod fuzz;
mod refusal;
mod settings;
#[cfg(test)]
mod tests;
mod transcoding;

use std::{net::SocketAddr, path::Path};

use figment::{
    Figment,
    providers::{Env, Format, Toml},
};
use serde::{Deserialize, Serialize};
use streamflow_broadcaster::BroadcasterConfig;
use streamflow_chain::ChainConfig;
use streamflow_keeper::KeeperConfig;
use streamflow_orchestrator::OrchestratorConfig;
use streamflow_signer::SignerConfig;
use streamflow_transcoder::{
    ConfigError::{NoOrchestrator, NoSecret},
    TranscoderConfig,
};
use streamflow_types::with_causes;

use crate::{data_dir::DataConfig, exit::Usage, keys::KeysConfig, telemetry::LogConfig};

pub use default_file::print_default;
pub(crate) use default_file::toml_value;
pub use transcoding::{QuarantineSettings, Transcoders, TranscodingConfig};

/// Prefix of environment variables that are settings; sections are separated by two underscores.
const ENV_PREFIX: &str = "STREAMFLOW_";

/// Everything a role reads. The default runs on a laptop.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The node and deployment to talk to.
    pub chain: ChainConfig,
    /// The account that signs.
    pub keys: KeysConfig,
    /// What is kept on disk.
    pub data: DataConfig,
    /// Logging.
    pub log: LogConfig,
    /// Health, metrics, status.
    pub admin: AdminConfig,
    /// Media workers of this machine.
    pub transcoding: TranscodingConfig,
    /// The orchestrator role.
    pub orchestrator: OrchestratorConfig,
    /// The transcoder role.
    pub transcoder: TranscoderConfig,
    /// The broadcaster role.
    pub broadcaster: BroadcasterConfig,
    /// The keeper role.
    pub keeper: KeeperConfig,
    /// The signer role.
    pub signer: SignerConfig,
}

/// `[admin]`: where health, metrics and status are served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// Address and port; without it, loopback and the role's own port.
    pub listen: Option<SocketAddr>,
    /// Whether metrics that the deployed network has too are shown under its names beside ours.
    pub deployed_metric_names: bool,
}

/// What runs in this process, and its default admin port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Broadcaster,
    Orchestrator,
    Transcoder,
    Keeper,
    Signer,
}

impl Role {
    /// The name on the command line and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Broadcaster => "broadcaster",
            Self::Orchestrator => "orchestrator",
            Self::Transcoder => "transcoder",
            Self::Keeper => "keeper",
            Self::Signer => "signer",
        }
    }

    /// What the deployed network calls this kind of node in metrics.
    pub const fn node_type(self) -> &'static str {
        match self {
            Self::Broadcaster => "bctr",
            Self::Orchestrator => "orch",
            Self::Transcoder => "trcr",
            Self::Keeper => "rdmr",
            Self::Signer => "dflt",
        }
    }

    /// Port of the admin server when `[admin] listen` is not set.
    pub const fn admin_port(self) -> u16 {
        match self {
            Self::Broadcaster => 5935,
            Self::Orchestrator => 7935,
            Self::Transcoder => 6935,
            Self::Keeper => 4935,
            Self::Signer => 3935,
        }
    }
}

impl Config {
    /// Reads `file` if given, then the environment, and checks every section.
    ///
    /// # Errors
    /// [`Usage`] that names the key, and the file and line or the environment variable it stands in.
    pub fn load(file: Option<&Path>) -> Result<Self, Usage> {
        let config: Self = Self::figment(file)?.extract().map_err(refusal::explain)?;
        config.validate()?;
        Ok(config)
    }

    /// The same as it is written, secrets included. For comparing, never for showing.
    ///
    /// # Errors
    /// As [`Config::load`], for what is wrong with the form of it.
    pub fn as_written(file: Option<&Path>) -> Result<serde_json::Value, Usage> {
        Self::figment(file)?.extract().map_err(refusal::explain)
    }

    fn figment(file: Option<&Path>) -> Result<Figment, Usage> {
        let mut figment = Figment::new();
        if let Some(file) = file {
            let place = file.display();
            let found = std::fs::metadata(file).map_err(|e| Usage(format!("cannot read --config {place}: {e}")))?;
            if found.is_dir() {
                return Err(Usage(format!("cannot read --config {place}: it is a directory, name a file in it")));
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        let environment = Env::prefixed(ENV_PREFIX).filter(|key| key.as_str().contains("__")).split("__");
        Ok(figment.merge(environment))
    }

    /// Checks what the types cannot express and holds for every role.
    ///
    /// # Errors
    /// [`Usage`] that names the setting.
    pub fn validate(&self) -> Result<(), Usage> {
        crate::telemetry::filter_of(&self.log)?;
        self.chain.validate().map_err(|e| bad("", &e))?;
        self.keys.source().map_err(|e| bad("", &e))?;
        if !self.data.database_url.is_empty() && self.data.database_url_file.is_some() {
            return Err(Usage("configuration: set only one of data.database_url and data.database_url_file".into()));
        }
        self.transcoding.validate()?;
        self.orchestrator.validate().map_err(|e| bad("orchestrator: ", &e))?;
        self.broadcaster.validate().map_err(|e| bad("", &e))?;
        self.keeper.validate().map_err(|e| bad("", &e))?;
        self.signer.validate().map_err(|e| bad("", &e))
    }

    /// Checks what `role` alone needs.
    ///
    /// # Errors
    /// [`Usage`] that names the setting.
    pub fn validate_for(&self, role: Role) -> Result<(), Usage> {
        match role {
            // the default names no orchestrator to work for, so other roles cannot be held to it
            Role::Transcoder => self.transcoder.validate().map_err(|e| match e {
                NoOrchestrator => Usage(
                    "transcoder.orchestrator is not set: give --orchestrator https://HOST:PORT, or set it in --config"
                        .into(),
                ),
                NoSecret => Usage("transcoder.secret_file is not set: a file with the orchestrator's secret".into()),
                other => bad("transcoder: ", &other),
            }),
            Role::Broadcaster | Role::Orchestrator | Role::Keeper | Role::Signer => Ok(()),
        }
    }

    /// Where the broadcaster keeps its streams: `broadcaster.data_dir`, below `data.dir` if relative.
    pub fn streams_dir(&self) -> std::path::PathBuf {
        self.data.path().join(&self.broadcaster.data_dir)
    }

    /// Where the admin server of `role` listens.
    pub fn admin_listen(&self, role: Role) -> SocketAddr {
        self.admin.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], role.admin_port())))
    }

    /// Moves every port that `role` listens on. Port 0 (any free port) stays.
    ///
    /// # Errors
    /// [`Usage`] when a port would be above 65535.
    pub fn offset_ports(&mut self, role: Role, offset: u16) -> Result<(), Usage> {
        let mut admin = self.admin_listen(role);
        shift("admin.listen", &mut admin, offset)?;
        self.admin.listen = Some(admin);
        match role {
            Role::Orchestrator => shift("orchestrator.listen", &mut self.orchestrator.listen, offset),
            Role::Broadcaster => {
                if let Some(rtmp) = &mut self.broadcaster.rtmp {
                    shift("broadcaster.rtmp.listen", &mut rtmp.listen, offset)?;
                }
                shift("broadcaster.listen", &mut self.broadcaster.listen, offset)
            }
            Role::Signer => shift("signer.listen", &mut self.signer.listen, offset),
            Role::Keeper => match &mut self.keeper.redeemer.listen {
                Some(listen) => shift("keeper.redeemer.listen", listen, offset),
                None => Ok(()),
            },
            Role::Transcoder => Ok(()),
        }
    }
}

fn bad(section: &str, error: &dyn std::error::Error) -> Usage {
    Usage(format!("configuration: {section}{}", with_causes(error)))
}

fn shift(setting: &str, address: &mut SocketAddr, offset: u16) -> Result<(), Usage> {
    if address.port() != 0 {
        let port = address.port().checked_add(offset);
        let port = port.ok_or_else(|| Usage(format!("--port-offset {offset} moves {setting} beyond port 65535")))?;
        address.set_port(port);
    }
    Ok(())
}
