use std::{fs, path::PathBuf};

use super::*;

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("streamflow.toml");
    fs::write(&path, text).unwrap();
    (dir, path)
}

fn refusal(text: &str) -> String {
    let (_dir, path) = file(text);
    let error = Config::load(Some(&path)).unwrap_err().to_string();
    assert!(error.contains("streamflow.toml"), "the file is not named: {error}");
    error
}

#[test]
fn nothing_given_is_the_default() {
    assert!(Config::load(None).is_ok());
}

#[test]
fn an_unknown_key_is_refused_and_named_with_its_file() {
    let error = refusal("[chain]\nrpc_ulr = \"http://x\"\n");
    assert!(error.contains("chain.rpc_ulr: unknown setting in [chain]; known: rpc_url, controller"), "{error}");
    let error = refusal("[chian]\n");
    assert!(error.contains("chian"), "{error}");
    let error = refusal("[orchestrator.tickets]\nevs = 1\n");
    assert!(error.contains("evs"), "{error}");
}

#[test]
fn malformed_toml_is_refused_with_its_line() {
    let error = refusal("[chain]\n\nrpc_url = \"http://x\n");
    assert!(error.contains("line 3"), "{error}");
}

#[test]
fn a_mistake_beside_a_secret_does_not_show_it() {
    for text in [
        "[broadcaster.stream_keys]\nstudio = \"sw0rdfish\n",
        "[broadcaster]\nstreams = [\"movie\nstudio = \"sw0rdfish\"\n",
        "[broadcaster]\nstream_keys = \"sw0rdfish\"\n",
        "[broadcaster]\nsigner_headers = \"sw0rdfish\"\n",
    ] {
        let error = refusal(text);
        assert!(!error.contains("sw0rdfish"), "{error}");
    }
    let error = refusal("[broadcaster]\nstreams = [\"movie\nstudio = 1\n");
    assert!(error.contains("TOML parse error at line 2, column "), "{error}");
}

#[test]
fn a_value_of_the_wrong_type_names_its_key() {
    let error = refusal("[chain]\nchain_id = \"main\"\n");
    assert!(error.contains("streamflow.toml: chain.chain_id: "), "{error}");
    let error = refusal("[chain]\npoll_interval = 5\n");
    assert!(error.contains("chain.poll_interval") && error.contains("\"5s\""), "{error}");
    let error = refusal("[transcoding]\ntranscoders = \"elsewhere\"\n");
    assert!(error.contains("transcoding.transcoders") && error.contains("`local`"), "{error}");
}

#[test]
fn types_are_told_in_the_words_of_the_file() {
    let whole = "transcoding.workers: expected a whole number";
    for (text, told) in [
        ("[transcoding]\nworkers = \"abc\"\n", format!("{whole}, found \"abc\"")),
        ("[transcoding]\nworkers = 1.5\n", format!("{whole}, found 1.5")),
        ("[transcoding]\nworkers = -1\n", format!("{whole} from 0 to 18446744073709551615, found -1")),
        ("[transcoding]\nworkers = [1]\n", format!("{whole}, found a list")),
        ("transcoding = 1\n", "transcoding: expected a section, found 1".to_owned()),
        ("[chain]\nrpc_url = 1\n", "chain.rpc_url: ".to_owned()),
    ] {
        let error = refusal(text);
        assert!(error.contains(&told), "{error}");
    }
    for controller in ["\"\"", "\"0x12\"", "\"0x123\"", "\"mainnet\"", "5"] {
        let error = refusal(&format!("[chain]\ncontroller = {controller}\n"));
        assert!(error.contains("chain.controller: expected an address (0x and 40 hex digits)"), "{error}");
    }
}

#[test]
fn a_missing_file_is_refused() {
    let error = Config::load(Some(Path::new("/nonexistent/streamflow.toml"))).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/streamflow.toml"));
}

#[test]
fn a_setting_that_cannot_work_is_refused_at_load() {
    let (_dir, path) = file("[chain]\nhistory = 1\n");
    assert!(Config::load(Some(&path)).unwrap_err().to_string().contains("history"));
    let (_dir, path) = file("[keys]\nkey_file = \"a\"\nprivate_key_env = \"B\"\n");
    assert!(Config::load(Some(&path)).unwrap_err().to_string().contains("only one"));
    let (_dir, path) = file("[data]\ndatabase_url = \"postgres://u:swordfish@h/d\"\ndatabase_url_file = \"f\"\n");
    let error = Config::load(Some(&path)).unwrap_err().to_string();
    assert!(error.contains("only one of data.database_url") && !error.contains("swordfish"), "{error}");
    let (_dir, path) = file("[transcoding.encode]\ndeterministic = true\nencoder = \"nvenc\"\n");
    let error = Config::load(Some(&path)).unwrap_err().to_string();
    assert!(error.contains("transcoding.encode.deterministic needs encoder = \"x264\""), "{error}");
    let (_dir, path) = file("[transcoding]\nencode = { deterministic = true }\ngpu = { devices = \"all\" }\n");
    let error = Config::load(Some(&path)).unwrap_err().to_string();
    assert!(error.contains("transcoding.encode.deterministic needs gpu.devices = \"auto\""), "{error}");
}

#[test]
fn limits_of_workers_are_checked_and_named() {
    for (text, told) in [
        ("workers = 0", "transcoding.workers must be at least 1"),
        ("job_deadline = \"0s\"", "transcoding.job_deadline"),
        ("job_cpu = \"900ms\"", "transcoding.job_cpu must be at least 1s"),
        ("worker_memory = 1048576", "transcoding.worker_memory must be at least 134217728 bytes"),
        ("quarantine = { directory = \"bad\", max_files = 0 }", "transcoding.quarantine.max_files"),
    ] {
        let (_dir, path) = file(&format!("[transcoding]\n{text}\n"));
        let error = Config::load(Some(&path)).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
    let (_dir, path) = file("[transcoding.quarantine]\ndirectory = \"bad\"\n");
    let kept = Config::load(Some(&path)).unwrap().transcoding.quarantine.for_pool().unwrap();
    assert_eq!((kept.directory, kept.max_files), (PathBuf::from("bad"), 100));
    assert_eq!(Config::default().transcoding.quarantine.for_pool(), None);
}

#[test]
fn only_a_transcoder_needs_to_know_whom_it_works_for() {
    let config = Config::default();
    assert_eq!(config.validate().map_err(|e| e.to_string()), Ok(()));
    assert!(config.validate_for(Role::Orchestrator).is_ok());
    assert!(config.validate_for(Role::Transcoder).unwrap_err().to_string().contains("orchestrator is not set"));
}

#[test]
fn port_offset_moves_every_port_but_zero() {
    let mut config = Config::default();
    config.offset_ports(Role::Orchestrator, 1000).unwrap();
    assert_eq!(config.orchestrator.listen.port(), 9935);
    assert_eq!(config.admin_listen(Role::Orchestrator).port(), 8935);

    let mut config = Config::default();
    config.orchestrator.listen.set_port(0);
    config.offset_ports(Role::Orchestrator, 1000).unwrap();
    assert_eq!(config.orchestrator.listen.port(), 0);
    assert!(config.offset_ports(Role::Orchestrator, u16::MAX).unwrap_err().to_string().contains("admin.listen"));
}

#[test]
fn a_secret_is_not_printed() {
    let text =
        "[orchestrator]\ntranscoder_secret = \"swordfish\"\n[data]\ndatabase_url = \"postgres://u:swordfish@h/d\"\n";
    let config: Config = toml::from_str(text).unwrap();
    assert!(!serde_json::to_string(&config).unwrap().contains("swordfish"));
    assert!(!format!("{config:?}").contains("swordfish"));
}
