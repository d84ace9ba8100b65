//! Who is served, and at what price.
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Json, Router, http::StatusCode, routing::post};
use bytes::Bytes;
use serde_json::{Value, json};
use streamflow_orchestrator::OrchestratorConfig;
use streamflow_types::Price;
use streamflow_wire::sign_request;

use crate::{
    fixture::{Broadcaster, Running, World, config},
    paid::Liar,
};

static BODY: Bytes = Bytes::from_static(b"body");

/// A webhook that counts, and says what it is told to.
pub(crate) struct Webhook {
    url: String,
    asked: Arc<AtomicUsize>,
    said: Arc<Mutex<(StatusCode, String)>>,
    questions: Arc<Mutex<Vec<Value>>>,
}

impl Webhook {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/auth", listener.local_addr().unwrap());
        let (asked, questions) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let said = Arc::new(Mutex::new((StatusCode::OK, String::new())));
        let answer = {
            let (asked, said, questions) = (Arc::clone(&asked), Arc::clone(&said), Arc::clone(&questions));
            move |Json(question): Json<Value>| {
                asked.fetch_add(1, Ordering::SeqCst);
                questions.lock().unwrap().push(question);
                let answer = said.lock().unwrap().clone();
                async move { answer }
            }
        };
        let serving = axum::serve(listener, Router::new().route("/auth", post(answer)));
        tokio::spawn(async move { serving.await.unwrap() });
        Self { url, asked, said, questions }
    }

    pub(crate) fn says(&self, status: StatusCode, body: impl Into<String>) {
        *self.said.lock().unwrap() = (status, body.into());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn settings(&self) -> OrchestratorConfig {
        OrchestratorConfig { auth_webhook: self.url.parse().ok(), ..config() }
    }
}

async fn refusal(orchestrator: &Running, broadcaster: &Broadcaster) -> String {
    let request = sign_request(broadcaster.key.as_ref(), None).unwrap();
    orchestrator.grpc().await.get_orchestrator(request).await.unwrap_err().message().to_owned()
}

async fn world() -> World {
    World { local: Some(Arc::new(Liar(100))), ..World::new().await }
}

#[tokio::test]
async fn who_is_let_in_is_asked_about_once_and_pays_the_price_that_is_named() {
    let (world, webhook) = (world().await, Webhook::start().await);
    let orchestrator = world.start_with(webhook.settings()).await;
    webhook.says(StatusCode::OK, json!({"priceInfo": {"pricePerUnit": 9_000_000, "pixelsPerUnit": 3}}).to_string());
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    assert_eq!(offer.price, Some(Price::new(3_000_000, 1).unwrap()));
    assert_eq!(*webhook.questions.lock().unwrap(), [json!({ "id": broadcaster.address().to_string() })]);
    let reply = broadcaster.segment(&orchestrator, &offer, 1, 0, &BODY).await;
    assert_eq!(reply.data().segments.len(), 2);
    broadcaster.offer(&orchestrator).await;
    assert_eq!(webhook.asked(), 1);
    // An empty answer lets in at the price for everybody.
    webhook.says(StatusCode::OK, "");
    let other = Broadcaster::with_key(&orchestrator, 0x0c);
    assert_eq!(other.offer(&orchestrator).await.price, Some(config().price));
}

#[tokio::test]
async fn who_is_refused_is_told_why_and_does_not_get_in_by_the_token_of_another() {
    let (world, webhook) = (world().await, Webhook::start().await);
    let orchestrator = world.start_with(webhook.settings()).await;
    let friend = Broadcaster::new(&orchestrator);
    let offer = friend.offer(&orchestrator).await;
    webhook.says(StatusCode::PAYMENT_REQUIRED, "account is\nclosed");
    let stranger = Broadcaster::with_key(&orchestrator, 0x0c);
    assert_eq!(refusal(&orchestrator, &stranger).await, "authentication failed: account is closed");
    assert_eq!(refusal(&orchestrator, &stranger).await, "authentication failed: account is closed");
    assert_eq!(webhook.asked(), 2, "a refusal is remembered too");
    let reply = stranger.segment(&orchestrator, &offer, 1, 0, &BODY).await;
    assert_eq!((reply.status, reply.text()), (403, "authentication failed: account is closed"));
    webhook.says(StatusCode::FORBIDDEN, "x".repeat(10_000));
    let long = refusal(&orchestrator, &Broadcaster::with_key(&orchestrator, 0x0d)).await;
    assert_eq!(long.len(), "authentication failed: ".len() + 200);
}

#[tokio::test]
async fn webhook_that_fails_lets_nobody_in_and_is_not_shown_to_peers() {
    let (world, webhook) = (world().await, Webhook::start().await);
    let orchestrator = world.start_with(webhook.settings()).await;
    let told = "authentication failed: this node cannot ask whether the account is served, try again later";
    let broadcaster = Broadcaster::new(&orchestrator);
    let bad = [
        "no json".into(),
        json!({"priceInfo": {"pricePerUnit": 1, "pixelsPerUnit": 0}}).to_string(),
        "y".repeat(20_000),
    ];
    for answer in bad {
        webhook.says(StatusCode::OK, answer);
        assert_eq!(refusal(&orchestrator, &broadcaster).await, told);
    }
    // It works again: that nobody could tell is not remembered.
    webhook.says(StatusCode::OK, "");
    broadcaster.offer(&orchestrator).await;
    let nowhere = OrchestratorConfig { auth_webhook: "http://127.0.0.1:9/auth".parse().ok(), ..config() };
    let orchestrator = world.start_with(nowhere).await;
    assert_eq!(refusal(&orchestrator, &Broadcaster::new(&orchestrator)).await, told);
}

#[tokio::test]
async fn single_accounts_have_prices_of_their_own() {
    let world = world().await;
    let plain = world.start().await;
    let friend = Broadcaster::new(&plain).address();
    let own = Price::new(7, 2).unwrap();
    let settings = OrchestratorConfig { prices: BTreeMap::from([(friend, own)]), ..config() };
    let text = toml::to_string(&settings).unwrap();
    assert_eq!(toml::from_str::<OrchestratorConfig>(&text).unwrap().prices, settings.prices);
    let orchestrator = world.start_with(settings).await;
    assert_eq!(Broadcaster::new(&orchestrator).offer(&orchestrator).await.price, Some(own));
    let other = Broadcaster::with_key(&orchestrator, 0x0c);
    assert_eq!(other.offer(&orchestrator).await.price, Some(config().price));
}
