//! Credit, prices and winners.
use std::sync::Arc;

use alloy_primitives::{Address, B256, U256, keccak256};
use bytes::Bytes;
use prost::Message;
use streamflow_orchestrator::{Rendition, Transcode, TranscodeFuture, TranscodeJob};
use streamflow_pm::{Payment, QuoteDomain, QuoteSecret, QuoteSecrets, Sender, SenderLimits, ordered};
use streamflow_store::{OrderedBatch, Passing, StoreError, TicketRecord};
use streamflow_types::{Price, SenderFunds, VideoCodec};
use streamflow_wire::{
    Offer, SegmentRequest, capability, decode_receipt, header, proto, settings_id, sign_request, software_id,
};

use crate::{
    clip,
    fixture::{Broadcaster, DEPLOYMENT, Draft, RECEIPTS, Running, World, config, view},
};

const BODY: Bytes = Bytes::from_static(b"not video, which is found out after it was paid for");

/// Pixels of one clip segment in both renditions: 50 frames each.
const PIXELS: u64 = 50 * (426 * 240 + 320 * 180);

fn hash_of(offer: &Offer) -> B256 {
    offer.params.unwrap().recipient_rand_hash
}

async fn credit_is_left(broadcaster: &Broadcaster, orchestrator: &Running, offer: &Offer, seq: u64) -> bool {
    let payment = Payment::without_tickets(broadcaster.address(), offer.price);
    let draft = broadcaster.draft(orchestrator, &payment, &broadcaster.request(offer, seq, &BODY));
    let reply = broadcaster.send(&draft, BODY).await;
    assert!(reply.status == 200 || reply.text() == "Insufficient balance", "{}", reply.text());
    reply.status == 200
}

#[tokio::test]
async fn every_result_carries_a_receipt_of_its_source_and_its_renditions() {
    let world = World::with_video().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let body = clip::segment(0);
    let reply = broadcaster.segment(&orchestrator, &offer, 30, 0, &body).await;
    let signed = decode_receipt(&reply.result().receipt).unwrap();
    assert_eq!(signed.signer(&RECEIPTS), Ok(offer.address));
    let receipt = signed.receipt;
    assert_eq!((receipt.orchestrator, receipt.sender), (offer.address, broadcaster.address()));
    assert_eq!((receipt.sequence, receipt.round, receipt.deterministic), (0, view().round.0, false));
    assert_eq!((receipt.manifest, receipt.source_hash), (keccak256("clip"), keccak256(&body)));
    assert_eq!(receipt.settings, settings_id(&broadcaster.profiles));
    assert_eq!(receipt.software, software_id(env!("CARGO_PKG_VERSION")));
    let mut held = Vec::new();
    for segment in reply.data().segments {
        let media = broadcaster.http.get(&segment.url).send().await.unwrap().bytes().await.unwrap();
        held.push(keccak256(&media));
    }
    assert_eq!(receipt.result_hashes, held);
}

#[tokio::test]
async fn a_failed_segment_has_no_receipt() {
    let world = World::with_video().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let reply = broadcaster.segment(&orchestrator, &offer, 30, 0, &BODY).await;
    assert!(reply.result().receipt.is_empty());
}

#[tokio::test]
async fn winners_are_stored_when_the_answer_arrives() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let draft = broadcaster.draft(&orchestrator, &broadcaster.pay(&offer, 30), &broadcaster.request(&offer, 0, &BODY));
    let response = broadcaster.start(&draft, BODY).await;
    assert_eq!(response.status(), 200);
    let won = world.winners().await;
    assert!((20..=30).contains(&won), "{won} of 30 at nine in ten");
    let ticket = world.store.tickets(None, 1).await.unwrap().remove(0).ticket;
    assert_eq!(ticket.signed.ticket.sender, broadcaster.address());
    assert_eq!(ticket.params_expiration_block, view().block + 40);
    assert!(ordered::is_marked(ticket.recipient_rand));
}

#[tokio::test]
async fn winners_of_a_sender_that_binds_its_tickets_are_stored_bound() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let plain = Broadcaster::new(&orchestrator);
    let mut binding = Broadcaster::with_key(&orchestrator, 0x0c);
    let limits = SenderLimits { max_ticket_ev: U256::MAX, max_total_ev: U256::MAX, ..Default::default() };
    binding.sender = Sender::new(binding.key.clone(), limits).bound_to(Some(DEPLOYMENT));
    for broadcaster in [&plain, &binding] {
        let offer = broadcaster.offer(&orchestrator).await;
        assert_eq!(offer.params.unwrap().deployment, Some(DEPLOYMENT));
        let reply = broadcaster.segment(&orchestrator, &offer, 30, 0, &BODY).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let winners = world.store.tickets(None, 100).await.unwrap();
    for (broadcaster, bound) in [(&plain, None), (&binding, Some(DEPLOYMENT))] {
        let of_sender = |w: &&TicketRecord| w.ticket.signed.ticket.sender == broadcaster.address();
        let own: Vec<_> = winners.iter().filter(of_sender).collect();
        assert!(!own.is_empty());
        assert!(own.iter().all(|winner| winner.ticket.signed.ticket.deployment == bound));
    }
}

#[tokio::test]
async fn quotes_are_numbered_in_turn_across_a_restart() {
    let world = World::new().await;
    let mut serials = Vec::new();
    for _ in 0..2 {
        let orchestrator = world.start().await;
        for key in 0x0b..0x0d {
            let broadcaster = Broadcaster::with_key(&orchestrator, key);
            let offer = broadcaster.offer(&orchestrator).await;
            broadcaster.segment(&orchestrator, &offer, 30, 0, &BODY).await;
            let winners = world.store.tickets(None, 1_000).await.unwrap();
            let own = winners.iter().find(|w| w.ticket.signed.ticket.recipient_rand_hash == hash_of(&offer)).unwrap();
            serials.push(ordered::serial(own.ticket.recipient_rand));
        }
        orchestrator.stopped().await;
    }
    assert!(serials.is_sorted_by(|before, after| before < after), "{serials:?}");
}

#[tokio::test]
async fn winners_are_stored_even_if_the_payment_is_refused() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let draft = broadcaster.draft(&orchestrator, &broadcaster.pay(&offer, 30), &broadcaster.request(&offer, 0, &BODY));
    world.chain.send_modify(|chain| chain.as_mut().unwrap().block += 40);
    assert_eq!(broadcaster.send(&draft, BODY).await.text(), "TicketParams expired");
    assert!(world.winners().await > 0);
}

#[tokio::test]
async fn tickets_that_cannot_be_stored_are_not_acknowledged() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let draft = broadcaster.draft(&orchestrator, &broadcaster.pay(&offer, 30), &broadcaster.request(&offer, 0, &BODY));
    world.store.close().await;
    let reply = broadcaster.send(&draft, BODY).await;
    assert_eq!((reply.status, reply.text()), (500, "Internal Server Error"));
}

/// Nobody knows any more which of its tickets were credited before.
#[tokio::test]
async fn quote_of_before_a_restart_wins_but_has_to_be_renewed() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    orchestrator.stopped().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster { http: orchestrator.http().build().unwrap(), ..broadcaster };
    let reply = broadcaster.segment(&orchestrator, &offer, 30, 0, &BODY).await;
    assert_eq!((reply.status, reply.text()), (400, "TicketParams expired"));
    assert!(world.winners().await > 0);
    let offer = broadcaster.offer(&orchestrator).await;
    let reply = broadcaster.segment(&orchestrator, &offer, 1, 0, &BODY).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn winners_that_come_before_the_chain_is_in_sight_after_a_restart_are_stored() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    orchestrator.stopped().await;
    world.chain.send_replace(None);
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster { http: orchestrator.http().build().unwrap(), ..broadcaster };
    let reply = broadcaster.segment(&orchestrator, &offer, 30, 0, &BODY).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert!(world.winners().await > 0);
}

/// Never done, like a segment that takes long.
#[derive(Debug)]
struct Stuck;

impl Transcode for Stuck {
    fn transcode(&self, _job: TranscodeJob) -> TranscodeFuture<'_> {
        Box::pin(std::future::pending())
    }

    fn end_session(&self, _session_id: &str) {}
}

/// A transcoder that lies about the pixels it encoded.
#[derive(Debug)]
pub(crate) struct Liar(pub(crate) u64);

impl Transcode for Liar {
    fn transcode(&self, job: TranscodeJob) -> TranscodeFuture<'_> {
        let rendition = Rendition { data: Bytes::from_static(&[7; 100]), pixels: self.0 };
        Box::pin(std::future::ready(Ok(vec![rendition; job.profiles.len()])))
    }

    fn end_session(&self, _session_id: &str) {}
}

#[tokio::test]
async fn segments_under_way_need_credit_of_their_own() {
    let world = World { local: Some(Arc::new(Stuck)), ..World::new().await };
    // A ticket is worth one segment of 2 s at 60 frames per second, which is reckoned with where no rate is asked for.
    let mut settings = config();
    settings.tickets.ev = alloy_primitives::U256::from(config().price.wei_per_unit() * PIXELS / 50 * 120);
    let orchestrator = world.start_with(settings).await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let draft = |seq, tickets| {
        let payment = broadcaster.pay(&offer, tickets);
        broadcaster.draft(&orchestrator, &payment, &broadcaster.request(&offer, seq, &BODY))
    };
    let first = broadcaster.start(&draft(0, 1), BODY).await;
    assert_eq!(first.status(), 200);
    let payment = Payment::without_tickets(broadcaster.address(), offer.price);
    let unpaid = broadcaster.draft(&orchestrator, &payment, &broadcaster.request(&offer, 1, &BODY));
    assert_eq!(broadcaster.send(&unpaid, BODY).await.text(), "Insufficient balance");
    assert_eq!(broadcaster.start(&draft(1, 1), BODY).await.status(), 200);
}

#[tokio::test]
async fn pixels_beyond_belief_are_neither_delivered_nor_charged() {
    let world = World { local: Some(Arc::new(Liar(u64::MAX / 2))), ..World::new().await };
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let result = broadcaster.segment(&orchestrator, &offer, 1, 0, &BODY).await.result();
    assert!(matches!(result.result, Some(proto::transcode_result::Result::Error(_))), "{result:?}");
    assert!(credit_is_left(&broadcaster, &orchestrator, &offer, 1).await);
}

#[tokio::test]
async fn encoded_pixels_are_debited_at_the_price_of_the_session() {
    let world = World::with_video().await;
    // Four segments for one ticket, and no more.
    let ev = config().price.wei_per_unit() * PIXELS * 4 + 1;
    let mut settings = config();
    settings.tickets.ev = alloy_primitives::U256::from(ev);
    let orchestrator = world.start_with(settings).await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let segment = clip::segment(0);
    // Two tickets: the worth of one has to stay.
    assert_eq!(broadcaster.segment(&orchestrator, &offer, 2, 0, &segment).await.data().segments.len(), 2);
    // A rise is for new sessions only.
    orchestrator.handle.set_price(Price::new(1_000_000_000, 1).unwrap());
    let payment = Payment::without_tickets(broadcaster.address(), offer.price);
    for seq in 1..5 {
        let draft = broadcaster.draft(&orchestrator, &payment, &broadcaster.request(&offer, seq, &segment));
        let result = broadcaster.send(&draft, segment.clone()).await.result();
        let pixels: i64 = match result.result.unwrap() {
            proto::transcode_result::Result::Data(data) => data.segments.iter().map(|s| s.pixels).sum(),
            proto::transcode_result::Result::Error(error) => panic!("{error}"),
        };
        assert_eq!(pixels as u64, PIXELS);
        assert_eq!(Offer::from_proto(result.info.unwrap()).unwrap().price, offer.price);
    }
    assert!(!credit_is_left(&broadcaster, &orchestrator, &offer, 5).await);
    assert_eq!(broadcaster.offer(&orchestrator).await.price, Price::new(1_000_000_000, 1).ok());
}

#[tokio::test]
async fn price_below_the_pinned_one_is_refused() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    assert_eq!(broadcaster.segment(&orchestrator, &offer, 2, 0, &BODY).await.status, 200);
    let expected = "invalid expected price sent with payment err=expected price 9999999/1 wei per pixel is less than the \
                    session's 10000000/1 wei per pixel";
    let cheap = Price::new(9_999_999, 1).ok();
    let mut with_tickets = broadcaster.pay(&offer, 1);
    with_tickets.expected_price = cheap;
    for payment in [with_tickets, Payment::without_tickets(broadcaster.address(), cheap)] {
        let draft = broadcaster.draft(&orchestrator, &payment, &broadcaster.request(&offer, 1, &BODY));
        let reply = broadcaster.send(&draft, BODY).await;
        assert_eq!((reply.status, reply.text()), (400, expected));
    }
}

#[tokio::test]
async fn failed_segment_costs_nothing() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let reply = broadcaster.segment(&orchestrator, &offer, 1, 0, &BODY).await;
    assert_eq!(reply.error(), "no transcoders available");
    assert!(credit_is_left(&broadcaster, &orchestrator, &offer, 1).await);
}

#[tokio::test]
async fn answer_brings_terms_for_the_next_payment() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    world.chain.send_modify(|chain| chain.as_mut().unwrap().block += 15);
    let info = broadcaster.segment(&orchestrator, &offer, 1, 0, &BODY).await.result().info.unwrap();
    let next = Offer::from_proto(info).unwrap();
    assert_eq!(next.auth_token, offer.auth_token);
    assert_ne!(next.params.unwrap().recipient_rand_hash, offer.params.unwrap().recipient_rand_hash);
    assert_eq!(next.params.unwrap().expiration_block, view().block + 15 + 40);
    assert_eq!(broadcaster.segment(&orchestrator, &next, 1, 1, &BODY).await.status, 200);
}

#[tokio::test]
async fn winners_not_yet_paid_lower_what_a_sender_may_promise() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let face_value = offer.params.unwrap().face_value;
    let scarce = SenderFunds { deposit: face_value, reserve: face_value, pool_size: 1, ..Default::default() };
    world.funds.set(|funds| *funds = scarce);
    let next = broadcaster.offer(&orchestrator).await;
    assert_eq!(next.params.unwrap().face_value, face_value);
    let reply = broadcaster.segment(&orchestrator, &next, 30, 0, &BODY).await;
    assert_eq!(reply.status, 400);
    let reason = "LowPMBalance: insufficient sender reserve: a winning ticket of this sender is covered up to 0 wei, \
                  350000000000000 wei are needed, and ";
    let won = reply.text().strip_prefix(reason).unwrap();
    let exposure: u64 = won.split_once(" wei won from it").unwrap().0.parse().unwrap();
    assert!((1..=world.winners().await * 350_000_000_000_000).contains(&exposure), "{exposure}");
    assert!(won.contains(&format!("wei more deposit, or {exposure} wei more reserve")), "{won}");
    assert!(world.winners().await > 1, "winners are kept whether or not they are covered");
    let request = sign_request(broadcaster.key.as_ref(), None).unwrap();
    let refused = orchestrator.grpc().await.get_orchestrator(request).await.unwrap_err();
    assert!(refused.message().starts_with("LowPMBalance: insufficient sender reserve: "), "{}", refused.message());
}

#[tokio::test]
async fn payment_ahead_is_credited_to_the_manifest() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let draft = broadcaster.draft(&orchestrator, &broadcaster.pay(&offer, 30), &broadcaster.request(&offer, 0, b""));
    let draft = Draft { url: orchestrator.url("/payment"), ..draft };
    let reply = broadcaster.send(&draft, "").await;
    assert_eq!(reply.status, 200);
    let info = proto::PaymentResult::decode(reply.body.clone()).unwrap().info.unwrap();
    assert_eq!(Offer::from_proto(info).unwrap().auth_token, offer.auth_token);
    assert!(world.winners().await > 0);
    let unsigned = Draft { segment: header::encode_segment(&proto::SegData::default()), ..draft };
    assert_eq!(broadcaster.send(&unsigned, "").await.status, 403);
    assert!(!credit_is_left(&broadcaster, &orchestrator, &offer, 0).await, "the session itself was not paid for");
}

/// As a peer's remote signer makes them: for an empty segment, with the capabilities it was given and no profiles.
#[tokio::test]
async fn a_payment_is_taken_with_credentials_that_name_no_profiles() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let mut request = SegmentRequest {
        auth_token: offer.auth_token.clone(),
        capabilities: Some(capability::job(VideoCodec::H264, &[], false)),
        ..SegmentRequest::new("clip".parse().unwrap(), 0, keccak256([]), Vec::new(), 0)
    };
    broadcaster.sign(&mut request);
    let draft = broadcaster.draft(&orchestrator, &broadcaster.pay(&offer, 30), &request);
    let refused = broadcaster.send(&draft, "").await;
    assert_eq!(refused.status, 403, "a segment has to be made into something");
    assert_eq!(world.winners().await, 0);
    let draft = Draft { url: orchestrator.url("/payment"), ..draft };
    let reply = broadcaster.send(&draft, "").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let info = proto::PaymentResult::decode(reply.body.clone()).unwrap().info.unwrap();
    let fresh = Offer::from_proto(info).unwrap();
    assert_eq!(fresh.auth_token, offer.auth_token);
    assert!(fresh.params.is_some() && world.winners().await > 0);
    // Whoever signs is whoever pays.
    let stranger = Broadcaster::with_key(&orchestrator, 0x0d);
    stranger.sign(&mut request);
    let foreign = Draft { segment: header::encode_segment(&request.to_proto()), ..draft };
    assert_eq!(broadcaster.send(&foreign, "").await.status, 403);
}

#[tokio::test]
async fn without_a_chain_segments_need_no_payment() {
    let world = World { with_chain: false, ..World::with_video().await };
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let request = proto::OrchestratorRequest { address: vec![0; 20], ..Default::default() };
    let info = orchestrator.grpc().await.get_orchestrator(request).await.unwrap().into_inner();
    let offer = Offer::from_proto(info).unwrap();
    let segment = clip::segment(0);
    let mut request = broadcaster.request(&offer, 0, &segment);
    request.sig.clear();
    let draft = Draft {
        url: orchestrator.url("/segment"),
        payment: String::new(),
        segment: header::encode_segment(&request.to_proto()),
    };
    let data = broadcaster.send(&draft, segment).await.data();
    assert_eq!((data.segments.len(), data.sig.len()), (2, 0));
}

#[tokio::test]
async fn ticket_sent_many_times_at_once_earns_credit_once() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let payment = broadcaster.pay(&offer, 1);
    let draft = broadcaster.draft(&orchestrator, &payment, &broadcaster.request(&offer, 0, &BODY));
    let replies = futures::future::join_all((0..8).map(|_| broadcaster.send(&draft, BODY))).await;
    let taken = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(taken, 1);
}

#[tokio::test]
async fn winners_for_keys_that_were_passed_are_refused_without_credit() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let (low, high) = (broadcaster.pay(&offer, 30), broadcaster.pay(&offer, 30));
    let send = async |payment: &Payment, offer: &Offer| {
        let draft = broadcaster.draft(&orchestrator, payment, &broadcaster.request(offer, 0, &BODY));
        broadcaster.send(&draft, BODY).await
    };
    assert_eq!(send(&high, &offer).await.status, 200);
    let mut tickets = world.store.tickets(None, 100).await.unwrap();
    tickets.sort_by_key(|record| record.ticket.signed.ticket.sender_nonce);
    let ticket = tickets[0].ticket.signed.ticket;
    let domain = QuoteDomain { chain_id: 31337, broker: Address::repeat_byte(0xbb) };
    let groups = [Passing { sender: ticket.sender, mark: U256::ZERO, tickets: &tickets }];
    let batch = OrderedBatch {
        intent: "batch",
        domain: &domain,
        recipient: ticket.recipient,
        groups: &groups,
        oldest: ticket.creation_round,
        urgent: None,
        block: 200,
    };
    let refused = world.store.submit_in_order(&batch).await.unwrap_err();
    assert!(matches!(refused, StoreError::ParamsOpen { .. }), "the desk is open: {refused}");
    world.store.submit_in_order(&OrderedBatch { urgent: Some(ticket.creation_round), ..batch }).await.unwrap();

    let other_session = Offer { params: offer.params, ..broadcaster.offer(&orchestrator).await };
    let reply = send(&low, &other_session).await;
    assert!(reply.status != 200 && reply.text().contains("TicketParams expired"), "{}", reply.text());
    assert_eq!(world.store.tickets(None, 100).await.unwrap().len(), tickets.len());
    assert!(!credit_is_left(&broadcaster, &orchestrator, &other_session, 1).await);
    assert!(credit_is_left(&broadcaster, &orchestrator, &offer, 1).await);
}

/// node.md §10 row 3: the refusal brings params, so that the sender need not ask for them.
#[tokio::test]
async fn pain_03_a_refusal_brings_params_that_are_taken() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let draft = broadcaster.draft(&orchestrator, &broadcaster.pay(&offer, 3), &broadcaster.request(&offer, 0, &BODY));
    world.chain.send_modify(|chain| chain.as_mut().unwrap().block += 40);
    let refusal = broadcaster.start(&draft, BODY).await;
    assert_eq!(refusal.status(), 400);
    let info = refusal.headers().get(header::ORCHESTRATOR_INFO).unwrap().to_str().unwrap().to_owned();
    assert_eq!(refusal.text().await.unwrap(), "TicketParams expired");
    let renewed = Offer::from_proto(header::decode_info(&info).unwrap()).unwrap();
    assert_eq!(renewed.auth_token, offer.auth_token);
    assert_eq!(broadcaster.segment(&orchestrator, &renewed, 3, 0, &BODY).await.status, 200);
}

#[tokio::test]
async fn work_that_is_paid_for_is_done_though_its_sender_can_pay_for_no_more() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    assert_eq!(broadcaster.segment(&orchestrator, &offer, 3, 0, &BODY).await.status, 200);
    world.funds.set(|funds| *funds = SenderFunds { pool_size: 1, ..Default::default() });
    let payment = Payment::without_tickets(broadcaster.address(), offer.price);
    let draft = broadcaster.draft(&orchestrator, &payment, &broadcaster.request(&offer, 1, &BODY));
    let info = broadcaster.send(&draft, BODY).await.result().info.unwrap();
    assert_eq!(info.ticket_params, None, "there are no terms for more");
    // With an empty balance the reason is told, and not only that it is empty.
    let poor = Broadcaster::with_key(&orchestrator, 0x0c);
    let draft = poor.draft(
        &orchestrator,
        &Payment::without_tickets(poor.address(), offer.price),
        &poor.request(&offer, 2, &BODY),
    );
    let reply = poor.send(&draft, BODY).await;
    assert_eq!(reply.status, 400);
    assert!(reply.text().starts_with("LowPMBalance: "), "{}", reply.text());
}

#[tokio::test]
async fn a01_tickets_sent_side_by_side_are_not_covered_by_the_same_money() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let face_value = offer.params.unwrap().face_value;
    world
        .funds
        .set(|funds| *funds = SenderFunds { reserve: face_value * U256::from(3), pool_size: 1, ..Default::default() });
    let drafts: Vec<_> = (0..8)
        .map(|seq| {
            let payment = broadcaster.pay(&offer, 1);
            broadcaster.draft(&orchestrator, &payment, &broadcaster.request(&offer, seq, &BODY))
        })
        .collect();
    let replies = futures::future::join_all(drafts.iter().map(|draft| broadcaster.send(draft, BODY))).await;
    let refused = |reply: &&crate::fixture::Reply| reply.status == 400 && reply.text().starts_with("LowPMBalance: ");
    // Each ticket wins nine times of ten: of all that won, three were credited, and with them those that lost before.
    let credited = replies.len() - replies.iter().filter(refused).count();
    let lost = replies.len() as u64 - world.winners().await;
    assert!((3..=3 + lost as usize).contains(&credited), "{credited} credited, {lost} lost");
}

#[tokio::test]
async fn quotes_follow_a_replaced_secret_and_those_of_the_one_before_are_taken() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let secret = |byte| QuoteSecret::new([byte; 32]);
    world.secrets.send_replace(QuoteSecrets { current: secret(8), previous: Some(secret(7)) });
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(broadcaster.segment(&orchestrator, &offer, 1, 0, &BODY).await.status, 200);
    let next = broadcaster.offer(&orchestrator).await;
    assert_eq!(broadcaster.segment(&orchestrator, &next, 1, 1, &BODY).await.status, 200);
    world.secrets.send_replace(secret(9).into());
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let reply = broadcaster.segment(&orchestrator, &next, 1, 2, &BODY).await;
    assert_eq!(reply.text(), "invalid recipientRand for ticket recipientRandHash");
}
