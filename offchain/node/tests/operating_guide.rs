//! The examples of docs/operating.md are valid configurations.
#![allow(clippy::unwrap_used)]

use streamflow_node::config::Config;

const GUIDE: &str = include_str!("../../../docs/operating.md");

#[test]
fn examples_parse_and_pass_the_check() {
    let examples: Vec<&str> = GUIDE.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() >= 5, "one for each role and one for keys");
    for example in examples {
        let config: Config = toml::from_str(example).unwrap_or_else(|e| panic!("{e}\n{example}"));
        config.validate().unwrap_or_else(|e| panic!("{e}\n{example}"));
    }
}
