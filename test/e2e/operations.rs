//! What an operator does and reads while streams are live.
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use alloy::{hex, primitives::U256};
use serde_json::Value;
use streamflow_pm::KeySigner;
use streamflow_store::{Store, TicketStatus};
use streamflow_wire::{AnyCertificate, Offer, proto::orchestrator_client::OrchestratorClient, sign_request};
use tonic::transport::{ClientTlsConfig, Endpoint};

use crate::devnet::Devnet;

const ORCHESTRATORS: [&str; 2] = ["orchestrator-1", "orchestrator-2"];
const PORT_OFFSET: u16 = 15_000;
const OLD_PRICE: u64 = 20_000_000;
const NEW_PRICE: u64 = 21_000_000;

/// Acceptance: a price that changes while a stream is live holds for the next quote, the stream goes on, every segment and
/// payment has its span in every role, and no log at any level tells a secret.
#[tokio::test]
async fn a_price_changes_under_a_live_stream_and_no_log_tells_a_secret() {
    let mut net = Devnet::start_with(PORT_OFFSET, &[], &[("LOG__LEVEL", "trace"), ("LOG__FORMAT", "json")]);
    net.wait_for("the third segment", |net| {
        let status = net.status()?;
        (status["segments"]["transcoded"].as_u64()? >= 3).then_some(())
    });
    let account = KeySigner::from_bytes(key(&net.dir(), "broadcaster")).unwrap();
    assert_eq!(quoted(&account).await, [OLD_PRICE; 2]);
    for name in ORCHESTRATORS {
        let file = net.dir().join(format!("{name}.toml"));
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(&OLD_PRICE.to_string()), "{text}");
        fs::write(&file, text.replace(&OLD_PRICE.to_string(), &NEW_PRICE.to_string())).unwrap();
        let pid = net.pid(name).to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    }
    let log = |net: &Devnet, name: &str| fs::read_to_string(log_file(&net.dir(), name)).unwrap_or_default();
    net.wait_for("both orchestrators to read their files again", |net| {
        ORCHESTRATORS.iter().all(|name| log(net, name).contains("configuration read again")).then_some(())
    });
    assert_eq!(quoted(&account).await, [NEW_PRICE; 2]);

    let summary = net.summary();
    let segments = &summary["segments"];
    assert_eq!(segments["failed"], 0, "{summary:#}");
    assert_eq!(segments["source"], segments["transcoded"], "{summary:#}");

    let names = ["broadcaster", "orchestrator-1", "orchestrator-2", "transcoder", "keeper"];
    let logs: BTreeMap<_, _> = names.iter().map(|name| (*name, log(&net, name))).collect();
    spans_follow_a_segment(&logs);
    for (what, secret, where_not) in secrets(&net.dir()).await {
        assert!(secret.len() >= 32, "{what} is too short to be looked for");
        for (name, log) in logs.iter().filter(|(name, _)| where_not.as_ref().is_none_or(|only| only.contains(*name))) {
            let found = log.lines().find(|line| line.to_lowercase().contains(&secret));
            assert!(found.is_none(), "the log of {name} tells {what}: {found:?}");
        }
    }
}

/// What both orchestrators ask now.
async fn quoted(account: &KeySigner) -> [u64; 2] {
    let mut prices = [0; 2];
    for (price, port) in prices.iter_mut().zip([8935, 8936]) {
        let url = format!("https://127.0.0.1:{}", port + PORT_OFFSET);
        let tls = Arc::new(AnyCertificate::default());
        let endpoint = Endpoint::from_shared(url).unwrap();
        let channel = endpoint.tls_config_with_verifier(ClientTlsConfig::new(), tls).unwrap().connect().await.unwrap();
        let request = sign_request(account, None).unwrap();
        let mut orchestrator = OrchestratorClient::new(channel);
        let info = orchestrator.get_orchestrator(request).await.unwrap();
        *price = Offer::from_proto(info.into_inner()).unwrap().price.unwrap().wei_per_unit();
    }
    prices
}

fn log_file(net: &Path, name: &str) -> PathBuf {
    net.join("logs").join(format!("{name}.log"))
}

fn key(net: &Path, name: &str) -> [u8; 32] {
    let text = fs::read_to_string(net.join("keys").join(format!("{name}.key"))).unwrap();
    hex::decode(text.trim()).unwrap().try_into().unwrap()
}

/// Log lines of `name` inside a span of this name that has these fields.
fn lines_in<'a>(log: &'a str, span: &'a str, fields: &'a [&'a str]) -> impl Iterator<Item = Value> + 'a {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(move |line| {
        let spans = line["spans"].as_array().map_or(&[][..], Vec::as_slice);
        spans.iter().any(|found| found["name"] == span && fields.iter().all(|field| !found[*field].is_null()))
    })
}

/// One segment is found in every role by stream, number and session.
fn spans_follow_a_segment(logs: &BTreeMap<&str, String>) {
    let segment = lines_in(&logs["transcoder"], "segment", &["stream", "seq", "session", "task_id"])
        .flat_map(|line| line["spans"].as_array().unwrap().clone())
        .find(|span| span["name"] == "segment")
        .expect("the transcoder says which segment it works on");
    let same = |line: &Value, fields: &[&str]| {
        let spans = line["spans"].as_array().unwrap();
        fields.iter().all(|field| spans.iter().any(|span| span[*field] == segment[*field]))
    };
    let at_orchestrator = lines_in(&logs["orchestrator-1"], "segment", &["stream", "seq", "session"])
        .any(|line| line["message"] == "segment done" && same(&line, &["stream", "seq", "session"]));
    assert!(at_orchestrator, "orchestrator-1 knows nothing of {segment:#}");
    let at_broadcaster = lines_in(&logs["broadcaster"], "attempt", &["session", "orchestrator"])
        .any(|line| same(&line, &["stream", "seq", "session"]));
    assert!(at_broadcaster, "the broadcaster knows nothing of {segment:#}");
    let paid = |name: &str, message: &str, fields: &[&str]| {
        let found = lines_in(&logs[name], "payment", fields).any(|line| line["message"] == message);
        assert!(found, "{name} has no line {message:?} in the span of a payment");
    };
    paid("broadcaster", "tickets signed", &["recipient"]);
    paid("orchestrator-1", "tickets taken", &["sender", "tickets"]);
    let redeemed = logs["keeper"]
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|line| (line["message"] == "ticket redeemed").then(|| line["ticket"].as_str().unwrap().to_owned()));
    let redeemed = redeemed.expect("the keeper names the tickets that it redeemed");
    let won = ORCHESTRATORS.iter().any(|name| {
        lines_in(&logs[name], "payment", &[]).any(|line| line["message"] == "ticket won" && line["ticket"] == *redeemed)
    });
    assert!(won, "no orchestrator told that {redeemed} won");
}

/// What no log may tell, in lower case; with the roles that it concerns, if not all.
async fn secrets(net: &Path) -> Vec<(String, String, Option<Vec<&'static str>>)> {
    let mut secrets = Vec::new();
    for entry in fs::read_dir(net.join("keys")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap().trim().to_lowercase();
        secrets.push((format!("the key in {}", path.display()), text, None));
    }
    assert!(secrets.len() >= 6);
    let config: toml::Table = toml::from_str(&fs::read_to_string(net.join("orchestrator-1.toml")).unwrap()).unwrap();
    let shared = config["orchestrator"]["transcoder_secret"].as_str().unwrap().to_owned();
    secrets.push(("the secret of the transcoders".to_owned(), shared, None));
    let data = PathBuf::from(config["data"]["dir"].as_str().unwrap());
    let tokens = hex::encode(fs::read(data.join("orchestrator-secret")).unwrap());
    secrets.push(("the secret of the session tokens".to_owned(), tokens, None));
    // Whoever redeems reveals the numbers of the winners, so that they may be in the keeper's log.
    let others = vec!["broadcaster", "orchestrator-1", "orchestrator-2", "transcoder"];
    let store = Store::open(data.join("streamflow.sqlite3")).await.unwrap();
    let winners = store.tickets(Some(TicketStatus::Redeemed), 1000).await.unwrap();
    assert!(!winners.is_empty());
    for winner in winners {
        let rand: U256 = winner.ticket.recipient_rand;
        for text in [hex::encode(rand.to_be_bytes::<32>()), rand.to_string()] {
            secrets.push(("a winner's recipient_rand".to_owned(), text, Some(others.clone())));
        }
    }
    store.close().await;
    secrets
}
