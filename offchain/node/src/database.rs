//! The database of this node: a file in the data directory, or what `data.database_url` names.
use streamflow_store::{Store, StoreError};
use streamflow_types::Secret;

use crate::{
    data_dir::{DataConfig, DataDir},
    keys::{self, KeyError},
};

/// Why there is no database. No message carries the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error(transparent)]
    UrlFile(#[from] KeyError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Opens the database, creates it if it is a file, and brings its schema up to date.
///
/// # Errors
/// When it cannot be used.
pub async fn open(config: &DataConfig, data: &DataDir) -> Result<Store, DatabaseError> {
    match url(config)? {
        Some(url) => Ok(Store::open_url(url.expose()).await?),
        None => Ok(Store::open(data.database()).await?),
    }
}

fn url(config: &DataConfig) -> Result<Option<Secret>, KeyError> {
    match &config.database_url_file {
        Some(path) => {
            let text = keys::read_private("data.database_url_file", path)?;
            Ok(Some(Secret::new(text.trim())))
        }
        None => Ok(Some(config.database_url.clone()).filter(|url| !url.is_empty())),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use streamflow_testkit::Database;

    use super::*;

    #[tokio::test]
    async fn without_url_it_is_a_file_of_the_data_directory() {
        let root = tempfile::tempdir().unwrap();
        let config = DataConfig { dir: root.path().to_owned(), ..DataConfig::default() };
        let data = DataDir::open(&config).unwrap();
        open(&config, &data).await.unwrap().close().await;
        assert!(data.database().is_file());
    }

    #[tokio::test]
    async fn a_url_comes_from_the_setting_or_from_a_private_file() {
        let root = tempfile::tempdir().unwrap();
        let server = Database::postgres().unwrap();
        let named = DataConfig {
            dir: root.path().to_owned(),
            database_url: Secret::new(server.url()),
            ..DataConfig::default()
        };
        let data = DataDir::open(&named).unwrap();
        let store = open(&named, &data).await.unwrap();
        store.set_setting("who", b"us").await.unwrap();

        let path = root.path().join("url");
        fs::write(&path, format!("{}\n", server.url())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let filed = DataConfig { database_url: Secret::default(), database_url_file: Some(path.clone()), ..named };
        let same = open(&filed, &data).await.unwrap();
        assert_eq!(same.setting("who").await.unwrap().as_deref(), Some(b"us".as_slice()));
        assert!(!data.database().exists());

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let exposed = open(&filed, &data).await.unwrap_err().to_string();
        assert!(exposed.contains("data.database_url_file") && exposed.contains("chmod 600"), "{exposed}");
        for store in [store, same] {
            store.close().await;
        }
    }

    #[tokio::test]
    async fn what_is_said_of_a_url_does_not_repeat_it() {
        let root = tempfile::tempdir().unwrap();
        let url = Secret::new("postgres://u:herring@127.0.0.1:1/db");
        let config = DataConfig { dir: root.path().to_owned(), database_url: url, ..DataConfig::default() };
        let data = DataDir::open(&config).unwrap();
        let refused = open(&config, &data).await.unwrap_err();
        let told = format!("{refused} {refused:?} {config:?} {}", serde_json::to_string(&config).unwrap());
        assert!(told.contains("data.database_url") && !told.contains("herring"), "{told}");
    }
}
