//! hls.js in headless Chromium plays what an encoder publishes, through the broadcaster's own page.
use std::{path::PathBuf, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{process::Command, time::timeout};

use crate::{
    fixture::{Running, Setup, until},
    orchestrator::{Conduct, FakeOrchestrator},
    rtmp::over_rtmp,
};

/// How long it is watched.
const SECONDS: f64 = 12.0;

/// What is missing to run this, if anything is.
fn missing() -> Option<&'static str> {
    let there = |program: &str| std::process::Command::new(program).arg("--version").output().is_ok();
    ["chromium", "node"].into_iter().find(|program| !there(program))
}

/// Plays the broadcaster's page for so many seconds; what the browser saw of it.
async fn watch(running: &Running, seconds: f64) -> Value {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/browser/watch.mjs");
    let profile = tempfile::tempdir().unwrap();
    let mut browser = Command::new("node");
    browser.arg(script).args([running.url("/"), seconds.to_string()]).arg(profile.path()).stdin(Stdio::null());
    let watched = timeout(Duration::from_secs(45), browser.kill_on_drop(true).output()).await;
    let watched = watched.expect("the browser does not end").unwrap();
    let text = String::from_utf8_lossy(&watched.stdout).into_owned();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{:?}", watched.stderr))
}

#[tokio::test]
async fn a_live_stream_plays_in_a_browser_without_a_stall() {
    if let Some(program) = missing() {
        eprintln!("skipped: {program} is not installed (script/setup installs it)");
        return;
    }
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).with(over_rtmp).start().await;
    let mut encoder = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25"])
        .args(["-re", "-f", "lavfi", "-i", "sine=r=48000", "-t", "55", "-c:v", "libx264", "-preset", "ultrafast"])
        .args(["-g", "50", "-pix_fmt", "yuv420p", "-c:a", "aac", "-f", "flv", &running.rtmp_url("movie/key")])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let published = || running.handle.status().streams.first().is_some_and(|stream| stream.segments.transcoded >= 3);
    for _ in 0..3 {
        if !published() {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    }
    until("three segments", published).await;
    let seen = watch(&running, SECONDS).await;
    assert_eq!((&seen["began"], &seen["stalls"]), (&Value::Bool(true), &Value::from(0)), "{seen}");
    assert!(seen["played"].as_f64().unwrap() > SECONDS - 2.0, "{seen}");
    assert_eq!(seen["errors"], Value::Array(Vec::new()), "{seen}");
    encoder.kill().await.unwrap();
    running.stop().await;
}

/// The counter that the test above trusts: six seconds of a stream that goes on, and then nothing for a while.
#[tokio::test]
async fn a_stream_that_withholds_its_next_segment_is_seen_to_stall() {
    if let Some(program) = missing() {
        eprintln!("skipped: {program} is not installed (script/setup installs it)");
        return;
    }
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    for seq in 0..3 {
        running.push_clip("movie", seq).await;
    }
    let seen = watch(&running, 9.0).await;
    assert_eq!(seen["began"], Value::Bool(true), "{seen}");
    assert!(seen["stalls"].as_u64().unwrap() >= 1, "{seen}");
    assert!(seen["played"].as_f64().unwrap() < 7.0, "{seen}");
    running.stop().await;
}
