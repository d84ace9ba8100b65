//! The connection to the nodes: bounded in time, and errors that say which setting to look at.
use std::{future::Future, sync::Arc};

use alloy::{
    eips::BlockId,
    primitives::{Address, B256, Bytes, U64, U256},
    providers::{DynProvider, Provider, ProviderBuilder},
    rpc::{
        client::RpcClient,
        types::{Filter, Log, TransactionReceipt, TransactionRequest},
    },
    sol_types::SolCall,
    transports::TransportError,
};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use crate::{
    BlockHeader, ChainConfig, ChainError,
    endpoint::{Endpoints, Mode, NonceUse, Route},
    retry::Backoff,
};

/// The nodes of a chain, as one. Cheap to clone; makes no connection until it is asked something.
#[derive(Clone, Debug)]
pub struct Rpc {
    endpoints: Arc<Endpoints>,
    mode: Mode,
    provider: DynProvider,
}

impl Rpc {
    /// Sets up the clients; the nodes need not run yet.
    ///
    /// # Errors
    ///
    /// `chain.rpc_url` or one of `chain.rpc_urls` cannot be dialled.
    pub fn new(config: &ChainConfig) -> Result<Self, ChainError> {
        Ok(Self::with_mode(Arc::new(Endpoints::new(config)?), Mode::Any))
    }

    fn with_mode(endpoints: Arc<Endpoints>, mode: Mode) -> Self {
        let client = RpcClient::new(Route { endpoints: endpoints.clone(), mode }, false);
        let provider = ProviderBuilder::new().disable_recommended_fillers().connect_client(client).erased();
        Self { endpoints, mode, provider }
    }

    /// The same nodes, for what cannot be taken back: an answer counts only if most endpoints give it (`chain.quorum`).
    /// Ask for a state by hash or number: the newest block differs from node to node. With one endpoint this is that one.
    #[must_use]
    pub fn agreed(&self) -> Self {
        Self::with_mode(self.endpoints.clone(), Mode::Agreed)
    }

    /// The endpoint that leads now, and no other: for readings that belong together.
    #[must_use]
    pub fn pinned(&self) -> Self {
        match self.mode {
            Mode::Any => Self::with_mode(self.endpoints.clone(), Mode::Only(self.endpoints.leader())),
            Mode::Only(_) | Mode::Agreed => self.clone(),
        }
    }

    /// For calls that this crate does not wrap.
    pub const fn provider(&self) -> &DynProvider {
        &self.provider
    }

    /// Host and port of the node that is asked first, without credentials or path.
    pub fn host(&self) -> &str {
        self.endpoints.host(self.index())
    }

    fn index(&self) -> usize {
        if let Mode::Only(index) = self.mode { index } else { self.endpoints.leader() }
    }

    /// Id of the chain the nodes serve.
    ///
    /// # Errors
    ///
    /// No node can be asked, or they serve another chain than `expected`.
    pub async fn chain_id(&self, expected: Option<u64>) -> Result<u64, ChainError> {
        self.endpoints.chain_id(expected).await
    }

    /// Looks at every endpoint: leaves those that fell behind, and uses those again that have recovered.
    pub(crate) async fn survey(&self) {
        self.endpoints.survey().await;
    }

    /// Header of the newest block.
    ///
    /// # Errors
    ///
    /// No node can be asked, or its newest block is too old (`chain.max_head_age`).
    pub async fn head(&self) -> Result<BlockHeader, ChainError> {
        let call = "eth_getBlockByNumber";
        match self.block(call, ("latest", false)).await? {
            Some(header) => Ok(header),
            None => Err(self.error(call, TransportError::NullResp)),
        }
    }

    /// Header of the block `hash`.
    ///
    /// # Errors
    ///
    /// No node can be asked, or none knows the block.
    pub async fn header(&self, hash: B256) -> Result<BlockHeader, ChainError> {
        let header = self.block("eth_getBlockByHash", (hash, false)).await?;
        header.ok_or_else(|| ChainError::UnknownBlock { host: self.host().to_owned(), hash })
    }

    /// Hash of the block at this height; `None` beyond the head.
    pub(crate) async fn block_hash(&self, number: u64) -> Result<Option<B256>, ChainError> {
        let header = self.block("eth_getBlockByNumber", (U64::from(number), false)).await?;
        Ok(header.map(|header| header.hash))
    }

    async fn block(
        &self,
        call: &'static str,
        params: impl serde::Serialize + Clone,
    ) -> Result<Option<BlockHeader>, ChainError> {
        let block: Box<RawValue> = self.request(call, params).await?;
        self.endpoints.header(block.get()).map_err(|err| self.error(call, err))
    }

    /// Logs that match `filter`, in order (block, log index). Those of one block (by its hash) are checked against it.
    ///
    /// # Errors
    ///
    /// No node can be asked, the range is refused, or every node tells logs that the block does not have.
    pub async fn logs(&self, filter: &Filter) -> Result<Vec<Log>, ChainError> {
        let mut logs = self.ask("eth_getLogs", self.endpoints.logs(self.mode, filter)).await?;
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

    /// The transaction that used a nonce of `account`, as the node that leads has it in its blocks up to `head`.
    pub(crate) async fn nonce_use(
        &self,
        account: Address,
        nonce: u64,
        head: u64,
    ) -> Result<(usize, Option<NonceUse>), ChainError> {
        let index = self.index();
        let used = self.ask("eth_getTransactionCount", self.endpoints.nonce_use(index, account, nonce, head)).await?;
        Ok((index, used))
    }

    /// Leaves an endpoint that has no receipt of a transaction in its own block.
    pub(crate) fn withholds_receipt(&self, endpoint: usize, used: &NonceUse) {
        self.endpoints.withholds_receipt(endpoint, used);
    }

    /// The receipt, checked against its block. Where several nodes are configured, `None` means that none has it.
    pub(crate) async fn receipt(&self, hash: B256) -> Result<Option<TransactionReceipt>, ChainError> {
        self.ask("eth_getTransactionReceipt", self.endpoints.receipt(self.mode, hash)).await
    }

    pub(crate) async fn call(&self, request: TransactionRequest, block: BlockId) -> Result<Bytes, ChainError> {
        self.ask("eth_call", self.provider.call(request).block(block)).await
    }

    pub(crate) async fn estimate_gas(&self, request: TransactionRequest) -> Result<u64, ChainError> {
        self.ask("eth_estimateGas", self.provider.estimate_gas(request)).await
    }

    /// Hands a signed transaction to every usable node. Their refusals are the caller's to classify.
    pub(crate) async fn broadcast(&self, raw: &Bytes) -> Vec<Result<B256, TransportError>> {
        self.endpoints.broadcast(raw).await
    }

    async fn request<T: DeserializeOwned>(
        &self,
        call: &'static str,
        params: impl serde::Serialize + Clone,
    ) -> Result<T, ChainError> {
        let asked = self.endpoints.ask(self.mode, call, params).await;
        asked.map(|(_, value)| value).map_err(|err| self.error(call, err))
    }

    pub(crate) async fn ask<T>(
        &self,
        call: &'static str,
        request: impl IntoFuture<Output = Result<T, TransportError>>,
    ) -> Result<T, ChainError> {
        request.await.map_err(|source| self.error(call, source))
    }

    fn error(&self, call: &'static str, source: TransportError) -> ChainError {
        ChainError::from_transport(self.host(), call, source)
    }
}

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
