//! The admin server of a role: `/healthz`, `/readyz`, `/metrics`, `/status`.
use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context;
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures::future::BoxFuture;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use serde_json::Value;
use tokio::{net::TcpListener, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::Level;

/// Time after the start in which needs that are not met yet are no reason to warn.
const STARTING: Duration = Duration::from_secs(5);

/// What a role needs before it can work, and what is missing.
#[derive(Clone, Debug)]
pub struct Readiness {
    started: Instant,
    needs: Arc<Mutex<BTreeMap<&'static str, Known>>>,
}

/// What is known of a need, and whether a warning about it is in the log.
#[derive(Clone, Debug)]
struct Known {
    need: Need,
    warned: bool,
}

/// One thing that a role needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "reason", rename_all = "lowercase")]
pub enum Need {
    /// It is there.
    Met,
    /// It is not, and why.
    Missing(String),
}

impl Default for Readiness {
    fn default() -> Self {
        Self { started: Instant::now(), needs: Arc::default() }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Met => f.write_str("met"),
            Self::Missing(reason) => f.write_str(reason),
        }
    }
}

impl Readiness {
    /// `need` is there.
    pub fn met(&self, need: &'static str) {
        self.set(need, Need::Met);
    }

    /// `need` is not there. Logged whenever the reason changes; a warning only after `STARTING`.
    pub fn missing(&self, need: &'static str, reason: impl fmt::Display) {
        self.set(need, Need::Missing(reason.to_string()));
    }

    /// Everything, by name.
    pub fn needs(&self) -> BTreeMap<&'static str, Need> {
        self.lock().iter().map(|(name, known)| (*name, known.need.clone())).collect()
    }

    /// Whether nothing is missing.
    pub fn is_ready(&self) -> bool {
        self.lock().values().all(|known| known.need == Need::Met)
    }

    fn set(&self, name: &'static str, need: Need) {
        match self.change(name, &need) {
            Some(Level::WARN) => tracing::warn!(need = name, reason = need.to_string(), "not ready"),
            Some(_) if need == Need::Met => tracing::info!(need = name, "ready"),
            Some(_) => tracing::info!(need = name, reason = need.to_string(), "not ready yet"),
            None => {}
        }
    }

    /// How loud the news is, if it is any.
    fn change(&self, name: &'static str, need: &Need) -> Option<Level> {
        let warn = *need != Need::Met && self.started.elapsed() >= STARTING;
        let before = self.lock().insert(name, Known { need: need.clone(), warned: warn });
        let level = if warn { Level::WARN } else { Level::INFO };
        // What was missing from the start on and still is, has not been warned of.
        before.is_none_or(|before| before.need != *need || (warn && !before.warned)).then_some(level)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Known>> {
        self.needs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the `/status` document of a role.
pub type Status = Arc<dyn Fn() -> BoxFuture<'static, Value> + Send + Sync>;

/// The admin server, listening but not yet serving.
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

#[derive(Clone)]
struct Shared {
    readiness: Readiness,
    status: Status,
    metrics: PrometheusHandle,
}

impl Admin {
    /// Takes the port.
    ///
    /// # Errors
    /// Names `admin.listen` when the address cannot be used.
    pub async fn bind(listen: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(listen).await.map_err(|e| listen_error("admin.listen", listen, e))?;
        let address = listener.local_addr().context("cannot read the address of the admin server")?;
        Ok(Self { listener, address })
    }

    /// Where it listens; the port is real even when 0 was asked for.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, which should be cancelled last, so that draining can be watched.
    ///
    /// # Errors
    /// When accepting fails for good.
    pub async fn serve(self, readiness: Readiness, status: Status, stop: CancellationToken) -> anyhow::Result<()> {
        let metrics = crate::telemetry::metrics()?;
        let upkeep = crate::telemetry::keep_metrics_small(metrics.clone());
        let router = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(render_metrics))
            .route("/status", get(status_document))
            .with_state(Shared { readiness, status, metrics });
        tracing::info!(address = %self.address, "admin server listens");
        let server = axum::serve(self.listener, router);
        tokio::select! { biased;
            () = stop.cancelled() => Ok(()),
            ended = server => ended.context("admin server failed"),
            () = upkeep => Ok(()),
        }
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Says which setting asked for an address that cannot be had, and what to do.
pub fn listen_error(setting: &str, address: SocketAddr, error: io::Error) -> anyhow::Error {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => ": stop the other process, change the setting, or use --port-offset",
        io::ErrorKind::PermissionDenied => ": ports below 1024 need a privilege",
        io::ErrorKind::AddrNotAvailable => ": this machine has no such address",
        _ => "",
    };
    anyhow::Error::new(error).context(format!("cannot listen on {address} ({setting}){advice}"))
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let code = if shared.readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": code == StatusCode::OK, "needs": shared.readiness.needs() });
    (code, Json(body)).into_response()
}

async fn render_metrics(State(shared): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.metrics.render())
}

async fn status_document(State(shared): State<Shared>) -> Json<Value> {
    let mut document = (shared.status)().await;
    if let Value::Object(fields) = &mut document {
        fields.insert("ready".into(), shared.readiness.is_ready().into());
    }
    Json(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn served(readiness: &Readiness) -> (String, CancellationToken) {
        let admin = Admin::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let url = format!("http://{}", admin.address());
        let stop = CancellationToken::new();
        let status: Status = Arc::new(|| Box::pin(async { serde_json::json!({ "role": "test" }) }));
        tokio::spawn(admin.serve(readiness.clone(), status, stop.clone()));
        (url, stop)
    }

    #[tokio::test]
    async fn readiness_tells_what_is_missing_until_it_is_there() {
        let readiness = Readiness::default();
        readiness.met("store");
        readiness.missing("chain", "connection refused");
        let (url, stop) = served(&readiness).await;

        let reply = reqwest::get(format!("{url}/readyz")).await.unwrap();
        assert_eq!(reply.status(), 503);
        let body: Value = reply.json().await.unwrap();
        assert_eq!(body["needs"]["chain"]["reason"], "connection refused");
        assert_eq!(body["needs"]["store"]["state"], "met");

        readiness.met("chain");
        assert_eq!(reqwest::get(format!("{url}/readyz")).await.unwrap().status(), 200);
        let status: Value = reqwest::get(format!("{url}/status")).await.unwrap().json().await.unwrap();
        assert_eq!((&status["role"], &status["ready"]), (&"test".into(), &true.into()));
        stop.cancel();
    }
    #[tokio::test(start_paused = true)]
    async fn what_is_missing_right_after_the_start_is_no_warning() {
        let readiness = Readiness::default();
        let missing = |reason: &str| Need::Missing(reason.to_owned());
        assert_eq!(readiness.change("chain", &missing("connecting")), Some(Level::INFO));
        assert_eq!(readiness.change("chain", &missing("refused")), Some(Level::INFO));
        assert_eq!(readiness.change("chain", &missing("refused")), None);
        tokio::time::advance(STARTING).await;
        assert_eq!(readiness.change("chain", &missing("refused")), Some(Level::WARN));
        assert_eq!(readiness.change("chain", &missing("refused")), None);
        assert_eq!(readiness.change("chain", &Need::Met), Some(Level::INFO));
        assert_eq!(readiness.change("chain", &Need::Met), None);
        assert_eq!(readiness.change("chain", &missing("no answer")), Some(Level::WARN));
    }

    #[tokio::test]
    async fn health_and_metrics_are_served() {
        let (url, stop) = served(&Readiness::default()).await;
        assert_eq!(reqwest::get(format!("{url}/healthz")).await.unwrap().text().await.unwrap(), "ok\n");
        metrics::counter!("streamflow_node_tests_total").increment(1);
        metrics::histogram!("streamflow_node_test_seconds").record(0.2);
        let text = reqwest::get(format!("{url}/metrics")).await.unwrap().text().await.unwrap();
        assert!(text.contains("streamflow_node_tests_total"), "{text}");
        assert!(text.contains("streamflow_node_test_seconds_bucket"), "{text}");
        stop.cancel();
    }

    #[tokio::test]
    async fn a_taken_port_names_its_setting() {
        let first = Admin::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let error = Admin::bind(first.address()).await.unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("admin.listen") && text.contains(&first.address().to_string()), "{text}");
    }
}
