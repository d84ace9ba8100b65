//! The connection to a node: bounded in time, and errors that say which setting to look at.
use std::future::Future;

use alloy::{
    eips::BlockId,
    primitives::{Address, B256, Bytes, U64, U128, U256},
    providers::{DynProvider, Provider, ProviderBuilder},
    rpc::{
        client::ClientBuilder,
        types::{Filter, Log, TransactionReceipt, TransactionRequest},
    },
    sol_types::SolCall,
    transports::{TransportError, http::Http, layers::RetryBackoffLayer},
};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::{BlockHeader, ChainConfig, ChainError, retry::Backoff};

/// A node. Cheap to clone; makes no connection until it is asked something.
#[derive(Clone, Debug)]
pub struct Rpc {
    provider: DynProvider,
    host: std::sync::Arc<str>,
}

impl Rpc {
    /// Sets up the client; the node need not run yet.
    ///
    /// # Errors
    ///
    /// `chain.rpc_url` cannot be dialled.
    pub fn new(config: &ChainConfig) -> Result<Self, ChainError> {
        let url = &config.rpc_url;
        let host = match (url.scheme(), url.host_str()) {
            ("http" | "https", Some(host)) => match url.port() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            },
            (scheme, _) => return Err(ChainError::InvalidUrl { scheme: scheme.to_owned() }),
        };
        let client = reqwest::Client::builder()
            .connect_timeout(config.connect_timeout)
            .timeout(config.request_timeout)
            .build()
            .map_err(ChainError::Client)?;
        // The layer repeats rate-limited requests only; a connection that fails is for the caller to judge.
        let retry = RetryBackoffLayer::new(config.rate_limit_retries, RATE_LIMIT_PAUSE_MS, COMPUTE_UNITS_PER_SECOND);
        let client = ClientBuilder::default().layer(retry).transport(Http::with_client(client, url.clone()), false);
        let provider = ProviderBuilder::new().disable_recommended_fillers().connect_client(client).erased();
        Ok(Self { provider, host: host.into() })
    }

    /// For calls that this crate does not wrap.
    pub const fn provider(&self) -> &DynProvider {
        &self.provider
    }

    /// Host and port of the node, without credentials or path.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Id of the chain the node serves.
    ///
    /// # Errors
    ///
    /// The node cannot be asked, or serves another chain than `expected`.
    pub async fn chain_id(&self, expected: Option<u64>) -> Result<u64, ChainError> {
        let got = self.ask("eth_chainId", self.provider.get_chain_id()).await?;
        match expected {
            Some(expected) if expected != got => {
                Err(ChainError::WrongChain { host: self.host.to_string(), got, expected })
            }
            _ => Ok(got),
        }
    }

    /// Header of the newest block.
    ///
    /// # Errors
    ///
    /// The node cannot be asked.
    pub async fn head(&self) -> Result<BlockHeader, ChainError> {
        let call = "eth_getBlockByNumber";
        let header: RpcHeader = self.ask(call, self.provider.raw_request(call.into(), ("latest", false))).await?;
        Ok(header.into())
    }

    /// Header of the block `hash`.
    ///
    /// # Errors
    ///
    /// The node cannot be asked or does not know the block.
    pub async fn header(&self, hash: B256) -> Result<BlockHeader, ChainError> {
        let call = "eth_getBlockByHash";
        let request = self.provider.raw_request::<_, Option<RpcHeader>>(call.into(), (hash, false));
        match self.ask(call, request).await? {
            Some(header) => Ok(header.into()),
            None => Err(ChainError::UnknownBlock { host: self.host.to_string(), hash }),
        }
    }

    /// Hash of the block at this height; `None` beyond the head.
    pub(crate) async fn block_hash(&self, number: u64) -> Result<Option<B256>, ChainError> {
        let call = "eth_getBlockByNumber";
        let request = self.provider.raw_request::<_, Option<RpcHeader>>(call.into(), (U64::from(number), false));
        Ok(self.ask(call, request).await?.map(|header| header.hash))
    }

    /// Logs that match `filter`, in order (block, log index).
    ///
    /// # Errors
    ///
    /// The node cannot be asked, or refuses the range.
    pub async fn logs(&self, filter: &Filter) -> Result<Vec<Log>, ChainError> {
        let mut logs = self.ask("eth_getLogs", self.provider.get_logs(filter)).await?;
        logs.sort_by_key(|log| (log.block_number, log.log_index));
        Ok(logs)
    }

    /// Calls a view of the contract at `to` in the state after `block`.
    ///
    /// # Errors
    ///
    /// The node cannot be asked, the call reverts, or the answer cannot be decoded.
    pub async fn view<C: SolCall>(&self, to: Address, call: C, block: BlockId) -> Result<C::Return, ChainError> {
        let request = TransactionRequest::default().to(to).input(call.abi_encode().into());
        let output = self.ask(C::SIGNATURE, self.provider.call(request).block(block)).await?;
        C::abi_decode_returns(&output).map_err(|source| ChainError::BadContract { call: C::SIGNATURE, source })
    }

    /// Wei of `account` after `block`.
    ///
    /// # Errors
    ///
    /// The node cannot be asked.
    pub async fn balance(&self, account: Address, block: BlockId) -> Result<U256, ChainError> {
        self.ask("eth_getBalance", self.provider.get_balance(account).block_id(block)).await
    }

    pub(crate) async fn code(&self, account: Address) -> Result<Bytes, ChainError> {
        self.ask("eth_getCode", self.provider.get_code_at(account)).await
    }

    pub(crate) async fn nonce(&self, account: Address, block: BlockId) -> Result<u64, ChainError> {
        self.ask("eth_getTransactionCount", self.provider.get_transaction_count(account).block_id(block)).await
    }

    pub(crate) async fn receipt(&self, hash: B256) -> Result<Option<TransactionReceipt>, ChainError> {
        self.ask("eth_getTransactionReceipt", self.provider.get_transaction_receipt(hash)).await
    }

    pub(crate) async fn call(&self, request: TransactionRequest, block: BlockId) -> Result<Bytes, ChainError> {
        self.ask("eth_call", self.provider.call(request).block(block)).await
    }

    pub(crate) async fn estimate_gas(&self, request: TransactionRequest) -> Result<u64, ChainError> {
        self.ask("eth_estimateGas", self.provider.estimate_gas(request)).await
    }

    /// Hands a signed transaction to the node. The node's refusal is the caller's to classify.
    pub(crate) async fn broadcast(&self, raw: &Bytes) -> Result<B256, TransportError> {
        self.provider.raw_request("eth_sendRawTransaction".into(), (raw,)).await
    }

    pub(crate) async fn ask<T>(
        &self,
        call: &'static str,
        request: impl IntoFuture<Output = Result<T, TransportError>>,
    ) -> Result<T, ChainError> {
        request.await.map_err(|source| ChainError::from_transport(&self.host, call, source))
    }
}

const RATE_LIMIT_PAUSE_MS: u64 = 250;
/// A budget so large that the layer never delays a request by itself.
const COMPUTE_UNITS_PER_SECOND: u64 = 1_000_000;

/// Refusals in a row after which a node is taken at its word. One whose head is just moving back refuses what it answers a moment
/// later.
const REFUSALS: u32 = 3;

/// Repeats `attempt` with growing pauses while the node cannot be reached, and tells once that it waits.
///
/// # Errors
///
/// The first error that waiting does not cure, or [`ChainError::Stopped`].
pub async fn wait_for_node<T, F>(
    config: &ChainConfig,
    stop: &CancellationToken,
    mut attempt: impl FnMut() -> F,
) -> Result<T, ChainError>
where
    F: Future<Output = Result<T, ChainError>>,
{
    let mut backoff = Backoff::new(config.poll_interval, config.max_backoff);
    let mut refusals = 0;
    loop {
        let outcome = tokio::select! { biased;
            () = stop.cancelled() => return Err(ChainError::Stopped),
            outcome = attempt() => outcome,
        };
        match outcome {
            Err(err @ ChainError::Refused { .. }) if refusals + 1 < REFUSALS => {
                refusals += 1;
                tracing::warn!(%err, "the chain RPC refuses, asking again");
            }
            Err(err) if err.is_unreachable() => {
                if backoff.is_fresh() {
                    tracing::warn!(%err, "waiting for the chain RPC");
                }
            }
            outcome => return outcome,
        }
        tokio::select! { biased;
            () = stop.cancelled() => return Err(ChainError::Stopped),
            () = tokio::time::sleep(backoff.next_pause()) => {}
        }
    }
}

/// The fields we read. Own type because L2 nodes add fields that we need and transactions that alloy does not know.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RpcHeader {
    number: U64,
    hash: B256,
    parent_hash: B256,
    timestamp: U64,
    #[serde(default)]
    base_fee_per_gas: Option<U128>,
    #[serde(default)]
    l1_block_number: Option<U64>,
}

impl From<RpcHeader> for BlockHeader {
    fn from(header: RpcHeader) -> Self {
        let number = header.number.to();
        Self {
            number,
            hash: header.hash,
            parent_hash: header.parent_hash,
            timestamp: header.timestamp.to(),
            base_fee: header.base_fee_per_gas.map_or(0, |fee| fee.to()),
            contract_number: header.l1_block_number.map_or(number, |number| number.to()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use alloy::transports::TransportErrorKind;

    use super::*;

    fn refused() -> ChainError {
        let source = TransportErrorKind::custom_str("block height is 510 but requested was 511");
        ChainError::Refused { host: "node".to_owned(), call: "getContract(bytes32)", source }
    }

    async fn answer_after(count: u32) -> (Result<u32, ChainError>, u32) {
        let config = ChainConfig { poll_interval: Duration::from_millis(1), ..ChainConfig::default() };
        let asked = Cell::new(0);
        let attempt = || {
            asked.set(asked.get() + 1);
            std::future::ready(if asked.get() <= count { Err(refused()) } else { Ok(7) })
        };
        let answer = wait_for_node(&config, &CancellationToken::new(), attempt).await;
        (answer, asked.get())
    }

    /// Seed 2 of the fault tests: the keeper ended because it started while blocks were taken back.
    #[tokio::test]
    async fn a_node_that_refuses_for_a_moment_is_asked_again() {
        assert!(matches!(answer_after(2).await, (Ok(7), 3)));
    }

    #[tokio::test]
    async fn a_node_that_goes_on_refusing_is_believed() {
        assert!(matches!(answer_after(9).await, (Err(ChainError::Refused { .. }), 3)));
    }
}
