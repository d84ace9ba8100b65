//! Every refusal of a broadcaster, provoked by a push: code, both figures, setting and advice (docs/refusals.md).
//!
//! The one test runs through all of them, so that it can see which codes nobody provoked.
use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::U256;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use streamflow_broadcaster::{AdmitError, BroadcasterConfig, Refusal};
use streamflow_types::{Round, Secret};
use streamflow_wire::{
    Code, Refusal as Coded,
    refusal::{HEADER, Side},
};

use crate::{
    clip,
    fixture::{Running, Setup, client, funds, until},
    orchestrator::{Conduct, FakeOrchestrator},
    webhook::Hook,
};

/// Whose tests are beside the code: a silence of 30 s, and an answer to somebody who has gone.
const ELSEWHERE: [Code; 2] = [Code::PushTooSlow, Code::PushCutOff];

#[tokio::test]
async fn every_code_is_provoked_and_has_its_figures_and_advice() {
    let mut met = BTreeSet::from(ELSEWHERE);
    met.extend(requests().await);
    met.extend(admission().await);
    met.extend(bounds().await);
    met.extend(purse().await);
    met.extend(budgets().await);
    met.extend(segments().await);
    met.extend(failures().await);
    met.extend(of_the_rules());
    let ours = Code::ALL.iter().filter(|code| code.side() == Side::Broadcaster);
    let missing: Vec<_> = ours.filter(|code| !met.contains(code)).collect();
    assert!(missing.is_empty(), "codes that no test provokes: {missing:?}");
}

/// The refusal is of this code, with these figures, and with the setting and advice of the page.
#[track_caller]
fn expect(refusal: Option<Coded>, code: Code, got: &str, limit: &str) -> Code {
    let refusal = refusal.unwrap_or_else(|| panic!("no {code} came"));
    let figures = (refusal.code, refusal.got.as_str(), refusal.limit.as_str());
    assert_eq!(figures, (code, got, limit));
    assert_eq!((refusal.setting.as_ref(), refusal.advice.as_ref()), (code.setting(), code.advice()), "{code}");
    code
}

fn of_response(response: &Response) -> Option<Coded> {
    Coded::from_header(response.headers().get(HEADER)?.to_str().ok()?)
}

async fn push(running: &Running, path: &str, change: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Option<Coded> {
    let request = change(client().post(running.url(path)).body(clip::segment(0)));
    of_response(&request.send().await.unwrap())
}

async fn refused(running: &Running, path: &str) -> Option<Coded> {
    push(running, path, |request| request).await
}

/// What the first push is answered.
async fn first(setup: Setup) -> Option<Coded> {
    let running = setup.start().await;
    let refusal = refused(&running, "/live/movie/0.ts").await;
    running.stop().await;
    refusal
}

async fn honest() -> (FakeOrchestrator, Setup) {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let setup = Setup::new(&[orchestrator.url()]);
    (orchestrator, setup)
}

fn with(change: impl FnOnce(&mut BroadcasterConfig)) -> impl FnOnce(&mut Setup) {
    move |setup| change(&mut setup.config)
}

async fn requests() -> Vec<Code> {
    let (_orchestrator, setup) = honest().await;
    let running = setup.with(with(|config| config.streams = vec!["movie".parse().unwrap()])).start().await;
    let path = Code::PushPathInvalid;
    let header = async |name: &'static str, value: &'static str| {
        push(&running, "/live/movie/0.ts", |request| request.header(name, value)).await
    };
    let met = vec![
        expect(refused(&running, "/live/movie").await, path, "another path", "live, stream and number.ts"),
        expect(refused(&running, "/live/movie/0.mkv").await, path, "another extension", ".ts or .mp4"),
        expect(refused(&running, "/live/movie/01.ts").await, path, "number \"01\"", "0 to 9223372036854775807"),
        expect(
            header("content-resolution", "wide").await,
            Code::PushHeaderInvalid,
            "Content-Resolution",
            "WIDTHxHEIGHT",
        ),
        expect(
            header("content-slice-from", "0").await,
            Code::PushHeaderUnsupported,
            "content-slice-from",
            "Content-Duration, Content-Resolution, Accept, Livepeer-Transcode-Configuration",
        ),
        expect(header("sec-fetch-site", "cross-site").await, Code::PushCrossSite, "another site", "none, or this node"),
        expect(refused(&running, "/live/other/0.ts").await, Code::StreamNotAllowed, "other", "1 streams in the list"),
    ];
    running.stop().await;
    met
}

/// Who may publish, and what is made of it.
async fn admission() -> Vec<Code> {
    let (_orchestrator, setup) = honest().await;
    let keys = BTreeMap::from([("movie".parse().unwrap(), Secret::new("k3y"))]);
    let running = setup.with(with(|config| config.stream_keys = keys)).start().await;
    let (no_key, unknown) = (refused(&running, "/live/movie/0.ts").await, refused(&running, "/live/other/0.ts").await);
    running.stop().await;
    let answers = BTreeMap::from([
        ("refused", (403, Value::Null)),
        ("stored", (200, json!({ "manifestID": "stored", "objectStore": "ftp://host/bucket" }))),
    ]);
    let hook = Hook::start(answers).await;
    let (_orchestrator, setup) = honest().await;
    let running = setup.with(with(|config| config.auth_webhook_url = Some(Secret::new(&hook.url)))).start().await;
    let not_admitted = refused(&running, "/live/refused/0.ts").await;
    let store = refused(&running, "/live/stored/0.ts").await;
    let asking = async |number: u32, text: &str| {
        let path = format!("/live/asking/{number}.ts");
        push(&running, &path, |request| request.header("Livepeer-Transcode-Configuration", text)).await
    };
    let preset = asking(0, r#"{"presets":["P1"]}"#).await;
    assert_eq!(asking(0, r#"{"presets":["P144p30fps16x9"]}"#).await, None);
    let differ = asking(1, r#"{"presets":["P240p30fps16x9"]}"#).await;
    running.stop().await;
    let key = Code::StreamKeyWrong;
    vec![
        expect(no_key, key, "a missing or wrong key for movie", "the key in the setting"),
        expect(unknown, key, "other, which has none", "a name that has a key"),
        expect(not_admitted, Code::StreamNotAdmitted, "webhook answered 403 Forbidden, not 200", "an answer of 200"),
        expect(store, Code::StreamStoreUnusable, "stores of kind ftp are not served", "a store that can be opened"),
        expect(
            preset,
            Code::TranscodeConfigurationInvalid,
            "preset \"P1\" is not known",
            "JSON with profiles that can be encoded",
        ),
        expect(differ, Code::StreamProfilesDiffer, "1 renditions", "the 1 renditions of the stream"),
    ]
}

async fn bounds() -> Vec<Code> {
    let (_orchestrator, setup) = honest().await;
    let large = first(setup.with(with(|config| config.max_segment_bytes = 10))).await;
    let (_orchestrator, setup) = honest().await;
    let small = |config: &mut BroadcasterConfig| (config.max_segment_bytes, config.max_upload_bytes) = (1_000, 1_000);
    let running = setup.with(with(small)).start().await;
    // One that is not over holds nearly all there is.
    let pieces = futures::StreamExt::chain(
        futures::stream::iter([Ok::<_, std::io::Error>(vec![0x47; 900])]),
        futures::stream::pending(),
    );
    let held = client().post(running.url("/live/movie/0.ts")).body(reqwest::Body::wrap_stream(pieces)).send();
    let held = tokio::spawn(held);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let body = client().post(running.url("/live/other/0.ts")).body(vec![0x47; 900]).send();
    let memory = of_response(&body.await.unwrap());
    held.abort();
    running.stop().await;
    vec![
        expect(large, Code::PushTooLarge, "more than 10 bytes", "10 bytes"),
        expect(memory, Code::PushMemoryFull, "no room for the segment", "1000 bytes"),
    ]
}

async fn purse() -> Vec<Code> {
    let (_orchestrator, setup) = honest().await;
    let chain = first(setup.with(|setup| setup.chain = None)).await;
    let (_orchestrator, setup) = honest().await;
    let unread = first(setup.with(|setup| setup.funds = None)).await;
    let (_orchestrator, setup) = honest().await;
    let no_reserve = first(setup.with(|setup| setup.funds.as_mut().unwrap().reserve = U256::ZERO)).await;
    let (_orchestrator, setup) = honest().await;
    let no_deposit = first(setup.with(|setup| setup.funds.as_mut().unwrap().deposit = U256::ZERO)).await;
    let (_orchestrator, setup) = honest().await;
    let unlocking = streamflow_types::SenderFunds { withdraw_round: Round(8), ..funds() };
    let unlocking = first(setup.with(|setup| setup.funds = Some(unlocking))).await;
    let nobody = first(Setup::new(&[])).await;
    let (_orchestrator, setup) = honest().await;
    let blocked = with(|config| config.discovery.blocklist = vec!["127.0.0.1".into()]);
    let unusable = first(setup.with(blocked)).await;
    vec![
        expect(chain, Code::ChainUnknown, "0 answers", "1 answer"),
        expect(unread, Code::DepositUnknown, "0 answers", "1 answer"),
        expect(no_reserve, Code::NoReserve, "0 wei", "1 wei"),
        expect(no_deposit, Code::NoDeposit, "0 wei", "1 wei"),
        expect(unlocking, Code::SenderUnlocking, "withdrawal from round 8", "2 rounds or more"),
        expect(nobody, Code::NoOrchestrators, "0 orchestrators", "1 orchestrator"),
        expect(
            unusable,
            Code::NoUsableOrchestrator,
            "0 orchestrators",
            "none of 1 orchestrators may be used: 1 × blocked by \"…\" (setting broadcaster.discovery.blocklist)",
        ),
    ]
}

async fn budgets() -> Vec<Code> {
    let (_orchestrator, setup) = honest().await;
    let stream = first(setup.with(with(|config| config.budget.per_stream = Some(U256::ONE)))).await;
    let (_orchestrator, setup) = honest().await;
    let day = first(setup.with(with(|config| config.budget.per_day = Some(U256::ONE)))).await;
    // 60 frames a second are reckoned with for two seconds of both renditions, at 1 wei for 1000 pixels, in tickets of 2500.
    let wanted = "0 wei and 10000 wei more";
    vec![expect(stream, Code::StreamBudgetSpent, wanted, "1 wei"), expect(day, Code::DayBudgetSpent, wanted, "1 wei")]
}

async fn segments() -> Vec<Code> {
    let (_orchestrator, setup) = honest().await;
    let running = setup.with(with(|config| config.max_streams = 1)).start().await;
    running.push_clip("movie", 0).await;
    running.push_clip("movie", 1).await;
    let again = refused(&running, "/live/movie/1.ts").await;
    let other = refused(&running, "/live/other/0.ts").await;
    let junk = client().post(running.url("/live/movie/2.ts")).body("no video").send().await.unwrap();
    let junk = of_response(&junk);
    running.stop().await;
    let (_orchestrator, setup) = honest().await;
    let running = setup.start().await;
    block_the_disk(&running);
    let blocked = refused(&running, "/live/movie/0.ts").await;
    running.stop().await;
    let (_orchestrator, setup) = honest().await;
    let running = setup.start().await;
    running.media.shutdown().await;
    let worker = refused(&running, "/live/movie/0.ts").await;
    running.stop().await;
    vec![
        expect(again, Code::SegmentDuplicate, "number 1", "each number once"),
        expect(other, Code::TooManyStreams, "1 streams", "1 streams"),
        expect(
            junk,
            Code::SegmentFormatDidntMatchJobInputParams,
            "segment is not an mpeg transport stream",
            "MPEG-TS with decodable video",
        ),
        expect(blocked, Code::StreamNotKept, "a file that cannot be written", "room and permission to write"),
        expect(worker, Code::WorkerFailed, "a worker that failed", "a worker that answers"),
    ]
}

/// No stream can be kept any more, whoever runs this.
fn block_the_disk(running: &Running) {
    let streams = running.dir.path().join("streams");
    std::fs::remove_dir_all(&streams).unwrap();
    std::fs::write(&streams, "a file where a directory should be").unwrap();
}

async fn failures() -> Vec<Code> {
    let failing = FakeOrchestrator::start(1, Conduct::Refuses(500, "Internal Server Error"), true).await;
    let setup = Setup::new(&[failing.url()]).with(with(|config| config.max_attempts = 1));
    let all = first(setup).await;
    let stalling = FakeOrchestrator::start(1, Conduct::Stalls, true).await;
    let setup = Setup::new(&[stalling.url()]).with(with(|config| {
        (config.max_segments_in_flight, config.max_segments_waiting, config.max_attempts) = (1, 1, 1);
        config.drain_timeout = std::time::Duration::from_secs(1);
    }));
    let running = setup.start().await;
    let mut waiting = Vec::new();
    for seq in 0..2 {
        let path = format!("/live/movie/{seq}.ts");
        waiting.push(tokio::spawn(client().post(running.url(&path)).body(clip::segment(seq)).send()));
        until("the segment", || running.handle.status().segments.received > seq as u64).await;
    }
    let behind = refused(&running, "/live/movie/2.ts").await;
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    running.stop().await;
    vec![
        expect(all, Code::AllOrchestratorsFailed, "1 attempts", "1 attempts"),
        expect(behind, Code::StreamBehind, "2 segments", "2 segments"),
    ]
}

/// What is met in a moment's time, or with a signer elsewhere: as the rules tell it.
fn of_the_rules() -> Vec<Code> {
    let config = BroadcasterConfig::default();
    let told = |refusal: Refusal| Some(refusal.coded(&config));
    vec![
        expect(told(Refusal::Ending("movie".parse().unwrap())), Code::StreamEnding, "movie", "a stream that has ended"),
        expect(
            told(Refusal::Signer("signer answered 503 at https://me:pw@signer.example/".into())),
            Code::SignerFailed,
            "signer answered 503 at …",
            "signed payments",
        ),
        expect(
            Some(AdmitError::Live("movie".parse().unwrap()).coded(&config)),
            Code::StreamLive,
            "movie",
            "a stream that is not live",
        ),
        expect(told(Refusal::Stopping), Code::NodeStopping, "stopping", "running"),
    ]
}

/// Neither files nor other machines are named to whoever pushes.
#[tokio::test]
async fn a_refusal_names_no_files_and_no_orchestrators() {
    let failing = FakeOrchestrator::start(1, Conduct::Refuses(500, "Internal Server Error"), true).await;
    let running = Setup::new(&[failing.url()]).with(with(|config| config.max_attempts = 1)).start().await;
    for (stream, blocked) in [("movie", false), ("other", true)] {
        if blocked {
            block_the_disk(&running);
        }
        let answer = running.push(&format!("/live/{stream}/0.ts"), clip::segment(0)).await;
        assert_eq!(answer.status(), 500);
        let headers = format!("{:?} {:?}", answer.headers(), of_response(&answer));
        let told = headers + &answer.text().await.unwrap();
        for inside in [failing.url().host_str().unwrap(), running.dir.path().to_str().unwrap()] {
            assert!(!told.contains(inside), "{inside} in {told}");
        }
    }
    running.stop().await;
}

/// A code decides, and not the text beside it.
#[tokio::test]
async fn the_code_of_an_orchestrators_refusal_is_acted_on_and_told() {
    let asks_again = FakeOrchestrator::start(1, Conduct::RefusesOnceWith(Code::AuthTokenExpired), true).await;
    let running = Setup::new(&[asks_again.url()]).start().await;
    running.push_clip("movie", 0).await;
    assert_eq!(asks_again.seen().segments, [0], "the same orchestrator was asked for a new quote");
    running.stop().await;
    let refuses = FakeOrchestrator::start(1, Conduct::RefusesOnceWith(Code::OrchestratorCapped), true).await;
    let good = FakeOrchestrator::start(2, Conduct::Honest, true).await;
    let running = Setup::new(&[refuses.url(), good.url()]).start().await;
    running.push_clip("movie", 0).await;
    assert_eq!((refuses.seen().segments.len(), good.seen().segments), (0, vec![0]));
    let status = running.handle.status();
    let told = status.sessions.iter().find_map(|session| session.last_error.clone()).unwrap();
    assert!(told.contains("OrchestratorCapped: 1, against 2"), "{told}");
    assert!(told.contains(Code::OrchestratorCapped.advice()), "{told}");
    running.stop().await;
}

/// The two rows of node.md §11.6 that a broadcaster answers.
#[tokio::test]
async fn pushes_without_orchestrators_or_with_bad_names_have_their_status() {
    let nobody = Setup::new(&[]).start().await;
    let answer = nobody.push("/live/movie/0.ts", clip::segment(0)).await;
    assert_eq!((answer.status().as_u16(), of_response(&answer).unwrap().code), (503, Code::NoOrchestrators));
    assert!(answer.text().await.unwrap().starts_with("No sessions available"));
    nobody.stop().await;
    let (_orchestrator, setup) = honest().await;
    let running = setup.start().await;
    for path in ["/live/movie/0.mkv", "/live/movie/0", "/live/movie/first.ts"] {
        let answer = running.push(path, clip::segment(0)).await;
        assert_eq!((answer.status().as_u16(), of_response(&answer).unwrap().code), (400, Code::PushPathInvalid));
    }
    let request = client().post(running.url("/live/movie/0.ts")).header("Content-Resolution", "wide");
    let answer = request.body(clip::segment(0)).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), of_response(&answer).unwrap().code), (400, Code::PushHeaderInvalid));
    running.stop().await;
}
