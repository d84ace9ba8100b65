//! The binary as a person or a script meets it: help, exit codes, what goes to stdout.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

fn streamflow(args: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_streamflow"))
        .args(args)
        .env("HOME", home.path())
        .env("STREAMFLOW_CHAIN__RPC_URL", "http://127.0.0.1:1")
        .output()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn every_command_explains_itself() {
    let commands = [
        "broadcaster",
        "gateway",
        "orchestrator",
        "transcoder",
        "keeper",
        "chain",
        "chain deploy",
        "chain status",
        "chain fund",
        "chain unlock",
        "chain withdraw",
        "chain register",
        "chain set-redeemer",
        "fund",
        "unlock",
        "withdraw",
        "register",
        "stake",
        "stake bond",
        "stake unbond",
        "stake rebond",
        "stake withdraw",
        "stake claim",
        "stake withdraw-fees",
        "delegator",
        "delegator fee-ratio",
        "delegator what-if",
        "delegator earnings",
        "tickets",
        "tickets list",
        "config",
        "config check",
        "config print-default",
        "doctor",
        "bench transcode",
        "completions",
        "man",
        "media-worker",
    ];
    for command in commands {
        let mut args: Vec<&str> = command.split(' ').collect();
        args.push("--help");
        let output = streamflow(&args);
        assert_eq!(code(&output), 0, "{command}: {}", stderr(&output));
        assert!(stdout(&output).contains("Usage: streamflow"), "{command}");
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    for args in [&[][..], &["nonsense"], &["fund", "--deposit", "1lpt"], &["chain", "status", "--nonsense"]] {
        let output = streamflow(args);
        assert_eq!(code(&output), 2, "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn wrong_configuration_ends_with_2_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.toml");
    fs::write(&file, "[orchestrator]\nlisten = \"127.0.0.1:8935\"\nmax_sesions = 3\n").unwrap();
    let output = streamflow(&["--config", file.to_str().unwrap(), "orchestrator"]);
    assert_eq!(code(&output), 2);
    let text = stderr(&output);
    assert!(text.contains("max_sesions") && text.contains("bad.toml"), "{text}");

    fs::write(&file, "[orchestrator]\nlisten = \n").unwrap();
    let output = streamflow(&["--config", file.to_str().unwrap(), "config", "check"]);
    assert_eq!(code(&output), 2);
    assert!(stderr(&output).contains("line 2"), "{}", stderr(&output));
}

#[test]
fn a_node_that_is_away_ends_with_1() {
    let output = streamflow(&["chain", "status", "--json"]);
    assert_eq!(code(&output), 2, "no controller is configured: {}", stderr(&output));
    let output = Command::new(env!("CARGO_BIN_EXE_streamflow"))
        .args(["chain", "status", "--json"])
        .env("STREAMFLOW_CHAIN__RPC_URL", "http://127.0.0.1:1")
        .env("STREAMFLOW_CHAIN__CONTROLLER", "0x00000000000000000000000000000000000000aa")
        .output()
        .unwrap();
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    let document: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(document["exit_code"], 1);
    assert!(document["error"].as_str().unwrap().contains("127.0.0.1:1"), "{document:#}");
}

#[test]
fn the_default_configuration_passes_its_own_check() {
    let printed = streamflow(&["config", "print-default"]);
    assert_eq!(code(&printed), 0);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("default.toml");
    fs::write(&file, &printed.stdout).unwrap();
    let checked = streamflow(&["--config", file.to_str().unwrap(), "--json", "config", "check"]);
    assert_eq!(code(&checked), 0, "{}", stderr(&checked));
    let document: Value = serde_json::from_str(&stdout(&checked)).unwrap();
    assert_eq!(document["valid"], true);
}

#[test]
fn environment_comes_on_top_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.toml");
    fs::write(&file, "[chain]\nrpc_url = \"http://file:1\"\npoll_interval = \"3s\"\n").unwrap();
    let check = |name: &str, value: &str| {
        Command::new(env!("CARGO_BIN_EXE_streamflow"))
            .args(["config", "check", "--json", "--config"])
            .arg(&file)
            .env("STREAMFLOW_CHAIN__TX__CONFIRMATIONS", "7")
            .env("STREAMFLOW_DEPLOYER_KEY", "not a setting")
            .env(name, value)
            .output()
            .unwrap()
    };
    let checked = check("STREAMFLOW_CHAIN__RPC_URL", "http://env:2");
    assert_eq!(code(&checked), 0, "{}", stderr(&checked));
    let chain = serde_json::from_str::<Value>(&stdout(&checked)).unwrap()["config"]["chain"].clone();
    assert_eq!(chain["rpc_url"], "http://env:2/");
    assert_eq!(chain["poll_interval"], "3s");
    assert_eq!(chain["tx"]["confirmations"], 7);

    let misspelt = check("STREAMFLOW_CHAIN__RPC", "http://env:2");
    assert_eq!(code(&misspelt), 2);
    assert!(stderr(&misspelt).contains("STREAMFLOW_CHAIN__RPC: unknown setting"), "{}", stderr(&misspelt));
}

#[test]
fn completions_are_a_script_on_stdout() {
    for shell in ["bash", "zsh", "fish"] {
        let output = streamflow(&["completions", shell]);
        assert_eq!(code(&output), 0);
        assert!(stdout(&output).contains("streamflow"), "{shell}");
    }
}

#[test]
fn a_file_that_is_no_video_ends_devnet_before_it_starts() {
    let dir = tempfile::tempdir().unwrap();
    let (junk, net) = (dir.path().join("junk.mp4"), dir.path().join("net"));
    fs::write(&junk, [7; 5000]).unwrap();
    let [input, data_dir] = [&junk, &net].map(|path| path.to_str().unwrap());
    let output = streamflow(&["devnet", "--once", "--json", "--input", input, "--data-dir", data_dir]);
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    let document: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let error = document["error"].as_str().unwrap();
    assert!(error.contains("--input") && error.contains("Invalid data"), "{error}");
    assert!(!net.exists());
}

#[test]
fn a_benchmark_without_its_yardstick_says_how_to_get_it() {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_streamflow"))
        .args(["bench", "transcode", "--input", "clip.mp4"])
        .env("HOME", home.path())
        .env("PATH", home.path())
        .output()
        .unwrap();
    assert_eq!(code(&output), 1);
    let said = stderr(&output);
    assert!(said.contains("apt-get install ffmpeg") && !said.contains("preparing"), "{said}");
}

/// The shortest comparison there is.
const SHORT_BENCH: [&str; 8] =
    ["bench", "transcode", "--duration", "2s", "--preset", "ultrafast", "--ladder", "320x180@300,160x90@100"];

fn short_bench(more: &[&str]) -> Output {
    let clip = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures/bbb-720p25-5s.mp4");
    streamflow(&[&SHORT_BENCH[..], &["--input", clip.to_str().unwrap()], more].concat())
}

#[test]
fn a_comparison_of_transcoding_has_the_figures_that_are_promised() {
    let dir = tempfile::tempdir().unwrap();
    let runs = dir.path().join("runs.csv");
    let output = short_bench(&["--rounds", "1", "--json", "--csv", runs.to_str().unwrap()]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let document: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let keys = ["throughput_ratio_segment", "throughput_ratio_stream", "cpu_ratio", "bitrate_ratio"];
    for key in [&keys[..], &["first_byte_ms", "last_byte_ms", "restart_ms", "rss_ratio"]].concat() {
        assert!(document[key].as_f64().is_some_and(|figure| figure > 0.0), "{key}: {}", document[key]);
    }
    assert!(document["ssim_delta"].as_f64().is_some_and(|figure| figure.abs() < 0.1), "{}", document["ssim_delta"]);
    assert_eq!(document["presets"][0]["preset"], "ultrafast");
    assert_eq!(document["presets"][0]["renditions"].as_array().unwrap().len(), 2);
    assert_eq!(document["source_frames"], 50);
    let runs = fs::read_to_string(runs).unwrap();
    let works: Vec<_> = runs.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(works, ["work", "streamflow", "ffmpeg_segment", "ffmpeg_stream", "stream"]);
}

#[test]
fn sessions_are_counted_until_they_are_no_longer_live() {
    let output = short_bench(&["--sessions", "2"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.contains("in real time") && said.contains("PSNR") && !said.contains("must"), "{said}");
    assert!(said.lines().skip_while(|line| !line.starts_with("sessions, ")).all(|line| line.len() <= 80), "{said}");
    let output = short_bench(&["--sessions", "2", "--pacing", "flat-out", "--json"]);
    let document: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let counts = document["sessions"][0]["counts"].as_array().unwrap();
    assert_eq!(counts.iter().map(|count| count["sessions"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    assert!(counts.iter().all(|count| count["ssim"].as_f64().unwrap() > 0.5), "{counts:?}");
    assert_eq!(document["sessions"][0]["realtime_sessions"], Value::Null);
    assert!(document.get("throughput_ratio_segment").is_none());
}

#[test]
fn a_benchmark_that_cannot_be_run_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (empty, nowhere) = (dir.path().to_str().unwrap(), dir.path().join("no/such/place.csv"));
    let refusals: [(&[&str], i32, &str); 9] = [
        (&["--ladder", "1280x720"], 2, "such as 1280x720@3000"),
        (&["--ladder", "1280x721@3000"], 2, "not even"),
        (&["--ladder", "320x180@300,320x180@300"], 2, "180p300k twice"),
        (&["--preset", "quickest"], 2, "veryfast"),
        (&["--duration", "6m"], 2, "2s to 5m are possible"),
        (&["--pacing", "slow"], 2, "flat-out"),
        (&["--in-flight", "99"], 2, "transcoding.queue"),
        (&["--input", empty], 2, "ffmpeg -i FILE -c copy -f segment"),
        (&["--csv", nowhere.to_str().unwrap()], 1, "cannot write --csv"),
    ];
    for (args, expected, words) in refusals {
        let output = streamflow(&[&["bench", "transcode"], args].concat());
        assert_eq!(code(&output), expected, "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    for args in [&["completions", "bash"][..], &["config", "print-default"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_streamflow")).args(args).stdout(writer).output().unwrap();
        assert_eq!((code(&output), stderr(&output).as_str()), (0, ""), "{args:?}");
    }
}

#[test]
fn no_tickets_is_an_empty_list() {
    let output = streamflow(&["tickets", "list", "--json"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(serde_json::from_str::<Value>(&stdout(&output)).unwrap(), serde_json::json!({ "tickets": [] }));
    assert_eq!(code(&streamflow(&["tickets", "list", "--state", "lost"])), 2);
}

#[test]
fn a_taken_port_stops_the_role_and_names_the_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let home = tempfile::tempdir().unwrap();
    let output = role(home.path(), "keeper").env("STREAMFLOW_ADMIN__LISTEN", &address).output().unwrap();
    assert_eq!(code(&output), 1);
    let text = stderr(&output);
    assert!(text.contains("admin.listen") && text.contains(&address), "{text}");
}

#[test]
fn a_spending_role_without_key_says_which_settings_give_one() {
    let home = tempfile::tempdir().unwrap();
    let output = role(home.path(), "keeper").env_remove("STREAMFLOW_KEYS__PRIVATE_KEY_ENV").output().unwrap();
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    assert!(stderr(&output).contains("keys.key_file"), "{}", stderr(&output));
}

/// A machine with a driver has other things to say.
fn has_driver() -> bool {
    let found = Path::new("/proc/driver/nvidia/version").exists();
    if found {
        eprintln!("skipped: this machine has an NVIDIA driver");
    }
    found
}

fn doctor(encoder: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamflow"));
    command
        .arg("doctor")
        .env("STREAMFLOW_CHAIN__RPC_URL", "http://127.0.0.1:1")
        .env("STREAMFLOW_TRANSCODING__ENCODE__ENCODER", encoder);
    command
}

#[test]
fn the_doctor_says_what_nvenc_lacks() {
    if has_driver() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let driver = |encoder| {
        let output = doctor(encoder).arg("--json").env("HOME", home.path()).output().unwrap();
        let diagnosis: Value = serde_json::from_str(&stdout(&output)).unwrap();
        let checks = diagnosis["checks"].as_array().unwrap();
        let driver = checks.iter().find(|check| check["name"] == "GPU driver").unwrap();
        let (state, found) = (driver["state"].as_str().unwrap(), driver["found"].as_str().unwrap());
        (state.to_owned(), found.to_owned(), code(&output))
    };
    let (state, found, code) = driver("nvenc");
    assert_eq!((state.as_str(), code), ("fail", 1), "{found}");
    for part in ["libcuda.so.1: cannot open", "install the NVIDIA driver", "encoder = \"nvenc\" wants it"] {
        assert!(found.contains(part), "{found}");
    }
    let (state, found, code) = driver("x264");
    assert_eq!((state.as_str(), code), ("warn", 0), "{found}");
    assert!(found.contains("libcuda.so.1") && found.ends_with("not configured, so not needed"), "{found}");

    let output = doctor("nvenc").env("HOME", home.path()).output().unwrap();
    let text = stderr(&output);
    assert!(text.lines().any(|line| line.starts_with("FAIL") && line.contains("GPU driver")), "{text}");
    assert!(text.lines().any(|line| line.starts_with("ok") && line.contains("libx264")), "{text}");
}

/// As where the package is not installed, but for the words of the loader; a program that is linked with it does not even start.
#[test]
fn the_doctor_tells_that_libavfilter_does_not_load() {
    let home = tempfile::tempdir().unwrap();
    (6..20).for_each(|major| fs::write(home.path().join(format!("libavfilter.so.{major}")), "").unwrap());
    let filters = |libraries: &Path| {
        let mut doctor = doctor("x264");
        let output = doctor.arg("--json").env("HOME", home.path()).env("LD_LIBRARY_PATH", libraries).output().unwrap();
        let diagnosis: Value = serde_json::from_str(&stdout(&output)).unwrap();
        let check = diagnosis["checks"].as_array().unwrap().iter().find(|check| check["name"] == "filters").unwrap();
        (check["state"].as_str().unwrap().to_owned(), check["found"].as_str().unwrap().to_owned(), code(&output))
    };
    let (state, found, code) = filters(home.path());
    assert_eq!((state.as_str(), code), ("fail", 1), "{found}");
    for part in ["libavfilter.so", "file too short", "install libavfilter"] {
        assert!(found.contains(part), "{found}");
    }
    let (state, found, code) = filters(Path::new(""));
    assert_eq!((state.as_str(), code), ("ok", 0), "{found}");
}

#[test]
fn nvenc_without_a_driver_is_a_configuration_error() {
    if has_driver() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let secret = home.path().join("secret");
    fs::write(&secret, "swordfish").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    for (setting, value, told) in [
        ("ENCODE__ENCODER", "nvenc", "transcoding.encode.encoder = \"nvenc\" cannot work here"),
        ("GPU__DEVICES", "all", "transcoding.gpu.devices cannot work here"),
        ("GPU__DEVICES", "[0]", "transcoding.gpu.devices cannot work here"),
    ] {
        let output = role(home.path(), "transcoder")
            .env("STREAMFLOW_TRANSCODER__ORCHESTRATOR", "https://127.0.0.1:1")
            .env("STREAMFLOW_TRANSCODER__SECRET_FILE", &secret)
            .env(format!("STREAMFLOW_TRANSCODING__{setting}"), value)
            .output()
            .unwrap();
        let text = stderr(&output);
        assert_eq!(code(&output), 2, "{text}");
        for part in [told, "no NVIDIA driver: libcuda.so.1", "install the NVIDIA driver", "`streamflow doctor`"] {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[test]
fn devices_are_named_as_nvidia_smi_names_them() {
    let check = |devices: &str| {
        Command::new(env!("CARGO_BIN_EXE_streamflow"))
            .args(["config", "check", "--json"])
            .env("STREAMFLOW_TRANSCODING__GPU__DEVICES", devices)
            .output()
            .unwrap()
    };
    let output = check("[1, 0]");
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let document: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(document["config"]["transcoding"]["gpu"]["devices"], serde_json::json!([0, 1]));
    for wrong in ["none", "[]", "0,1", "[-1]"] {
        let output = check(wrong);
        assert_eq!(code(&output), 2, "{wrong}");
        let text = stderr(&output);
        assert!(text.contains("TRANSCODING__GPU__DEVICES") && text.contains("nvidia-smi"), "{text}");
    }
}

fn role(home: &Path, name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamflow"));
    command
        .arg(name)
        .env("HOME", home)
        .env("TEST_KEY", KEY)
        .env("STREAMFLOW_KEYS__PRIVATE_KEY_ENV", "TEST_KEY")
        .env("STREAMFLOW_CHAIN__RPC_URL", "http://127.0.0.1:1")
        .env("STREAMFLOW_CHAIN__CONTROLLER", "0x00000000000000000000000000000000000000aa")
        .env("STREAMFLOW_ADMIN__LISTEN", "127.0.0.1:0");
    command
}
