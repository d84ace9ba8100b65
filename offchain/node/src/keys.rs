//! The account that signs: from a keystore file, a key file or an environment variable, never from the command line.
use std::{
    env, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use alloy::signers::local::{LocalSignerError, PrivateKeySigner};
use serde::{Deserialize, Serialize};

/// `[keys]`: at most one of `keystore_file`, `key_file` and `private_key_env`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeysConfig {
    /// Encrypted Ethereum keystore (JSON).
    pub keystore_file: Option<PathBuf>,
    /// File that holds the password of the keystore.
    pub password_file: Option<PathBuf>,
    /// Environment variable that holds the password of the keystore.
    pub password_env: Option<String>,
    /// File that holds the private key in hex; only its owner may read it (mode 0600).
    pub key_file: Option<PathBuf>,
    /// Environment variable that holds the private key in hex.
    pub private_key_env: Option<String>,
}

/// Where the key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource<'a> {
    Keystore { file: &'a Path, password: PasswordSource<'a> },
    File(&'a Path),
    Env(&'a str),
}

/// Where the password of a keystore is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordSource<'a> {
    File(&'a Path),
    Env(&'a str),
}

/// Why there is no key. No message carries a secret.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("set only one of keys.keystore_file, keys.key_file and keys.private_key_env")]
    Ambiguous,
    #[error("keys.keystore_file needs exactly one of keys.password_file and keys.password_env")]
    Password,
    #[error("keys.password_file and keys.password_env belong to keys.keystore_file, which is not set")]
    StrayPassword,
    #[error(
        "this command signs, and no key is configured: set keys.keystore_file, keys.key_file or keys.private_key_env"
    )]
    Missing,
    #[error("environment variable {name}, named by {setting}, is not set")]
    Unset { setting: &'static str, name: String },
    #[error("cannot read {setting} {}", path.display())]
    Read { setting: &'static str, path: PathBuf, source: io::Error },
    #[error("{setting} {} may be read by others (mode {mode:o}): run chmod 600 on it", path.display())]
    Exposed { setting: &'static str, path: PathBuf, mode: u32 },
    #[error("{setting} holds no private key: 64 hexadecimal digits are expected")]
    NotAKey { setting: &'static str },
    #[error("cannot decrypt keys.keystore_file {}: wrong password or damaged file", path.display())]
    Decrypt { path: PathBuf, source: LocalSignerError },
}

impl KeysConfig {
    /// Which key is configured, without reading it.
    ///
    /// # Errors
    /// When settings contradict each other.
    pub fn source(&self) -> Result<Option<KeySource<'_>>, KeyError> {
        let password = match (&self.password_file, &self.password_env) {
            (Some(file), None) => Some(PasswordSource::File(file)),
            (None, Some(name)) => Some(PasswordSource::Env(name)),
            (None, None) => None,
            (Some(_), Some(_)) => return Err(KeyError::Password),
        };
        if password.is_some() && self.keystore_file.is_none() {
            return Err(KeyError::StrayPassword);
        }
        match (&self.keystore_file, &self.key_file, &self.private_key_env) {
            (None, None, None) => Ok(None),
            (Some(file), None, None) => {
                Ok(Some(KeySource::Keystore { file, password: password.ok_or(KeyError::Password)? }))
            }
            (None, Some(file), None) => Ok(Some(KeySource::File(file))),
            (None, None, Some(name)) => Ok(Some(KeySource::Env(name))),
            _ => Err(KeyError::Ambiguous),
        }
    }

    /// Reads the key. A keystore takes a second or so: its key derivation is slow on purpose.
    ///
    /// # Errors
    /// [`KeyError::Missing`] when none is configured; otherwise what is wrong with it.
    pub fn load(&self) -> Result<PrivateKeySigner, KeyError> {
        match self.source()?.ok_or(KeyError::Missing)? {
            KeySource::Keystore { file, password } => {
                let password = password.read()?;
                let setting = "keys.keystore_file";
                fs::File::open(file).map_err(|source| KeyError::Read { setting, path: file.to_owned(), source })?;
                PrivateKeySigner::decrypt_keystore(file, password)
                    .map_err(|source| KeyError::Decrypt { path: file.to_owned(), source })
            }
            KeySource::File(path) => parse("keys.key_file", &read_private("keys.key_file", path)?),
            KeySource::Env(name) => parse("keys.private_key_env", &variable("keys.private_key_env", name)?),
        }
    }
}

impl PasswordSource<'_> {
    fn read(&self) -> Result<String, KeyError> {
        match self {
            Self::File(path) => Ok(read_private("keys.password_file", path)?.trim_end_matches(['\r', '\n']).to_owned()),
            Self::Env(name) => variable("keys.password_env", name),
        }
    }
}

fn variable(setting: &'static str, name: &str) -> Result<String, KeyError> {
    env::var(name).map_err(|_| KeyError::Unset { setting, name: name.to_owned() })
}

/// Reads a secret that only its owner may read.
pub(crate) fn read_private(setting: &'static str, path: &Path) -> Result<String, KeyError> {
    let reading = |source| KeyError::Read { setting, path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(reading)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { setting, path: path.to_owned(), mode });
    }
    fs::read_to_string(path).map_err(reading)
}

fn parse(setting: &'static str, text: &str) -> Result<PrivateKeySigner, KeyError> {
    // the parser's own error is dropped: it could quote the key
    text.trim().parse().map_err(|_| KeyError::NotAKey { setting })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use alloy::{
        primitives::{Address, address},
        signers::k256::elliptic_curve::rand_core::OsRng,
    };

    use super::*;

    /// First account of the well-known development mnemonic, public since years.
    const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    const ACCOUNT: Address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");

    fn secret_file(dir: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn key_file_must_be_private() {
        let dir = tempfile::tempdir().unwrap();
        let private = secret_file(dir.path(), "key", &format!("0x{KEY}\n"), 0o600);
        let keys = KeysConfig { key_file: Some(private), ..KeysConfig::default() };
        assert_eq!(keys.load().unwrap().address(), ACCOUNT);

        let open = secret_file(dir.path(), "open", KEY, 0o644);
        let keys = KeysConfig { key_file: Some(open), ..KeysConfig::default() };
        assert!(matches!(keys.load(), Err(KeyError::Exposed { mode: 0o644, .. })));
    }

    #[test]
    fn a_broken_key_is_not_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let broken = secret_file(dir.path(), "key", &KEY[1..], 0o600);
        let error = KeysConfig { key_file: Some(broken), ..KeysConfig::default() }.load().unwrap_err();
        assert!(matches!(error, KeyError::NotAKey { .. }));
        assert!(!format!("{error:?} {error}").contains(&KEY[8..16]));
    }

    #[test]
    fn keystore_opens_with_its_password_only() {
        let dir = tempfile::tempdir().unwrap();
        let key = KEY.parse::<PrivateKeySigner>().unwrap().to_bytes();
        PrivateKeySigner::encrypt_keystore(dir.path(), &mut OsRng, key, "open sesame", Some("store")).unwrap();
        let keystore_file = Some(dir.path().join("store"));
        let password_file = Some(secret_file(dir.path(), "password", "open sesame\n", 0o600));
        let keys = KeysConfig { keystore_file: keystore_file.clone(), password_file, ..KeysConfig::default() };
        assert_eq!(keys.load().unwrap().address(), ACCOUNT);

        let password_file = Some(secret_file(dir.path(), "wrong", "guess", 0o600));
        let keys = KeysConfig { keystore_file, password_file, ..KeysConfig::default() };
        assert!(matches!(keys.load(), Err(KeyError::Decrypt { .. })));
    }

    #[test]
    fn contradictions_are_refused() {
        let file = Some(PathBuf::from("x"));
        let two = KeysConfig { key_file: file.clone(), private_key_env: Some("K".into()), ..KeysConfig::default() };
        assert!(matches!(two.source(), Err(KeyError::Ambiguous)));
        let no_password = KeysConfig { keystore_file: file.clone(), ..KeysConfig::default() };
        assert!(matches!(no_password.source(), Err(KeyError::Password)));
        let stray = KeysConfig { password_file: file, ..KeysConfig::default() };
        assert!(matches!(stray.source(), Err(KeyError::StrayPassword)));
        assert!(matches!(KeysConfig::default().load(), Err(KeyError::Missing)));
    }

    #[test]
    fn an_unset_variable_is_named() {
        let keys = KeysConfig { private_key_env: Some("STREAMFLOW_NO_SUCH_KEY".into()), ..KeysConfig::default() };
        assert!(keys.load().unwrap_err().to_string().contains("STREAMFLOW_NO_SUCH_KEY"));
    }
}
