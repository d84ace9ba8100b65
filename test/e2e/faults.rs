use std::path::Path;

use crate::devnet::{Devnet, play};

/// Acceptance: a transcoder that dies in mid-stream costs the viewer nothing.
#[test]
fn a_killed_transcoder_loses_no_segment() {
    let mut net = Devnet::start(13_000, &["--once"]);
    net.wait_for("the third segment", |net| {
        let status = net.status()?;
        (status["segments"]["transcoded"].as_u64()? >= 3).then_some(())
    });
    net.kill("transcoder");

    let summary = net.summary();
    assert_eq!(summary["segments"]["failed"], 0, "{summary:#}");
    assert_eq!(summary["segments"]["source"], summary["segments"]["transcoded"], "{summary:#}");
    for rendition in summary["renditions"].as_array().unwrap() {
        assert_eq!(play(Path::new(rendition["playlist"].as_str().unwrap())).frames, 500, "{rendition:#}");
    }
}

/// Acceptance: an orchestrator killed after it answered with a winner still has that winner, and it is paid.
#[test]
fn a_killed_orchestrator_keeps_its_winners() {
    let mut net = Devnet::start(14_000, &["--once"]);
    let held = net.wait_for("a stored winner that is not redeemed yet", |net| {
        net.status()?;
        let tickets = net.command("orchestrator-2", &["tickets", "list", "--json"]);
        let pending: Vec<String> = tickets["tickets"]
            .as_array()?
            .iter()
            .filter(|ticket| ticket["state"] == "pending")
            .map(|ticket| ticket["hash"].as_str().unwrap().to_owned())
            .collect();
        (!pending.is_empty()).then_some(pending)
    });
    let killed = net.pid("orchestrator-2");
    net.kill("orchestrator-2");
    net.wait_for("the restart", |net| (net.pid("orchestrator-2") != killed).then_some(()));

    let summary = net.summary();
    assert_eq!(summary["segments"]["failed"], 0, "{summary:#}");
    assert_eq!(summary["tickets"]["won"], summary["tickets"]["redeemed"], "{summary:#}");
    let tickets = net.command("orchestrator-2", &["tickets", "list", "--json"]);
    for hash in held {
        let ticket =
            tickets["tickets"].as_array().unwrap().iter().find(|ticket| ticket["hash"] == hash.as_str()).unwrap();
        assert_eq!(ticket["state"], "redeemed", "{ticket:#}");
    }
}
