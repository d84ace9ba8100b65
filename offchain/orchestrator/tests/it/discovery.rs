//! GetOrchestrator, EndTranscodingSession, Ping.
use std::{sync::Arc, time::Duration};

use streamflow_orchestrator::{MaxSessions, OrchestratorConfig};
use streamflow_pm::TicketSigner;
use streamflow_types::{Price, VideoCodec};
use streamflow_wire::{
    Offer, capability, header,
    proto::{AuthToken, EndTranscodingSessionRequest, OrchestratorRequest, PingPong},
    sign_request, verify_ping,
};
use tonic::Code;

use crate::{
    fixture::{Broadcaster, Draft, Running, World, config, orchestrator_key, view},
    paid::Liar,
};

const CAPPED: &str = "Invalid orchestrator request: OrchestratorCapped";

fn request() -> OrchestratorRequest {
    sign_request(&orchestrator_key(), None).unwrap()
}

async fn refusal(orchestrator: &Running, request: OrchestratorRequest) -> (Code, String) {
    let status = orchestrator.grpc().await.get_orchestrator(request).await.unwrap_err();
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn offer_has_all_that_a_broadcaster_needs() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let offer = Broadcaster::new(&orchestrator).offer(&orchestrator).await;
    assert_eq!(offer.service_uri, orchestrator.url(""));
    assert_eq!(offer.price, Some(config().price));
    assert_eq!(offer.address, orchestrator_key().address());
    let params = offer.params.unwrap();
    assert_eq!(params.recipient, orchestrator_key().address());
    assert_eq!(params.face_value.to_string(), "350000000000000"); // 350,000 gas · 0.01 gwei · 100
    assert_eq!(params.expiration_block, view().block + 40);
    assert_eq!(params.expiration.creation_round, view().round);
    let token = offer.auth_token.unwrap();
    assert_eq!((token.session_id.len(), token.expiration), (32, 1_700_001_800));
}

#[tokio::test]
async fn other_instances_of_the_operator_are_named() {
    let world = World::new().await;
    let nodes = vec!["https://o2.example:8935".parse().unwrap()];
    let orchestrator = world.start_with(OrchestratorConfig { nodes, ..config() }).await;
    let offer = Broadcaster::new(&orchestrator).offer(&orchestrator).await;
    assert_eq!(offer.nodes, ["https://o2.example:8935"]);
}

#[tokio::test]
async fn request_that_its_address_did_not_sign_is_refused() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let expected = (Code::Unknown, "Invalid orchestrator request: orchestrator req sig check failed".to_owned());
    let mut forged = request();
    forged.address[0] ^= 1;
    assert_eq!(refusal(&orchestrator, forged).await, expected);
    let unsigned = OrchestratorRequest { sig: Vec::new(), ..request() };
    assert_eq!(refusal(&orchestrator, unsigned).await, expected);
}

#[tokio::test]
async fn sender_without_reserve_gets_no_offer() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    world.funds.set(|funds| funds.reserve = Default::default());
    let (code, text) = refusal(&orchestrator, request()).await;
    assert_eq!(code, Code::Unknown);
    let expected = "LowPMBalance: insufficient sender reserve: a winning ticket of this sender is covered up to 0 wei, \
                    315000000000000 wei are needed, and 0 wei won from it are not redeemed yet: what would do is \
                    315000000000000 wei more reserve, or 315000000000000 wei committed to this recipient";
    assert_eq!(text, expected);
}

#[tokio::test]
async fn missing_chain_state_is_named_without_its_rpc() {
    let world = World::new().await;
    world.chain.send_replace(None);
    let orchestrator = world.start().await;
    let (code, text) = refusal(&orchestrator, request()).await;
    assert_eq!(code, Code::Unavailable);
    // Which RPC that is, the operator finds in the log.
    assert_eq!(text, "chain state is not known yet: no answer from RPC …");
    // The node goes on, and serves as soon as the chain is there.
    world.chain.send_replace(Some(view()));
    Broadcaster::new(&orchestrator).offer(&orchestrator).await;
}

#[tokio::test]
async fn old_chain_state_is_refused_for_segments_too() {
    let world = World::new().await;
    let orchestrator =
        world.start_with(OrchestratorConfig { max_chain_age: Duration::from_millis(1500), ..config() }).await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let (code, text) = refusal(&orchestrator, request()).await;
    assert_eq!(code, Code::Unavailable);
    assert!(text.starts_with("chain state is 2 s old: no answer from RPC"), "{text}");
    let reply = broadcaster.segment(&orchestrator, &offer, 30, 0, &"body".into()).await;
    assert_eq!(reply.status, 503);
    assert!(world.winners().await > 0, "what wins is kept all the same");
    assert!(reply.text().ends_with("no answer from RPC …"), "{}", reply.text());
}

#[tokio::test]
async fn ping_is_signed() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let answer = orchestrator.grpc().await.ping(PingPong { value: b"challenge".to_vec() }).await.unwrap().into_inner();
    assert!(verify_ping(b"challenge", &answer, orchestrator_key().address()));
}

/// A signature over a longer text of the peer's choice could be that of a winning ticket.
#[tokio::test]
async fn ping_signs_nothing_that_could_be_a_ticket() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    assert!(orchestrator.grpc().await.ping(PingPong { value: vec![7; 32] }).await.is_ok());
    let refused = orchestrator.grpc().await.ping(PingPong { value: vec![7; 168] }).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(refused.message(), "a challenge of 168 bytes, at most 32 are signed");
}

#[tokio::test]
async fn ended_session_frees_its_place() {
    let world = World { local: Some(Arc::new(Liar(100))), ..World::new().await };
    let orchestrator = world.start_with(OrchestratorConfig { max_sessions: MaxSessions::AtMost(1), ..config() }).await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    assert_eq!(broadcaster.segment(&orchestrator, &offer, 1, 0, &"body".into()).await.status, 200);
    let stranger = Broadcaster::with_key(&orchestrator, 0x0c);
    let capped = stranger.job_offer(&orchestrator).await.unwrap_err();
    assert_eq!((capped.code(), capped.message()), (Code::Unknown, CAPPED));
    let end = async |auth_token: Option<AuthToken>| {
        orchestrator.grpc().await.end_transcoding_session(EndTranscodingSessionRequest { auth_token }).await
    };
    assert_eq!(end(None).await.unwrap_err().message(), "Invalid auth token");
    let forged = AuthToken { token: vec![1; 32], ..offer.auth_token.clone().unwrap() };
    assert_eq!(end(Some(forged)).await.unwrap_err().message(), "Invalid auth token");
    end(offer.auth_token).await.unwrap();
    assert_eq!(orchestrator.handle.open_sessions(), 0);
    stranger.job_offer(&orchestrator).await.unwrap();
}

/// An orchestrator with one place, which a stream has taken, and the terms of that stream.
async fn full() -> (World, Running, Broadcaster, Offer) {
    let world = World { local: Some(Arc::new(Liar(100))), ..World::new().await };
    let orchestrator = world.start_with(OrchestratorConfig { max_sessions: MaxSessions::AtMost(1), ..config() }).await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    assert_eq!(broadcaster.segment(&orchestrator, &offer, 1, 0, &"body".into()).await.status, 200);
    (world, orchestrator, broadcaster, offer)
}

#[tokio::test]
async fn what_a_full_node_is_and_costs_is_told_to_everybody() {
    let (_world, orchestrator, ..) = full().await;
    let stranger = Broadcaster::with_key(&orchestrator, 0x0c);
    let offer = stranger.offer(&orchestrator).await;
    assert_eq!(offer.price, Some(config().price));
    let reply = stranger.segment(&orchestrator, &offer, 1, 0, &"body".into()).await;
    assert_eq!((reply.status, reply.text()), (403, "OrchestratorCapped"), "terms are no place");
    assert_eq!(stranger.job_offer(&orchestrator).await.unwrap_err().message(), CAPPED);
}

/// Deployed gateways ask again in mid-stream, and go on with the session that the answer names.
#[tokio::test]
async fn a_stream_renews_its_terms_at_a_full_node_and_goes_on_with_them() {
    let (_world, orchestrator, broadcaster, first) = full().await;
    let renewed = broadcaster.job_offer(&orchestrator).await.unwrap();
    assert_ne!(renewed.auth_token, first.auth_token);
    // An upload that fails does not cost the place.
    let draft =
        broadcaster.draft(&orchestrator, &broadcaster.pay(&renewed, 1), &broadcaster.request(&renewed, 1, b"body"));
    assert_eq!(broadcaster.send(&draft, "other bytes").await.text(), "Forbidden");
    assert_eq!(broadcaster.segment(&orchestrator, &renewed, 1, 1, &"body".into()).await.data().segments.len(), 2);
    assert_eq!(orchestrator.handle.active_sessions(), 1, "the place went over");
    // Not to another of its streams, and to nobody else's of that name.
    let offer = broadcaster.offer(&orchestrator).await;
    let other = broadcaster.request_of("other", &offer, 0, b"body");
    let draft = broadcaster.draft(&orchestrator, &broadcaster.pay(&offer, 1), &other);
    assert_eq!(broadcaster.send(&draft, "body").await.status, 403);
    let stranger = Broadcaster::with_key(&orchestrator, 0x0c);
    let terms = stranger.offer(&orchestrator).await;
    assert_eq!(stranger.segment(&orchestrator, &terms, 1, 2, &"body".into()).await.status, 403);
    assert_eq!(orchestrator.handle.active_sessions(), 1);
}

/// Without a chain nobody signs: who asks is known by the address that he asks from.
#[tokio::test]
async fn without_a_chain_a_stream_renews_its_terms_too() {
    let world = World { with_chain: false, local: Some(Arc::new(Liar(100))), ..World::new().await };
    let orchestrator = world.start_with(OrchestratorConfig { max_sessions: MaxSessions::AtMost(1), ..config() }).await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let ask = async || {
        let job = capability::job(VideoCodec::H264, &broadcaster.profiles, false);
        let request = OrchestratorRequest { address: vec![0; 20], capabilities: Some(job), ..Default::default() };
        let info = orchestrator.grpc().await.get_orchestrator(request).await.unwrap().into_inner();
        Offer::from_proto(info).unwrap()
    };
    for seq in 0..2 {
        let request = broadcaster.request(&ask().await, seq, b"body");
        let segment = header::encode_segment(&request.to_proto());
        let draft = Draft { url: orchestrator.url("/segment"), payment: String::new(), segment };
        assert_eq!(broadcaster.send(&draft, "body").await.data().segments.len(), 2);
        assert_eq!(orchestrator.handle.active_sessions(), 1);
    }
}

#[tokio::test]
async fn idle_session_frees_its_place() {
    let world = World::new().await;
    let orchestrator =
        world.start_with(OrchestratorConfig { session_idle: Duration::from_millis(100), ..config() }).await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    broadcaster.segment(&orchestrator, &offer, 1, 0, &"body".into()).await;
    for _ in 0..100 {
        if orchestrator.handle.open_sessions() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the session is still open");
}

#[tokio::test]
async fn without_a_chain_work_is_free_and_nobody_signs() {
    let world = World { with_chain: false, ..World::new().await };
    let orchestrator = world.start().await;
    let request = OrchestratorRequest { address: vec![0; 20], ..Default::default() };
    let info = orchestrator.grpc().await.get_orchestrator(request).await.unwrap().into_inner();
    let offer = Offer::from_proto(info).unwrap();
    assert_eq!((offer.params, offer.price), (None, Some(Price::FREE)));
    assert!(offer.address.is_zero());
}
