//! The list of a webhook (node.md §4.5): `GET`, `[{"address": "https://host:8935", "score": 1.0}]`.
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::{Candidate, parse_address};
use crate::client::{CallError, collect};

/// Time for an answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// A list of ten thousand has about this size.
const MAX_ANSWER: usize = 1 << 20;
/// Longest list taken.
const MOST: usize = 10_000;
/// Score of an orchestrator that is trusted as our own.
const TRUSTED: f64 = 1.0;

/// Why a webhook yields no list.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It is away, or too slow.
    #[error("the webhook of orchestrators does not answer (setting broadcaster.discovery.webhook)")]
    Call(#[source] reqwest::Error),
    /// It said no.
    #[error("the webhook of orchestrators answered {0}, 200 is wanted (setting broadcaster.discovery.webhook)")]
    Status(u16),
    /// Broken off, or without end.
    #[error("the answer of the webhook of orchestrators cannot be read, at most {MAX_ANSWER} bytes are taken")]
    Receive(#[source] Box<CallError>),
    /// Something else.
    #[error("the webhook of orchestrators answered no list of address and score")]
    Answer(#[source] serde_json::Error),
    /// Longer than any that is used.
    #[error("the webhook of orchestrators lists {got}, at most {MOST} are taken")]
    TooMany {
        /// How many.
        got: usize,
    },
}

#[derive(Deserialize)]
struct Listed {
    address: String,
    #[serde(default)]
    score: f64,
}

pub(super) struct Webhook {
    url: Url,
    http: reqwest::Client,
}

impl Webhook {
    pub(super) fn new(url: Url) -> Result<Self, ListError> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(ListError::Call)?;
        Ok(Self { url, http })
    }

    /// Asks for the list. What is no address in it is left out, so that one typing error does not cost all others.
    pub(super) async fn read(&self) -> Result<Vec<Candidate>, ListError> {
        // Its address may carry a credential.
        let call = |error: reqwest::Error| ListError::Call(error.without_url());
        let reply = self.http.get(self.url.clone()).send().await.map_err(call)?;
        if reply.status() != reqwest::StatusCode::OK {
            return Err(ListError::Status(reply.status().as_u16()));
        }
        let body = collect(reply.bytes_stream(), MAX_ANSWER).await;
        let body = body.map_err(|error| ListError::Receive(Box::new(error)))?;
        parse(&body)
    }
}

pub(crate) fn parse(body: &[u8]) -> Result<Vec<Candidate>, ListError> {
    let listed: Vec<Listed> = serde_json::from_slice(body).map_err(ListError::Answer)?;
    if listed.len() > MOST {
        return Err(ListError::TooMany { got: listed.len() });
    }
    let usable = listed.into_iter().filter_map(|listed| match parse_address(&listed.address) {
        Ok(url) => Some(Candidate { own: listed.score >= TRUSTED, ..Candidate::of_market(url, None) }),
        Err(error) => {
            tracing::warn!(%error, "the webhook lists what is no orchestrator");
            None
        }
    });
    Ok(usable.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_of_one_is_trusted_and_bad_addresses_are_left_out() {
        let body = br#"[{"address":"https://a:8935","score":1.0},{"address":"b","score":0.5},{"address":"ftp://c"},
                        {"address":"d:1","extra":true}]"#;
        let listed = parse(body).unwrap();
        let listed: Vec<(&str, bool)> = listed.iter().map(|c| (c.url.as_str(), c.own)).collect();
        assert_eq!(listed, [("https://a:8935/", true), ("https://b:8935/", false), ("https://d:1/", false)]);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for body in ["", "{}", "[1]", r#"[{"score":1}]"#, r#"[{"address":"a","score":"high"}]"#] {
            assert!(matches!(parse(body.as_bytes()), Err(ListError::Answer(_))), "{body}");
        }
        let many = format!("[{}]", vec![r#"{"address":"a"}"#; MOST + 1].join(","));
        assert!(matches!(parse(many.as_bytes()), Err(ListError::TooMany { got: 10_001 })));
    }
}
