//! Roles as processes: what they say while they wait, and how they stop.
#![allow(clippy::unwrap_used)]

mod logged;
mod operations;
mod process;

use std::{net::SocketAddr, process::Command, time::Duration};

use alloy::primitives::U256;
use serde_json::Value;
use streamflow_testkit::{Database, Deployment, key};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    time::Instant,
};

use self::process::Role;

/// A node that can go away and come back at the same address.
struct Switch {
    listen: SocketAddr,
    target: String,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Switch {
    async fn off(target: &Deployment) -> Self {
        let listen = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        Self { listen, target: format!("127.0.0.1:{}", target.anvil.port()), task: None }
    }

    async fn turn_on(&mut self) {
        let listener = TcpListener::bind(self.listen).await.unwrap();
        let target = self.target.clone();
        self.task = Some(tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let target = target.clone();
                connections.spawn(async move {
                    let mut node = TcpStream::connect(target).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut node).await;
                });
            }
        }));
    }

    async fn turn_off(&mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        let _ = task.await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_waits_for_its_node_and_says_so() {
    let net = Deployment::start().await.unwrap();
    net.initialize_round().await.unwrap();
    let mut node = Switch::off(&net).await;
    let mut keeper = Role::start(
        "keeper",
        &[
            ("CHAIN__RPC_URL", &format!("http://{}", node.listen)),
            ("CHAIN__CONTROLLER", &net.contracts.controller.to_string()),
            ("CHAIN__MAX_BACKOFF", "200ms"),
        ],
    );
    let away = |body: &str| body.contains("no answer from the chain RPC") && body.contains("chain.rpc_url");
    keeper.ready(503, away).await;
    assert_eq!(keeper.get("/healthz").await.0, 200, "a node that is away is no reason to be restarted");

    node.turn_on().await;
    keeper.ready(200, |_| true).await;
    let status: Value = serde_json::from_str(&keeper.get("/status").await.1).unwrap();
    assert_eq!(status["role"], "keeper");
    assert_eq!(status["books"]["tickets"]["pending"]["count"], 0, "{status:#}");
    assert!(keeper.get("/metrics").await.1.contains("streamflow_"));

    node.turn_off().await;
    keeper.ready(503, away).await;
    node.turn_on().await;
    keeper.ready(200, |_| true).await;

    keeper.signal("-TERM");
    assert_eq!(keeper.ends().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_keepers_on_one_postgres_one_waits_and_says_so() {
    let net = Deployment::start().await.unwrap();
    net.initialize_round().await.unwrap();
    let database = Database::postgres().unwrap();
    let settings = [
        ("CHAIN__RPC_URL", net.anvil.url().to_string()),
        ("CHAIN__CONTROLLER", net.contracts.controller.to_string()),
        ("DATA__DATABASE_URL", database.url().to_owned()),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut first = Role::start("keeper", &settings);
    first.ready(200, |_| true).await;
    let mut second = Role::start("keeper", &settings);
    let leader = format!("process {} leads", first.child.id());
    second.ready(503, |body| body.contains(&leader)).await;
    let status: Value = serde_json::from_str(&second.get("/status").await.1).unwrap();
    assert_eq!(status["leads"], false, "{status:#}");

    let stopped = Instant::now();
    first.signal("-TERM");
    assert_eq!(first.ends().await.code(), Some(0));
    second.ready(200, |_| true).await;
    assert!(stopped.elapsed() < Duration::from_secs(25), "a leader that stops hands over before its lease ends");
    second.signal("-TERM");
    assert_eq!(second.ends().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_waits_stops_at_once() {
    let mut keeper = Role::start(
        "keeper",
        &[
            ("CHAIN__RPC_URL", "http://127.0.0.1:1"),
            ("CHAIN__CONTROLLER", "0x00000000000000000000000000000000000000aa"),
        ],
    );
    keeper.ready(503, |body| body.contains("127.0.0.1:1")).await;
    keeper.signal("-INT");
    assert_eq!(keeper.ends().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orchestrator_is_ready_once_a_transcoder_registers() {
    let listen = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let secret = "swordfish";
    let mut orchestrator = Role::start(
        "orchestrator",
        &[
            ("ORCHESTRATOR__LISTEN", &listen),
            ("ORCHESTRATOR__TRANSCODER_SECRET", secret),
            ("TRANSCODING__TRANSCODERS", "remote"),
        ],
    );
    orchestrator.ready(503, |body| body.contains("no transcoder is connected")).await;

    let mut transcoder = Role::start(
        "transcoder",
        &[("TRANSCODER__ORCHESTRATOR", &format!("https://{listen}")), ("TRANSCODER__SECRET", secret)],
    );
    orchestrator.ready(200, |_| true).await;
    transcoder.ready(200, |body| body.contains("encoder")).await;
    let status: Value = serde_json::from_str(&orchestrator.get("/status").await.1).unwrap();
    assert_eq!(status["transcoders"], 1, "{status:#}");

    transcoder.signal("-TERM");
    assert_eq!(transcoder.ends().await.code(), Some(0));
    orchestrator.ready(503, |body| body.contains("no transcoder is connected")).await;
    orchestrator.signal("-TERM");
    assert_eq!(orchestrator.ends().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_names_itself_and_waits_for_a_deposit() {
    let net = Deployment::start().await.unwrap();
    net.initialize_round().await.unwrap();
    let listen = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let mut signer = Role::start(
        "signer",
        &[
            ("CHAIN__RPC_URL", net.anvil.url().as_str()),
            ("CHAIN__CONTROLLER", &net.contracts.controller.to_string()),
            ("SIGNER__LISTEN", &listen),
        ],
    );
    signer.ready(503, |body| body.contains("no deposit or no reserve")).await;
    let identity = reqwest::Client::new().post(format!("http://{listen}/sign-orchestrator-info")).send().await.unwrap();
    let identity: Value = identity.json().await.unwrap();
    let account = key(1).unwrap().address();
    assert_eq!(identity["address"], account.to_checksum(None));
    let status: Value = serde_json::from_str(&signer.get("/status").await.1).unwrap();
    assert_eq!((&status["role"], &status["orchestrators"]), (&"signer".into(), &0.into()), "{status:#}");

    let wei = U256::from(1_000_000);
    net.fund_sender(&key(1).unwrap(), wei, wei).await.unwrap();
    signer.ready(200, |_| true).await;
    signer.signal("-TERM");
    assert_eq!(signer.ends().await.code(), Some(0));
}

#[test]
fn a_public_signer_without_a_webhook_does_not_start() {
    let start = |extra: &[(&str, &str)]| {
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_streamflow"));
        command.arg("signer").env("HOME", home.path()).env("STREAMFLOW_SIGNER__LISTEN", "0.0.0.0:0");
        let output = command.envs(extra.iter().copied()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = start(&[]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("signer.auth.webhook") && text.contains("signer.allow_no_auth"), "{text}");
    let (code, text) =
        start(&[("STREAMFLOW_SIGNER__ALLOW_NO_AUTH", "true"), ("STREAMFLOW_ADMIN__LISTEN", "127.0.0.1:0")]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("chain.controller"), "told otherwise it goes on to the next question: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_service_port_names_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    for (role, setting) in [("orchestrator", "orchestrator.listen"), ("broadcaster", "broadcaster.listen")] {
        let home = tempfile::tempdir().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_streamflow"))
            .arg(role)
            .env("HOME", home.path())
            .env("STREAMFLOW_ADMIN__LISTEN", "127.0.0.1:0")
            .env(format!("STREAMFLOW_{}__LISTEN", role.to_uppercase()), &listen)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(setting) && text.contains(&listen), "{text}");
    }
}
