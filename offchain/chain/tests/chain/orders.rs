//! What may be done to a transaction under way: its ceiling raised, or its nonce freed.
use std::{sync::Arc, time::Duration};

use alloy::providers::ext::AnvilApi;
use anyhow::{Context, Result};
use streamflow_chain::{IntentId, MemoryJournal, TxError, TxJournal, TxRecord, TxState};
use tokio::task::JoinHandle;

use crate::{
    fixture::{eventually, within},
    transactions::{Bench, GWEI, ask, open, pay},
};

/// Above every ceiling below, and far below the configured one.
const SPIKE: u128 = 50 * GWEI;
const CEILING: u128 = 5 * GWEI;

impl Bench {
    async fn mine_at(&self, base_fee: u128) -> Result<()> {
        let anvil = &self.deployment.anvil;
        anvil.provider().anvil_set_next_block_base_fee_per_gas(base_fee).await?;
        anvil.mine(1).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(())
    }

    async fn mine_at_until_answered<T: Send + 'static>(&self, base_fee: u128, caller: JoinHandle<T>) -> Result<T> {
        let mined = async {
            while !caller.is_finished() {
                self.mine_at(base_fee).await?;
            }
            anyhow::Ok(())
        };
        within("the answer", mined).await??;
        Ok(caller.await?)
    }

    async fn record_of(&self, journal: &MemoryJournal, id: &str) -> Result<TxRecord> {
        let record = journal.find(self.chain.chain_id, self.signer.address(), &IntentId::new(id)).await?;
        record.context("no record")
    }
}

/// A bench with "pay/1" under way, at its ceiling in a spike of the base fee.
async fn stuck(journal: &Arc<MemoryJournal>, bench: &Bench, handle: &streamflow_chain::TxHandle) -> Result<Caller> {
    bench.deployment.anvil.set_automine(false).await?;
    let caller = ask(handle, pay("pay/1", 5).with_max_fee(CEILING));
    eventually("the record", || async { Ok(open(journal, bench).await?.len() == 1) }).await?;
    for _ in 0..6 {
        bench.mine_at(SPIKE).await?;
    }
    assert!(!caller.is_finished());
    for attempt in bench.record_of(journal, "pay/1").await?.attempts {
        assert!(attempt.max_fee_per_gas <= CEILING);
    }
    Ok(caller)
}

type Caller = JoinHandle<Result<streamflow_chain::TxOutcome, TxError>>;

async fn started() -> Result<Bench> {
    Bench::start_with(|config| config.tx.bump_after_blocks = 1).await
}

#[tokio::test]
async fn a_raised_ceiling_lets_a_stuck_transaction_through() -> Result<()> {
    let bench = started().await?;
    let journal = Arc::new(MemoryJournal::default());
    let (handle, _task) = bench.manager(journal.clone());
    let caller = stuck(&journal, &bench, &handle).await?;

    let id = IntentId::new("pay/1");
    let lower = handle.raise(&id, 1).await?.context("it is under way")?;
    assert_eq!((lower.ceiling, lower.behind), (CEILING, None), "a ceiling is never lowered");
    let raised = handle.raise(&id, 4 * SPIKE).await?.context("it is under way")?;
    assert_eq!(raised.ceiling, 4 * SPIKE);
    assert!(raised.max_fee_per_gas > SPIKE, "its fees were raised at once");
    assert_eq!(handle.raise(&IntentId::new("pay/none"), 1).await?, None);

    let outcome = bench.mine_at_until_answered(SPIKE, caller).await??;
    assert!(outcome.gas_price <= 4 * SPIKE);
    assert_eq!(bench.record_of(&journal, "pay/1").await?.max_fee, Some(4 * SPIKE), "a restart knows of it");
    assert_eq!(handle.raise(&id, 5 * SPIKE).await?, None, "it is settled");
    Ok(())
}

#[tokio::test]
async fn pain_10_a_stuck_transaction_does_not_hold_up_an_urgent_one_when_told() -> Result<()> {
    let bench = Bench::start_with(|config| {
        config.tx.bump_after_blocks = 1;
        config.tx.max_in_flight = 2;
    })
    .await?;
    let journal = Arc::new(MemoryJournal::default());
    let (handle, _task) = bench.manager(journal.clone());
    let first = stuck(&journal, &bench, &handle).await?;
    let urgent = ask(&handle, pay("pay/2", 7));
    eventually("both records", || async { Ok(open(&journal, &bench).await?.len() == 2) }).await?;
    bench.mine_at(SPIKE).await?;

    // No further transaction may be sent, but orders are heard.
    let waiting = ask(&handle, pay("pay/3", 9));
    let (one, two) = (IntentId::new("pay/1"), IntentId::new("pay/2"));
    let told = within("an answer", handle.raise(&two, u128::MAX)).await??.context("it is under way")?;
    assert_eq!(told.behind, Some(one.clone()));
    assert!(handle.cancel(&one).await? && handle.cancel(&one).await?, "once more changes nothing");

    bench.mine_at_until_answered(SPIKE, urgent).await??;
    let verdict = bench.mine_at_until_answered(SPIKE, first).await?;
    assert!(matches!(verdict, Err(TxError::Superseded { nonce: 0, .. })), "{verdict:?}");
    bench.mine_at_until_answered(SPIKE, waiting).await??;
    assert_eq!(bench.received().await?.to::<u64>(), 16, "what was given up was not paid");
    assert_eq!(bench.nonce().await?, 3);
    assert!(!handle.cancel(&one).await?);
    Ok(())
}

#[tokio::test]
async fn a_transaction_given_up_stays_so_over_a_restart_and_may_be_tried_again() -> Result<()> {
    let bench = started().await?;
    let journal = Arc::new(MemoryJournal::default());
    let (handle, task) = bench.manager(journal.clone());
    let _caller = stuck(&journal, &bench, &handle).await?;
    assert!(handle.cancel(&IntentId::new("pay/1")).await?);
    task.abort();
    let _ = task.await;

    let (handle, _task) = bench.manager(journal.clone());
    let closed = async {
        while bench.record_of(&journal, "pay/1").await?.state.is_open() {
            bench.mine_at(2 * SPIKE).await?;
        }
        anyhow::Ok(())
    };
    within("the end", closed).await??;
    assert_eq!(bench.record_of(&journal, "pay/1").await?.state, TxState::Superseded);
    assert_eq!((bench.nonce().await?, bench.received().await?.to::<u64>()), (1, 0));
    bench.deployment.anvil.set_automine(true).await?;
    bench.mine_at(GWEI).await?;
    let again = ask(&handle, pay("pay/1", 5));
    bench.mine_at_until_answered(GWEI, again).await??;
    assert_eq!((bench.nonce().await?, bench.received().await?.to::<u64>()), (2, 5));
    Ok(())
}

#[tokio::test]
async fn a_transaction_that_cannot_be_outbid_under_the_ceiling_of_all_stays() -> Result<()> {
    let bench = Bench::start_with(|config| {
        config.tx.bump_after_blocks = 1;
        config.tx.max_fee_per_gas = CEILING as u64;
    })
    .await?;
    let journal = Arc::new(MemoryJournal::default());
    let (handle, _task) = bench.manager(journal.clone());
    let caller = stuck(&journal, &bench, &handle).await?;
    let refused = handle.cancel(&IntentId::new("pay/1")).await;
    assert!(matches!(refused, Err(TxError::FeeTooHigh { ceiling: CEILING, .. })), "{refused:?}");
    bench.mine_at_until_answered(GWEI, caller).await??;
    assert_eq!(bench.received().await?.to::<u64>(), 5);
    Ok(())
}
