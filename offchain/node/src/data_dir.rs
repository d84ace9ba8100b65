//! The directory where a node keeps its database, secrets and streams.
use std::{
    env,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use streamflow_types::Secret;

/// `[data]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Directory; created when missing. A leading `~` is the home directory.
    pub dir: PathBuf,
    /// Database to use instead of a file in `dir`. Holds a password at times, so it may come from a file instead.
    pub database_url: Secret,
    /// File that holds the URL instead, mode 0600.
    pub database_url_file: Option<PathBuf>,
    /// Bytes free on the disk of `dir` below which the role is not ready; 0 does not look.
    pub min_free_bytes: u64,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("~/.streamflow"),
            database_url: Secret::default(),
            database_url_file: None,
            min_free_bytes: 256 << 20,
        }
    }
}

impl DataConfig {
    /// The directory with `~` replaced.
    pub fn path(&self) -> PathBuf {
        match (self.dir.strip_prefix("~"), env::var_os("HOME")) {
            (Ok(rest), Some(home)) => Path::new(&home).join(rest),
            _ => self.dir.clone(),
        }
    }
}

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("cannot create data.dir {}", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot write in data.dir {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read {}", path.display())]
    Secret { path: PathBuf, source: io::Error },
    #[error("{} is not a secret of {SECRET_LEN} bytes: move it away to get a new one; sessions quoted before are lost", path.display())]
    SecretLength { path: PathBuf },
    #[error("{} may be read by others (mode {mode:o}): run chmod 600 on it", path.display())]
    Exposed { path: PathBuf, mode: u32 },
}

const SECRET_LEN: usize = 32;

/// An existing, writable data directory.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
}

impl DataDir {
    /// Creates the directory if needed and checks that it can be written.
    ///
    /// # Errors
    /// When it cannot.
    pub fn open(config: &DataConfig) -> Result<Self, DataDirError> {
        let path = config.path();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|source| DataDirError::Create { path: path.clone(), source })?;
        tempfile::tempfile_in(&path).map_err(|source| DataDirError::Write { path: path.clone(), source })?;
        Ok(Self { path })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The database if none is named: tickets, nonces, transactions. Shared by the roles of one operator.
    pub fn database(&self) -> PathBuf {
        self.path.join("streamflow.sqlite3")
    }

    /// A random secret that stays the same over restarts; created on first use, readable by its owner only.
    ///
    /// # Errors
    /// When the file cannot be written or read, or is not a secret.
    pub fn secret(&self, name: &str) -> Result<[u8; SECRET_LEN], DataDirError> {
        if let Some(known) = self.known_secret(name)? {
            return Ok(known);
        }
        let path = self.path.join(name);
        self.create_secret(&path).map_err(|source| DataDirError::Write { path: path.clone(), source })?;
        self.read_secret(&path)
    }

    /// The same if it is there already.
    ///
    /// # Errors
    /// When the file is not a secret.
    pub fn known_secret(&self, name: &str) -> Result<Option<[u8; SECRET_LEN]>, DataDirError> {
        match self.read_secret(&self.path.join(name)) {
            Err(DataDirError::Secret { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    fn read_secret(&self, path: &Path) -> Result<[u8; SECRET_LEN], DataDirError> {
        let reading = |source| DataDirError::Secret { path: path.to_owned(), source };
        let mut file = fs::File::open(path).map_err(reading)?;
        let metadata = file.metadata().map_err(reading)?;
        let mode = metadata.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(DataDirError::Exposed { path: path.to_owned(), mode });
        }
        let mut secret = [0; SECRET_LEN];
        if metadata.len() != SECRET_LEN as u64 || file.read_exact(&mut secret).is_err() {
            return Err(DataDirError::SecretLength { path: path.to_owned() });
        }
        Ok(secret)
    }

    /// Writes a whole secret under another name first, so that two processes that start together agree on one.
    fn create_secret(&self, path: &Path) -> io::Result<()> {
        let draft = tempfile::TempDir::with_prefix_in(".secret-", &self.path)?;
        let draft_file = draft.path().join("secret");
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft_file)?;
        file.write_all(&rand::random::<[u8; SECRET_LEN]>())?;
        file.sync_all()?;
        match fs::hard_link(&draft_file, path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
            _ => fs::File::open(&self.path)?.sync_all(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn data_dir(root: &tempfile::TempDir) -> DataDir {
        DataDir::open(&DataConfig { dir: root.path().join("a/b"), ..DataConfig::default() }).unwrap()
    }

    #[test]
    fn secret_is_private_and_stays_the_same() {
        let root = tempfile::tempdir().unwrap();
        let data = data_dir(&root);
        let first = data.secret("ticket-secret").unwrap();
        assert_eq!(data_dir(&root).secret("ticket-secret").unwrap(), first);
        assert_ne!(data.secret("auth-secret").unwrap(), first);
        let mode = fs::metadata(data.path().join("ticket-secret")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::metadata(data.path()).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn damaged_or_exposed_secret_is_not_replaced() {
        let root = tempfile::tempdir().unwrap();
        let data = data_dir(&root);
        data.secret("s").unwrap();
        let path = data.path().join("s");
        fs::write(&path, b"short").unwrap();
        assert!(matches!(data.secret("s"), Err(DataDirError::SecretLength { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(data.secret("s"), Err(DataDirError::Exposed { mode: 0o640, .. })));
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = DataDir::open(&DataConfig { dir: file.clone(), ..DataConfig::default() }).unwrap_err();
        assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    }

    #[test]
    fn tilde_is_home() {
        let home = PathBuf::from(env::var_os("HOME").unwrap());
        assert_eq!(DataConfig::default().path(), home.join(".streamflow"));
        assert_eq!(DataConfig { dir: "/x/~".into(), ..DataConfig::default() }.path(), PathBuf::from("/x/~"));
    }
}
