//! Fee ratios against a story played on the contracts.
use std::collections::BTreeMap;

use alloy::{
    eips::BlockId,
    primitives::{U256, U512},
    providers::Provider,
    rpc::types::{Filter, TransactionRequest},
    sol_types::{SolCall, SolEvent},
};
use anyhow::{Context, Result};
use streamflow_bindings::{BondingManager, RoundsManager, TicketBroker};
use streamflow_chain::delegator::{
    FeeRatio, FeeRatioQuery, FeeRatios, NetBasis, OrchestratorRatios, Pending, Rate, fee_ratio,
};
use streamflow_testkit::key;
use streamflow_types::{Ppm, Round};

use super::market::{Market, POOR, address, gwei, quiet};

/// Orchestrators by account; each gives 90 % of fees to delegators.
const A: usize = 2;
const B: usize = 3;
const C: usize = 4;
const DELEGATOR: usize = 6;
const SHARE: u64 = 900_000;

/// Four finished rounds and one that runs:
///
/// | Round | Rewards | Fees | Stake |
/// |---|---|---|---|
/// | 1 | A B C | A 3 gwei, B 4 gwei | 10 LPT go to A |
/// | 2 | A C | B 10 gwei; A three ordered tickets of 20 gwei with funds for two | |
/// | 3 | A B C | A 7 gwei before its reward and 5 gwei after it | A announces a share of 50 %; 4 LPT go to B |
/// | 4 | B C | C 9 gwei | the 10 LPT and more go from A to C |
/// | 5 | A | A 1 gwei | |
async fn story() -> Result<(Market, [u64; 5])> {
    let mut market = Market::open(&[5, 7, 3], &[]).await?;
    let first = market.round().await?;
    market.bond(DELEGATOR, A, 10).await?;
    for account in [A, B, C] {
        market.reward(account).await?;
    }
    market.pay(A, gwei(3)).await?;
    market.pay(B, gwei(4)).await?;

    market.deployment.next_round().await?;
    market.pay(B, gwei(10)).await?;
    market.deployment.fund_sender(&key(POOR)?, gwei(50), U256::ZERO).await?;
    market.pay_ordered(POOR, A, gwei(20), 3).await?;
    market.reward(A).await?;
    market.reward(C).await?;

    market.deployment.next_round().await?;
    market.pay(A, gwei(7)).await?;
    for account in [A, B, C] {
        market.reward(account).await?;
    }
    market.pay(A, gwei(5)).await?;
    let terms = BondingManager::transcoderCall { rewardCut: U256::from(100_000), feeShare: U256::from(500_000) };
    market.stake(A, terms).await?;
    market.bond(8, B, 4).await?;

    market.deployment.next_round().await?;
    for account in [B, C] {
        market.reward(account).await?;
    }
    market.pay(C, gwei(9)).await?;
    market.stake(DELEGATOR, BondingManager::bondCall { amount: U256::ZERO, to: address(C) }).await?;

    let last = market.deployment.next_round().await?;
    market.reward(A).await?;
    market.pay(A, gwei(1)).await?;
    Ok((market, [first, first + 1, first + 2, first + 3, last]))
}

fn find(ratios: &FeeRatios, account: usize) -> Result<&OrchestratorRatios> {
    let found = ratios.orchestrators.iter().find(|found| found.orchestrator == address(account));
    found.with_context(|| format!("account {account} is missing"))
}

fn row(ratios: &FeeRatios, account: usize, round: u64) -> Result<&FeeRatio> {
    let row = find(ratios, account)?.rounds.iter().find(|row| row.round == Round(round));
    row.with_context(|| format!("account {account} has no row for round {round}"))
}

/// Total stake at the end of the block before each round's first, from old state.
async fn stakes(market: &Market) -> Result<BTreeMap<(u64, usize), U256>> {
    let provider = market.deployment.anvil.provider();
    let filter = Filter::new().event_signature(RoundsManager::NewRound::SIGNATURE_HASH).from_block(0);
    let mut stakes = BTreeMap::new();
    for log in provider.get_logs(&filter).await? {
        let round = RoundsManager::NewRound::decode_log(&log.inner)?.round.to();
        let before = log.block_number.context("a log of no block")? - 1;
        for account in [A, B, C] {
            let call = BondingManager::transcoderTotalStakeCall { transcoder_: address(account) };
            let request = TransactionRequest::default().to(market.staking()).input(call.abi_encode().into());
            let output = provider.call(request).block(BlockId::number(before)).await?;
            stakes.insert((round, account), BondingManager::transcoderTotalStakeCall::abi_decode_returns(&output)?);
        }
    }
    Ok(stakes)
}

/// floor(above · 10^27 / below).
fn scaled(above: U256, below: U256) -> U256 {
    let one = U256::from(10).pow(U256::from(27));
    (above.widening_mul::<256, 4, 512, 8>(one) / U512::from(below)).to()
}

#[tokio::test]
async fn every_row_equals_what_was_played() -> Result<()> {
    let (market, rounds) = story().await?;
    let query = FeeRatioQuery { rounds: 4, orchestrators: Vec::new() };
    let ratios = fee_ratio(&market.chain, &query, &quiet).await?;
    assert_eq!((ratios.round, ratios.finished_rounds, ratios.orchestrators.len()), (Round(rounds[4]), 4, 3));

    let stakes = stakes(&market).await?;
    let [one, two, three, four, five] = rounds;
    let played: BTreeMap<(u64, usize), (u64, u64)> = BTreeMap::from([
        ((one, A), (3, 1)),
        ((one, B), (4, 1)),
        ((two, A), (40, 2)),
        ((two, B), (10, 1)),
        ((three, A), (12, 2)),
        ((four, C), (9, 1)),
        ((five, A), (1, 1)),
    ]);
    for round in rounds {
        for account in [A, B, C] {
            let row = row(&ratios, account, round)?;
            let what = format!("account {account} in round {round}: {row:?}");
            let (fees, winners) = played.get(&(round, account)).copied().unwrap_or_default();
            assert_eq!((row.fees, row.winners, row.winners_complete), (gwei(fees), winners, true), "{what}");
            let stake = stakes[&(round, account)];
            assert_eq!(row.stake, Some(stake), "{what}");
            assert_eq!(row.gross, Rate::new(gwei(fees), stake), "{what}");
            let exact = scaled(gwei(fees) * U256::from(SHARE), stake * U256::from(1_000_000));
            let net = row.net.as_ref().map(Rate::scaled).context("no net")?;
            // The contract rounds down twice for each payment, and the answer once.
            assert!(net <= exact && exact - net <= U256::from(3 * winners.max(1)), "{exact} but {what}");
            assert_eq!(row.net_basis, NetBasis::Factors, "{what}");
            assert!(row.active, "{what}");
            let is_missed = [(two, B), (four, A)].contains(&(round, account)) || (round == five && account != A);
            assert_eq!(row.reward.is_none(), is_missed, "{what}");
            assert_eq!(row.running, round == five, "{what}");
        }
    }

    // Whatever the rounds, the sum is what the contract owes as fees.
    let rows = ratios.orchestrators.iter().flat_map(|found| &found.rounds);
    let owed = market.deployment.view(market.broker(), TicketBroker::unclaimedFeesCall {}).await?;
    assert_eq!(rows.map(|row| row.fees).sum::<U256>(), owed);
    Ok(())
}

#[tokio::test]
async fn means_count_finished_rounds_and_what_waits_is_told() -> Result<()> {
    let (market, rounds) = story().await?;
    let ask =
        async |rounds, orchestrators| fee_ratio(&market.chain, &FeeRatioQuery { rounds, orchestrators }, &quiet).await;
    let ratios = ask(4, Vec::new()).await?;
    let of_b = find(&ratios, B)?;
    let [window] = of_b.windows.as_slice() else { anyhow::bail!("{:?}", of_b.windows) };
    assert_eq!((window.rounds, window.counted, window.winners, window.missed_rewards), (4, 4, 2, 1));
    // Two rounds of four brought nothing.
    let mut paid = Vec::new();
    for round in &rounds[..2] {
        paid.push(row(&ratios, B, *round)?.gross.clone().context("no rate")?);
    }
    let gross = window.gross.as_ref().context("no means")?;
    let quarter = |rate: &Rate| rate.over(&Rate::whole(U256::from(4)));
    let sum = Rate::mean(&paid).map(|mean| mean.times(U256::from(2)));
    assert_eq!(Some(&gross.mean), sum.as_ref().and_then(quarter).as_ref());
    let lesser = paid.iter().min().context("no rate")?;
    assert_eq!(
        Some(&gross.median),
        lesser.over(&Rate::whole(U256::from(2))).as_ref(),
        "between nothing and the lesser"
    );

    let Pending::Announced(change) = find(&ratios, A)?.pending else { anyhow::bail!("nothing waits") };
    assert_eq!(change.effective_round, Round(rounds[2] + 3), "the notice is 3 rounds");
    assert_eq!(change.terms.fee_share, Ppm::new(500_000)?);
    assert_eq!(find(&ratios, A)?.terms.fee_share, Ppm::new(900_000)?, "not yet in force");
    assert_eq!(of_b.pending, Pending::None);

    // Fewer rounds, one orchestrator: its factors before the first round are found further back.
    let short = ask(1, vec![address(C)]).await?;
    assert_eq!((short.finished_rounds, short.orchestrators.len()), (1, 1));
    assert_eq!(row(&short, C, rounds[3])?, row(&ratios, C, rounds[3])?);
    // More rounds than there are: those before anybody was active count in no mean.
    let long = ask(100, Vec::new()).await?;
    assert!(long.finished_rounds > 4, "{}", long.finished_rounds);
    assert_eq!(find(&long, B)?.windows.last().context("no window")?.gross, Some(gross.clone()));
    Ok(())
}

#[tokio::test]
async fn a_deployment_without_announcements_is_read_all_the_same() -> Result<()> {
    let (market, _) = story().await?;
    let query = FeeRatioQuery { rounds: 4, orchestrators: Vec::new() };
    let ours = fee_ratio(&market.chain, &query, &quiet).await?;
    let extra = [
        BondingManager::getPendingCommissionsCall::SELECTOR,
        BondingManager::challengeWindowCall::SELECTOR,
        BondingManager::noticePeriodCall::SELECTOR,
        BondingManager::getSlashStateCall::SELECTOR,
    ];
    market.without(&extra).await?;
    let deployed = fee_ratio(&market.chain, &query, &quiet).await?;
    for (with, without) in ours.orchestrators.iter().zip(&deployed.orchestrators) {
        assert_eq!(without.pending, Pending::NotAnnounced);
        assert_eq!((&with.rounds, &with.windows, with.terms), (&without.rounds, &without.windows, without.terms));
    }
    Ok(())
}

#[tokio::test]
async fn a_batch_that_another_contract_sent_counts_as_one_winner_at_least() -> Result<()> {
    let mut market = Market::open(&[5], &[]).await?;
    market.deployment.fund_sender(&key(POOR)?, gwei(100), U256::ZERO).await?;
    market.reward(A).await?;
    market.pay_ordered_by_contract(POOR, A, gwei(20), 3).await?;
    market.pay(A, gwei(1)).await?;
    let query = FeeRatioQuery { rounds: 1, orchestrators: vec![address(A)] };
    let ratios = fee_ratio(&market.chain, &query, &quiet).await?;
    let row = row(&ratios, A, market.round().await?)?;
    assert_eq!((row.fees, row.winners, row.winners_complete), (gwei(61), 2, false));
    Ok(())
}
