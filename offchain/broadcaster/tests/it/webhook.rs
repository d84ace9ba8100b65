//! A webhook that says who may publish.
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::post};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use streamflow_types::Secret;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    clip::{self, Cheat},
    fixture::{Running, Setup, client},
    orchestrator::{Conduct, FakeOrchestrator},
};

/// Answers by what the address contains, and remembers what it was asked.
pub(crate) struct Hook {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.server.abort();
    }
}

type Asked = Arc<Mutex<Vec<String>>>;
pub(crate) type Answers = BTreeMap<&'static str, (u16, Value)>;

impl Hook {
    pub(crate) async fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?secret=h00k", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let state = (asked.clone(), Arc::new(answers));
        let answer = async |State((asked, answers)): State<(Asked, Arc<Answers>)>, Json(question): Json<Value>| {
            let url = question["url"].as_str().unwrap().to_owned();
            let found = answers.iter().find(|(part, _)| url.contains(**part)).map(|(_, answer)| answer.clone());
            asked.lock().unwrap().push(url);
            let (status, body) = found.unwrap_or((200, Value::Null));
            let body = if body.is_null() { String::new() } else { body.to_string() };
            (StatusCode::from_u16(status).unwrap(), body).into_response()
        };
        let router = Router::new().route("/hook", post(answer)).with_state(state);
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, asked, server }
    }
}

async fn push(running: &Running, path: &str, headers: HeaderMap) -> (u16, String) {
    let request = client().post(running.url(path)).header("Accept", "multipart/mixed").headers(headers);
    let reply = request.body(clip::segment(0)).send().await.unwrap();
    (reply.status().as_u16(), String::from_utf8_lossy(&reply.bytes().await.unwrap()).into_owned())
}

fn asking(configuration: &Value) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Livepeer-Transcode-Configuration", configuration.to_string().parse().unwrap());
    headers
}

#[tokio::test]
async fn the_webhook_decides_who_publishes_and_what_is_made_of_it() {
    let small = json!([{ "width": 160, "height": 90, "bitrate": 100_000, "gop": "1", "profile": "H264Main" }]);
    let answers = BTreeMap::from([
        ("refused", (403, Value::Null)),
        ("nonsense", (200, json!({ "manifestID": "a/b" }))),
        ("unknown", (200, json!({ "manifestID": "x", "presets": ["P1080p"] }))),
        ("renamed", (200, json!({ "manifestID": "real", "streamKey": "k3y", "profiles": small }))),
    ]);
    let hook = Hook::start(answers).await;
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let hooked = |setup: &mut Setup| setup.config.auth_webhook_url = Some(Secret::new(&hook.url));
    let running = Setup::new(&[orchestrator.url()]).with(hooked).start().await;
    let none = HeaderMap::new;
    let refusals = [
        ("refused", "webhook answered 403 Forbidden, not 200"),
        ("nonsense", "manifestID cannot be used: manifest id contains '/'"),
        ("unknown", "preset \"P1080p\" is not known"),
    ];
    for (name, reason) in refusals {
        let (status, text) = push(&running, &format!("/live/{name}/0.ts"), none()).await;
        assert!(status == 403 && text.contains(reason) && !text.contains("h00k"), "{status} {text}");
    }
    let (status, text) = push(&running, "/live/allowed/0.ts?token=t", none()).await;
    assert!(status == 200 && text.contains("180p_0.ts"), "{status}");
    let (status, text) = push(&running, "/live/renamed/part/0.ts", asking(&json!({ "profiles": small }))).await;
    assert!(status == 200 && text.contains("custom_160x90_100000_0.ts") && !text.contains("180p_0.ts"), "{status}");
    let (status, text) = push(&running, "/live/renamed/1.ts", asking(&json!({ "presets": ["P144p30fps16x9"] }))).await;
    assert!(status == 400 && text.contains("asks for 1 renditions that differ from the 1 of stream real"), "{text}");
    assert_eq!(push(&running, "/live/renamed/1.ts", none()).await.0, 200);
    assert!(running.text("/stream/real.m3u8").await.contains("real/custom_160x90_100000.m3u8"));
    let asked = hook.asked.lock().unwrap().clone();
    // Once for each stream, not for each segment.
    assert_eq!(asked.iter().filter(|url| url.contains("renamed")).count(), 1, "{asked:?}");
    assert!(asked.contains(&running.url("/live/allowed/0.ts?token=t")), "{asked:?}");
    running.stop().await;
}

#[tokio::test]
async fn renditions_may_be_asked_for_by_the_encoder() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    let one = json!({ "profiles": [{ "name": "tiny", "width": 96, "height": 54, "bitrate": 50_000 }] });
    let (status, text) = push(&running, "/live/movie/0.ts", asking(&one)).await;
    assert!(status == 200 && text.contains("tiny_0.ts") && !text.contains("180p_0.ts"), "{status}");
    let (status, text) = push(&running, "/live/other/0.ts", asking(&json!({ "profiles": [{ "width": 1 }] }))).await;
    assert!(status == 400 && text.contains("custom_1x0_0"), "{status} {text}");
    running.stop().await;
}

#[tokio::test]
async fn a_webhook_that_does_not_answer_admits_nobody() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let dead = |setup: &mut Setup| setup.config.auth_webhook_url = Some(Secret::new("http://127.0.0.1:1/?secret=h00k"));
    let running = Setup::new(&[orchestrator.url()]).with(dead).start().await;
    let (status, text) = push(&running, "/live/movie/0.ts", HeaderMap::new()).await;
    assert!(status == 403 && text.contains("setting broadcaster.auth_webhook_url") && !text.contains("h00k"), "{text}");
    running.stop().await;
}

#[tokio::test]
async fn what_a_webhook_orders_for_a_stream_is_done_for_it_alone() {
    let orders = json!({ "manifestID": "watched", "verificationFreq": 1, "forceSessionReinit": true });
    let hook = Hook::start(BTreeMap::from([("watched", (200, orders))])).await;
    let cheat = FakeOrchestrator::start(1, Conduct::Cheats(Cheat::BlackFrames), true).await;
    let hooked = |setup: &mut Setup| {
        setup.config.auth_webhook_url = Some(Secret::new(&hook.url));
        (setup.config.verification.one_in, setup.config.verification.probation) = (0, 0);
        // The cheat encodes on a machine that is busy with other tests.
        (setup.config.max_attempts, setup.config.timeout_multiplier) = (1, 10);
    };
    let running = Setup::new(&[cheat.url()]).with(hooked).start().await;
    let (status, text) = push(&running, "/live/plain/0.ts", HeaderMap::new()).await;
    assert_eq!((status, cheat.seen().fresh_decoders), (200, vec![false]), "nothing is compared: {text}");
    let (status, text) = push(&running, "/live/watched/0.ts", HeaderMap::new()).await;
    assert_eq!((status, cheat.seen().fresh_decoders), (500, vec![false, true]), "{text}");
    assert!(text.contains("black"), "{text}");
    running.stop().await;
}
