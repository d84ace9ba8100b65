//! What is written.
use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result, ensure};
use streamflow_simulator::{DeployScript, write_report};
use xmlparser::{ElementEnd, Token, Tokenizer};

use crate::first;

/// Every tag is closed, in order; returns the texts.
fn parse(svg: &str) -> Result<Vec<String>> {
    let (mut open, mut texts) = (Vec::new(), Vec::new());
    for token in Tokenizer::from(svg) {
        match token? {
            Token::ElementStart { local, .. } => open.push(local.as_str()),
            Token::ElementEnd { end: ElementEnd::Close(_, local), .. } => {
                ensure!(open.pop() == Some(local.as_str()), "</{local}> closes nothing");
            }
            Token::ElementEnd { end: ElementEnd::Empty, .. } => {
                open.pop().context("an element ends that did not begin")?;
            }
            Token::Attribute { local, value, .. } => {
                ensure!(!value.contains("NaN") && !value.contains("inf"), "{local}=\"{value}\"");
            }
            Token::Text { text } if !text.trim().is_empty() => texts.push(text.as_str().to_owned()),
            _ => {}
        }
    }
    ensure!(open.is_empty(), "not closed: {open:?}");
    Ok(texts)
}

#[test]
fn every_plot_is_well_formed_and_has_its_figures_beside_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let files = write_report(first(), folder.path())?;
    let names: BTreeSet<_> = files.iter().filter_map(|file| file.file_name()?.to_str()).collect();
    let plots: Vec<_> = names.iter().filter_map(|name| name.strip_suffix(".svg")).collect();
    assert_eq!(plots.len(), 9, "{names:?}");
    let page = fs::read_to_string(&files[0])?;
    for plot in plots {
        let svg = fs::read_to_string(folder.path().join(format!("{plot}.svg")))?;
        let texts = parse(&svg).with_context(|| plot.to_owned())?;
        assert!(texts.len() > 8, "{plot} has a title, a legend, two labels and ticks: {texts:?}");
        assert!(page.contains(&svg), "the page shows {plot}");
        let csv = fs::read_to_string(folder.path().join(format!("{plot}.csv")))?;
        assert!(csv.lines().count() > 1, "{plot}.csv is empty");
    }
    let summary: serde_json::Value = serde_json::from_str(&fs::read_to_string(folder.path().join("summary.json"))?)?;
    assert_eq!(summary["trace_hash"], first().trace_hash.to_string());
    Ok(())
}

#[test]
fn who_has_not_compiled_the_contracts_is_told_how() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let error = DeployScript::load(folder.path()).unwrap_err();
    assert!(error.to_string().contains("FOUNDRY_PROFILE=deploy forge build script/Deploy.s.sol"), "{error}");
    fs::create_dir(folder.path().join("Deploy.s.sol"))?;
    let artifact = r#"{"deployedBytecode": {"object": "0x00"}, "methodIdentifiers": {"deploy()": "775c300c"}}"#;
    fs::write(folder.path().join("Deploy.s.sol/Deploy.json"), artifact)?;
    let error = DeployScript::load(folder.path()).unwrap_err();
    assert!(error.to_string().contains("compiled from other sources"), "{error}");
    Ok(())
}
