//! The wire of 2018: vectors of every byte, and decoders that no input breaks.
#![allow(clippy::unwrap_used)] // clippy sees only the test functions themselves as tests
use alloy_primitives::{Address, B256, address, hex, keccak256};
use base64::{Engine, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use prost::Message;
use serde_json::Value;
use streamflow_pm::{KeySigner, TicketSigner};
use streamflow_wire::jobs::{
    CredentialsError, JobSegment, JobSegmentError, MAX_HEADER_LEN, issue_credentials,
    proto::{AuthToken, SegData, TranscoderInfo, TranscoderRequest},
    read_credentials, request_signer, sign_request,
};

const BROADCASTER: Address = address!("1a642f0E3c3aF545E7AcBD38b07251B3990914F1");

/// Messages and signatures that other programs made: Python's protobuf (`test/interop/jobs_2018.py check`) and Foundry's `cast
/// wallet sign`.
fn fixtures() -> Value {
    serde_json::from_str(include_str!("../../../test/interop/jobs_2018.json")).unwrap()
}

fn broadcaster() -> KeySigner {
    KeySigner::from_bytes([1; 32]).unwrap()
}

fn orchestrator() -> KeySigner {
    KeySigner::from_bytes([2; 32]).unwrap()
}

/// What is signed, by hand: the prefix of personal messages over the hash of `message`.
fn personal(message: &[u8], signer: &KeySigner) -> Vec<u8> {
    let prefixed = [b"\x19Ethereum Signed Message:\n32".as_slice(), keccak256(message).as_slice()].concat();
    signer.sign_hash(keccak256(prefixed)).unwrap().as_bytes().to_vec()
}

#[test]
fn a_request_signs_the_decimal_text_of_the_job() {
    let request = sign_request(1234, 0, &broadcaster()).unwrap();
    assert_eq!(request.sig, personal(b"1234", &broadcaster()));
    assert_eq!(request_signer(&request), Some(BROADCASTER));
    let other = TranscoderRequest { job_id: 1235, ..request.clone() };
    assert_ne!(request_signer(&other), Some(BROADCASTER));
    let unsigned = TranscoderRequest { sig: Vec::new(), ..request };
    assert_eq!(request_signer(&unsigned), None);
}

#[test]
fn messages_and_signatures_are_those_of_the_fixtures() {
    let known = fixtures();
    let text = |message: &str, field: &str| known[message][field].as_str().unwrap().to_owned();
    let job = known["job"].as_i64().unwrap();
    let request = sign_request(job, known["current_block"].as_i64().unwrap(), &broadcaster()).unwrap();
    assert_eq!(hex::encode(&request.sig), text("request", "sig"));
    assert_eq!(hex::encode(request.encode_to_vec()), text("request", "bytes"));
    let without_block = TranscoderRequest { current_block: 0, ..request };
    assert_eq!(hex::encode(without_block.encode_to_vec()), text("request", "bytes_of_2018"));

    assert_eq!(issue_credentials(job, &orchestrator()).unwrap(), text("token", "header"));
    assert_eq!(read_credentials(text("token", "header").as_bytes(), orchestrator().address()), Ok(job));

    let (stream, seq) = (known["stream_id"].as_str().unwrap(), known["seq"].as_u64().unwrap());
    let hash = keccak256(known["body"].as_str().unwrap());
    let segment = JobSegment::signed(stream, seq, hash, &broadcaster()).unwrap();
    assert_eq!(hex::encode(&segment.sig), text("segment", "sig"));
    assert_eq!(segment.to_header(), text("segment", "header"));
    let read = JobSegment::from_header(text("segment", "header").as_bytes()).unwrap();
    assert_eq!((read.signer(stream), read), (Some(BROADCASTER), segment));

    let info = TranscoderInfo {
        transcoder: text("info", "transcoder"),
        auth_type: text("info", "auth_type"),
        credentials: text("info", "credentials"),
        stream_ids: serde_json::from_value(known["info"]["stream_ids"].clone()).unwrap(),
    };
    assert_eq!(hex::encode(info.encode_to_vec()), text("info", "bytes"));
    assert!(!format!("{info:?}").contains(&info.credentials), "credentials must not be printed");
}

#[test]
fn credentials_sign_what_remains_of_the_token() {
    let text = issue_credentials(1234, &orchestrator()).unwrap();
    let token = AuthToken::decode(STANDARD.decode(&text).unwrap().as_slice()).unwrap();
    // Field 16, a number, in two bytes; then 1234.
    assert_eq!(token.sig, personal(&hex!("8001d209"), &orchestrator()));
    assert_eq!(hex::encode(token.encode_to_vec()), format!("0a41{}8001d209", hex::encode(&token.sig)));
    assert_eq!(read_credentials(text.as_bytes(), orchestrator().address()), Ok(1234));
}

#[test]
fn credentials_of_another_are_refused_with_both_accounts() {
    let text = issue_credentials(1234, &broadcaster()).unwrap();
    let refused = read_credentials(text.as_bytes(), orchestrator().address()).unwrap_err();
    let told = refused.to_string();
    assert!(told.contains(&BROADCASTER.to_string()) && told.contains(&orchestrator().address().to_string()), "{told}");
    let unsigned = STANDARD.encode(AuthToken { sig: Vec::new(), job_id: 1234 }.encode_to_vec());
    let refused = read_credentials(unsigned.as_bytes(), orchestrator().address()).unwrap_err();
    assert!(matches!(refused, CredentialsError::Signature { signer: None, .. }), "{refused}");
    // A token of one job is none of another.
    let sig = AuthToken::decode(STANDARD.decode(&text).unwrap().as_slice()).unwrap().sig;
    let moved = STANDARD.encode(AuthToken { sig, job_id: 1235 }.encode_to_vec());
    assert!(matches!(read_credentials(moved.as_bytes(), BROADCASTER), Err(CredentialsError::Signature { .. })));
}

#[test]
fn a_request_of_an_orchestrator_makes_no_credentials() {
    let request = sign_request(1234, 0, &orchestrator()).unwrap();
    let forged = STANDARD.encode(AuthToken { sig: request.sig, job_id: 1234 }.encode_to_vec());
    let read = read_credentials(forged.as_bytes(), orchestrator().address());
    assert!(matches!(read, Err(CredentialsError::Signature { .. })));
}

#[test]
fn a_segment_signs_stream_number_and_hash() {
    let hash = keccak256("body");
    let segment = JobSegment::signed("stream-1", 7, hash, &broadcaster()).unwrap();
    let mut message = b"stream-1".to_vec();
    message.extend([0; 31]);
    message.push(7);
    message.extend(hash);
    assert_eq!(segment.sig, personal(&message, &broadcaster()));
    assert_eq!(segment.signer("stream-1"), Some(BROADCASTER));
    assert_ne!(segment.signer("stream-2"), Some(BROADCASTER));
    assert_ne!(JobSegment { seq: 8, ..segment.clone() }.signer("stream-1"), Some(BROADCASTER));
    assert_ne!(JobSegment { hash: B256::ZERO, ..segment.clone() }.signer("stream-1"), Some(BROADCASTER));
    let bytes = STANDARD.decode(segment.to_header()).unwrap();
    let expected = format!("08071220{}1a41{}", hex::encode(hash), hex::encode(&segment.sig));
    assert_eq!(hex::encode(bytes), expected);
}

#[test]
fn broken_headers_are_refused_by_name() {
    let segment = |data: &SegData| JobSegment::from_header(STANDARD.encode(data.encode_to_vec()).as_bytes());
    let whole = SegData { seq: 0, hash: vec![1; 32], sig: Vec::new() };
    assert!(segment(&whole).is_ok());
    assert_eq!(segment(&SegData { seq: -1, ..whole.clone() }), Err(JobSegmentError::Sequence(-1)));
    assert_eq!(segment(&SegData { hash: vec![1; 31], ..whole }), Err(JobSegmentError::HashLength(31)));
    assert_eq!(JobSegment::from_header(b"***"), Err(JobSegmentError::Base64));
    let noise = STANDARD.encode([0xff; 9]);
    assert_eq!(JobSegment::from_header(noise.as_bytes()), Err(JobSegmentError::Protobuf));
    assert_eq!(read_credentials(noise.as_bytes(), BROADCASTER), Err(CredentialsError::Protobuf));
    assert_eq!(read_credentials(&[0xff; 9], BROADCASTER), Err(CredentialsError::Base64));
    let long = vec![b'A'; MAX_HEADER_LEN + 1];
    let (got, max) = (long.len(), MAX_HEADER_LEN);
    assert_eq!(read_credentials(&long, BROADCASTER), Err(CredentialsError::TooLong { got, max }));
    assert_eq!(JobSegment::from_header(&long), Err(JobSegmentError::TooLong { got, max }));
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(job_id in 1..=i64::MAX, seq in 0..=i64::MAX as u64, hash: [u8; 32], id in "\\PC{1,64}") {
        let credentials = issue_credentials(job_id, &orchestrator()).unwrap();
        prop_assert_eq!(read_credentials(credentials.as_bytes(), orchestrator().address()), Ok(job_id));
        let segment = JobSegment::signed(&id, seq, hash.into(), &broadcaster()).unwrap();
        let read = JobSegment::from_header(segment.to_header().as_bytes()).unwrap();
        prop_assert_eq!(&read, &segment);
        prop_assert_eq!(read.signer(&id), Some(BROADCASTER));
    }

    #[test]
    fn no_header_breaks_a_decoder(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let encoded = STANDARD.encode(&bytes);
        for text in [bytes.as_slice(), encoded.as_bytes()] {
            prop_assert!(read_credentials(text, BROADCASTER).is_err());
            if let Ok(segment) = JobSegment::from_header(text) {
                segment.signer("stream");
            }
        }
        if let Ok(request) = TranscoderRequest::decode(bytes.as_slice()) {
            request_signer(&request);
        }
    }
}
