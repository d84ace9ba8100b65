//! What the accounts of the network do on chain before the roles start.
use std::time::Duration;

use alloy::{
    eips::BlockId,
    primitives::{Address, U256},
};
use anyhow::Context as _;
use futures::future::try_join_all;
use streamflow_bindings::{AddressBook, BondingManager, LivepeerToken, RoundsManager};
use streamflow_chain::{Calls, Chain, ChainConfig, TxIntent, send_all};
use streamflow_types::Ppm;

use super::{
    ROUND_LENGTH,
    accounts::{Account, Accounts},
    anvil::Anvil,
    roles::Plan,
};
use crate::commands::deploy::{self, Deploy};

const ETHER: u128 = 1_000_000_000_000_000_000;
/// ETH of each account.
const WALLET: u128 = 100 * ETHER;
/// LPT that each orchestrator stakes.
const OWN_STAKE: u128 = 1_000 * ETHER;
/// LPT that the delegator stakes to the first orchestrator.
const DELEGATED_STAKE: u128 = 500 * ETHER;
/// Deposit of the broadcaster.
const DEPOSIT: u128 = 10 * ETHER;
/// Reserve that the broadcaster commits to each orchestrator.
const RESERVE: u128 = 5 * ETHER;
/// Orchestrators keep a tenth of rewards and give half of the fees to delegators.
const REWARD_CUT: u32 = 100_000;
const FEE_SHARE: u32 = 500_000;
/// Pace of blocks during set-up.
const HURRY: Duration = Duration::from_millis(100);

/// Deploys with the Solidity script.
pub(super) async fn deploy(plan: &Plan, anvil: &Anvil, accounts: &Accounts) -> anyhow::Result<AddressBook> {
    try_join_all(accounts.all().map(|account| anvil.set_balance(account.address(), U256::from(WALLET)))).await?;
    let _hurry = anvil.hurry(HURRY);
    deploy::deploy(Deploy {
        project: &plan.project,
        rpc_url: &anvil.url,
        key: &accounts.deployer.signer,
        params: &[("STREAMFLOW_ROUND_LENGTH", ROUND_LENGTH.to_string())],
        dry_run: false,
    })
    .await
}

/// Stakes and registers the orchestrators, delegates, funds the broadcaster, and goes on to the next round, in which the
/// orchestrators are active.
pub(super) async fn populate(
    plan: &Plan,
    anvil: &Anvil,
    accounts: &Accounts,
    contracts: AddressBook,
) -> anyhow::Result<()> {
    let config = ChainConfig {
        rpc_url: anvil.url.clone(),
        controller: Some(contracts.controller),
        poll_interval: HURRY,
        ..ChainConfig::default()
    };
    let chain = streamflow_chain::connect(&config).await?;
    let calls = Calls::new(contracts);
    next_round(&chain, anvil, &config, &accounts.deployer).await?;

    let hurry = anvil.hurry(HURRY);
    let give = |account: &Account, amount: u128| {
        let call = LivepeerToken::transferCall { to: account.address(), value: U256::from(amount) };
        TxIntent::call("transfer LPT", contracts.livepeer_token, &call)
    };
    let mut gifts: Vec<TxIntent> = accounts.orchestrators.iter().map(|account| give(account, OWN_STAKE)).collect();
    gifts.push(give(&accounts.delegator, DELEGATED_STAKE));
    send_all(&chain, &config, accounts.deployer.signer.clone(), gifts).await?;

    let registrations = accounts.orchestrators.iter().zip(&plan.service_uris).map(|(account, uri)| {
        let stake = U256::from(OWN_STAKE);
        let reward_caller = BondingManager::setRewardCallerCall { rewardCaller: accounts.keeper.address() };
        let steps = vec![
            calls.approve_bond(stake),
            calls.bond(stake, account.address()),
            calls.set_commission(ppm(REWARD_CUT), ppm(FEE_SHARE)),
            calls.set_service_uri(uri.as_str()),
            TxIntent::call("set reward caller", contracts.bonding_manager, &reward_caller),
            calls.set_redeemer(accounts.keeper.address()),
        ];
        send_all(&chain, &config, account.signer.clone(), steps)
    });
    let funding = send_all(
        &chain,
        &config,
        accounts.broadcaster.signer.clone(),
        std::iter::once(calls.fund(U256::from(DEPOSIT), U256::ZERO))
            .chain(
                accounts
                    .orchestrators
                    .iter()
                    .map(|account| calls.commit_reserve(account.address(), U256::from(RESERVE))),
            )
            .collect(),
    );
    tokio::try_join!(try_join_all(registrations), funding)?;

    let favourite = accounts.orchestrators.first().map_or(Address::ZERO, Account::address);
    let stake = U256::from(DELEGATED_STAKE);
    let delegation = vec![calls.approve_bond(stake), calls.bond(stake, favourite)];
    send_all(&chain, &config, accounts.delegator.signer.clone(), delegation).await?;
    drop(hurry);
    next_round(&chain, anvil, &config, &accounts.deployer).await
}

/// Mines into the next round and initialises it.
async fn next_round(chain: &Chain, anvil: &Anvil, config: &ChainConfig, account: &Account) -> anyhow::Result<()> {
    let rounds = chain.contracts.rounds_manager;
    let start = chain.rpc.view(rounds, RoundsManager::currentRoundStartBlockCall {}, BlockId::latest()).await?;
    let head = chain.rpc.head().await?.number;
    let next = start.saturating_to::<u64>() + ROUND_LENGTH;
    anvil.mine(next.saturating_sub(head)).await?;
    let _hurry = anvil.hurry(HURRY);
    let calls = Calls::new(chain.contracts);
    send_all(chain, config, account.signer.clone(), vec![calls.initialize_round()])
        .await
        .context("cannot initialise the round")?;
    Ok(())
}

fn ppm(parts: u32) -> Ppm {
    Ppm::new(parts).unwrap_or_default()
}
