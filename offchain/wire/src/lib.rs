//! Livepeer wire formats: protobuf, headers and the exact bytes that are signed.
//!
//! [`proto`] is what travels. Everything that comes from a peer goes through a checked conversion before it is used:
//! [`SegmentRequest`], [`Offer`], [`TranscoderTask`], [`payment_from_proto`]. Refusals carry the texts that peers match on,
//! and beside them a [`Code`].

pub mod capability;
mod error;
pub mod header;
pub mod jobs;
mod number;
mod offer;
mod payment;
mod profile;
pub mod proto;
mod receipt;
pub mod refusal;
mod segment;
mod sign;
pub mod stream;
pub mod streamflow;
mod task;
mod tls;
mod token;

pub use error::{DiscoveryError, PaymentError, SegmentError, TranscodeError, WireError, asks_for_new_params};
pub use offer::Offer;
pub use payment::{
    max_float_from_proto, max_float_to_proto, params_from_proto, params_to_proto, payment_from_proto, payment_to_proto,
    price_from_proto, price_to_proto, winner_from_proto, winner_to_proto,
};
pub use profile::{MAX_PROFILES, profile_from_proto, profile_to_proto};
pub use receipt::{ReceiptFormatError, decode_receipt, encode_receipt, settings_id, software_id};
pub use refusal::{Code, Refusal};
pub use segment::{MAX_DURATION_MS, SegmentRequest, flatten};
pub use sign::{
    is_signed_by, request_hash, result_hash, result_hash_of, sign_ping, sign_request, sign_result, sign_segment,
    verify_ping, verify_request, verify_segment,
};
pub use task::TranscoderTask;
pub use tls::AnyCertificate;
pub use token::{AuthTokens, TOKEN_LIFE_SECS, TOKEN_RENEWAL_SECS, needs_renewal};
