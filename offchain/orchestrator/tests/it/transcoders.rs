//! Remote transcoders: registration, results, and what happens when one dies.
use std::{process::Stdio, time::Duration};

use bytes::Bytes;
use futures::StreamExt;
use rustix::process::{Pid, Signal, kill_process};
use streamflow_orchestrator::{LimitsConfig, OrchestratorConfig};
use streamflow_transcoder::{RemoteTranscoder, TranscoderConfig, TranscoderError};
use streamflow_types::{Secret, VideoCodec};
use streamflow_wire::{
    Offer, SegmentRequest, TranscoderTask,
    capability::{self, Capability, OFFERED},
    header,
    proto::{Capabilities, NotifySegment, RegisterRequest, transcoder_client::TranscoderClient},
};
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use crate::{
    clip,
    fixture::{Broadcaster, Reply, Running, SECRET, World, config},
};

/// A transcoder in a process of its own.
fn transcoder_process(orchestrator: &Running) -> Child {
    transcoder_at(&orchestrator.url(""))
}

/// The same, of an orchestrator's or a NATS server's URL.
pub(crate) fn transcoder_at(url: &str) -> Child {
    Command::new(clip::transcoder_program())
        .args(["remote", url])
        .env("TRANSCODER_SECRET", SECRET)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// A transcoder in this process, when it is connected, and what stops it.
async fn transcoder_here(orchestrator: &Running) -> (CancellationToken, JoinHandle<Result<(), TranscoderError>>) {
    let (config, local) = (transcoder_config(orchestrator), clip::local_transcoder().await);
    let (transcoder, stop) = (RemoteTranscoder::new(config, local).await.unwrap(), CancellationToken::new());
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { transcoder.run(stop).await }
    });
    orchestrator.wait_for_transcoders(1).await;
    (stop, running)
}

/// Sends a signal to one process that this test started.
pub(crate) fn signal(process: &Child, signal: Signal) {
    let pid = Pid::from_raw(process.id().unwrap() as i32).unwrap();
    kill_process(pid, signal).unwrap();
}

fn transcoder_config(orchestrator: &Running) -> TranscoderConfig {
    TranscoderConfig {
        orchestrator: orchestrator.url("").parse().ok(),
        secret: Secret::new(SECRET),
        min_backoff: Duration::from_millis(50),
        ..Default::default()
    }
}

fn registration(secret: &str, capacity: i64) -> RegisterRequest {
    RegisterRequest { secret: secret.into(), capacity, capabilities: Some(capability::describe(&OFFERED, 1, "0.1.0")) }
}

/// A transcoder by hand.
struct ByHand {
    notices: Streaming<NotifySegment>,
    http: reqwest::Client,
    results: String,
    member: String,
}

impl ByHand {
    async fn register(orchestrator: &Running) -> Self {
        Self::able(orchestrator, registration(SECRET, 4).capabilities).await
    }

    async fn able(orchestrator: &Running, capabilities: Option<Capabilities>) -> Self {
        let mut client = TranscoderClient::new(orchestrator.channel().await);
        let request = RegisterRequest { capabilities, ..registration(SECRET, 4) };
        let registered = client.register_transcoder(request).await.unwrap();
        let member = registered.metadata().get("streamflow-member").unwrap().to_str().unwrap().to_owned();
        let notices = registered.into_inner();
        let http = orchestrator.http().build().unwrap();
        Self { notices, http, results: orchestrator.url("/transcodeResults"), member }
    }

    async fn task(&mut self) -> (i64, String) {
        match TranscoderTask::from_proto(self.notices.next().await.unwrap().unwrap()).unwrap() {
            TranscoderTask::Transcode { task_id, url, .. } => (task_id, url),
            other => panic!("{other:?}"),
        }
    }

    /// What comes with a task.
    async fn told(&mut self) -> SegmentRequest {
        match TranscoderTask::from_proto(self.notices.next().await.unwrap().unwrap()).unwrap() {
            TranscoderTask::Transcode { segment, .. } => *segment,
            other => panic!("{other:?}"),
        }
    }

    fn post(&self, secret: &str, task_id: &str, content_type: &str) -> reqwest::RequestBuilder {
        self.http
            .post(&self.results)
            .header("Authorization", header::TRANSCODER_AUTHORIZATION)
            .header(header::CREDENTIALS, secret)
            .header(header::TASK_ID, task_id)
            .header("Content-Type", content_type)
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, String) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

const MIXED: &str = "multipart/mixed; boundary=b";

/// Two renditions of 30 bytes.
fn renditions() -> String {
    let part = |pixels| format!("--b\r\nContent-Type: video/mp2t\r\nPixels: {pixels}\r\n\r\n{}\r\n", "x".repeat(30));
    format!("{}{}--b--\r\n", part(100), part(50))
}

#[tokio::test]
async fn refused_registrations_say_why() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let refusal = async |request: RegisterRequest| -> String {
        let mut client = TranscoderClient::new(orchestrator.channel().await);
        let status: Status = client.register_transcoder(request).await.unwrap_err();
        status.message().to_owned()
    };
    assert_eq!(refusal(registration("sword", 1)).await, "invalid secret");
    assert_eq!(refusal(registration("", 1)).await, "invalid secret");
    assert_eq!(refusal(registration(SECRET, 0)).await, "zero capacity");
    assert_eq!(refusal(registration(SECRET, -1)).await, "zero capacity");
}

#[tokio::test]
async fn nobody_registers_where_no_secret_is_set() {
    let world = World::new().await;
    let no_secret = OrchestratorConfig { transcoder_secret: Secret::default(), ..config() };
    let orchestrator = world.start_with(no_secret).await;
    let mut client = TranscoderClient::new(orchestrator.channel().await);
    assert_eq!(client.register_transcoder(registration("", 1)).await.unwrap_err().message(), "invalid secret");
}

#[tokio::test]
async fn results_are_checked_before_they_are_taken() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let mut transcoder = ByHand::register(&orchestrator).await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let body = Bytes::from_static(b"segment");
    // The head of the answer is there while nobody has transcoded anything.
    let taken = broadcaster.begin(&orchestrator, &offer, 1, 3, &body).await;
    assert_eq!(taken.status(), 200);
    let (task, url) = transcoder.task().await;
    assert!(url.ends_with("/3.tempfile"), "{url}");
    assert_eq!(transcoder.http.get(&url).send().await.unwrap().bytes().await.unwrap(), body);
    let id = task.to_string();
    let send = |secret: &str, id: &str, content_type: &str| {
        answer(transcoder.post(secret, id, content_type).header(header::PIXELS, "1").body(renditions()))
    };
    assert_eq!(send("sword", &id, MIXED).await, (401, "Unauthorized".into()));
    assert_eq!(send(SECRET, &id, "video/mp2t").await.0, 415);
    assert_eq!(send(SECRET, &id, "multipart/mixed").await.0, 415);
    assert_eq!(send(SECRET, &(task + 1).to_string(), MIXED).await, (400, "Invalid Task ID".into()));
    assert_eq!(send(SECRET, "one", MIXED).await, (400, "Invalid Task ID".into()));
    let no_pixels = transcoder.post(SECRET, &id, MIXED).body(renditions());
    assert_eq!(answer(no_pixels).await, (400, "Invalid Pixels".into()));
    let other_type = transcoder.http.post(&transcoder.results).header("Authorization", "Basic x");
    assert_eq!(answer(other_type.header(header::CREDENTIALS, SECRET).body(renditions())).await.0, 401);
    assert_eq!(send(SECRET, &id, MIXED).await, (200, "OK".into()));
    assert_eq!(send(SECRET, &id, MIXED).await, (200, "OK".into()), "a second time is late, and thrown away");
    let reply = Reply::of(taken).await;
    let pixels: Vec<_> = reply.data().segments.iter().map(|segment| segment.pixels).collect();
    assert_eq!(pixels, [100, 50]);
}

#[tokio::test]
async fn codecs_are_offered_while_a_transcoder_names_them_and_told_with_the_task() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let bits = |offer: &Offer| capability::bits(&offer.capabilities.as_ref().unwrap().bitstring);
    let body = Bytes::from_static(b"segment");
    let send = async |offer: &Offer| {
        let mut request = broadcaster.request(offer, 3, &body);
        request.capabilities = Some(capability::job(VideoCodec::H265, &broadcaster.profiles, false));
        broadcaster.sign(&mut request);
        let draft = broadcaster.draft(&orchestrator, &broadcaster.pay(offer, 1), &request);
        broadcaster.start(&draft, body.clone()).await
    };
    let plain = ByHand::register(&orchestrator).await;
    let offer = broadcaster.offer(&orchestrator).await;
    assert_eq!(bits(&offer), OFFERED.map(Capability::bit));
    assert_eq!(send(&offer).await.status(), 403);
    let described = capability::describe(&capability::offered(|codec| codec == Capability::HevcDecode), 4, "0.1.0");
    let mut able = ByHand::able(&orchestrator, Some(described)).await;
    let offer = broadcaster.offer(&orchestrator).await;
    assert!(bits(&offer).contains(&Capability::HevcDecode.bit()));
    assert_eq!(send(&offer).await.status(), 200);
    let told = able.told().await.capabilities;
    assert_eq!(capability::source(told.as_ref()), VideoCodec::H265);
    // One that names nothing can do what all can.
    drop((able, plain));
    orchestrator.wait_for_transcoders(0).await;
    let _silent = ByHand::able(&orchestrator, None).await;
    assert_eq!(bits(&broadcaster.offer(&orchestrator).await), OFFERED.map(Capability::bit));
}

#[tokio::test]
async fn reported_failure_reaches_the_broadcaster() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let mut transcoder = ByHand::register(&orchestrator).await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let body = Bytes::from_static(b"segment");
    let (reply, ()) = tokio::join!(broadcaster.segment(&orchestrator, &offer, 1, 0, &body), async {
        let (task, _) = transcoder.task().await;
        let report = transcoder.post(SECRET, &task.to_string(), header::TRANSCODING_ERROR).body("Invalid data found");
        assert_eq!(answer(report).await, (200, "OK".into()));
    });
    assert_eq!(reply.error(), "Invalid data found");
}

#[tokio::test]
async fn queue_of_a_session_holds_four() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let mut transcoder = ByHand::register(&orchestrator).await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let body = Bytes::from_static(b"segment");
    let mut waiting = Vec::new();
    for seq in 0..5 {
        waiting.push(broadcaster.begin(&orchestrator, &offer, 1, seq, &body).await);
        if seq == 0 {
            transcoder.task().await;
        }
    }
    assert_eq!(broadcaster.segment(&orchestrator, &offer, 1, 5, &body).await.error(), "OrchestratorBusy");
}

#[tokio::test]
async fn killed_transcoder_loses_no_segment() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let mut first = transcoder_process(&orchestrator);
    orchestrator.wait_for_transcoders(1).await;
    let _second = transcoder_process(&orchestrator);
    orchestrator.wait_for_transcoders(2).await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    assert_eq!(broadcaster.segment(&orchestrator, &offer, 4, 0, &clip::segment(0)).await.data().segments.len(), 2);
    let segment = clip::segment(1);
    let taken = broadcaster.begin(&orchestrator, &offer, 4, 1, &segment).await;
    assert_eq!(taken.status(), 200);
    // SIGKILL, in the middle of the segment: sessions stay with their transcoder, and the first one has this one.
    first.kill().await.unwrap();
    let reply = Reply::of(taken).await;
    assert_eq!(reply.data().segments.len(), 2);
    assert_eq!(orchestrator.handle.transcoders(), 1);
}

/// Kills, stops and resumes transcoders while a stream goes on.
#[tokio::test]
async fn stream_goes_on_while_its_transcoders_are_killed_stopped_and_resumed() {
    let world = World::new().await;
    let limits = LimitsConfig { keep_alive: Duration::from_millis(500), ..Default::default() };
    let orchestrator = world.start_with(OrchestratorConfig { limits, ..config() }).await;
    let mut transcoders = Vec::new();
    for count in 1..=3 {
        transcoders.push(transcoder_process(&orchestrator));
        orchestrator.wait_for_transcoders(count).await;
    }
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let mut done = 0;
    for seq in 0..6 {
        let segment = clip::segment(seq as usize % 2);
        let taken = broadcaster.begin(&orchestrator, &offer, 4, seq, &segment).await;
        match seq {
            // The session is with the first one: it hangs in the middle of a segment, and dies in the next.
            1 => signal(&transcoders[0], Signal::STOP),
            3 => transcoders[1].kill().await.unwrap(),
            4 => signal(&transcoders[0], Signal::CONT),
            _ => {}
        }
        let before = std::time::Instant::now();
        let reply = Reply::of(taken).await;
        assert_eq!(reply.data().segments.len(), 2, "segment {seq}");
        assert!(before.elapsed() < Duration::from_secs(8), "segment {seq} is past its deadline");
        done += 1;
    }
    assert_eq!(done, 6);
    // Whoever was resumed works again, and the dead one is known to be gone.
    orchestrator.wait_for_transcoders(2).await;
}

/// Waits until so many transcoders are given work.
async fn sound(orchestrator: &Running, count: usize, within: Duration) {
    let reached = async {
        while orchestrator.handle.sound_transcoders() != count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(within, reached).await.unwrap();
}

/// One probe that a busy machine answers late is no reason to drop a transcoder with all that it has in hand.
#[tokio::test]
async fn transcoder_that_catches_its_breath_stays_and_gets_no_work_meanwhile() {
    let world = World::new().await;
    let limits = LimitsConfig { keep_alive: Duration::from_secs(1), ..Default::default() };
    let orchestrator = world.start_with(OrchestratorConfig { limits, ..config() }).await;
    let transcoder = transcoder_process(&orchestrator);
    orchestrator.wait_for_transcoders(1).await;
    // It tells of itself from its registration on; with a segment done, that has come.
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    assert_eq!(broadcaster.segment(&orchestrator, &offer, 4, 0, &clip::segment(0)).await.data().segments.len(), 2);
    signal(&transcoder, Signal::STOP);
    // Later than two probes.
    sound(&orchestrator, 0, Duration::from_secs(5)).await;
    assert_eq!(orchestrator.handle.transcoders(), 1);
    signal(&transcoder, Signal::CONT);
    sound(&orchestrator, 1, Duration::from_secs(20)).await;
}

#[tokio::test]
async fn half_open_transcoder_is_found_in_seconds() {
    let world = World::new().await;
    let limits = LimitsConfig { keep_alive: Duration::from_millis(500), ..Default::default() };
    let orchestrator = world.start_with(OrchestratorConfig { limits, ..config() }).await;
    let transcoder = transcoder_process(&orchestrator);
    orchestrator.wait_for_transcoders(1).await;
    signal(&transcoder, Signal::STOP);
    sound(&orchestrator, 0, Duration::from_secs(5)).await;
    signal(&transcoder, Signal::CONT);
    sound(&orchestrator, 1, Duration::from_secs(20)).await;
}

#[tokio::test]
async fn terminated_transcoder_finishes_its_segment_and_gets_no_other() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let mut leaving = transcoder_process(&orchestrator);
    orchestrator.wait_for_transcoders(1).await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let segment = clip::segment(0);
    let taken = broadcaster.begin(&orchestrator, &offer, 4, 0, &segment).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    signal(&leaving, Signal::TERM);
    let reply = Reply::of(taken).await;
    assert_eq!(reply.data().segments.len(), 2);
    let ended = tokio::time::timeout(Duration::from_secs(10), leaving.wait()).await.unwrap();
    assert!(ended.unwrap().success());
    orchestrator.wait_for_transcoders(0).await;
    let reply = broadcaster.segment(&orchestrator, &offer, 4, 1, &segment).await;
    assert_eq!(reply.error(), "no transcoders available");
}

#[tokio::test]
async fn results_for_the_tasks_of_others_and_repeated_ones_disturb_nobody() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let mut honest = ByHand::register(&orchestrator).await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let body = Bytes::from_static(b"segment");
    let taken = broadcaster.begin(&orchestrator, &offer, 1, 3, &body).await;
    let (task, _) = honest.task().await;
    let hostile = ByHand::register(&orchestrator).await;
    let id = task.to_string();
    let wrong = |id: &str, member: &str| {
        let post = hostile.post(SECRET, id, MIXED).header(header::PIXELS, "1").header(header::MEMBER, member);
        answer(post.body(renditions()))
    };
    // Its own name, no name, and numbers near the real one.
    assert_eq!(wrong(&id, &hostile.member).await, (400, "Invalid Task ID".into()));
    assert_eq!(wrong(&id, "").await, (400, "Invalid Task ID".into()));
    for near in [task.wrapping_add(1), task.wrapping_sub(1), 0, -1, i64::MIN] {
        assert_eq!(wrong(&near.to_string(), &honest.member).await.0, 400, "{near}");
    }
    // Half of a result, and one with too many parts, are no result.
    let half = honest.post(SECRET, &id, MIXED).header(header::PIXELS, "1").body(renditions()[..60].to_owned());
    assert_eq!(answer(half).await.0, 400);
    let post = || honest.post(SECRET, &id, MIXED).header(header::PIXELS, "1").header(header::MEMBER, &honest.member);
    let (first, second) = tokio::join!(answer(post().body(renditions())), answer(post().body(renditions())));
    assert_eq!((first, second), ((200, "OK".into()), (200, "OK".into())));
    let reply = Reply::of(taken).await;
    assert_eq!(reply.data().segments.len(), 2);
    assert_eq!(answer(post().body(renditions())).await, (200, "OK".into()), "late, and thrown away");
}

#[tokio::test]
async fn transcoder_that_is_refused_gives_up() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let wrong = TranscoderConfig { secret: Secret::new("sword"), ..transcoder_config(&orchestrator) };
    let transcoder = RemoteTranscoder::new(wrong, clip::local_transcoder().await).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), transcoder.run(CancellationToken::new())).await.unwrap();
    assert!(matches!(ended, Err(TranscoderError::Refused { reason }) if reason == "invalid secret"));
}

#[tokio::test]
async fn transcoder_comes_back_after_a_restart_of_the_orchestrator() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let (stop, running) = transcoder_here(&orchestrator).await;
    let listen = orchestrator.address;
    orchestrator.stopped().await;
    let orchestrator = world.start_with(OrchestratorConfig { listen, ..config() }).await;
    orchestrator.wait_for_transcoders(1).await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    assert_eq!(broadcaster.segment(&orchestrator, &offer, 4, 0, &clip::segment(0)).await.data().segments.len(), 2);
    stop.cancel();
    running.await.unwrap().unwrap();
    orchestrator.wait_for_transcoders(0).await;
}

#[tokio::test]
async fn stopping_transcoder_delivers_what_it_has() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let (stop, running) = transcoder_here(&orchestrator).await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let segment = clip::segment(0);
    let taken = broadcaster.begin(&orchestrator, &offer, 4, 0, &segment).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    stop.cancel();
    let reply = Reply::of(taken).await;
    assert_eq!(reply.data().segments.len(), 2);
    tokio::time::timeout(Duration::from_secs(10), running).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn bad_segment_is_reported_by_the_transcoder() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let mut process = transcoder_process(&orchestrator);
    orchestrator.wait_for_transcoders(1).await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let reply = broadcaster.segment(&orchestrator, &offer, 1, 0, &Bytes::from_static(b"no video")).await;
    assert_eq!(reply.error(), "segment is not an mpeg transport stream");
    assert_eq!(orchestrator.handle.transcoders(), 1, "it is not the transcoder's fault");
    process.kill().await.unwrap();
    orchestrator.wait_for_transcoders(0).await;
}
