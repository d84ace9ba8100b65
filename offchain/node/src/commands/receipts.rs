//! `broadcaster receipts`: what orchestrators stand for with their stake.
use alloy::primitives::{Address, B256, Bytes};
use anyhow::Context as _;
use serde::Serialize;
use streamflow_store::ReceiptRecord;

use super::Context;
use crate::{
    cli::ReceiptsArgs,
    data_dir::DataDir,
    database,
    output::{Report, Table},
};

#[derive(Debug, Serialize)]
struct Receipts {
    receipts: Vec<Row>,
}

/// One receipt, with all that `SlashingManager.challenge` takes of it.
#[derive(Debug, Serialize)]
struct Row {
    stream: String,
    /// Unix seconds.
    received_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<String>,
    chain_id: u64,
    verifying_contract: Address,
    digest: B256,
    job: B256,
    receipt: Fields,
    signature: Bytes,
}

/// The fields of `Receipt.sol`, by its names.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    orchestrator: Address,
    sender: Address,
    service: B256,
    manifest: B256,
    sequence: u64,
    source_hash: B256,
    settings: B256,
    software: B256,
    result_hashes: Vec<B256>,
    round: u64,
    deterministic: bool,
}

/// Reads the database; it need not belong to a running node.
///
/// # Errors
/// When the database cannot be read.
pub async fn run(context: &Context, args: &ReceiptsArgs) -> anyhow::Result<()> {
    let data = DataDir::open(&context.config.data)?;
    let store = database::open(&context.config.data, &data).await?;
    let records = store.receipts(args.stream.as_deref(), args.limit).await.context("cannot read the receipts")?;
    store.close().await;
    context.output.result(&Receipts { receipts: records.into_iter().map(Row::from).collect() })?;
    Ok(())
}

impl From<ReceiptRecord> for Row {
    fn from(record: ReceiptRecord) -> Self {
        let ReceiptRecord { domain, signed, stream, received_at, verdict } = record;
        let (digest, job) = (signed.receipt.digest(&domain), signed.receipt.job());
        let receipt = signed.receipt;
        Self {
            stream,
            received_at,
            verdict,
            chain_id: domain.chain_id,
            verifying_contract: domain.contract,
            digest,
            job,
            receipt: Fields {
                orchestrator: receipt.orchestrator,
                sender: receipt.sender,
                service: receipt.service,
                manifest: receipt.manifest,
                sequence: receipt.sequence,
                source_hash: receipt.source_hash,
                settings: receipt.settings,
                software: receipt.software,
                result_hashes: receipt.result_hashes,
                round: receipt.round,
                deterministic: receipt.deterministic,
            },
            signature: signed.signature.as_bytes().to_vec().into(),
        }
    }
}

impl Report for Receipts {
    fn text(&self) -> String {
        if self.receipts.is_empty() {
            return "no receipts".into();
        }
        let mut table = Table::new(["stream", "segment", "orchestrator", "round", "digest", "verdict"]);
        for row in &self.receipts {
            table.row([
                row.stream.clone(),
                row.receipt.sequence.to_string(),
                row.receipt.orchestrator.to_string(),
                row.receipt.round.to_string(),
                format!("{:.10}", row.digest.to_string()),
                row.verdict.clone().unwrap_or_else(|| "none".into()),
            ]);
        }
        table.to_string()
    }
}

#[cfg(test)]
mod tests {
    use streamflow_pm::{KeySigner, ReceiptDomain, TRANSCODING_H264, TicketSigner as _, WorkReceipt};

    use super::*;

    #[test]
    fn json_has_all_that_a_challenge_takes_and_text_the_verdict() {
        let key = KeySigner::from_bytes([1; 32]).unwrap();
        let domain = ReceiptDomain { chain_id: 42_161, contract: Address::repeat_byte(5) };
        let receipt = WorkReceipt {
            orchestrator: key.address(),
            sender: Address::repeat_byte(2),
            service: TRANSCODING_H264,
            manifest: B256::repeat_byte(1),
            sequence: 12,
            source_hash: B256::repeat_byte(2),
            settings: B256::repeat_byte(3),
            software: B256::repeat_byte(4),
            result_hashes: vec![B256::repeat_byte(5)],
            round: 9,
            deterministic: false,
        };
        let signed = receipt.sign(&domain, &key).unwrap();
        let verdict = Some("upscaled".to_owned());
        let record = ReceiptRecord { domain, signed, stream: "studio".into(), received_at: 7, verdict };
        let all = Receipts { receipts: vec![Row::from(record)] };
        let json = serde_json::to_value(&all).unwrap();
        let first = &json["receipts"][0];
        assert_eq!(first["receipt"].as_object().unwrap().len(), 11);
        assert_eq!(first["receipt"]["sourceHash"], B256::repeat_byte(2).to_string());
        assert_eq!(first["signature"].as_str().unwrap().len(), 2 + 130);
        let text = all.text();
        assert!(text.contains("studio") && text.contains("12") && text.contains("upscaled"), "{text}");
    }
}
