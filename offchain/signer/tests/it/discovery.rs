//! `GET /discover-orchestrators` (payments.md §2.1).
use axum::{Json, Router, routing::get};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

use crate::fixture::{Reply, Running, Setup};

async fn orchestrator(answer: Value) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let router = Router::new().route("/discovery", get(async move || Json(answer)));
    tokio::spawn(axum::serve(listener, router).into_future());
    url
}

async fn discover(signer: &Running, query: &str) -> Reply {
    Reply::read(signer.http.get(format!("{}/discover-orchestrators{query}", signer.url)).send().await.unwrap()).await
}

async fn serving(orchestrators: Vec<Url>) -> Running {
    Setup::default()
        .with(|setup| {
            setup.config.discovery.enabled = true;
            setup.config.discovery.orchestrators = orchestrators;
            setup.roster = None;
        })
        .start()
        .await
}

#[tokio::test]
async fn orchestrators_are_listed_with_what_they_can_do() {
    let one = orchestrator(json!([{ "capabilities": ["live-video-to-video/a", "llm/b"] }])).await;
    let runner = json!({ "url": "https://r.example/", "app": "fast/c",
        "price": { "price": 2, "currency": "wei", "unit": "fixed" } });
    let two = orchestrator(json!({ "capabilities": ["llm/b"], "runners": [runner, { "url": "x" }] })).await;
    let signer = serving(vec![one.clone(), two.clone(), one.clone()]).await;
    let address = |url: &Url| url.as_str().trim_end_matches('/').to_owned();
    let all = discover(&signer, "").await;
    assert_eq!((all.status, all.body.as_array().unwrap().len()), (200, 2), "{}", all.body);
    let of = async |query: &str| -> Vec<String> {
        let list = discover(&signer, query).await.body;
        list.as_array().unwrap().iter().map(|o| o["address"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(of("?caps=live-video-to-video%2Fa").await, [address(&one)]);
    assert_eq!(of("?caps=fast/c&caps=").await, [address(&two)]);
    assert_eq!(of("?caps=live-video-to-video/a&caps=fast/c").await.len(), 2);
    assert!(of("?caps=other").await.is_empty());
    let entry = all.body.as_array().unwrap().iter().find(|o| o["address"] == address(&two)).unwrap().clone();
    assert_eq!(entry["runners"].as_array().unwrap().len(), 1, "the unusable one is left out");
    assert_eq!(entry["score"], 1.0);
    let plain = all.body.as_array().unwrap().iter().find(|o| o["address"] == address(&one)).unwrap();
    assert!(plain.get("runners").is_none(), "empty fields are left out");
}

#[tokio::test]
async fn a_webhook_lists_and_scores() {
    let one = orchestrator(json!([])).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let list = json!([{ "address": one, "score": 0.25 }]);
    let router = Router::new().route("/", get(async move || Json(list)));
    tokio::spawn(axum::serve(listener, router).into_future());
    let signer = Setup::default()
        .with(|setup| {
            setup.config.discovery.enabled = true;
            setup.config.discovery.webhook = Some(url);
        })
        .start()
        .await;
    assert_eq!(discover(&signer, "").await.body[0]["score"], 0.25);
}

#[tokio::test]
async fn while_nobody_is_known_the_list_is_unavailable() {
    let signer = serving(Vec::new()).await;
    assert_eq!(discover(&signer, "").await.refused(), (503, "Service Unavailable Error"));
    signer.roster.send_replace(Some(crate::fixture::active(&[crate::fixture::ORCHESTRATOR])));
    let found = discover(&signer, "").await;
    assert_eq!(found.body, json!([{ "address": crate::fixture::SERVICE_URI, "score": 1.0 }]));
}

#[tokio::test]
async fn it_is_not_served_unless_it_is_turned_on() {
    let signer = Setup::default().start().await;
    assert_eq!(discover(&signer, "").await.status, 404);
}
