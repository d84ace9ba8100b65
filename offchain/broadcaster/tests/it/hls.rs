//! What viewers get.
use std::time::Duration;

use reqwest::StatusCode;
use streamflow_broadcaster::FileInput;
use streamflow_types::ManifestId;

use crate::{
    clip,
    fixture::{Setup, until},
    orchestrator::{Conduct, FakeOrchestrator},
};

#[tokio::test]
async fn a_live_stream_is_served_with_all_its_renditions() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    assert_eq!(running.get("/stream/movie.m3u8").await.status(), StatusCode::NOT_FOUND);
    for seq in 0..3 {
        running.push_clip("movie", seq).await;
    }
    let master = running.get("/stream/movie.m3u8").await;
    assert_eq!(master.headers()["content-type"], "application/vnd.apple.mpegurl");
    assert_eq!(master.headers()["access-control-allow-origin"], "*");
    assert!(master.headers()["cache-control"].to_str().unwrap().starts_with("max-age="));
    let master = master.text().await.unwrap();
    for name in ["source", "180p", "90p"] {
        assert!(master.contains(&format!("\nmovie/{name}.m3u8\n")), "{master}");
        let playlist = running.text(&format!("/stream/movie/{name}.m3u8")).await;
        assert!(playlist.contains(&format!("\n{name}/2.ts\n")) && !playlist.contains("ENDLIST"), "{playlist}");
        let segment = running.get(&format!("/stream/movie/{name}/2.ts")).await;
        assert_eq!(segment.headers()["content-type"], "video/mp2t");
    }
    assert!(master.contains("RESOLUTION=320x180,FRAME-RATE=25.000"), "{master}");
    assert_eq!(running.get("/stream/movie/source/2.ts").await.bytes().await.unwrap(), clip::segment(2));
    let url = running.url("/stream/movie.m3u8");
    let played = tokio::task::spawn_blocking(move || {
        let args = ["-v", "error", "-i", &url, "-t", "1", "-f", "null", "-"];
        std::process::Command::new("ffmpeg").args(args).output().unwrap()
    });
    let played = played.await.unwrap();
    assert!(played.status.success() && played.stderr.is_empty(), "{}", String::from_utf8_lossy(&played.stderr));
    running.stop().await;
}

#[tokio::test]
async fn a_last_segment_without_sound_takes_none_from_the_playlist() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    running.push_clip("movie", 0).await;
    let reply = running.push("/live/movie/1.ts", clip::silent(&clip::segment(1))).await;
    assert_eq!(reply.status(), StatusCode::OK);
    let served = running.text("/stream/movie.m3u8").await;
    let dir = running.stop().await;
    let kept = std::fs::read_to_string(dir.path().join("streams/movie/master.m3u8")).unwrap();
    for master in [served, kept] {
        assert_eq!(master.matches(",mp4a.40.2\"").count(), 3, "{master}");
    }
}

#[tokio::test]
async fn unknown_streams_renditions_and_segments_are_not_found() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    running.push_clip("movie", 0).await;
    let paths = [
        "/stream/other.m3u8",
        "/stream/movie",
        "/stream/movie/4k.m3u8",
        "/stream/movie/180p/9.ts",
        "/stream/movie/180p/index.m3u8",
        "/stream/movie/..%2f..%2f/0.ts",
        "/stream/..%2f/180p/0.ts",
        "/stream/movie/%2e%2e/0.ts",
    ];
    for path in paths {
        assert_eq!(running.get(path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    running.stop().await;
}

#[tokio::test]
async fn playlists_play_to_the_end_after_a_stop() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    for seq in 0..3 {
        running.push_clip("movie", seq).await;
    }
    let dir = running.stop().await;
    let stream = dir.path().join("streams/movie");
    for playlist in ["source/index.m3u8", "180p/index.m3u8", "90p/index.m3u8", "master.m3u8"] {
        assert_eq!(clip::frames(&stream.join(playlist)), 150, "{playlist}");
    }
}

#[tokio::test]
async fn a_stream_without_segments_ends_and_may_begin_again() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let brief = |setup: &mut Setup| setup.config.stream_idle = Duration::from_millis(500);
    let running = Setup::new(&[orchestrator.url()]).with(brief).start().await;
    running.push_clip("movie", 0).await;
    until("the end", || running.handle.status().streams.iter().all(|stream| !stream.live)).await;
    assert!(running.text("/stream/movie/180p.m3u8").await.ends_with("180p/0.ts\n#EXT-X-ENDLIST\n"));
    running.push_clip("movie", 1).await;
    let playlist = running.text("/stream/movie/180p.m3u8").await;
    assert!(playlist.contains("180p/1.ts") && !playlist.contains("180p/0.ts"), "{playlist}");
    assert!(running.file("movie~1/180p/0.ts").exists(), "the first recording is gone");
    running.stop().await;
}

#[tokio::test]
async fn an_encoder_that_starts_over_begins_a_new_stream() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    for seq in [0, 1, 0] {
        running.push_clip("movie", seq).await;
    }
    assert_eq!(running.handle.status().streams.len(), 1);
    assert!(running.text("/stream/movie/180p.m3u8").await.ends_with(",\n180p/0.ts\n"));
    assert_eq!(clip::frames(&running.file("movie~1/180p/index.m3u8")), 100);
    running.stop().await;
}

#[tokio::test]
async fn a_segment_that_never_comes_does_not_hold_up_the_stream() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    for (seq, index) in [(0, 0), (2, 2), (3, 0), (4, 1), (5, 2), (6, 0)] {
        let reply = running.push(&format!("/live/movie/{seq}.ts"), clip::segment(index)).await;
        assert_eq!(reply.status(), StatusCode::OK, "{}", reply.text().await.unwrap());
    }
    for name in ["source", "180p"] {
        let playlist = running.text(&format!("/stream/movie/{name}.m3u8")).await;
        assert!(playlist.contains(&format!("{name}/6.ts")), "{playlist}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_file_is_played_in_real_time_to_its_end() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    let (stream, duration) = (ManifestId::new("clip").unwrap(), Duration::from_secs(5));
    let started = std::time::Instant::now();
    running.handle.play(FileInput { stream, path: clip::path(), duration }).await.unwrap();
    assert!(started.elapsed() >= duration, "{:?}", started.elapsed());
    let status = running.handle.status();
    assert_eq!((status.segments.received, status.segments.transcoded, status.segments.failed), (3, 3, 0));
    let stream = &status.streams[0];
    assert!(!stream.live);
    for rendition in &stream.renditions {
        assert_eq!(rendition.segments, 3);
        assert_eq!(rendition.pixels, u64::from(rendition.width) * u64::from(rendition.height) * 125);
        assert_eq!(clip::frames(&rendition.playlist), 125);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_file_that_is_no_clip_is_an_error() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    let (stream, path) = (ManifestId::new("clip").unwrap(), clip::path().with_extension("missing"));
    let input = FileInput { stream, path, duration: Duration::from_secs(2) };
    assert!(running.handle.play(input).await.is_err());
    let status = running.handle.status();
    let (error, file) = (status.input_error.unwrap(), clip::path().with_extension("missing").display().to_string());
    assert!(error.contains("No such file") && error.matches(&file).count() == 1, "{error}");
    assert_eq!(error.matches("cannot play").count(), 1, "{error}");
    running.stop().await;
}
