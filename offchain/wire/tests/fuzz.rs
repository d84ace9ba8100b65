//! Damaged messages, headers and receipts: whatever the decoders say of them, they say it by returning.
#![allow(clippy::unwrap_used)] // clippy sees only the test functions themselves as tests
use std::sync::OnceLock;

use alloy_primitives::{Address, B256, hex};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::{prelude::*, test_runner::FileFailurePersistence};
use prost::Message as _;
use streamflow_fuzz::{damaged, damaged_text};
use streamflow_pm::{KeySigner, ReceiptDomain, TRANSCODING_H264, WorkReceipt};
use streamflow_wire::{
    Code, Offer, Refusal, SegmentRequest, TranscodeError, TranscoderTask, capability, decode_receipt, encode_receipt,
    header,
    jobs::{
        self, JobSegment, issue_credentials,
        proto::{TranscoderInfo, TranscoderRequest},
        read_credentials, request_signer, sign_request,
    },
    max_float_from_proto, payment_from_proto, proto,
    refusal::scrub,
    stream::{DownFrame, FrameReader, StreamError, StreamFailure, StreamHead, StreamResult, UpFrame},
    verify_request, verify_segment, winner_from_proto,
};

/// Every message of the fixtures, as a second encoder made it (test/interop).
fn messages() -> &'static [Vec<u8>] {
    static MESSAGES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    MESSAGES.get_or_init(|| {
        let file = include_str!("../../../test/interop/fixtures/messages.json");
        let all: std::collections::BTreeMap<String, String> = serde_json::from_str(file).unwrap();
        all.values().map(|text| hex::decode(text).unwrap()).collect()
    })
}

fn headers() -> Vec<Vec<u8>> {
    let refusal = Refusal::new(Code::OrchestratorCapped, "1", "2").to_header();
    let messages = messages().iter().map(|message| STANDARD.encode(message).into_bytes());
    messages.chain([refusal.into_bytes()]).collect()
}

fn signer() -> KeySigner {
    KeySigner::from_bytes([1; 32]).unwrap()
}

fn receipt() -> Vec<u8> {
    let receipt = WorkReceipt {
        orchestrator: Address::repeat_byte(1),
        sender: Address::repeat_byte(2),
        service: TRANSCODING_H264,
        manifest: B256::repeat_byte(9),
        sequence: 7,
        source_hash: B256::repeat_byte(3),
        settings: B256::repeat_byte(4),
        software: B256::repeat_byte(8),
        result_hashes: vec![B256::repeat_byte(5), B256::repeat_byte(6)],
        round: 7,
        deterministic: true,
    };
    let domain = ReceiptDomain { chain_id: 1, contract: Address::ZERO };
    encode_receipt(&receipt.sign(&domain, &signer()).unwrap())
}

/// Both directions of `/segment/stream`, and an end of each kind.
fn streams() -> Vec<Vec<u8>> {
    let file = include_str!("../../../test/interop/fixtures/streams.json");
    let all: std::collections::BTreeMap<String, String> = serde_json::from_str(file).unwrap();
    let whole = ["upload", "unsigned trailer", "answer", "failure"];
    let mut inputs: Vec<_> = whole.iter().map(|name| hex::decode(&all[*name]).unwrap()).collect();
    let info = proto::OrchestratorInfo::decode(&messages()[0][..]).ok();
    let (result, refusal) = (StreamResult { receipt: receipt(), info: info.clone(), ..Default::default() }, None);
    inputs.push(DownFrame::Result(Box::new(result)).to_bytes().into());
    let failure = StreamFailure { text: "TranscoderBusy".into(), refusal, charged: 7, info };
    inputs.push(DownFrame::Failure(Box::new(failure)).to_bytes().into());
    inputs
}

/// Frames before the first that is none.
fn frames<F>(bytes: &[u8], cut: usize, next: impl Fn(&mut FrameReader) -> Result<Option<F>, StreamError>) -> Vec<F> {
    let (mut reader, mut read) = (FrameReader::default(), Vec::new());
    for part in bytes.chunks(cut) {
        reader.push(part);
        loop {
            match next(&mut reader) {
                Ok(Some(frame)) => read.push(frame),
                Ok(None) => break,
                Err(_) => return read,
            }
        }
    }
    read
}

/// Of the protocol of 2018.
fn jobs_2018() -> Vec<Vec<u8>> {
    let segment = JobSegment::signed("stream", 3, B256::repeat_byte(1), &signer()).unwrap();
    let credentials = issue_credentials(1234, &signer()).unwrap();
    let info = TranscoderInfo { transcoder: "https://o.example".into(), ..TranscoderInfo::default() };
    vec![
        sign_request(1234, 100, &signer()).unwrap().encode_to_vec(),
        info.encode_to_vec(),
        segment.to_header().into_bytes(),
        credentials.into_bytes(),
        vec![b'A'; jobs::MAX_HEADER_LEN + 1],
    ]
}

/// Beside the source: there is no `lib.rs` above it by which the usual place is found.
fn config() -> ProptestConfig {
    let kept = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { failure_persistence: Some(Box::new(kept)), ..streamflow_fuzz::config(512) }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn messages_of_peers(bytes in damaged(messages().to_vec())) {
        if let Ok(message) = proto::Payment::decode(&bytes[..]) {
            let _ = payment_from_proto(&message);
        }
        if let Ok(message) = proto::SegData::decode(&bytes[..]) {
            let _ = SegmentRequest::of_payment(message.clone());
            if let Ok(segment) = SegmentRequest::from_proto(message) {
                verify_segment(&segment, Address::ZERO);
                let again = SegmentRequest::from_proto(segment.to_proto());
                prop_assert_eq!(again, Ok(segment), "what was accepted is written as it was read");
            }
        }
        if let Ok(message) = proto::OrchestratorInfo::decode(&bytes[..]) {
            let _ = Offer::from_proto(message);
        }
        if let Ok(message) = proto::OrchestratorRequest::decode(&bytes[..]) {
            verify_request(&message);
        }
        if let Ok(message) = proto::NotifySegment::decode(&bytes[..]) {
            let _ = TranscoderTask::from_proto(message);
        }
        if let Ok(message) = proto::Ticket::decode(&bytes[..]) {
            let _ = winner_from_proto(&message);
        }
        if let Ok(message) = proto::MaxFloatUpdate::decode(&bytes[..]) {
            let _ = max_float_from_proto(&message);
        }
        if let Ok(message) = proto::TranscodeResult::decode(&bytes[..]) {
            let _ = message.refusal.as_ref().and_then(Refusal::from_proto).map(|refusal| refusal.to_string());
        }
        if let Ok(message) = proto::Capabilities::decode(&bytes[..]) {
            let _ = capability::check(&message, &capability::legacy()).map_err(|why| why.refusal());
            capability::is_compatible(&capability::legacy(), &message);
        }
        let _ = Refusal::from_bytes(&bytes);
    }

    #[test]
    fn headers_of_peers(bytes in damaged(headers())) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = header::decode_payment(&text);
        let _ = header::decode_segment(&text);
        let _ = header::decode_info(&text);
        let _ = Refusal::from_header(&text);
    }

    #[test]
    fn error_texts_of_peers(text in damaged_text(&[
        "PM Check Failed: invalid ticket", "OrchestratorCapped", "cannot reach https://10.0.0.1:8935/segment: refused",
        "open /var/lib/streamflow/db: no such file", "insufficient sender reserve ",
    ])) {
        let told = TranscodeError::from_text(&text).to_string();
        // What is taken out leaves one sign of three bytes.
        prop_assert!(scrub(&told).len() <= 3 * told.len());
    }

    #[test]
    fn receipts_of_orchestrators(bytes in damaged(vec![receipt()])) {
        if let Ok(receipt) = decode_receipt(&bytes) {
            prop_assert_eq!(decode_receipt(&encode_receipt(&receipt)), Ok(receipt));
        }
    }

    #[test]
    fn streams_of_peers(bytes in damaged(streams()), cut in 1..64_usize) {
        let head = StreamHead::new(&SegmentRequest::new("clip".parse().unwrap(), 0, B256::ZERO, Vec::new(), 1), "");
        let (up, down) = (frames(&bytes, cut, FrameReader::next_up), frames(&bytes, cut, FrameReader::next_down));
        let written: Vec<u8> = up.iter().flat_map(UpFrame::to_bytes).collect();
        prop_assert!(bytes.starts_with(&written), "what was accepted is written as it was read");
        for frame in &up {
            if let UpFrame::Trailer(trailer) = frame {
                trailer.is_signed_by(&head, Address::ZERO);
            }
        }
        let written: Vec<u8> = down.iter().flat_map(DownFrame::to_bytes).collect();
        prop_assert_eq!(frames(&written, cut, FrameReader::next_down), down);
    }

    #[test]
    fn messages_of_2018(bytes in damaged(jobs_2018())) {
        if let Ok(request) = TranscoderRequest::decode(&bytes[..]) {
            request_signer(&request);
        }
        let _ = TranscoderInfo::decode(&bytes[..]);
        let _ = read_credentials(&bytes, Address::repeat_byte(1));
        if let Ok(segment) = JobSegment::from_header(&bytes) {
            segment.signer("stream");
        }
    }
}
