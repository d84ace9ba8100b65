//! Bars that lie, one row for each thing with a name.
use super::svg::{Axis, Entry, RIGHT, WIDTH, bar, document, legend, lines, rule, text, title};

/// Where bars begin, and room for their values behind the longest.
const NAMES: f64 = 380.0;
const VALUES: f64 = 90.0;
/// Height of a bar, and between two rows.
const BAR: f64 = 12.0;
const GAP: f64 = 12.0;

/// A bar with its value in words.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) value: f64,
    pub(super) colour: &'static str,
    pub(super) text: String,
}

/// Rows of bars under one scale. What is not above its low end is drawn as a mark there.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    pub(super) title: String,
    pub(super) label: &'static str,
    pub(super) scale: Axis,
    pub(super) legend: Vec<Entry>,
    pub(super) rows: Vec<(String, Vec<Bar>)>,
}

impl Rows {
    /// The whole document.
    pub(super) fn svg(&self) -> String {
        let rows: f64 = self.rows.iter().map(|(_, bars)| bars.len() as f64 * BAR + GAP).sum();
        let height = lines(&self.title).len() as f64 * 23.0 + rows + 110.0;
        let mut out = document(height);
        let top = title(&mut out, &self.title);
        let top = legend(&mut out, &self.legend, top) + 12.0;
        let (bottom, right) = (top + rows, WIDTH - RIGHT - VALUES);
        let place = |value: f64| NAMES + self.scale.place(value) * (right - NAMES);
        for (value, tick) in &self.scale.ticks {
            let x = place(*value);
            rule(&mut out, [x, top], [x, bottom], "#e6e6e6");
            text(&mut out, [x, bottom + 18.0], "middle", 12.0, tick);
        }
        let mut y = top + GAP / 2.0;
        for (name, bars) in &self.rows {
            let middle = y + bars.len() as f64 * BAR / 2.0 + 3.5;
            text(&mut out, [NAMES - 10.0, middle], "end", 12.0, name);
            for Bar { value, colour, text: words } in bars {
                let end = place(*value).max(NAMES + 2.0);
                bar(&mut out, [NAMES, y], [end, y + BAR - 2.0], colour);
                text(&mut out, [end + 5.0, y + 9.5], "start", 11.0, words);
                y += BAR;
            }
            y += GAP;
        }
        rule(&mut out, [NAMES, top], [NAMES, bottom], "#444");
        rule(&mut out, [NAMES, bottom], [right, bottom], "#444");
        text(&mut out, [f64::midpoint(NAMES, right), bottom + 40.0], "middle", 14.0, self.label);
        out.push_str("</svg>\n");
        out
    }
}
