//! Where a network keeps keys, configurations, logs, the operator's book and the streams.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use streamflow_bindings::AddressBook;

use super::{
    accounts::Accounts,
    processes::{PidOf, Processes},
    roles::Plan,
};
use crate::{data_dir::DataConfig, exit::Usage};

/// Marks a directory that devnet made and may empty.
const DESCRIPTION: &str = "devnet.json";

/// The directory of one network.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Empties what an earlier run left. Anything that is not a devnet directory is refused.
    pub(super) fn prepare(given: Option<&Path>, port_offset: u16) -> anyhow::Result<Self> {
        let path = match given {
            Some(path) => std::path::absolute(path)?,
            None => DataConfig::default().path().join(format!("devnet-{port_offset}")),
        };
        match fs::read_dir(&path) {
            Ok(mut entries) => {
                if entries.next().is_some() && !path.join(DESCRIPTION).is_file() {
                    return Err(Usage(format!(
                        "--data-dir {} is not empty and not a devnet's: name another",
                        path.display()
                    ))
                    .into());
                }
                fs::remove_dir_all(&path).with_context(|| format!("cannot empty {}", path.display()))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => bail!("cannot read --data-dir {}: {error}", path.display()),
        }
        let directory = Self { path };
        for path in [directory.keys(), directory.logs(), directory.operator()] {
            fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        fs::write(directory.path.join(DESCRIPTION), "{}\n")?;
        Ok(directory)
    }

    pub(super) fn keys(&self) -> PathBuf {
        self.path.join("keys")
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Data directory that the orchestrators and the keeper share: one operator, one book.
    pub(super) fn operator(&self) -> PathBuf {
        self.path.join("operator")
    }

    /// The operator's book.
    pub(super) fn database(&self) -> PathBuf {
        self.operator().join("streamflow.sqlite3")
    }

    /// Data directory of a role that shares it with nobody.
    pub(super) fn own(&self, role: &str) -> PathBuf {
        self.path.join(role)
    }

    pub(super) fn config(&self, role: &str) -> PathBuf {
        self.path.join(format!("{role}.toml"))
    }

    /// Writes `devnet.json`: what runs where, for people and scripts.
    pub(super) fn describe(
        &self,
        plan: &Plan,
        accounts: &Accounts,
        contracts: AddressBook,
        processes: &Processes,
    ) -> anyhow::Result<()> {
        self.write(&description(self, plan, accounts, contracts), &|role| processes.pid(role))
    }

    /// Writes the description anew when a role has got another process id.
    pub(super) fn describer(
        &self,
        plan: &Plan,
        accounts: &Accounts,
        contracts: AddressBook,
    ) -> impl Fn(&PidOf<'_>) + Send + 'static {
        let directory = self.clone();
        let fixed = description(self, plan, accounts, contracts);
        move |pid| {
            if let Err(error) = directory.write(&fixed, pid) {
                tracing::warn!("cannot write {DESCRIPTION}: {error:#}");
            }
        }
    }

    fn write(&self, fixed: &Value, pid: &PidOf<'_>) -> anyhow::Result<()> {
        let mut description = fixed.clone();
        if let Some(roles) = description["roles"].as_object_mut() {
            for (name, role) in roles {
                role["pid"] = json!(pid(name));
            }
        }
        let draft = self.path.join(".devnet.json");
        fs::write(&draft, format!("{description:#}\n"))?;
        Ok(fs::rename(draft, self.path.join(DESCRIPTION))?)
    }
}

fn description(directory: &Directory, plan: &Plan, accounts: &Accounts, contracts: AddressBook) -> Value {
    let roles: serde_json::Map<String, Value> = plan
        .roles
        .iter()
        .map(|role| {
            let entry = json!({
                "config": directory.config(role.name),
                "admin": role.admin_url("").trim_end_matches('/'),
                "account": role.account(accounts).map(super::accounts::Account::address),
            });
            (role.name.to_owned(), entry)
        })
        .collect();
    json!({
        "rpc": plan.rpc_url,
        "page": plan.page_url,
        "contracts": contracts,
        "delegators": [accounts.delegator.address()],
        "roles": roles,
    })
}
