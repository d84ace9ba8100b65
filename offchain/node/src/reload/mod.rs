//! Reading the configuration again while a role runs: what can change takes effect, the rest is named.
mod changes;

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;
use serde_json::Value;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

pub use self::changes::Change;
use self::changes::Settings;
use crate::{config::Config, exit::Usage};

/// Reloads that may wait.
const WAITING: usize = 4;

/// A configuration as it was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Checked.
    pub config: Config,
    /// As it was written, secrets included: never told.
    pub written: Value,
}

/// Reads the configuration in the way the role was started with.
pub type Source = Arc<dyn Fn() -> Result<Loaded, Usage> + Send + Sync>;

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Settings that have taken effect.
    pub applied: Vec<Change>,
    /// Settings that take effect when the role is started again.
    pub restart_needed: Vec<Change>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The new configuration cannot be used.
    #[error("nothing was changed: {0}")]
    Refused(#[from] Usage),
    /// Too many at once, or the role is ending.
    #[error("nothing was changed: the role is busy or stopping, try again")]
    Unheard,
}

/// Asks for a reload. Clones ask the same role.
#[derive(Clone, Debug)]
pub struct ReloadHandle(mpsc::Sender<oneshot::Sender<Result<Report, ReloadError>>>);

impl ReloadHandle {
    /// Reads the configuration again and tells what changed.
    ///
    /// # Errors
    /// When it cannot be used; nothing has changed then.
    pub async fn reload(&self) -> Result<Report, ReloadError> {
        let (reply, report) = oneshot::channel();
        self.0.try_send(reply).map_err(|_| ReloadError::Unheard)?;
        report.await.unwrap_or(Err(ReloadError::Unheard))
    }
}

/// Settings of a role that can change while it runs. Clones are the same.
#[derive(Clone, Default)]
pub struct LiveSettings(Arc<Mutex<Vec<Live>>>);

struct Live {
    /// Names of settings or of sections.
    names: &'static [&'static str],
    apply: Box<dyn Fn(&Config) + Send>,
}

impl fmt::Debug for LiveSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.lock().iter().flat_map(|live| live.names).collect();
        f.debug_tuple("LiveSettings").field(&names).finish()
    }
}

impl LiveSettings {
    /// `apply` takes over `names` (settings, or sections as a whole) from a configuration that was checked.
    pub fn on(&self, names: &'static [&'static str], apply: impl Fn(&Config) + Send + 'static) {
        self.lock().push(Live { names, apply: Box::new(apply) });
    }

    /// Applies what of `changes` can be, and splits them.
    fn apply(&self, changes: Vec<Change>, config: &Config) -> Report {
        let live = self.lock();
        let touched = |live: &&Live| changes.iter().any(|change| live.covers(&change.setting));
        live.iter().filter(touched).for_each(|live| (live.apply)(config));
        let (applied, restart_needed) =
            changes.into_iter().partition(|change| live.iter().any(|live| live.covers(&change.setting)));
        Report { applied, restart_needed }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Live>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    fn covers(&self, setting: &str) -> bool {
        self.names
            .iter()
            .any(|name| setting.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    }
}

/// Reads the configuration again when asked, or on SIGHUP.
pub struct Reloader {
    source: Source,
    live: LiveSettings,
    /// As they are in effect.
    running: Settings,
    requests: mpsc::Receiver<oneshot::Sender<Result<Report, ReloadError>>>,
    hangups: Signal,
}

impl fmt::Debug for Reloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloader").field("live", &self.live).finish_non_exhaustive()
    }
}

impl Reloader {
    /// `started` is the configuration that the role runs with. From here on SIGHUP ends the process no more.
    ///
    /// # Errors
    /// When the signal cannot be watched.
    pub fn new(source: Source, started: &Loaded, live: LiveSettings) -> io::Result<(Self, ReloadHandle)> {
        let (send, requests) = mpsc::channel(WAITING);
        let hangups = signal(SignalKind::hangup())?;
        Ok((Self { source, live, running: settings(started), requests, hangups }, ReloadHandle(send)))
    }

    /// Serves requests and signals until `end`.
    pub async fn run(mut self, end: CancellationToken) {
        loop {
            let reply = tokio::select! { biased;
                () = end.cancelled() => return,
                hangup = self.hangups.recv() => match hangup {
                    Some(()) => None,
                    None => return,
                },
                request = self.requests.recv() => match request {
                    Some(reply) => Some(reply),
                    None => return,
                },
            };
            let outcome = self.reload();
            if let Some(reply) = reply {
                // Whoever asked may have left.
                drop(reply.send(outcome));
            }
        }
    }

    fn reload(&mut self) -> Result<Report, ReloadError> {
        let loaded = (self.source)().inspect_err(|error| {
            tracing::error!(%error, "configuration was not read again: the settings stay as they are");
        })?;
        let newer = settings(&loaded);
        let report = self.live.apply(self.running.changes(&newer), &loaded.config);
        for Change { setting, old, new } in &report.applied {
            self.running.take_over(setting, &newer);
            tracing::info!(setting, old, new, "setting changed");
        }
        for Change { setting, old, new } in &report.restart_needed {
            tracing::warn!(setting, old, new, "setting needs a restart of the role to take effect");
        }
        tracing::info!(
            applied = report.applied.len(),
            restart_needed = report.restart_needed.len(),
            "configuration read again"
        );
        Ok(report)
    }
}

fn settings(loaded: &Loaded) -> Settings {
    // A configuration was made of text, so that it has a form as text.
    Settings::new(&serde_json::to_value(&loaded.config).unwrap_or_default(), &loaded.written)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn loaded(text: &str) -> Result<Loaded, Usage> {
        let config: Config = toml::from_str(text).map_err(|error| Usage(error.to_string()))?;
        config.validate()?;
        Ok(Loaded { config, written: toml::from_str(text).unwrap() })
    }

    #[tokio::test]
    async fn what_can_change_does_the_rest_is_named_and_a_mistake_changes_nothing() {
        let file = Arc::new(Mutex::new("[keeper]\nmax_batch = 7\n".to_owned()));
        let source: Source = {
            let file = file.clone();
            Arc::new(move || loaded(&file.lock().unwrap()))
        };
        let (live, seen) = (LiveSettings::default(), Arc::new(AtomicU64::new(0)));
        let told = seen.clone();
        live.on(&["orchestrator.price"], move |config| {
            told.store(config.orchestrator.price.wei_per_unit(), Ordering::SeqCst);
        });
        let (reloader, handle) = Reloader::new(source.clone(), &source().unwrap(), live).unwrap();
        let end = CancellationToken::new();
        let task = tokio::spawn(reloader.run(end.clone()));

        let price = "[orchestrator]\nprice = { wei_per_unit = 5, pixels_per_unit = 1 }\n";
        *file.lock().unwrap() = format!("[keeper]\nmax_batch = 9\n{price}");
        let report = handle.reload().await.unwrap();
        assert_eq!(
            report.applied.iter().map(|c| c.setting.as_str()).collect::<Vec<_>>(),
            ["orchestrator.price.wei_per_unit"]
        );
        let waiting = Change { setting: "keeper.max_batch".into(), old: "7".into(), new: "9".into() };
        assert_eq!(report.restart_needed, std::slice::from_ref(&waiting));
        assert_eq!(seen.load(Ordering::SeqCst), 5);

        let report = handle.reload().await.unwrap();
        assert!(report.applied.is_empty(), "{report:?}");
        assert_eq!(report.restart_needed, [waiting], "still not in effect");

        *file.lock().unwrap() =
            "[orchestrator]\nprice = { wei_per_unit = 6, pixels_per_unit = 1 }\nmax_sessions = 0\n".into();
        let refused = handle.reload().await.unwrap_err().to_string();
        assert!(refused.contains("nothing was changed") && refused.contains("max_sessions"), "{refused}");
        assert_eq!(seen.load(Ordering::SeqCst), 5);
        end.cancel();
        task.await.unwrap();
        assert!(matches!(handle.reload().await, Err(ReloadError::Unheard)));
    }
}
