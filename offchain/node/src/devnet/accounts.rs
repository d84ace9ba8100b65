//! Fresh keys for every account of the network, kept in the data directory as files that only their owner may read.
use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use alloy::{hex, primitives::Address, signers::local::PrivateKeySigner};
use anyhow::Context as _;

use super::directory::Directory;

/// A key, and the file that holds it.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) signer: PrivateKeySigner,
    pub(super) file: PathBuf,
}

impl Account {
    pub(super) fn address(&self) -> Address {
        self.signer.address()
    }

    fn create(keys: &Path, name: &str) -> anyhow::Result<Self> {
        let signer = PrivateKeySigner::random();
        let file = keys.join(format!("{name}.key"));
        let mut out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&file)
            .with_context(|| format!("cannot write {}", file.display()))?;
        writeln!(out, "{}", hex::encode(signer.to_bytes()))?;
        Ok(Self { signer, file })
    }
}

/// Everybody on the network.
#[derive(Debug)]
pub(super) struct Accounts {
    pub(super) deployer: Account,
    pub(super) broadcaster: Account,
    pub(super) orchestrators: Vec<Account>,
    pub(super) keeper: Account,
    pub(super) delegator: Account,
}

impl Accounts {
    pub(super) fn create(directory: &Directory) -> anyhow::Result<Self> {
        let keys = directory.keys();
        Ok(Self {
            deployer: Account::create(&keys, "deployer")?,
            broadcaster: Account::create(&keys, "broadcaster")?,
            orchestrators: vec![Account::create(&keys, "orchestrator-1")?, Account::create(&keys, "orchestrator-2")?],
            keeper: Account::create(&keys, "keeper")?,
            delegator: Account::create(&keys, "delegator")?,
        })
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Account> {
        [&self.deployer, &self.broadcaster, &self.keeper, &self.delegator].into_iter().chain(&self.orchestrators)
    }
}
