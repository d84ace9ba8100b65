//! What viewers and stores get.
use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderMap, StatusCode},
    routing::put,
};
use serde_json::Value;
use streamflow_broadcaster::HlsFormat;
use streamflow_media::fragment;
use streamflow_types::{ManifestId, Profile, Secret};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    clip,
    fixture::{Setup, client, until},
    orchestrator::{Conduct, FakeOrchestrator},
};

type Objects = Arc<Mutex<BTreeMap<String, Bytes>>>;

/// A server that keeps what is put with a signature of ours, and refuses the first attempt of all.
struct Bucket {
    address: String,
    objects: Objects,
    server: JoinHandle<()>,
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Bucket {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let objects = Objects::default();
        let state = (objects.clone(), Arc::new(Mutex::new(1_u32)));
        let keep = async |State((objects, failures)): State<(Objects, Arc<Mutex<u32>>)>,
                          Path(path): Path<String>,
                          headers: HeaderMap,
                          body: Bytes| {
            let signed = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
            if !signed.starts_with("AWS4-HMAC-SHA256 Credential=k3y/") || !signed.contains("Signature=") {
                return (StatusCode::FORBIDDEN, [("etag", "\"\"")]);
            }
            let mut failures = failures.lock().unwrap();
            if *failures > 0 {
                *failures -= 1;
                return (StatusCode::SERVICE_UNAVAILABLE, [("etag", "\"\"")]);
            }
            objects.lock().unwrap().insert(path, body);
            (StatusCode::OK, [("etag", "\"1\"")])
        };
        let router = Router::new().route("/{*path}", put(keep)).layer(DefaultBodyLimit::disable()).with_state(state);
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, objects, server }
    }

    fn get(&self, path: &str) -> Option<Bytes> {
        self.objects.lock().unwrap().get(path).cloned()
    }

    fn text(&self, path: &str) -> String {
        String::from_utf8(self.get(path).unwrap_or_default().to_vec()).unwrap()
    }
}

#[tokio::test]
async fn streams_and_recordings_are_copied_to_a_bucket() {
    let bucket = Bucket::start().await;
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let stored = |setup: &mut Setup| {
        let address = |prefix| Secret::new(format!("s3+http://k3y:s3cret@{}/bucket/{prefix}", bucket.address));
        setup.config.object_store = Some(address("out"));
        setup.config.record_store = Some(address("rec"));
    };
    let running = Setup::new(&[orchestrator.url()]).with(stored).start().await;
    for seq in 0..3 {
        running.push_clip("movie", seq).await;
    }
    until("the copies", || bucket.text("bucket/out/movie/90p/index.m3u8").contains("2.ts")).await;
    running.stop().await;
    for rendition in ["source", "180p", "90p"] {
        let playlist = bucket.text(&format!("bucket/out/movie/{rendition}/index.m3u8"));
        assert!(playlist.contains("\n2.ts\n") && playlist.ends_with("#EXT-X-ENDLIST\n"), "{playlist}");
        assert!(bucket.get(&format!("bucket/rec/movie/{rendition}/2.ts")).is_some());
    }
    assert_eq!(bucket.get("bucket/out/movie/source/1.ts").unwrap(), clip::segment(1));
    assert!(bucket.text("bucket/out/movie/index.m3u8").contains("\n180p/index.m3u8\n"));
    let names: Vec<String> = bucket.objects.lock().unwrap().keys().cloned().collect();
    let lists: Vec<_> = names.iter().filter(|name| name.starts_with("bucket/rec/movie/playlist_")).collect();
    assert_eq!(lists.len(), 1, "{names:?}");
    let list: Value = serde_json::from_str(&bucket.text(lists[0])).unwrap();
    assert_eq!((&list["duration_ms"], list["tracks"].as_array().unwrap().len()), (&Value::from(6000), 3));
    assert_eq!(list["segments"]["90p"][2], serde_json::json!({"seq_no": 2, "uri": "90p/2.ts", "duration_ms": 2000}));
}

#[tokio::test]
async fn a_store_that_is_down_holds_up_nobody() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let dead = |setup: &mut Setup| {
        setup.config.object_store = Some(Secret::new("s3+http://k3y:s3cret@127.0.0.1:1/bucket"));
        setup.config.drain_timeout = Duration::from_secs(1);
    };
    let running = Setup::new(&[orchestrator.url()]).with(dead).start().await;
    let started = std::time::Instant::now();
    for seq in 0..3 {
        running.push_clip("movie", seq).await;
    }
    assert!(running.text("/stream/movie/180p.m3u8").await.contains("180p/2.ts"));
    running.stop().await;
    assert!(started.elapsed() < Duration::from_secs(25), "{:?}", started.elapsed());
}

#[tokio::test]
async fn viewers_may_get_fragmented_mp4() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let mp4 = |setup: &mut Setup| {
        setup.config.hls_format = HlsFormat::Fmp4;
        setup.config.current_stream = true;
    };
    let running = Setup::new(&[orchestrator.url()]).with(mp4).start().await;
    for seq in 0..3 {
        running.push_clip("movie", seq).await;
    }
    for name in ["source", "180p", "90p"] {
        let playlist = running.text(&format!("/stream/movie/{name}.m3u8")).await;
        assert!(playlist.contains(&format!("#EXT-X-MAP:URI=\"{name}/init-0.mp4\"\n")), "{playlist}");
        for file in ["init-0.mp4", "2.m4s"] {
            let served = running.get(&format!("/stream/movie/{name}/{file}")).await;
            assert_eq!(
                (served.status().as_u16(), &served.headers()["content-type"]),
                (200, &"video/mp4".parse().unwrap())
            );
        }
    }
    assert_eq!(running.get("/stream/movie/180p/init-x.mp4").await.status(), 404);
    assert!(running.text("/stream/current.m3u8").await.contains("movie/180p.m3u8"));
    let event = running.text("/recordings/movie/180p.m3u8").await;
    assert!(event.contains("#EXT-X-PLAYLIST-TYPE:EVENT\n") && event.contains("180p/0.m4s"), "{event}");
    assert!(running.text("/recordings/movie/index.m3u8").await.contains("\n180p.m3u8\n"));
    assert_eq!(running.get("/recordings/movie/index.m3u8").await.headers()["cache-control"], "max-age=1");
    assert_eq!(running.get("/recordings/movie/180p/0.m4s").await.status(), 200);
    let dir = running.stop().await;
    for rendition in ["source", "180p", "90p"] {
        assert_eq!(clip::frames(&dir.path().join(format!("streams/movie/{rendition}/index.m3u8"))), 150, "{rendition}");
    }
}

/// More fragments at once than our workers take.
#[tokio::test]
async fn many_renditions_are_made_into_fragments_in_turn() {
    let profiles: Vec<_> = (0..10).map(|n| Profile::new(format!("r{n}"), 96 + 16 * n, 90, 60_000).unwrap()).collect();
    // Made before, so that the orchestrator is in time.
    clip::renditions(&clip::segment(0), &profiles);
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let mp4 = |setup: &mut Setup| {
        (setup.config.hls_format, setup.config.profiles) = (HlsFormat::Fmp4, profiles);
    };
    let running = Setup::new(&[orchestrator.url()]).with(mp4).start().await;
    running.push_clip("movie", 0).await;
    let status = running.handle.status();
    assert_eq!((status.segments.transcoded, status.segments.failed), (1, 0));
    assert!(running.text("/stream/movie/r9.m3u8").await.contains("r9/0.m4s"));
    running.stop().await;
}

#[tokio::test]
async fn mp4_that_is_pushed_comes_back_as_mp4() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    let made = fragment(&clip::segment(0)).unwrap();
    let body = [&made.init[..], &made.media].concat();
    let request = client().put(running.url("/live/movie/part/0.mp4")).header("Accept", "multipart/mixed").body(body);
    let reply = request.send().await.unwrap();
    let (status, bytes) = (reply.status(), reply.bytes().await.unwrap());
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert_eq!(status, 200, "{text}");
    assert!(text.contains("Content-Type: video/mp4; name=\"180p_0.mp4\"\r\n"), "{}", text.len());
    let start = bytes.windows(4).position(|four| four == b"ftyp").unwrap() - 4;
    let file = running.dir.path().join("one.mp4");
    let end = bytes[start..].windows(4).position(|four| four == b"\r\n--").unwrap() + start;
    fs::write(&file, &bytes[start..end]).unwrap();
    assert_eq!(clip::frames(&file), 50);
    assert!(running.text("/stream/movie/180p.m3u8").await.contains("180p/0.m4s"));
    running.stop().await;
}

#[tokio::test]
async fn a_pipe_is_played_to_its_end() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    let pieces: Vec<_> = clip::segments().iter().map(|segment| segment.bytes.clone()).collect();
    let name = ManifestId::new("piped").unwrap();
    let pipe = futures::stream::iter(pieces);
    running.handle.play_pipe(name.clone(), pipe, Duration::from_secs(60)).await.unwrap();
    let stream = &running.handle.status().streams[0];
    assert_eq!((stream.segments.transcoded, stream.live), (3, false));
    assert_eq!(clip::frames(&running.file("piped/180p/index.m3u8")), 150);
    let garbage = futures::stream::iter([Bytes::from(vec![7; 100_000])]);
    assert!(running.handle.play_pipe(name, garbage, Duration::from_secs(60)).await.is_err());
    running.stop().await;
}
