//! Names and contents of HTTP headers (node.md §2.4, §3).
use base64::{Engine, engine::general_purpose::STANDARD};
use prost::Message;

use crate::{WireError, proto};

/// Carries a [`proto::Payment`].
pub const PAYMENT: &str = "Livepeer-Payment";
/// Carries a [`proto::SegData`].
pub const SEGMENT: &str = "Livepeer-Segment";
/// Carries a [`proto::OrchestratorInfo`] on a refused payment, so that the next one need not ask for terms. An addition of
/// ours: the body of a refusal is text that peers match on.
pub const ORCHESTRATOR_INFO: &str = "Streamflow-Orchestrator-Info";
/// The secret shared by orchestrator and transcoder.
pub const CREDENTIALS: &str = "Credentials";
/// Value of `Authorization` on the transcoder's results.
pub const TRANSCODER_AUTHORIZATION: &str = "Livepeer-Transcoder-1.0";
/// Number of the task that results belong to.
pub const TASK_ID: &str = "TaskId";
/// Pixels: of the whole request those decoded, of a part those encoded.
pub const PIXELS: &str = "Pixels";
/// Content type of a transcoder's error report.
pub const TRANSCODING_ERROR: &str = "livepeer/transcoding-error";
/// How a transcoder names its registration: from the answer to it, on results and on word of itself. An addition of ours:
/// without it a result counts by its task's number alone.
pub const MEMBER: &str = "Streamflow-Member";
/// How often a transcoder is to tell how it is, milliseconds; in the answer to its registration. An addition of ours.
pub const HEARTBEAT_MS: &str = "Streamflow-Heartbeat-Ms";
/// How a transcoder is: [`STATE_ALIVE`] or [`STATE_LEAVING`].
pub const STATE: &str = "Streamflow-State";
/// It works.
pub const STATE_ALIVE: &str = "alive";
/// It finishes what it has and takes no more.
pub const STATE_LEAVING: &str = "leaving";
/// Content type of a segment's bytes, whatever its container.
pub const SEGMENT_BYTES: &str = "video/MP2T";
/// Content type of a body that is a URL.
pub const SEGMENT_URI: &str = "application/vnd+livepeer.uri";

/// Longest header read. 600 tickets take about 60 KiB.
pub const MAX_LEN: usize = 128 * 1024;

/// Text of a payment header.
pub fn encode_payment(payment: &proto::Payment) -> String {
    STANDARD.encode(payment.encode_to_vec())
}

/// Reads a payment header. A missing one is read as empty, and an empty one is an empty payment.
pub fn decode_payment(header: &str) -> Result<proto::Payment, WireError> {
    if header.len() > MAX_LEN {
        return Err(WireError::PaymentTooLong(header.len()));
    }
    let bytes = STANDARD.decode(header).map_err(WireError::PaymentBase64)?;
    proto::Payment::decode(bytes.as_slice()).map_err(WireError::PaymentProtobuf)
}

/// Text of a segment header.
pub fn encode_segment(segment: &proto::SegData) -> String {
    STANDARD.encode(segment.encode_to_vec())
}

/// Reads a segment header.
pub fn decode_segment(header: &str) -> Result<proto::SegData, WireError> {
    if header.len() > MAX_LEN {
        return Err(WireError::SegmentEncoding);
    }
    let bytes = STANDARD.decode(header).map_err(|_| WireError::SegmentEncoding)?;
    proto::SegData::decode(bytes.as_slice()).map_err(WireError::SegmentProtobuf)
}

/// Text of the terms on a refusal.
pub fn encode_info(info: &proto::OrchestratorInfo) -> String {
    STANDARD.encode(info.encode_to_vec())
}

/// Reads the terms on a refusal; none if they cannot be read, as peers send none at all.
pub fn decode_info(header: &str) -> Option<proto::OrchestratorInfo> {
    let bytes = STANDARD.decode(header).ok().filter(|_| header.len() <= MAX_LEN)?;
    proto::OrchestratorInfo::decode(bytes.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_header_is_an_empty_payment() {
        assert_eq!(decode_payment("").unwrap(), proto::Payment::default());
    }

    #[test]
    fn a_broken_payment_header_is_refused_with_402() {
        let not_base64 = decode_payment("***").unwrap_err();
        assert!(not_base64.to_string().starts_with("base64 decode error: "));
        let not_protobuf = decode_payment(&STANDARD.encode([0xff; 9])).unwrap_err();
        assert!(not_protobuf.to_string().starts_with("protobuf unmarshal error: "));
        let long = decode_payment(&"A".repeat(MAX_LEN + 1)).unwrap_err();
        assert_eq!([not_base64.status(), not_protobuf.status(), long.status()], [402; 3]);
    }

    #[test]
    fn terms_on_a_refusal_are_read_or_passed_over() {
        let info = proto::OrchestratorInfo { transcoder: "https://o.example".into(), ..Default::default() };
        assert_eq!(decode_info(&encode_info(&info)), Some(info));
        assert_eq!(decode_info("***"), None);
        assert_eq!(decode_info(&STANDARD.encode([0xff; 9])), None);
    }

    #[test]
    fn a_broken_segment_header_is_refused_with_403() {
        let not_base64 = decode_segment("***").unwrap_err();
        assert_eq!(not_base64.to_string(), "ErrorSegEncoding");
        let not_protobuf = decode_segment(&STANDARD.encode([0xff; 9])).unwrap_err();
        let long = decode_segment(&"A".repeat(MAX_LEN + 1)).unwrap_err();
        assert_eq!([not_base64.status(), not_protobuf.status(), long.status()], [403; 3]);
    }
}
