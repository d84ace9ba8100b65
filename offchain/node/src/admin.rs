//! The admin server of a role: `/healthz`, `/readyz`, `/metrics`, `/status`, `/reload`.
use std::{fmt, io, net::SocketAddr, sync::Arc, thread};

use anyhow::Context;
use axum::{
    Json, Router,
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures::future::BoxFuture;
use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot, time::timeout};
use tokio_util::sync::CancellationToken;

pub use crate::readiness::Readiness;
use crate::{
    health::{self, Health},
    monitoring,
    readiness::Need,
    reload::ReloadHandle,
};

/// Makes the `/status` document of a role.
pub type Status = Arc<dyn Fn() -> BoxFuture<'static, Value> + Send + Sync>;

/// The admin server, listening but not yet serving.
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

/// What the server shows of a role.
#[derive(Clone)]
pub struct Desk {
    /// What is missing.
    pub readiness: Readiness,
    /// The `/status` document.
    pub status: Status,
    /// Event loop and database.
    pub health: Health,
    /// Reads the configuration again; none where it did not come from a file or the environment.
    pub reload: Option<ReloadHandle>,
    /// Role as the deployed network calls it, if its metrics are to be shown under the names used there too.
    pub deployed_names: Option<&'static str>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("readiness", &self.readiness).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Shared {
    desk: Desk,
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

    /// Serves until `stop`, which should be cancelled last, so that draining can be watched. On a thread of its own: it
    /// must answer when nothing else does.
    ///
    /// # Errors
    /// When accepting fails for good.
    pub async fn serve(self, desk: Desk, stop: CancellationToken) -> anyhow::Result<()> {
        let metrics = crate::telemetry::metrics()?;
        monitoring::describe();
        let listener = self.listener.into_std().context("cannot hand over the admin port")?;
        let router = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(render_metrics))
            .route("/status", get(status_document))
            .route("/reload", post(reload))
            .with_state(Shared { desk, metrics: metrics.clone() });
        tracing::info!(address = %self.address, "admin server listens");
        let (done, ended) = oneshot::channel();
        thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || drop(done.send(serve_here(listener, router, metrics, stop))))
            .context("cannot start the thread of the admin server")?;
        ended.await.context("the thread of the admin server is gone")?
    }
}

/// Serves on this thread alone.
fn serve_here(
    listener: std::net::TcpListener,
    router: Router,
    metrics: PrometheusHandle,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime of the admin server")?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).context("cannot take over the admin port")?;
        let server = axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>());
        let upkeep = crate::telemetry::keep_metrics_small(metrics);
        tokio::select! { biased;
            () = stop.cancelled() => Ok(()),
            ended = server => ended.context("admin server failed"),
            () = upkeep => Ok(()),
        }
    })
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

async fn healthz(State(shared): State<Shared>) -> Response {
    let vitals = shared.desk.health.vitals().await;
    let code = if vitals.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(vitals)).into_response()
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let readiness = &shared.desk.readiness;
    let code = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({ "ready": code == StatusCode::OK, "needs": readiness.needs() });
    (code, Json(body)).into_response()
}

async fn render_metrics(State(shared): State<Shared>) -> impl IntoResponse {
    let needs = shared.desk.readiness.needs();
    gauge!("streamflow_node_ready").set(f64::from(u8::from(needs.values().all(|need| *need == Need::Met))));
    for (name, need) in needs {
        gauge!("streamflow_node_need_met", "need" => name).set(f64::from(u8::from(need == Need::Met)));
    }
    let mut text = shared.metrics.render();
    if let Some(node_type) = shared.desk.deployed_names {
        text.push_str(&monitoring::under_deployed_names(&text, node_type));
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

async fn status_document(State(shared): State<Shared>) -> Response {
    let status = shared.desk.status.clone();
    let asked = shared.desk.health.role().spawn(async move { status().await });
    let Ok(Ok(mut document)) = timeout(health::BOUND, asked).await else {
        let error = format!("no status within {:?}: /healthz says more", health::BOUND);
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": error }))).into_response();
    };
    if let Value::Object(fields) = &mut document {
        fields.insert("ready".into(), shared.desk.readiness.is_ready().into());
    }
    Json(document).into_response()
}

/// Reads the configuration again. From this machine alone, and not from a web page that is open on it.
async fn reload(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    let refuse = |code: StatusCode, error: &str| (code, Json(json!({ "error": error }))).into_response();
    if !peer.ip().to_canonical().is_loopback() || headers.contains_key(header::ORIGIN) {
        return refuse(StatusCode::FORBIDDEN, "a reload is taken from a command on this machine alone, or as SIGHUP");
    }
    let Some(handle) = &shared.desk.reload else {
        return refuse(StatusCode::NOT_FOUND, "this role was started without a configuration to read again");
    };
    match handle.reload().await {
        Ok(report) => Json(report).into_response(),
        Err(error) => refuse(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn served(readiness: &Readiness) -> (String, CancellationToken) {
        let admin = Admin::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let url = format!("http://{}", admin.address());
        let stop = CancellationToken::new();
        let status: Status = Arc::new(|| Box::pin(async { json!({ "role": "test" }) }));
        let (health, readiness) = (Health::here(), readiness.clone());
        let desk = Desk { readiness, status, health, reload: None, deployed_names: Some("bctr") };
        tokio::spawn(admin.serve(desk, stop.clone()));
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
        let text = reqwest::get(format!("{url}/metrics")).await.unwrap().text().await.unwrap();
        assert!(text.contains("streamflow_node_need_met{need=\"chain\"} 0"), "{text}");

        readiness.met("chain");
        assert_eq!(reqwest::get(format!("{url}/readyz")).await.unwrap().status(), 200);
        let status: Value = reqwest::get(format!("{url}/status")).await.unwrap().json().await.unwrap();
        assert_eq!((&status["role"], &status["ready"]), (&"test".into(), &true.into()));
        stop.cancel();
    }

    #[tokio::test]
    async fn health_and_metrics_are_served() {
        let (url, stop) = served(&Readiness::default()).await;
        let health = reqwest::get(format!("{url}/healthz")).await.unwrap();
        assert_eq!(health.status(), 200);
        let health: Value = health.json().await.unwrap();
        assert_eq!(health, json!({ "healthy": true, "event_loop": "ok", "store": "none" }));
        metrics::counter!("streamflow_node_tests_total").increment(1);
        metrics::histogram!("streamflow_node_test_seconds").record(0.2);
        let text = reqwest::get(format!("{url}/metrics")).await.unwrap().text().await.unwrap();
        assert!(text.contains("streamflow_node_tests_total"), "{text}");
        assert!(text.contains("streamflow_node_test_seconds_bucket"), "{text}");
        assert!(text.contains("# HELP streamflow_node_ready "), "{text}");
        stop.cancel();
    }

    #[tokio::test]
    async fn a_web_page_cannot_ask_for_a_reload() {
        let (url, stop) = served(&Readiness::default()).await;
        let post = reqwest::Client::new().post(format!("{url}/reload"));
        let from_page = post.try_clone().unwrap().header(header::ORIGIN, "http://evil.example").send().await.unwrap();
        assert_eq!(from_page.status(), 403);
        assert_eq!(post.send().await.unwrap().status(), 404, "nothing to read again here");
        assert_eq!(reqwest::get(format!("{url}/reload")).await.unwrap().status(), 405);
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
