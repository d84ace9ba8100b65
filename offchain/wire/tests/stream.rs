//! Streams: what is signed and what travels (docs/designs/038-streaming-wire.md), held to a second encoder
//! (`test/interop/streams.py`), and whatever is cut or damaged on the way.
#![allow(clippy::unwrap_used)] // clippy sees only the test functions themselves as tests
use std::{collections::BTreeMap, path::PathBuf, process::Command};

use alloy_primitives::{Address, B256, hex, keccak256};
use bytes::Bytes;
use proptest::prelude::*;
use streamflow_pm::{KeySigner, TicketSigner as _};
use streamflow_types::{ManifestId, Profile, Signature65};
use streamflow_wire::{
    Code, MAX_PROFILES, Offer, Refusal, SegmentRequest, is_signed_by, proto, sign_segment,
    stream::{
        DownFrame, FrameReader, MAX_MEDIA, StreamError, StreamFailure, StreamHead, StreamResult, StreamTrailer,
        StreamedRendition, UpFrame, sign_stream_head, sign_stream_result, verify_stream_head,
    },
    verify_segment,
};

const MEDIA: &[u8] = b"a segment of video";
const PAYMENT: &str = "CgEB";

fn interop(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../test/interop").join(path)
}

fn fixtures() -> BTreeMap<String, String> {
    serde_json::from_str(&std::fs::read_to_string(interop("fixtures/streams.json")).unwrap()).unwrap()
}

fn sender() -> KeySigner {
    KeySigner::from_bytes([1; 32]).unwrap()
}

fn orchestrator() -> KeySigner {
    KeySigner::from_bytes([2; 32]).unwrap()
}

fn request() -> SegmentRequest {
    let profiles = [("240p", 426, 240, 600_000), ("180p", 320, 180, 300_000)];
    let profiles = profiles.map(|(name, width, height, bitrate)| Profile::new(name, width, height, bitrate).unwrap());
    let token = proto::AuthToken { token: vec![1; 32], session_id: "deadbeef".into(), expiration: 1_700_000_000 };
    SegmentRequest {
        auth_token: Some(token),
        ..SegmentRequest::new(ManifestId::new("movie").unwrap(), 1234, B256::ZERO, profiles.into(), 2000)
    }
}

fn renditions() -> Vec<StreamedRendition> {
    let rendition = |(bytes, pixels): (&[u8], u64)| StreamedRendition {
        hash: keccak256(bytes),
        length: bytes.len() as u64,
        pixels,
    };
    [(b"rend0".as_slice(), 511_200), (b"rend1", 230_400)].map(rendition).into()
}

fn read_up(bytes: &[u8]) -> Result<Vec<UpFrame>, StreamError> {
    let mut reader = FrameReader::default();
    reader.push(bytes);
    std::iter::from_fn(|| reader.next_up().transpose()).collect()
}

fn read_down(bytes: &[u8]) -> Result<Vec<DownFrame>, StreamError> {
    let mut reader = FrameReader::default();
    reader.push(bytes);
    std::iter::from_fn(|| reader.next_down().transpose()).collect()
}

#[test]
fn the_second_encoder_signs_and_writes_the_same() {
    let fixtures = fixtures();
    let same = |name: &str, made: &[u8]| assert_eq!(hex::encode(made), fixtures[name], "{name}");
    let mut request = request();
    let head = sign_stream_head(&mut request, PAYMENT, &sender()).unwrap();
    same("head", head.hash().as_slice());
    same("head signature", &request.sig);
    let trailer = StreamTrailer::new(&head, 18, keccak256(MEDIA), Some(&sender())).unwrap();
    same("trailer", trailer.digest(&head).as_slice());
    same("trailer signature", trailer.signature.unwrap().as_bytes());
    let signature = sign_stream_result(&head, &trailer, &renditions(), &orchestrator()).unwrap();
    let result = StreamResult { renditions: renditions(), signature: Some(signature), ..Default::default() };
    same("result", result.digest(&head, &trailer).as_slice());
    same("result signature", signature.as_bytes());
    let media = UpFrame::Media(MEDIA.into());
    same("upload", &[media.to_bytes(), UpFrame::Trailer(trailer).to_bytes()].concat());
    let unsigned = StreamTrailer::new(&head, 18, keccak256(MEDIA), None).unwrap();
    same("unsigned trailer", &UpFrame::Trailer(unsigned).to_bytes());
    let pieces =
        [(0, "rend0"), (1, "rend1")].map(|(rendition, bytes)| DownFrame::Piece { rendition, bytes: bytes.into() });
    let answer: Vec<u8> = pieces.iter().flat_map(DownFrame::to_bytes).collect();
    same("answer", &[answer, DownFrame::Result(Box::new(result)).to_bytes().into()].concat());
    let failure = read_down(&hex::decode(&fixtures["failure"]).unwrap()).unwrap();
    let [DownFrame::Failure(failure)] = failure.as_slice() else { panic!("{failure:?}") };
    let refusal = failure.refusal.as_ref().unwrap();
    assert_eq!((refusal.code, refusal.got.as_str()), (Code::StreamTrailerWrong, "18 bytes"));
    assert_eq!((failure.text.as_str(), failure.charged), ("the trailer is not of what came", 741_600));
}

#[test]
fn the_second_encoder_agrees_with_the_fixtures() {
    let mut run = Command::new("/usr/bin/python3");
    let run = run.arg(interop("streams.py")).arg("--check").env("PYTHONDONTWRITEBYTECODE", "1").output();
    let run = run.expect("python3 is missing: script/setup installs it");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
fn a_head_is_signed_with_everything_that_it_asks_for_and_pays() {
    let mut signed = request();
    sign_stream_head(&mut signed, PAYMENT, &sender()).unwrap();
    assert!(verify_stream_head(&signed, PAYMENT, sender().address()));
    assert!(!verify_stream_head(&signed, "CgEC", sender().address()), "another payment");
    assert!(!verify_stream_head(&signed, PAYMENT, orchestrator().address()));
    let changes: [fn(&mut SegmentRequest); 8] = [
        |s| s.manifest_id = ManifestId::new("moviE").unwrap(),
        |s| s.seq += 1,
        |s| s.duration_ms += 1,
        |s| s.profiles[0].width = 428,
        |s| s.profiles[1].bitrate += 1,
        |s| s.profiles.reverse(),
        |s| s.auth_token.as_mut().unwrap().session_id.push('x'),
        |s| s.sig.clear(),
    ];
    for change in changes {
        let mut changed = signed.clone();
        change(&mut changed);
        assert!(!verify_stream_head(&changed, PAYMENT, sender().address()));
    }
}

#[test]
fn a_signature_for_a_stream_is_none_for_a_whole_segment_and_the_other_way_round() {
    let mut streamed = request();
    sign_stream_head(&mut streamed, PAYMENT, &sender()).unwrap();
    assert!(!verify_segment(&streamed, sender().address()));
    let mut whole = request();
    sign_segment(&mut whole, &sender()).unwrap();
    assert!(!verify_stream_head(&whole, PAYMENT, sender().address()));
}

#[test]
fn trailer_and_result_belong_to_their_head() {
    let (one, other) = (StreamHead::new(&request(), PAYMENT), StreamHead::new(&request(), ""));
    let trailer = StreamTrailer::new(&one, 18, keccak256(MEDIA), Some(&sender())).unwrap();
    assert!(trailer.is_signed_by(&one, sender().address()));
    assert!(!trailer.is_signed_by(&other, sender().address()));
    assert!(!StreamTrailer { length: 19, ..trailer }.is_signed_by(&one, sender().address()));
    assert!(!StreamTrailer { hash: keccak256("x"), ..trailer }.is_signed_by(&one, sender().address()));
    assert!(!StreamTrailer { signature: None, ..trailer }.is_signed_by(&one, sender().address()));
    let signature = sign_stream_result(&one, &trailer, &renditions(), &orchestrator()).unwrap();
    let result = StreamResult { renditions: renditions(), signature: Some(signature), ..Default::default() };
    let is_its = |result: &StreamResult, head: &StreamHead, trailer: &StreamTrailer| {
        is_signed_by(result.digest(head, trailer), signature.as_bytes(), orchestrator().address())
    };
    assert!(is_its(&result, &one, &trailer));
    assert!(!is_its(&result, &other, &trailer));
    assert!(!is_its(&result, &one, &StreamTrailer { hash: keccak256("x"), ..trailer }));
    for change in [
        |r: &mut StreamResult| r.renditions[0].pixels += 1,
        |r: &mut StreamResult| r.renditions[1].length += 1,
        |r: &mut StreamResult| r.renditions[1].hash = B256::ZERO,
        |r: &mut StreamResult| r.renditions.reverse(),
        |r: &mut StreamResult| r.renditions.truncate(1),
    ] {
        let mut changed = result.clone();
        change(&mut changed);
        assert!(!is_its(&changed, &one, &trailer));
    }
}

#[test]
fn lengths_are_judged_before_their_bytes_come() {
    let head = |kind: u8, length: u32| [&[kind][..], &length.to_be_bytes()].concat();
    let most = u32::try_from(MAX_MEDIA).unwrap();
    assert_eq!(read_up(&head(1, most)), Ok(Vec::new()), "it may still come");
    let length = |kind, got, least, most| Err(StreamError::Length { kind, got, least, most });
    assert_eq!(read_up(&head(1, most + 1)), length(1, MAX_MEDIA + 1, 1, MAX_MEDIA));
    assert_eq!(read_up(&head(1, 0)), length(1, 0, 1, MAX_MEDIA), "an empty frame moves nothing");
    assert_eq!(read_up(&head(2, 39)), length(2, 39, 40, 105));
    assert_eq!(read_up(&head(2, u32::MAX)), length(2, u32::MAX as usize, 40, 105));
    assert_eq!(read_up(&head(9, 0)), Err(StreamError::Kind(9)));
    assert_eq!(
        read_down(&head(16, most + 2)),
        length(16, MAX_MEDIA + 2, 2, MAX_MEDIA + 1).map(|_: Vec<UpFrame>| vec![])
    );
    // Each side reads its own frames alone.
    assert_eq!(read_up(&[&head(16, 2)[..], b"\0x"].concat()), Err(StreamError::Kind(16)));
    assert_eq!(read_down(&[&head(1, 1)[..], b"x"].concat()), Err(StreamError::Kind(1)));
    let signature = [&head(2, 41)[..], &[0; 41]].concat();
    assert_eq!(read_up(&signature), Err(StreamError::Field { field: "signature", got: 1, length: 65 }));
    let rendition = [&head(16, 2)[..], &[32, 0]].concat();
    assert_eq!(read_down(&rendition), Err(StreamError::Renditions { got: 33, max: MAX_PROFILES }));
}

#[test]
fn media_is_cut_into_frames_that_are_taken() {
    let all = Bytes::from(vec![7; 2 * MAX_MEDIA + 1]);
    let lengths = |frames: Vec<usize>| assert_eq!(frames, [MAX_MEDIA, MAX_MEDIA, 1]);
    let up: Vec<u8> = UpFrame::media(all.clone()).flat_map(|frame| frame.to_bytes()).collect();
    lengths(
        read_up(&up).unwrap().iter().map(|frame| if let UpFrame::Media(m) = frame { m.len() } else { 0 }).collect(),
    );
    let down: Vec<u8> = DownFrame::pieces(31, all).flat_map(|frame| frame.to_bytes()).collect();
    let of = |frame: &DownFrame| if let DownFrame::Piece { rendition: 31, bytes } = frame { bytes.len() } else { 0 };
    lengths(read_down(&down).unwrap().iter().map(of).collect());
    assert_eq!(UpFrame::media(Bytes::new()).count(), 0);
}

/// A node of the deployed network reads its own fields, and one of ours takes silence for none.
#[test]
fn who_speaks_streams_says_so_in_its_terms_and_deployed_peers_say_nothing() {
    let offer = Offer::from_proto(proto::OrchestratorInfo::default()).unwrap();
    assert!(!offer.speaks_streams());
    let newer = Offer::from_proto(proto::OrchestratorInfo { stream_version: 2, ..Default::default() }).unwrap();
    assert!(newer.speaks_streams(), "newer nodes speak older versions too");
}

prop_compose! {
    fn signatures()(bytes in prop::option::of(prop::collection::vec(any::<u8>(), 65))) -> Option<Signature65> {
        bytes.map(|bytes| Signature65::try_from(bytes.as_slice()).unwrap())
    }
}

fn up_frames() -> impl Strategy<Value = UpFrame> {
    let media = prop::collection::vec(any::<u8>(), 1..600).prop_map(|bytes| UpFrame::Media(bytes.into()));
    let trailer = (any::<u64>(), any::<[u8; 32]>(), signatures()).prop_map(|(length, hash, signature)| {
        UpFrame::Trailer(StreamTrailer { length, hash: B256::new(hash), signature })
    });
    prop_oneof![media, trailer]
}

fn infos() -> impl Strategy<Value = Option<proto::OrchestratorInfo>> {
    let info =
        |(transcoder, stream_version)| proto::OrchestratorInfo { transcoder, stream_version, ..Default::default() };
    prop::option::of((".{1,20}", any::<u32>()).prop_map(info))
}

fn down_frames() -> impl Strategy<Value = DownFrame> {
    let piece = (0..MAX_PROFILES, prop::collection::vec(any::<u8>(), 1..600))
        .prop_map(|(rendition, bytes)| DownFrame::Piece { rendition, bytes: bytes.into() });
    let rendition = |(hash, length, pixels)| StreamedRendition { hash: B256::new(hash), length, pixels };
    let renditions = prop::collection::vec((any::<[u8; 32]>(), any::<u64>(), any::<u64>()).prop_map(rendition), 0..=32);
    let receipt = prop::collection::vec(any::<u8>(), 0..90);
    let result = (renditions, signatures(), receipt, infos()).prop_map(|(renditions, signature, receipt, info)| {
        DownFrame::Result(Box::new(StreamResult { renditions, signature, receipt, info }))
    });
    let refusal = prop::option::of(prop::sample::select(Code::ALL).prop_map(|code| Refusal::new(code, 1, 2)));
    let failure = (".{0,40}", refusal, any::<u64>(), infos()).prop_map(|(text, refusal, charged, info)| {
        DownFrame::Failure(Box::new(StreamFailure { text, refusal, charged, info }))
    });
    prop_oneof![piece, Just(DownFrame::Again), result, failure]
}

/// `bytes` in parts of these lengths, over and over.
fn parts<'a>(mut bytes: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        let (part, rest) = bytes.split_at(bytes.len().min(*lengths.next()?));
        bytes = rest;
        (!part.is_empty()).then_some(part)
    })
}

proptest! {
    #[test]
    fn frames_survive_the_way_however_they_are_cut(
        up in prop::collection::vec(up_frames(), 0..6),
        down in prop::collection::vec(down_frames(), 0..6),
        lengths in prop::collection::vec(1..700_usize, 1..9),
    ) {
        let bytes: Vec<u8> = up.iter().flat_map(UpFrame::to_bytes).collect();
        let (mut reader, mut read) = (FrameReader::default(), Vec::new());
        for part in parts(&bytes, &lengths) {
            reader.push(part);
            while let Some(frame) = reader.next_up().unwrap() {
                read.push(frame);
            }
        }
        prop_assert_eq!(read, up);
        prop_assert!(reader.is_empty());
        let bytes: Vec<u8> = down.iter().flat_map(DownFrame::to_bytes).collect();
        let mut read = Vec::new();
        for part in parts(&bytes, &lengths) {
            reader.push(part);
            while let Some(frame) = reader.next_down().unwrap() {
                read.push(frame);
            }
        }
        prop_assert_eq!(read, down);
    }

    #[test]
    fn what_is_accepted_is_written_as_it_was_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(frames) = read_up(&bytes) {
            let again: Vec<u8> = frames.iter().flat_map(UpFrame::to_bytes).collect();
            prop_assert!(bytes.starts_with(&again));
        }
        let _ = read_down(&bytes);
    }

    #[test]
    fn nobody_has_signed_by_chance(head in ".{0,9}", bytes in prop::collection::vec(any::<u8>(), 65)) {
        let head = StreamHead::new(&request(), &head);
        let signature = Some(Signature65::try_from(bytes.as_slice()).unwrap());
        let trailer = StreamTrailer { length: 1, hash: B256::ZERO, signature };
        prop_assert!(!trailer.is_signed_by(&head, Address::ZERO));
    }
}
