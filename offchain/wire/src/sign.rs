//! Who signs what (node.md §2.2). Every signature is EIP-191 over a 32-byte hash.
use alloy_primitives::{Address, B256, keccak256};
use streamflow_pm::{SignError, TicketSigner, eip191_digest, recover_signer};
use streamflow_types::Signature65;

use crate::{SegmentRequest, proto};

pub(crate) fn sign(hash: B256, signer: &dyn TicketSigner) -> Result<Signature65, SignError> {
    signer.sign_hash(eip191_digest(hash))
}

/// Whether `account` signed the EIP-191 message that is this hash.
pub fn is_signed_by(hash: B256, sig: &[u8], account: Address) -> bool {
    recover_signer(eip191_digest(hash), sig) == Ok(account)
}

/// keccak256 of the EIP-55 text of a broadcaster's address.
pub fn request_hash(address: Address) -> B256 {
    keccak256(address.to_checksum(None))
}

/// A signed `OrchestratorRequest`. It is the same for every orchestrator and never expires.
pub fn sign_request(
    signer: &dyn TicketSigner,
    capabilities: Option<proto::Capabilities>,
) -> Result<proto::OrchestratorRequest, SignError> {
    let address = signer.address();
    let sig = sign(request_hash(address), signer)?.as_bytes().to_vec();
    Ok(proto::OrchestratorRequest { address: address.to_vec(), sig, capabilities, ignore_capacity_check: false })
}

/// The address that made the request, if it signed it.
pub fn verify_request(request: &proto::OrchestratorRequest) -> Option<Address> {
    let address = Address::try_from(request.address.as_slice()).ok()?;
    is_signed_by(request_hash(address), &request.sig, address).then_some(address)
}

/// Signs a segment request in place.
pub fn sign_segment(segment: &mut SegmentRequest, signer: &dyn TicketSigner) -> Result<(), SignError> {
    segment.sig = sign(keccak256(segment.flatten()), signer)?.as_bytes().to_vec();
    Ok(())
}

/// Whether the sender of the payment signed the request.
pub fn verify_segment(segment: &SegmentRequest, sender: Address) -> bool {
    is_signed_by(keccak256(segment.flatten()), &segment.sig, sender)
}

/// What an orchestrator signs of its work: keccak256 of the renditions' keccak256, in profile order.
pub fn result_hash<'a>(renditions: impl IntoIterator<Item = &'a [u8]>) -> B256 {
    result_hash_of(renditions.into_iter().map(keccak256))
}

/// The same from hashes that were computed as the renditions arrived.
pub fn result_hash_of(rendition_hashes: impl IntoIterator<Item = B256>) -> B256 {
    keccak256(rendition_hashes.into_iter().flat_map(|hash| hash.0).collect::<Vec<_>>())
}

/// Signs a [`result_hash`] for `TranscodeData.sig`. The hash is not hashed again.
pub fn sign_result(result: B256, signer: &dyn TicketSigner) -> Result<Signature65, SignError> {
    sign(result, signer)
}

/// Answers a `Ping`: a signature over keccak256 of the value.
pub fn sign_ping(value: &[u8], signer: &dyn TicketSigner) -> Result<proto::PingPong, SignError> {
    Ok(proto::PingPong { value: sign(keccak256(value), signer)?.as_bytes().to_vec() })
}

/// Whether `account` answered the `Ping`.
pub fn verify_ping(value: &[u8], answer: &proto::PingPong, account: Address) -> bool {
    is_signed_by(keccak256(value), &answer.value, account)
}
