//! A node that answers as public ones do: no long ranges of logs, no old state.
use alloy::primitives::Address;
use anyhow::Result;
use streamflow_chain::delegator::{FeeRatioQuery, fee_ratio};
use streamflow_chain::{Chain, ChainConfig, connect};
use tokio::{net::TcpListener, task::JoinHandle};
use url::Url;

use super::market::{Market, gwei, quiet};

/// Stands before a node and refuses what public nodes refuse.
#[derive(Clone, Debug)]
pub(super) struct Refusing {
    pub(super) node: Url,
    /// Blocks of one request for logs.
    pub(super) longest_range: u64,
    /// Whether a block's state may be asked for by its number.
    pub(super) keeps_state: bool,
}

impl Refusing {
    /// Listens until the returned task ends.
    pub(super) async fn before(self, chain: &Chain) -> Result<(Chain, JoinHandle<()>)> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url: Url = format!("http://{}", listener.local_addr()?).parse()?;
        let router = axum::Router::new().fallback(move |body: String| {
            let node = self.clone();
            async move { node.answer(body).await.map_err(|_| axum::http::StatusCode::BAD_GATEWAY) }
        });
        let serving = tokio::spawn(async {
            let _ = axum::serve(listener, router).await;
        });
        let controller = Some(chain.contracts.controller);
        Ok((connect(&ChainConfig { rpc_url: url, controller, ..ChainConfig::default() }).await?, serving))
    }

    async fn answer(&self, body: String) -> Result<String> {
        let request: serde_json::Value = serde_json::from_str(&body)?;
        let error = match request["method"].as_str() {
            Some("eth_getLogs") => {
                let number = |name: &str| {
                    let text = request["params"][0][name].as_str().unwrap_or_default();
                    u64::from_str_radix(text.trim_start_matches("0x"), 16)
                };
                (number("toBlock")? - number("fromBlock")? >= self.longest_range).then_some("block range too large")
            }
            Some("eth_call") if !self.keeps_state => {
                // The newest block is asked for by its name or hash.
                let block = request["params"][1].as_str().unwrap_or_default();
                (block.starts_with("0x") && block.len() < 66).then_some("missing trie node")
            }
            _ => None,
        };
        if let Some(message) = error {
            let error = serde_json::json!({ "code": -32000, "message": message });
            return Ok(serde_json::json!({ "jsonrpc": "2.0", "id": request["id"], "error": error }).to_string());
        }
        let answer = reqwest::Client::new().post(self.node.clone()).header("content-type", "application/json");
        Ok(answer.body(body).send().await?.text().await?)
    }
}

#[tokio::test]
async fn short_ranges_and_no_old_state_give_the_same_ratios() -> Result<()> {
    let mut market = Market::open(&[5, 7], &[]).await?;
    for _ in 0..3 {
        market.pay(2, gwei(3)).await?;
        market.reward(2).await?;
        market.deployment.next_round().await?;
    }
    let query = FeeRatioQuery { rounds: 3, orchestrators: Vec::<Address>::new() };
    let wanted = fee_ratio(&market.chain, &query, &quiet).await?;
    let node = Refusing { node: market.deployment.anvil.url(), longest_range: 7, keeps_state: false };
    let (chain, _serving) = node.before(&market.chain).await?;
    let got = fee_ratio(&chain, &query, &quiet).await?;
    assert_eq!(got.finished_rounds, 3);
    for (got, wanted) in got.orchestrators.iter().zip(&wanted.orchestrators) {
        assert_eq!(
            (got.orchestrator, &got.rounds, &got.windows),
            (wanted.orchestrator, &wanted.rounds, &wanted.windows)
        );
    }
    Ok(())
}
