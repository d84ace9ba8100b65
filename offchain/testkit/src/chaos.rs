//! A node that misbehaves on demand: a proxy in front of a real one.
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alloy::primitives::U256;
use anyhow::{Context, Result};
use axum::{
    Router,
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};
use url::Url;

/// What is wrong with the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chaos {
    /// It takes requests and never answers.
    Stall,
    /// It answers 429, and may tell how many seconds to wait.
    Limited { retry_after: Option<u64> },
    /// It says the same in a JSON-RPC error.
    LimitedInBody,
    /// It breaks off in the middle of each answer.
    Truncated,
    /// It stays at the block that was the newest when this was set.
    StaleHead,
    /// It adds a second to the time of each block, and keeps its hash.
    FalseHeader,
    /// It changes the last digit of the data of each log.
    ForgedLogs,
    /// It tells no logs.
    DroppedLogs,
    /// It tells no receipts: neither of a transaction nor of a block.
    DroppedReceipts,
    /// It tells that every transaction failed.
    FailedReceipts,
    /// It serves another chain.
    WrongChain(u64),
    /// It takes transactions and does nothing with them.
    SwallowedTransactions,
    /// It answers every call of a contract with zeros.
    FalseState,
    /// It answers calls of the function with this selector with this word.
    FalseView { selector: [u8; 4], word: U256 },
    /// It refuses calls of the function with this selector with this revert data.
    FalseRefusal { selector: [u8; 4], reason: Vec<u8> },
}

#[derive(Debug, Default)]
struct Plan {
    chaos: Option<Chaos>,
    /// Block at which the head stays.
    frozen: Option<u64>,
    /// Number of L1 that headers tell.
    l1_block: Option<u64>,
    transactions: Vec<String>,
    requests: u64,
}

#[derive(Debug)]
struct Proxy {
    node: Url,
    client: reqwest::Client,
    plan: Mutex<Plan>,
}

/// The proxy. Ends when it is dropped.
#[derive(Debug)]
pub struct ChaosProxy {
    proxy: Arc<Proxy>,
    url: Url,
    task: JoinHandle<()>,
}

impl ChaosProxy {
    /// Listens on a free port of the loopback interface, and passes everything on to `node`.
    pub async fn start(node: Url) -> Result<Self> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
        let proxy = Arc::new(Proxy { node, client, plan: Mutex::default() });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?).parse()?;
        let router = Router::new().fallback(answer).with_state(Arc::clone(&proxy));
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { proxy, url, task })
    }

    /// Where it listens.
    pub fn url(&self) -> Url {
        self.url.clone()
    }

    /// Host and port.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.url.port().unwrap_or_default())
    }

    /// Misbehaves like this from now on.
    pub async fn set(&self, chaos: Chaos) -> Result<()> {
        let frozen = match chaos {
            Chaos::StaleHead => Some(self.proxy.head().await?),
            _ => None,
        };
        let mut plan = self.proxy.plan();
        plan.chaos = Some(chaos);
        plan.frozen = frozen;
        Ok(())
    }

    /// Behaves from now on.
    pub fn clear(&self) {
        let mut plan = self.proxy.plan();
        plan.chaos = None;
        plan.frozen = None;
    }

    /// Headers have this `l1BlockNumber` from now on, as on Arbitrum; or none.
    pub fn set_l1_block(&self, number: Option<u64>) {
        self.proxy.plan().l1_block = number;
    }

    /// Raw transactions that it was given, in order, those included that it swallowed.
    pub fn transactions(&self) -> Vec<String> {
        self.proxy.plan().transactions.clone()
    }

    /// How many requests it was sent.
    pub fn requests(&self) -> u64 {
        self.proxy.plan().requests
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn head(&self) -> Result<u64> {
        let answer = self.ask(&json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": [] })).await?;
        let number = answer["result"].as_str().context("no block number")?;
        Ok(u64::from_str_radix(number.trim_start_matches("0x"), 16)?)
    }

    async fn ask(&self, request: &Value) -> Result<Value> {
        let sent = self.client.post(self.node.clone()).header(header::CONTENT_TYPE, "application/json");
        let text = sent.body(request.to_string()).send().await?.text().await?;
        Ok(serde_json::from_str(&text)?)
    }
}

async fn answer(State(proxy): State<Arc<Proxy>>, body: String) -> Response {
    let Ok(mut request) = serde_json::from_str::<Value>(&body) else { return StatusCode::BAD_REQUEST.into_response() };
    let (chaos, frozen, l1_block) = {
        let mut plan = proxy.plan();
        plan.requests += 1;
        if request["method"] == "eth_sendRawTransaction"
            && let Some(raw) = request["params"][0].as_str()
        {
            plan.transactions.push(raw.to_owned());
        }
        (plan.chaos.clone(), plan.frozen, plan.l1_block)
    };
    match &chaos {
        Some(Chaos::Stall) => std::future::pending::<()>().await,
        Some(Chaos::Limited { retry_after }) => return limited(*retry_after),
        Some(Chaos::LimitedInBody) => {
            let error = json!({ "code": 429, "message": "compute units exceeded: too many requests" });
            return reply(&json!({ "jsonrpc": "2.0", "id": request["id"], "error": error }));
        }
        Some(Chaos::FalseRefusal { selector, reason }) if calls(&request, selector) => {
            let data = alloy::hex::encode_prefixed(reason);
            let error = json!({ "code": 3, "message": "execution reverted", "data": data });
            return reply(&json!({ "jsonrpc": "2.0", "id": request["id"], "error": error }));
        }
        Some(Chaos::SwallowedTransactions) if request["method"] == "eth_sendRawTransaction" => {
            return match hash_of(&request) {
                Some(hash) => reply(&json!({ "jsonrpc": "2.0", "id": request["id"], "result": hash })),
                None => StatusCode::BAD_REQUEST.into_response(),
            };
        }
        _ => {}
    }
    if let Some(number) = frozen {
        freeze(&mut request, number);
    }
    let Ok(mut answer) = proxy.ask(&request).await else { return StatusCode::BAD_GATEWAY.into_response() };
    if let Some(chaos) = &chaos {
        garble(&request, &mut answer["result"], chaos);
    }
    if let (Some(number), true) = (l1_block, answer["result"]["parentHash"].is_string()) {
        answer["result"]["l1BlockNumber"] = format!("{number:#x}").into();
    }
    if chaos == Some(Chaos::Truncated) {
        let text = answer.to_string();
        let half = text.get(..text.len() / 2).unwrap_or_default().to_owned();
        return (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], half).into_response();
    }
    reply(&answer)
}

fn reply(answer: &Value) -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], answer.to_string()).into_response()
}

fn limited(retry_after: Option<u64>) -> Response {
    let mut response = Response::new(Body::from("slow down"));
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn hash_of(request: &Value) -> Option<String> {
    let raw = alloy::hex::decode(request["params"][0].as_str()?).ok()?;
    Some(alloy::primitives::keccak256(raw).to_string())
}

/// Whether it is a call of the function with this selector.
fn calls(request: &Value, selector: &[u8; 4]) -> bool {
    let call = &request["params"][0];
    let input = call["input"].as_str().or_else(|| call["data"].as_str()).unwrap_or_default();
    request["method"] == "eth_call" && input.starts_with(&alloy::hex::encode_prefixed(selector))
}

/// Asks for an older block wherever the newest is meant.
fn freeze(request: &mut Value, number: u64) {
    if let Some(params) = request["params"].as_array_mut() {
        for param in params.iter_mut().filter(|param| **param == "latest" || **param == "pending") {
            *param = format!("{number:#x}").into();
        }
    }
}

fn garble(request: &Value, result: &mut Value, chaos: &Chaos) {
    let method = request["method"].as_str().unwrap_or_default();
    match chaos {
        Chaos::WrongChain(id) if method == "eth_chainId" => *result = format!("{id:#x}").into(),
        Chaos::FalseHeader if result["timestamp"].is_string() && result["parentHash"].is_string() => {
            let time = result["timestamp"].as_str().map(|time| u64::from_str_radix(time.trim_start_matches("0x"), 16));
            if let Some(Ok(time)) = time {
                result["timestamp"] = format!("{:#x}", time + 1).into();
            }
        }
        Chaos::ForgedLogs if method == "eth_getLogs" => {
            for log in result.as_array_mut().into_iter().flatten() {
                if let Some(data) = log["data"].as_str().map(str::to_owned) {
                    let (kept, last) = data.split_at(data.len().saturating_sub(1));
                    log["data"] = format!("{kept}{}", if last == "1" { "2" } else { "1" }).into();
                }
            }
        }
        Chaos::DroppedLogs if method == "eth_getLogs" => *result = json!([]),
        Chaos::DroppedReceipts if method.contains("Receipt") => *result = Value::Null,
        Chaos::FailedReceipts if method == "eth_getTransactionReceipt" && result["status"].is_string() => {
            result["status"] = "0x0".into();
            result["logs"] = json!([]);
        }
        Chaos::FalseState if method == "eth_call" => {
            if let Some(length) = result.as_str().map(str::len) {
                *result = format!("0x{}", "0".repeat(length.saturating_sub(2))).into();
            }
        }
        Chaos::FalseView { selector, word } if calls(request, selector) => {
            *result = alloy::hex::encode_prefixed(word.to_be_bytes::<32>()).into();
        }
        _ => {}
    }
}
