//! Receipts: what an orchestrator stands for with its stake, checked and kept for a later challenge.
use alloy_primitives::{Address, B256, keccak256};
use streamflow_pm::{ReceiptDomain, SignatureError, SignedReceipt, TRANSCODING_H264};
use streamflow_store::ReceiptRecord;
use streamflow_types::with_causes;
use streamflow_wire::{ReceiptFormatError, decode_receipt, settings_id};

use crate::{
    broadcaster::Core,
    error::VerifyError,
    metrics,
    segment::Segment,
    session::Session,
    stream::LiveStream,
    verification::Verdict,
    verify::{Rendition, content_hash},
};

/// Why a receipt is as good as none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// Deployed peers send none.
    #[error("result carries no receipt (setting broadcaster.verification.require_receipts)")]
    Missing,
    /// Not the message.
    #[error("receipt cannot be read")]
    Format(#[from] ReceiptFormatError),
    /// Not a signature.
    #[error("receipt carries no valid signature")]
    Signature(#[source] SignatureError),
    /// Somebody else stands for it.
    #[error("receipt is signed by {got} for {orchestrator}, not by the paid account {paid}")]
    Signer {
        /// Whose signature it is.
        got: Address,
        /// Whom it names.
        orchestrator: Address,
        /// Whose tickets were sent.
        paid: Address,
    },
    /// For somebody else.
    #[error("receipt is for sender {got}, not for {sender}")]
    Sender {
        /// In the receipt.
        got: Address,
        /// We.
        sender: Address,
    },
    /// Another segment.
    #[error("receipt is for segment {got}, not for {sequence}")]
    Sequence {
        /// In the receipt.
        got: u64,
        /// What was sent.
        sequence: u64,
    },
    /// An old one, or one to come.
    #[error("receipt is of round {got}, not of {now} or the one before")]
    Round {
        /// In the receipt.
        got: u64,
        /// As the chain has it.
        now: u64,
    },
    /// Another source, stream, service, settings or result.
    #[error("{field} of the receipt is {got}, not {expected}")]
    Hash {
        /// Which.
        field: &'static str,
        /// In the receipt.
        got: B256,
        /// What we have.
        expected: B256,
    },
    /// Another number of results.
    #[error("receipt states {got} results, {delivered} came")]
    Results {
        /// In the receipt.
        got: usize,
        /// Renditions.
        delivered: usize,
    },
}

/// What a receipt must state.
#[derive(Debug)]
pub(crate) struct Stated<'a> {
    pub(crate) paid: Address,
    pub(crate) sender: Address,
    pub(crate) stream: &'a str,
    pub(crate) sequence: u64,
    pub(crate) source: B256,
    pub(crate) settings: B256,
    pub(crate) results: &'a [B256],
    pub(crate) round: u64,
}

/// Checks a receipt against what we hold.
pub(crate) fn check(bytes: &[u8], domain: &ReceiptDomain, stated: &Stated<'_>) -> Result<SignedReceipt, ReceiptError> {
    if bytes.is_empty() {
        return Err(ReceiptError::Missing);
    }
    let signed = decode_receipt(bytes)?;
    let got = signed.signer(domain).map_err(ReceiptError::Signature)?;
    let receipt = &signed.receipt;
    if got != stated.paid || receipt.orchestrator != stated.paid {
        return Err(ReceiptError::Signer { got, orchestrator: receipt.orchestrator, paid: stated.paid });
    }
    if receipt.sender != stated.sender {
        return Err(ReceiptError::Sender { got: receipt.sender, sender: stated.sender });
    }
    if receipt.sequence != stated.sequence {
        return Err(ReceiptError::Sequence { got: receipt.sequence, sequence: stated.sequence });
    }
    // The other side may have seen the newest block first: the next round is none that it could pick at will.
    if !(stated.round.saturating_sub(1)..=stated.round.saturating_add(1)).contains(&receipt.round) {
        return Err(ReceiptError::Round { got: receipt.round, now: stated.round });
    }
    let hashes = [
        ("service", receipt.service, TRANSCODING_H264),
        ("manifest", receipt.manifest, keccak256(stated.stream)),
        ("source", receipt.source_hash, stated.source),
        ("settings", receipt.settings, stated.settings),
    ];
    let results = receipt.result_hashes.iter().zip(stated.results).map(|(got, held)| ("a result", *got, *held));
    if let Some((field, got, expected)) = hashes.into_iter().chain(results).find(|(_, got, held)| got != held) {
        return Err(ReceiptError::Hash { field, got, expected });
    }
    if receipt.result_hashes.len() != stated.results.len() {
        return Err(ReceiptError::Results { got: receipt.result_hashes.len(), delivered: stated.results.len() });
    }
    Ok(signed)
}

impl Core {
    /// Checks and keeps the receipt of a result. Returns its digest, if there is a good one.
    ///
    /// # Errors
    /// [`VerifyError::Receipt`] where the settings require one. Otherwise a bad one counts as none.
    pub(crate) async fn take_receipt(
        &self,
        stream: &LiveStream,
        segment: &Segment,
        session: &Session,
        bytes: &[u8],
        renditions: &[Rendition],
    ) -> Result<Option<B256>, VerifyError> {
        let Some((payer, domain)) = self.payer.as_ref().and_then(|payer| Some((payer, payer.receipts()?))) else {
            return Ok(None);
        };
        let (Some(paid), Ok(chain)) = (session.paid_account(), payer.chain()) else { return Ok(None) };
        let results: Vec<B256> = renditions.iter().map(|rendition| content_hash(&rendition.media)).collect();
        let stated = Stated {
            paid,
            sender: payer.signer().address(),
            stream: stream.name().as_str(),
            sequence: segment.seq,
            source: content_hash(&segment.media),
            settings: settings_id(stream.profiles()),
            results: &results,
            round: chain.round.0,
        };
        let signed = match check(bytes, &domain, &stated) {
            Ok(signed) => signed,
            Err(error) => {
                metrics::receipt_refused(error == ReceiptError::Missing);
                if self.config.verification.require_receipts {
                    return Err(VerifyError::Receipt(error));
                }
                if error != ReceiptError::Missing {
                    tracing::warn!(url = %session.url, error = with_causes(&error), "receipt is of no use");
                }
                return Ok(None);
            }
        };
        let digest = signed.receipt.digest(&domain);
        let record =
            ReceiptRecord { domain, signed, stream: stated.stream.to_owned(), received_at: payer.now(), verdict: None };
        if let Err(error) = payer.store().insert_receipt(&record).await {
            // The segment is good all the same.
            tracing::error!(error = with_causes(&error), "receipt cannot be kept");
            return Ok(None);
        }
        metrics::receipt_kept();
        Ok(Some(digest))
    }

    /// Notes with a receipt what its work proved to be.
    pub(crate) async fn convict_receipt(&self, digest: Option<B256>, error: &VerifyError) {
        let (Some(digest), Some(payer), Some(verdict)) = (digest, &self.payer, Verdict::of(error)) else { return };
        if let Err(error) = payer.store().convict_receipt(digest, verdict.label()).await {
            tracing::error!(%digest, error = with_causes(&error), "verdict cannot be kept with its receipt");
        }
    }

    /// Forgets receipts that are older than the setting.
    pub(crate) async fn prune_receipts(&self) {
        let Some(payer) = &self.payer else { return };
        let before = payer.now().saturating_sub(self.config.verification.keep_receipts.as_secs());
        if let Err(error) = payer.store().prune_receipts(before).await {
            tracing::warn!(error = with_causes(&error), "old receipts are not forgotten");
        }
    }
}

#[cfg(test)]
mod tests {
    use streamflow_pm::{KeySigner, TicketSigner as _, WorkReceipt};
    use streamflow_wire::encode_receipt;

    use super::*;

    const DOMAIN: ReceiptDomain = ReceiptDomain { chain_id: 1, contract: Address::repeat_byte(9) };

    fn key() -> KeySigner {
        KeySigner::from_bytes([1; 32]).unwrap()
    }

    fn good() -> WorkReceipt {
        WorkReceipt {
            orchestrator: key().address(),
            sender: Address::repeat_byte(2),
            service: TRANSCODING_H264,
            manifest: keccak256("movie"),
            sequence: 5,
            source_hash: B256::repeat_byte(3),
            settings: B256::repeat_byte(4),
            software: B256::repeat_byte(5),
            result_hashes: vec![B256::repeat_byte(6), B256::repeat_byte(7)],
            round: 10,
            deterministic: false,
        }
    }

    fn checked(bytes: &[u8]) -> Result<SignedReceipt, ReceiptError> {
        let results = [B256::repeat_byte(6), B256::repeat_byte(7)];
        let stated = Stated {
            paid: key().address(),
            sender: Address::repeat_byte(2),
            stream: "movie",
            sequence: 5,
            source: B256::repeat_byte(3),
            settings: B256::repeat_byte(4),
            results: &results,
            round: 10,
        };
        check(bytes, &DOMAIN, &stated)
    }

    fn changed(change: impl FnOnce(&mut WorkReceipt)) -> Result<SignedReceipt, ReceiptError> {
        let mut receipt = good();
        change(&mut receipt);
        checked(&encode_receipt(&receipt.sign(&DOMAIN, &key()).unwrap()))
    }

    #[test]
    fn a_receipt_that_states_what_we_hold_is_taken_in_this_round_and_the_one_before() {
        assert_eq!(changed(|_| {}).unwrap().receipt, good());
        assert!(changed(|r| r.round = 9).is_ok() && changed(|r| r.round = 11).is_ok());
        assert_eq!(changed(|r| r.round = 8), Err(ReceiptError::Round { got: 8, now: 10 }));
        assert_eq!(changed(|r| r.round = 12), Err(ReceiptError::Round { got: 12, now: 10 }));
    }

    #[test]
    fn whatever_else_it_states_is_refused_with_both_figures() {
        assert_eq!(checked(&[]), Err(ReceiptError::Missing));
        assert!(matches!(checked(&[1, 2, 3]), Err(ReceiptError::Format(_))));
        let zero = Address::ZERO;
        assert!(
            matches!(changed(|r| r.orchestrator = zero), Err(ReceiptError::Signer { orchestrator, .. }) if orchestrator == zero)
        );
        assert!(matches!(changed(|r| r.sender = zero), Err(ReceiptError::Sender { got, .. }) if got == zero));
        assert_eq!(changed(|r| r.sequence = 6), Err(ReceiptError::Sequence { got: 6, sequence: 5 }));
        type Change = fn(&mut WorkReceipt);
        let fields: [(&str, Change); 5] = [
            ("service", |r| r.service = B256::ZERO),
            ("manifest", |r| r.manifest = B256::ZERO),
            ("source", |r| r.source_hash = B256::ZERO),
            ("settings", |r| r.settings = B256::ZERO),
            ("a result", |r| r.result_hashes[1] = B256::ZERO),
        ];
        for (name, change) in fields {
            let refused = changed(change);
            assert!(
                matches!(refused, Err(ReceiptError::Hash { field, got: B256::ZERO, .. }) if field == name),
                "{name}"
            );
        }
        assert_eq!(changed(|r| r.result_hashes.truncate(1)), Err(ReceiptError::Results { got: 1, delivered: 2 }));
        let other = KeySigner::from_bytes([2; 32]).unwrap();
        let foreign = checked(&encode_receipt(&good().sign(&DOMAIN, &other).unwrap()));
        assert!(matches!(foreign, Err(ReceiptError::Signer { got, .. }) if got == other.address()));
        let elsewhere = ReceiptDomain { chain_id: 2, ..DOMAIN };
        let elsewhere = checked(&encode_receipt(&good().sign(&elsewhere, &key()).unwrap()));
        assert!(matches!(elsewhere, Err(ReceiptError::Signer { .. })), "of another chain");
    }
}
