//! A chain with the contracts, registered orchestrators and funded senders, for benchmarks.
use std::path::Path;

use alloy::{
    eips::BlockId,
    node_bindings::{Anvil, AnvilInstance},
    primitives::{B256, U256},
    providers::{DynProvider, Provider as _, ProviderBuilder, ext::AnvilApi as _},
    signers::local::PrivateKeySigner,
};
use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use streamflow_bindings::{LivepeerToken, RoundsManager};
use streamflow_chain::{Calls, Chain, ChainConfig, TxIntent, send_all};
use streamflow_types::{Ppm, Round};
use tokio::time::Duration;
use url::Url;

use crate::commands::deploy::{self, Deploy, foundry};

/// Wei in an ether, and in a token.
pub(crate) const ETHER: u128 = 1_000_000_000_000_000_000;
/// Blocks.
pub(crate) const ROUND_LENGTH: u64 = 1_000;
const POLL: Duration = Duration::from_millis(50);
/// Senders that are funded at the same time.
const FUNDED_AT_ONCE: usize = 10;

/// A market on a chain of its own, which ends with it.
pub(crate) struct BenchMarket {
    pub(crate) chain: Chain,
    pub(crate) config: ChainConfig,
    pub(crate) provider: DynProvider,
    pub(crate) orchestrators: Vec<PrivateKeySigner>,
    /// Each with a deposit of ten ether and a reserve of one.
    pub(crate) senders: Vec<PrivateKeySigner>,
    /// The round in which the orchestrators are active.
    pub(crate) round: Round,
    pub(crate) block_hash: B256,
    _anvil: AnvilInstance,
}

impl BenchMarket {
    /// Starts anvil, deploys, registers an orchestrator for each URI, and goes on to the round in which their stake counts.
    pub(crate) async fn start(project: &Path, service_uris: &[Url], senders: usize) -> anyhow::Result<Self> {
        let program = foundry(project, "anvil")?;
        let anvil = tokio::task::spawn_blocking(move || {
            Anvil::at(program)
                .host("127.0.0.1")
                .args(["--base-fee", "10000000"])
                // An anvil that is killed leaves its old states in the home directory for ever.
                .args(["--max-persisted-states", "0"])
                .try_spawn()
        })
        .await?
        .context("cannot start anvil")?;
        let provider = ProviderBuilder::new().connect_http(anvil.endpoint_url()).erased();
        let random = |count: usize| (0..count).map(|_| PrivateKeySigner::random()).collect::<Vec<_>>();
        let (deployer, orchestrators, senders) =
            (PrivateKeySigner::random(), random(service_uris.len()), random(senders));
        for account in senders.iter().chain(&orchestrators).chain([&deployer]) {
            provider.anvil_set_balance(account.address(), U256::from(100 * ETHER)).await?;
        }
        let url = anvil.endpoint_url();
        let params = [("STREAMFLOW_ROUND_LENGTH", ROUND_LENGTH.to_string())];
        let deployment = Deploy { project, rpc_url: &url, key: &deployer, params: &params, dry_run: false };
        let contracts = deploy::deploy(deployment).await?;
        let config = ChainConfig {
            rpc_url: url,
            controller: Some(contracts.controller),
            poll_interval: POLL,
            ..ChainConfig::default()
        };
        let chain = streamflow_chain::connect(&config).await?;
        let calls = Calls::new(contracts);

        next_round(&chain, &provider).await?;
        send_all(&chain, &config, deployer.clone(), vec![calls.initialize_round()]).await?;
        let stake = U256::from(1_000 * ETHER);
        let gift = |account: &PrivateKeySigner| {
            let gift = LivepeerToken::transferCall { to: account.address(), value: stake };
            TxIntent::call("transfer LPT", contracts.livepeer_token, &gift)
        };
        send_all(&chain, &config, deployer.clone(), orchestrators.iter().map(gift).collect()).await?;
        let half = Ppm::new(500_000).unwrap_or_default();
        for (account, uri) in orchestrators.iter().zip(service_uris) {
            let registration = vec![
                calls.approve_bond(stake),
                calls.bond(stake, account.address()),
                calls.set_commission(half, half),
                calls.set_service_uri(uri.as_str().trim_end_matches('/')),
            ];
            send_all(&chain, &config, account.clone(), registration).await?;
        }
        let deposit = U256::from(10 * ETHER);
        stream::iter(senders.clone())
            .map(|sender| send_all(&chain, &config, sender, vec![calls.fund(deposit, U256::from(ETHER))]))
            .buffer_unordered(FUNDED_AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        next_round(&chain, &provider).await?;
        send_all(&chain, &config, deployer, vec![calls.initialize_round()]).await?;

        let rounds = contracts.rounds_manager;
        let round = chain.rpc.view(rounds, RoundsManager::currentRoundCall {}, BlockId::latest()).await?;
        let hash = RoundsManager::blockHashForRoundCall { round };
        let block_hash = chain.rpc.view(rounds, hash, BlockId::latest()).await?;
        let round = Round(round.saturating_to());
        Ok(Self { chain, config, provider, orchestrators, senders, round, block_hash, _anvil: anvil })
    }
}

/// Mines up to the next round.
async fn next_round(chain: &Chain, provider: &DynProvider) -> anyhow::Result<()> {
    let call = RoundsManager::currentRoundStartBlockCall {};
    let start = chain.rpc.view(chain.contracts.rounds_manager, call, BlockId::latest()).await?;
    let next = start.saturating_to::<u64>() + ROUND_LENGTH;
    let head = chain.rpc.head().await?.number;
    Ok(provider.anvil_mine(Some(next.saturating_sub(head).max(1)), None).await?)
}
