//! `stake bond|unbond|rebond|withdraw|claim|withdraw-fees`.
use alloy::primitives::{Address, U256};
use anyhow::bail;
use streamflow_bindings::{BondingManager, RoundsManager};
use streamflow_chain::TxIntent;

use super::{
    Context,
    operation::{Account, Plan},
    registration::bond_steps,
};
use crate::{
    amount::{Eth, Lpt},
    cli::StakeCommand,
    exit::{Refused, Usage},
};

/// Runs one of the staking commands.
///
/// # Errors
/// [`Refused`] when the contract would refuse, with its reason.
pub async fn run(context: &Context, command: &StakeCommand) -> anyhow::Result<()> {
    let account = Account::open(context).await?;
    let (plan, spend) = match command {
        StakeCommand::Bond { amount, to, spend } => (bond(&account, amount.0, *to).await?, *spend),
        StakeCommand::Unbond { amount, spend } => (unbond(&account, amount.0).await?, *spend),
        StakeCommand::Rebond { lock, to, spend } => (rebond(&account, *lock, *to).await?, *spend),
        StakeCommand::Withdraw { lock, spend } => (withdraw(&account, *lock).await?, *spend),
        StakeCommand::Claim(spend) => (claim(&account).await?, *spend),
        StakeCommand::WithdrawFees { amount, to, spend } => (withdraw_fees(&account, *amount, *to).await?, *spend),
    };
    account.carry_out(plan, spend, context.output).await
}

async fn bond(account: &Account, amount: U256, to: Option<Address>) -> anyhow::Result<Plan> {
    if amount.is_zero() && to.is_none() {
        bail!(Usage("nothing to do: give an --amount, or --to another orchestrator".into()));
    }
    let delegate = delegator(account).await?.delegateAddress;
    let own_choice = if delegate.is_zero() { account.address } else { delegate };
    bond_steps(account, Plan::new("bond"), amount, to.unwrap_or(own_choice)).await
}

async fn unbond(account: &Account, amount: U256) -> anyhow::Result<Plan> {
    let contracts = account.chain.contracts;
    let bonding = contracts.bonding_manager;
    let before = delegator(account).await?;
    let stake = pending_stake(account).await?;
    if stake < amount {
        bail!(Refused(format!("{} are staked, fewer than {}", Lpt(stake), Lpt(amount))));
    }
    let round = account.view(contracts.rounds_manager, RoundsManager::currentRoundCall {}).await?;
    let period = account.view(bonding, BondingManager::unbondingPeriodCall {}).await?;
    let lock = format!("lock {}: withdrawable from round {}", before.nextUnbondingLockId, round + U256::from(period));
    Ok(Plan::new("unbond")
        .step(account.calls().unbond(amount))
        .change("stake", Lpt(stake), Lpt(stake - amount))
        .change("unbonding", "none", format_args!("{} in {lock}", Lpt(amount))))
}

async fn rebond(account: &Account, lock: u64, to: Option<Address>) -> anyhow::Result<Plan> {
    let bonding = account.chain.contracts.bonding_manager;
    let locked = unbonding_lock(account, lock).await?;
    let before = delegator(account).await?;
    let id = U256::from(lock);
    let step = match (before.bondedAmount.is_zero(), to) {
        (false, None) => account.calls().rebond(id),
        (true, Some(to)) => {
            let call = BondingManager::rebondFromUnbondedCall { to, unbondingLockId: id };
            TxIntent::call("rebond", bonding, &call)
        }
        (false, Some(_)) => bail!(Usage("--to is only for an account with nothing staked".into())),
        (true, None) => bail!(Usage("nothing is staked: say --to which orchestrator".into())),
    };
    let stake = pending_stake(account).await?;
    Ok(Plan::new("rebond").step(step).change("stake", Lpt(stake), Lpt(stake.saturating_add(locked.amount))))
}

async fn withdraw(account: &Account, lock: u64) -> anyhow::Result<Plan> {
    let contracts = account.chain.contracts;
    let locked = unbonding_lock(account, lock).await?;
    let round = account.view(contracts.rounds_manager, RoundsManager::currentRoundCall {}).await?;
    if locked.withdrawRound > round {
        let (from, now) = (locked.withdrawRound, round);
        bail!(Refused(format!("{} are locked until round {from}; it is round {now}", Lpt(locked.amount))));
    }
    Ok(Plan::new("withdraw").step(account.calls().withdraw_stake(U256::from(lock))).change(
        "unbonding",
        Lpt(locked.amount),
        Lpt(U256::ZERO),
    ))
}

async fn claim(account: &Account) -> anyhow::Result<Plan> {
    let before = delegator(account).await?;
    Ok(Plan::new("claim")
        .step(account.calls().claim_earnings())
        .change("booked stake", Lpt(before.bondedAmount), Lpt(pending_stake(account).await?))
        .change("booked fees", Eth(before.fees), Eth(pending_fees(account).await?)))
}

async fn withdraw_fees(account: &Account, amount: Option<Eth>, to: Option<Address>) -> anyhow::Result<Plan> {
    let fees = pending_fees(account).await?;
    let amount = amount.map_or(fees, |amount| amount.0);
    if amount.is_zero() {
        bail!(Refused(format!("{} has no fees to withdraw", account.address)));
    }
    if fees < amount {
        bail!(Refused(format!("fees are {}, less than {}", Eth(fees), Eth(amount))));
    }
    let recipient = to.unwrap_or(account.address);
    Ok(Plan::new("withdraw-fees").step(account.calls().withdraw_fees(recipient, amount)).change(
        "fees",
        Eth(fees),
        Eth(fees - amount),
    ))
}

async fn delegator(account: &Account) -> anyhow::Result<BondingManager::getDelegatorReturn> {
    let call = BondingManager::getDelegatorCall { delegator: account.address };
    account.view(account.chain.contracts.bonding_manager, call).await
}

async fn pending_stake(account: &Account) -> anyhow::Result<U256> {
    let call = BondingManager::pendingStakeCall { delegator: account.address, _1: U256::ZERO };
    account.view(account.chain.contracts.bonding_manager, call).await
}

async fn pending_fees(account: &Account) -> anyhow::Result<U256> {
    let call = BondingManager::pendingFeesCall { delegator: account.address, _1: U256::ZERO };
    account.view(account.chain.contracts.bonding_manager, call).await
}

async fn unbonding_lock(
    account: &Account,
    lock: u64,
) -> anyhow::Result<BondingManager::getDelegatorUnbondingLockReturn> {
    let bonding = account.chain.contracts.bonding_manager;
    let unbonding_lock_id = U256::from(lock);
    let call = BondingManager::getDelegatorUnbondingLockCall {
        delegator: account.address,
        unbondingLockId: unbonding_lock_id,
    };
    let found = account.view(bonding, call).await?;
    if found.amount.is_zero() {
        bail!(Refused(format!("{} has no unbonding lock {lock}", account.address)));
    }
    Ok(found)
}
