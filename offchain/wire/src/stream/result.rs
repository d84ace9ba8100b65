//! How the answer to a stream ends.
use alloy_primitives::B256;
use bytes::Bytes;
use prost::Message as _;
use streamflow_types::Signature65;

use super::{StreamError, StreamHead, StreamTrailer, proto, signed::result_digest};
use crate::{Refusal, profile::MAX_PROFILES, proto::OrchestratorInfo};

/// What an orchestrator says of one rendition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamedRendition {
    /// keccak256 of its bytes.
    pub hash: B256,
    /// Bytes.
    pub length: u64,
    /// Encoded pixels, as billed.
    pub pixels: u64,
}

/// A segment is done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamResult {
    /// In the order of the profiles.
    pub renditions: Vec<StreamedRendition>,
    /// Of the orchestrator; none without a chain.
    pub signature: Option<Signature65>,
    /// Encoded receipt; empty if there is none.
    pub receipt: Vec<u8>,
    /// Terms for the next payment.
    pub info: Option<OrchestratorInfo>,
}

impl StreamResult {
    /// What its signature is over.
    pub fn digest(&self, head: &StreamHead, trailer: &StreamTrailer) -> B256 {
        result_digest(head, trailer, &self.renditions)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let renditions = self.renditions.iter().map(|rendition| proto::Rendition {
            hash: rendition.hash.to_vec(),
            length: rendition.length,
            pixels: rendition.pixels,
        });
        let message = proto::Result {
            renditions: renditions.collect(),
            signature: self.signature.map(|signature| signature.as_bytes().to_vec()).unwrap_or_default(),
            receipt: self.receipt.clone(),
            info: encode_info(self.info.as_ref()),
        };
        message.encode_to_vec()
    }

    pub(super) fn decode(bytes: Bytes) -> Result<Self, StreamError> {
        let message = proto::Result::decode(bytes).map_err(|_| StreamError::Message)?;
        if message.renditions.len() > MAX_PROFILES {
            return Err(StreamError::Renditions { got: message.renditions.len(), max: MAX_PROFILES });
        }
        let rendition = |rendition: &proto::Rendition| {
            let hash = fixed("hash", &rendition.hash).map(B256::new)?;
            Ok(StreamedRendition { hash, length: rendition.length, pixels: rendition.pixels })
        };
        Ok(Self {
            renditions: message.renditions.iter().map(rendition).collect::<Result<_, _>>()?,
            signature: signature(&message.signature)?,
            receipt: message.receipt,
            info: decode_info(&message.info)?,
        })
    }
}

/// A segment is not done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamFailure {
    /// As peers know it.
    pub text: String,
    /// Why.
    pub refusal: Option<Refusal>,
    /// Pixels that are charged although there is no result: renditions were under way when the sender broke the stream.
    pub charged: u64,
    /// Terms for the next payment.
    pub info: Option<OrchestratorInfo>,
}

impl StreamFailure {
    pub(super) fn encode(&self) -> Vec<u8> {
        let message = proto::Failure {
            text: self.text.clone(),
            refusal: self.refusal.as_ref().map(Refusal::to_bytes).unwrap_or_default(),
            charged: self.charged,
            info: encode_info(self.info.as_ref()),
        };
        message.encode_to_vec()
    }

    pub(super) fn decode(bytes: Bytes) -> Result<Self, StreamError> {
        let message = proto::Failure::decode(bytes).map_err(|_| StreamError::Message)?;
        Ok(Self {
            text: message.text,
            refusal: Refusal::from_bytes(&message.refusal),
            charged: message.charged,
            info: decode_info(&message.info)?,
        })
    }
}

fn encode_info(info: Option<&OrchestratorInfo>) -> Vec<u8> {
    info.map(OrchestratorInfo::encode_to_vec).unwrap_or_default()
}

fn decode_info(bytes: &[u8]) -> Result<Option<OrchestratorInfo>, StreamError> {
    match bytes {
        [] => Ok(None),
        bytes => OrchestratorInfo::decode(bytes).map(Some).map_err(|_| StreamError::Message),
    }
}

pub(super) fn signature(bytes: &[u8]) -> Result<Option<Signature65>, StreamError> {
    match bytes {
        [] => Ok(None),
        bytes => fixed("signature", bytes).map(Signature65::new).map(Some),
    }
}

fn fixed<const N: usize>(field: &'static str, bytes: &[u8]) -> Result<[u8; N], StreamError> {
    bytes.try_into().map_err(|_| StreamError::Field { field, got: bytes.len(), length: N })
}
