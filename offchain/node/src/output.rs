//! What commands print: tables for people on stderr, or one JSON document on stdout.
use std::{
    fmt,
    io::{self, Write as _},
};

use serde::Serialize;

/// Widest line of a table.
pub const WIDTH: usize = 100;
/// Between two columns.
const GAP: &str = "  ";

/// A result that can be shown both ways.
pub trait Report: Serialize {
    /// For a person: lines no longer than [`WIDTH`], no trailing newline.
    fn text(&self) -> String;
}

/// Where results go.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    /// `json` as on the command line.
    pub const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Prints a result, once.
    ///
    /// # Errors
    /// When stdout is closed.
    pub fn result(self, report: &impl Report) -> io::Result<()> {
        if self.json {
            return self.document(report);
        }
        self.note(report.text());
        Ok(())
    }

    /// Prints `document` as JSON on stdout.
    ///
    /// # Errors
    /// When stdout is closed.
    pub fn document(self, document: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(document)?;
        text.push(b'\n');
        to_stdout(&text)
    }

    /// Tells a person what happens next; never part of the result.
    pub fn note(self, line: impl fmt::Display) {
        to_stderr(line);
    }

    /// Whether the result goes to a program.
    pub const fn is_json(self) -> bool {
        self.json
    }
}

/// Prints `text` on stdout. A reader that has seen enough, such as `head`, is no error.
///
/// # Errors
/// When stdout cannot take it.
pub fn to_stdout(text: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Prints a line on stderr. There is nobody to tell when that is closed.
pub fn to_stderr(line: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Rows in columns as wide as their widest cell. The last column is never padded, and wraps at [`WIDTH`] between words.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.map(str::to_owned).to_vec()] }
    }

    /// A table of names and values, without headings.
    pub const fn facts() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds one row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) -> &mut Self {
        self.rows.push(cells.to_vec());
        self
    }

    /// Adds a name and its value.
    pub fn fact(&mut self, name: &str, value: impl fmt::Display) -> &mut Self {
        self.row([name.to_owned(), value.to_string()])
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let indent = widths.iter().rev().skip(1).map(|width| width + GAP.len()).sum::<usize>();
        for (index, row) in self.rows.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let mut cells = row.clone();
            if let Some(last) = cells.last_mut().filter(|_| row.len() == columns) {
                *last = wrap(last, WIDTH.saturating_sub(indent)).join(&format!("\n{:indent$}", ""));
            }
            let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            write!(f, "{}", padded.collect::<Vec<_>>().join(GAP).trim_end())?;
        }
        Ok(())
    }
}

/// Lines of at most `width` characters; a longer word, such as a path, stays whole.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let full = lines
            .last()
            .is_some_and(|line| !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width);
        match lines.last_mut() {
            Some(line) if !full => {
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_last_cells_wrap_below_themselves() {
        let mut table = Table::facts();
        table.fact("RPC", "word ".repeat(40)).fact("path", format!("/{}", "x".repeat(120)));
        let text = table.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].len() <= WIDTH && lines[1].starts_with("      word"), "{text}");
        assert!(lines.last().unwrap().contains(&"x".repeat(120)), "a path is not broken: {text}");
    }

    #[test]
    fn columns_line_up_and_lines_do_not_trail() {
        let mut table = Table::new(["round", "fees"]);
        table.row(["7".into(), "12 ETH".into()]).row(["1000".into(), String::new()]);
        assert_eq!(table.to_string(), "round  fees\n7      12 ETH\n1000");
    }
}
