//! Nothing is lost and nothing is sent twice: crash, reorganisation, fees, nonces.
use std::{
    future::pending,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEnvelope},
    eips::eip2718::Encodable2718,
    network::TxSignerSync,
    primitives::{Address, TxKind, U256},
    providers::{Provider, ext::AnvilApi},
    signers::local::PrivateKeySigner,
};
use anyhow::{Context, Result, bail};
use streamflow_bindings::TicketBroker;
use streamflow_chain::{
    Calls, Chain, ChainConfig, GasPolicy, IntentId, JournalError, MemoryJournal, TxAttempt, TxError, TxHandle,
    TxIntent, TxJournal, TxManager, TxOutcome, TxRecord, TxState, connect, send_all,
};
use streamflow_testkit::{Deployment, key};
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::fixture::{Following, Garbler, chain, eventually, follow, within};

pub(crate) const STRANGER: Address = Address::repeat_byte(0x77);
pub(crate) const GWEI: u128 = 1_000_000_000;

pub(crate) struct Bench {
    pub(crate) deployment: Deployment,
    pub(crate) chain: Chain,
    pub(crate) config: ChainConfig,
    pub(crate) following: Following,
    pub(crate) signer: PrivateKeySigner,
}

impl Bench {
    pub(crate) async fn start() -> Result<Self> {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut ChainConfig)) -> Result<Self> {
        let deployment = Deployment::start().await?;
        deployment.initialize_round().await?;
        let (chain, mut config) = chain(&deployment).await?;
        change(&mut config);
        let following = follow(&chain, &config);
        Ok(Self { deployment, chain, config, following, signer: key(3)? })
    }

    pub(crate) fn manager<J: TxJournal>(&self, journal: J) -> (TxHandle, JoinHandle<Result<(), JournalError>>) {
        let (manager, handle) =
            TxManager::new(&self.chain, &self.config, self.signer.clone(), journal, &self.following.feed);
        (handle, tokio::spawn(manager.run(self.following.stop.clone())))
    }

    pub(crate) async fn nonce(&self) -> Result<u64> {
        Ok(self.deployment.anvil.provider().get_transaction_count(self.signer.address()).await?)
    }

    pub(crate) async fn received(&self) -> Result<U256> {
        Ok(self.deployment.anvil.provider().get_balance(STRANGER).await?)
    }

    /// A transaction of our key that the manager does not know, in any form we like.
    fn sign(&self, nonce: u64, value: u64, max_fee: u128) -> Result<TxAttempt> {
        let mut tx = TxEip1559 {
            chain_id: self.chain.chain_id,
            nonce,
            gas_limit: 21_000,
            max_fee_per_gas: max_fee,
            max_priority_fee_per_gas: max_fee / 10,
            to: TxKind::Call(STRANGER),
            value: U256::from(value),
            ..Default::default()
        };
        let signature = self.signer.sign_transaction_sync(&mut tx)?;
        let envelope = TxEnvelope::from(tx.into_signed(signature));
        Ok(TxAttempt {
            hash: *envelope.tx_hash(),
            raw: envelope.encoded_2718().into(),
            max_fee_per_gas: max_fee,
            max_priority_fee_per_gas: max_fee / 10,
            signed_at: 0,
        })
    }

    fn record(&self, nonce: u64, value: u64, attempts: Vec<TxAttempt>) -> TxRecord {
        TxRecord {
            chain_id: self.chain.chain_id,
            from: self.signer.address(),
            intent: IntentId::new("pay/1"),
            label: "pay".into(),
            nonce,
            to: STRANGER,
            data: Default::default(),
            value: U256::from(value),
            gas_limit: 21_000,
            max_fee: None,
            attempts,
            state: TxState::Open,
        }
    }

    async fn broadcast(&self, attempt: &TxAttempt) -> Result<()> {
        let _ = self.deployment.anvil.provider().send_raw_transaction(&attempt.raw).await?;
        Ok(())
    }
}

/// Pays `wei` to an account that has nothing, so that what it has tells how often it was paid.
pub(crate) fn pay(id: &str, wei: u64) -> TxIntent {
    TxIntent {
        id: IntentId::new(id),
        to: STRANGER,
        data: Default::default(),
        value: U256::from(wei),
        gas: GasPolicy::Estimate,
        max_fee: None,
        label: "pay",
    }
}

pub(crate) async fn sent(handle: &TxHandle, intent: TxIntent) -> Result<Result<TxOutcome, TxError>> {
    within("the outcome", handle.send(intent)).await
}

pub(crate) async fn open(journal: &MemoryJournal, bench: &Bench) -> Result<Vec<TxRecord>> {
    Ok(journal.open(bench.chain.chain_id, bench.signer.address()).await?)
}

#[tokio::test]
async fn same_intent_is_mined_once_over_calls_and_restarts() -> Result<()> {
    let bench = Bench::start().await?;
    let journal = Arc::new(MemoryJournal::default());
    let (handle, task) = bench.manager(journal.clone());
    let (first, second) = tokio::join!(handle.send(pay("pay/1", 5)), handle.send(pay("pay/1", 5)));
    let outcome = first?;
    assert_eq!(outcome.hash, second?.hash);
    assert!(outcome.status && outcome.gas_used == 21_000);

    task.abort();
    let (handle, _task) = bench.manager(journal);
    assert_eq!(sent(&handle, pay("pay/1", 5)).await??.hash, outcome.hash);
    assert_eq!(bench.nonce().await?, 1);
    assert_eq!(bench.received().await?, U256::from(5));
    Ok(())
}

#[tokio::test]
async fn pain_10_several_intents_share_the_key_without_collision() -> Result<()> {
    let bench = Bench::start().await?;
    let (handle, _task) = bench.manager(MemoryJournal::default());
    let ids: Vec<String> = (0..8).map(|number| format!("pay/{number}")).collect();
    let sends = ids.iter().map(|id| handle.send(pay(id, 1)));
    for outcome in within("eight outcomes", futures::future::join_all(sends)).await? {
        outcome?;
    }
    assert_eq!((bench.nonce().await?, bench.received().await?), (8, U256::from(8)));
    Ok(())
}

/// Records, then never returns: what a process that dies before broadcast leaves behind.
struct DiesAfterRecording {
    inner: Arc<MemoryJournal>,
    recorded: Arc<Notify>,
}

impl TxJournal for DiesAfterRecording {
    async fn open(&self, chain_id: u64, from: Address) -> Result<Vec<TxRecord>, JournalError> {
        self.inner.open(chain_id, from).await
    }

    async fn find(&self, chain_id: u64, from: Address, intent: &IntentId) -> Result<Option<TxRecord>, JournalError> {
        self.inner.find(chain_id, from, intent).await
    }

    async fn put(&self, record: &TxRecord) -> Result<(), JournalError> {
        self.inner.put(record).await?;
        self.recorded.notify_one();
        pending().await
    }
}

#[tokio::test]
async fn crash_between_record_and_broadcast_loses_nothing() -> Result<()> {
    let bench = Bench::start().await?;
    let inner = Arc::new(MemoryJournal::default());
    let recorded = Arc::new(Notify::new());
    let (handle, task) = bench.manager(DiesAfterRecording { inner: inner.clone(), recorded: recorded.clone() });
    let caller = tokio::spawn(async move { handle.send(pay("pay/1", 5)).await });
    within("the record", recorded.notified()).await?;
    task.abort();
    assert!(matches!(caller.await?, Err(TxError::Stopped)));
    assert_eq!(bench.nonce().await?, 0, "nothing was sent");
    let signed = open(&inner, &bench).await?.remove(0).attempts.remove(0).hash;

    let (handle, _task) = bench.manager(inner);
    eventually("what was recorded, unasked", || async { Ok(bench.received().await? == U256::from(5)) }).await?;
    let outcome = sent(&handle, pay("pay/1", 5)).await??;
    assert_eq!(outcome.hash, signed, "the very bytes that were recorded");
    assert_eq!((bench.nonce().await?, bench.received().await?), (1, U256::from(5)));
    Ok(())
}

#[tokio::test]
async fn crash_between_broadcast_and_inclusion_is_resumed() -> Result<()> {
    let bench = Bench::start().await?;
    bench.deployment.anvil.set_automine(false).await?;
    let journal = Arc::new(MemoryJournal::default());
    let (handle, task) = bench.manager(journal.clone());
    let caller = tokio::spawn(async move { handle.send(pay("pay/1", 5)).await });
    let provider = bench.deployment.anvil.provider();
    let pooled = || async { Ok(provider.get_transaction_count(bench.signer.address()).pending().await? == 1) };
    eventually("the transaction to be pooled", pooled).await?;
    task.abort();
    assert!(matches!(caller.await?, Err(TxError::Stopped)));

    let (handle, _task) = bench.manager(journal);
    let again = tokio::spawn(async move { handle.send(pay("pay/1", 5)).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    bench.deployment.anvil.mine(1).await?;
    within("the outcome", again).await???;
    bench.deployment.anvil.mine(3).await?;
    assert_eq!((bench.nonce().await?, bench.received().await?), (1, U256::from(5)));
    Ok(())
}

#[tokio::test]
async fn stop_leaves_the_transaction_to_the_next_start() -> Result<()> {
    let bench = Bench::start().await?;
    bench.deployment.anvil.set_automine(false).await?;
    let journal = Arc::new(MemoryJournal::default());
    let stop = CancellationToken::new();
    let (manager, handle) =
        TxManager::new(&bench.chain, &bench.config, bench.signer.clone(), journal.clone(), &bench.following.feed);
    let task = tokio::spawn(manager.run(stop.clone()));
    let caller = tokio::spawn(async move { handle.send(pay("pay/1", 5)).await });
    eventually("the record", || async { Ok(open(&journal, &bench).await?.len() == 1) }).await?;
    stop.cancel();
    within("the manager", task).await???;
    assert!(matches!(caller.await?, Err(TxError::Stopped)));
    assert_eq!(open(&journal, &bench).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn fees_are_raised_until_it_is_mined() -> Result<()> {
    let bench = Bench::start_with(|config| {
        config.tx.base_fee_percent = 100;
        config.tx.bump_after_blocks = 2;
    })
    .await?;
    let anvil = &bench.deployment.anvil;
    anvil.set_automine(false).await?;
    let journal = Arc::new(MemoryJournal::default());
    let (handle, _task) = bench.manager(journal.clone());
    let caller = tokio::spawn(async move { handle.send(pay("pay/1", 5)).await });
    eventually("the record", || async { Ok(open(&journal, &bench).await?.len() == 1) }).await?;
    let first = open(&journal, &bench).await?.remove(0).attempts.remove(0);

    let mined = async {
        while !caller.is_finished() {
            // Twenty times what the first attempt offers.
            anvil.provider().anvil_set_next_block_base_fee_per_gas(first.max_fee_per_gas * 20).await?;
            anvil.mine(1).await?;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        anyhow::Ok(())
    };
    within("inclusion", mined).await??;
    let outcome = caller.await??;
    assert_ne!(outcome.hash, first.hash);
    let record = journal.find(bench.chain.chain_id, bench.signer.address(), &IntentId::new("pay/1")).await?;
    let attempts = record.context("no record")?.attempts;
    assert!(attempts.iter().any(|attempt| attempt.hash == outcome.hash));
    for pair in attempts.windows(2) {
        assert!(pair[1].max_fee_per_gas * 100 >= pair[0].max_fee_per_gas * 112);
        assert!(pair[1].max_priority_fee_per_gas > pair[0].max_priority_fee_per_gas);
    }
    assert_eq!((bench.nonce().await?, bench.received().await?), (1, U256::from(5)));
    Ok(())
}

#[tokio::test]
async fn cap_below_the_base_fee_is_raised_even_where_raising_is_off() -> Result<()> {
    let bench = Bench::start_with(|config| config.tx.bump_after_blocks = 0).await?;
    let anvil = &bench.deployment.anvil;
    anvil.set_automine(false).await?;
    let journal = Arc::new(MemoryJournal::default());
    let (handle, _task) = bench.manager(journal.clone());
    let caller = tokio::spawn(async move { handle.send(pay("pay/1", 5)).await });
    eventually("the record", || async { Ok(open(&journal, &bench).await?.len() == 1) }).await?;
    let first = open(&journal, &bench).await?.remove(0).attempts.remove(0);
    let mined = async {
        while !caller.is_finished() {
            anvil.provider().anvil_set_next_block_base_fee_per_gas(first.max_fee_per_gas * 2).await?;
            anvil.mine(1).await?;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        anyhow::Ok(())
    };
    within("inclusion", mined).await??;
    assert_ne!(caller.await??.hash, first.hash);
    assert_eq!((bench.nonce().await?, bench.received().await?), (1, U256::from(5)));
    Ok(())
}

#[tokio::test]
async fn own_ceiling_holds_through_a_base_fee_spike_and_a_restart() -> Result<()> {
    for bump_after_blocks in [0, 2] {
        let bench = Bench::start_with(|config| config.tx.bump_after_blocks = bump_after_blocks).await?;
        let anvil = &bench.deployment.anvil;
        anvil.set_automine(false).await?;
        let journal = Arc::new(MemoryJournal::default());
        let (handle, task) = bench.manager(journal.clone());
        let ceiling = 5 * GWEI;
        let intent = pay("pay/1", 5).with_max_fee(ceiling);
        let caller = tokio::spawn({
            let intent = intent.clone();
            async move { handle.send(intent).await }
        });
        eventually("the record", || async { Ok(open(&journal, &bench).await?.len() == 1) }).await?;
        // Far below the configured ceiling of 500 gwei.
        let spike = || async {
            for _ in 0..8 {
                anvil.provider().anvil_set_next_block_base_fee_per_gas(ceiling * 20).await?;
                anvil.mine(1).await?;
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
            anyhow::Ok(())
        };
        spike().await?;
        assert!(!caller.is_finished(), "it waits");
        task.abort();
        let (handle, _task) = bench.manager(journal.clone());
        let caller = tokio::spawn(async move { handle.send(intent).await });
        spike().await?;
        let waiting = open(&journal, &bench).await?.remove(0);
        assert_eq!(waiting.max_fee, Some(ceiling));
        assert!(waiting.attempts.iter().all(|attempt| attempt.max_fee_per_gas <= ceiling), "{:?}", waiting.attempts);
        assert!(waiting.attempts.len() <= 12, "raised per block at most: {}", waiting.attempts.len());

        let mined = async {
            while !caller.is_finished() {
                anvil.provider().anvil_set_next_block_base_fee_per_gas(GWEI / 10).await?;
                anvil.mine(1).await?;
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
            anyhow::Ok(())
        };
        within("inclusion", mined).await??;
        assert!(caller.await??.gas_price <= ceiling);
        assert_eq!((bench.nonce().await?, bench.received().await?), (1, U256::from(5)));

        anvil.provider().anvil_set_next_block_base_fee_per_gas(ceiling * 20).await?;
        anvil.mine(1).await?;
        let (handle, _task) = bench.manager(MemoryJournal::default());
        let refused = sent(&handle, pay("pay/2", 5).with_max_fee(ceiling)).await?;
        assert!(matches!(refused, Err(TxError::FeeTooHigh { ceiling: told, .. }) if told == ceiling), "{refused:?}");
    }
    Ok(())
}

#[tokio::test]
async fn older_form_that_is_mined_counts() -> Result<()> {
    let bench = Bench::start().await?;
    let (first, raised) = (bench.sign(0, 5, 10 * GWEI)?, bench.sign(0, 5, 12 * GWEI)?);
    bench.broadcast(&first).await?;
    let journal = MemoryJournal::default();
    journal.put(&bench.record(0, 5, vec![first.clone(), raised])).await?;
    let (handle, _task) = bench.manager(journal);
    assert_eq!(sent(&handle, pay("pay/1", 5)).await??.hash, first.hash);
    assert_eq!(bench.nonce().await?, 1);
    Ok(())
}

#[tokio::test]
async fn reorganised_transaction_is_sent_again() -> Result<()> {
    let bench = Bench::start_with(|config| config.tx.confirmations = 4).await?;
    let anvil = &bench.deployment.anvil;
    let (handle, _task) = bench.manager(MemoryJournal::default());
    let caller = tokio::spawn(async move { handle.send(pay("pay/1", 5)).await });
    eventually("inclusion", || async { Ok(bench.received().await? == U256::from(5)) }).await?;
    anvil.mine(1).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!caller.is_finished(), "two blocks are not four");
    anvil.reorg(2, Vec::new()).await?;
    eventually("inclusion again", || async { Ok(bench.received().await? == U256::from(5)) }).await?;
    anvil.mine(4).await?;
    let outcome = within("the outcome", caller).await???;
    assert!(anvil.provider().get_transaction_receipt(outcome.hash).await?.is_some());
    assert_eq!((bench.nonce().await?, bench.received().await?), (1, U256::from(5)));
    Ok(())
}

#[tokio::test]
async fn settled_intent_that_a_reorganisation_took_back_is_sent_again_when_asked_for() -> Result<()> {
    let bench = Bench::start().await?;
    let anvil = &bench.deployment.anvil;
    let before = anvil.snapshot().await?;
    let (handle, _task) = bench.manager(MemoryJournal::default());
    let first = sent(&handle, pay("pay/1", 5)).await??;
    anvil.revert(before).await?;
    assert_eq!((bench.nonce().await?, bench.received().await?), (0, U256::ZERO));
    let again = sent(&handle, pay("pay/1", 5)).await??;
    assert_eq!(again.hash, first.hash, "the same transaction: two could both be mined");
    assert_eq!((bench.nonce().await?, bench.received().await?), (1, U256::from(5)));
    Ok(())
}

/// Mines until the caller has its answer.
pub(crate) async fn mine_until_answered<T: Send + 'static>(bench: &Bench, caller: JoinHandle<T>) -> Result<T> {
    let mined = async {
        while !caller.is_finished() {
            bench.deployment.anvil.mine(1).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    within("the answer", mined).await??;
    Ok(caller.await?)
}

pub(crate) fn ask(handle: &TxHandle, intent: TxIntent) -> JoinHandle<Result<TxOutcome, TxError>> {
    let handle = handle.clone();
    tokio::spawn(async move { handle.send(intent).await })
}

#[tokio::test]
async fn settled_intent_whose_nonce_a_stranger_has_after_a_reorganisation_is_superseded() -> Result<()> {
    let bench = Bench::start().await?;
    let anvil = &bench.deployment.anvil;
    let before = anvil.snapshot().await?;
    let (handle, _task) = bench.manager(MemoryJournal::default());
    sent(&handle, pay("pay/1", 5)).await??;
    anvil.revert(before).await?;
    bench.broadcast(&bench.sign(0, 1, 10 * GWEI)?).await?;
    eventually("the stranger's", || async { Ok(bench.received().await? == U256::from(1)) }).await?;
    let verdict = mine_until_answered(&bench, ask(&handle, pay("pay/1", 5))).await?;
    assert!(matches!(verdict, Err(TxError::Superseded { nonce: 0, .. })), "{verdict:?}");
    sent(&handle, pay("pay/1", 5)).await??;
    assert_eq!((bench.nonce().await?, bench.received().await?), (2, U256::from(6)));
    Ok(())
}

#[tokio::test]
async fn settled_intent_whose_nonce_another_intent_has_after_a_reorganisation_is_superseded_once_that_is_mined()
-> Result<()> {
    let bench = Bench::start().await?;
    let anvil = &bench.deployment.anvil;
    let before = anvil.snapshot().await?;
    let journal = Arc::new(MemoryJournal::default());
    let (handle, _task) = bench.manager(journal.clone());
    sent(&handle, pay("pay/1", 5)).await??;
    anvil.revert(before).await?;
    anvil.set_automine(false).await?;
    let other = ask(&handle, pay("pay/2", 1));
    eventually("the record", || async { Ok(open(&journal, &bench).await?.len() == 1) }).await?;
    assert_eq!(open(&journal, &bench).await?[0].nonce, 0);
    let contested = sent(&handle, pay("pay/1", 5)).await?;
    assert!(matches!(contested, Err(TxError::NonceContested { nonce: 0, .. })), "{contested:?}");
    mine_until_answered(&bench, other).await??;
    let verdict = mine_until_answered(&bench, ask(&handle, pay("pay/1", 5))).await?;
    assert!(matches!(verdict, Err(TxError::Superseded { nonce: 0, .. })), "{verdict:?}");
    mine_until_answered(&bench, ask(&handle, pay("pay/1", 5))).await??;
    assert_eq!((bench.nonce().await?, bench.received().await?), (2, U256::from(6)));
    Ok(())
}

#[tokio::test]
async fn nonce_taken_by_a_stranger_is_told_and_the_intent_may_be_tried_again() -> Result<()> {
    let bench = Bench::start().await?;
    let ours = bench.sign(0, 5, 10 * GWEI)?;
    bench.broadcast(&bench.sign(0, 1, 11 * GWEI)?).await?;
    let journal = Arc::new(MemoryJournal::default());
    journal.put(&bench.record(0, 5, vec![ours])).await?;
    let (handle, _task) = bench.manager(journal);
    let caller = tokio::spawn({
        let handle = handle.clone();
        async move { handle.send(pay("pay/1", 5)).await }
    });
    let mined = async {
        while !caller.is_finished() {
            bench.deployment.anvil.mine(1).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    within("the verdict", mined).await??;
    assert!(matches!(caller.await?, Err(TxError::Superseded { nonce: 0, .. })));
    sent(&handle, pay("pay/1", 5)).await??;
    assert_eq!(bench.received().await?, U256::from(6));
    Ok(())
}

#[tokio::test]
async fn gap_in_the_nonces_is_filled() -> Result<()> {
    let bench = Bench::start().await?;
    let journal = MemoryJournal::default();
    journal.put(&bench.record(2, 5, vec![bench.sign(2, 5, 10 * GWEI)?])).await?;
    let (handle, _task) = bench.manager(journal);
    let caller = tokio::spawn(async move { handle.send(pay("pay/1", 5)).await });
    let mined = async {
        while !caller.is_finished() {
            bench.deployment.anvil.mine(1).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    within("inclusion", mined).await??;
    caller.await??;
    assert_eq!((bench.nonce().await?, bench.received().await?), (3, U256::from(5)));
    Ok(())
}

#[tokio::test]
async fn revert_is_foretold_or_told_with_its_reason() -> Result<()> {
    let bench = Bench::start().await?;
    let (handle, _task) = bench.manager(MemoryJournal::default());
    let unlock = Calls::new(bench.chain.contracts).unlock();
    let foretold = match sent(&handle, unlock.clone()).await? {
        Err(TxError::WouldRevert { reason, .. }) => reason,
        other => bail!("{other:?}"),
    };
    assert_eq!(foretold.decode::<TicketBroker::NoFunds>().map(|err| err.sender), Some(bench.signer.address()));
    assert_eq!(bench.nonce().await?, 0);
    assert!(matches!(handle.dry_run(unlock.clone()).await, Err(TxError::WouldRevert { .. })));

    let forced = unlock.with_id(IntentId::new("unlock/1")).with_gas(GasPolicy::Limit(200_000));
    for _ in 0..2 {
        match sent(&handle, forced.clone()).await? {
            Err(TxError::Reverted { outcome, reason, .. }) => {
                assert!(!outcome.status);
                assert_eq!(reason, foretold);
                assert!(reason.to_string().contains("NoFunds"), "{reason}");
            }
            other => bail!("{other:?}"),
        }
    }
    assert_eq!(bench.nonce().await?, 1);
    Ok(())
}

#[tokio::test]
async fn refusals_leave_no_trace_and_can_be_cured() -> Result<()> {
    let mut bench = Bench::start().await?;
    bench.signer = PrivateKeySigner::random();
    let (handle, _task) = bench.manager(MemoryJournal::default());
    let poor = pay("pay/1", 5).with_gas(GasPolicy::Limit(21_000));
    match sent(&handle, poor.clone()).await? {
        Err(TxError::InsufficientFunds { from, .. }) => assert_eq!(from, bench.signer.address()),
        other => bail!("{other:?}"),
    }
    let ether = U256::from(1_000_000_000_000_000_000_u64);
    bench.deployment.anvil.set_balance(bench.signer.address(), ether).await?;
    sent(&handle, poor).await??;
    let dry = handle.dry_run(pay("pay/2", 1)).await?;
    assert!(dry.gas_limit >= 21_000 && dry.max_fee_per_gas > 0);
    assert_eq!((bench.nonce().await?, bench.received().await?), (1, U256::from(5)));

    bench.config.tx.max_fee_per_gas = 1;
    let (handle, _task) = bench.manager(MemoryJournal::default());
    assert!(matches!(sent(&handle, pay("pay/3", 1)).await?, Err(TxError::FeeTooHigh { ceiling: 1, .. })));
    Ok(())
}

/// A manager whose node answers to the first `times` transactions with an error that nobody knows.
async fn behind_garbler(bench: &mut Bench, passes_on: bool, times: usize) -> Result<JoinHandle<()>> {
    let times = Arc::new(AtomicUsize::new(times));
    let garbler = Garbler { node: bench.config.rpc_url.clone(), passes_on, message: "something went wrong", times };
    let (url, task) = garbler.listen().await?;
    bench.config.rpc_url = url;
    bench.chain = connect(&bench.config).await?;
    Ok(task)
}

#[tokio::test]
async fn transaction_that_was_taken_with_an_unknown_error_is_not_sent_under_a_second_nonce() -> Result<()> {
    let mut bench = Bench::start().await?;
    let garbler = behind_garbler(&mut bench, true, usize::MAX).await?;
    let (handle, _task) = bench.manager(MemoryJournal::default());
    let outcome = sent(&handle, pay("pay/1", 5)).await??;
    assert_eq!(sent(&handle, pay("pay/1", 5)).await??.hash, outcome.hash);
    assert_eq!((bench.nonce().await?, bench.received().await?), (1, U256::from(5)));
    garbler.abort();
    Ok(())
}

#[tokio::test]
async fn transaction_that_was_lost_with_an_unknown_error_is_sent_again() -> Result<()> {
    let mut bench = Bench::start().await?;
    let garbler = behind_garbler(&mut bench, false, 1).await?;
    let journal = Arc::new(MemoryJournal::default());
    let (handle, _task) = bench.manager(journal.clone());
    let caller = tokio::spawn(async move { handle.send(pay("pay/1", 5)).await });
    eventually("the record", || async { Ok(open(&journal, &bench).await?.len() == 1) }).await?;
    let mined = async {
        while !caller.is_finished() {
            bench.deployment.anvil.mine(1).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    within("inclusion", mined).await??;
    caller.await??;
    assert_eq!((bench.nonce().await?, bench.received().await?), (1, U256::from(5)));
    garbler.abort();
    Ok(())
}

#[tokio::test]
async fn command_sends_in_order() -> Result<()> {
    let bench = Bench::start().await?;
    let calls = Calls::new(bench.chain.contracts);
    let intents = vec![calls.fund(U256::from(3), U256::from(4)), calls.unlock()];
    let outcomes = within("both", send_all(&bench.chain, &bench.config, bench.signer.clone(), intents)).await??;
    assert_eq!(outcomes.len(), 2);
    assert!(outcomes[0].block <= outcomes[1].block && !outcomes[0].logs.is_empty());
    Ok(())
}
