//! `chain register|set-redeemer`.
use alloy::primitives::{Address, U256};
use anyhow::bail;
use streamflow_bindings::{BondingManager, LivepeerToken, ServiceRegistry, TicketBroker};
use streamflow_chain::TxIntent;

use super::{
    Context,
    operation::{Account, Plan},
};
use crate::{
    amount::{Lpt, percent},
    cli::{RedeemerArgs, RegisterArgs},
    exit::{Refused, Usage},
};

/// Stakes as an orchestrator, sets shares, publishes the service address.
///
/// # Errors
/// [`Usage`] for an address that nobody can dial, [`Refused`] when LPT or stake is too little.
pub async fn register(context: &Context, args: &RegisterArgs) -> anyhow::Result<()> {
    let uri = service_uri(args)?;
    let account = Account::open(context).await?;
    let mut plan = bond_steps(&account, Plan::new("register"), args.stake.0, account.address).await?;
    plan = share_steps(&account, plan, args).await?;
    let registry = account.chain.contracts.service_registry;
    let published = account.view(registry, ServiceRegistry::getServiceURICall { addr: account.address }).await?;
    if published != uri {
        plan = plan.step(account.calls().set_service_uri(&uri)).change("service URI", published, uri);
    }
    if let Some(redeemer) = args.redeemer {
        plan = redeemer_step(&account, plan, redeemer).await?;
    }
    account.carry_out(plan, args.spend, context.output).await
}

/// Names who may redeem in order for the account.
///
/// # Errors
/// When the chain cannot be asked, or the transaction would fail.
pub async fn set_redeemer(context: &Context, args: RedeemerArgs) -> anyhow::Result<()> {
    let account = Account::open(context).await?;
    let plan = redeemer_step(&account, Plan::new("set redeemer"), args.redeemer).await?;
    account.carry_out(plan, args.spend, context.output).await
}

/// A step that names the redeemer, unless it is named already.
async fn redeemer_step(account: &Account, plan: Plan, redeemer: Address) -> anyhow::Result<Plan> {
    let call = TicketBroker::redeemerOfCall { recipient: account.address };
    let before = account.view(account.chain.contracts.ticket_broker, call).await?;
    if before == redeemer {
        return Ok(plan);
    }
    Ok(plan.step(account.calls().set_redeemer(redeemer)).change("redeemer", before, redeemer))
}

fn service_uri(args: &RegisterArgs) -> anyhow::Result<String> {
    let uri = &args.service_uri;
    let dialable = uri.scheme() == "https" && uri.host_str().is_some_and(|host| host != "0.0.0.0");
    if !dialable || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        bail!(Usage(format!("--service-uri {uri} is not https://HOST:PORT as broadcasters can dial it")));
    }
    Ok(uri.as_str().trim_end_matches('/').to_owned())
}

/// Steps that stake `amount` from the account's wallet to `to`: an allowance if needed, and the bond.
pub(super) async fn bond_steps(account: &Account, plan: Plan, amount: U256, to: Address) -> anyhow::Result<Plan> {
    let contracts = account.chain.contracts;
    let (bonding, token) = (contracts.bonding_manager, contracts.livepeer_token);
    let owner = account.address;
    let delegator = account.view(bonding, BondingManager::getDelegatorCall { delegator: owner }).await?;
    if amount.is_zero() && (delegator.bondedAmount.is_zero() || delegator.delegateAddress == to) {
        return Ok(plan);
    }
    let balance = account.view(token, LivepeerToken::balanceOfCall { account: owner }).await?;
    if balance < amount {
        bail!(Refused(format!("{owner} has {} and should stake {}", Lpt(balance), Lpt(amount))));
    }
    let allowance = account.view(token, LivepeerToken::allowanceCall { owner, spender: bonding }).await?;
    let plan = if allowance < amount { plan.step(account.calls().approve_bond(amount)) } else { plan };
    let stake = delegator.bondedAmount;
    Ok(plan
        .step(account.calls().bond(amount, to))
        .change("stake", Lpt(stake), Lpt(stake.saturating_add(amount)))
        .change("delegate", delegator.delegateAddress, to)
        .change("wallet", Lpt(balance), Lpt(balance - amount)))
}

async fn share_steps(account: &Account, plan: Plan, args: &RegisterArgs) -> anyhow::Result<Plan> {
    let bonding = account.chain.contracts.bonding_manager;
    let (cut, share) = (U256::from(args.reward_cut.0.get()), U256::from(args.fee_share.0.get()));
    let now = account.view(bonding, BondingManager::getTranscoderCall { transcoder_: account.address }).await?;
    let registered =
        account.view(bonding, BondingManager::isRegisteredTranscoderCall { transcoder_: account.address }).await?;
    let mut plan = plan;
    if !registered || (now.rewardCut, now.feeShare) != (cut, share) {
        plan = plan
            .step(account.calls().set_commission(args.reward_cut.0, args.fee_share.0))
            .change("reward cut", shown(now.rewardCut), shown(cut))
            .change("fee share", shown(now.feeShare), shown(share));
    }
    if let Some(caller) = args.reward_caller {
        let call = BondingManager::transcoderToRewardCallerCall { transcoder: account.address };
        let before = account.view(bonding, call).await?;
        if before != caller {
            let call = BondingManager::setRewardCallerCall { rewardCaller: caller };
            let step = TxIntent::call("set reward caller", bonding, &call);
            plan = plan.step(step).change("reward caller", before, caller);
        }
    }
    Ok(plan)
}

fn shown(parts: U256) -> String {
    percent(parts.saturating_to())
}
