//! Refusals with the statuses and texts that peers match on (node.md §2.3, §2.4, §3).
use alloy_primitives::{Address, B256};
use streamflow_pm::{QuoteError, TicketError};
use streamflow_types::{ManifestIdError, PriceError, ProfileError, Round};

use crate::capability::Incompatibility;

/// Why `POST /segment` or `POST /payment` is refused. The text is the response body.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Payment header is not base64.
    #[error("base64 decode error: {0}")]
    PaymentBase64(#[source] base64::DecodeError),
    /// Payment header is not a `Payment`.
    #[error("protobuf unmarshal error: {0}")]
    PaymentProtobuf(#[source] prost::DecodeError),
    /// Payment header is longer than any payment.
    #[error("payment header of {0} bytes is too long")]
    PaymentTooLong(usize),
    /// Segment header is not base64, or longer than any segment's.
    #[error("ErrorSegEncoding")]
    SegmentEncoding,
    /// Segment header is not a `SegData`.
    #[error("{0}")]
    SegmentProtobuf(#[source] prost::DecodeError),
    /// A field of the segment header is out of range.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// Not signed by the sender of the payment.
    #[error("ErrSegSig")]
    SegmentSignature,
    /// The job needs what this orchestrator lacks, or lacks what it insists on.
    #[error("incompatible capabilities")]
    IncompatibleCapabilities(Incompatibility),
    /// No auth token.
    #[error("missing auth token")]
    MissingAuthToken,
    /// Not a token of this process.
    #[error("invalid auth token")]
    InvalidAuthToken,
    /// A token whose time is over.
    #[error("expired auth token")]
    ExpiredAuthToken {
        /// Unix seconds.
        expiration: i64,
        /// Unix seconds.
        now: i64,
    },
    /// No room for another session.
    #[error("OrchestratorCapped")]
    Capped,
    /// A field of the payment is malformed.
    #[error(transparent)]
    Payment(#[from] PaymentError),
    /// The tickets are refused.
    #[error(transparent)]
    Ticket(#[from] TicketError),
    /// Winning tickets would not be paid in this round.
    #[error("orchestrator {orchestrator} is inactive in round {round}, cannot process payments")]
    Inactive {
        /// Ourselves.
        orchestrator: Address,
        /// Last initialised round.
        round: Round,
    },
    /// The session does not hold one ticket's worth.
    #[error("Insufficient balance")]
    InsufficientBalance,
    /// The body's URL could not be fetched.
    #[error("BadRequest")]
    BadRequest,
    /// The body does not have the signed hash.
    #[error("Forbidden")]
    WrongHash {
        /// Of the body.
        got: B256,
        /// In the header.
        signed: B256,
    },
    /// Our own failure, or a body above the limit. The cause is logged, not sent.
    #[error("Internal Server Error")]
    Internal,
}

impl WireError {
    /// HTTP status of the refusal.
    pub fn status(&self) -> u16 {
        match self {
            Self::PaymentBase64(_) | Self::PaymentProtobuf(_) | Self::PaymentTooLong(_) => 402,
            Self::SegmentEncoding
            | Self::SegmentProtobuf(_)
            | Self::Segment(_)
            | Self::SegmentSignature
            | Self::IncompatibleCapabilities(_)
            | Self::MissingAuthToken
            | Self::InvalidAuthToken
            | Self::ExpiredAuthToken { .. }
            | Self::Capped
            | Self::WrongHash { .. } => 403,
            Self::Payment(_)
            | Self::Ticket(_)
            | Self::Inactive { .. }
            | Self::InsufficientBalance
            | Self::BadRequest => 400,
            Self::Internal => 500,
        }
    }
}

/// What is wrong with a `SegData` or a profile in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Container unknown.
    #[error("unrecognized profile output format")]
    Format(i32),
    /// H.264 profile unknown.
    #[error("unrecognized encoder profile")]
    EncoderProfile(i32),
    /// Codec unknown.
    #[error("unrecognized video codec")]
    Codec(i32),
    /// Negative, or more than five minutes.
    #[error("invalid duration")]
    Duration(i32),
    /// Manifest id is not UTF-8.
    #[error("manifest id is not text")]
    ManifestNotText,
    /// Manifest id is not usable.
    #[error(transparent)]
    Manifest(#[from] ManifestIdError),
    /// Sequence number is negative.
    #[error("negative sequence number")]
    Sequence(i64),
    /// Hash is not 32 bytes.
    #[error("hash has {0} bytes, not 32")]
    HashLength(usize),
    /// No rendition asked for.
    #[error("no profiles")]
    NoProfiles,
    /// Too many renditions asked for.
    #[error("{got} profiles, more than {max}")]
    TooManyProfiles {
        /// As sent.
        got: usize,
        /// Allowed.
        max: usize,
    },
    /// Two renditions of one name would overwrite each other.
    #[error("profile name {0:?} is used twice")]
    RepeatedProfile(String),
    /// A number of a profile is negative or does not fit.
    #[error("profile field {0} is out of range")]
    ProfileField(&'static str),
    /// A profile cannot be encoded.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The task has no segment in it.
    #[error("notification without segment")]
    NoSegment,
}

/// What is wrong with a message that carries money.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaymentError {
    /// Tickets of nobody.
    #[error("Could not find Sender for payment: no sender address")]
    NoSender,
    /// Tickets that say nothing of their round.
    #[error("payment has ticket params but no expiration params")]
    NoExpirationParams,
    /// Signatures without the tickets' terms.
    #[error("payment has tickets but no ticket params")]
    NoTicketParams,
    /// More tickets than an orchestrator remembers.
    #[error("payment has {got} tickets, more than {max}")]
    TooManyTickets {
        /// As sent.
        got: usize,
        /// Allowed.
        max: usize,
    },
    /// A field of fixed length has another.
    #[error("{field} has {got} bytes, not {expected}")]
    Length {
        /// Name of the field.
        field: &'static str,
        /// Its length.
        expected: usize,
        /// As sent.
        got: usize,
    },
    /// A number does not fit its type.
    #[error("{field} is out of range")]
    OutOfRange {
        /// Name of the field.
        field: &'static str,
    },
    /// A signature of another length. The text is that of a wrong signature.
    #[error("invalid ticket signature")]
    SignatureLength,
    /// The price has no meaning.
    #[error("invalid expected price sent with payment err={0}")]
    Price(#[source] PriceError),
    /// The price is negative.
    #[error("invalid expected price sent with payment err=negative price")]
    NegativePrice,
    /// A message that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
}

/// Why `GetOrchestrator` fails. The text is the message of the gRPC status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// Not signed by its address.
    #[error("Invalid orchestrator request: orchestrator req sig check failed")]
    Signature,
    /// No room for another session.
    #[error("Invalid orchestrator request: OrchestratorCapped")]
    Capped,
    /// No terms for this sender.
    #[error(transparent)]
    Quote(#[from] QuoteError),
}

/// Why an orchestrator that took a segment delivers nothing (`TranscodeResult.error`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TranscodeError {
    /// The session's queue is full. Peers match on the text.
    #[error("OrchestratorBusy")]
    Busy,
    /// No room for another session. Peers match on the text.
    #[error("OrchestratorCapped")]
    Capped,
    /// Not as many renditions as profiles.
    #[error("MismatchedSegments")]
    MismatchedSegments,
    /// A rendition is empty.
    #[error("ZeroSegments")]
    ZeroSegments,
    /// The transcoder went away.
    #[error("ErrTranscoderUnavailable")]
    TranscoderUnavailable,
    /// All transcoders are full, or there are none.
    #[error("no transcoders available")]
    NoTranscoders,
    /// No transcoder can do this job.
    #[error("no transcoders can provide requested capabilities")]
    NoCapableTranscoder,
    /// The transcoder did not answer in time.
    #[error("Remote transcoder took too long")]
    TranscoderTimeout,
    /// The transcoder has no room.
    #[error("TranscoderBusy")]
    TranscoderBusy,
    /// The transcoder is stopping.
    #[error("TranscoderStopped")]
    TranscoderStopped,
    /// Nowhere to put the renditions.
    #[error("Missing local storage")]
    MissingStorage,
    /// Anything else, such as an error of the encoder; at most [`TranscodeError::MAX_TEXT`] bytes are kept.
    #[error("{0}")]
    Other(String),
}

impl TranscodeError {
    /// Longest text kept of an unknown error, in bytes.
    pub const MAX_TEXT: usize = 1024;

    /// Reads a peer's text.
    pub fn from_text(text: &str) -> Self {
        const KNOWN: [TranscodeError; 11] = [
            TranscodeError::Busy,
            TranscodeError::Capped,
            TranscodeError::MismatchedSegments,
            TranscodeError::ZeroSegments,
            TranscodeError::TranscoderUnavailable,
            TranscodeError::NoTranscoders,
            TranscodeError::NoCapableTranscoder,
            TranscodeError::TranscoderTimeout,
            TranscodeError::TranscoderBusy,
            TranscodeError::TranscoderStopped,
            TranscodeError::MissingStorage,
        ];
        let text = text.trim();
        let known = KNOWN.into_iter().find(|known| known.to_string() == text);
        known.unwrap_or_else(|| Self::Other(text[..text.floor_char_boundary(Self::MAX_TEXT)].to_owned()))
    }

    /// Whether another session with the same orchestrator makes no sense now.
    pub fn is_overload(&self) -> bool {
        matches!(self, Self::Busy | Self::Capped)
    }
}

/// Whether a refusal's text asks the sender to fetch new params and try again.
pub fn asks_for_new_params(text: &str) -> bool {
    text.trim() == TicketError::ParamsExpired.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_those_of_the_table() {
        let rows = [
            (WireError::SegmentEncoding, 403, "ErrorSegEncoding"),
            (SegmentError::Duration(-1).into(), 403, "invalid duration"),
            (SegmentError::Codec(9).into(), 403, "unrecognized video codec"),
            (SegmentError::EncoderProfile(9).into(), 403, "unrecognized encoder profile"),
            (SegmentError::Format(9).into(), 403, "unrecognized profile output format"),
            (WireError::SegmentSignature, 403, "ErrSegSig"),
            (
                WireError::IncompatibleCapabilities(Incompatibility::Slice { from: 1, to: 2 }),
                403,
                "incompatible capabilities",
            ),
            (WireError::MissingAuthToken, 403, "missing auth token"),
            (WireError::InvalidAuthToken, 403, "invalid auth token"),
            (WireError::ExpiredAuthToken { expiration: 1, now: 2 }, 403, "expired auth token"),
            (WireError::Capped, 403, "OrchestratorCapped"),
            (WireError::WrongHash { got: B256::ZERO, signed: B256::ZERO }, 403, "Forbidden"),
            (TicketError::ParamsExpired.into(), 400, "TicketParams expired"),
            (TicketError::Recipient.into(), 400, "invalid ticket recipient"),
            (WireError::InsufficientBalance, 400, "Insufficient balance"),
            (WireError::BadRequest, 400, "BadRequest"),
            (WireError::Internal, 500, "Internal Server Error"),
            (
                PaymentError::Price(PriceError::ZeroPixelsPerUnit).into(),
                400,
                "invalid expected price sent with payment err=pixels per unit is 0",
            ),
        ];
        for (error, status, text) in rows {
            assert_eq!((error.status(), error.to_string().as_str()), (status, text));
        }
    }

    #[test]
    fn known_texts_are_recognised() {
        assert_eq!(TranscodeError::from_text("OrchestratorBusy\n"), TranscodeError::Busy);
        assert_eq!(TranscodeError::from_text("Remote transcoder took too long"), TranscodeError::TranscoderTimeout);
        assert_eq!(TranscodeError::from_text("odd"), TranscodeError::Other("odd".to_owned()));
        assert!(asks_for_new_params("TicketParams expired\n"));
        assert!(!asks_for_new_params("Insufficient balance"));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let TranscodeError::Other(kept) = TranscodeError::from_text(&"é".repeat(1000)) else { unreachable!() };
        assert_eq!(kept.len(), 1024);
        let TranscodeError::Other(kept) = TranscodeError::from_text(&format!("x{}", "é".repeat(1000))) else {
            unreachable!()
        };
        assert_eq!(kept.len(), 1023);
    }
}
