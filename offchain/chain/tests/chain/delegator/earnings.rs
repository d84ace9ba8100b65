//! Earnings against what the contract then pays.
use alloy::{
    primitives::{Address, U256},
    providers::Provider,
};
use anyhow::Result;
use streamflow_bindings::BondingManager;
use streamflow_chain::delegator::{Earnings, RoundsBasis, earnings};
use streamflow_types::Round;

use super::{
    market::{Market, address, gwei, quiet},
    refusing::Refusing,
};

const A: usize = 2;
const B: usize = 3;
const DELEGATOR: usize = 6;

/// Stake and fees of the delegator at the end of each round, as the contract said then.
struct Played {
    market: Market,
    /// Round, stake and fees at its end.
    ends: Vec<(u64, U256, U256)>,
}

/// The delegator joins A, which misses one reward, and goes on to B; both are paid in most rounds.
async fn play() -> Result<Played> {
    let mut market = Market::open(&[5, 7], &[]).await?;
    market.bond(DELEGATOR, A, 10).await?;
    let mut ends = Vec::new();
    for step in 0..5_u64 {
        if step != 2 {
            market.reward(A).await?;
        }
        market.reward(B).await?;
        market.pay(A, gwei(3 + step)).await?;
        market.pay(B, gwei(20)).await?;
        if step == 3 {
            market.stake(DELEGATOR, BondingManager::bondCall { amount: U256::ZERO, to: address(B) }).await?;
        }
        if step == 1 {
            // Claims in the middle of a round, between fees and fees.
            market.stake(DELEGATOR, BondingManager::claimEarningsCall(U256::ZERO)).await?;
            market.pay(A, gwei(1)).await?;
        }
        let (stake, fees) = market.pending(DELEGATOR).await?;
        ends.push((market.round().await?, stake, fees));
        market.deployment.next_round().await?;
    }
    market.reward(B).await?;
    market.pay(B, gwei(4)).await?;
    Ok(Played { market, ends })
}

/// What rows add up to: stake and fees after them.
fn sums(earnings: &Earnings) -> (U256, U256) {
    let rewards: U256 = earnings.rounds.iter().map(|row| row.rewards).sum();
    let fees: U256 = earnings.rounds.iter().map(|row| row.fees).sum();
    (earnings.claimed_stake + rewards, earnings.claimed_fees + fees)
}

#[tokio::test]
async fn earnings_are_what_the_contract_pays_to_the_wei() -> Result<()> {
    let Played { market, .. } = play().await?;
    let told = earnings(&market.chain, address(DELEGATOR), 30, &quiet).await?;
    assert_eq!((told.stake, told.fees), market.pending(DELEGATOR).await?);
    assert_eq!((told.delegate, told.round), (Some(address(B)), Round(market.round().await?)));
    assert_eq!(sums(&told), (told.stake, told.fees));

    let purse = Address::repeat_byte(0x99);
    let take = |amount| BondingManager::withdrawFeesCall { recipient: purse, amount };
    assert!(!market.would_pass(DELEGATOR, take(told.fees + U256::ONE)).await, "a wei more is refused");
    market.stake(DELEGATOR, take(told.fees)).await?;
    assert_eq!(market.deployment.anvil.provider().get_balance(purse).await?, told.fees);
    let leave = |amount| BondingManager::unbondCall { amount };
    assert!(!market.would_pass(DELEGATOR, leave(told.stake + U256::ONE)).await, "a unit more is refused");
    market.stake(DELEGATOR, leave(told.stake)).await?;

    let left = earnings(&market.chain, address(DELEGATOR), 30, &quiet).await?;
    assert_eq!((left.stake, left.fees, left.delegate, left.rounds.len()), (U256::ZERO, U256::ZERO, None, 0));
    let [lock] = left.locks.as_slice() else { anyhow::bail!("{:?}", left.locks) };
    assert_eq!((lock.id, lock.amount, lock.withdraw_round), (0, told.stake, Round(told.round.0 + 7)));
    Ok(())
}

#[tokio::test]
async fn rounds_are_told_as_the_contract_had_them_when_they_ended() -> Result<()> {
    let Played { market, ends } = play().await?;
    // The last claim was the move to B, in the fourth round; what came before is booked.
    let told = earnings(&market.chain, address(DELEGATOR), 30, &quiet).await?;
    assert_eq!(told.last_claim_round, Round(ends[3].0));
    let rows: Vec<_> = told.rounds.iter().map(|row| (row.first.0, row.last.0, row.running)).collect();
    assert_eq!(
        rows,
        [(ends[3].0, ends[3].0, false), (ends[4].0, ends[4].0, false), (told.round.0, told.round.0, true)]
    );
    assert_eq!((told.rounds[0].rewards, told.rounds[0].fees), (U256::ZERO, U256::ZERO), "it joined B in that round");
    assert_eq!(told.rounds[1].rewards, ends[4].1 - ends[3].1);
    assert_eq!(told.rounds[1].fees, ends[4].2 - ends[3].2);
    assert!(told.rounds.iter().all(|row| row.slashed.is_zero()));

    // B itself never claimed since it staked: commissions come on top, and are told by round as well.
    let of_b = earnings(&market.chain, address(B), 30, &quiet).await?;
    assert_eq!(sums(&of_b), market.pending(B).await?);
    assert_eq!(of_b.rounds.len(), 7, "the round of its stake, five, and the running one");
    assert!(of_b.rounds[1].fees > U256::ZERO && of_b.rounds[1].rewards > U256::ZERO);

    // Two rows of their own, the rest in one.
    let short = earnings(&market.chain, address(B), 2, &quiet).await?;
    assert_eq!(short.rounds.len(), 3);
    assert_eq!((short.rounds[0].first, short.rounds[0].last), (of_b.last_claim_round, of_b.rounds[4].last));
    assert_eq!((sums(&short), &short.rounds[1..]), (sums(&of_b), &of_b.rounds[5..]));
    Ok(())
}

#[tokio::test]
async fn without_old_state_totals_are_exact_and_rounds_some_wei_off() -> Result<()> {
    let Played { market, .. } = play().await?;
    let exact = earnings(&market.chain, address(DELEGATOR), 30, &quiet).await?;
    let of_b = earnings(&market.chain, address(B), 30, &quiet).await?;
    assert_eq!((exact.rounds_basis, of_b.rounds_basis), (RoundsBasis::State, RoundsBasis::State));

    let node = Refusing { node: market.deployment.anvil.url(), longest_range: 20, keeps_state: false };
    let (chain, _serving) = node.before(&market.chain).await?;
    let told = earnings(&chain, address(DELEGATOR), 30, &quiet).await?;
    assert_eq!((told.stake, told.fees), market.pending(DELEGATOR).await?);
    assert_eq!((sums(&told), told.rounds_basis), ((told.stake, told.fees), RoundsBasis::Factors));
    assert_eq!(told.rounds.len(), exact.rounds.len());
    for (told, exact) in told.rounds.iter().zip(&exact.rounds) {
        assert_eq!((told.first, told.last, told.running), (exact.first, exact.last, exact.running));
        let off = told.rewards.abs_diff(exact.rewards).max(told.fees.abs_diff(exact.fees));
        assert!(off <= U256::from(3), "{off}: {told:?} {exact:?}");
    }
    // An orchestrator's commission is not earned by stake.
    let told = earnings(&chain, address(B), 30, &quiet).await?;
    assert_eq!((told.stake, told.fees), market.pending(B).await?);
    assert_eq!((told.rounds.len(), told.rounds_basis), (0, RoundsBasis::Unknown));
    Ok(())
}
