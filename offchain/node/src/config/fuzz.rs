//! Damaged configuration files: a refusal in words, never a panic.
use proptest::prelude::*;
use streamflow_fuzz::damaged_text;

use super::*;

const SECRET: &str = "a long secret";
const EXAMPLE: &str = r#"
[chain]
rpc_url = "http://127.0.0.1:8545"
controller = "0x0000000000000000000000000000000000000001"
[broadcaster]
listen = "0.0.0.0:9935"
streams = ["movie"]
orchestrators = ["o.example", "https://[::1]:8935"]
input = { stream = "clip", path = "-", duration = "20s" }
[broadcaster.stream_keys]
studio = "a long secret"
[broadcaster.budget]
per_day = "100000000000000000"
[[broadcaster.profiles]]
name = "a"
width = 320
height = 180
bitrate = 200000
"#;

proptest! {
    #![proptest_config(streamflow_fuzz::config(64))]

    #[test]
    fn configuration_files(text in damaged_text(&[EXAMPLE, &print_default().unwrap()])) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("streamflow.toml");
        std::fs::write(&file, &text).unwrap();
        match Config::load(Some(&file)) {
            Ok(config) => {
                for role in [Role::Broadcaster, Role::Orchestrator, Role::Transcoder, Role::Keeper, Role::Signer] {
                    let _ = config.validate_for(role).map_err(|error| error.to_string());
                }
            }
            Err(error) => {
                let told = error.to_string();
                prop_assert!(!told.is_empty());
                // Damage may also have put it elsewhere, where it is no secret.
                let placed = match text.parse::<toml::Table>() {
                    Ok(table) => table.get("broadcaster").and_then(|section| section.get("stream_keys")).is_some_and(|keys| {
                        keys.to_string().contains(SECRET)
                    }),
                    Err(_) => true,
                };
                if placed && text.matches(SECRET).count() == 1 {
                    prop_assert!(!told.contains(SECRET), "{}", told);
                }
            }
        }
    }
}
