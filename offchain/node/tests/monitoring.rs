//! Metrics, dashboard and alerts belong together: what one of them names, the others know.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use streamflow_node::monitoring::{ALL, Kind, Metric};

/// Labels that take few values, all known when the program is written.
const BOUNDED: [&str; 17] = [
    "cause",
    "doubt",
    "duty",
    "fault",
    "kind",
    "need",
    "order",
    "outcome",
    "reason",
    "remedy",
    "result",
    "role",
    "status",
    "verdict",
    "version",
    "node_type",
    "le",
];
/// How names of metrics end that are no counters.
const UNITS: [&str; 13] = [
    "_seconds",
    "_bytes",
    "_gwei",
    "_hours",
    "_block",
    "_gas",
    "_tickets",
    "_transactions",
    "_sessions",
    "_transcoders",
    "_connections",
    "_streams",
    "_subscribers",
];
/// Gauges without a unit: they count or say yes or no.
const PLAIN: [&str; 7] = [
    "streamflow_chain_endpoints_usable",
    "streamflow_media_devices",
    "streamflow_media_devices_broken",
    "streamflow_node_info",
    "streamflow_node_need_met",
    "streamflow_node_ready",
    "streamflow_redeemer_outbox_waiting",
];

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A metric as the source says it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Used {
    kind: &'static str,
    labels: Vec<String>,
}

/// Names that follow `macro_name!(` in the sources, with the labels.
fn used() -> BTreeMap<String, Used> {
    let mut found = BTreeMap::new();
    for root in ["offchain", "keeper"] {
        visit(&project().join(root), &mut found);
    }
    found
}

fn visit(directory: &Path, found: &mut BTreeMap<String, Used>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !matches!(name, "tests" | "target") {
            visit(&path, found);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).unwrap();
            let (program, _tests) = text.split_once("#[cfg(test)]\nmod tests {").unwrap_or((&text, ""));
            for kind in ["counter", "gauge", "histogram"] {
                read_macros(program, kind, found);
            }
        }
    }
}

fn read_macros(program: &str, kind: &'static str, found: &mut BTreeMap<String, Used>) {
    for call in program.split(&format!("{kind}!(")).skip(1) {
        // A macro that describes has a variable there.
        let Some(rest) = call.trim_start().strip_prefix('"') else { continue };
        let (name, rest) = rest.split_once('"').unwrap();
        let arguments = rest.split(';').next().unwrap();
        let mut labels: Vec<String> = arguments
            .split("=>")
            .filter(|_| arguments.contains("=>"))
            .filter_map(|before| before.trim_end().strip_suffix('"')?.rsplit('"').next().map(str::to_owned))
            .collect();
        labels.sort();
        let used = Used { kind, labels };
        if let Some(before) = found.insert(name.to_owned(), Used { kind, labels: used.labels.clone() }) {
            assert_eq!(before, used, "{name} is used in two ways");
        }
    }
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

#[test]
fn every_metric_of_the_sources_is_in_the_catalogue_and_the_other_way_round() {
    let used = used();
    assert!(used.len() > 60, "the sources were not read: {used:?}");
    let known: BTreeMap<_, _> = ALL
        .iter()
        .map(|Metric { name, kind, labels, .. }| {
            let mut labels: Vec<String> = labels.iter().map(ToString::to_string).collect();
            labels.sort();
            ((*name).to_owned(), Used { kind: kind_name(*kind), labels })
        })
        .collect();
    assert_eq!(known.len(), ALL.len(), "a name stands twice in monitoring/catalogue.rs");
    let missing: Vec<_> = used.iter().filter(|(name, used)| known.get(*name) != Some(used)).collect();
    assert!(missing.is_empty(), "monitoring/catalogue.rs lacks, or tells otherwise: {missing:#?}");
    let stale: Vec<_> = known.keys().filter(|name| !used.contains_key(*name)).collect();
    assert!(stale.is_empty(), "monitoring/catalogue.rs has what no source uses: {stale:#?}");
}

#[test]
fn names_end_in_their_unit_and_labels_take_few_values() {
    for Metric { name, kind, labels, help } in ALL {
        let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        let fits = match kind {
            Kind::Counter => name.ends_with("_total"),
            Kind::Gauge => (ends(&UNITS) || PLAIN.contains(name)) && !name.ends_with("_total"),
            Kind::Histogram => name.ends_with("_seconds"),
        };
        assert!(fits, "{name} does not end in the unit of a {kind:?}");
        assert!(labels.iter().all(|label| BOUNDED.contains(label)), "{name} has labels {labels:?}");
        assert!(help.ends_with('.') && help.len() > 10, "{name}: {help:?} says nothing");
    }
}

/// Names of metrics in a query.
fn names(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = words.filter(|word| word.starts_with("streamflow_") || word.starts_with("livepeer_"));
    ours.map(|word| {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|part| word.strip_suffix(part));
        histogram.filter(|name| ALL.iter().any(|metric| metric.name == *name)).unwrap_or(word).to_owned()
    })
    .collect()
}

fn assert_known(query: &str) {
    let names = names(query);
    assert!(!names.is_empty() || query.contains("up{"), "no metric in {query}");
    for name in names {
        assert!(ALL.iter().any(|metric| metric.name == name), "{name} does not exist: {query}");
    }
}

/// Queries of all panels, nested ones too.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| queries(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

fn promtool(arguments: &[&str]) -> String {
    let output = Command::new("promtool").args(arguments).output();
    let output = output.unwrap_or_else(|e| panic!("promtool: {e}: script/setup installs it (Debian: prometheus)"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}:\n{said}");
    said
}

#[test]
fn every_panel_of_the_dashboard_asks_for_what_exists_in_valid_queries() {
    let text = fs::read_to_string(project().join("docs/grafana/streamflow.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut found = Vec::new();
    queries(&dashboard["panels"], &mut found);
    assert!(found.len() > 40, "{}", found.len());
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have one id");
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (index, query) in found.iter().enumerate() {
        assert_known(query);
        let query = query.replace("$__rate_interval", "5m").replace("$instance", ".*").replace('\'', "''");
        rules.push_str(&format!("      - record: panel:query:{index}\n        expr: '{query}'\n"));
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dashboard.rules.yml");
    fs::write(&file, rules).unwrap();
    promtool(&["check", "rules", "--lint=none", file.to_str().unwrap()]);
}

#[test]
fn alerts_fire_when_they_should_and_each_has_a_test() {
    let directory = project().join("docs/alerts");
    let (rules, tests) = (directory.join("streamflow.rules.yml"), directory.join("streamflow.test.yml"));
    promtool(&["check", "rules", rules.to_str().unwrap()]);
    promtool(&["test", "rules", tests.to_str().unwrap()]);
    let (rules, tests) = (fs::read_to_string(rules).unwrap(), fs::read_to_string(tests).unwrap());
    for rule in rules.split("      - alert: ").skip(1) {
        let name = rule.lines().next().unwrap();
        let (_, query) = rule.split_once("expr:").unwrap();
        assert_known(query.split("labels:").next().unwrap());
        let fires = format!("alertname: {name}\n        exp_alerts:\n          - exp_labels");
        assert!(tests.contains(&fires), "no test shows that {name} fires");
        assert!(rule.contains("action: "), "{name} says nothing to do");
    }
}
