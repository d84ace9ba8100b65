//! What a move was said to bring, against what it then brings.
use alloy::{primitives::U256, sol_types::SolCall};
use anyhow::{Context, Result};
use streamflow_bindings::BondingManager;
use streamflow_chain::delegator::{BreakEven, Rate, WhatIf, WhatIfError, WhatIfQuery, what_if};
use streamflow_types::{Ppm, Round};

use super::market::{LPT, Market, address, gwei, quiet};

const A: usize = 2;
const B: usize = 3;
const DELEGATOR: usize = 6;

/// One round like every other: both call reward, A is paid 30 gwei and B 80.
async fn round(market: &mut Market) -> Result<()> {
    market.reward(A).await?;
    market.reward(B).await?;
    market.pay(A, gwei(30)).await?;
    market.pay(B, gwei(80)).await
}

/// What the delegator earns in the round that runs: LPT and ETH.
async fn earned(market: &mut Market) -> Result<(U256, U256)> {
    let before = market.pending(DELEGATOR).await?;
    round(market).await?;
    let after = market.pending(DELEGATOR).await?;
    Ok((after.0 - before.0, after.1 - before.1))
}

async fn ask(market: &Market, from: Option<usize>, to: usize, stake: U256) -> Result<WhatIf, WhatIfError> {
    let query = WhatIfQuery { stake, from: from.map(address), to: address(to), rounds: 3 };
    what_if(&market.chain, &query, &quiet).await
}

/// Rewards grow all stake a little each round, so expectations are off by as little.
fn about(what: &str, expected: &Option<Rate>, got: U256) -> Result<()> {
    let expected = expected.as_ref().context("nothing is expected")?.floor();
    assert!(expected.abs_diff(got) * U256::from(200) <= got, "{what}: expected {expected}, got {got}");
    Ok(())
}

#[tokio::test]
async fn a_move_brings_what_was_expected() -> Result<()> {
    let mut market = Market::open(&[20, 30], &[]).await?;
    market.bond(DELEGATOR, A, 40).await?;
    market.deployment.next_round().await?;
    for _ in 0..3 {
        round(&mut market).await?;
        market.deployment.next_round().await?;
    }
    let (stake, _) = market.pending(DELEGATOR).await?;
    let foreseen = ask(&market, Some(A), B, stake).await?;
    let here = foreseen.from.as_ref().context("it is somewhere")?;
    let staying = earned(&mut market).await?;
    about("staying, rewards", &here.rewards, staying.0)?;
    about("staying, fees", &here.fees, staying.1)?;
    assert_eq!((here.rounds, here.winners, here.missed_rewards), (3, 3, 0));

    // Without dilution the move would look more than twice as good as it is.
    let diluted = foreseen.to.fees.as_ref().map(Rate::floor).context("fees")?;
    let undiluted = foreseen.to.fees_undiluted.as_ref().map(Rate::floor).context("fees")?;
    assert!(undiluted > diluted * U256::from(2), "{undiluted} {diluted}");

    let way = foreseen.way;
    assert_eq!((way.needs_unbonding, way.idle_rounds, way.unbonding_rounds), (false, 0, 7));
    assert_eq!(way.first_round, Round(market.round().await? + 1));
    market.stake(DELEGATOR, BondingManager::bondCall { amount: U256::ZERO, to: address(B) }).await?;
    market.deployment.next_round().await?;
    let moved = earned(&mut market).await?;
    about("moved, rewards", &foreseen.to.rewards, moved.0)?;
    about("moved, fees", &foreseen.to.fees, moved.1)?;
    let better = moved.1 > staying.1;
    assert_eq!(foreseen.fees_break_even, if better { BreakEven::AtOnce } else { BreakEven::Never });
    Ok(())
}

#[tokio::test]
async fn where_stake_can_be_slashed_a_move_takes_the_challenge_window() -> Result<()> {
    let env =
        [("STREAMFLOW_SLASHING", "1"), ("STREAMFLOW_CHALLENGE_WINDOW", "2"), ("STREAMFLOW_UNBONDING_PERIOD", "4")];
    let mut market = Market::open(&[20, 5], &env).await?;
    market.bond(DELEGATOR, A, 10).await?;
    market.deployment.next_round().await?;
    round(&mut market).await?;
    let begun = market.deployment.next_round().await?;
    let (stake, _) = market.pending(DELEGATOR).await?;
    let foreseen = ask(&market, Some(A), B, stake).await?;
    let way = foreseen.way;
    assert_eq!((way.needs_unbonding, way.idle_rounds, way.unbonding_rounds), (true, 2, 4));
    assert_eq!(way.first_round, Round(begun + 3));
    let BreakEven::After(rounds) = foreseen.fees_break_even else { anyhow::bail!("{:?}", foreseen.fees_break_even) };
    assert!(rounds > U256::from(2), "what is missed on the way has to come back: {rounds}");

    let at_once = BondingManager::bondCall { amount: U256::ZERO, to: address(B) };
    assert!(!market.would_pass(DELEGATOR, at_once).await, "it needs unbonding");
    market.stake(DELEGATOR, BondingManager::unbondCall { amount: stake }).await?;
    let join = BondingManager::rebondFromUnbondedCall { to: address(B), unbondingLockId: U256::ZERO };
    market.deployment.next_round().await?;
    assert!(!market.would_pass(DELEGATOR, join.clone()).await, "one round is not enough");
    market.deployment.next_round().await?;
    market.stake(DELEGATOR, join).await?;
    assert_eq!(earned(&mut market).await?, (U256::ZERO, U256::ZERO), "it joined in this round");
    assert_eq!(market.deployment.next_round().await?, way.first_round.0);
    assert!(earned(&mut market).await?.1 > U256::ZERO, "the first round that earns");

    // Stake from a wallet has nothing to unbond.
    let fresh = ask(&market, None, B, U256::from(LPT)).await?;
    assert_eq!((fresh.way.needs_unbonding, fresh.way.idle_rounds), (false, 0));
    assert_eq!(fresh.fees_break_even, BreakEven::AtOnce);

    // A deployment without such a rule is moved in at once, whatever is registered.
    market.without(&[BondingManager::challengeWindowCall::SELECTOR]).await?;
    assert!(!ask(&market, Some(A), B, U256::from(LPT)).await?.way.needs_unbonding);
    Ok(())
}

#[tokio::test]
async fn announced_terms_are_counted_with_and_nonsense_is_refused() -> Result<()> {
    let mut market = Market::open(&[20, 30], &[]).await?;
    round(&mut market).await?;
    let terms = BondingManager::transcoderCall { rewardCut: U256::from(400_000), feeShare: U256::from(450_000) };
    let before = ask(&market, Some(B), A, U256::from(LPT)).await?;
    assert_eq!(before.to.fees, None, "no round has finished");
    market.deployment.next_round().await?;
    market.reward(A).await?;
    let before = ask(&market, Some(B), A, U256::from(LPT)).await?;
    market.stake(A, terms).await?;
    let after = ask(&market, Some(B), A, U256::from(LPT)).await?;
    assert_eq!((after.to.terms.fee_share, after.to.terms.reward_cut), (Ppm::new(450_000)?, Ppm::new(400_000)?));
    let halved = |rate: &Rate| rate.over(&Rate::whole(U256::from(2)));
    assert_eq!(after.to.fees, before.to.fees.as_ref().and_then(halved), "450000 is half of 900000");

    let nobody = ask(&market, None, 9, U256::from(LPT)).await?;
    assert_eq!((nobody.to.active_next_round, nobody.to.fees), (false, Some(Rate::whole(U256::ZERO))));
    let refused = ask(&market, Some(A), B, U256::from(21 * LPT)).await;
    assert!(matches!(refused, Err(WhatIfError::TooMuch { .. })), "{refused:?}");
    assert!(matches!(ask(&market, Some(A), A, U256::ONE).await, Err(WhatIfError::SameOrchestrator(_))));
    assert!(matches!(ask(&market, Some(A), B, U256::ZERO).await, Err(WhatIfError::NoStake)));
    Ok(())
}
