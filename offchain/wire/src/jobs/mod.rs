//! The wire of the protocol of 2018, in which a job on chain says who transcodes for whom
//! (docs/designs/033-jobs-protocol.md).
//!
//! Its messages have names that are used today with other fields, so they live apart: [`proto`]. Headers are `Authorization`
//! ([`AUTH_TYPE`]), [`crate::header::CREDENTIALS`] and [`crate::header::SEGMENT`].
pub mod proto;

mod credentials;
mod request;
mod segment;

pub use credentials::{CredentialsError, issue_credentials, read_credentials};
pub use request::{request_signer, sign_request};
pub use segment::{JobSegment, JobSegmentError};

use alloy_primitives::{Address, B256};
use streamflow_pm::{SignError, TicketSigner, eip191_digest, recover_signer};

/// Value of `Authorization`: what `Credentials` are.
pub const AUTH_TYPE: &str = "Livepeer-Eth-1";
/// gRPC path of `GetTranscoder`.
pub const GET_TRANSCODER: &str = "/net.Orchestrator/GetTranscoder";
/// Longest `Credentials` or `Livepeer-Segment` read, bytes: both hold a signature, and little else.
pub const MAX_HEADER_LEN: usize = 1024;

/// The EIP-191 signature over a 32-byte hash, as everywhere (node.md §2.2).
fn sign(hash: B256, signer: &dyn TicketSigner) -> Result<Vec<u8>, SignError> {
    Ok(signer.sign_hash(eip191_digest(hash))?.as_bytes().to_vec())
}

fn signer_of(hash: B256, sig: &[u8]) -> Option<Address> {
    recover_signer(eip191_digest(hash), sig).ok()
}
