//! A slash takes stake that no log counts: what is still known, and what is owed after it.
use alloy::{
    primitives::{Address, U256, keccak256},
    providers::{Provider, ext::AnvilApi},
    rpc::types::TransactionRequest,
    sol_types::SolCall,
};
use anyhow::{Result, ensure};
use streamflow_bindings::{BondingManager, Controller};
use streamflow_chain::delegator::{FeeRatioQuery, earnings, fee_ratio};
use streamflow_types::Round;

use super::market::{LPT, Market, address, gwei, quiet};

const A: usize = 2;
const DELEGATOR: usize = 6;

/// Takes a tenth of all stake of A, as the registered Verifier may.
async fn slash(market: &Market) -> Result<()> {
    let contracts = market.deployment.contracts;
    let call = Controller::getContractCall { id: keccak256("Verifier") };
    let verifier: Address = market.deployment.view(contracts.controller, call).await?;
    let provider = market.deployment.anvil.provider();
    provider.anvil_set_balance(verifier, gwei(1_000_000_000)).await?;
    provider.anvil_impersonate_account(verifier).await?;
    let call = BondingManager::slashTranscoderCall {
        transcoder_: address(A),
        finder: Address::ZERO,
        slashAmount: U256::from(100_000),
        finderFee: U256::ZERO,
    };
    let request = TransactionRequest::default().from(verifier).to(market.staking()).input(call.abi_encode().into());
    let receipt = provider.send_transaction(request).await?.get_receipt().await?;
    ensure!(receipt.status(), "the slash was refused");
    Ok(())
}

#[tokio::test]
async fn a_slash_ends_the_seat_and_is_taken_off_what_was_earned() -> Result<()> {
    let mut market = Market::open(&[20, 5], &[("STREAMFLOW_SLASHING", "1")]).await?;
    market.bond(DELEGATOR, A, 10).await?;
    let first = market.deployment.next_round().await?;
    // No reward in the first round, so that no pool remembers its stake.
    market.pay(A, gwei(30)).await?;
    let second = market.deployment.next_round().await?;
    market.pay(A, gwei(60)).await?;
    slash(&market).await?;

    let told = earnings(&market.chain, address(DELEGATOR), 30, &quiet).await?;
    assert_eq!((told.stake, told.fees), market.pending(DELEGATOR).await?);
    let [.., before, running] = told.rounds.as_slice() else { anyhow::bail!("{:?}", told.rounds) };
    assert_eq!((before.slashed, running.slashed, running.rewards), (U256::ZERO, U256::from(LPT), U256::ZERO));
    assert_eq!(running.first, Round(second));

    let query = FeeRatioQuery { rounds: 1, orchestrators: vec![address(A)] };
    let ratios = fee_ratio(&market.chain, &query, &quiet).await?;
    let [of_a] = ratios.orchestrators.as_slice() else { anyhow::bail!("{ratios:?}") };
    assert!(of_a.slashed && !of_a.active && !of_a.active_next_round);
    assert_eq!(of_a.stake, U256::from(27 * LPT), "a tenth of 30 is gone");
    let rows: Vec<_> = of_a.rounds.iter().map(|row| (row.round.0, row.stake)).collect();
    let whole = Some(U256::from(30 * LPT));
    assert_eq!(rows, [(first, whole), (second, whole)], "what it was when the rounds began");
    Ok(())
}
