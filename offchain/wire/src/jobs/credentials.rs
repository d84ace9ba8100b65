//! What an orchestrator gives a broadcaster to show with each segment.
use alloy_primitives::{Address, B256, keccak256};
use base64::{Engine, engine::general_purpose::STANDARD};
use prost::Message;
use streamflow_pm::{SignError, TicketSigner};

use super::{MAX_HEADER_LEN, proto::AuthToken, sign, signer_of};

/// Why credentials are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// Longer than any.
    #[error("credentials of {got} bytes, at most {max} are read")]
    TooLong {
        /// As sent.
        got: usize,
        /// Read.
        max: usize,
    },
    /// Not base64.
    #[error("credentials are not base64")]
    Base64,
    /// Not an `AuthToken`.
    #[error("credentials are no auth token")]
    Protobuf,
    /// Not signed by the orchestrator that reads them.
    #[error("credentials are signed by {}, not by orchestrator {orchestrator}", text(.signer))]
    Signature {
        /// Whoever signed them, if anybody did.
        signer: Option<Address>,
        /// Who should have.
        orchestrator: Address,
    },
}

fn text(signer: &Option<Address>) -> String {
    signer.map_or_else(|| "nobody".to_owned(), |signer| signer.to_string())
}

/// keccak256 of the token without its signature. The bytes begin with 0x80, so they are never the text that a broadcaster
/// signs for a request.
fn token_hash(job_id: i64) -> B256 {
    keccak256(AuthToken { sig: Vec::new(), job_id }.encode_to_vec())
}

/// Text of the credentials of a job, signed by its orchestrator.
pub fn issue_credentials(job_id: i64, orchestrator: &dyn TicketSigner) -> Result<String, SignError> {
    let sig = sign(token_hash(job_id), orchestrator)?;
    Ok(STANDARD.encode(AuthToken { sig, job_id }.encode_to_vec()))
}

/// The job that `orchestrator` gave these credentials for.
pub fn read_credentials(text: &[u8], orchestrator: Address) -> Result<i64, CredentialsError> {
    if text.len() > MAX_HEADER_LEN {
        return Err(CredentialsError::TooLong { got: text.len(), max: MAX_HEADER_LEN });
    }
    let bytes = STANDARD.decode(text).map_err(|_| CredentialsError::Base64)?;
    let token = AuthToken::decode(bytes.as_slice()).map_err(|_| CredentialsError::Protobuf)?;
    let signer = signer_of(token_hash(token.job_id), &token.sig);
    if signer != Some(orchestrator) {
        return Err(CredentialsError::Signature { signer, orchestrator });
    }
    Ok(token.job_id)
}
