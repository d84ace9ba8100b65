//! Several orchestrators over one pool, through a real NATS server.
use std::{net::TcpListener, process::Stdio, time::Duration};

use futures::StreamExt;
use rustix::process::Signal;
use streamflow_nats::{Hello, NatsConfig, State, Subscriber, TAKEN, hello_subject, seal};
use streamflow_orchestrator::OrchestratorConfig;
use streamflow_types::Secret;
use streamflow_wire::{
    Offer,
    capability::{self, OFFERED},
};
use tokio::process::{Child, Command};

use crate::{
    clip,
    fixture::{Broadcaster, Running, World, config},
    transcoders::{signal, transcoder_at},
};

/// Debian puts it where ordinary users do not look.
const SERVER: &str = "/usr/sbin/nats-server";

/// A server on a port of its own; ends when dropped.
struct Server {
    port: u16,
    process: Child,
}

impl Server {
    async fn start() -> Self {
        // Free a moment ago: the server has to come back on the same port.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { port, process: Self::spawn(port).await }
    }

    async fn spawn(port: u16) -> Child {
        let process = Command::new(SERVER)
            .args(["-a", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("nats-server of the Debian package: script/setup installs it");
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return process;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("nats-server does not listen");
    }

    async fn restart(&mut self) {
        self.process.kill().await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.process = Self::spawn(self.port).await;
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    fn nats(&self) -> NatsConfig {
        NatsConfig { url: self.url().parse().ok(), ..Default::default() }
    }

    /// All that is said on it from now on.
    async fn listen(&self) -> Subscriber {
        let client = streamflow_nats::connect(&self.nats(), &self.url().parse().unwrap(), "test").await.unwrap();
        let words = client.subscribe(">").await.unwrap();
        client.flush().await.unwrap();
        words
    }
}

/// Until a transcoder says that it takes a segment.
async fn taken(mut words: Subscriber) {
    while words.next().await.unwrap().payload != TAKEN.as_bytes() {}
}

/// Segments are called so long, in milliseconds: this gives them 24 s, of which one that a dead transcoder got lasts up to a
/// third on the next, and a machine that is busy with other tests takes its own.
const LONG: u32 = 6000;

/// An orchestrator of the pool, and a stream at it.
struct Stream {
    _world: World,
    orchestrator: Running,
    broadcaster: Broadcaster,
    offer: Offer,
    seq: u64,
}

impl Stream {
    async fn start(server: &Server) -> Self {
        let world = World::new().await;
        let orchestrator = world.start_with(OrchestratorConfig { nats: server.nats(), ..config() }).await;
        let broadcaster = Broadcaster::new(&orchestrator);
        let offer = broadcaster.offer(&orchestrator).await;
        Self { _world: world, orchestrator, broadcaster, offer, seq: 0 }
    }

    /// One segment; `meanwhile` happens when the orchestrator has it, perhaps before a transcoder hears of it.
    async fn segment(&mut self, meanwhile: impl Future<Output = ()>) {
        let body = clip::segment(self.seq as usize % 2);
        let payment = self.broadcaster.pay(&self.offer, 4);
        let mut request = self.broadcaster.request(&self.offer, self.seq, &body);
        request.duration_ms = LONG;
        self.broadcaster.sign(&mut request);
        let taken = self.broadcaster.start(&self.broadcaster.draft(&self.orchestrator, &payment, &request), body).await;
        meanwhile.await;
        let reply = crate::fixture::Reply::of(taken).await;
        assert_eq!(reply.data().segments.len(), 2, "segment {}", self.seq);
        self.seq += 1;
    }
}

#[tokio::test]
async fn two_orchestrators_share_two_transcoders_and_survive_what_dies() {
    let mut server = Server::start().await;
    let mut transcoders = [transcoder_at(&server.url()), transcoder_at(&server.url())];
    let (mut first, mut second) = (Stream::start(&server).await, Stream::start(&server).await);
    first.orchestrator.wait_for_transcoders(2).await;
    second.orchestrator.wait_for_transcoders(2).await;
    for _ in 0..2 {
        tokio::join!(first.segment(async {}), second.segment(async {}));
    }
    // The server goes away and comes back: what is under way is posted past it.
    tokio::join!(first.segment(server.restart()), second.segment(async {}));
    tokio::join!(first.segment(async {}), second.segment(async {}));
    // A transcoder dies in the middle of a segment: another has it done before its deadline.
    tokio::join!(first.segment(async { transcoders[0].kill().await.unwrap() }), second.segment(async {}));
    // An orchestrator goes: the other one's stream does not notice.
    let Stream { orchestrator, .. } = first;
    drop(orchestrator);
    second.segment(async {}).await;
    // The last transcoder is told to stop: it finishes its segment, and says that it goes.
    let words = server.listen().await;
    let stop = async {
        // Before, it would turn the segment away, and there is nobody else.
        taken(words).await;
        signal(&transcoders[1], Signal::TERM);
    };
    second.segment(stop).await;
    let ended = tokio::time::timeout(Duration::from_secs(10), transcoders[1].wait()).await.unwrap();
    assert!(ended.unwrap().success());
    let gone = async {
        while second.orchestrator.handle.sound_transcoders() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
}

#[tokio::test]
async fn strangers_on_the_server_are_no_members() {
    let server = Server::start().await;
    let stream = Stream::start(&server).await;
    let client = streamflow_nats::connect(&server.nats(), &server.url().parse().unwrap(), "test").await.unwrap();
    let hello = |id: &str| Hello {
        id: id.into(),
        capacity: 4,
        running: 0,
        state: State::Alive.into(),
        capabilities: Some(capability::describe(&OFFERED, 4, "0.1.0")),
        every_ms: 0,
    };
    let say = async |payload: Vec<u8>| client.publish(hello_subject("streamflow.pool"), payload.into()).await.unwrap();
    say(seal(&Secret::new("sword"), &hello(&"a".repeat(32)))).await;
    say(seal(&Secret::new(crate::fixture::SECRET), &hello("no name"))).await;
    say(b"garbage".to_vec()).await;
    say(Vec::new()).await;
    for _ in 0..20 {
        say(seal(&Secret::new(crate::fixture::SECRET), &hello(&"b".repeat(32)))).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(stream.orchestrator.handle.transcoders(), 1, "who knows the secret is one, however often it says so");
    let gone = Hello { state: State::Gone.into(), ..hello(&"b".repeat(32)) };
    say(seal(&Secret::new(crate::fixture::SECRET), &gone)).await;
    stream.orchestrator.wait_for_transcoders(0).await;
}
