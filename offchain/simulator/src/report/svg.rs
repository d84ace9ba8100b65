//! Charts as SVG. Text is left to the viewer, so no font is needed to draw.
use std::fmt::Write as _;

pub(super) const BLUE: &str = "#0072b2";
pub(super) const ORANGE: &str = "#d55e00";
pub(super) const GREEN: &str = "#009e73";
pub(super) const SKY: &str = "#9fd0ee";
pub(super) const SAND: &str = "#f2b48a";
pub(super) const GREY: &str = "#8a8a8a";

pub(super) const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 500.0;
const LEFT: f64 = 84.0;
pub(super) const RIGHT: f64 = 24.0;
const BOTTOM: f64 = 64.0;
/// Characters of the title on one line, and its line height.
const TITLE_CHARS: usize = 88;
const TITLE_LINE: f64 = 23.0;
const LEGEND_LINE: f64 = 21.0;
/// About the width of a character of the legend.
const LEGEND_CHAR: f64 = 7.0;

/// How values become places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    Linear,
    Log,
}

/// One side of a chart.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    label: String,
    scale: Scale,
    low: f64,
    high: f64,
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Round ticks from `low` to about `high`.
    pub(super) fn linear(label: &str, low: f64, high: f64) -> Self {
        let span = if high > low { high - low } else { 1.0 };
        let rough = span / 6.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let first = (low / step).ceil() as i64;
        let high = low + span;
        let last = (high / step + 1e-9).floor() as i64;
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let ticks = (first..=last).map(|k| (k as f64 * step, format!("{:.decimals$}", k as f64 * step))).collect();
        Self { label: label.to_owned(), scale: Scale::Linear, low, high, ticks }
    }

    /// Ticks at 1, 2 and 5 times the powers of ten, or at the powers alone where those are many.
    pub(super) fn log(label: &str, low: f64, high: f64) -> Self {
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let factors: &[f64] = if last - first > 3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let ticks = (first..=last).flat_map(|power| factors.iter().map(move |factor| factor * 10_f64.powi(power)));
        let ticks = ticks.filter(|tick| (low * 0.999..=high * 1.001).contains(tick)).map(|tick| (tick, plain(tick)));
        Self { label: label.to_owned(), scale: Scale::Log, low, high, ticks: ticks.collect() }
    }

    /// The same with ticks where the values are.
    pub(super) fn at(self, ticks: impl IntoIterator<Item = (f64, String)>) -> Self {
        Self { ticks: ticks.into_iter().collect(), ..self }
    }

    /// Part of the way from low to high.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
        };
        place.clamp(0.0, 1.0)
    }
}

/// Without an exponent, and no more digits than it has.
fn plain(value: f64) -> String {
    let decimals = (-value.abs().max(1e-12).log10() - 1e-9).ceil().clamp(0.0, 12.0) as usize;
    format!("{value:.decimals$}")
}

#[derive(Clone, Debug)]
enum Mark {
    Line { points: Vec<[f64; 2]>, colour: &'static str, width: f64, dashed: bool },
    Dots { points: Vec<[f64; 2]>, colour: &'static str, radius: f64 },
    Area { outline: Vec<[f64; 2]>, colour: &'static str },
    Bar { from: [f64; 2], to: [f64; 2], colour: &'static str },
    Text { at: [f64; 2], text: String },
}

/// An entry of a legend.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) colour: &'static str,
    pub(super) dashed: bool,
    pub(super) text: String,
}

/// A chart under construction. What is added later lies above.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    title: String,
    x: Axis,
    y: Axis,
    marks: Vec<Mark>,
    legend: Vec<Entry>,
}

impl Chart {
    /// The title says what is to be seen.
    pub(super) fn new(title: impl Into<String>, x: Axis, y: Axis) -> Self {
        Self { title: title.into(), x, y, marks: Vec::new(), legend: Vec::new() }
    }

    pub(super) fn line(mut self, colour: &'static str, width: f64, points: Vec<[f64; 2]>) -> Self {
        self.marks.push(Mark::Line { points, colour, width, dashed: false });
        self
    }

    pub(super) fn dashes(mut self, colour: &'static str, points: Vec<[f64; 2]>) -> Self {
        self.marks.push(Mark::Line { points, colour, width: 2.0, dashed: true });
        self
    }

    pub(super) fn dots(mut self, colour: &'static str, radius: f64, points: Vec<[f64; 2]>) -> Self {
        self.marks.push(Mark::Dots { points, colour, radius });
        self
    }

    /// Between two lines over the same places.
    pub(super) fn area(mut self, colour: &'static str, lower: &[[f64; 2]], upper: &[[f64; 2]]) -> Self {
        let outline = lower.iter().chain(upper.iter().rev()).copied().collect();
        self.marks.push(Mark::Area { outline, colour });
        self
    }

    pub(super) fn bar(mut self, colour: &'static str, from: [f64; 2], to: [f64; 2]) -> Self {
        self.marks.push(Mark::Bar { from, to, colour });
        self
    }

    /// Centred above a place.
    pub(super) fn text(mut self, at: [f64; 2], text: impl Into<String>) -> Self {
        self.marks.push(Mark::Text { at, text: text.into() });
        self
    }

    /// What a colour stands for.
    pub(super) fn legend(mut self, colour: &'static str, text: impl Into<String>) -> Self {
        self.legend.push(Entry { colour, dashed: false, text: text.into() });
        self
    }

    /// The same for a dashed line.
    pub(super) fn legend_dashed(mut self, colour: &'static str, text: impl Into<String>) -> Self {
        self.legend.push(Entry { colour, dashed: true, text: text.into() });
        self
    }

    /// The whole document.
    pub(super) fn svg(&self) -> String {
        let mut out = document(HEIGHT);
        let top = title(&mut out, &self.title);
        let frame = Frame { x: &self.x, y: &self.y, top: legend(&mut out, &self.legend, top) + 12.0 };
        self.axes(&mut out, &frame);
        for mark in &self.marks {
            draw(&mut out, &frame, mark);
        }
        out.push_str("</svg>\n");
        out
    }

    fn axes(&self, out: &mut String, frame: &Frame<'_>) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for (value, tick) in &self.y.ticks {
            let y = frame.at([self.x.low, *value])[1];
            rule(out, [LEFT, y], [right, y], "#e6e6e6");
            text(out, [LEFT - 8.0, y + 4.5], "end", 13.0, tick);
        }
        for (value, tick) in &self.x.ticks {
            let x = frame.at([*value, self.y.low])[0];
            rule(out, [x, bottom], [x, bottom + 5.0], "#444");
            for (line, part) in tick.split('\n').enumerate() {
                text(out, [x, bottom + 19.0 + 14.0 * line as f64], "middle", 13.0, part);
            }
        }
        rule(out, [LEFT, frame.top], [LEFT, bottom], "#444");
        rule(out, [LEFT, bottom], [right, bottom], "#444");
        text(out, [f64::midpoint(LEFT, right), HEIGHT - 10.0], "middle", 14.0, &self.x.label);
        let (middle, label) = (f64::midpoint(frame.top, bottom), escaped(&self.y.label));
        let turned = format!(r#"<text transform="translate(20 {middle:.1}) rotate(-90)" text-anchor="middle""#);
        let _ = writeln!(out, r#"{turned} font-size="14">{label}</text>"#);
    }
}

/// Where values are on the page.
struct Frame<'a> {
    x: &'a Axis,
    y: &'a Axis,
    top: f64,
}

impl Frame<'_> {
    fn at(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let bottom = HEIGHT - BOTTOM;
        [LEFT + self.x.place(x) * (WIDTH - RIGHT - LEFT), bottom - self.y.place(y) * (bottom - self.top)]
    }

    fn path(&self, points: &[[f64; 2]]) -> String {
        let places = points.iter().map(|point| self.at(*point));
        places.map(|[x, y]| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ")
    }
}

fn draw(out: &mut String, frame: &Frame<'_>, mark: &Mark) {
    match mark {
        Mark::Line { points, colour, width, dashed } => {
            let dashes = if *dashed { r#" stroke-dasharray="7 5""# } else { "" };
            let path = frame.path(points);
            // Writing into a string does not fail, here and below.
            let _ = write!(out, r#"<polyline points="{path}" fill="none" stroke="{colour}""#);
            let _ = writeln!(out, r#" stroke-width="{width}"{dashes}/>"#);
        }
        Mark::Dots { points, colour, radius } => {
            for [x, y] in points.iter().map(|point| frame.at(*point)) {
                let _ = writeln!(out, r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius}" fill="{colour}"/>"#);
            }
        }
        Mark::Area { outline, colour } => {
            let path = frame.path(outline);
            let _ = writeln!(out, r#"<polygon points="{path}" fill="{colour}" fill-opacity="0.55"/>"#);
        }
        Mark::Bar { from, to, colour } => bar(out, frame.at(*from), frame.at(*to), colour),
        Mark::Text { at, text: words } => {
            let [x, y] = frame.at(*at);
            text(out, [x, y - 5.0], "middle", 12.0, words);
        }
    }
}

pub(super) fn document(height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" \
         height=\"{height:.0}\" font-family=\"system-ui, sans-serif\" fill=\"#222\">\n\
         <rect width=\"{WIDTH}\" height=\"{height:.0}\" fill=\"#fff\"/>\n"
    )
}

pub(super) fn rule(out: &mut String, [x0, y0]: [f64; 2], [x1, y1]: [f64; 2], colour: &str) {
    let _ = writeln!(out, r#"<line x1="{x0:.1}" y1="{y0:.1}" x2="{x1:.1}" y2="{y1:.1}" stroke="{colour}"/>"#);
}

pub(super) fn bar(out: &mut String, [x0, y0]: [f64; 2], [x1, y1]: [f64; 2], colour: &str) {
    let (x, y, width, height) = (x0.min(x1), y0.min(y1), (x1 - x0).abs(), (y1 - y0).abs());
    let _ = write!(out, r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}""#);
    let _ = writeln!(out, r#" height="{height:.1}" fill="{colour}"/>"#);
}

pub(super) fn text(out: &mut String, [x, y]: [f64; 2], anchor: &str, size: f64, text: &str) {
    let text = escaped(text);
    let _ = write!(out, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}""#);
    let _ = writeln!(out, r#" font-size="{size}">{text}</text>"#);
}

/// Draws the title; returns where it ends.
pub(super) fn title(out: &mut String, text: &str) -> f64 {
    let mut y = 6.0;
    for line in lines(text) {
        y += TITLE_LINE;
        let line = escaped(&line);
        let _ = writeln!(out, r#"<text x="16" y="{y}" font-size="17" font-weight="600">{line}</text>"#);
    }
    y + 10.0
}

/// Draws the legend below `top`; returns where it ends.
pub(super) fn legend(out: &mut String, entries: &[Entry], top: f64) -> f64 {
    let (mut x, mut y) = (16.0, top + 10.0);
    for Entry { colour, dashed, text: words } in entries {
        let width = 46.0 + words.chars().count() as f64 * LEGEND_CHAR;
        if x > 16.0 && x + width > WIDTH - RIGHT {
            (x, y) = (16.0, y + LEGEND_LINE);
        }
        let high = if *dashed { 1.0 } else { 4.5 };
        bar(out, [x, y - high], [x + if *dashed { 9.0 } else { 22.0 }, y + high], colour);
        if *dashed {
            bar(out, [x + 13.0, y - high], [x + 22.0, y + high], colour);
        }
        text(out, [x + 28.0, y + 4.5], "start", 13.0, words);
        x += width;
    }
    if entries.is_empty() { top } else { y + 8.0 }
}

/// Lines of the title.
pub(super) fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= TITLE_CHARS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Text between tags.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        let texts = |axis: &Axis| axis.ticks.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>();
        assert_eq!(texts(&Axis::linear("", 0.0, 10.0)), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(texts(&Axis::linear("", 0.0, 0.3)), ["0.00", "0.05", "0.10", "0.15", "0.20", "0.25", "0.30"]);
        assert_eq!(texts(&Axis::log("", 0.1, 10.0)), ["0.1", "0.2", "0.5", "1", "2", "5", "10"]);
        assert_eq!(texts(&Axis::log("", 0.001, 10.0)), ["0.001", "0.01", "0.1", "1", "10"]);
    }

    #[test]
    fn a_logarithmic_axis_puts_the_middle_in_the_middle() {
        let axis = Axis::log("", 1.0, 100.0);
        assert!((axis.place(10.0) - 0.5).abs() < 1e-12);
        assert!(axis.place(0.0) == 0.0, "below the lowest, too");
    }

    #[test]
    fn text_cannot_break_the_document() {
        let chart = Chart::new("a < b & c", Axis::linear("x > 0", 0.0, 1.0), Axis::linear("y", 0.0, 1.0));
        let svg = chart.legend(BLUE, "<script>").svg();
        assert!(svg.contains("a &lt; b &amp; c") && svg.contains("&lt;script&gt;") && !svg.contains("<script>"));
    }
}
