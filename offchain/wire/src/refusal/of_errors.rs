//! Codes of the errors that this crate and the ticket rules know. What depends on a node's own state is added by the node.
use streamflow_pm::{MAX_TICKETS, QuoteError, Shortfall, TicketError};

use super::{Code, Refusal};
use crate::{
    MAX_DURATION_MS, MAX_PROFILES, PaymentError, SegmentError, TranscodeError, WireError, capability::Incompatibility,
    header::MAX_LEN,
};

/// Texts by which transcoders say that nobody could transcode the segment (node.md §5.5), and those of our own.
const BAD_INPUT: [&str; 25] = [
    "TranscoderInvalidResolution",
    "TranscoderInvalidVideo",
    "TranscoderInvalidDuration",
    "TranscoderInvalidGOP",
    "TranscoderUnrecognizedFormat",
    "TranscoderUnrecognizedProfile",
    "TranscoderIncompatibleDevices",
    "Decoder not found",
    "Demuxer not found",
    "Encoder not found",
    "Muxer not found",
    "Option not found",
    "Invalid argument",
    "No keyframes in input",
    "segment is not an mpeg transport stream",
    "segment is cut after",
    "segment has no ",
    "segment of ",
    "segment is encrypted",
    "segment is not mp4",
    "frames encoded from ",
    "segment lasts ",
    "video codec ",
    "audio codec ",
    "video size ",
];

/// How our own transcoders tell that libav failed, and what it failed at where that is the segment's fault: its reason may be one
/// of the texts above, whatever it failed at.
const LIBAV: &str = "libav cannot ";
const OF_THE_SEGMENT: [&str; 11] = [
    "open the segment: ",
    "read a packet: ",
    "set up the decoder: ",
    "open the decoder: ",
    "decode a packet: ",
    "decode a frame: ",
    "flush the decoder: ",
    "scale a frame: ",
    "filter a frame: ",
    "set up sound: ",
    "encode sound: ",
];

/// Whether a transcoder's text says that the segment is at fault, and not who tried it.
pub fn is_bad_input(text: &str) -> bool {
    if let Some(failed) = text.strip_prefix(LIBAV) {
        return OF_THE_SEGMENT.iter().any(|step| failed.starts_with(step));
    }
    BAD_INPUT.iter().any(|known| text.contains(known))
}

impl WireError {
    /// Code and figures, as far as the request tells them.
    pub fn refusal(&self) -> Refusal {
        const BALANCE: &str = "the cost of the segment and the worth of one ticket";
        match self {
            Self::PaymentBase64(error) => Refusal::new(Code::PaymentHeaderUnreadable, error, "base64"),
            Self::PaymentProtobuf(error) => Refusal::new(Code::PaymentHeaderUnreadable, error, "a net.Payment message"),
            Self::PaymentTooLong(bytes) => {
                Refusal::new(Code::PaymentHeaderTooLong, format!("{bytes} bytes"), format!("{MAX_LEN} bytes"))
            }
            Self::SegmentEncoding => Refusal::new(
                Code::SegmentHeaderUnreadable,
                "no base64, or too much",
                format!("{MAX_LEN} bytes of base64"),
            ),
            Self::SegmentProtobuf(error) => Refusal::new(Code::SegmentHeaderUnreadable, error, "a net.SegData message"),
            Self::Segment(error) => error.refusal(),
            Self::SegmentSignature => {
                Refusal::new(Code::SegmentNotSignedBySender, "no signature of the sender", "the sender of the payment")
            }
            Self::IncompatibleCapabilities(why) => why.refusal(),
            Self::MissingAuthToken => Refusal::new(Code::AuthTokenMissing, "0 tokens", "1 token"),
            Self::InvalidAuthToken => {
                Refusal::new(Code::AuthTokenInvalid, "a token of another node", "a token of this node")
            }
            Self::ExpiredAuthToken { expiration, now } => Refusal::new(Code::AuthTokenExpired, expiration, now),
            Self::Capped => Refusal::new(Code::OrchestratorCapped, "all sessions", "all sessions"),
            Self::Payment(error) => error.refusal(),
            Self::Ticket(error) => of_ticket(error),
            Self::Inactive { orchestrator, round } => Refusal::new(
                Code::OrchestratorInactive,
                format!("{orchestrator} is not in the active set of round {round}"),
                "a place in the active set",
            ),
            Self::InsufficientBalance => Refusal::new(Code::InsufficientBalance, "less", BALANCE),
            Self::BadRequest => Refusal::new(Code::UrlUnusable, "no URL", "an http or https URL"),
            Self::WrongHash { got, signed } => Refusal::new(Code::SegmentHashMismatch, got, signed),
            Self::Internal => Refusal::new(Code::StoreFailed, "a failure of this node", "none"),
        }
    }
}

impl SegmentError {
    /// Code and figures.
    pub fn refusal(&self) -> Refusal {
        let feature = |what, got, max| {
            Refusal::new(Code::ProfileFeatureUnknown, format!("{what} {got}"), format!("{what} 0 to {max}"))
        };
        let field = |got: String, limit: String| Refusal::new(Code::SegmentFieldInvalid, got, limit);
        match self {
            Self::Format(got) => feature("format", *got, 1),
            Self::EncoderProfile(got) => feature("profile", *got, 4),
            Self::Codec(got) => feature("encoder", *got, 3),
            Self::Duration(ms) => {
                Refusal::new(Code::DurationOutOfRange, format!("{ms} ms"), format!("0 to {MAX_DURATION_MS} ms"))
            }
            Self::ManifestNotText => field("manifestId is not text".into(), "UTF-8".into()),
            Self::Manifest(error) => field(error.to_string(), "1 to 128 of a-z A-Z 0-9 . _ -".into()),
            Self::Sequence(seq) => field(format!("seq {seq}"), "seq 0 or more".into()),
            Self::HashLength(bytes) => field(format!("hash of {bytes} bytes"), "hash of 32 bytes".into()),
            Self::NoSegment => field("no segData".into(), "segData".into()),
            Self::NoProfiles => profile_count(0),
            Self::TooManyProfiles { got, .. } => profile_count(*got),
            Self::RepeatedProfile(name) => {
                Refusal::new(Code::ProfileNameRepeated, format!("{name:?} twice"), "once each")
            }
            Self::ProfileField(name) => Refusal::new(Code::ProfileUnusable, format!("negative {name}"), "0 or more"),
            Self::Profile(error) => Refusal::new(Code::ProfileUnusable, error, "a profile that can be encoded"),
        }
    }
}

fn profile_count(got: usize) -> Refusal {
    Refusal::new(Code::ProfileCountOutOfRange, format!("{got} profiles"), format!("1 to {MAX_PROFILES} profiles"))
}

impl Incompatibility {
    /// Code and figures.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Version { node, least } => Refusal::new(
                Code::VersionTooOld,
                if node.is_empty() { "no version" } else { node },
                format!("{least} or newer"),
            ),
            Self::Missing { missing, offered } => {
                Refusal::new(Code::CapabilityMissing, bits(missing), format!("offered: {}", bits(offered)))
            }
            Self::Mandatory { job, mandatory } => {
                Refusal::new(Code::MandatoryCapabilityMissing, bits(job), bits(mandatory))
            }
            Self::Model { capability, model, offered } => Refusal::new(
                Code::ModelNotOffered,
                format!("model {model:?} of bit {capability}"),
                format!("{offered} models of bit {capability}"),
            ),
            Self::Slice { from, to } => {
                Refusal::new(Code::SlicingNotOffered, format!("{from} to {to} ms"), "whole segments")
            }
            Self::Storage { kind, fault } => {
                Refusal::new(Code::StorageNotOffered, format!("store type {kind}: {fault}"), "0 (direct) or 1 (S3)")
            }
        }
    }
}

fn bits(numbers: &[u32]) -> String {
    let texts: Vec<_> = numbers.iter().map(u32::to_string).collect();
    if texts.is_empty() { "no bits".to_owned() } else { format!("bits {}", texts.join(" ")) }
}

impl PaymentError {
    /// Code and figures.
    pub fn refusal(&self) -> Refusal {
        let missing = |what: &str| Refusal::new(Code::PaymentIncomplete, format!("no {what}"), what);
        match self {
            Self::NoSender => missing("sender"),
            Self::NoExpirationParams => missing("expiration_params"),
            Self::NoTicketParams => missing("ticket_params"),
            Self::Missing(field) => missing(field),
            Self::TooManyTickets { got, max } => too_many_tickets(*got, *max),
            Self::Length { field, expected, got } => Refusal::new(
                Code::PaymentFieldInvalid,
                format!("{field} of {got} bytes"),
                format!("{field} of {expected} bytes"),
            ),
            Self::OutOfRange { field } => Refusal::new(
                Code::PaymentFieldInvalid,
                format!("{field} out of range"),
                format!("{field} within its type"),
            ),
            Self::SignatureLength => ticket_signature(),
            Self::Price(error) => Refusal::new(Code::PriceInvalid, error, PRICE),
            Self::NegativePrice => Refusal::new(Code::PriceInvalid, "a negative price", PRICE),
        }
    }
}

const PRICE: &str = "0 wei or more for 1 pixel or more";

fn too_many_tickets(got: usize, max: usize) -> Refusal {
    Refusal::new(Code::TooManyTickets, format!("{got} tickets"), format!("{max} tickets"))
}

fn ticket_signature() -> Refusal {
    Refusal::new(Code::TicketSignatureInvalid, "a signature of somebody else, or none", "a signature of the sender")
}

/// Code and figures of a refused ticket.
pub fn of_ticket(error: &TicketError) -> Refusal {
    let (terms, quote) = ("other terms than were quoted", "terms of a quote of this node to this sender");
    match error {
        TicketError::UnlockingSoon { sender } => unlocking(sender),
        TicketError::Recipient => {
            Refusal::new(Code::TicketRecipientWrong, "another recipient", "the recipient of the quote")
        }
        TicketError::Sender => Refusal::new(Code::PaymentIncomplete, "no sender", "sender"),
        TicketError::Deployment => {
            Refusal::new(Code::TicketDeploymentWrong, "another deployment", "the deployment of the quote")
        }
        TicketError::NotQuoted => Refusal::new(Code::TicketNotQuoted, terms, quote),
        TicketError::Signature => ticket_signature(),
        TicketError::NonceSeen { nonce } => {
            Refusal::new(Code::TicketNonceSeen, format!("number {nonce} again"), "each number once")
        }
        TicketError::TooManyNonces { nonce } => {
            Refusal::new(Code::TooManyNonces, format!("number {nonce}"), format!("{MAX_TICKETS} numbers for one quote"))
        }
        TicketError::ParamsExpired => {
            Refusal::new(Code::ParamsExpired, "params that are over", "params of a later block, made by this run")
        }
        TicketError::TooManyTickets { got, max } => too_many_tickets(*got, *max),
        TicketError::NoPrice => Refusal::new(Code::PriceInvalid, "no price", PRICE),
        TicketError::PriceBelowPinned { got, pinned } => Refusal::new(Code::PriceBelowPinned, got, pinned),
        TicketError::TooManySessions => {
            Refusal::new(Code::TooManyPaymentSessions, "one session more", "the sessions that can be remembered")
        }
        TicketError::LowPmBalance(shortfall) => low_balance(shortfall),
        TicketError::TooFast { got, left } => {
            Refusal::new(Code::TicketsTooFast, format!("{got} signatures"), format!("{left} signatures"))
        }
    }
}

/// Code and figures of terms that are not offered.
pub fn of_quote(error: &QuoteError) -> Refusal {
    match error {
        QuoteError::LowPmBalance(shortfall) => low_balance(shortfall),
        QuoteError::FaceValueCapped { needed, max } => {
            Refusal::new(Code::FaceValueCapped, format!("{needed} wei"), format!("{max} wei"))
        }
        QuoteError::UnlockingSoon { sender } => unlocking(sender),
        QuoteError::NoRound => Refusal::new(Code::RoundNotInitialized, "0 rounds", "1 round with a block hash"),
    }
}

fn unlocking(sender: &alloy_primitives::Address) -> Refusal {
    Refusal::new(Code::SenderUnlocking, format!("{sender} withdraws in the next round or sooner"), "2 rounds or more")
}

fn low_balance(shortfall: &Shortfall) -> Refusal {
    let Shortfall { float, needed, more_deposit, more_reserve, more_committed, .. } = shortfall;
    let mut advice = "`streamflow fund` adds to deposit and reserve; what would do is ".to_owned();
    if let Some(deposit) = more_deposit {
        advice.push_str(&format!("{deposit} wei more deposit, or "));
    }
    if let Some(reserve) = more_reserve {
        advice.push_str(&format!("{reserve} wei more reserve, or "));
    }
    advice.push_str(&format!("{more_committed} wei committed to this recipient"));
    Refusal::new(Code::LowPMBalance, format!("{float} wei"), format!("{needed} wei")).advising(advice)
}

impl TranscodeError {
    /// Code and figures, as far as the error tells them.
    pub fn refusal(&self) -> Refusal {
        let other = |code, got: &str, limit: &str| Refusal::new(code, got, limit);
        match self {
            Self::Busy => other(Code::OrchestratorBusy, "a full queue", "a place in the queue"),
            Self::Capped => other(Code::OrchestratorCapped, "all sessions", "all sessions"),
            Self::MismatchedSegments => {
                other(Code::RenditionCountWrong, "another number", "one rendition for each profile")
            }
            Self::ZeroSegments => other(Code::RenditionEmpty, "less than 25 bytes", "25 bytes"),
            Self::TranscoderUnavailable => other(Code::TranscoderLeft, "no answer any more", "an answer"),
            Self::NoTranscoders => other(Code::NoTranscoders, "0 with room", "1 with room"),
            Self::NoCapableTranscoder => other(Code::NoCapableTranscoder, "0 that can do it", "1 that can do it"),
            Self::TranscoderTimeout => other(Code::TranscoderTooSlow, "no answer in time", "the segment's deadline"),
            Self::TranscoderBusy => other(Code::TranscoderBusy, "no room", "room for one session"),
            Self::TranscoderStopped => other(Code::TranscoderStopped, "stopped", "running until the segment is done"),
            Self::MissingStorage => other(Code::RenditionTooLargeToKeep, "too many bytes", "the bytes that are kept"),
            Self::Other(text) if is_bad_input(text) => {
                other(Code::SegmentFormatDidntMatchJobInputParams, text, "MPEG-TS with decodable video")
            }
            Self::Other(text) => other(Code::TranscoderFailed, text, "renditions"),
        }
    }
}
