//! OBS, as a streamer uses it, on a display of its own.
use std::{fs, path::Path, process::Stdio, time::Duration};

use tokio::process::Command;

use crate::{
    clip,
    fixture::{Setup, until},
    orchestrator::{Conduct, FakeOrchestrator},
    rtmp::over_rtmp,
};

const GLOBAL: &str = "[General]\nFirstRun=true\nLastVersion=486539266\nEnableAutoUpdates=false\n\
    [Basic]\nProfile=Test\nProfileDir=Test\nSceneCollection=Test\nSceneCollectionFile=Test\n";
const PROFILE: &str = "[General]\nName=Test\n[Output]\nMode=Simple\n\
    [SimpleOutput]\nVBitrate=400\nABitrate=96\nStreamEncoder=x264\nUseAdvanced=true\nPreset=ultrafast\n\
    x264Settings=keyint=30\n\
    [Video]\nBaseCX=320\nBaseCY=180\nOutputCX=320\nOutputCY=180\nFPSType=0\nFPSCommon=30\n";
const SCENE: &str = r#"{"name":"Test","current_scene":"Scene","current_program_scene":"Scene",
    "scene_order":[{"name":"Scene"}],"sources":[
    {"id":"color_source","versioned_id":"color_source_v3","name":"Colour",
     "settings":{"color":4278255360,"width":320,"height":180}},
    {"id":"scene","name":"Scene","settings":{"id_counter":1,"custom_size":false,"items":[
     {"name":"Colour","id":1,"visible":true,"pos":{"x":0.0,"y":0.0},"scale":{"x":1.0,"y":1.0}}]}}]}"#;

/// Settings as OBS itself would write them.
fn configure(home: &Path, server: &str) {
    let config = home.join(".config/obs-studio");
    let profile = config.join("basic/profiles/Test");
    fs::create_dir_all(&profile).unwrap();
    fs::create_dir_all(config.join("basic/scenes")).unwrap();
    fs::write(config.join("global.ini"), GLOBAL).unwrap();
    fs::write(profile.join("basic.ini"), PROFILE).unwrap();
    fs::write(config.join("basic/scenes/Test.json"), SCENE).unwrap();
    let service = serde_json::json!({
        "type": "rtmp_custom",
        "settings": { "server": server, "key": "k3y", "use_auth": false },
    });
    fs::write(profile.join("service.json"), service.to_string()).unwrap();
}

/// All that came is transcoded, however slow the machine is.
fn patient(setup: &mut Setup) {
    setup.config.drain_timeout = Duration::from_secs(120);
}

#[tokio::test]
async fn obs_publishes_a_stream_that_plays() {
    let there = |program: &&str| std::process::Command::new(program).arg("--help").output().is_ok();
    if let Some(program) = ["obs", "xvfb-run"].iter().find(|program| !there(program)) {
        eprintln!("skipped: {program} is not installed (script/setup installs obs-studio and xvfb)");
        return;
    }
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).with(over_rtmp).with(patient).start().await;
    let home = tempfile::tempdir().unwrap();
    configure(home.path(), &running.rtmp_url("stream/obs"));
    // It leads a group with OBS and the display.
    let mut obs = Command::new("timeout")
        .args(["--kill-after=2", "240", "xvfb-run", "-a", "obs", "--multi", "--startstreaming"])
        .args(["--profile", "Test", "--collection", "Test"])
        .env("HOME", home.path())
        .env("XDG_CONFIG_HOME", home.path().join(".config"))
        .env("LIBGL_ALWAYS_SOFTWARE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut words = obs.stdout.take().unwrap();
    let mut silent = tokio::spawn(async move { tokio::io::copy(&mut words, &mut tokio::io::sink()).await });
    let plays = || {
        let streams = running.handle.status().streams;
        let of_obs = streams.iter().find(|stream| stream.name.as_str() == "obs");
        of_obs.is_some_and(|stream| stream.segments.transcoded >= 3)
    };
    until("three segments of OBS", plays).await;
    let group = format!("-{}", obs.id().unwrap());
    let signal = |name| std::process::Command::new("kill").args([name, "--", &group]).status().unwrap();
    assert!(signal("-TERM").success());
    obs.wait().await.unwrap();
    // `timeout` does not wait for OBS, whose end closes the pipe.
    if tokio::time::timeout(Duration::from_secs(20), &mut silent).await.is_err() {
        signal("-KILL");
        silent.await.unwrap().unwrap();
    }
    // What has come is transcoded before, which takes long where OBS took the CPU until now.
    until("the end of the stream", || running.handle.status().streams.iter().all(|stream| !stream.live)).await;
    assert_eq!(running.handle.status().segments.failed, 0);
    for rendition in ["source", "180p", "90p"] {
        let frames = clip::frames(&running.file(&format!("obs/{rendition}/index.m3u8")));
        assert!(frames >= 150, "{rendition}: {frames}");
    }
    let master = running.text("/stream/obs.m3u8").await;
    assert!(master.contains("mp4a"), "{master}");
    running.stop().await;
}
