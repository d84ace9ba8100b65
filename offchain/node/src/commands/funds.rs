//! `chain fund|unlock|release|withdraw`: what a sender has in TicketBroker.
use alloy::{
    eips::BlockId,
    primitives::{Address, U256},
};
use anyhow::bail;
use streamflow_bindings::{RoundsManager, TicketBroker, ticket_broker::ITicketBroker};
use streamflow_chain::{ChainError, registered_transcoders};
use url::Url;

use super::{
    Context,
    operation::{Account, Plan},
};
use crate::{
    amount::Eth,
    cli::{FundArgs, ReleaseArgs, Spend, WithdrawArgs},
    exit::{Refused, Usage},
};

/// Orchestrators that are looked through for those that the configuration names.
const MAX_REGISTERED: usize = 10_000;

/// Adds to deposit and reserve. The reserve is committed to the orchestrators that the caller or the configuration names: shared,
/// it would be divided by the size of the whole set.
///
/// # Errors
/// [`Usage`] for amounts of zero, [`Refused`] when the account has too little.
pub async fn fund(context: &Context, args: &FundArgs) -> anyhow::Result<()> {
    let (deposit, reserve) = (args.deposit.0, args.reserve.0);
    if deposit.checked_add(reserve).is_none() {
        bail!(Usage("deposit and reserve are more than a transaction can carry".into()));
    }
    if deposit.is_zero() && reserve.is_zero() {
        bail!(Usage("nothing to fund: give --deposit, --reserve or both".into()));
    }
    let account = Account::open(context).await?;
    let broker = account.chain.contracts.ticket_broker;
    let info = account.view(broker, TicketBroker::getSenderInfoCall { addr: account.address }).await?;
    let named = if reserve.is_zero() { Vec::new() } else { recipients(context, &account, args).await? };
    let shared = if named.is_empty() { reserve } else { U256::ZERO };
    let mut plan = Plan::new("fund")
        .change("deposit", Eth(info.sender.deposit), Eth(info.sender.deposit.saturating_add(deposit)))
        .change("reserve", Eth(info.reserve.fundsRemaining), Eth(info.reserve.fundsRemaining.saturating_add(shared)))
        .change("unlock", lock_state(info.sender.withdrawRound), lock_state(U256::ZERO));
    if !deposit.is_zero() || !shared.is_zero() {
        plan = plan.step(account.calls().fund(deposit, shared));
    } else if !info.sender.withdrawRound.is_zero() {
        // A commitment alone leaves the deposit unlocking, and nobody takes tickets of such a sender.
        plan = plan.step(account.calls().cancel_unlock());
    }
    for ((recipient, committed), part) in named.iter().zip(parts(reserve, named.len())) {
        plan = plan.step(account.calls().commit_reserve(*recipient, part)).change(
            "committed",
            format!("{recipient}: {}", Eth(*committed)),
            format!("{recipient}: {}", Eth(committed.saturating_add(part))),
        );
    }
    account.carry_out(plan, args.spend, context.output).await
}

/// Who gets the reserve, with what is committed to each; nobody if it is to be shared.
async fn recipients(context: &Context, account: &Account, args: &FundArgs) -> anyhow::Result<Vec<(Address, U256)>> {
    if args.shared {
        return Ok(Vec::new());
    }
    let mut named = args.commit_to.clone();
    let wanted = &context.config.broadcaster.orchestrators;
    if named.is_empty() && !wanted.is_empty() {
        let registered = registered_transcoders(&account.chain, MAX_REGISTERED).await?;
        let is_wanted = |uri: &str| Url::parse(uri).is_ok_and(|uri| wanted.contains(&uri));
        named.extend(registered.iter().filter(|entry| is_wanted(&entry.service_uri)).map(|entry| entry.address));
    }
    named.sort_unstable();
    named.dedup();
    let mut recipients = Vec::with_capacity(named.len());
    for recipient in named {
        match commitment(account, recipient).await {
            Ok(commitment) => recipients.push((recipient, commitment.funds)),
            Err(ChainError::Reverted { .. }) if args.commit_to.is_empty() => return Ok(Vec::new()),
            Err(ChainError::Reverted { .. }) => bail!(Refused(format!(
                "TicketBroker {} takes no commitments: leave --commit-to out, and the reserve is shared",
                account.chain.contracts.ticket_broker
            ))),
            Err(err) => return Err(err.into()),
        }
    }
    Ok(recipients)
}

async fn commitment(account: &Account, recipient: Address) -> Result<ITicketBroker::CommittedReserve, ChainError> {
    let call = TicketBroker::getCommittedReserveCall { sender: account.address, recipient };
    account.chain.rpc.view(account.chain.contracts.ticket_broker, call, BlockId::latest()).await
}

/// `total` in `n` parts that differ by one wei at most.
fn parts(total: U256, n: usize) -> impl Iterator<Item = U256> {
    let n = U256::from(n.max(1));
    let (part, mut rest) = (total / n, total % n);
    std::iter::repeat_with(move || {
        if rest.is_zero() {
            return part;
        }
        rest -= U256::ONE;
        part + U256::ONE
    })
}

/// Starts to take a commitment back.
///
/// # Errors
/// [`Refused`] when less is committed.
pub async fn release(context: &Context, args: &ReleaseArgs) -> anyhow::Result<()> {
    let account = Account::open(context).await?;
    let broker = account.chain.contracts.ticket_broker;
    let before = commitment(&account, args.orchestrator).await?;
    let amount = args.amount.map_or(before.funds, |amount| amount.0);
    if amount > before.funds || before.funds.is_zero() {
        bail!(Refused(format!(
            "{} is committed to {}, {} should be released",
            Eth(before.funds),
            args.orchestrator,
            Eth(amount)
        )));
    }
    let period = account.view(broker, TicketBroker::unlockPeriodCall {}).await?;
    let round = account.view(account.chain.contracts.rounds_manager, RoundsManager::currentRoundCall {}).await?;
    let from = if amount.is_zero() { U256::ZERO } else { round + period };
    let plan = Plan::new("release")
        .step(account.calls().release_reserve(args.orchestrator, amount))
        .change("released", Eth(before.releasing), Eth(amount))
        .change("release", lock_state(before.releaseRound), lock_state(from));
    account.carry_out(plan, args.spend, context.output).await
}

/// Starts the unlock period.
///
/// # Errors
/// [`Refused`] when there is nothing to unlock or an unlock is under way.
pub async fn unlock(context: &Context, spend: Spend) -> anyhow::Result<()> {
    let account = Account::open(context).await?;
    let contracts = account.chain.contracts;
    let broker = contracts.ticket_broker;
    let info = account.view(broker, TicketBroker::getSenderInfoCall { addr: account.address }).await?;
    let period = account.view(broker, TicketBroker::unlockPeriodCall {}).await?;
    let round = account.view(contracts.rounds_manager, RoundsManager::currentRoundCall {}).await?;
    require_something(&account, &info)?;
    if !info.sender.withdrawRound.is_zero() {
        let from = info.sender.withdrawRound;
        bail!(Refused(format!(
            "unlocking already: `streamflow withdraw` works from round {from}; it is round {round}"
        )));
    }
    let plan = Plan::new("unlock").step(account.calls().unlock()).change(
        "unlock",
        lock_state(info.sender.withdrawRound),
        lock_state(round + period),
    );
    account.carry_out(plan, spend, context.output).await
}

/// Takes unlocked funds back.
///
/// # Errors
/// [`Refused`] while they are locked.
pub async fn withdraw(context: &Context, args: WithdrawArgs) -> anyhow::Result<()> {
    let account = Account::open(context).await?;
    if let Some(orchestrator) = args.committed_to {
        return withdraw_released(context, &account, orchestrator, args.spend).await;
    }
    let broker = account.chain.contracts.ticket_broker;
    let info = account.view(broker, TicketBroker::getSenderInfoCall { addr: account.address }).await?;
    require_something(&account, &info)?;
    let round = account.view(account.chain.contracts.rounds_manager, RoundsManager::currentRoundCall {}).await?;
    let from = info.sender.withdrawRound;
    if from.is_zero() {
        let period = account.view(broker, TicketBroker::unlockPeriodCall {}).await?;
        bail!(Refused(format!("deposit and reserve are locked: `streamflow unlock` frees them after {period} rounds")));
    }
    if round < from {
        bail!(Refused(format!("deposit and reserve can be withdrawn from round {from}; it is round {round}")));
    }
    let plan = Plan::new("withdraw")
        .step(account.calls().withdraw())
        .change("deposit", Eth(info.sender.deposit), Eth(U256::ZERO))
        .change("reserve", Eth(info.reserve.fundsRemaining), Eth(U256::ZERO));
    account.carry_out(plan, args.spend, context.output).await
}

/// Takes back what was released of a commitment.
async fn withdraw_released(
    context: &Context,
    account: &Account,
    orchestrator: Address,
    spend: Spend,
) -> anyhow::Result<()> {
    let before = commitment(account, orchestrator).await?;
    let round = account.view(account.chain.contracts.rounds_manager, RoundsManager::currentRoundCall {}).await?;
    if before.releaseRound.is_zero() {
        bail!(Refused(format!(
            "{} stays committed to {orchestrator}: `streamflow chain release` frees it",
            Eth(before.funds)
        )));
    }
    if round < before.releaseRound {
        let from = before.releaseRound;
        bail!(Refused(format!("what was released can be withdrawn from round {from}; it is round {round}")));
    }
    let left = before.funds.saturating_sub(before.releasing);
    let plan = Plan::new("withdraw released reserve")
        .step(account.calls().withdraw_released_reserve(orchestrator))
        .change("committed", Eth(before.funds), Eth(left));
    account.carry_out(plan, spend, context.output).await
}

fn require_something(account: &Account, info: &TicketBroker::getSenderInfoReturn) -> anyhow::Result<()> {
    if info.sender.deposit.is_zero() && info.reserve.fundsRemaining.is_zero() {
        bail!(Refused(format!("{} has neither deposit nor reserve: `streamflow fund` adds some", account.address)));
    }
    Ok(())
}

fn lock_state(withdraw_round: U256) -> String {
    if withdraw_round.is_zero() { "locked".into() } else { format!("withdrawable from round {withdraw_round}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_differ_by_a_wei_and_lose_none() {
        for (total, n) in [(0, 1), (7, 3), (9, 3), (2, 5), (1_000_000_007, 100)] {
            let parts: Vec<_> = parts(U256::from(total), n).take(n).collect();
            assert_eq!(parts.iter().sum::<U256>(), U256::from(total));
            assert!(parts.iter().max().unwrap() - parts.iter().min().unwrap() <= U256::ONE);
        }
    }
}
