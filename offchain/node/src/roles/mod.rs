//! The roles, wired: configuration in, running until told to stop.
mod broadcaster;
mod chain_link;
mod jobs;
mod keeper;
mod media;
mod orchestrator;
mod price_feed;
mod redeemer;
mod signer;
mod transcoder;

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, bail};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use streamflow_store::Store;
use streamflow_types::with_causes;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use self::media::{needs_cpu_encoder, start_transcoding_workers, start_workers};
use crate::{
    admin::{Admin, Desk, Readiness, Status, listen_error},
    config::{Config, Role},
    data_dir::DataDir,
    database,
    health::{self, Health},
    reload::{LiveSettings, Loaded, ReloadHandle, Reloader, Source},
    telemetry,
};

/// Name of the role itself among its needs: it has started and is not asked to stop.
const NEED_WORK: &str = "work";
/// Time that background tasks get to end after the role has drained.
const LAST_CALL: Duration = Duration::from_secs(5);

/// Runs `role` until `stop` is cancelled and its work is drained.
///
/// # Errors
/// When it cannot start, or a part of it that it cannot do without has failed.
pub async fn run(role: Role, started: Loaded, source: Source, stop: CancellationToken) -> anyhow::Result<()> {
    let config = started.config.clone();
    config.validate_for(role)?;
    let data = DataDir::open(&config.data)?;
    // First: what is counted before there is a recorder is lost.
    telemetry::metrics()?;
    let admin = Admin::bind(config.admin_listen(role)).await?;
    let live = LiveSettings::default();
    live.on(&["log.level"], |config| telemetry::set_level(&config.log));
    let (reloader, reload) = Reloader::new(source, &started, live.clone()).context("cannot watch SIGHUP")?;
    let mut node = Node {
        role,
        config,
        data,
        readiness: Readiness::default(),
        status: StatusSlot::default(),
        stop,
        end: CancellationToken::new(),
        tasks: JoinSet::new(),
        store: None,
        health: Health::here(),
        live,
    };
    node.spawn_quiet("reload", reloader.run(node.end.clone()));
    node.spawn("admin server", admin.serve(node.desk(reload), node.end.clone()));
    node.watch_from_outside();
    tracing::info!(role = role.name(), version = env!("CARGO_PKG_VERSION"), "starting");
    let outcome = match role {
        Role::Broadcaster => broadcaster::run(&mut node).await,
        Role::Orchestrator => orchestrator::run(&mut node).await,
        Role::Transcoder => transcoder::run(&mut node).await,
        Role::Keeper => keeper::run(&mut node).await,
        Role::Signer => signer::run(&mut node).await,
    };
    let background = node.finish().await;
    tracing::info!(role = role.name(), "stopped");
    outcome.and(background)
}

/// Fails early when a port that is opened later is taken: waiting for the chain may come first.
fn check_port(setting: &str, address: SocketAddr) -> anyhow::Result<()> {
    std::net::TcpListener::bind(address).map(drop).map_err(|e| listen_error(setting, address, e))
}

/// What every role has: settings, a directory, tasks, and a face to the operator.
struct Node {
    role: Role,
    config: Config,
    data: DataDir,
    readiness: Readiness,
    status: StatusSlot,
    /// First phase: take no new work, finish what runs.
    stop: CancellationToken,
    /// Second phase, after the role has drained: background tasks end.
    end: CancellationToken,
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
    /// Closed last.
    store: Option<Store>,
    /// Sees that this process and its database live.
    health: Health,
    /// Settings that can change while the role runs.
    live: LiveSettings,
}

/// Filled by the role once it runs.
#[derive(Clone, Default)]
struct StatusSlot(Arc<Mutex<Option<Status>>>);

impl StatusSlot {
    fn set(&self, status: Status) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }

    fn document(&self) -> BoxFuture<'static, Value> {
        let status = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match status {
            Some(status) => status(),
            None => Box::pin(async { json!({}) }),
        }
    }
}

impl Node {
    /// Runs a task in the background. A task that ends before the role does stops the role.
    fn spawn<E>(&mut self, name: &'static str, task: impl Future<Output = Result<(), E>> + Send + 'static)
    where
        E: Into<anyhow::Error>,
    {
        let (stop, end) = (self.stop.clone(), self.end.clone());
        self.tasks.spawn(async move {
            // also when the task panics
            let stop_role = stop.drop_guard();
            let outcome = task.await.map_err(Into::into);
            if end.is_cancelled() {
                stop_role.disarm();
            } else if let Err(err) = &outcome {
                tracing::error!(task = name, err = with_causes(err.as_ref()), "background task failed, stopping");
            }
            (name, outcome)
        });
    }

    /// As [`Node::spawn`], for a task that cannot fail.
    fn spawn_quiet(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn(name, async move {
            task.await;
            anyhow::Ok(())
        });
    }

    /// The `/status` document: the role's own, with its name.
    fn status_document(&self) -> Status {
        let (slot, role) = (self.status.clone(), self.role);
        Arc::new(move || {
            let document = slot.document();
            Box::pin(async move {
                let mut document = document.await;
                if let Value::Object(fields) = &mut document {
                    fields.insert("role".into(), role.name().into());
                }
                document
            })
        })
    }

    /// What the admin server shows.
    fn desk(&self, reload: ReloadHandle) -> Desk {
        let deployed_names = self.config.admin.deployed_metric_names.then(|| self.role.node_type());
        Desk {
            readiness: self.readiness.clone(),
            status: self.status_document(),
            health: self.health.clone(),
            reload: Some(reload),
            deployed_names,
        }
    }

    /// The role takes work from now on.
    fn works(&self) {
        if !self.stop.is_cancelled() {
            self.readiness.met(NEED_WORK);
        }
    }

    /// What every role tells of itself: what runs, its disk, and that it takes no new work once it is asked to stop.
    fn watch_from_outside(&mut self) {
        self.readiness.missing(NEED_WORK, "the role is starting");
        let (role, version) = (self.role.name(), env!("CARGO_PKG_VERSION"));
        metrics::gauge!("streamflow_node_info", "role" => role, "version" => version).set(1.0);
        let limit = self.config.data.min_free_bytes;
        if limit > 0 {
            let directories = match self.role {
                Role::Broadcaster => vec![self.data.path().to_owned(), self.config.streams_dir()],
                _ => vec![self.data.path().to_owned()],
            };
            let watch = health::watch_disk(directories, limit, self.readiness.clone(), self.end.clone());
            self.spawn_quiet("free space", watch);
        }
        let (stop, end, readiness) = (self.stop.clone(), self.end.clone(), self.readiness.clone());
        self.spawn_quiet("draining", async move {
            if end.run_until_cancelled(stop.cancelled()).await.is_some() {
                readiness.missing(NEED_WORK, "draining: the role was asked to stop and takes no new work");
                end.cancelled().await;
            }
        });
    }

    /// Opens the database.
    async fn open_store(&mut self) -> anyhow::Result<Store> {
        let store = database::open(&self.config.data, &self.data).await?;
        self.health.watch(store.clone());
        let watch = health::watch_store(store.clone(), self.readiness.clone(), self.end.clone());
        self.spawn_quiet("store", watch);
        self.store = Some(store.clone());
        Ok(store)
    }

    /// Ends the background tasks and reports the first that failed.
    async fn finish(mut self) -> anyhow::Result<()> {
        self.end.cancel();
        let mut first = Ok(());
        let ending = async {
            while let Some(joined) = self.tasks.join_next().await {
                let (name, outcome) = joined.context("a background task panicked")?;
                if let (Err(e), Ok(())) = (outcome, &first) {
                    first = Err(e.context(format!("{name} failed")));
                }
            }
            anyhow::Ok(())
        };
        let ended = tokio::time::timeout(LAST_CALL, ending).await;
        if let Some(store) = self.store {
            store.close().await;
        }
        match ended {
            Ok(ended) => ended.and(first),
            Err(_) => bail!("background tasks did not end within {LAST_CALL:?}"),
        }
    }
}
