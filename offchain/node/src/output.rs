//! What commands print: tables for people on stderr, or one JSON document on stdout.
use std::{fmt, io};

use serde::Serialize;

/// Widest line of a table.
pub const WIDTH: usize = 100;

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
        eprintln!("{}", report.text());
        Ok(())
    }

    /// Prints `document` as JSON on stdout.
    ///
    /// # Errors
    /// When stdout is closed.
    pub fn document(self, document: &impl Serialize) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        serde_json::to_writer_pretty(&mut stdout, document)?;
        io::Write::write_all(&mut stdout, b"\n")
    }

    /// Tells a person what happens next; never part of the result.
    pub fn note(self, line: impl fmt::Display) {
        eprintln!("{line}");
    }

    /// Whether the result goes to a program.
    pub const fn is_json(self) -> bool {
        self.json
    }
}

/// Rows in columns as wide as their widest cell. The last column is never padded.
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
        for (index, row) in self.rows.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            write!(f, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_do_not_trail() {
        let mut table = Table::new(["round", "fees"]);
        table.row(["7".into(), "12 ETH".into()]).row(["1000".into(), String::new()]);
        assert_eq!(table.to_string(), "round  fees\n7      12 ETH\n1000");
    }
}
