//! Questions for terms, challenges, payments ahead, and a node that cannot answer.
use std::time::Duration;

use alloy_primitives::U256;
use streamflow_orchestrator::OrchestratorConfig;
use streamflow_types::Round;
use streamflow_wire::{
    Code, Refusal,
    proto::{EndTranscodingSessionRequest, OrchestratorRequest, PingPong},
    sign_request,
};

use super::{expect, of_response};
use crate::{
    checks::{BODY, Case},
    fixture::{World, config, orchestrator_key, view},
    refusals::results::Stuck,
};

pub(super) async fn provoke() -> Vec<Code> {
    let case = Case::new().await;
    let mut met = questions(&case).await;
    met.extend(ahead(&case).await);
    met.extend(chain().await);
    met.extend(terms().await);
    met.push(stopping().await);
    met
}

fn request() -> OrchestratorRequest {
    sign_request(&orchestrator_key(), None).unwrap()
}

async fn refused(case: &Case, request: OrchestratorRequest) -> Option<Refusal> {
    Refusal::of_status(&case.orchestrator.grpc().await.get_orchestrator(request).await.unwrap_err())
}

async fn questions(case: &Case) -> Vec<Code> {
    let unsigned = refused(case, OrchestratorRequest { sig: Vec::new(), ..request() }).await;
    let mut grpc = case.orchestrator.grpc().await;
    let ping = grpc.ping(PingPong { value: vec![7; 168] }).await.unwrap_err();
    let nobody = grpc.end_transcoding_session(EndTranscodingSessionRequest::default()).await.unwrap_err();
    vec![
        expect(unsigned, Code::RequestNotSigned, "no signature of the address", "a signature of the address"),
        expect(Refusal::of_status(&ping), Code::PingTooLong, "168 bytes", "32 bytes"),
        expect(Refusal::of_status(&nobody), Code::AuthTokenMissing, "0 tokens", "1 token"),
    ]
}

async fn ahead(case: &Case) -> Vec<Code> {
    let ask = async |body: String| {
        let response = case.broadcaster.http.post(case.orchestrator.url("/refresh-payment")).body(body);
        let response = response.send().await.unwrap();
        (response.status().as_u16(), of_response(&response))
    };
    let sender = case.broadcaster.address();
    let (conflict, none) = ask(format!(r#"{{"sender":"{sender}","manifest_id":"clip"}}"#)).await;
    let (bad, unreadable) = ask("{".into()).await;
    assert_eq!((conflict, bad), (409, 400));
    vec![
        expect(none, Code::PriceNotPinned, "0 sessions", "1 session"),
        expect(unreadable, Code::RequestUnreadable, "not the expected JSON", "sender and manifest_id"),
    ]
}

async fn chain() -> Vec<Code> {
    let case = Case::with(OrchestratorConfig { max_chain_age: Duration::from_millis(1_500), ..config() }).await;
    case.world.funds.silence();
    let who = streamflow_pm::TicketSigner::address(&orchestrator_key()).to_string();
    let funds = refused(&case, request()).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let stale = refused(&case, request()).await;
    case.world.chain.send_replace(None);
    let unknown = refused(&case, request()).await;
    vec![
        expect(funds, Code::SenderFundsUnknown, &who, "an answer of the RPC"),
        expect(stale, Code::ChainStale, "2 s", "1 s"),
        expect(unknown, Code::ChainUnknown, "0 answers", "1 answer"),
    ]
}

async fn terms() -> Vec<Code> {
    let mut settings = config();
    settings.tickets.max_face_value = U256::from(400_000_000_000_000_u64);
    let case = Case::with(settings).await;
    case.world.chain.send_modify(|chain| chain.as_mut().unwrap().base_fee = 10_000_000_000);
    let dear = refused(&case, request()).await;
    case.world.chain.send_replace(Some(streamflow_types::ChainView {
        round: Round(0),
        round_block_hash: Default::default(),
        ..view()
    }));
    let no_round = refused(&case, request()).await;
    vec![
        expect(dear, Code::FaceValueCapped, "1050000000000000 wei", "400000000000000 wei"),
        expect(no_round, Code::RoundNotInitialized, "0 rounds", "1 round with a block hash"),
    ]
}

async fn stopping() -> Code {
    let world = World { local: Some(std::sync::Arc::new(Stuck)), ..World::new().await };
    let case = Case::of(world, config()).await;
    let held = case.broadcaster.start(&case.good(), BODY).await;
    case.orchestrator.stop.cancel();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let refused = case.refusal(&case.good(), BODY).await;
    drop(held);
    expect(refused, Code::NodeStopping, "stopping", "running")
}
