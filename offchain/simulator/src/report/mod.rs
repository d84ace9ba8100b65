//! The report: one page with all charts, each chart and its figures as files beside it, and a summary for programs.
mod attacks;
mod funds;
mod income;
mod keeper;
mod rows;
mod svg;

use std::{
    fs,
    path::{Path, PathBuf},
};

use self::svg::escaped;
use crate::{Simulation, SimulatorError};

/// A chart with the figures that it shows.
struct Figure {
    /// Of its files, without the ending.
    name: &'static str,
    svg: String,
    /// Comma-separated, the first line names the columns.
    csv: String,
}

/// A question and its answer.
struct Chapter {
    title: &'static str,
    paragraphs: Vec<String>,
    /// HTML after the paragraphs.
    table: String,
    figures: Vec<Figure>,
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;color:#222;max-width:900px;margin:2rem auto;padding:0 1rem}\
svg{max-width:100%;height:auto;border:1px solid #ddd}figure{margin:1rem 0}code{font-size:.9em;overflow-wrap:anywhere}\
table{border-collapse:collapse;font-size:14px}td,th{border-bottom:1px solid #ddd;padding:.3rem .5rem;text-align:left;\
vertical-align:top}";

/// Writes the report into `directory`, which is made if it is not there. Returns the files, the page first.
///
/// # Errors
/// A file cannot be written.
pub fn write_report(simulation: &Simulation, directory: &Path) -> Result<Vec<PathBuf>, SimulatorError> {
    let chapters = [
        income::chapter(&simulation.income),
        funds::defaults(&simulation.defaults),
        keeper::chapter(&simulation.keeper),
        attacks::chapter(&simulation.attacks),
        funds::delegators(&simulation.delegators),
    ];
    fs::create_dir_all(directory).map_err(|source| SimulatorError::Write { path: directory.to_owned(), source })?;
    let mut files = vec![("report.html".to_owned(), page(simulation, &chapters))];
    files.push(("summary.json".to_owned(), serde_json::to_string_pretty(simulation)?));
    for Figure { name, svg, csv } in chapters.into_iter().flat_map(|chapter| chapter.figures) {
        files.push((format!("{name}.svg"), svg));
        files.push((format!("{name}.csv"), csv));
    }
    let write = |(name, text): (String, String)| {
        let path = directory.join(name);
        match fs::write(&path, text) {
            Ok(()) => Ok(path),
            Err(source) => Err(SimulatorError::Write { path, source }),
        }
    };
    files.into_iter().map(write).collect()
}

fn page(simulation: &Simulation, chapters: &[Chapter]) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Streamflow simulation, seed {seed}</title>\
         <style>{STYLE}</style></head><body>\n<h1>Payments in simulation</h1>\n\
         <p>Seed {seed}, {transactions} transactions on the contracts of this checkout. Trace <code>{hash}</code>: the same \
         seed gives the same. Amounts are exact in the files beside each chart; <a href=\"summary.json\">summary.json</a> has \
         all of it.</p>\n",
        seed = simulation.seed,
        transactions = simulation.transactions,
        hash = simulation.trace_hash,
    );
    for Chapter { title, paragraphs, table, figures } in chapters {
        html.push_str(&format!("<h2>{}</h2>\n", escaped(title)));
        for paragraph in paragraphs {
            html.push_str(&format!("<p>{}</p>\n", escaped(paragraph)));
        }
        html.push_str(table);
        for Figure { name, svg, .. } in figures {
            let links = format!("<a href=\"{name}.svg\">chart</a>, <a href=\"{name}.csv\">figures</a>");
            html.push_str(&format!("<figure>{svg}<figcaption>{links}</figcaption></figure>\n"));
        }
    }
    html.push_str("</body></html>\n");
    html
}

/// Lines of comma-separated cells. A cell with a comma or a quote is quoted.
fn csv<const N: usize>(columns: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let cell = |text: &str| match text.contains([',', '"', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    };
    let line = |cells: [&str; N]| cells.map(cell).join(",") + "\n";
    let mut text = line(columns);
    for row in rows {
        text.push_str(&line(row.each_ref().map(String::as_str)));
    }
    text
}

fn percent(part: f64, whole: f64) -> String {
    format!("{:.1} %", 100.0 * part / whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_with_commas_are_quoted() {
        let text = csv(["a", "b"], [["1,5".to_owned(), "say \"x\"".to_owned()], ["2".to_owned(), String::new()]]);
        assert_eq!(text, "a,b\n\"1,5\",\"say \"\"x\"\"\"\n2,\n");
    }
}
