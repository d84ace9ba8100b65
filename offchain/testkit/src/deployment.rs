//! The contracts on a development chain, deployed with the Solidity script that everybody uses.
use std::{fs::File, process::Stdio, time::Duration};

use alloy::{
    eips::BlockId,
    hex,
    primitives::{Address, U256},
    providers::Provider,
    rpc::types::{TransactionReceipt, TransactionRequest},
    signers::local::PrivateKeySigner,
    sol_types::SolCall,
};
use anyhow::{Context, Result, ensure};
use streamflow_bindings::{AddressBook, BondingManager, LivepeerToken, RoundsManager, ServiceRegistry, TicketBroker};
use tokio::{process::Command, sync::OnceCell, time::error::Elapsed};

use crate::{Anvil, AnvilOptions, forge_program, key, workspace_root};

/// Longest time for the first compilation, others' included.
const BUILD_TIMEOUT: Duration = Duration::from_secs(600);
/// Longest time for the deploy script. It takes some seconds, and waits for ever when a transaction gets stuck in anvil's pool.
const DEPLOY_TIMEOUT: Duration = Duration::from_secs(60);
/// Chains tried.
const ATTEMPTS: u32 = 3;

/// Parameters of a deployment that tests change.
#[derive(Clone, Debug)]
pub struct DeployOptions {
    /// How to start anvil.
    pub anvil: AnvilOptions,
    /// Blocks per round.
    pub round_length: u64,
    /// Further variables of the deploy script, such as `("STREAMFLOW_UNLOCK_PERIOD", "1")`.
    pub env: Vec<(&'static str, String)>,
}

impl Default for DeployOptions {
    fn default() -> Self {
        Self { anvil: AnvilOptions::default(), round_length: 50, env: Vec::new() }
    }
}

/// A chain with the contracts on it. Account 0 deployed them and holds all LPT.
#[derive(Debug)]
pub struct Deployment {
    /// The chain.
    pub anvil: Anvil,
    /// Where the contracts are.
    pub contracts: AddressBook,
    /// Owner of the contracts: account 0.
    pub deployer: PrivateKeySigner,
}

impl Deployment {
    /// Starts anvil and deploys, with the head at the start of a round; no round is initialised yet.
    pub async fn start() -> Result<Self> {
        Self::start_with(DeployOptions::default()).await
    }

    /// Starts anvil and deploys, with the head at the start of a round; no round is initialised yet.
    pub async fn start_with(options: DeployOptions) -> Result<Self> {
        let deployer = key(0)?;
        let mut attempt = 1;
        loop {
            let anvil = Anvil::spawn_with(options.anvil.clone()).await?;
            match deploy(&anvil, &deployer, &options).await {
                Ok(contracts) => {
                    let deployment = Self { anvil, contracts, deployer };
                    // Forge packs its transactions into as many blocks as it happens to: without this, what a test sends
                    // next falls into the locked end of a round now and then.
                    deployment.mine_to_next_round().await?;
                    return Ok(deployment);
                }
                Err(err) if err.is::<Elapsed>() && attempt < ATTEMPTS => {
                    eprintln!("the deploy script hangs, trying it on another chain");
                    attempt += 1;
                }
                Err(err) => return Err(err),
            }
        }
    }

    /// Calls a contract from `signer` and waits until it is mined with success. The chain must be mining.
    pub async fn call(
        &self,
        signer: &PrivateKeySigner,
        to: Address,
        call: impl SolCall,
        wei: U256,
    ) -> Result<TransactionReceipt> {
        let request = TransactionRequest::default().to(to).value(wei).input(call.abi_encode().into());
        self.anvil.send(signer, request).await
    }

    /// Asks a contract.
    pub async fn view<C: SolCall>(&self, to: Address, call: C) -> Result<C::Return> {
        let request = TransactionRequest::default().to(to).input(call.abi_encode().into());
        let output = self.anvil.provider().call(request).block(BlockId::latest()).await?;
        Ok(C::abi_decode_returns(&output)?)
    }

    /// Initialises the current round unless it is. Returns its number.
    pub async fn initialize_round(&self) -> Result<u64> {
        let rounds = self.contracts.rounds_manager;
        if !self.view(rounds, RoundsManager::currentRoundInitializedCall {}).await? {
            self.call(&self.deployer, rounds, RoundsManager::initializeRoundCall {}, U256::ZERO).await?;
        }
        Ok(self.view(rounds, RoundsManager::currentRoundCall {}).await?.to())
    }

    /// Mines into the next round and initialises it. Returns its number.
    pub async fn next_round(&self) -> Result<u64> {
        self.mine_to_next_round().await?;
        self.initialize_round().await
    }

    async fn mine_to_next_round(&self) -> Result<()> {
        let rounds = self.contracts.rounds_manager;
        let start = self.view(rounds, RoundsManager::currentRoundStartBlockCall {}).await?;
        let length = self.view(rounds, RoundsManager::roundLengthCall {}).await?;
        let end: u64 = (start + length).to();
        let head = self.anvil.block_number().await?;
        self.anvil.mine(end.saturating_sub(head).max(1)).await
    }

    /// Gives `to` LPT of the deployer.
    pub async fn give_lpt(&self, to: Address, amount: U256) -> Result<()> {
        let call = LivepeerToken::transferCall { to, value: amount };
        self.call(&self.deployer, self.contracts.livepeer_token, call, U256::ZERO).await?;
        Ok(())
    }

    /// Adds to the deposit and reserve of `sender`, in wei.
    pub async fn fund_sender(
        &self,
        sender: &PrivateKeySigner,
        deposit: U256,
        reserve: U256,
    ) -> Result<TransactionReceipt> {
        let call = TicketBroker::fundDepositAndReserveCall { depositAmount: deposit, reserveAmount: reserve };
        self.call(sender, self.contracts.ticket_broker, call, deposit + reserve).await
    }

    /// Registers `account` as an orchestrator with this stake (LPT wei, given by the deployer); active from the next
    /// round on. Needs an initialised round.
    pub async fn register(&self, account: &PrivateKeySigner, stake: U256, service_uri: &str) -> Result<()> {
        let staking = self.contracts.bonding_manager;
        let address = account.address();
        self.give_lpt(address, stake).await?;
        let approve = LivepeerToken::approveCall { spender: staking, value: stake };
        self.call(account, self.contracts.livepeer_token, approve, U256::ZERO).await?;
        self.call(account, staking, BondingManager::bondCall { amount: stake, to: address }, U256::ZERO).await?;
        let commission =
            BondingManager::transcoderCall { rewardCut: U256::from(100_000), feeShare: U256::from(900_000) };
        self.call(account, staking, commission, U256::ZERO).await?;
        let listen = ServiceRegistry::setServiceURICall { serviceURI: service_uri.to_owned() };
        self.call(account, self.contracts.service_registry, listen, U256::ZERO).await?;
        Ok(())
    }

    /// Adds `count` orchestrators to those listed, as [`streamflow_evm::list_crowd`] does.
    ///
    /// # Errors
    ///
    /// A URI is too long, or the chain does not play along.
    pub async fn list_crowd(&self, count: u64, uri: impl Fn(u64) -> String, stake: impl Fn(u64) -> u128) -> Result<()> {
        let (registry, staking) = (self.contracts.service_registry, self.contracts.bonding_manager);
        Ok(streamflow_evm::list_crowd(self.anvil.provider(), registry, staking, count, uri, stake).await?)
    }
}

async fn deploy(anvil: &Anvil, deployer: &PrivateKeySigner, options: &DeployOptions) -> Result<AddressBook> {
    let root = workspace_root()?;
    // Artifacts of our own: developers run forge in the same checkout.
    let cache = root.join("cache/testkit");
    std::fs::create_dir_all(&cache)?;
    let lock = File::create(cache.join("lock"))?;
    // One forge at a time, over all test processes. Released when the file is closed.
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await??;

    let program = forge_program()?;
    let forge = || {
        let mut forge = Command::new(&program);
        forge
            .current_dir(&root)
            .env("FOUNDRY_PROFILE", "deploy")
            .env("FOUNDRY_OUT", cache.join("out"))
            .env("FOUNDRY_CACHE_PATH", cache.join("cache"))
            .env("FOUNDRY_BROADCAST", cache.join("broadcast"))
            .env("FOUNDRY_DISABLE_NIGHTLY_WARNING", "1")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        forge
    };
    static BUILT: OnceCell<()> = OnceCell::const_new();
    let mut build = forge();
    build.args(["build", "script/Deploy.s.sol"]);
    BUILT.get_or_try_init(|| run(build, BUILD_TIMEOUT)).await?;

    let file = tempfile::NamedTempFile::new()?;
    let mut script = forge();
    script
        .args(["script", "script/Deploy.s.sol", "--broadcast", "--non-interactive", "--rpc-url", anvil.url().as_str()])
        .env("STREAMFLOW_DEPLOYER_KEY", hex::encode_prefixed(deployer.to_bytes()))
        .env("STREAMFLOW_DEPLOYMENT_FILE", file.path())
        .env("STREAMFLOW_ROUND_LENGTH", options.round_length.to_string())
        .envs(options.env.iter().map(|(name, value)| (name, value)));
    run(script, DEPLOY_TIMEOUT).await?;
    drop(lock);
    serde_json::from_slice(&std::fs::read(file.path())?).context("the deploy script wrote no addresses")
}

/// Runs a program that must succeed. The error is [`Elapsed`] if it takes longer.
async fn run(mut program: Command, limit: Duration) -> Result<()> {
    let output = tokio::time::timeout(limit, program.output()).await??;
    ensure!(
        output.status.success(),
        "forge failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
