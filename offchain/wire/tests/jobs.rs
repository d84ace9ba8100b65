//! The wire of 2018: vectors of every byte, and decoders that no input breaks.
#![allow(clippy::unwrap_used)] // clippy sees only the test functions themselves as tests
use alloy_primitives::{Address, B256, address, hex, keccak256};
use base64::{Engine, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use prost::Message;
use streamflow_pm::{KeySigner, TicketSigner};
use streamflow_wire::jobs::{
    CredentialsError, JobSegment, JobSegmentError, MAX_HEADER_LEN, issue_credentials,
    proto::{AuthToken, SegData, TranscoderInfo, TranscoderRequest},
    read_credentials, request_signer, sign_request,
};

const BROADCASTER: Address = address!("1a642f0E3c3aF545E7AcBD38b07251B3990914F1");
/// Signed by `cast wallet sign` with the key 0x0101…01, over keccak256("1234").
const REQUEST_SIG: &str = "df32704c24c028341ab29c191a3ba74627ee747d14aace2cd92e502de4eefd9a5f96b9ad3118a4cf335d33c46e86b320d9c90285567a331ae610512cdabe02a31c";

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
    assert_eq!(hex::encode(&request.sig), REQUEST_SIG);
    assert_eq!(request_signer(&request), Some(BROADCASTER));
    let other = TranscoderRequest { job_id: 1235, ..request.clone() };
    assert_ne!(request_signer(&other), Some(BROADCASTER));
    let unsigned = TranscoderRequest { sig: Vec::new(), ..request };
    assert_eq!(request_signer(&unsigned), None);
}

#[test]
fn a_request_has_the_bytes_of_2018_and_one_field_that_older_nodes_skip() {
    let request = sign_request(1234, 0, &broadcaster()).unwrap();
    assert_eq!(hex::encode(request.encode_to_vec()), format!("08d2091241{REQUEST_SIG}"));
    let with_block = TranscoderRequest { current_block: 300, ..request };
    // Field 1000, a number: 1000 << 3 = 8000.
    assert_eq!(hex::encode(with_block.encode_to_vec()), format!("08d2091241{REQUEST_SIG}c03eac02"));
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
fn the_answer_has_the_bytes_of_2018() {
    let info = TranscoderInfo {
        transcoder: "https://o".into(),
        auth_type: "Livepeer-Eth-1".into(),
        credentials: "eA==".into(),
        stream_ids: [("s/p".to_owned(), "p".to_owned())].into(),
    };
    let expected = concat!(
        "0a09",
        "68747470733a2f2f6f", // https://o
        "120e",
        "4c697665706565722d4574682d31", // Livepeer-Eth-1
        "1a04",
        "65413d3d", // eA==
        "820108",
        "0a03732f70",
        "120170", // field 16: s/p, p
    );
    assert_eq!(hex::encode(info.encode_to_vec()), expected);
    assert!(!format!("{info:?}").contains("eA=="), "credentials must not be printed");
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
