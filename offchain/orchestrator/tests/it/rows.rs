//! The rows of node.md §11.6 that an orchestrator answers, each replayed on its own: status, text and code as one table. The
//! two rows of pushes are in the broadcaster's tests.
use base64::{Engine, engine::general_purpose::STANDARD};
use streamflow_orchestrator::{LimitsConfig, OrchestratorConfig, TranscodeError};
use streamflow_pm::Payment;
use streamflow_wire::{Code, Refusal, header, proto::transcode_result::Result as Answer, refusal};

use crate::{
    checks::{BODY, Case},
    fixture::{Draft, SECRET, config},
    refusals::results::{Failing, with_local},
};

type Row = (u16, String, Option<Code>);

async fn row(request: reqwest::RequestBuilder) -> Row {
    let response = request.send().await.unwrap();
    let refusal = response.headers().get(refusal::HEADER).and_then(|value| Refusal::from_header(value.to_str().ok()?));
    (response.status().as_u16(), response.text().await.unwrap(), refusal.map(|refusal| refusal.code))
}

fn segment(case: &Case, draft: &Draft, kind: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
    let request = case.broadcaster.http.post(&draft.url).header(header::PAYMENT, &draft.payment);
    request.header(header::SEGMENT, &draft.segment).header("Content-Type", kind).body(body)
}

#[track_caller]
fn is(row: Row, status: u16, text: &str, code: Code) {
    assert!(row.0 == status && row.1.starts_with(text) && row.2 == Some(code), "{row:?} is not {status} {text} {code}");
}

#[tokio::test]
async fn each_row_has_its_status_its_text_and_its_code() {
    const BYTES: &str = header::SEGMENT_BYTES;
    let case = Case::new().await;
    let good = || case.good();
    // Payment header not base64, not protobuf.
    let bad = Draft { payment: "%%%".into(), ..good() };
    is(row(segment(&case, &bad, BYTES, BODY)).await, 402, "base64 decode error: ", Code::PaymentHeaderUnreadable);
    let bad = Draft { payment: STANDARD.encode([0xff; 9]), ..good() };
    is(row(segment(&case, &bad, BYTES, BODY)).await, 402, "protobuf unmarshal error: ", Code::PaymentHeaderUnreadable);
    // Bad segment credentials.
    let bad = Draft { segment: "%%%".into(), ..good() };
    is(row(segment(&case, &bad, BYTES, BODY)).await, 403, "ErrorSegEncoding", Code::SegmentHeaderUnreadable);
    let bad = Draft { payment: String::new(), ..good() };
    is(row(segment(&case, &bad, BYTES, BODY)).await, 403, "ErrSegSig", Code::SegmentNotSignedBySender);
    // The body is not what was hashed.
    is(row(segment(&case, &good(), BYTES, "other")).await, 403, "Forbidden", Code::SegmentHashMismatch);
    // A price, and nothing paid. Without the session above, whose tickets were taken.
    let fresh = Case::new().await;
    let unpaid = Payment::without_tickets(fresh.broadcaster.address(), fresh.offer.price);
    let unpaid = fresh.draft(&unpaid, &fresh.request());
    is(row(segment(&fresh, &unpaid, BYTES, BODY)).await, 400, "Insufficient balance", Code::InsufficientBalance);
    // A URL that nobody answers at.
    let open = Case::with(OrchestratorConfig { fetch_segments_by_url: true, ..config() }).await;
    let url = segment(&open, &open.good(), header::SEGMENT_URI, "http://127.0.0.1:9/0.ts");
    is(row(url).await, 400, "BadRequest", Code::UrlNotFetched);
    // A body above the limit.
    let limits = LimitsConfig { max_segment_bytes: 10, ..Default::default() };
    let small = Case::with(OrchestratorConfig { limits, ..config() }).await;
    is(row(segment(&small, &small.good(), BYTES, BODY)).await, 500, "Internal Server Error", Code::SegmentTooLarge);
    // Results of a transcoder with a wrong secret, type, task.
    let result = |secret: &str, kind: &str, task: &str| {
        let request = case.broadcaster.http.post(case.orchestrator.url("/transcodeResults"));
        let request = request.header("Authorization", header::TRANSCODER_AUTHORIZATION);
        let request = request.header(header::CREDENTIALS, secret).header(header::TASK_ID, task);
        row(request.header("Content-Type", kind).header(header::PIXELS, "1").body("--b--"))
    };
    const MIXED: &str = "multipart/mixed; boundary=b";
    is(result("wrong", MIXED, "1").await, 401, "Unauthorized", Code::TranscoderSecretWrong);
    is(result(SECRET, "video/mp2t", "1").await, 415, "mime: ", Code::ResultTypeUnknown);
    is(result(SECRET, MIXED, "none").await, 400, "Invalid Task ID", Code::TaskUnknown);
}

#[tokio::test]
async fn an_error_after_the_upload_comes_with_status_200() {
    let case = with_local(Failing(TranscodeError::Other("Invalid argument".into())), config()).await;
    let result = case.broadcaster.send(&case.good(), BODY).await.result();
    assert_eq!(result.result, Some(Answer::Error("Invalid argument".into())));
    assert_eq!(result.refusal.unwrap().code, "SegmentFormatDidntMatchJobInputParams");
}
