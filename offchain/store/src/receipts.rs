//! Receipts of orchestrators: evidence for a later challenge (docs/designs/028-verification.md).

use alloy_primitives::B256;
use streamflow_pm::{ReceiptDomain, SignedReceipt, WorkReceipt};
use streamflow_types::Signature65;

use crate::{
    Store, StoreError, column,
    sql::{Row, query},
};

/// A receipt, where it counts, and what is known of its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptRecord {
    /// Chain and contract.
    pub domain: ReceiptDomain,
    /// What was signed.
    pub signed: SignedReceipt,
    /// Name of the stream; the receipt has only its hash.
    pub stream: String,
    /// Unix seconds.
    pub received_at: u64,
    /// What the signer was convicted of, if it was.
    pub verdict: Option<String>,
}

impl Store {
    /// Keeps a receipt. The same one again changes nothing.
    pub async fn insert_receipt(&self, record: &ReceiptRecord) -> Result<(), StoreError> {
        let receipt = &record.signed.receipt;
        let results: Vec<u8> = receipt.result_hashes.iter().flat_map(|hash| hash.0).collect();
        let mut tx = self.write().await?;
        query(
            "INSERT INTO receipts (digest, chain_id, contract, stream, orchestrator, sender, service, manifest, sequence, \
             source_hash, settings, software, result_hashes, round, deterministic, signature, received_at, verdict) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) \
             ON CONFLICT (digest) DO NOTHING",
        )
        .bind(receipt.digest(&record.domain).to_vec())
        .bind(column::int("chain_id", record.domain.chain_id)?)
        .bind(record.domain.contract.as_slice())
        .bind(record.stream.as_str())
        .bind(receipt.orchestrator.as_slice())
        .bind(receipt.sender.as_slice())
        .bind(receipt.service.to_vec())
        .bind(receipt.manifest.to_vec())
        .bind(column::int("sequence", receipt.sequence)?)
        .bind(receipt.source_hash.to_vec())
        .bind(receipt.settings.to_vec())
        .bind(receipt.software.to_vec())
        .bind(results)
        .bind(column::int("round", receipt.round)?)
        .bind(i64::from(receipt.deterministic))
        .bind(record.signed.signature.as_bytes().to_vec())
        .bind(column::int("received_at", record.received_at)?)
        .bind(record.verdict.as_deref())
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }

    /// Notes what the work of a receipt proved to be. Returns whether it is known.
    pub async fn convict_receipt(&self, digest: B256, verdict: &str) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let changed = query("UPDATE receipts SET verdict = $2 WHERE digest = $1")
            .bind(digest.to_vec())
            .bind(verdict)
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(changed > 0)
    }

    /// The newest receipts, of one stream if it is named.
    pub async fn receipts(&self, stream: Option<&str>, limit: u32) -> Result<Vec<ReceiptRecord>, StoreError> {
        let rows = query(
            "SELECT * FROM receipts WHERE $1 = '' OR stream = $1 \
             ORDER BY received_at DESC, sequence DESC, digest LIMIT $2",
        )
        .bind(stream.unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(record).collect()
    }

    /// Forgets receipts that came before that time, Unix seconds. Returns how many.
    pub async fn prune_receipts(&self, before: u64) -> Result<u64, StoreError> {
        let mut tx = self.write().await?;
        let pruned = query("DELETE FROM receipts WHERE received_at < $1")
            .bind(column::int("received_at", before)?)
            .execute(&mut tx)
            .await?;
        tx.commit().await?;
        Ok(pruned)
    }
}

fn record(row: &Row) -> Result<ReceiptRecord, StoreError> {
    let (results, rest) = {
        let bytes = row.bytes("result_hashes")?;
        let (hashes, rest) = bytes.as_chunks::<32>();
        (hashes.iter().map(B256::from).collect(), rest.len())
    };
    if rest > 0 {
        return Err(StoreError::BadColumn { column: "result_hashes" });
    }
    let receipt = WorkReceipt {
        orchestrator: row.address("orchestrator")?,
        sender: row.address("sender")?,
        service: row.hash("service")?,
        manifest: row.hash("manifest")?,
        sequence: row.number("sequence")?,
        source_hash: row.hash("source_hash")?,
        settings: row.hash("settings")?,
        software: row.hash("software")?,
        result_hashes: results,
        round: row.number("round")?,
        deterministic: row.signed("deterministic")? != 0,
    };
    Ok(ReceiptRecord {
        domain: ReceiptDomain { chain_id: row.number("chain_id")?, contract: row.address("contract")? },
        signed: SignedReceipt { receipt, signature: Signature65::new(row.fixed("signature")?) },
        stream: row.text("stream")?,
        received_at: row.number("received_at")?,
        verdict: row.text_opt("verdict")?,
    })
}
