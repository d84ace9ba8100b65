//! Random messages: what is written is read back, and no input makes a decoder panic.
#![allow(clippy::unwrap_used)] // clippy sees only the test functions themselves as tests
use alloy_primitives::{Address, B256, U256};
use proptest::prelude::*;
use prost::Message;
use streamflow_pm::{Payment, TicketSig};
use streamflow_types::{
    Container, Expiration, Gop, H264Profile, ManifestId, Price, Profile, Round, Signature65, SignedTicket,
    TicketParams, VideoCodec, WinProb, WinningTicket,
};
use streamflow_wire::{
    AuthTokens, Code, Offer, Refusal, SegmentRequest, TranscodeError, TranscoderTask, capability, header,
    max_float_from_proto, payment_from_proto, payment_to_proto, profile_from_proto, profile_to_proto, proto,
    refusal::scrub, verify_request, verify_segment, winner_from_proto, winner_to_proto,
};

prop_compose! {
    /// Numbers of every length: a uniform one nearly always has 32 bytes.
    fn numbers()(bytes: [u8; 32], shift in 0..=256_usize) -> U256 {
        U256::from_be_bytes(bytes) >> shift
    }
}

prop_compose! {
    fn params()(
        recipient: [u8; 20],
        face_value in numbers(),
        win_prob in numbers(),
        recipient_rand_hash: [u8; 32],
        seed in numbers(),
        expiration_block: u64,
        round in 0..=i64::MAX as u64,
        block_hash: [u8; 32],
        deployment in prop::option::of(any::<[u8; 32]>()),
    ) -> TicketParams {
        TicketParams {
            recipient: Address::new(recipient),
            face_value,
            win_prob: WinProb(win_prob),
            recipient_rand_hash: B256::new(recipient_rand_hash),
            seed,
            expiration_block,
            expiration: Expiration {
                creation_round: Round(round),
                creation_round_block_hash: B256::new(block_hash),
            },
            deployment: deployment.map(B256::new),
        }
    }
}

prop_compose! {
    fn ticket_sigs()(sender_nonce: u32, r: [u8; 32], s: [u8; 32], v: u8) -> TicketSig {
        let sig: Vec<u8> = [r.as_slice(), &s, &[v]].concat();
        TicketSig { sender_nonce, sig: Signature65::try_from(sig.as_slice()).unwrap() }
    }
}

prop_compose! {
    fn prices()(wei in 0..=i64::MAX as u64, pixels in 1..=i64::MAX as u64) -> Price {
        Price::new(wei, pixels).unwrap()
    }
}

prop_compose! {
    fn payments()(
        sender in any::<[u8; 20]>().prop_filter("somebody", |sender| *sender != [0; 20]),
        expected_price in prop::option::of(prices()),
        params in params(),
        tickets in prop::collection::vec(ticket_sigs(), 0..8),
    ) -> Payment {
        let params = (!tickets.is_empty()).then_some(params);
        Payment { sender: Address::new(sender), expected_price, params, tickets }
    }
}

prop_compose! {
    fn profiles()(
        name in "[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}",
        width in 8..=4096_u32,
        height in 8..=4096_u32,
        bitrate in 1..=i32::MAX as u32,
        fps in 0..=240_u32,
        fps_den in 1..=1001_u32,
        format in prop::sample::select(vec![Container::MpegTs, Container::Mp4]),
        h264_profile in prop::sample::select(vec![
            H264Profile::EncoderDefault,
            H264Profile::Baseline,
            H264Profile::Main,
            H264Profile::High,
            H264Profile::ConstrainedHigh,
        ]),
        gop in prop_oneof![
            Just(Gop::EncoderDefault),
            Just(Gop::IntraOnly),
            (1..=i32::MAX as u32).prop_map(Gop::Millis),
        ],
        encoder in prop::sample::select(vec![VideoCodec::H264, VideoCodec::H265, VideoCodec::Vp8, VideoCodec::Vp9]),
    ) -> Profile {
        let (width, height) = (width * 2, height * 2);
        Profile { name, width, height, bitrate, fps, fps_den, format, h264_profile, gop, encoder }
    }
}

prop_compose! {
    fn segments()(
        manifest in "[A-Za-z0-9_-]{1,30}",
        seq in 0..=i64::MAX as u64,
        hash: [u8; 32],
        mut profiles in prop::collection::vec(profiles(), 1..5),
        duration_ms in 1..=300_000_u32,
        sig: Vec<u8>,
    ) -> SegmentRequest {
        profiles.sort_by(|a, b| a.name.cmp(&b.name));
        profiles.dedup_by(|a, b| a.name == b.name);
        let manifest_id = ManifestId::new(manifest).unwrap();
        SegmentRequest { sig, ..SegmentRequest::new(manifest_id, seq, B256::new(hash), profiles, duration_ms) }
    }
}

proptest! {
    #[test]
    fn payments_round_trip(payment in payments()) {
        let read = header::decode_payment(&header::encode_payment(&payment_to_proto(&payment))).unwrap();
        prop_assert_eq!(payment_from_proto(&read), Ok(payment));
    }

    #[test]
    fn offers_round_trip(
        params in params(), price in prices(), address: [u8; 20], service_uri: String, stream_version: u32,
    ) {
        let offer = Offer {
            service_uri,
            params: Some(params),
            price: Some(price),
            address: Address::new(address),
            capabilities: None,
            auth_token: None,
            storage: Vec::new(),
            nodes: Vec::new(),
            stream_version,
        };
        let bytes = offer.to_proto().encode_to_vec();
        prop_assert_eq!(Offer::from_proto(proto::OrchestratorInfo::decode(bytes.as_slice()).unwrap()), Ok(offer));
    }

    #[test]
    fn segments_round_trip(segment in segments()) {
        let read = header::decode_segment(&header::encode_segment(&segment.to_proto())).unwrap();
        prop_assert_eq!(SegmentRequest::from_proto(read), Ok(segment));
    }

    #[test]
    fn profiles_round_trip(profile in profiles()) {
        prop_assert_eq!(profile_from_proto(&profile_to_proto(&profile)), Ok(profile));
    }

    #[test]
    fn winners_round_trip(params in params(), own in ticket_sigs(), sender: [u8; 20], rand in numbers()) {
        let ticket = streamflow_pm::ticket_from_params(&params, Address::new(sender), own.sender_nonce);
        let winner = WinningTicket {
            signed: SignedTicket { ticket, sig: own.sig },
            recipient_rand: rand,
            params_expiration_block: params.expiration_block,
        };
        let bytes = winner_to_proto(&winner).encode_to_vec();
        prop_assert_eq!(winner_from_proto(&proto::Ticket::decode(bytes.as_slice()).unwrap()), Ok(winner));
    }

    #[test]
    fn every_set_bit_is_found_and_no_other(bits in prop::collection::btree_set(0..300_u32, 0..20)) {
        let words = capability::bitstring(bits.iter().map(|bit| i64::from(*bit)));
        for bit in 0..400 {
            prop_assert_eq!(capability::has_bit(&words, bit), bits.contains(&bit));
        }
    }
}

/// Bytes of every message of the fixtures.
fn corpus() -> &'static [Vec<u8>] {
    static CORPUS: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    CORPUS.get_or_init(|| {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../test/interop/fixtures/messages.json");
        let messages: std::collections::BTreeMap<String, String> =
            serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        messages.values().map(|text| alloy_primitives::hex::decode(text).unwrap()).collect()
    })
}

/// Runs every decoder on the same bytes. Whatever they say, they must say it by returning.
fn decode_everything(bytes: &[u8]) {
    if let Ok(message) = proto::Payment::decode(bytes) {
        let _ = payment_from_proto(&message);
    }
    if let Ok(message) = proto::SegData::decode(bytes)
        && let Ok(segment) = SegmentRequest::from_proto(message)
    {
        verify_segment(&segment, Address::ZERO);
    }
    if let Ok(message) = proto::OrchestratorInfo::decode(bytes) {
        let _ = Offer::from_proto(message);
    }
    if let Ok(message) = proto::NotifySegment::decode(bytes) {
        let _ = TranscoderTask::from_proto(message);
    }
    if let Ok(message) = proto::Ticket::decode(bytes) {
        let _ = winner_from_proto(&message);
    }
    if let Ok(message) = proto::OrchestratorRequest::decode(bytes) {
        verify_request(&message);
    }
    if let Ok(message) = proto::AuthToken::decode(bytes) {
        let _ = AuthTokens::new([1; 32]).check(Some(&message), i64::MIN);
    }
    if let Ok(message) = proto::MaxFloatUpdate::decode(bytes) {
        let _ = max_float_from_proto(&message);
    }
    if let Ok(message) = proto::RegisterRequest::decode(bytes) {
        let _ = format!("{message:?}");
    }
    if let Ok(message) = proto::TranscodeResult::decode(bytes) {
        let told = message.refusal.as_ref().and_then(Refusal::from_proto);
        let _ = told.map(|refusal| refusal.to_string());
    }
    let _ = Refusal::from_bytes(bytes);
    let _ = proto::EndTranscodingSessionRequest::decode(bytes);
    let _ = proto::PaymentResult::decode(bytes);
    let _ = proto::PingPong::decode(bytes);
    let _ = proto::MaxFloatReq::decode(bytes);
    if let Ok(message) = proto::Capabilities::decode(bytes) {
        let _ = capability::check(&message, &capability::legacy()).map_err(|why| why.refusal());
        let _ = capability::check(&capability::legacy(), &message).map_err(|why| why.refusal());
        capability::is_compatible(&message, &capability::legacy());
        capability::is_compatible(&capability::legacy(), &message);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        decode_everything(&bytes);
    }

    #[test]
    fn arbitrary_headers_never_panic(text in ".{0,200}") {
        let _ = header::decode_payment(&text);
        let _ = header::decode_segment(&text);
        let _ = header::decode_info(&text);
        let _ = Refusal::from_header(&text);
        let _ = TranscodeError::from_text(&text);
        let _ = scrub(&text);
    }

    /// One message with every field of each kind, as a second encoder made it (test/interop), and changed.
    #[test]
    fn damaged_fixtures_never_panic(
        which: prop::sample::Index, at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
    ) {
        let all = corpus();
        let mut bytes = all[which.index(all.len())].clone();
        if bytes.is_empty() {
            return Ok(());
        }
        let position = at.index(bytes.len());
        bytes[position] = byte;
        decode_everything(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        decode_everything(&bytes);
    }

    #[test]
    fn refusals_round_trip(
        which: prop::sample::Index, got in "[a-z0-9 ]{0,40}", limit in "[a-z0-9 ]{0,40}", advice in "[a-z0-9 ]{0,40}",
    ) {
        let code = Code::ALL[which.index(Code::ALL.len())];
        let refusal = Refusal::new(code, got, limit).advising(advice);
        prop_assert_eq!(Refusal::from_header(&refusal.to_header()), Some(refusal));
    }

    /// Whatever a text is made of, no word that names a place outlives the scrubbing.
    #[test]
    fn no_place_outlives_scrubbing(
        before in "[a-z ]{0,20}", after in "[a-z ]{0,20}", path in "/[a-z]{1,8}/[a-z0-9.]{1,12}",
        host in "[a-z]{1,8}\\.[a-z]{2,3}", port: u16, quote in "[\"'(,]?",
    ) {
        for place in [path.clone(), format!("https://{host}{path}"), format!("{host}:{port}"), format!("10.0.0.1:{port}")] {
            let text = format!("{before} {quote}{place}{quote} {after}");
            prop_assert!(!scrub(&text).contains(&place), "{}", scrub(&text));
        }
    }

    /// Damaged messages get further into the conversions than noise does.
    #[test]
    fn damaged_messages_never_panic(
        payment in payments(), segment in segments(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
    ) {
        for mut bytes in [payment_to_proto(&payment).encode_to_vec(), segment.to_proto().encode_to_vec()] {
            let position = at.index(bytes.len());
            bytes[position] = byte;
            decode_everything(&bytes);
            bytes.truncate(cut.index(bytes.len()));
            decode_everything(&bytes);
        }
    }
}
