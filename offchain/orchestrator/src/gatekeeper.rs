//! Asks a webhook whether an account is served, and at what price (node.md §2.3).
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alloy_primitives::Address;
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use streamflow_types::{Price, PriceError};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};
use url::Url;

/// A broadcaster waits 2.5 s for a quote, and the chain has to be asked too.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// Requests to the webhook at a time.
const MAX_REQUESTS: usize = 32;
/// Longest answer that is read, and longest part of it that peers are told.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
const MAX_REASON_CHARS: usize = 200;
/// Who was let in is not asked about again for this time; who was refused, for a short one.
const ALLOWED_FOR: Duration = Duration::from_secs(30 * 60);
const REFUSED_FOR: Duration = Duration::from_secs(30);
/// Answers that are remembered.
const MAX_ANSWERS: usize = 65_536;

/// Why an account is not served.
#[derive(Debug, thiserror::Error)]
pub enum Unauthorized {
    /// The webhook said so. The beginning is matched by peers.
    #[error("authentication failed: {reason}")]
    Refused {
        /// In the webhook's words.
        reason: String,
    },
    /// The webhook cannot be asked: that is for this node's operator, so peers are not told where it is.
    #[error("authentication failed: this node cannot ask whether the account is served, try again later")]
    Unreachable(#[source] WebhookError),
}

/// What is wrong with the webhook (`orchestrator.auth_webhook`).
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// No answer.
    #[error("orchestrator.auth_webhook cannot be reached")]
    Request(#[from] reqwest::Error),
    /// Not in time.
    #[error("orchestrator.auth_webhook took more than {0:?}")]
    TimedOut(Duration),
    /// More than can be meant.
    #[error("orchestrator.auth_webhook answered more than {max} bytes")]
    TooLong {
        /// That are read.
        max: usize,
    },
    /// Not what was agreed upon.
    #[error("orchestrator.auth_webhook answered 200 with what is neither empty nor {{\"priceInfo\":…}}")]
    Json(#[from] serde_json::Error),
    /// Not a price.
    #[error("orchestrator.auth_webhook names a price that is none")]
    Price(#[from] PriceError),
}

#[derive(Serialize)]
struct Question {
    id: String,
}

#[derive(Default, Deserialize)]
struct Answer {
    #[serde(rename = "priceInfo")]
    price: Option<PriceInfo>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PriceInfo {
    price_per_unit: u64,
    pixels_per_unit: u64,
}

/// What the webhook said, until when it holds.
#[derive(Clone, Debug)]
struct Verdict {
    until: Instant,
    allowed: Result<Option<Price>, String>,
}

/// What an answer says: a price of the account's own, or none, or why it is not served.
pub(crate) fn verdict(status: StatusCode, text: &[u8]) -> Result<Result<Option<Price>, String>, WebhookError> {
    if status != StatusCode::OK {
        let reason: String = String::from_utf8_lossy(text).trim().chars().take(MAX_REASON_CHARS).collect();
        let plain = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        return Ok(Err(if reason.is_empty() { status.as_u16().to_string() } else { plain }));
    }
    if text.trim_ascii().is_empty() {
        return Ok(Ok(None));
    }
    let answer: Answer = serde_json::from_slice(text)?;
    let price = answer.price.map(|info| Price::new(info.price_per_unit, info.pixels_per_unit)).transpose()?;
    Ok(Ok(price))
}

/// Asks the webhook, and remembers what it said.
#[derive(Debug)]
pub(crate) struct Gatekeeper {
    url: Option<Url>,
    http: reqwest::Client,
    requests: Semaphore,
    answers: Mutex<HashMap<Address, Verdict>>,
}

impl Gatekeeper {
    /// Without a webhook everybody is served.
    pub(crate) fn new(url: Option<Url>) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(TIMEOUT).build()?;
        Ok(Self { url, http, requests: Semaphore::new(MAX_REQUESTS), answers: Mutex::default() })
    }

    /// Whether the account is served.
    pub(crate) async fn check(&self, account: Address) -> Result<(), Unauthorized> {
        let Some(url) = &self.url else { return Ok(()) };
        let known = self.lock().get(&account).filter(|verdict| verdict.until > Instant::now()).cloned();
        let allowed = match known {
            Some(verdict) => verdict.allowed,
            None => {
                let asked = timeout(TIMEOUT, self.ask(url, account)).await;
                let asked = asked.unwrap_or(Err(WebhookError::TimedOut(TIMEOUT)));
                let allowed = asked.inspect_err(|error| {
                    let cause = std::error::Error::source(error).map(ToString::to_string);
                    tracing::warn!(%error, cause, "account cannot be checked");
                });
                let allowed = allowed.map_err(Unauthorized::Unreachable)?;
                self.remember(account, allowed.clone());
                allowed
            }
        };
        allowed.map(drop).map_err(|reason| Unauthorized::Refused { reason })
    }

    /// The price that the webhook named for the account when it was last asked.
    pub(crate) fn price(&self, account: Address) -> Option<Price> {
        self.lock().get(&account)?.allowed.clone().ok()?
    }

    async fn ask(&self, url: &Url, account: Address) -> Result<Result<Option<Price>, String>, WebhookError> {
        // The semaphore is never closed.
        let _permit = self.requests.acquire().await.ok();
        let question = Question { id: account.to_checksum(None) };
        let mut response = self.http.post(url.clone()).json(&question).send().await?;
        let status = response.status();
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if text.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(WebhookError::TooLong { max: MAX_ANSWER_BYTES });
            }
            text.extend_from_slice(&chunk);
        }
        verdict(status, &text)
    }

    fn remember(&self, account: Address, allowed: Result<Option<Price>, String>) {
        let now = Instant::now();
        let until = now + if allowed.is_ok() { ALLOWED_FOR } else { REFUSED_FOR };
        let mut answers = self.lock();
        if answers.len() >= MAX_ANSWERS && !answers.contains_key(&account) {
            answers.retain(|_, verdict| verdict.until > now);
            if answers.len() >= MAX_ANSWERS {
                let soonest = answers.iter().min_by_key(|(_, verdict)| verdict.until).map(|(account, _)| *account);
                soonest.map(|account| answers.remove(&account));
            }
        }
        answers.insert(account, Verdict { until, allowed });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Address, Verdict>> {
        // No code panics half-way through a change.
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
