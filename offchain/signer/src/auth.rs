//! The webhook that is asked before anything is signed (payments.md §2.6).
use std::{collections::BTreeMap, time::Duration};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use futures::StreamExt;
use serde_json::{Value, json};
use url::Url;

use crate::{
    billing::JobType,
    ceiling::{Ceiling, CeilingError},
    config::AuthConfig,
    json::Fields,
};

/// Header by which a proxy in front of the signer names the client. Proxies must drop it where it comes from outside.
pub(crate) const AUTH_ID: HeaderName = HeaderName::from_static("signer-auth-id");
/// Longest name of a client.
const MAX_AUTH_ID: usize = 256;
/// Longest answer of the webhook.
const MAX_ANSWER: usize = 64 * 1024;
/// Longest reason that is passed on.
const MAX_REASON: usize = 1024;

/// Why the client is not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthError {
    #[error("auth webhook did not answer")]
    Call(#[source] reqwest::Error),
    #[error("auth webhook answered with status {0}")]
    Status(u16),
    #[error("auth webhook answered with what is no decision: {0}")]
    Answer(&'static str),
    #[error("{reason}")]
    Rejected { status: u16, reason: String },
    #[error("auth webhook sent a maxPrice that cannot be used: {0}")]
    MaxPrice(#[source] CeilingError),
    #[error("auth id {got:?} is not that of the session, {known:?}")]
    OtherClient { got: String, known: String },
    #[error("auth id is not usable")]
    AuthId,
}

impl AuthError {
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Rejected { status, .. } => *status,
            Self::MaxPrice(_) => 502,
            _ => 500,
        }
    }
}

/// What the webhook allows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Grant {
    /// Unix seconds until which it need not be asked again; 0: ask every time.
    pub(crate) expiry: i64,
    pub(crate) auth_id: String,
    pub(crate) max_price: Option<Ceiling>,
}

#[derive(Debug)]
pub(crate) struct Webhook {
    url: Url,
    http: reqwest::Client,
}

impl Webhook {
    pub(crate) fn new(url: Url, config: &AuthConfig) -> Result<Self, reqwest::Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            // Names and values were checked with the settings.
            if let (Ok(name), Ok(mut value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value.expose())) {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        let http = client(config.timeout).default_headers(headers).build()?;
        Ok(Self { url, http })
    }

    /// Asks about a request with these headers that would leave the session in `state`.
    pub(crate) async fn ask(&self, headers: &HeaderMap, state: Value, job: JobType) -> Result<Grant, AuthError> {
        let question = json!({ "headers": listed(headers), "state": state });
        let reply = self.http.post(self.url.clone()).json(&question).send().await.map_err(without_url)?;
        let status = reply.status().as_u16();
        if status != 200 {
            return Err(AuthError::Status(status));
        }
        let mut stream = reply.bytes_stream();
        let mut body = Vec::new();
        while let Some(chunk) = stream.next().await {
            body.extend_from_slice(&chunk.map_err(without_url)?);
            if body.len() > MAX_ANSWER {
                return Err(AuthError::Answer("too long"));
            }
        }
        decide(&body, job)
    }
}

/// An address may carry a key.
fn without_url(error: reqwest::Error) -> AuthError {
    AuthError::Call(error.without_url())
}

pub(crate) fn client(timeout: Duration) -> reqwest::ClientBuilder {
    reqwest::Client::builder().timeout(timeout).redirect(reqwest::redirect::Policy::none()).no_proxy()
}

pub(crate) fn decide(body: &[u8], job: JobType) -> Result<Grant, AuthError> {
    let malformed = AuthError::Answer;
    let text = std::str::from_utf8(body).map_err(|_| malformed("not text"))?;
    let fields = Fields::parse(text).map_err(|_| malformed("not a JSON object"))?;
    let status: i64 = fields.value("status").map_err(|_| malformed("status is no number"))?;
    match status {
        200 => {}
        ..=0 => return Err(malformed("no status")),
        other => {
            let mut reason = fields.text("reason", MAX_ANSWER).unwrap_or_default();
            reason.truncate(reason.floor_char_boundary(MAX_REASON));
            if reason.is_empty() {
                reason = format!("signer auth rejected request with status {other}");
            }
            let status = u16::try_from(other).ok().filter(|status| (201..600).contains(status));
            return Err(AuthError::Rejected { status: status.ok_or(malformed("status out of range"))?, reason });
        }
    }
    let max_price = match fields.raw("maxprice") {
        None => None,
        Some(_) => {
            let object = fields.object("maxprice").map_err(|_| AuthError::MaxPrice(CeilingError::Malformed))?;
            Some(Ceiling::read(&object, job).map_err(AuthError::MaxPrice)?)
        }
    };
    Ok(Grant {
        expiry: fields.value("expiry").map_err(|_| malformed("expiry is no number"))?,
        auth_id: fields.text("auth_id", MAX_AUTH_ID).map_err(|_| malformed("auth_id is no short text"))?,
        max_price,
    })
}

/// Headers as Go writes them: names with capitals, every value in a list. What is not text is left out.
fn listed(headers: &HeaderMap) -> BTreeMap<String, Vec<&str>> {
    let mut listed: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (name, value) in headers {
        if let Ok(value) = value.to_str() {
            listed.entry(canonical(name.as_str())).or_default().push(value);
        }
    }
    listed
}

fn canonical(name: &str) -> String {
    let words = name.split('-').map(|word| match word.split_at_checked(1) {
        Some((first, rest)) => format!("{}{rest}", first.to_ascii_uppercase()),
        None => String::new(),
    });
    words.collect::<Vec<_>>().join("-")
}

/// The client that a proxy names; empty if none does.
pub(crate) fn named_client(headers: &HeaderMap) -> Result<&str, AuthError> {
    match headers.get(AUTH_ID) {
        None => Ok(""),
        Some(value) => value.to_str().ok().filter(|id| id.len() <= MAX_AUTH_ID).ok_or(AuthError::AuthId),
    }
}

/// The client of a session: once it is known it stays.
pub(crate) fn settle_client(known: &str, got: &str) -> Result<String, AuthError> {
    match (known, got) {
        (known, "") => Ok(known.to_owned()),
        ("", got) => Ok(got.to_owned()),
        (known, got) if known == got => Ok(known.to_owned()),
        (known, got) => Err(AuthError::OtherClient { got: got.to_owned(), known: known.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Result<Grant, (u16, String)> {
        decide(text.as_bytes(), JobType::LiveVideo).map_err(|error| (error.status(), error.to_string()))
    }

    #[test]
    fn a_grant_is_read() {
        let full = r#"{"status":200,"expiry":1700,"auth_id":"a","maxPrice":{"price":3,"currency":"wei","unit":"720p-pixel-seconds"}}"#;
        let grant = answer(full).unwrap();
        assert_eq!((grant.expiry, grant.auth_id.as_str()), (1700, "a"));
        assert_eq!(grant.max_price.unwrap().to_string(), "3/1");
        assert_eq!(answer(r#"{"status":200,"expiry":null,"maxPrice":null}"#), Ok(Grant::default()));
    }

    #[test]
    fn a_refusal_is_passed_on_with_its_status() {
        assert_eq!(answer(r#"{"status":403,"reason":"no"}"#), Err((403, "no".into())));
        let text = "signer auth rejected request with status 429";
        assert_eq!(answer(r#"{"status":429}"#), Err((429, text.into())));
    }

    #[test]
    fn what_is_no_decision_is_our_own_failure() {
        for text in
            ["", "[]", "{}", r#"{"status":0}"#, r#"{"status":-1}"#, r#"{"status":"200"}"#, r#"{"status":99999}"#]
        {
            assert_eq!(answer(text).unwrap_err().0, 500, "{text}");
        }
        let bad = r#"{"status":200,"maxPrice":{"price":3,"currency":"wei","unit":"seconds"}}"#;
        assert_eq!(answer(bad).unwrap_err().0, 502);
        assert_eq!(answer(r#"{"status":200,"maxPrice":5}"#).unwrap_err().0, 502);
    }

    #[test]
    fn headers_are_written_as_go_does() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", HeaderValue::from_static("1"));
        headers.append("x-forwarded-for", HeaderValue::from_static("2"));
        headers.append(AUTH_ID, HeaderValue::from_static("a"));
        let listed = serde_json::to_value(listed(&headers)).unwrap();
        assert_eq!(listed, json!({ "X-Forwarded-For": ["1", "2"], "Signer-Auth-Id": ["a"] }));
    }

    #[test]
    fn a_session_never_changes_its_client() {
        assert_eq!(settle_client("", "a").unwrap(), "a");
        assert_eq!(settle_client("a", "").unwrap(), "a");
        assert_eq!(settle_client("a", "a").unwrap(), "a");
        assert_eq!(settle_client("a", "b").unwrap_err().status(), 500);
    }
}
