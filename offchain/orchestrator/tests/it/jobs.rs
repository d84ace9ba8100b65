//! The protocol of 2018: what it does, and every reason not to do it.
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex},
};

use alloy_primitives::{Address, U256, keccak256};
use bytes::Bytes;
use streamflow_orchestrator::{
    ConfigError, Deps, JobFuture, JobSource, JobUnavailable, JobsConfig, LimitsConfig, MaxSessions, Orchestrator,
    OrchestratorConfig, StartError,
};
use streamflow_pm::{KeySigner, TicketSigner};
use streamflow_types::Job;
use streamflow_wire::{
    header,
    jobs::{
        JobSegment, issue_credentials,
        proto::{TranscoderInfo, TranscoderRequest, orchestrator_client::OrchestratorClient},
        sign_request,
    },
};
use tonic::{Code, Status};

use crate::{
    clip,
    fixture::{Broadcaster, Reply, Running, World, config, orchestrator_key, view},
};

const PRESETS: [&str; 2] = ["P240p30fps16x9", "P144p30fps16x9"];

/// Jobs that a test sets; none at all is a chain that does not answer.
#[derive(Clone, Debug)]
pub(crate) struct Jobs(Arc<Mutex<Option<HashMap<u64, Job>>>>);

impl Default for Jobs {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some(HashMap::new()))))
    }
}

impl Jobs {
    pub(crate) fn set(&self, job: Job) {
        self.0.lock().unwrap().as_mut().unwrap().insert(job.id, job);
    }

    pub(crate) fn lose(&self) {
        *self.0.lock().unwrap() = None;
    }
}

impl JobSource for Jobs {
    fn job(&self, id: u64) -> JobFuture<'_> {
        let known = self.0.lock().unwrap().as_ref().map(|jobs| jobs.get(&id).cloned());
        Box::pin(async move { known.ok_or_else(|| JobUnavailable(Box::new(io::Error::other("connection refused")))) })
    }
}

pub(crate) fn broadcaster() -> KeySigner {
    KeySigner::from_bytes([0x0b; 32]).unwrap()
}

pub(crate) fn stranger() -> KeySigner {
    KeySigner::from_bytes([0x0c; 32]).unwrap()
}

/// Job 7, which has run for a hundred blocks and runs for a hundred more.
pub(crate) fn job() -> Job {
    Job {
        id: 7,
        broadcaster: broadcaster().address(),
        orchestrator: orchestrator_key().address(),
        creation_block: 900,
        end_block: 1100,
        max_price_per_unit: U256::from(10_000_000),
        stream_id: "a stream / of 2018".into(),
        transcoding_options: PRESETS.join(","),
    }
}

pub(crate) fn switched_on() -> OrchestratorConfig {
    let jobs_2018 = JobsConfig { enabled: true, broadcasters: vec![broadcaster().address()] };
    OrchestratorConfig { jobs_2018, ..config() }
}

pub(crate) async fn world_with(job: Job) -> (World, Running) {
    let world = World::new().await;
    world.jobs.set(job);
    let orchestrator = world.start_with(switched_on()).await;
    (world, orchestrator)
}

pub(crate) async fn ask(orchestrator: &Running, request: TranscoderRequest) -> Result<TranscoderInfo, Status> {
    let mut client = OrchestratorClient::new(orchestrator.channel().await);
    client.get_transcoder(request).await.map(tonic::Response::into_inner)
}

/// What the broadcaster of the job is told.
async fn info(orchestrator: &Running) -> Result<TranscoderInfo, Status> {
    ask(orchestrator, sign_request(7, 0, &broadcaster()).unwrap()).await
}

/// A segment of 2018 on its way.
#[derive(Clone)]
pub(crate) struct Post {
    pub(crate) auth_type: String,
    pub(crate) credentials: String,
    pub(crate) segment: String,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
}

impl Post {
    fn new(seq: u64, body: Bytes) -> Self {
        Self {
            auth_type: "Livepeer-Eth-1".into(),
            credentials: issue_credentials(7, &orchestrator_key()).unwrap(),
            segment: JobSegment::signed(&job().stream_id, seq, keccak256(&body), &broadcaster()).unwrap().to_header(),
            content_type: "video/MP2T",
            body,
        }
    }

    async fn send(&self, orchestrator: &Running) -> Reply {
        let response = self.start(orchestrator).await;
        Reply { status: response.status().as_u16(), body: response.bytes().await.unwrap() }
    }

    /// Returns when the head of the answer is there.
    pub(crate) async fn start(&self, orchestrator: &Running) -> reqwest::Response {
        let request = orchestrator.http().build().unwrap().post(orchestrator.url("/segment"));
        let request = request
            .header("Authorization", &self.auth_type)
            .header(header::CREDENTIALS, &self.credentials)
            .header(header::SEGMENT, &self.segment)
            .header("Content-Type", self.content_type);
        request.body(self.body.clone()).send().await.unwrap()
    }
}

/// A segment that nobody looks into.
pub(crate) fn noise() -> Post {
    Post::new(0, Bytes::from_static(b"body"))
}

fn assert_told(text: &str, parts: &[&dyn ToString]) {
    for part in parts.iter().map(|part| part.to_string()) {
        assert!(text.contains(&part), "{part:?} is not in {text:?}");
    }
}

async fn assert_not_told_where(job: Job, code: Code, parts: &[&dyn ToString]) {
    let (_world, orchestrator) = world_with(job).await;
    let refused = info(&orchestrator).await.unwrap_err();
    assert_eq!(refused.code(), code, "{refused}");
    assert_told(refused.message(), parts);
}

async fn assert_refused(orchestrator: &Running, post: Post, status: u16, parts: &[&dyn ToString]) {
    let reply = post.send(orchestrator).await;
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_told(reply.text(), parts);
}

// --- what it does ---

#[tokio::test]
async fn segments_of_a_job_are_done_and_fetched_by_the_names_of_streams() {
    let world = World::with_video().await;
    world.jobs.set(job());
    let orchestrator = world.start_with(switched_on()).await;
    let info = info(&orchestrator).await.unwrap();
    assert_eq!((info.transcoder.as_str(), info.auth_type.as_str()), (orchestrator.url("").as_str(), "Livepeer-Eth-1"));
    assert_eq!(info.stream_ids.len(), 2);
    for seq in 0..2 {
        let post = Post { credentials: info.credentials.clone(), ..Post::new(seq, clip::segment(seq as usize)) };
        let reply = post.send(&orchestrator).await;
        assert_eq!((reply.status, reply.text()), (200, "OK"));
        for (stream, preset) in &info.stream_ids {
            let url = orchestrator.url(&format!("/stream/{stream}/{seq}.ts"));
            let response = orchestrator.http().build().unwrap().get(url).send().await.unwrap();
            assert_eq!(response.status(), 200, "{stream}");
            let inspection = streamflow_media::inspect(&response.bytes().await.unwrap()).unwrap();
            let preset = streamflow_types::Profile::preset(preset).unwrap();
            assert_eq!((inspection.info.width, inspection.info.height), (preset.width, preset.height));
        }
    }
    assert_eq!(orchestrator.handle.open_sessions(), 1);
}

#[tokio::test]
async fn todays_protocol_goes_on_beside_it() {
    let world = World::with_video().await;
    world.jobs.set(job());
    let orchestrator = world.start_with(switched_on()).await;
    info(&orchestrator).await.unwrap();
    let today = Broadcaster::new(&orchestrator);
    let offer = today.offer(&orchestrator).await;
    let data = today.segment(&orchestrator, &offer, 4, 0, &clip::segment(0)).await.data();
    assert_eq!(data.segments.len(), 2);
}

#[tokio::test]
async fn names_of_streams_last_and_are_not_told_to_others() {
    let (world, orchestrator) = world_with(job()).await;
    let first = info(&orchestrator).await.unwrap().stream_ids;
    drop(orchestrator);
    let again = world.start_with(switched_on()).await;
    assert_eq!(info(&again).await.unwrap().stream_ids, first);
    assert!(
        first.keys().all(|stream| stream.starts_with("job-7-") && stream.len() > "job-7-/P240p30fps16x9".len() + 15)
    );
}

#[tokio::test]
async fn first_and_last_block_of_a_job_belong_to_it() {
    let here = view().block;
    for (creation_block, end_block) in [(here, here + 1), (here - 1, here)] {
        let (_world, orchestrator) = world_with(Job { creation_block, end_block, ..job() }).await;
        assert!(info(&orchestrator).await.is_ok());
    }
}

// --- GetTranscoder refused, in the order of the checks ---

#[tokio::test]
async fn a_switch_that_is_off_leaves_todays_protocol_alone() {
    let world = World::new().await;
    world.jobs.set(job());
    let orchestrator = world.start().await;
    assert_eq!(info(&orchestrator).await.unwrap_err().code(), Code::Unimplemented);
    assert_eq!(noise().send(&orchestrator).await.status, 403);
}

#[tokio::test]
async fn a_job_that_does_not_exist_is_told_with_the_block() {
    let (_world, orchestrator) = world_with(job()).await;
    for id in [8, 0, -1, i64::MAX] {
        let refused = ask(&orchestrator, sign_request(id, 0, &broadcaster()).unwrap()).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
        assert_told(refused.message(), &[&id, &"block 1000", &"check the number"]);
        // Who knows no more blocks than we do is not told that we lag.
        let refused = ask(&orchestrator, sign_request(id, 1000, &broadcaster()).unwrap()).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
    }
}

#[tokio::test]
async fn an_orchestrator_that_lags_says_so_with_both_blocks() {
    let (_world, orchestrator) = world_with(Job { creation_block: 1003, ..job() }).await;
    // The job is not there yet.
    let refused = ask(&orchestrator, sign_request(8, 1002, &broadcaster()).unwrap()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_told(refused.message(), &[&8, &"lags", &"block 1000", &"block 1002", &"ask again"]);
    // Its node knows the job, its view does not reach it.
    let refused = ask(&orchestrator, sign_request(7, 1004, &broadcaster()).unwrap()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_told(refused.message(), &[&"begins at block 1003", &"block 1000", &"block 1004", &"ask again"]);
}

#[tokio::test]
async fn a_job_of_another_orchestrator_names_both() {
    let assigned = Address::repeat_byte(9);
    let parts: [&dyn ToString; 3] = [&assigned, &orchestrator_key().address(), &"ask the one that is assigned"];
    assert_not_told_where(Job { orchestrator: assigned, ..job() }, Code::PermissionDenied, &parts).await;
}

#[tokio::test]
async fn a_job_that_has_ended_names_both_blocks() {
    let parts: [&dyn ToString; 3] = [&"ended with block 999", &"block 1000", &"create another job"];
    assert_not_told_where(Job { end_block: 999, ..job() }, Code::FailedPrecondition, &parts).await;
}

#[tokio::test]
async fn a_request_of_another_names_both_accounts() {
    let (_world, orchestrator) = world_with(job()).await;
    let refused = ask(&orchestrator, sign_request(7, 0, &stranger()).unwrap()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_told(refused.message(), &[&stranger().address(), &broadcaster().address(), &"decimal number"]);
    let unsigned = TranscoderRequest { job_id: 7, ..Default::default() };
    let refused = ask(&orchestrator, unsigned).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_told(refused.message(), &[&"nobody", &broadcaster().address()]);
}

#[tokio::test]
async fn checks_come_in_the_order_of_the_protocol() {
    let (world, orchestrator) =
        world_with(Job { orchestrator: Address::repeat_byte(9), end_block: 999, ..job() }).await;
    let refusal = async || ask(&orchestrator, sign_request(7, 0, &stranger()).unwrap()).await.unwrap_err().code();
    assert_eq!(refusal().await, Code::PermissionDenied, "assigned to another before ended");
    world.jobs.set(Job { end_block: 999, ..job() });
    assert_eq!(refusal().await, Code::FailedPrecondition, "ended before the signature");
    world.jobs.set(job());
    assert_eq!(refusal().await, Code::Unauthenticated);
}

#[tokio::test]
async fn a_broadcaster_that_is_not_served_is_told_the_setting() {
    let job = Job { broadcaster: stranger().address(), ..job() };
    let (_world, orchestrator) = world_with(job).await;
    let refused = ask(&orchestrator, sign_request(7, 0, &stranger()).unwrap()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_told(refused.message(), &[&stranger().address(), &"among the 1", &"orchestrator.jobs_2018.broadcasters"]);
}

#[tokio::test]
async fn a_price_above_the_ceiling_names_both() {
    let job = Job { max_price_per_unit: U256::from(9_999_999), ..job() };
    let parts: [&dyn ToString; 3] = [&"9999999 wei", &"10000000/1 wei", &"orchestrator.price"];
    assert_not_told_where(job, Code::FailedPrecondition, &parts).await;
}

#[tokio::test]
async fn options_that_cannot_be_done_are_named() {
    let job = |options: &str| Job { transcoding_options: options.into(), ..job() };
    let parts: [&dyn ToString; 3] = [&"\"P1p1\"", &"job 7", &"P240p30fps16x9"];
    assert_not_told_where(job("P240p30fps16x9,P1p1"), Code::FailedPrecondition, &parts).await;
    let parts: [&dyn ToString; 2] = [&"41", &"32"];
    assert_not_told_where(job(&",".repeat(40)), Code::FailedPrecondition, &parts).await;
    let parts: [&dyn ToString; 1] = [&"P240p30fps16x9 is named twice"];
    assert_not_told_where(job("P240p30fps16x9,P240p30fps16x9"), Code::FailedPrecondition, &parts).await;
}

#[tokio::test]
async fn a_full_orchestrator_names_both_numbers() {
    let world = World::with_video().await;
    world.jobs.set(job());
    world.jobs.set(Job { id: 8, ..job() });
    let orchestrator =
        world.start_with(OrchestratorConfig { max_sessions: MaxSessions::AtMost(1), ..switched_on() }).await;
    assert_eq!(Post::new(0, clip::segment(0)).send(&orchestrator).await.status, 200);
    let refused = ask(&orchestrator, sign_request(8, 0, &broadcaster()).unwrap()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_told(refused.message(), &[&"1 sessions have work", &"orchestrator.max_sessions is 1", &"try again later"]);
    let credentials = issue_credentials(8, &orchestrator_key()).unwrap();
    assert_refused(&orchestrator, Post { credentials, ..noise() }, 503, &[&"orchestrator.max_sessions"]).await;
    // The session that is open goes on.
    assert!(info(&orchestrator).await.is_ok());
}

#[tokio::test]
async fn a_chain_out_of_sight_is_told_without_its_secrets() {
    let (world, orchestrator) = world_with(job()).await;
    world.jobs.lose();
    let refused = info(&orchestrator).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_told(refused.message(), &[&"job 7 cannot be read", &"ask again"]);
    assert!(!refused.message().contains("connection refused"), "{refused}");
    assert_refused(&orchestrator, noise(), 503, &[&"job 7 cannot be read"]).await;
    world.chain.send_replace(None);
    let refused = info(&orchestrator).await.unwrap_err();
    assert_told(refused.message(), &[&"out of this orchestrator's sight, since it started", &"ask again"]);
    assert!(!refused.message().contains("rpc.example"), "{refused}");
}

// --- segments refused, in the order of the checks ---

#[tokio::test]
async fn another_kind_of_authorization_is_refused() {
    let (_world, orchestrator) = world_with(job()).await;
    let post = Post { auth_type: "Bearer x".into(), ..noise() };
    assert_refused(&orchestrator, post, 401, &[&"Bearer x", &"Livepeer-Eth-1", &"GetTranscoder"]).await;
}

#[tokio::test]
async fn credentials_that_we_did_not_give_are_refused() {
    let (_world, orchestrator) = world_with(job()).await;
    let credentials = issue_credentials(7, &stranger()).unwrap();
    let parts: [&dyn ToString; 3] = [&stranger().address(), &orchestrator_key().address(), &"GetTranscoder"];
    assert_refused(&orchestrator, Post { credentials, ..noise() }, 403, &parts).await;
    for credentials in ["***".to_owned(), "A".repeat(2000)] {
        assert_refused(&orchestrator, Post { credentials, ..noise() }, 403, &[&"GetTranscoder"]).await;
    }
    // Good ones, of a job that there is not.
    let credentials = issue_credentials(9, &orchestrator_key()).unwrap();
    assert_refused(&orchestrator, Post { credentials, ..noise() }, 404, &[&"no job 9", &"block 1000"]).await;
}

#[tokio::test]
async fn segments_of_a_job_that_ended_meanwhile_are_refused() {
    let (world, orchestrator) = world_with(job()).await;
    assert!(info(&orchestrator).await.is_ok());
    world.jobs.set(Job { end_block: 999, ..job() });
    let parts: [&dyn ToString; 2] = [&"ended with block 999", &"block 1000"];
    assert_refused(&orchestrator, noise(), 403, &parts).await;
    // Time ends jobs too.
    world.jobs.set(job());
    world.chain.send_replace(Some(streamflow_types::ChainView { block: 1101, ..view() }));
    let parts: [&dyn ToString; 2] = [&"ended with block 1100", &"block 1101"];
    assert_refused(&orchestrator, noise(), 403, &parts).await;
}

#[tokio::test]
async fn segments_that_the_broadcaster_did_not_sign_are_refused() {
    let (_world, orchestrator) = world_with(job()).await;
    let hash = keccak256("body");
    let of = |stream: &str, signer: &KeySigner| JobSegment::signed(stream, 3, hash, signer).unwrap().to_header();
    let parts: [&dyn ToString; 3] = [&stranger().address(), &broadcaster().address(), &"segment 3"];
    let post = Post { segment: of(&job().stream_id, &stranger()), ..noise() };
    assert_refused(&orchestrator, post, 403, &parts).await;
    let post = Post { segment: of("another stream", &broadcaster()), ..noise() };
    assert_refused(&orchestrator, post, 403, &[&broadcaster().address()]).await;
    assert_refused(&orchestrator, Post { segment: "***".into(), ..noise() }, 400, &[&"not base64"]).await;
}

#[tokio::test]
async fn a_body_that_is_not_the_signed_one_is_refused_with_both_hashes() {
    let (_world, orchestrator) = world_with(job()).await;
    let post = Post { body: Bytes::from_static(b"other"), ..noise() };
    let parts: [&dyn ToString; 3] = [&keccak256("other"), &keccak256("body"), &"unchanged"];
    assert_refused(&orchestrator, post, 403, &parts).await;
}

#[tokio::test]
async fn a_body_of_another_kind_or_size_is_refused() {
    let (world, orchestrator) = world_with(job()).await;
    let post = Post { content_type: header::SEGMENT_URI, ..noise() };
    assert_refused(&orchestrator, post, 415, &[&header::SEGMENT_URI, &"video/MP2T"]).await;
    drop(orchestrator);
    let limits = LimitsConfig { max_segment_bytes: 3, ..LimitsConfig::default() };
    let small = world.start_with(OrchestratorConfig { limits, ..switched_on() }).await;
    assert_refused(&small, noise(), 413, &[&"more than 3 bytes", &"orchestrator.limits"]).await;
}

#[tokio::test]
async fn a_segment_that_cannot_be_transcoded_says_why() {
    let world = World::with_video().await;
    world.jobs.set(job());
    let orchestrator = world.start_with(switched_on()).await;
    let post = Post::new(5, Bytes::from(vec![0x5a; 100_000]));
    assert_refused(&orchestrator, post, 500, &[&"segment 5", &"not an mpeg transport stream"]).await;
    // Nobody who could do it.
    let (_world, idle) = world_with(job()).await;
    assert_refused(&idle, noise(), 503, &[&"segment 0", &"no transcoders"]).await;
}

#[tokio::test]
async fn a_node_that_stops_takes_no_jobs() {
    let (_world, orchestrator) = world_with(job()).await;
    let mut client = OrchestratorClient::new(orchestrator.channel().await);
    let request = sign_request(7, 0, &broadcaster()).unwrap();
    client.get_transcoder(request.clone()).await.unwrap();
    orchestrator.stop.cancel();
    let refused = client.get_transcoder(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
}

// --- settings ---

#[tokio::test]
async fn the_switch_wants_accounts_and_a_chain() {
    let nobody = OrchestratorConfig { jobs_2018: JobsConfig { enabled: true, ..Default::default() }, ..config() };
    assert_eq!(nobody.validate(), Err(ConfigError::NoJobBroadcasters));
    assert_told(&nobody.validate().unwrap_err().to_string(), &[&"jobs_2018.broadcasters"]);
    let crowd = JobsConfig { enabled: true, broadcasters: vec![Address::ZERO; 1025] };
    let refused = OrchestratorConfig { jobs_2018: crowd, ..config() }.validate();
    assert_eq!(refused, Err(ConfigError::TooManyJobBroadcasters { got: 1025, max: 1024 }));
    let dir = tempfile::tempdir().unwrap();
    let deps = Deps { chain: None, local: None, secret: [1; 32], data_dir: dir.path().into(), clock: Arc::new(|| 0) };
    let orchestrator = Orchestrator::bind(switched_on(), deps).await.unwrap();
    let refused = orchestrator.with_jobs(Arc::new(Jobs::default())).unwrap_err();
    assert!(matches!(refused, StartError::JobsWithoutChain));
    assert_told(&refused.to_string(), &[&"chain.controller"]);
}
