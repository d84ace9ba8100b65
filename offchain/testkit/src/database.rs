//! An empty database of either engine, for tests that must hold on both.
use anyhow::Result;
use tempfile::TempDir;

use crate::Postgres;

/// An empty database. A file lives as long as this value.
#[derive(Debug)]
pub struct Database {
    url: String,
    _directory: Option<TempDir>,
}

impl Database {
    /// A file that is not there yet.
    ///
    /// # Errors
    /// When there is no place for it.
    pub fn sqlite() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let url = format!("sqlite:{}", directory.path().join("node.sqlite").display());
        Ok(Self { url, _directory: Some(directory) })
    }

    /// A database of the server of this test program.
    ///
    /// # Errors
    /// When Postgres is not installed, or fails.
    pub fn postgres() -> Result<Self> {
        Ok(Self { url: Postgres::shared()?.database()?, _directory: None })
    }

    /// What a store is opened with.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it is one of a server.
    pub fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres")
    }
}

/// Makes two tests of each async function named, one per engine, in modules `on_sqlite` and `on_postgres`. The function gets
/// an empty [`Database`].
#[macro_export]
macro_rules! on_both_engines {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name($crate::Database::sqlite().unwrap()).await;
                }
            )+
        }

        mod on_postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name($crate::Database::postgres().unwrap()).await;
                }
            )+
        }
    };
}
