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

/// Names of settings between backticks, without a value that follows.
fn named_settings() -> impl Iterator<Item = &'static str> {
    let quoted = GUIDE.split("```").step_by(2).flat_map(|prose| prose.split('`').skip(1).step_by(2));
    quoted.filter_map(|text| text.split([' ', '=']).next()).filter(|name| {
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_');
        let section = name.split('.').next().unwrap_or_default();
        const SECTIONS: [&str; 11] = [
            "chain",
            "keys",
            "data",
            "log",
            "admin",
            "transcoding",
            "orchestrator",
            "transcoder",
            "broadcaster",
            "keeper",
            "signer",
        ];
        name.contains('.') && name.chars().all(is_word) && SECTIONS.contains(&section)
    })
}

#[test]
fn every_setting_that_the_guide_names_exists() {
    let file = streamflow_node::config::print_default().unwrap();
    let mut section = "";
    let mut known = Vec::new();
    for line in file.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
            known.push(name.to_owned());
        } else if let Some((name, _)) = line.trim_start_matches('#').split_once(" = ") {
            known.push(format!("{section}.{name}"));
        }
    }
    let named: Vec<_> = named_settings().collect();
    assert!(named.len() > 60, "{named:?}");
    for name in named {
        let exists = known.iter().any(|known| known == name || known.starts_with(&format!("{name}.")));
        let is_field = name.rsplit_once('.').is_some_and(|(parent, _)| {
            known.iter().any(|known| known == parent)
                && file.contains(&format!("\n{} = {{", parent.rsplit('.').next().unwrap()))
        });
        assert!(exists || is_field, "{name} is no setting");
    }
}
