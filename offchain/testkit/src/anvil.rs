//! A development chain.
use alloy::{
    network::EthereumWallet,
    node_bindings::{Anvil as AnvilBuilder, AnvilInstance},
    primitives::{Address, U256},
    providers::{DynProvider, Provider, ProviderBuilder, ext::AnvilApi},
    rpc::types::{
        TransactionReceipt, TransactionRequest,
        anvil::{ReorgOptions, TransactionData},
    },
    signers::local::PrivateKeySigner,
};
use anyhow::{Context, Result, ensure};
use url::Url;

use crate::anvil_program;

/// How to start anvil. The default mines a block for each transaction.
#[derive(Clone, Debug, Default)]
pub struct AnvilOptions {
    /// Seconds between blocks; `None` mines on each transaction.
    pub block_time: Option<u64>,
    /// Base fee of the first block, wei per gas.
    pub base_fee: Option<u128>,
    /// A fixed port, for a chain that comes back where it was.
    pub port: Option<u16>,
    /// Further arguments.
    pub args: Vec<String>,
}

/// A running anvil with ten funded accounts.
#[derive(Debug)]
pub struct Anvil {
    instance: AnvilInstance,
    provider: DynProvider,
}

/// The key of anvil's account `index`, of its well-known mnemonic.
pub fn key(index: usize) -> Result<PrivateKeySigner> {
    let key = KEYS.get(index).with_context(|| format!("anvil has only {} accounts", KEYS.len()))?;
    Ok(key.parse()?)
}

/// "test test test test test test test test test test test junk": known to everybody, worth nothing anywhere.
const KEYS: [&str; 10] = [
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    "0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
    "0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
    "0x92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e",
    "0x4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356",
    "0xdbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97",
    "0x2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6",
];

impl Anvil {
    /// Starts one that mines on each transaction.
    pub async fn spawn() -> Result<Self> {
        Self::spawn_with(AnvilOptions::default()).await
    }

    /// Starts one.
    pub async fn spawn_with(options: AnvilOptions) -> Result<Self> {
        let mut builder = AnvilBuilder::at(anvil_program()?).host("127.0.0.1").timeout(30_000);
        builder = builder.args(["--slots-in-an-epoch", "1"]);
        // An anvil that is killed leaves its old states in the home directory for ever.
        builder = builder.args(["--max-persisted-states", "0"]).args(&options.args);
        if let Some(seconds) = options.block_time {
            builder = builder.block_time(seconds);
        }
        if let Some(fee) = options.base_fee {
            builder = builder.args(["--base-fee".to_owned(), fee.to_string()]);
        }
        if let Some(port) = options.port {
            builder = builder.port(port);
        }
        // Reads the child's output until it listens.
        let instance = tokio::task::spawn_blocking(|| builder.try_spawn()).await??;
        let provider =
            ProviderBuilder::new().disable_recommended_fillers().connect_http(instance.endpoint_url()).erased();
        Ok(Self { instance, provider })
    }

    /// Where it listens.
    pub fn url(&self) -> Url {
        self.instance.endpoint_url()
    }

    /// The port it listens on.
    pub const fn port(&self) -> u16 {
        self.instance.port()
    }

    /// For reading.
    pub const fn provider(&self) -> &DynProvider {
        &self.provider
    }

    /// For sending from `signer`; fills in nonce, gas and fees.
    pub fn wallet(&self, signer: PrivateKeySigner) -> DynProvider {
        ProviderBuilder::new().wallet(EthereumWallet::new(signer)).connect_http(self.url()).erased()
    }

    /// Sends from `signer` and waits until it is mined with success. The chain must be mining.
    pub async fn send(&self, signer: &PrivateKeySigner, request: TransactionRequest) -> Result<TransactionReceipt> {
        let pending = self.wallet(signer.clone()).send_transaction(request.from(signer.address())).await?;
        let receipt = pending.get_receipt().await?;
        ensure!(receipt.status(), "transaction {} reverted", receipt.transaction_hash);
        Ok(receipt)
    }

    /// Number of the newest block.
    pub async fn block_number(&self) -> Result<u64> {
        Ok(self.provider.get_block_number().await?)
    }

    /// Mines `blocks` now.
    pub async fn mine(&self, blocks: u64) -> Result<()> {
        Ok(self.provider.anvil_mine(Some(blocks), None).await?)
    }

    /// Whether each transaction is mined at once.
    pub async fn set_automine(&self, on: bool) -> Result<()> {
        Ok(self.provider.anvil_set_auto_mine(on).await?)
    }

    /// Remembers the state; [`Anvil::revert`] returns to it.
    pub async fn snapshot(&self) -> Result<U256> {
        Ok(self.provider.anvil_snapshot().await?)
    }

    /// Returns to a snapshot: the head goes backward.
    pub async fn revert(&self, snapshot: U256) -> Result<()> {
        ensure!(self.provider.anvil_revert(snapshot).await?, "no snapshot {snapshot}");
        Ok(())
    }

    /// Replaces the newest `depth` blocks by others, with `transactions` at their distances from the first of them.
    pub async fn reorg(&self, depth: u64, transactions: Vec<(TransactionData, u64)>) -> Result<()> {
        Ok(self.provider.anvil_reorg(ReorgOptions { depth, tx_block_pairs: transactions }).await?)
    }

    /// Gives `account` this many wei.
    pub async fn set_balance(&self, account: Address, wei: U256) -> Result<()> {
        Ok(self.provider.anvil_set_balance(account, wei).await?)
    }
}
