//! What is in `packaging/` fits the program: every command line is one of ours, every setting exists, every file is there.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use clap::{CommandFactory as _, Parser as _};
use serde_json::Value;
use streamflow_node::{cli::Cli, config::Config};

const ROLES: [&str; 5] = ["broadcaster", "orchestrator", "transcoder", "keeper", "signer"];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(project().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn assert_ours(line: &str) {
    Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|e| panic!("{line}: {e}"));
}

/// Values of a key of a unit, in order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

/// The longest that a role drains, with the default settings.
fn longest_drain(role: &str) -> Duration {
    let config = Config::default();
    match role {
        "broadcaster" => config.broadcaster.drain_timeout,
        "orchestrator" => config.orchestrator.limits.drain_timeout,
        "transcoder" => config.transcoder.drain_timeout,
        "keeper" => config.keeper.drain_timeout,
        _ => Duration::ZERO,
    }
}

#[test]
fn units_run_our_commands_reload_by_signal_and_leave_time_to_drain() {
    for role in ROLES {
        let unit = read(&format!("packaging/systemd/streamflow-{role}.service"));
        for (key, command) in [("ExecStartPre", "config check"), ("ExecStart", role)] {
            let lines = values(&unit, key);
            assert_eq!(lines.len(), 1, "{role}: {key}");
            assert_ours(lines[0]);
            assert!(lines[0].ends_with(command) && lines[0].contains(&format!("/etc/streamflow/{role}.toml")));
        }
        assert_eq!(values(&unit, "ExecReload"), ["/bin/kill -HUP $MAINPID"], "{role}");
        assert_eq!(values(&unit, "KillMode"), ["mixed"], "{role}: media workers must not get the signal");
        let stop: u64 = values(&unit, "TimeoutStopSec")[0].parse().unwrap();
        let drain = longest_drain(role);
        assert!(
            Duration::from_secs(stop) > drain + Duration::from_secs(10),
            "{role}: {stop} s to stop, drains {drain:?}"
        );
        for hardened in ["NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "CapabilityBoundingSet=\n"] {
            assert!(unit.contains(hardened), "{role} lacks {hardened}");
        }
        assert_eq!(values(&unit, "User"), ["streamflow"]);
        let variables = values(&unit, "Environment").into_iter().filter_map(|line| line.split_once('='));
        check_settings(&variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>());
    }
}

#[test]
fn systemd_takes_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("systemd-analyze is not installed: the units were not verified by systemd itself");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let files: Vec<_> = ROLES
        .iter()
        .map(|role| {
            let name = format!("streamflow-{role}.service");
            let unit = read(&format!("packaging/systemd/{name}"));
            let file = directory.path().join(name);
            fs::write(&file, unit.replace("/usr/bin/streamflow", env!("CARGO_BIN_EXE_streamflow"))).unwrap();
            file
        })
        .collect();
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(files).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<_> = said.lines().filter(|line| line.contains("streamflow")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
}

/// A YAML file as JSON, with anchors and merges resolved.
fn yaml(path: &str) -> Value {
    let program = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let output = Command::new("/usr/bin/python3").args(["-c", program]).arg(project().join(path)).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{path} (script/setup installs python3-yaml): {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Whether the program takes settings that are environment variables.
fn check_settings(variables: &[(String, String)]) {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamflow"));
    command.args(["config", "check"]).env_clear().env("HOME", home.path());
    command.envs(variables.iter().filter(|(name, _)| name.starts_with("STREAMFLOW_")).cloned());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{variables:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_compose_file_runs_our_commands_with_our_settings() {
    let compose = yaml("packaging/docker/compose.yml");
    let directory = project().join("packaging/docker");
    let services = compose["services"].as_object().unwrap();
    let ours: Vec<_> = services.iter().filter(|(_, service)| service["image"] == "streamflow").collect();
    assert!(ours.len() >= 5, "{ours:#?}");
    for (name, service) in &ours {
        let words: Vec<_> = service["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        assert_ours(&format!("streamflow {}", words.join(" ")));
        let told: Vec<(String, String)> = service["environment"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| {
                let value = value.as_str().unwrap();
                let value = if value.starts_with("${") { "0123456789abcdef" } else { value };
                (name.clone(), value.to_owned())
            })
            .collect();
        check_settings(&told);
        // The health check asks the port that the role listens on.
        let admin = told.iter().find(|(name, _)| name == "STREAMFLOW_ADMIN__LISTEN").unwrap();
        let asked = service["healthcheck"]["test"].as_array().unwrap().last().unwrap().as_str().unwrap();
        let port = admin.1.rsplit_once(':').unwrap().1;
        assert_eq!(asked, format!("http://127.0.0.1:{port}/healthz"), "{name}");
        assert_eq!(service["cap_drop"][0], "ALL", "{name}");
        let dockerfile = service["build"]["dockerfile"].as_str().unwrap();
        let context = directory.join(service["build"]["context"].as_str().unwrap());
        assert!(context.join(dockerfile).is_file());
    }
    for (name, service) in services {
        for volume in service["volumes"].as_array().unwrap() {
            let source = volume.as_str().unwrap().split(':').next().unwrap();
            let known = match source.starts_with('.') {
                true => directory.join(source).exists(),
                false => compose["volumes"].as_object().unwrap().contains_key(source),
            };
            assert!(known, "{name} mounts {source}");
        }
        for port in service["ports"].as_array().into_iter().flatten() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name} is open to the network: {port}");
        }
    }
}

#[test]
fn prometheus_scrapes_what_the_compose_file_runs() {
    let compose = yaml("packaging/docker/compose.yml");
    let prometheus = yaml("packaging/docker/prometheus.yml");
    let job = &prometheus["scrape_configs"][0];
    assert_eq!(job["job_name"], "streamflow", "the alert on what is down asks for this job");
    for target in job["static_configs"][0]["targets"].as_array().unwrap() {
        let (service, port) = target.as_str().unwrap().split_once(':').unwrap();
        let listen = compose["services"][service]["environment"]["STREAMFLOW_ADMIN__LISTEN"].as_str();
        assert!(listen.is_some_and(|listen| listen.ends_with(&format!(":{port}"))), "{target}");
    }
    let config = project().join("packaging/docker/prometheus.yml");
    let checked = Command::new("promtool").args(["check", "config", "--syntax-only"]).arg(config).output();
    let checked = checked.unwrap_or_else(|e| panic!("promtool: {e}: script/setup installs it (Debian: prometheus)"));
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn the_image_is_built_of_what_is_there_and_runs_as_nobody_special() {
    let text = read("packaging/docker/Dockerfile").replace("\\\n", " ");
    let lines: Vec<_> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let stages: Vec<_> = lines.iter().filter(|line| line.starts_with("FROM ")).collect();
    assert_eq!(stages.len(), 2, "{stages:?}");
    let last = lines.iter().rposition(|line| line.starts_with("FROM ")).unwrap();
    assert!(lines[last..].contains(&"USER streamflow"), "the image runs as root");
    for line in &lines {
        for command in line.split("&&").map(str::trim).filter(|command| command.starts_with("streamflow ")) {
            assert_ours(command.split('>').next().unwrap());
        }
    }
    let ignored = read("packaging/docker/Dockerfile.dockerignore");
    for kept in ignored.lines().filter_map(|line| line.strip_prefix('!')) {
        assert!(project().join(kept).exists(), "{kept} is not there");
    }
    // The libraries of the image are those of Debian that the program was linked with.
    assert!(stages.iter().all(|stage| stage.contains("bookworm")), "{stages:?}");
}

#[test]
fn every_command_has_its_manual_page_with_its_options() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_streamflow")).arg("man").arg(directory.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut command = Cli::command();
    command.build();
    let mut pages = 0;
    visit(&command, "streamflow", directory.path(), &mut pages);
    assert_eq!(pages, fs::read_dir(directory.path()).unwrap().count(), "a page of no command");
    assert!(pages > 30, "{pages}");
}

fn visit(command: &clap::Command, name: &str, directory: &Path, pages: &mut usize) {
    *pages += 1;
    let page = fs::read_to_string(directory.join(format!("{name}.1"))).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(page.contains(&format!(".TH {}", name.to_uppercase())), "{page}");
    for option in command.get_arguments().filter(|option| !option.is_hide_set()) {
        let Some(long) = option.get_long() else { continue };
        assert!(page.contains(&long.replace('-', "\\-")), "{name} does not tell of --{long}:\n{page}");
    }
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help") {
        visit(inner, &format!("{name}-{}", inner.get_name()), directory, pages);
    }
}
