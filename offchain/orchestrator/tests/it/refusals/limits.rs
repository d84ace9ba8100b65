//! Room on the devices, quotas of one sender, and who is served at all.
use std::sync::Arc;

use axum::http::StatusCode;
use streamflow_orchestrator::{AdmissionConfig, OrchestratorConfig, QuotaConfig};
use streamflow_wire::{Code, Refusal, header, sign_request};

use super::{expect, of_response, pool, results::Stuck};
use crate::{
    checks::{BODY, Case},
    fixture::{Broadcaster, World, config},
    webhook::Webhook,
};

pub(super) async fn provoke() -> Vec<Code> {
    let mut met = vec![loaded().await, full().await, encoded().await];
    met.extend(quotas().await);
    met.extend(strangers().await);
    met
}

async fn with_stuck(config: OrchestratorConfig) -> Case {
    Case::of(World { local: Some(Arc::new(Stuck)), ..World::new().await }, config).await
}

/// What a stranger is told who asks for a job, over both protocols alike.
async fn another_session(case: &Case) -> Option<Refusal> {
    let stranger = Broadcaster::with_key(&case.orchestrator, 0x0e);
    let told = Refusal::of_status(&stranger.job_offer(&case.orchestrator).await.unwrap_err());
    assert!(told.is_some());
    told
}

async fn loaded() -> Code {
    let admission = AdmissionConfig { max_ratio: 0.5 };
    let case = with_stuck(OrchestratorConfig { admission, ..config() }).await;
    let other = case.broadcaster.offer(&case.orchestrator).await;
    let _held = case.broadcaster.start(&case.good(), BODY).await;
    let draft = case.broadcaster.request_of("other", &other, 1, BODY);
    let refused = case.refusal(&case.draft(&case.broadcaster.pay(&other, 1), &draft), BODY).await;
    assert_eq!(another_session(&case).await, refused);
    expect(refused, Code::DevicesLoaded, "0.50 of the time, the least of 1 devices", "0.50 of the time")
}

async fn full() -> Code {
    let case = Case::new().await;
    let (_notices, _waiting, _task) = pool::task(&case).await;
    expect(another_session(&case).await, Code::TranscodersFull, "1 sessions", "1 sessions, all 1 transcoders together")
}

async fn encoded() -> Code {
    let case = Case::new().await;
    let draft = case.good();
    let request = case.broadcaster.http.post(&draft.url).header(header::PAYMENT, &draft.payment);
    let request = request.header(header::SEGMENT, &draft.segment).header("Content-Encoding", "gzip");
    let response = request.body(BODY).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    expect(of_response(&response), Code::ContentEncodingNotTaken, "Content-Encoding \"gzip\"", "identity")
}

async fn quotas() -> Vec<Code> {
    let with = async |quotas| with_stuck(OrchestratorConfig { quotas, ..config() }).await;
    let few = with(QuotaConfig { segments_per_second: 1, segment_burst: 1, ..Default::default() }).await;
    let mut held = Vec::new();
    let segments = loop {
        let response = few.broadcaster.start(&few.good(), BODY).await;
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            break of_response(&response);
        }
        held.push(response);
    };
    let small = with(QuotaConfig { bytes_per_second: 1, byte_burst: 1, ..Default::default() }).await;
    let first = small.broadcaster.start(&small.good(), BODY).await;
    let bytes = small.refusal(&small.good(), BODY).await;
    let narrow = with(QuotaConfig { max_uploads: 1, ..Default::default() }).await;
    let silent = futures::stream::pending::<Result<bytes::Bytes, std::convert::Infallible>>();
    let draft = narrow.good();
    let refused = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        narrow.refusal(&narrow.good(), BODY).await
    };
    let uploads = tokio::select! {
        _ = narrow.broadcaster.start(&draft, reqwest::Body::wrap_stream(silent)) => panic!("the upload ended"),
        refused = refused => refused,
    };
    let rare = with(QuotaConfig { quotes_per_second: 1, quote_burst: 1, ..Default::default() }).await;
    let question = sign_request(rare.broadcaster.key.as_ref(), None).unwrap();
    let mut grpc = rare.orchestrator.grpc().await;
    let quotes = loop {
        if let Err(status) = grpc.get_orchestrator(question.clone()).await {
            assert_eq!(status.code(), tonic::Code::ResourceExhausted);
            break Refusal::of_status(&status);
        }
    };
    drop((held, first));
    vec![
        expect(segments, Code::TooManySegments, "1 segments, 0 left", "1 segments a second"),
        expect(bytes, Code::TooManyBytes, "1 bytes, 0 left", "1 bytes a second"),
        expect(uploads, Code::TooManyUploads, "1 uploads", "1 uploads"),
        expect(quotes, Code::TooManyQuotes, "1 quotes, 0 left", "1 quotes a second"),
    ]
}

async fn strangers() -> Vec<Code> {
    let webhook = Webhook::start().await;
    let case = with_stuck(webhook.settings()).await;
    let (stranger, nobody) =
        (Broadcaster::with_key(&case.orchestrator, 0x0c), Broadcaster::with_key(&case.orchestrator, 0x0d));
    let asks = async |who: &Broadcaster| {
        let question = sign_request(who.key.as_ref(), None).unwrap();
        let over_grpc =
            Refusal::of_status(&case.orchestrator.grpc().await.get_orchestrator(question).await.unwrap_err());
        let request = who.request(&case.offer, 0, BODY);
        let draft = who.draft(&case.orchestrator, &who.pay(&case.offer, 1), &request);
        assert_eq!(of_response(&who.start(&draft, BODY).await), over_grpc);
        over_grpc
    };
    webhook.says(StatusCode::FORBIDDEN, "closed");
    let refused = asks(&stranger).await;
    webhook.says(StatusCode::OK, "no json");
    let unchecked = asks(&nobody).await;
    vec![
        expect(refused, Code::SenderNotServed, "closed", "accounts that the operator lets in"),
        expect(unchecked, Code::SenderUnchecked, "0 answers", "1 answer"),
    ]
}
