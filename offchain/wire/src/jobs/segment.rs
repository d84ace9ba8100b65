//! The segment header of 2018: which segment of the job's stream, and the broadcaster's word for it.
use alloy_primitives::{Address, B256, U256, keccak256};
use base64::{Engine, engine::general_purpose::STANDARD};
use prost::Message;
use streamflow_pm::{SignError, TicketSigner};

use super::{MAX_HEADER_LEN, proto::SegData, sign, signer_of};

/// A checked `SegData` of 2018. Whose it is depends on the job's stream: [`JobSegment::signer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSegment {
    /// Number in the stream.
    pub seq: u64,
    /// keccak256 of the body.
    pub hash: B256,
    /// The broadcaster's signature.
    pub sig: Vec<u8>,
}

/// What is wrong with the header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobSegmentError {
    /// Longer than any.
    #[error("segment header of {got} bytes, at most {max} are read")]
    TooLong {
        /// As sent.
        got: usize,
        /// Read.
        max: usize,
    },
    /// Not base64.
    #[error("segment header is not base64")]
    Base64,
    /// Not a `SegData`.
    #[error("segment header is no segment data")]
    Protobuf,
    /// Negative number.
    #[error("sequence number {0} is negative")]
    Sequence(i64),
    /// A hash of another length.
    #[error("hash has {0} bytes, not 32")]
    HashLength(usize),
}

/// keccak256 of stream id ‖ seq (32 bytes) ‖ hash.
fn segment_hash(stream_id: &str, seq: u64, hash: B256) -> B256 {
    keccak256([stream_id.as_bytes(), &U256::from(seq).to_be_bytes::<32>(), hash.as_slice()].concat())
}

impl JobSegment {
    /// A segment of the stream, signed by its broadcaster.
    pub fn signed(stream_id: &str, seq: u64, hash: B256, signer: &dyn TicketSigner) -> Result<Self, SignError> {
        Ok(Self { seq, hash, sig: sign(segment_hash(stream_id, seq, hash), signer)? })
    }

    /// Who signed it as a segment of this stream; none if it is no signature.
    pub fn signer(&self, stream_id: &str) -> Option<Address> {
        signer_of(segment_hash(stream_id, self.seq, self.hash), &self.sig)
    }

    /// Text of the header.
    pub fn to_header(&self) -> String {
        // A number that came from a header fits; the largest one else.
        let seq = i64::try_from(self.seq).unwrap_or(i64::MAX);
        STANDARD.encode(SegData { seq, hash: self.hash.to_vec(), sig: self.sig.clone() }.encode_to_vec())
    }

    /// Reads the header.
    pub fn from_header(text: &[u8]) -> Result<Self, JobSegmentError> {
        if text.len() > MAX_HEADER_LEN {
            return Err(JobSegmentError::TooLong { got: text.len(), max: MAX_HEADER_LEN });
        }
        let bytes = STANDARD.decode(text).map_err(|_| JobSegmentError::Base64)?;
        let segment = SegData::decode(bytes.as_slice()).map_err(|_| JobSegmentError::Protobuf)?;
        let hash = segment.hash.as_slice();
        Ok(Self {
            seq: u64::try_from(segment.seq).map_err(|_| JobSegmentError::Sequence(segment.seq))?,
            hash: B256::try_from(hash).map_err(|_| JobSegmentError::HashLength(hash.len()))?,
            sig: segment.sig,
        })
    }
}
