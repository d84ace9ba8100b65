//! One node over HTTP. Its URL often carries a key, so it appears in no error and no log.
use std::time::{Duration, Instant};

use alloy::transports::{TransportError, TransportErrorKind};
use alloy_json_rpc::{ErrorPayload, Request, RequestPacket, ResponsePacket, ResponsePayload, SerializedRequest};
use serde::Serialize;
use serde_json::value::RawValue;
use url::Url;

use super::Fault;
use crate::ChainError;

/// Longest answer that is read.
const LONGEST_ANSWER: usize = 128 << 20;
/// Longest part of an unreadable answer that is told.
const LONGEST_EXCERPT: usize = 200;
const TOO_MANY_REQUESTS: u16 = 429;
const UNAVAILABLE: u16 = 503;

/// A request that got no usable answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) fault: Fault,
    pub(super) error: TransportError,
}

impl Failure {
    /// Without an error of its own.
    pub(super) fn of(fault: Fault) -> Self {
        let error = TransportErrorKind::custom(fault.clone());
        Self { fault, error }
    }

    fn silent(reason: impl Into<String>, error: TransportError) -> Self {
        Self { fault: Fault::Silent { reason: reason.into() }, error }
    }
}

#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
    /// Host and port, without credentials or path.
    pub(super) host: String,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(http: reqwest::Client, url: Url) -> Result<Self, ChainError> {
        let host = match (url.scheme(), url.host_str()) {
            ("http" | "https", Some(host)) => match url.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            },
            (scheme, _) => return Err(ChainError::InvalidUrl { scheme: scheme.to_owned() }),
        };
        Ok(Self { http, url, host })
    }

    /// Asks once. An error that the node itself tells is an answer, but for a limit of the rate.
    pub(super) async fn post(&self, packet: &RequestPacket) -> Result<(ResponsePacket, Duration), Failure> {
        let began = Instant::now();
        let sent = self.http.post(self.url.clone()).json(packet).send().await;
        let response = sent.map_err(|err| silent(err, "no connection"))?;
        let status = response.status();
        let pause = response.headers().get(reqwest::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = pause.and_then(|value| value.trim().parse().ok()).map(Duration::from_secs);
        let body = match read(response).await {
            Err(_) if status.as_u16() == TOO_MANY_REQUESTS => {
                return Err(limited(TOO_MANY_REQUESTS, retry_after, String::new()));
            }
            body => body?,
        };
        Ok((judged(status.as_u16(), retry_after, &body)?, began.elapsed()))
    }
}

/// The answer in a body, or what is wrong with the endpoint that sent it.
pub(super) fn judged(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Result<ResponsePacket, Failure> {
    if status == TOO_MANY_REQUESTS || (status == UNAVAILABLE && retry_after.is_some()) {
        return Err(limited(status, retry_after, excerpt(body)));
    }
    let is_success = (200..300).contains(&status);
    let answer = match serde_json::from_slice::<ResponsePacket>(body) {
        Ok(answer) if is_success || answer.is_error() => answer,
        _ if !is_success => {
            let error = TransportErrorKind::http_error(status, excerpt(body));
            return Err(Failure::silent(format!("HTTP {status}"), error));
        }
        Err(err) if err.is_eof() => {
            let error = TransportErrorKind::custom(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
            return Err(Failure { fault: Fault::Unreadable, error });
        }
        Err(err) => {
            let error = TransportError::deser_err(err, excerpt(body));
            return Err(Failure { fault: Fault::Unreadable, error });
        }
        Ok(answer) => answer,
    };
    match answer.as_error() {
        Some(error) if is_limit(error) => {
            let error =
                TransportErrorKind::custom_str(&format!("{} (code {})", excerpt(error.message.as_bytes()), error.code));
            Err(Failure { fault: Fault::Limited { retry_after }, error })
        }
        _ => Ok(answer),
    }
}

fn limited(status: u16, retry_after: Option<Duration>, body: String) -> Failure {
    let error = TransportErrorKind::http_error_with_retry_after(status, body, retry_after);
    Failure { fault: Fault::Limited { retry_after }, error }
}

fn silent(err: reqwest::Error, otherwise: &str) -> Failure {
    let reason = if err.is_timeout() { "time-out" } else { otherwise };
    Failure::silent(reason, TransportErrorKind::custom(err.without_url()))
}

async fn read(mut response: reqwest::Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|err| silent(err, "answer cut short"))? {
        body.extend_from_slice(&part);
        if body.len() > LONGEST_ANSWER {
            let error = TransportErrorKind::custom_str("the answer is too long");
            return Err(Failure { fault: Fault::Unreadable, error });
        }
    }
    Ok(body)
}

fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(body.get(..LONGEST_EXCERPT).unwrap_or(body)).into_owned()
}

/// Whether the node says that it was asked too often. Codes and words are those of common providers; the code for a limit
/// is also used for a question that would have too long an answer, which is no reason to leave.
fn is_limit(error: &ErrorPayload<Box<RawValue>>) -> bool {
    let text = error.message.to_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    let too_often =
        ["rate limit", "rate exceeded", "too many requests", "request limit", "credits limited", "throughput"];
    error.code == i64::from(TOO_MANY_REQUESTS)
        || says(&too_often)
        || (error.code == -32005 && !says(&["result", "range", "logs", "response size", "query returned"]))
}

/// A single request, as it goes over the wire.
pub(super) fn request(method: &'static str, params: impl Serialize + Clone) -> Result<RequestPacket, TransportError> {
    let params = serde_json::value::to_raw_value(&params).map_err(TransportError::SerError)?;
    let request: serde_json::Result<SerializedRequest> =
        Request::new(method, alloy_json_rpc::Id::Number(0), params).serialize();
    Ok(RequestPacket::Single(request.map_err(TransportError::SerError)?))
}

/// What a single answer says.
pub(super) fn payload(answer: ResponsePacket) -> Result<Box<RawValue>, TransportError> {
    match answer {
        ResponsePacket::Single(response) => match response.payload {
            ResponsePayload::Success(value) => Ok(value),
            ResponsePayload::Failure(error) => Err(TransportError::ErrorResp(error)),
        },
        ResponsePacket::Batch(_) => Err(TransportErrorKind::custom_str("a batch in answer to a single request")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(code: i64, message: &str) -> bool {
        is_limit(&serde_json::from_value(serde_json::json!({ "code": code, "message": message })).unwrap())
    }

    #[test]
    fn limits_are_told_from_refusals() {
        assert!(limit(429, "slow down") && limit(-32000, "Too Many Requests") && limit(-32016, "over rate limit"));
        assert!(limit(-32005, "daily request count exceeded"));
        assert!(!limit(-32005, "query returned more than 10000 results"));
        assert!(!limit(3, "execution reverted") && !limit(-32000, "nonce too low"));
    }

    #[test]
    fn the_host_is_told_without_credentials() {
        let client = |url: &str| Client::new(reqwest::Client::new(), url.parse().unwrap());
        assert_eq!(client("https://user:secret@a.example/key").unwrap().host, "a.example");
        assert_eq!(client("http://127.0.0.1:1/key").unwrap().host, "127.0.0.1:1");
        assert!(matches!(client("ws://a.example"), Err(ChainError::InvalidUrl { .. })));
    }
}
