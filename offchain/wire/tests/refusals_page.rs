//! docs/refusals.md lists every code, and nothing else.
#![allow(clippy::unwrap_used)] // clippy sees only the test functions themselves as tests
use std::{collections::BTreeSet, fmt::Write as _, path::Path};

use streamflow_wire::{Code, refusal::Side};

const HEAD: &str = "# Refusals

Every refusal of a node has a code. It comes beside the text that deployed peers match on: base64 in the header
`Streamflow-Refusal` of an HTTP answer, in the gRPC metadata `streamflow-refusal-bin`, and as field 1000 of
`TranscodeResult`. All three carry one message, `streamflow.Refusal { code, got, limit, setting, advice }`
(`offchain/wire/proto/streamflow.proto`). `got` and `limit` are the two figures: what was found, and what it was held
against. `setting` is named as in the configuration file of the node that refuses.

A refusal says nothing of the inside of a node: no files, no URLs but those of the question, no addresses of other
machines, no queries. Those are in the log of the node that refuses.

This page is made from the list in `offchain/wire/src/refusal/code.rs`; a test holds it to that list.
";

fn title(side: Side) -> (&'static str, &'static str) {
    match side {
        Side::Orchestrator => ("From an orchestrator, before it takes a segment", "Header or metadata."),
        Side::Result => {
            ("In place of renditions", "Field 1000 of `TranscodeResult`: the segment was taken and has failed.")
        }
        Side::Pool => (
            "From an orchestrator to its transcoders",
            "Metadata of `RegisterTranscoder`, header of `/transcodeResults` and `/transcoderState`.",
        ),
        Side::Broadcaster => ("From a broadcaster to whoever pushes", "Header."),
    }
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for side in [Side::Orchestrator, Side::Result, Side::Pool, Side::Broadcaster] {
        let (title, place) = title(side);
        writeln!(page, "\n## {title}\n\n{place}\n").unwrap();
        writeln!(page, "| Code | When | Figures: got, limit | Setting | What to do |\n|---|---|---|---|---|").unwrap();
        for code in Code::ALL.iter().filter(|code| code.side() == side) {
            let [got, limit] = code.figures();
            let setting = if code.setting().is_empty() { "–".to_owned() } else { format!("`{}`", code.setting()) };
            let (when, advice) = (code.when(), code.advice());
            writeln!(page, "| `{code}` | {when} | {got}; {limit} | {setting} | {advice} |").unwrap();
        }
    }
    page
}

#[test]
fn the_page_has_a_row_for_each_code_and_a_code_for_each_row() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/refusals.md");
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    if found == page() {
        return;
    }
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("refusals.md");
    std::fs::write(&made, page()).unwrap();
    let rows: BTreeSet<_> =
        found.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(code, _)| code).collect();
    let codes: BTreeSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
    panic!(
        "docs/refusals.md is not what the list of codes says; missing {:?}, unknown {:?}. Copy {} over it",
        codes.difference(&rows).collect::<Vec<_>>(),
        rows.difference(&codes).collect::<Vec<_>>(),
        made.display(),
    );
}

#[test]
fn every_code_says_what_to_do() {
    for code in Code::ALL {
        let [got, limit] = code.figures();
        let texts = [code.when(), got, limit, code.advice()];
        assert!(texts.iter().all(|text| !text.is_empty() && !text.contains('|')), "{code}");
        assert!(code.when().ends_with('.') && !code.advice().ends_with('.'), "{code}");
    }
    let names: BTreeSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(names.len(), Code::ALL.len());
}
