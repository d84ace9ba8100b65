//! Jobs of the protocol of 2018 that are not done.
use alloy_primitives::{Address, U256};
use streamflow_orchestrator::{MaxSessions, OrchestratorConfig, QuotaConfig};
use streamflow_pm::TicketSigner;
use streamflow_types::Job;
use streamflow_wire::{
    Code, Refusal, header,
    jobs::{JobSegment, issue_credentials, proto::TranscoderRequest, sign_request},
};

use super::{expect, of_response, results::Stuck};
use crate::{
    fixture::{Running, World, orchestrator_key},
    jobs::{Post, ask, broadcaster, job, noise, stranger, switched_on, world_with},
};

pub(super) async fn provoke() -> Vec<Code> {
    let mut met = questions().await;
    met.extend(terms().await);
    met.extend(segments().await);
    met.extend(limits().await);
    met
}

fn question(id: i64, block: i64) -> TranscoderRequest {
    sign_request(id, block, &broadcaster()).unwrap()
}

async fn refused(orchestrator: &Running, request: TranscoderRequest) -> Option<Refusal> {
    Refusal::of_status(&ask(orchestrator, request).await.unwrap_err())
}

/// What the broadcaster of this job is told.
async fn told(job: Job) -> Option<Refusal> {
    let (_world, orchestrator) = world_with(job).await;
    refused(&orchestrator, question(7, 0)).await
}

async fn posted(orchestrator: &Running, post: Post) -> Option<Refusal> {
    of_response(&post.start(orchestrator).await)
}

async fn questions() -> Vec<Code> {
    let (world, orchestrator) = world_with(job()).await;
    let unknown = refused(&orchestrator, question(8, 0)).await;
    let behind = refused(&orchestrator, question(8, 1002)).await;
    let forged = refused(&orchestrator, sign_request(7, 0, &stranger()).unwrap()).await;
    world.jobs.lose();
    let unreadable = refused(&orchestrator, question(7, 0)).await;
    let (us, them) = (orchestrator_key().address().to_string(), Address::repeat_byte(9));
    let elsewhere = told(Job { orchestrator: them, ..job() }).await;
    vec![
        expect(unknown, Code::JobUnknown, "job 8", "block 1000"),
        expect(behind, Code::JobNotSeen, "block 1000", "block 1002"),
        expect(
            forged,
            Code::JobRequestNotSigned,
            &stranger().address().to_string(),
            &broadcaster().address().to_string(),
        ),
        expect(unreadable, Code::JobUnreadable, "0 answers", "1 answer"),
        expect(elsewhere, Code::JobAssignedElsewhere, &us, &them.to_string()),
        expect(told(Job { creation_block: 1003, ..job() }).await, Code::JobNotBegun, "block 1000", "block 1003"),
        expect(told(Job { end_block: 999, ..job() }).await, Code::JobEnded, "block 1000", "block 999"),
    ]
}

async fn terms() -> Vec<Code> {
    let (_world, orchestrator) = world_with(Job { broadcaster: stranger().address(), ..job() }).await;
    let unlisted = refused(&orchestrator, sign_request(7, 0, &stranger()).unwrap()).await;
    let cheap = told(Job { max_price_per_unit: U256::from(9_999_999), ..job() }).await;
    let unusable = told(Job { transcoding_options: "P1p1".into(), ..job() }).await;
    vec![
        expect(unlisted, Code::JobBroadcasterNotListed, &stranger().address().to_string(), "1 accounts listed"),
        expect(cheap, Code::JobPriceTooLow, "9999999 wei per pixel", "10000000/1 wei per pixel"),
        expect(unusable, Code::JobOptionsUnusable, "there is no preset \"P1p1\"", "1 to 32 known presets, each once"),
    ]
}

async fn segments() -> Vec<Code> {
    let (_world, orchestrator) = world_with(job()).await;
    let post = async |post: Post| posted(&orchestrator, post).await;
    let foreign = issue_credentials(7, &stranger()).unwrap();
    let (us, them) = (orchestrator_key().address(), stranger().address());
    let hash = alloy_primitives::keccak256("body");
    let forged = JobSegment::signed(&job().stream_id, 0, hash, &stranger()).unwrap().to_header();
    let other = post(Post { body: bytes::Bytes::from_static(b"other"), ..noise() }).await;
    let idle = post(noise()).await;
    let mismatch = (alloy_primitives::keccak256("other").to_string(), hash.to_string());
    vec![
        expect(
            post(Post { auth_type: "Bearer x".into(), ..noise() }).await,
            Code::JobAuthTypeWrong,
            "\"Bearer x\"",
            "Livepeer-Eth-1",
        ),
        expect(
            post(Post { credentials: foreign, ..noise() }).await,
            Code::JobCredentialsInvalid,
            &format!("credentials are signed by {them}, not by orchestrator {us}"),
            "credentials given by this orchestrator",
        ),
        expect(
            post(Post { segment: "***".into(), ..noise() }).await,
            Code::JobSegmentUnreadable,
            "segment header is not base64",
            "base64 of SegData with a number and a hash of 32 bytes",
        ),
        expect(
            post(Post { segment: forged, ..noise() }).await,
            Code::JobSegmentNotSigned,
            &them.to_string(),
            &broadcaster().address().to_string(),
        ),
        expect(
            post(Post { content_type: header::SEGMENT_URI, ..noise() }).await,
            Code::JobContentTypeWrong,
            &format!("{:?}", header::SEGMENT_URI),
            "video/MP2T",
        ),
        expect(other, Code::SegmentHashMismatch, &mismatch.0, &mismatch.1),
        expect(idle, Code::NoTranscoders, "0 connected, 0 with room", "1 with room"),
    ]
}

async fn limits() -> Vec<Code> {
    let world = World { local: Some(std::sync::Arc::new(Stuck)), ..World::new().await };
    world.jobs.set(job());
    world.jobs.set(Job { id: 8, ..job() });
    let one = OrchestratorConfig { max_sessions: MaxSessions::AtMost(1), ..switched_on() };
    let orchestrator = world.start_with(one).await;
    let segment = noise();
    let in_hand = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        refused(&orchestrator, question(8, 0)).await
    };
    let capped = tokio::select! {
        _ = segment.start(&orchestrator) => panic!("a segment that is never done was answered"),
        capped = in_hand => capped,
    };
    let quotas = QuotaConfig { quotes_per_second: 1, quote_burst: 1, ..Default::default() };
    let rare = world.start_with(OrchestratorConfig { quotas, ..switched_on() }).await;
    let too_many = loop {
        if let Err(status) = ask(&rare, question(7, 0)).await {
            break Refusal::of_status(&status);
        }
    };
    vec![
        expect(capped, Code::OrchestratorCapped, "1 sessions", "1 sessions"),
        expect(too_many, Code::TooManyQuotes, "1 quotes, 0 left", "1 quotes a second"),
    ]
}
