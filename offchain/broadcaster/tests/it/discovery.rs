//! Where orchestrators are found, who of them is used, and what is said about it.
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use streamflow_broadcaster::Candidate;
use streamflow_store::Store;
use streamflow_types::Price;
use tokio::net::TcpListener;
use url::Url;

use crate::{
    clip,
    fixture::{Setup, until},
    orchestrator::{Conduct, FakeOrchestrator},
};

/// Answers with whatever it is told.
struct Webhook {
    answer: Arc<Mutex<(StatusCode, String)>>,
    asked: Arc<AtomicUsize>,
    url: Url,
    task: tokio::task::JoinHandle<()>,
}

type Answer = (Arc<Mutex<(StatusCode, String)>>, Arc<AtomicUsize>);

impl Webhook {
    async fn start(status: StatusCode, body: String) -> Self {
        let (answer, asked) = (Arc::new(Mutex::new((status, body))), Arc::new(AtomicUsize::new(0)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/list", listener.local_addr().unwrap()).parse().unwrap();
        let router = Router::new().route("/list", get(answered)).with_state((answer.clone(), asked.clone()));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { answer, asked, url, task }
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answered(State((answer, asked)): State<Answer>) -> impl IntoResponse {
    asked.fetch_add(1, Ordering::SeqCst);
    answer.lock().unwrap().clone()
}

fn listed(entries: &[(&Url, f64)]) -> String {
    let entries: Vec<String> =
        entries.iter().map(|(url, score)| format!(r#"{{"address":"{url}","score":{score}}}"#)).collect();
    format!("[{}]", entries.join(","))
}

#[tokio::test]
async fn those_a_webhook_trusts_come_first_and_the_others_take_what_they_cannot() {
    let own = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let other = FakeOrchestrator::start(2, Conduct::Honest, true).await;
    let webhook = Webhook::start(StatusCode::OK, listed(&[(&other.url(), 0.0), (&own.url(), 1.0)])).await;
    let with_webhook = |setup: &mut Setup| {
        setup.config.discovery.webhook = Some(webhook.url.clone());
        setup.config.selection.deadline_percent = 2000;
    };
    let running = Setup::new(&[]).with(with_webhook).start().await;
    until("the list", || running.handle.status().sessions.len() == 2).await;
    running.push_clip("movie", 0).await;
    own.behave(Conduct::Fails("OrchestratorBusy"));
    running.push_clip("movie", 1).await;
    assert_eq!((own.seen().segments, other.seen().segments), (vec![0, 1], vec![1]));
    let session = running.handle.status().sessions.into_iter().find(|s| s.url == own.url()).unwrap();
    assert_eq!((session.own, session.failures), (true, 0), "busy is no fault");
    assert_eq!(webhook.asked.load(Ordering::SeqCst), 1, "once a minute at most");
    running.stop().await;
}

#[tokio::test]
async fn a_webhook_that_fails_is_waited_for_and_the_stream_is_refused_meanwhile() {
    for (status, body) in [
        (StatusCode::INTERNAL_SERVER_ERROR, "[]".to_owned()),
        (StatusCode::OK, "<html>".to_owned()),
        (StatusCode::OK, format!("[{}]", " ".repeat(2 << 20))),
    ] {
        let webhook = Webhook::start(status, body).await;
        let running = Setup::new(&[]).with(|s| s.config.discovery.webhook = Some(webhook.url.clone())).start().await;
        until("the question", || webhook.asked.load(Ordering::SeqCst) == 1).await;
        let reply = running.push("/live/movie/0.ts", clip::segment(0)).await;
        assert_eq!(reply.status(), 503);
        assert!(reply.text().await.unwrap().contains("No sessions available: no orchestrator is known"));
        assert!(webhook.answer.lock().is_ok());
        running.stop().await;
    }
}

#[tokio::test]
async fn named_orchestrators_overflow_to_those_on_chain_only_if_that_is_wanted() {
    for overflow in [false, true] {
        let own = FakeOrchestrator::start(1, Conduct::Fails("OrchestratorBusy"), true).await;
        let market = FakeOrchestrator::start(2, Conduct::Honest, true).await;
        let setup = Setup::new(&[own.url()]).with(|setup| {
            setup.config.discovery.overflow = overflow;
            setup.candidates = vec![Candidate::of_market(market.url(), Some(market.account()))];
        });
        let running = setup.start().await;
        until("the lists", || running.handle.status().sessions.len() == 1 + usize::from(overflow)).await;
        let reply = running.push("/live/movie/0.ts", clip::segment(0)).await;
        assert_eq!(reply.status().is_success(), overflow, "{}", reply.text().await.unwrap());
        assert_eq!(market.seen().segments.len(), usize::from(overflow));
        running.stop().await;
    }
}

#[tokio::test]
async fn a_push_that_nobody_may_serve_is_told_how_many_were_dropped_for_what() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let frugal = |setup: &mut Setup| setup.config.payment.max_price = Some(Price::new(1, 1001).unwrap());
    let running = Setup::new(&[orchestrator.url()]).with(frugal).start().await;
    until("the price", || running.handle.status().sessions[0].code == "price").await;
    let reply = running.push("/live/movie/0.ts", clip::segment(0)).await;
    assert_eq!(reply.status(), 503);
    let text = reply.text().await.unwrap();
    for part in [
        "No sessions available: none of 1 orchestrators may be used",
        "1 × price 1/1000 wei per pixel is more than the maximum 1/1001 wei per pixel",
        "setting broadcaster.payment.max_price",
    ] {
        assert!(text.contains(part), "{text}");
    }
    running.stop().await;
}

#[tokio::test]
async fn the_status_explains_the_choice_of_each_stream() {
    let first = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let second = FakeOrchestrator::start(2, Conduct::NoQuote, true).await;
    let unhurried = |setup: &mut Setup| setup.config.selection.deadline_percent = 2000;
    let running = Setup::new(&[first.url(), second.url()]).with(unhurried).start().await;
    until("the refusal", || running.handle.status().sessions.iter().any(|s| s.code == "suspended")).await;
    running.push_clip("movie", 0).await;
    let status: serde_json::Value = running.get("/status").await.json().await.unwrap();
    let choice = &status["streams"][0]["choice"];
    assert_eq!(choice["orchestrator"], first.url().as_str());
    let candidates = choice["candidates"].as_array().unwrap();
    assert_eq!((&candidates[0]["code"], &candidates[1]["code"]), (&"chosen".into(), &"suspended".into()));
    let why = candidates[1]["why"].as_str().unwrap();
    assert!(why.contains(" s more, after: ") && why.contains("insufficient sender reserve"), "{why}");
    assert_eq!(status["pool"]["listed"], 2);
    running.stop().await;
}

/// After a restart nobody has read the chain yet, and the stream starts all the same.
#[tokio::test]
async fn a_stream_starts_on_those_that_the_last_run_knew() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let store = Store::in_memory().await.unwrap();
    let market = vec![Candidate::of_market(orchestrator.url(), Some(orchestrator.account()))];
    let cached = |setup: &mut Setup| setup.cache = Some(store.clone());
    let running = Setup::new(&[]).with(cached).with(|setup| setup.candidates = market).start().await;
    until("the list", || !running.handle.status().sessions.is_empty()).await;
    running.push_clip("movie", 0).await;
    running.stop().await;
    let known = store.known_orchestrators(9).await.unwrap();
    assert_eq!((known.len(), known[0].served, known[0].account), (1, 1, Some(orchestrator.account())));
    assert!(known[0].latency_ppm.is_some() && known[0].price.is_some(), "{known:?}");

    let restarted = Setup::new(&[]).with(cached).start().await;
    restarted.push_clip("movie", 1).await;
    assert_eq!(orchestrator.seen().segments, [0, 1]);
    restarted.stop().await;
}

#[tokio::test]
async fn probes_open_no_session_and_do_not_go_to_all_at_every_stream() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    until("the quote", || running.handle.status().sessions[0].code == "usable").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(orchestrator.quotes(), 1, "once in an interval");
    running.stop().await;
    assert!(orchestrator.seen().ended.is_empty(), "there is no session to end");
}
