//! What an operator sees of a role from outside: whether it is ready and why not, and a configuration read again.
use std::{fs, io::Write as _, time::Duration};

use alloy::primitives::U256;
use serde_json::{Value, json};
use streamflow_testkit::{Deployment, key};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
};

use crate::process::Role;

async fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

fn need<'a>(body: &'a Value, name: &str) -> &'a Value {
    &body["needs"][name]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_stands_still_is_told_with_its_age_the_limit_and_the_setting() {
    let net = Deployment::start().await.unwrap();
    net.initialize_round().await.unwrap();
    let (rpc, controller) = (net.anvil.url(), net.contracts.controller.to_string());
    let settings = [
        ("CHAIN__RPC_URL", rpc.as_str()),
        ("CHAIN__CONTROLLER", &controller),
        ("CHAIN__MAX_HEAD_AGE", "4s"),
        ("CHAIN__MAX_BACKOFF", "200ms"),
    ];
    net.anvil.mine(1).await.unwrap();
    let mut keeper = Role::start("keeper", &settings);
    let stale =
        |body: &str| body.contains("s old") && body.contains("4 s are allowed") && body.contains("chain.max_head_age");
    // Nobody mines from here on.
    keeper.ready(503, stale).await;
    let (code, health) = keeper.get("/healthz").await;
    assert_eq!(code, 200, "a chain that stands still is no reason to be restarted: {health}");
    assert_eq!(serde_json::from_str::<Value>(&health).unwrap()["store"], "ok");
    let mining = async {
        loop {
            net.anvil.mine(1).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! { biased;
        () = keeper.ready(200, |_| true) => {}
        () = mining => {}
    }
    let (_, metrics) = keeper.get("/metrics").await;
    assert!(metrics.contains("streamflow_chain_head_age_seconds"), "{metrics}");
    keeper.ready(503, stale).await;
    drop(net);
    keeper.ready(503, |body| body.contains("no answer from the chain RPC") && body.contains("chain.rpc_url")).await;
    keeper.signal("-TERM");
    assert_eq!(keeper.ends().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_before_a_winner_is_lost() {
    let net = Deployment::start().await.unwrap();
    net.initialize_round().await.unwrap();
    let (rpc, controller) = (net.anvil.url(), net.contracts.controller.to_string());
    let settings =
        [("CHAIN__RPC_URL", rpc.as_str()), ("CHAIN__CONTROLLER", &controller), ("DATA__MIN_FREE_BYTES", "1000000")];
    let mut keeper = Role::start_on_a_small_disk("keeper", &settings);
    keeper.ready(200, |_| true).await;

    let ballast = keeper.home().join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    while file.write_all(&[7; 4096]).is_ok() {}
    let told = |body: &str| {
        let body: Value = serde_json::from_str(body).unwrap();
        let disk = need(&body, "disk");
        need(&body, "store")["state"] == "missing"
            && disk["setting"] == "data.min_free_bytes"
            && disk["limit"] == 1_000_000
            && disk["got"].as_u64().unwrap() < 1_000_000
    };
    keeper.ready(503, told).await;
    let (_, body) = keeper.get("/readyz").await;
    assert!(body.contains("free disk space where it lies"), "{body}");

    fs::remove_file(&ballast).unwrap();
    drop(file);
    keeper.ready(200, |_| true).await;
    keeper.signal("-TERM");
    assert_eq!(keeper.ends().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_drains_says_so_until_it_ends() {
    let net = Deployment::start().await.unwrap();
    net.initialize_round().await.unwrap();
    let wei = U256::from(1_000_000);
    net.fund_sender(&key(1).unwrap(), wei, wei).await.unwrap();
    let (rpc, controller, listen) = (net.anvil.url(), net.contracts.controller.to_string(), free_port().await);
    let settings = [("CHAIN__RPC_URL", rpc.as_str()), ("CHAIN__CONTROLLER", &controller), ("SIGNER__LISTEN", &listen)];
    let mut signer = Role::start("signer", &settings);
    signer.ready(200, |_| true).await;
    // A request whose body does not come: what was begun is waited for.
    let mut slow = TcpStream::connect(&listen).await.unwrap();
    slow.write_all(b"POST /generate-live-payment HTTP/1.1\r\nHost: s\r\nContent-Length: 9\r\n\r\n{").await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    signer.signal("-TERM");
    signer.ready(503, |body| body.contains("draining")).await;
    drop(slow);
    assert_eq!(signer.ends().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transcoder_without_orchestrator_says_which_one_it_cannot_reach() {
    let orchestrator = format!("https://{}", free_port().await);
    let settings = [
        ("TRANSCODER__ORCHESTRATOR", orchestrator.as_str()),
        ("TRANSCODER__SECRET", "swordfish"),
        ("ADMIN__DEPLOYED_METRIC_NAMES", "true"),
    ];
    let mut transcoder = Role::start("transcoder", &settings);
    let told = |body: &str| body.contains(&orchestrator) && body.contains("transcoder.orchestrator");
    transcoder.ready(503, told).await;
    let (_, metrics) = transcoder.get("/metrics").await;
    for line in ["streamflow_node_need_met{need=\"orchestrator\"} 0", "livepeer_versions{node_type=\"trcr\","] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    let undescribed = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let undescribed: Vec<_> = undescribed.filter(|name| !metrics.contains(&format!("# HELP {name} "))).collect();
    assert!(undescribed.is_empty(), "{undescribed:?} are shown without a text");
    transcoder.signal("-TERM");
    assert_eq!(transcoder.ends().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcaster_names_the_signer_and_the_orchestrators_that_it_lacks() {
    let (signer, listen) = (format!("http://{}", free_port().await), free_port().await);
    let settings = [("BROADCASTER__SIGNER", signer.as_str()), ("BROADCASTER__LISTEN", &listen)];
    let broadcaster = Role::start("broadcaster", &settings);
    broadcaster.ready(503, |body| body.contains("remote signer") && body.contains("broadcaster.signer")).await;
    let alone = Role::start("broadcaster", &[("BROADCASTER__LISTEN", &free_port().await)]);
    alone
        .ready(503, |body| body.contains("no orchestrator is known") && body.contains("broadcaster.orchestrators"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_read_again_changes_what_it_can_and_names_the_rest() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("orchestrator.toml");
    let write = |price: &str, sessions: &str, ratio: &str, level: &str| {
        let text = format!(
            "[orchestrator]\nlisten = \"127.0.0.1:0\"\nprice = {{ wei_per_unit = {price}, pixels_per_unit = 1 }}\n\
             max_sessions = {sessions}\nadmission.max_ratio = {ratio}\n[log]\nlevel = \"{level}\"\n"
        );
        fs::write(&file, text).unwrap();
    };
    write("5", "3", "0.8", "info");
    let settings = [("CONFIG", file.to_str().unwrap()), ("TRANSCODING__TRANSCODERS", "remote")];
    let mut orchestrator = Role::start("orchestrator", &settings);
    let reload = async || {
        let post = reqwest::Client::new().post(format!("{}/reload", orchestrator.admin)).send().await.unwrap();
        (post.status().as_u16(), post.json::<Value>().await.unwrap())
    };
    orchestrator.ready(503, |body| body.contains("no transcoder is connected")).await;
    assert_eq!(reload().await, (200, json!({ "applied": [], "restart_needed": [] })));

    write("6", "4", "0.7", "debug");
    let (code, report) = reload().await;
    assert_eq!(code, 200, "{report:#}");
    let change = |setting: &str, old: &str, new: &str| json!({ "setting": setting, "old": old, "new": new });
    assert_eq!(
        report["applied"],
        json!([
            change("log.level", "\"info\"", "\"debug\""),
            change("orchestrator.admission.max_ratio", "0.8", "0.7"),
            change("orchestrator.price.wei_per_unit", "5", "6"),
        ])
    );
    assert_eq!(report["restart_needed"], json!([change("orchestrator.max_sessions", "3", "4")]));

    write("7", "0", "0.7", "debug");
    let (code, refused) = reload().await;
    let error = refused["error"].as_str().unwrap();
    assert_eq!(code, 422, "{refused}");
    assert!(error.contains("nothing was changed") && error.contains("max_sessions"), "{error}");

    write("8", "3", "0.7", "debug");
    orchestrator.signal("-HUP");
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        // What the signal has applied is no news any more.
        let (_, report) = reload().await;
        if report["applied"] == json!([]) {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "{report:#}");
    }
    orchestrator.signal("-TERM");
    assert_eq!(orchestrator.ends().await.code(), Some(0));
}
