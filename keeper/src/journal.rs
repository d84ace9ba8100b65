//! The store as the journal of transactions that `chain` asks for.

use alloy::primitives::Address;
use streamflow_chain::{IntentId, JournalError, TxAttempt, TxJournal, TxRecord, TxState};
use streamflow_store::{AttemptRow, Store, StoreError, TransactionRow};

/// Keeps transactions in the store. Clones share it.
#[derive(Clone, Debug)]
pub struct Journal {
    store: Store,
}

/// A stored transaction whose state cannot be read or written.
#[derive(Debug, thiserror::Error)]
enum RowError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("state of transaction {intent} does not decode")]
    State { intent: String, source: serde_json::Error },
}

impl Journal {
    /// The journal in this store.
    pub const fn new(store: Store) -> Self {
        Self { store }
    }
}

impl TxJournal for Journal {
    async fn open(&self, chain_id: u64, from: Address) -> Result<Vec<TxRecord>, JournalError> {
        let rows = self.store.open_transactions(chain_id, from).await.map_err(JournalError::new)?;
        rows.into_iter().map(|row| record(row).map_err(JournalError::new)).collect()
    }

    async fn find(&self, chain_id: u64, from: Address, intent: &IntentId) -> Result<Option<TxRecord>, JournalError> {
        let row = self.store.transaction(chain_id, from, intent.as_str()).await.map_err(JournalError::new)?;
        row.map(|row| record(row).map_err(JournalError::new)).transpose()
    }

    async fn put(&self, record: &TxRecord) -> Result<(), JournalError> {
        let row = row(record).map_err(JournalError::new)?;
        self.store.put_transaction(&row).await.map_err(JournalError::new)
    }
}

fn row(record: &TxRecord) -> Result<TransactionRow, RowError> {
    let state = serde_json::to_string(&record.state);
    let attempt = |attempt: &TxAttempt| AttemptRow {
        hash: attempt.hash,
        raw: attempt.raw.clone(),
        max_fee: attempt.max_fee_per_gas,
        tip: attempt.max_priority_fee_per_gas,
        signed_at: attempt.signed_at,
    };
    Ok(TransactionRow {
        chain_id: record.chain_id,
        sender: record.from,
        intent: record.intent.as_str().to_owned(),
        label: record.label.clone(),
        nonce: record.nonce,
        recipient: record.to,
        data: record.data.clone(),
        value: record.value,
        gas_limit: record.gas_limit,
        max_fee: record.max_fee,
        open: record.state.is_open(),
        state: state.map_err(|source| RowError::State { intent: record.intent.to_string(), source })?,
        attempts: record.attempts.iter().map(attempt).collect(),
    })
}

fn record(row: TransactionRow) -> Result<TxRecord, RowError> {
    let state: Result<TxState, _> = serde_json::from_str(&row.state);
    let attempt = |attempt: AttemptRow| TxAttempt {
        hash: attempt.hash,
        raw: attempt.raw,
        max_fee_per_gas: attempt.max_fee,
        max_priority_fee_per_gas: attempt.tip,
        signed_at: attempt.signed_at,
    };
    Ok(TxRecord {
        chain_id: row.chain_id,
        from: row.sender,
        state: state.map_err(|source| RowError::State { intent: row.intent.clone(), source })?,
        intent: IntentId::new(row.intent),
        label: row.label,
        nonce: row.nonce,
        to: row.recipient,
        data: row.data,
        value: row.value,
        gas_limit: row.gas_limit,
        max_fee: row.max_fee,
        attempts: row.attempts.into_iter().map(attempt).collect(),
    })
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{B256, Bytes, U256};
    use streamflow_chain::{Revert, TxOutcome};

    use super::*;

    fn open_record(intent: &str, nonce: u64) -> TxRecord {
        TxRecord {
            chain_id: 31_337,
            from: Address::repeat_byte(1),
            intent: IntentId::new(intent),
            label: "redeem".to_owned(),
            nonce,
            to: Address::repeat_byte(2),
            data: Bytes::from_static(&[1, 2]),
            value: U256::from(3),
            gas_limit: 4,
            max_fee: Some(u128::MAX),
            attempts: vec![TxAttempt {
                hash: B256::repeat_byte(5),
                raw: Bytes::from_static(&[6]),
                max_fee_per_gas: u128::MAX,
                max_priority_fee_per_gas: 7,
                signed_at: 8,
            }],
            state: TxState::Open,
        }
    }

    #[tokio::test]
    async fn every_state_survives_the_store() {
        let journal = Journal::new(Store::in_memory().await.unwrap());
        let outcome = TxOutcome {
            hash: B256::repeat_byte(5),
            block: 9,
            block_hash: B256::repeat_byte(10),
            gas_used: 11,
            gas_price: 12,
            logs: vec![alloy::rpc::types::Log::default()],
            status: true,
        };
        let states = [
            TxState::Open,
            TxState::Confirmed(outcome.clone()),
            TxState::Reverted(outcome, Revert::new(Bytes::from_static(&[1, 2, 3, 4]))),
            TxState::Refused { message: "no".to_owned() },
            TxState::Superseded,
        ];
        for (nonce, state) in (0..).zip(states) {
            let put = TxRecord { state, ..open_record(&format!("intent {nonce}"), nonce) };
            journal.put(&put).await.unwrap();
            assert_eq!(journal.find(put.chain_id, put.from, &put.intent).await.unwrap(), Some(put));
        }
        let open = journal.open(31_337, Address::repeat_byte(1)).await.unwrap();
        assert_eq!(open, [open_record("intent 0", 0)]);
    }
}
