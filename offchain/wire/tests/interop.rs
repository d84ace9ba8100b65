//! The byte fixtures of test/interop, which a second encoder made from the specification: we write exactly those bytes, and
//! read them back (node.md §1–§3, §4.7, §11).
#![allow(clippy::unwrap_used)] // clippy sees only the test functions themselves as tests
use std::{collections::BTreeMap, path::PathBuf, process::Command};

use alloy_primitives::{U256, hex, keccak256};
use prost::Message;
use streamflow_pm::{KeySigner, TicketSigner as _};
use streamflow_types::{Container, ManifestId, Profile};
use streamflow_wire::{
    AuthTokens, Offer, Refusal, SegmentRequest, flatten, header, payment_from_proto,
    proto::{self, capabilities as caps},
    refusal, request_hash, result_hash, sign_ping, sign_request, sign_result, sign_segment, streamflow,
};

fn interop(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../test/interop").join(path)
}

fn fixtures(file: &str) -> BTreeMap<String, serde_json::Value> {
    serde_json::from_str(&std::fs::read_to_string(interop("fixtures").join(file)).unwrap()).unwrap()
}

fn text(fixtures: &BTreeMap<String, serde_json::Value>, name: &str) -> String {
    fixtures[name].as_str().unwrap_or_else(|| panic!("no fixture {name}")).to_owned()
}

/// Fixtures that were compared.
struct Messages {
    fixtures: BTreeMap<String, serde_json::Value>,
    seen: Vec<&'static str>,
}

impl Messages {
    /// The message is these bytes, and these bytes are the message.
    #[track_caller]
    fn same<M: Message + Default + PartialEq + std::fmt::Debug>(&mut self, name: &'static str, made: &M) {
        let bytes = hex::decode(text(&self.fixtures, name)).unwrap();
        assert_eq!(M::decode(bytes.as_slice()).unwrap(), *made, "{name}");
        assert_eq!(hex::encode(made.encode_to_vec()), hex::encode(bytes), "{name}");
        self.seen.push(name);
    }
}

impl Messages {
    /// These bytes are the message, which we write in fewer: peers write a key of 0 into an entry of a map, and we leave it
    /// out, as any decoder allows.
    #[track_caller]
    fn read<M: Message + Default + PartialEq + std::fmt::Debug>(&mut self, name: &'static str, made: &M) {
        let bytes = hex::decode(text(&self.fixtures, name)).unwrap();
        assert_eq!(M::decode(bytes.as_slice()).unwrap(), *made, "{name}");
        assert_eq!(M::decode(made.encode_to_vec().as_slice()).unwrap(), *made, "{name}");
        self.seen.push(name);
    }
}

fn minimal(number: U256) -> Vec<u8> {
    number.to_be_bytes_trimmed_vec()
}

fn model() -> caps::capability_constraints::ModelConstraint {
    caps::capability_constraints::ModelConstraint {
        warm: true,
        capacity: 2,
        runner_version: "0.0.2".into(),
        capacity_in_use: 1,
    }
}

fn models() -> caps::CapabilityConstraints {
    caps::CapabilityConstraints { models: [("pipe".into(), model())].into() }
}

fn constraints() -> caps::Constraints {
    caps::Constraints { min_version: "0.8.1".into(), per_capability: [(35, models())].into() }
}

fn capabilities() -> proto::Capabilities {
    proto::Capabilities {
        bitstring: vec![0x400_1fff, 3],
        mandatories: vec![1 << 12],
        capacities: [(1, 4), (26, 1)].into(),
        version: "0.9.1".into(),
        constraints: Some(constraints()),
    }
}

fn profile(name: &str) -> proto::VideoProfile {
    proto::VideoProfile { name: name.into(), width: 426, height: 240, bitrate: 600_000, ..Default::default() }
}

fn whole_profile() -> proto::VideoProfile {
    proto::VideoProfile {
        fps: 30_000,
        format: 1,
        fps_den: 1001,
        profile: 4,
        gop: -1,
        encoder: 1,
        color_depth: 10,
        chroma_format: 2,
        quality: 23,
        ..profile("full")
    }
}

fn token() -> proto::AuthToken {
    proto::AuthToken { token: (0..32).collect(), session_id: "deadbeef".into(), expiration: 1_700_000_000 }
}

fn expiration() -> proto::TicketExpirationParams {
    proto::TicketExpirationParams { creation_round: 1673, creation_round_block_hash: vec![0xa9; 32] }
}

fn bare_params() -> proto::TicketParams {
    proto::TicketParams {
        recipient: vec![0x9c; 20],
        face_value: minimal(U256::from(24_703_611_594_215_916_u64)),
        win_prob: minimal(U256::MAX / U256::from(4)),
        recipient_rand_hash: vec![0xd0; 32],
        seed: vec![1, 0],
        expiration_block: minimal(U256::from(19_000_000)),
        ..Default::default()
    }
}

fn params() -> proto::TicketParams {
    proto::TicketParams { expiration_params: Some(expiration()), ..bare_params() }
}

fn price() -> proto::PriceInfo {
    proto::PriceInfo { price_per_unit: 1200, pixels_per_unit: 3, capability: 27, constraint: "pipe".into() }
}

fn plain_price() -> proto::PriceInfo {
    proto::PriceInfo { price_per_unit: 1200, pixels_per_unit: 3, ..Default::default() }
}

fn s3() -> proto::S3osInfo {
    proto::S3osInfo {
        host: "https://b.example".into(),
        key: "movie/deadbeef".into(),
        policy: "e30=".into(),
        signature: "5160".into(),
        credential: "KEY/20260101/eu/s3/aws4_request".into(),
        x_amz_date: "20260101T000000Z".into(),
    }
}

fn store() -> proto::OsInfo {
    proto::OsInfo { storage_type: 1, s3info: Some(s3()) }
}

fn gpu() -> proto::GpuComputeInfo {
    proto::GpuComputeInfo {
        id: "GPU-1".into(),
        name: "card".into(),
        major: 8,
        minor: 9,
        memory_free: 1 << 33,
        memory_total: 1 << 34,
    }
}

fn hardware() -> proto::HardwareInformation {
    proto::HardwareInformation {
        pipeline: "transcode".into(),
        model_id: "m".into(),
        gpu_info: [("0".into(), gpu())].into(),
    }
}

fn info() -> proto::OrchestratorInfo {
    proto::OrchestratorInfo {
        transcoder: "https://o.example:8935".into(),
        ticket_params: Some(params()),
        price_info: Some(price()),
        address: vec![0x0a; 20],
        capabilities: Some(capabilities()),
        auth_token: Some(token()),
        hardware: vec![hardware()],
        storage: vec![store(), proto::OsInfo::default()],
        capabilities_prices: vec![price(), proto::PriceInfo { price_per_unit: -1, ..Default::default() }],
        nodes: vec!["https://o2.example:8935".into(), "https://o3.example:8935".into()],
        ..Default::default()
    }
}

fn segment() -> proto::SegData {
    proto::SegData {
        manifest_id: b"movie".to_vec(),
        seq: 1234,
        hash: vec![0x77; 32],
        profiles: b"invalid".to_vec(),
        sig: vec![0x1b; 65],
        duration: 2000,
        capabilities: Some(capabilities()),
        auth_token: Some(token()),
        calc_perceptual_hash: true,
        storage: vec![store()],
        segment_parameters: Some(proto::SegParameters { from: 100, to: 900 }),
        force_session_reinit: true,
        ..Default::default()
    }
}

fn ts_segment() -> proto::SegData {
    let profiles = vec![profile("a"), proto::VideoProfile { fps: 30, ..profile("b") }];
    proto::SegData { full_profiles: profiles, ..segment() }
}

fn payment() -> proto::Payment {
    proto::Payment {
        ticket_params: Some(bare_params()),
        sender: vec![0x3e; 20],
        expiration_params: Some(expiration()),
        ticket_sender_params: vec![ticket_sig(1), ticket_sig(u32::MAX)],
        expected_price: Some(plain_price()),
    }
}

fn ticket_sig(nonce: u32) -> proto::TicketSenderParams {
    proto::TicketSenderParams { sender_nonce: nonce, sig: vec![nonce.to_be_bytes()[3]; 65] }
}

fn result_data() -> proto::TranscodeData {
    let url = "https://o.example/stream/deadbeef/full/7.ts".into();
    let made = proto::TranscodedSegmentData { url, pixels: 5_112_000, perceptual_hash_url: String::new() };
    let hashed = proto::TranscodedSegmentData { url: "u".into(), pixels: -1, perceptual_hash_url: "u.phash".into() };
    proto::TranscodeData { segments: vec![made, hashed], sig: vec![0x1c; 65] }
}

fn a_refusal() -> streamflow::Refusal {
    streamflow::Refusal {
        code: "OrchestratorCapped".into(),
        got: "10 sessions".into(),
        limit: "10 sessions".into(),
        setting: "orchestrator.max_sessions".into(),
        advice: "ask another".into(),
    }
}

fn signer() -> KeySigner {
    KeySigner::from_bytes([1; 32]).unwrap()
}

#[test]
fn every_message_has_the_bytes_of_the_second_encoder() {
    use proto::transcode_result::Result as Answer;
    let mut messages = Messages { fixtures: fixtures("messages.json"), seen: Vec::new() };
    messages.same("PingPong", &proto::PingPong { value: b"ping".to_vec() });
    let request = sign_request(&signer(), Some(capabilities())).unwrap();
    messages.same("OrchestratorRequest", &proto::OrchestratorRequest { ignore_capacity_check: true, ..request });
    let end = proto::EndTranscodingSessionRequest { auth_token: Some(token()) };
    messages.same("EndTranscodingSessionRequest", &end);
    messages.same("EndTranscodingSessionResponse", &proto::EndTranscodingSessionResponse {});
    messages.same("OSInfo", &store());
    messages.same("S3OSInfo", &s3());
    messages.same("PriceInfo", &price());
    messages.same("Capabilities", &capabilities());
    messages.read(
        "Capabilities with a key of 0",
        &proto::Capabilities { capacities: [(0, 4)].into(), ..Default::default() },
    );
    messages.same("Constraints", &constraints());
    messages.same("CapabilityConstraints", &models());
    messages.same("ModelConstraint", &model());
    messages.same("OrchestratorInfo", &info());
    messages.same("AuthToken", &token());
    let newest = vec![whole_profile(), proto::VideoProfile { gop: -1, ..profile("intra") }];
    messages.same("SegData", &proto::SegData { full_profiles3: newest, ..segment() });
    messages.same("SegData of TS profiles", &ts_segment());
    let mp4 = vec![proto::VideoProfile { format: 1, ..profile("a") }];
    messages.same("SegData of MP4 profiles", &proto::SegData { full_profiles2: mp4, ..segment() });
    messages.same("SegParameters", &proto::SegParameters { from: 100, to: 900 });
    messages.same("VideoProfile", &whole_profile());
    messages.same("TranscodedSegmentData", &result_data().segments[1]);
    messages.same("TranscodeData", &result_data());
    let done = proto::TranscodeResult {
        seq: 7,
        result: Some(Answer::Data(result_data())),
        info: Some(info()),
        ..Default::default()
    };
    messages.same("TranscodeResult", &done);
    let failed = proto::TranscodeResult {
        seq: -7,
        result: Some(Answer::Error("OrchestratorBusy".into())),
        refusal: Some(a_refusal()),
        ..Default::default()
    };
    messages.same("TranscodeResult of an error", &failed);
    messages.same("PaymentResult", &proto::PaymentResult { info: Some(info()) });
    let register =
        proto::RegisterRequest { secret: "swordfish".into(), capacity: 4, capabilities: Some(capabilities()) };
    messages.same("RegisterRequest", &register);
    let notice = proto::NotifySegment {
        url: "https://o.example/stream/deadbeef/7.tempfile".into(),
        seg_data: Some(proto::SegData {
            hash: vec![0; 32],
            storage: Vec::new(),
            full_profiles: vec![profile("a")],
            ..segment()
        }),
        task_id: 42,
        profiles: b"invalid".to_vec(),
        orch_id: "offchain".into(),
    };
    messages.same("NotifySegment", &notice);
    let teardown = streamflow_wire::TranscoderTask::EndSession { session_id: "deadbeef".into() };
    messages.same("NotifySegment of an end", &teardown.to_proto());
    messages.same("GPUComputeInfo", &gpu());
    messages.same("HardwareInformation", &hardware());
    messages.same("TicketParams", &params());
    messages.same("TicketSenderParams", &ticket_sig(u32::MAX));
    messages.same("TicketExpirationParams", &expiration());
    messages.same("Payment", &payment());
    let free = proto::Payment { sender: vec![0x3e; 20], expected_price: Some(price()), ..Default::default() };
    messages.same("Payment without tickets", &free);
    let ticket = proto::Ticket {
        ticket_params: Some(bare_params()),
        sender: vec![0x3e; 20],
        expiration_params: Some(expiration()),
        sender_params: Some(ticket_sig(1)),
        recipient_rand: minimal(U256::from(1) << 200),
    };
    messages.same("Ticket", &ticket);
    messages.same("QueueTicketRes", &proto::QueueTicketRes {});
    messages.same("MaxFloatReq", &proto::MaxFloatReq { sender: vec![0x3e; 20] });
    let ether = minimal(U256::from(1_000_000_000_000_000_000_u64));
    messages.same("MaxFloatUpdate", &proto::MaxFloatUpdate { max_float: ether });
    messages.same("Refusal", &a_refusal());
    let missing: Vec<_> = messages.fixtures.keys().filter(|name| !messages.seen.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "fixtures that nothing was compared with: {missing:?}");
}

#[test]
fn every_header_has_the_text_of_the_second_encoder() {
    let headers = fixtures("headers.json");
    assert_eq!(header::encode_segment(&ts_segment()), text(&headers, "Livepeer-Segment"));
    assert_eq!(header::decode_segment(&text(&headers, "Livepeer-Segment")).unwrap(), ts_segment());
    assert_eq!(header::encode_payment(&payment()), text(&headers, "Livepeer-Payment"));
    assert_eq!(header::decode_payment(&text(&headers, "Livepeer-Payment")).unwrap(), payment());
    let without_a_chain = header::decode_payment(&text(&headers, "Livepeer-Payment without a chain")).unwrap();
    assert_eq!(without_a_chain, proto::Payment::default());
    assert_eq!(header::encode_info(&info()), text(&headers, "Streamflow-Orchestrator-Info"));
    let told = Refusal::from_header(&text(&headers, "Streamflow-Refusal")).unwrap();
    assert_eq!((told.to_proto(), told.to_header()), (a_refusal(), text(&headers, "Streamflow-Refusal")));
    assert!("Streamflow-Refusal".eq_ignore_ascii_case(refusal::HEADER));
    assert_eq!(header::TRANSCODER_AUTHORIZATION, text(&headers, "Authorization"));
    assert_eq!(header::SEGMENT_BYTES, text(&headers, "Content-Type of a segment"));
    assert_eq!(header::SEGMENT_URI, text(&headers, "Content-Type of a segment's URL"));
    assert_eq!(header::TRANSCODING_ERROR, text(&headers, "Content-Type of a transcoder's error"));
    let names = [header::SEGMENT, header::PAYMENT, header::CREDENTIALS, header::TASK_ID, header::PIXELS];
    assert_eq!(headers["names"], serde_json::json!(names));
}

/// What is read of the fixtures goes out again as it came in, through the checked types.
#[test]
fn checked_types_lose_nothing_of_what_deployed_peers_send() {
    let request = SegmentRequest::from_proto(ts_segment()).unwrap();
    assert_eq!(request.to_proto(), ts_segment());
    let payment = payment_from_proto(&payment()).unwrap();
    assert_eq!(
        header::encode_payment(&streamflow_wire::payment_to_proto(&payment)),
        text(&fixtures("headers.json"), "Livepeer-Payment")
    );
    let offer = Offer::from_proto(info()).unwrap();
    assert_eq!((offer.nodes.len(), offer.storage.len()), (2, 2));
    let again = offer.to_proto();
    assert_eq!((again.ticket_params, again.auth_token, again.storage), (Some(params()), Some(token()), info().storage));
}

/// node.md §1.1: 33 for TS alone and nothing newer, 34 with an MP4, 35 with a fraction, a profile or a distance of key frames.
#[test]
fn profiles_go_into_the_oldest_field_that_can_say_them() {
    let plain = Profile::preset("P240p30fps16x9").unwrap();
    let fields = |profiles: Vec<Profile>| {
        let manifest: ManifestId = "m".parse().unwrap();
        let sent = SegmentRequest::new(manifest, 0, keccak256([]), profiles, 2000).to_proto();
        [sent.full_profiles.len(), sent.full_profiles2.len(), sent.full_profiles3.len()]
    };
    let mp4 = Profile { format: Container::Mp4, ..plain.clone() };
    let other = |change: fn(&mut Profile)| {
        let mut profile = plain.clone();
        change(&mut profile);
        vec![mp4.clone(), profile]
    };
    assert_eq!(fields(vec![plain.clone()]), [1, 0, 0]);
    assert_eq!(fields(vec![plain.clone(), mp4.clone()]), [0, 2, 0]);
    assert_eq!(fields(other(|p| (p.fps, p.fps_den) = (30_000, 1001))), [0, 0, 2]);
    assert_eq!(fields(other(|p| p.gop = streamflow_types::Gop::IntraOnly)), [0, 0, 2]);
    assert_eq!(fields(other(|p| p.h264_profile = streamflow_types::H264Profile::Main)), [0, 0, 2]);
    assert_eq!(fields(other(|p| p.encoder = streamflow_types::VideoCodec::H265)), [0, 0, 2]);
}

#[test]
fn presets_are_bound_by_the_published_four_bytes() {
    for (name, four) in fixtures("presets.json") {
        let preset = Profile::preset(&name).unwrap_or_else(|| panic!("no preset {name}"));
        let flat = flatten(&"m".parse().unwrap(), 0, keccak256([]), [preset.name.as_str()]);
        assert_eq!(std::str::from_utf8(&flat[flat.len() - 8..]).unwrap(), four.as_str().unwrap(), "{name}");
    }
}

#[test]
fn what_is_signed_has_the_bytes_of_the_second_signer() {
    let signed = fixtures("signed.json");
    let is = |name: &str, bytes: &[u8]| assert_eq!(hex::encode(bytes), text(&signed, name), "{name}");
    let signer = signer();
    assert_eq!(signer.address().to_checksum(None), text(&signed, "address"));
    is("request hash", request_hash(signer.address()).as_slice());
    is("request", &sign_request(&signer, None).unwrap().sig);
    let mut hash = [0; 32];
    hash[..6].copy_from_slice(b"browns");
    let profiles = ["P144p30fps16x9", "P240p30fps16x9"].map(|name| Profile::preset(name).unwrap()).to_vec();
    let mut request = SegmentRequest::new("abcdef".parse().unwrap(), 1234, hash.into(), profiles, 2000);
    sign_segment(&mut request, &signer).unwrap();
    is("segment flat", &request.flatten());
    is("segment hash", keccak256(request.flatten()).as_slice());
    is("segment", &request.sig);
    let result = result_hash([b"rend0".as_slice(), b"rend1"]);
    is("result hash", result.as_slice());
    is("result", sign_result(result, &signer).unwrap().as_bytes());
    is("ping", &sign_ping(b"ping", &signer).unwrap().value);
    let token = AuthTokens::new([1; 32]).issue([0xde, 0xad, 0xbe, 0xef], 1_700_000_000 - 1800);
    is("auth token", &token.token);
}

/// The second encoder still makes these bytes, and the published vectors hold for it.
#[test]
fn the_second_encoder_agrees_with_the_fixtures() {
    let run = Command::new("/usr/bin/python3")
        .arg(interop("fixtures.py"))
        .arg("--check")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output();
    let run = run.expect("python3 is missing: script/setup installs it");
    assert!(run.status.success(), "{}\n{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
}
