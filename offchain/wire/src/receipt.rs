//! Receipts on the wire, and the ids in them that both sides must agree on (docs/designs/028-verification.md).
use alloy_primitives::{Address, B256, keccak256};
use prost::Message as _;
use streamflow_pm::{SignedReceipt, WorkReceipt};
use streamflow_types::{Profile, Signature65};

use crate::{profile::MAX_PROFILES, profile_to_proto};

mod proto {
    #![allow(missing_docs, unreachable_pub, missing_debug_implementations, clippy::all)]
    tonic::include_proto!("streamflow.receipts");
}

/// Longest receipt that is read: all fields, and a hash for each profile.
const MAX_BYTES: usize = 1024 + 40 * MAX_PROFILES;

/// What is no receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptFormatError {
    /// Too long.
    #[error("receipt of {got} bytes is longer than {max}")]
    Length {
        /// Bytes.
        got: usize,
        /// Bytes.
        max: usize,
    },
    /// Not the message.
    #[error("receipt is not understood")]
    Message,
    /// A field of another length.
    #[error("field {field} of the receipt has {got} bytes, not {length}")]
    Field {
        /// Its name.
        field: &'static str,
        /// Bytes.
        got: usize,
        /// Bytes.
        length: usize,
    },
    /// More results than a segment can have.
    #[error("receipt has {got} result hashes, more than {max}")]
    Results {
        /// Hashes.
        got: usize,
        /// Hashes.
        max: usize,
    },
}

/// Id of the settings: what was asked for, profile by profile. Encoder options are the orchestrator's own, which is why such
/// receipts are not deterministic.
pub fn settings_id(profiles: &[Profile]) -> B256 {
    let mut bytes = b"streamflow/settings/v1".to_vec();
    for profile in profiles {
        bytes.extend(profile_to_proto(profile).encode_length_delimited_to_vec());
    }
    keccak256(bytes)
}

/// Id of a version of this software.
pub fn software_id(version: &str) -> B256 {
    keccak256(format!("streamflow/{version}"))
}

/// The bytes of field 1001.
pub fn encode_receipt(signed: &SignedReceipt) -> Vec<u8> {
    let WorkReceipt {
        orchestrator,
        sender,
        service,
        manifest,
        sequence,
        source_hash,
        settings,
        software,
        result_hashes,
        round,
        deterministic,
    } = &signed.receipt;
    let message = proto::SignedReceipt {
        orchestrator: orchestrator.to_vec(),
        sender: sender.to_vec(),
        service: service.to_vec(),
        manifest: manifest.to_vec(),
        sequence: *sequence,
        source_hash: source_hash.to_vec(),
        settings: settings.to_vec(),
        software: software.to_vec(),
        result_hashes: result_hashes.iter().map(|hash| hash.to_vec()).collect(),
        round: *round,
        deterministic: *deterministic,
        signature: signed.signature.as_bytes().to_vec(),
    };
    message.encode_to_vec()
}

/// Reads field 1001.
pub fn decode_receipt(bytes: &[u8]) -> Result<SignedReceipt, ReceiptFormatError> {
    if bytes.len() > MAX_BYTES {
        return Err(ReceiptFormatError::Length { got: bytes.len(), max: MAX_BYTES });
    }
    let message = proto::SignedReceipt::decode(bytes).map_err(|_| ReceiptFormatError::Message)?;
    if message.result_hashes.len() > MAX_PROFILES {
        return Err(ReceiptFormatError::Results { got: message.result_hashes.len(), max: MAX_PROFILES });
    }
    let hash = |field, bytes: &[u8]| fixed(field, bytes).map(B256::from);
    let account = |field, bytes: &[u8]| fixed(field, bytes).map(Address::from);
    let receipt = WorkReceipt {
        orchestrator: account("orchestrator", &message.orchestrator)?,
        sender: account("sender", &message.sender)?,
        service: hash("service", &message.service)?,
        manifest: hash("manifest", &message.manifest)?,
        sequence: message.sequence,
        source_hash: hash("source_hash", &message.source_hash)?,
        settings: hash("settings", &message.settings)?,
        software: hash("software", &message.software)?,
        result_hashes: message
            .result_hashes
            .iter()
            .map(|bytes| hash("result_hashes", bytes))
            .collect::<Result<_, _>>()?,
        round: message.round,
        deterministic: message.deterministic,
    };
    Ok(SignedReceipt { receipt, signature: Signature65::new(fixed("signature", &message.signature)?) })
}

fn fixed<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], ReceiptFormatError> {
    bytes.try_into().map_err(|_| ReceiptFormatError::Field { field, got: bytes.len(), length: N })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use streamflow_pm::{KeySigner, ReceiptDomain, TRANSCODING_H264};

    use super::*;

    fn signed() -> SignedReceipt {
        let receipt = WorkReceipt {
            orchestrator: Address::repeat_byte(1),
            sender: Address::repeat_byte(2),
            service: TRANSCODING_H264,
            manifest: keccak256("movie"),
            sequence: u64::MAX,
            source_hash: B256::repeat_byte(3),
            settings: B256::repeat_byte(4),
            software: software_id("1.2.3"),
            result_hashes: vec![B256::repeat_byte(5), B256::repeat_byte(6)],
            round: 7,
            deterministic: true,
        };
        let domain = ReceiptDomain { chain_id: 1, contract: Address::ZERO };
        receipt.sign(&domain, &KeySigner::from_bytes([1; 32]).unwrap()).unwrap()
    }

    #[test]
    fn a_receipt_survives_the_wire() {
        assert_eq!(decode_receipt(&encode_receipt(&signed())), Ok(signed()));
    }

    #[test]
    fn fields_of_another_length_and_too_many_results_are_refused() {
        let mut message = proto::SignedReceipt::decode(&encode_receipt(&signed())[..]).unwrap();
        message.sender.pop();
        let refused = decode_receipt(&message.encode_to_vec());
        assert_eq!(refused, Err(ReceiptFormatError::Field { field: "sender", got: 19, length: 20 }));
        let mut many = signed();
        many.receipt.result_hashes = vec![B256::ZERO; MAX_PROFILES + 1];
        assert!(matches!(decode_receipt(&encode_receipt(&many)), Err(ReceiptFormatError::Results { .. })));
        let long = vec![0; MAX_BYTES + 1];
        assert!(matches!(decode_receipt(&long), Err(ReceiptFormatError::Length { .. })));
    }

    #[test]
    fn the_settings_are_all_of_the_profiles_in_their_order() {
        let (one, other) = (Profile::new("a", 640, 360, 1).unwrap(), Profile::new("a", 640, 360, 2).unwrap());
        let id = settings_id(&[one.clone(), other.clone()]);
        assert_eq!(id, settings_id(&[one.clone(), other.clone()]));
        assert_ne!(id, settings_id(&[other, one.clone()]));
        assert_ne!(id, settings_id(&[one]));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode_receipt(&bytes);
        }
    }
}
