//! Where the server is.
use std::{io, path::PathBuf, time::Duration};

use async_nats::{Client, ConnectOptions, Event};
use serde::{Deserialize, Serialize};
use url::Url;

/// Messages that wait for one subscriber; more are dropped, and the lease of a segment runs out.
const SUBSCRIPTION_CAPACITY: usize = 4096;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const PING_INTERVAL: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The NATS server of a pool that several orchestrators share.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatsConfig {
    /// `nats://host:4222`, or `tls://` with a certificate that this machine trusts. Unset: transcoders connect directly.
    pub url: Option<Url>,
    /// What the pool's subjects begin with. Pools of one server need names of their own.
    pub subject: String,
    /// File with the server's token; surrounding white space is ignored.
    pub token_file: Option<PathBuf>,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self { url: None, subject: "streamflow.pool".into(), token_file: None }
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NatsConfigError {
    /// Only these can be dialled. A password would be in the log.
    #[error("nats.url is not a nats or tls URL with a host and without user or password: use nats.token_file")]
    Url,
    /// It would match what it should not.
    #[error("nats.subject {0:?} is not made of words of letters, digits, - and _ with dots between them")]
    Subject(String),
}

impl NatsConfig {
    /// Whether it can be used.
    ///
    /// # Errors
    /// Names the setting.
    pub fn validate(&self) -> Result<(), NatsConfigError> {
        let is_server = |url: &Url| {
            let plain = url.username().is_empty() && url.password().is_none();
            matches!(url.scheme(), "nats" | "tls") && url.has_host() && plain
        };
        if !self.url.as_ref().is_none_or(is_server) {
            return Err(NatsConfigError::Url);
        }
        let is_word = |word: &str| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        if self.subject.len() > 128 || !self.subject.split('.').all(is_word) {
            return Err(NatsConfigError::Subject(self.subject.clone()));
        }
        Ok(())
    }
}

/// Why there is no connection, and never will be.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The token's file cannot be read.
    #[error("cannot read nats.token_file {}", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The client cannot be set up.
    #[error("cannot set up the NATS client")]
    Client(#[from] async_nats::ConnectError),
}

/// Connects, now or when the server is there, and again whenever the connection is lost.
///
/// # Errors
/// When no waiting would help.
pub async fn connect(config: &NatsConfig, url: &Url, name: &str) -> Result<Client, ConnectError> {
    let mut options = ConnectOptions::new()
        .name(name)
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_INTERVAL)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .max_reconnects(None)
        .reconnect_delay_callback(|attempt| {
            Duration::from_millis(100).saturating_mul(u32::try_from(attempt).unwrap_or(u32::MAX)).min(LONGEST_PAUSE)
        })
        .ignore_discovered_servers()
        .retry_on_initial_connect()
        .require_tls(url.scheme() == "tls")
        .event_callback(|event| async move {
            match event {
                Event::Connected => tracing::info!("connected to NATS"),
                Event::Disconnected => tracing::warn!("connection to NATS is lost, trying again"),
                other => tracing::debug!(event = %other, "NATS"),
            }
        });
    if let Some(path) = &config.token_file {
        let read = tokio::fs::read_to_string(path).await;
        let token = read.map_err(|source| ConnectError::TokenFile { path: path.clone(), source })?;
        options = options.token(token.trim().to_owned());
    }
    Ok(options.connect(url.as_str()).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_subjects_that_cannot_be_used_are_refused() {
        let config =
            |url: &str, subject: &str| NatsConfig { url: url.parse().ok(), subject: subject.into(), token_file: None };
        assert_eq!(NatsConfig::default().validate(), Ok(()));
        assert_eq!(config("nats://127.0.0.1:4222", "a.b-c_d.e1").validate(), Ok(()));
        for url in ["http://127.0.0.1", "nats://user:password@host", "nats://user@host"] {
            assert_eq!(config(url, "a").validate(), Err(NatsConfigError::Url), "{url}");
        }
        for subject in ["", "a.", ".a", "a.*", "a.>", "a b", "é"] {
            assert!(matches!(config("tls://h", subject).validate(), Err(NatsConfigError::Subject(_))), "{subject}");
        }
    }
}
