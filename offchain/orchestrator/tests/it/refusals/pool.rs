//! What a transcoder is refused.
use streamflow_orchestrator::{LimitsConfig, OrchestratorConfig};
use streamflow_wire::{
    Code, Refusal, capability, header,
    proto::{NotifySegment, RegisterRequest, transcoder_client::TranscoderClient},
};
use tonic::Streaming;

use super::{expect, of_response};
use crate::{
    checks::{BODY, Case},
    fixture::{SECRET, config},
};

pub(super) async fn provoke() -> Vec<Code> {
    let case = Case::with(OrchestratorConfig { max_transcoders: 1, ..config() }).await;
    let mut met = registrations(&case).await;
    met.extend(results(&case).await);
    met.push(too_large().await);
    met.push(silent(&case).await);
    met
}

async fn register(case: &Case, secret: &str, capacity: i64) -> Result<Streaming<NotifySegment>, tonic::Status> {
    let capabilities = Some(capability::describe(&capability::OFFERED, 1, "0.1.0"));
    let request = RegisterRequest { secret: secret.into(), capacity, capabilities };
    let mut client = TranscoderClient::new(case.orchestrator.channel().await);
    client.register_transcoder(request).await.map(tonic::Response::into_inner)
}

async fn registrations(case: &Case) -> Vec<Code> {
    let refusal = async |secret, capacity| Refusal::of_status(&register(case, secret, capacity).await.unwrap_err());
    let wrong = refusal("sword", 1).await;
    let empty = refusal(SECRET, 0).await;
    let _first = register(case, SECRET, 1).await.unwrap();
    let full = refusal(SECRET, 1).await;
    vec![
        expect(wrong, Code::TranscoderSecretWrong, "another secret, or none", "the orchestrator's secret"),
        expect(empty, Code::TranscoderCapacityInvalid, "0 sessions", "1 session"),
        expect(full, Code::TooManyTranscoders, "1 transcoders", "1 transcoders"),
    ]
}

/// Registers, and takes a segment.
pub(super) async fn task(case: &Case) -> (Streaming<NotifySegment>, reqwest::Response, String) {
    case.orchestrator.wait_for_transcoders(0).await;
    let mut notices = register(case, SECRET, 1).await.unwrap();
    let waiting = case.broadcaster.start(&case.good(), BODY).await;
    let task = notices.message().await.unwrap().unwrap().task_id.to_string();
    (notices, waiting, task)
}

async fn post(case: &Case, task: &str, kind: &str, pixels: &str, body: &str) -> Option<Refusal> {
    let request = case.broadcaster.http.post(case.orchestrator.url("/transcodeResults"));
    let request = request.header("Authorization", header::TRANSCODER_AUTHORIZATION).header(header::CREDENTIALS, SECRET);
    let request = request.header(header::TASK_ID, task).header("Content-Type", kind).header(header::PIXELS, pixels);
    of_response(&request.body(body.to_owned()).send().await.unwrap())
}

const MIXED: &str = "multipart/mixed; boundary=b";

fn parts(count: usize) -> String {
    let part = format!("--b\r\nContent-Type: video/mp2t\r\nPixels: 1\r\n\r\n{}\r\n", "x".repeat(30));
    format!("{}--b--\r\n", part.repeat(count))
}

async fn results(case: &Case) -> Vec<Code> {
    let (_notices, _waiting, task) = task(case).await;
    vec![
        expect(
            post(case, &task, "video/mp2t", "1", "").await,
            Code::ResultTypeUnknown,
            "mime: expected a multipart media type",
            "multipart with a boundary, or livepeer/transcoding-error",
        ),
        expect(
            post(case, "99", MIXED, "1", &parts(2)).await,
            Code::TaskUnknown,
            "a task that nobody waits for",
            "a task under way",
        ),
        expect(
            post(case, &task, MIXED, "many", &parts(2)).await,
            Code::ResultPixelsInvalid,
            "no number",
            "0 or more in each `Pixels`",
        ),
        expect(post(case, &task, MIXED, "1", &parts(5)).await, Code::ResultTooManyParts, "5 parts", "4 parts"),
        expect(
            post(case, &task, MIXED, "1", "--b\r\nno end").await,
            Code::ResultUnreadable,
            "parts that cannot be told apart",
            "multipart parts",
        ),
    ]
}

/// Tells how it is, without having registered.
async fn silent(case: &Case) -> Code {
    let request = case.broadcaster.http.post(case.orchestrator.url("/transcoderState"));
    let request = request.header("Authorization", header::TRANSCODER_AUTHORIZATION).header(header::CREDENTIALS, SECRET);
    let response = request.header(header::STATE, header::STATE_ALIVE).send().await.unwrap();
    let (got, limit) = ("a name that nobody here has", "the name given at registration");
    expect(of_response(&response), Code::TranscoderNotRegistered, got, limit)
}

async fn too_large() -> Code {
    let limits = LimitsConfig { max_result_bytes: 100, ..Default::default() };
    let case = Case::with(OrchestratorConfig { limits, ..config() }).await;
    let (_notices, _waiting, task) = task(&case).await;
    let large = post(&case, &task, MIXED, "1", &parts(2)).await;
    expect(large, Code::ResultTooLarge, "more than 100 bytes", "100 bytes")
}
