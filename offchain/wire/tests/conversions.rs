//! What comes from a peer is checked, and what we send is read back as it was.
#![allow(clippy::unwrap_used)] // clippy sees only the test functions themselves as tests
use alloy_primitives::{Address, B256, I256, U256};
use prost::Message;
use streamflow_pm::{Payment, TicketSig};
use streamflow_types::{
    Container, Expiration, Gop, H264Profile, ManifestId, Price, Profile, Round, Signature65, SignedTicket, Ticket,
    TicketParams, VideoCodec, WinProb, WinningTicket,
};
use streamflow_wire::{
    MAX_PROFILES, Offer, PaymentError, SegmentError, SegmentRequest, TranscoderTask, max_float_from_proto,
    max_float_to_proto, params_from_proto, params_to_proto, payment_from_proto, payment_to_proto, price_from_proto,
    profile_from_proto, proto, winner_from_proto, winner_to_proto,
};

const SENDER: Address = Address::repeat_byte(5);

fn params() -> TicketParams {
    TicketParams {
        recipient: Address::repeat_byte(2),
        face_value: U256::from(1_000_000),
        win_prob: WinProb(U256::MAX >> 2),
        recipient_rand_hash: B256::repeat_byte(3),
        seed: U256::from(77),
        expiration_block: 256,
        expiration: Expiration { creation_round: Round(6), creation_round_block_hash: B256::repeat_byte(4) },
        deployment: Some(B256::repeat_byte(0xd0)),
    }
}

fn payment() -> Payment {
    Payment {
        sender: SENDER,
        expected_price: Some(Price::new(3, 10).unwrap()),
        params: Some(params()),
        tickets: vec![TicketSig { sender_nonce: 1, sig: Signature65::new([9; 65]) }; 2],
    }
}

fn segment() -> SegmentRequest {
    let profile = Profile::preset("P240p30fps16x9").unwrap();
    SegmentRequest::new(ManifestId::new("clip").unwrap(), 7, B256::repeat_byte(8), vec![profile], 2000)
}

#[test]
fn a_payment_travels_as_peers_expect_it() {
    let message = payment_to_proto(&payment());
    let inner = message.ticket_params.as_ref().unwrap();
    assert_eq!(inner.expiration_params, None, "they travel beside the ticket params");
    assert_eq!(inner.expiration_block, [1, 0], "minimal big-endian");
    assert_eq!(message.expiration_params.as_ref().unwrap().creation_round, 6);
    assert_eq!(payment_from_proto(&message), Ok(payment()));
}

#[test]
fn params_of_the_deployed_network_name_no_deployment() {
    let message = proto::TicketParams { deployment: Vec::new(), ..bound_message() };
    assert_eq!(params_from_proto(&message), Ok(TicketParams { deployment: None, ..params() }));
    let short = proto::TicketParams { deployment: vec![1; 31], ..bound_message() };
    let refused = PaymentError::Length { field: "deployment", expected: 32, got: 31 };
    assert_eq!(params_from_proto(&short), Err(refused));
}

/// What a node of the deployed network reads: it knows no field 1000.
#[test]
fn nodes_of_the_deployed_network_ignore_the_deployment() {
    let known = proto::TicketParams { deployment: Vec::new(), ..bound_message() }.encode_to_vec();
    let sent = bound_message().encode_to_vec();
    let (head, extension) = sent.split_at(known.len());
    assert_eq!(head, known);
    // Field 1000 of wire type 2, 32 bytes long.
    assert_eq!(extension[..3], [0xc2, 0x3e, 32]);
    assert_eq!(extension.len(), 3 + 32);
}

fn bound_message() -> proto::TicketParams {
    params_to_proto(&params())
}

#[test]
fn a_payment_without_tickets_has_sender_and_price_only() {
    let message = payment_to_proto(&Payment { tickets: Vec::new(), ..payment() });
    assert_eq!((message.ticket_params, message.expiration_params), (None, None));
    assert_eq!(message.sender, SENDER.to_vec());
    assert!(message.expected_price.is_some());
    let empty = payment_from_proto(&proto::Payment::default()).unwrap();
    assert_eq!(empty, Payment::without_tickets(Address::ZERO, None));
}

#[test]
fn malformed_payments_are_refused() {
    let refused = |change: fn(&mut proto::Payment)| {
        let mut message = payment_to_proto(&payment());
        change(&mut message);
        payment_from_proto(&message).unwrap_err()
    };
    fn params(message: &mut proto::Payment) -> &mut proto::TicketParams {
        message.ticket_params.as_mut().unwrap()
    }
    let no_sender = refused(|m| m.sender.clear());
    assert!(no_sender.to_string().starts_with("Could not find Sender for payment: "));
    assert_eq!(refused(|m| m.expiration_params = None), PaymentError::NoExpirationParams);
    assert_eq!(refused(|m| m.ticket_params = None), PaymentError::NoTicketParams);
    let too_many = refused(|m| m.ticket_sender_params = vec![m.ticket_sender_params[0].clone(); 601]);
    assert_eq!(too_many, PaymentError::TooManyTickets { got: 601, max: 600 });
    let short = refused(|m| m.ticket_sender_params[1].sig.truncate(64));
    assert_eq!(short.to_string(), "invalid ticket signature");
    assert_eq!(refused(|m| m.sender.push(0)), PaymentError::Length { field: "sender", expected: 20, got: 21 });
    assert!(matches!(refused(|m| params(m).recipient.truncate(19)), PaymentError::Length { got: 19, .. }));
    assert!(matches!(refused(|m| params(m).recipient_rand_hash.clear()), PaymentError::Length { got: 0, .. }));
    let out_of_range = |field| PaymentError::OutOfRange { field };
    assert_eq!(refused(|m| params(m).face_value = vec![1; 33]), out_of_range("face_value"));
    assert_eq!(refused(|m| params(m).expiration_block = vec![1; 9]), out_of_range("expiration_block"));
    let negative_round = refused(|m| m.expiration_params.as_mut().unwrap().creation_round = -1);
    assert_eq!(negative_round, out_of_range("creation_round"));
}

/// payments.md §6: what the desk is to compare with its own quote must be a price.
#[test]
fn a13_a_negative_price_and_one_for_no_pixels_are_refused() {
    fn refused(change: impl FnOnce(&mut proto::PriceInfo)) -> PaymentError {
        let mut message = payment_to_proto(&payment());
        change(message.expected_price.as_mut().unwrap());
        payment_from_proto(&message).unwrap_err()
    }
    assert_eq!(refused(|price| price.price_per_unit = -1), PaymentError::NegativePrice);
    assert_eq!(refused(|price| price.price_per_unit = i64::MIN), PaymentError::NegativePrice);
    let zero = refused(|price| price.pixels_per_unit = 0);
    assert_eq!(zero.to_string(), "invalid expected price sent with payment err=pixels per unit is 0");
    let price = proto::PriceInfo { price_per_unit: 1, pixels_per_unit: -1, ..Default::default() };
    assert_eq!(price_from_proto(&price), Err(PaymentError::NegativePrice));
}

#[test]
fn a_winner_reaches_the_redeemer_whole() {
    let ticket = Ticket {
        recipient: Address::repeat_byte(2),
        sender: SENDER,
        face_value: U256::from(5),
        win_prob: WinProb::MAX,
        sender_nonce: 3,
        recipient_rand_hash: B256::repeat_byte(7),
        creation_round: Round(9),
        creation_round_block_hash: B256::repeat_byte(1),
        deployment: Some(B256::repeat_byte(2)),
    };
    let winner = WinningTicket {
        signed: SignedTicket { ticket, sig: Signature65::new([1; 65]) },
        recipient_rand: U256::MAX - U256::ONE,
        params_expiration_block: 99,
    };
    let message = winner_to_proto(&winner);
    assert!(message.ticket_params.as_ref().unwrap().seed.is_empty());
    assert!(!format!("{message:?}").contains("recipient_rand:"), "the secret number is not printed");
    assert_eq!(winner_from_proto(&message), Ok(winner));
    let without = proto::Ticket { sender_params: None, ..message };
    assert_eq!(winner_from_proto(&without), Err(PaymentError::Missing("sender_params")));
}

#[test]
fn a_negative_float_is_sent_as_nothing() {
    assert_eq!(max_float_from_proto(&max_float_to_proto(I256::MINUS_ONE)), Ok(U256::ZERO));
    assert_eq!(max_float_from_proto(&max_float_to_proto(I256::MAX)), Ok(U256::MAX >> 1));
}

#[test]
fn an_offer_round_trips() {
    let offer = Offer {
        service_uri: "https://127.0.0.1:8935".into(),
        params: Some(params()),
        price: Some(Price::new(1200, 1).unwrap()),
        address: Address::repeat_byte(6),
        capabilities: Some(streamflow_wire::capability::legacy()),
        auth_token: Some(proto::AuthToken { token: vec![1], session_id: "deadbeef".into(), expiration: 9 }),
        storage: Vec::new(),
        nodes: vec!["https://127.0.0.1:8936".into()],
        stream_version: 1,
    };
    assert_eq!(offer.result_signer(), Address::repeat_byte(6));
    assert_eq!(Offer { address: Address::ZERO, ..offer.clone() }.result_signer(), params().recipient);
    let bytes = offer.to_proto().encode_to_vec();
    assert_eq!(Offer::from_proto(proto::OrchestratorInfo::decode(bytes.as_slice()).unwrap()), Ok(offer));
}

#[test]
fn an_offer_without_a_round_is_marked_as_such() {
    let offer = Offer::from_proto(proto::OrchestratorInfo {
        ticket_params: Some(proto::TicketParams {
            expiration_params: None,
            recipient_rand_hash: vec![1; 32],
            ..Default::default()
        }),
        ..Default::default()
    });
    assert!(offer.unwrap().params.unwrap().expiration.is_missing());
}

#[test]
fn a_segment_request_round_trips() {
    let request = SegmentRequest {
        sig: vec![7; 65],
        capabilities: Some(proto::Capabilities { bitstring: vec![5], ..Default::default() }),
        auth_token: Some(proto::AuthToken { token: vec![1], session_id: "deadbeef".into(), expiration: 9 }),
        calc_perceptual_hash: true,
        storage: vec![proto::OsInfo { storage_type: 1, s3info: None }],
        clip: Some(proto::SegParameters { from: 1, to: 2 }),
        force_session_reinit: true,
        ..segment()
    };
    assert_eq!(SegmentRequest::from_proto(request.to_proto()), Ok(request));
}

#[test]
fn the_oldest_list_that_fits_is_filled() {
    let base = Profile::preset("P240p30fps16x9").unwrap();
    let filled = |profile: Profile| {
        let message = SegmentRequest { profiles: vec![base.clone(), profile], ..segment() }.to_proto();
        assert_eq!(message.profiles, b"invalid");
        [&message.full_profiles, &message.full_profiles2, &message.full_profiles3].map(Vec::len)
    };
    let named = Profile { name: "other".into(), ..base.clone() };
    assert_eq!(filled(named.clone()), [2, 0, 0]);
    assert_eq!(filled(Profile { format: Container::Mp4, ..named.clone() }), [0, 2, 0]);
    assert_eq!(filled(Profile { fps: 30_000, fps_den: 1001, ..named.clone() }), [0, 0, 2]);
    assert_eq!(filled(Profile { gop: Gop::IntraOnly, format: Container::Mp4, ..named.clone() }), [0, 0, 2]);
    assert_eq!(filled(Profile { h264_profile: H264Profile::Main, ..named.clone() }), [0, 0, 2]);
    assert_eq!(filled(Profile { encoder: VideoCodec::H265, ..named.clone() }), [0, 0, 2]);
}

#[test]
fn the_newest_list_is_read() {
    let one = |name: &str| vec![proto::VideoProfile { width: 16, height: 16, bitrate: 1, ..named(name) }];
    let mut message = segment().to_proto();
    message.full_profiles = one("first");
    let names =
        |message: &proto::SegData| SegmentRequest::from_proto(message.clone()).unwrap().profiles[0].name.clone();
    assert_eq!(names(&message), "first");
    message.full_profiles2 = one("second");
    assert_eq!(names(&message), "second");
    message.full_profiles3 = one("third");
    assert_eq!(names(&message), "third");
}

fn named(name: &str) -> proto::VideoProfile {
    proto::VideoProfile { name: name.into(), ..Default::default() }
}

#[test]
fn malformed_segments_are_refused_with_the_documented_texts() {
    let refused = |change: fn(&mut proto::SegData)| {
        let mut message = segment().to_proto();
        change(&mut message);
        SegmentRequest::from_proto(message).unwrap_err()
    };
    assert_eq!(refused(|m| m.duration = -1).to_string(), "invalid duration");
    assert_eq!(refused(|m| m.duration = 300_001).to_string(), "invalid duration");
    assert_eq!(refused(|m| m.full_profiles[0].format = 2).to_string(), "unrecognized profile output format");
    assert_eq!(refused(|m| m.full_profiles[0].profile = 5).to_string(), "unrecognized encoder profile");
    assert_eq!(refused(|m| m.full_profiles[0].encoder = -1).to_string(), "unrecognized video codec");
    assert_eq!(refused(|m| m.full_profiles[0].width = -2), SegmentError::ProfileField("width"));
    assert_eq!(refused(|m| m.full_profiles[0].gop = -2), SegmentError::ProfileField("gop"));
    assert!(matches!(refused(|m| m.full_profiles[0].name = "../x".into()), SegmentError::Profile(_)));
    assert_eq!(refused(|m| m.full_profiles.clear()), SegmentError::NoProfiles);
    let repeated = refused(|m| m.full_profiles.push(m.full_profiles[0].clone()));
    assert_eq!(repeated, SegmentError::RepeatedProfile("P240p30fps16x9".into()));
    let many = refused(|m| m.full_profiles = vec![m.full_profiles[0].clone(); MAX_PROFILES + 1]);
    assert_eq!(many, SegmentError::TooManyProfiles { got: MAX_PROFILES + 1, max: MAX_PROFILES });
    assert!(matches!(refused(|m| m.manifest_id = b"a/../b".to_vec()), SegmentError::Manifest(_)));
    assert_eq!(refused(|m| m.manifest_id = vec![0xff]), SegmentError::ManifestNotText);
    assert_eq!(refused(|m| m.seq = -1), SegmentError::Sequence(-1));
    assert_eq!(refused(|m| m.hash.truncate(31)), SegmentError::HashLength(31));
}

#[test]
fn no_duration_means_two_seconds_and_five_minutes_are_the_limit() {
    let duration = |ms| {
        let message = proto::SegData { duration: ms, ..segment().to_proto() };
        SegmentRequest::from_proto(message).unwrap().duration_ms
    };
    assert_eq!(duration(0), 2000);
    assert_eq!(duration(300_000), 300_000);
}

#[test]
fn a_nameless_profile_gets_the_name_that_peers_hash() {
    let nameless = proto::VideoProfile { width: 426, height: 240, bitrate: 600_000, ..Default::default() };
    let read = profile_from_proto(&nameless).unwrap();
    assert_eq!((read.name.as_str(), read.fps_den), ("net_426x240_600000", 1));
}

#[test]
fn tasks_round_trip_without_what_is_not_the_transcoders_business() {
    let segment = SegmentRequest { storage: vec![proto::OsInfo::default()], ..segment() };
    let task = |segment| TranscoderTask::Transcode {
        task_id: 42,
        url: "https://127.0.0.1:8935/stream/deadbeef/7.tempfile".into(),
        orchestrator: "offchain".into(),
        segment: Box::new(segment),
    };
    let message = task(segment.clone()).to_proto();
    assert_eq!(message.profiles, b"invalid");
    let expected = SegmentRequest { hash: B256::ZERO, storage: Vec::new(), ..segment };
    assert_eq!(TranscoderTask::from_proto(message), Ok(task(expected)));
    let end = TranscoderTask::EndSession { session_id: "deadbeef".into() };
    assert_eq!(TranscoderTask::from_proto(end.to_proto()), Ok(end));
    assert_eq!(TranscoderTask::from_proto(Default::default()), Err(SegmentError::NoSegment));
}

#[test]
fn secrets_are_not_printed() {
    let request = proto::RegisterRequest { secret: "hunter2".into(), ..Default::default() };
    assert!(!format!("{request:?}").contains("hunter2"));
    let token = proto::AuthToken { token: vec![201, 202], ..Default::default() };
    assert!(!format!("{token:?}").contains("201"));
}
