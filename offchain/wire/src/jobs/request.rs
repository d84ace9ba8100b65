//! What a broadcaster signs to be told who transcodes for it.
use alloy_primitives::{Address, B256, keccak256};
use streamflow_pm::{SignError, TicketSigner};

use super::{proto::TranscoderRequest, sign, signer_of};

/// keccak256 of the decimal text of a job's number.
fn request_hash(job_id: i64) -> B256 {
    keccak256(job_id.to_string())
}

/// A signed request. It is good for every orchestrator and as long as the job lasts; `current_block` is not signed.
pub fn sign_request(
    job_id: i64,
    current_block: i64,
    signer: &dyn TicketSigner,
) -> Result<TranscoderRequest, SignError> {
    Ok(TranscoderRequest { job_id, sig: sign(request_hash(job_id), signer)?, current_block })
}

/// Who signed the request; none if it is no signature.
pub fn request_signer(request: &TranscoderRequest) -> Option<Address> {
    signer_of(request_hash(request.job_id), &request.sig)
}
