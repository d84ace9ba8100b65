//! A gateway and a transcoder written in another language, from the specification alone, talk to a running orchestrator
//! (test/interop/peer.py).
use std::{path::PathBuf, time::Duration};

use streamflow_orchestrator::MaxSessions;
use tokio::process::Command;

use crate::fixture::{Running, SECRET, World, config};

async fn talk(orchestrator: &Running, mode: &[&str]) {
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../test/interop/peer.py");
    let peer = Command::new("/usr/bin/python3")
        .arg(program)
        .args([&orchestrator.address.to_string(), SECRET])
        .args(mode)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true)
        .output();
    let peer = tokio::time::timeout(Duration::from_secs(60), peer).await.expect("the peer waits for ever");
    let peer = peer.expect("python3 is missing: script/setup installs it");
    let told = [peer.stdout, peer.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(peer.status.success(), "{told}");
    assert!(told.contains("every answer is as the specification says"), "{told}");
}

#[tokio::test]
async fn a_peer_in_python_is_served_without_a_chain() {
    let world = World { with_chain: false, ..World::new().await };
    talk(&world.start().await, &[]).await;
}

#[tokio::test]
async fn a_peer_in_python_pays_and_is_served() {
    let world = World::new().await;
    let mut settings = config();
    // Small enough for the pixels that the peer says it made.
    settings.max_sessions = MaxSessions::AtMost(4);
    let orchestrator = world.start_with(settings).await;
    talk(&orchestrator, &["--paid"]).await;
    assert!(world.winners().await > 0, "its tickets win");
}
