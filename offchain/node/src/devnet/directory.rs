//! Where a network keeps keys, configurations, logs, the operator's book and the streams.
use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
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
    /// Locked for as long as the network runs; the kernel lets go of it however that ends.
    _lock: Arc<File>,
}

impl Directory {
    /// Empties what an earlier run left. Anything that is not a devnet directory, or is one in use, is refused.
    pub(super) fn prepare(given: Option<&Path>, port_offset: u16) -> anyhow::Result<Self> {
        let path = match given {
            Some(path) => std::path::absolute(path)?,
            None => DataConfig::default().path().join(format!("devnet-{port_offset}")),
        };
        fs::create_dir_all(&path).with_context(|| format!("cannot create --data-dir {}", path.display()))?;
        let lock = lock(&path)?;
        empty(&path)?;
        let directory = Self { path, _lock: Arc::new(lock) };
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

/// # Errors
/// [`Usage`] when a running devnet has it.
fn lock(path: &Path) -> anyhow::Result<File> {
    let directory = File::open(path).with_context(|| format!("cannot read --data-dir {}", path.display()))?;
    match directory.try_lock() {
        Ok(()) => Ok(directory),
        Err(TryLockError::WouldBlock) => {
            let path = path.display();
            Err(Usage(format!("--data-dir {path} is in use by a running devnet: stop that one, or name another"))
                .into())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// # Errors
/// [`Usage`] when it holds anything that devnet did not make.
fn empty(path: &Path) -> anyhow::Result<()> {
    let entries: Vec<_> = fs::read_dir(path)?.collect::<Result<_, _>>()?;
    if !entries.is_empty() && !path.join(DESCRIPTION).is_file() {
        let path = path.display();
        return Err(Usage(format!("--data-dir {path} is not empty and not a devnet's: name another")).into());
    }
    // The description goes last: a directory that could not be emptied is still known as a devnet's.
    let (description, others): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| entry.file_name() == DESCRIPTION);
    for entry in others.into_iter().chain(description) {
        let path = entry.path();
        let removed = if entry.file_type()?.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit;

    #[test]
    fn a_directory_in_use_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("net");
        let first = Directory::prepare(Some(&path), 0).unwrap();
        fs::write(first.keys().join("a.key"), "1").unwrap();
        let refused = Directory::prepare(Some(&path), 0).unwrap_err();
        assert_eq!(exit::code(&refused), 2);
        assert!(refused.to_string().contains("in use"), "{refused}");
        assert!(first.keys().join("a.key").is_file());

        drop(first);
        let second = Directory::prepare(Some(&path), 0).unwrap();
        assert!(second.keys().is_dir() && !second.keys().join("a.key").exists());
    }

    #[test]
    fn what_devnet_did_not_make_is_not_emptied() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("thesis.txt"), "years").unwrap();
        let refused = Directory::prepare(Some(root.path()), 0).unwrap_err();
        assert_eq!(exit::code(&refused), 2);
        assert!(root.path().join("thesis.txt").is_file());
    }
}
