//! What is signed of a stream: head, trailer and result, each bound to the one before.
//!
//! Every signature is EIP-191 over a 32-byte hash, as of all messages of this wire. The first 32 bytes that are hashed name
//! the message and its version; no other message of the wire begins with them.
use alloy_primitives::{Address, B256, U256, keccak256};
use streamflow_pm::{SignError, TicketSigner};
use streamflow_types::{Keccak256, Signature65};

use super::StreamedRendition;
use crate::{SegmentRequest, is_signed_by, settings_id, sign::sign};

/// Says what a hash is the hash of.
fn domain(message: &str) -> B256 {
    keccak256(format!("streamflow/segment-stream/v{}/{message}", super::VERSION))
}

/// Head of a stream, as it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHead(B256);

impl StreamHead {
    /// Of a request and the text of its payment header: manifest, number, length, all of the profiles, session and payment.
    pub fn new(request: &SegmentRequest, payment: &str) -> Self {
        let session = request.auth_token.as_ref().map_or("", |token| token.session_id.as_str());
        let mut hasher = Keccak256::new();
        hasher.update(domain("head"));
        hasher.update(keccak256(request.manifest_id.as_str()));
        hasher.update(U256::from(request.seq).to_be_bytes::<32>());
        hasher.update(U256::from(request.duration_ms).to_be_bytes::<32>());
        hasher.update(settings_id(&request.profiles));
        hasher.update(keccak256(session));
        hasher.update(keccak256(payment));
        Self(hasher.finalize())
    }

    /// What is signed.
    pub fn hash(&self) -> B256 {
        self.0
    }
}

/// Signs a head into its request, in the place of the signature over a whole segment.
///
/// # Errors
/// The signer fails.
pub fn sign_stream_head(
    request: &mut SegmentRequest,
    payment: &str,
    signer: &dyn TicketSigner,
) -> Result<StreamHead, SignError> {
    let head = StreamHead::new(request, payment);
    request.sig = sign(head.0, signer)?.as_bytes().to_vec();
    Ok(head)
}

/// Whether the sender of the payment signed the head.
pub fn verify_stream_head(request: &SegmentRequest, payment: &str, sender: Address) -> bool {
    is_signed_by(StreamHead::new(request, payment).0, &request.sig, sender)
}

/// What ends an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamTrailer {
    /// Bytes of the segment.
    pub length: u64,
    /// keccak256 of them.
    pub hash: B256,
    /// Of the sender; none without a chain.
    pub signature: Option<Signature65>,
}

impl StreamTrailer {
    /// The trailer of a stream with this head.
    ///
    /// # Errors
    /// The signer fails.
    pub fn new(
        head: &StreamHead,
        length: u64,
        hash: B256,
        signer: Option<&dyn TicketSigner>,
    ) -> Result<Self, SignError> {
        let unsigned = Self { length, hash, signature: None };
        let signature = signer.map(|signer| sign(unsigned.digest(head), signer)).transpose()?;
        Ok(Self { signature, ..unsigned })
    }

    /// What is signed.
    pub fn digest(&self, head: &StreamHead) -> B256 {
        let mut hasher = Keccak256::new();
        hasher.update(domain("trailer"));
        hasher.update(head.0);
        hasher.update(U256::from(self.length).to_be_bytes::<32>());
        hasher.update(self.hash);
        hasher.finalize()
    }

    /// Whether the sender of the head signed it.
    pub fn is_signed_by(&self, head: &StreamHead, sender: Address) -> bool {
        self.signature.is_some_and(|signature| is_signed_by(self.digest(head), signature.as_bytes(), sender))
    }
}

/// What an orchestrator signs of a stream that it has done: its head and trailer, and hash, length and pixels of each
/// rendition.
pub(super) fn result_digest(head: &StreamHead, trailer: &StreamTrailer, renditions: &[StreamedRendition]) -> B256 {
    let mut hasher = Keccak256::new();
    hasher.update(domain("result"));
    hasher.update(trailer.digest(head));
    hasher.update(U256::from(renditions.len()).to_be_bytes::<32>());
    for StreamedRendition { hash, length, pixels } in renditions {
        hasher.update(hash);
        hasher.update(U256::from(*length).to_be_bytes::<32>());
        hasher.update(U256::from(*pixels).to_be_bytes::<32>());
    }
    hasher.finalize()
}

/// Signs renditions as the result of a stream.
///
/// # Errors
/// The signer fails.
pub fn sign_stream_result(
    head: &StreamHead,
    trailer: &StreamTrailer,
    renditions: &[StreamedRendition],
    signer: &dyn TicketSigner,
) -> Result<Signature65, SignError> {
    sign(result_digest(head, trailer, renditions), signer)
}
