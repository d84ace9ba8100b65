//! Figures of single pictures: luma only.
use ffmpeg_next::{format::Pixel, frame};

use crate::{MediaError, scale::Scaler};

const COLUMNS: usize = 64;
const ROWS: usize = 36;
/// Rows of the picture that make one row of a thumbnail, at most.
const ROWS_PER_CELL: usize = 6;
/// Largest part of a frame compared in full size, in pixels.
const CROP: (usize, usize) = (640, 360);
/// Side of the windows of structural similarity, in pixels.
const WINDOW: usize = 8;
/// Mean square of the Laplacian below which a picture has no detail to lose.
const LEAST_DETAIL: f64 = 8.0;
/// What stands for the ratio of equal pictures, in decibels.
const BEST_PSNR: f64 = 99.0;

/// Brings frames to a form whose first plane is luma of one byte a pixel, in the range of television.
#[derive(Default)]
pub(super) struct Reader(Option<Scaler>);

impl Reader {
    pub(super) fn plain(&mut self, frame: frame::Video) -> Result<frame::Video, MediaError> {
        match frame.format() {
            Pixel::YUV420P | Pixel::YUV422P | Pixel::YUV444P => Ok(frame),
            _ => self.sized(&frame, (frame.width(), frame.height())),
        }
    }

    /// A copy of that size.
    pub(super) fn sized(
        &mut self,
        frame: &frame::Video,
        (width, height): (u32, u32),
    ) -> Result<frame::Video, MediaError> {
        let scaler = match &mut self.0 {
            Some(scaler) if scaler.makes(width, height) => scaler,
            slot => slot.insert(Scaler::new(width, height)),
        };
        scaler.copy(frame)
    }
}

/// Rows of a frame's luma from `top`, each from `left`, `width` long.
fn rows(frame: &frame::Video, left: usize, top: usize, width: usize) -> impl Iterator<Item = &[u8]> {
    let rows = frame.data(0).chunks(frame.stride(0).max(1)).take(frame.height() as usize).skip(top);
    rows.filter_map(move |row| row.get(left..left + width))
}

/// A picture in 64 x 36 cells, whatever its size and shape.
#[derive(Clone, Copy)]
pub(super) struct Thumb([u8; COLUMNS * ROWS]);

impl Thumb {
    pub(super) fn of(frame: &frame::Video) -> Self {
        let (width, height) = (frame.width() as usize, frame.height() as usize);
        let (data, stride) = (frame.data(0), frame.stride(0));
        let mut cells = [0; COLUMNS * ROWS];
        for (row, cells) in cells.chunks_mut(COLUMNS).enumerate() {
            let (top, bottom) = span(row, ROWS, height);
            let mut sums = [0_u32; COLUMNS];
            let mut counts = [0_u32; COLUMNS];
            for y in (top..bottom).step_by((bottom - top).div_ceil(ROWS_PER_CELL).max(1)) {
                let Some(line) = data.get(y * stride..y * stride + width) else { continue };
                for column in 0..COLUMNS {
                    let (left, right) = span(column, COLUMNS, width);
                    let Some(pixels) = line.get(left..right) else { continue };
                    sums[column] += pixels.iter().map(|pixel| u32::from(*pixel)).sum::<u32>();
                    counts[column] += u32::try_from(pixels.len()).unwrap_or(u32::MAX);
                }
            }
            for ((cell, sum), count) in cells.iter_mut().zip(sums).zip(counts) {
                *cell = u8::try_from(sum / count.max(1)).unwrap_or(u8::MAX);
            }
        }
        Self(cells)
    }

    /// Sum of the differences of all cells.
    pub(super) fn distance(&self, other: &Self) -> u32 {
        self.0.iter().zip(&other.0).map(|(a, b)| u32::from(a.abs_diff(*b))).sum()
    }

    /// The same, for a cell on average, in levels.
    pub(super) fn difference(&self, other: &Self) -> f64 {
        f64::from(self.distance(other)) / (COLUMNS * ROWS) as f64
    }

    /// Mean and standard deviation of the cells, in levels.
    pub(super) fn levels(&self) -> (f64, f64) {
        let count = (COLUMNS * ROWS) as f64;
        let mean = self.0.iter().map(|cell| f64::from(*cell)).sum::<f64>() / count;
        let squares = self.0.iter().map(|cell| (f64::from(*cell) - mean).powi(2)).sum::<f64>();
        (mean, (squares / count).sqrt())
    }
}

/// Pixels of the `index`th of `parts` along a side; at least one.
fn span(index: usize, parts: usize, side: usize) -> (usize, usize) {
    let start = (index * side / parts).min(side.saturating_sub(1));
    (start, ((index + 1) * side / parts).max(start + 1).min(side))
}

/// A part of a frame's luma, in the frame's own resolution.
pub(super) struct Crop {
    frame: (u32, u32),
    left: usize,
    top: usize,
    width: usize,
    luma: Vec<u8>,
}

impl Crop {
    /// A part of at most 640 x 360 pixels; `random` says where.
    pub(super) fn of(frame: &frame::Video, random: u64) -> Self {
        let (width, height) = (frame.width() as usize, frame.height() as usize);
        let place = |side: usize, part: usize, random: u64| {
            let room = side.saturating_sub(part);
            usize::try_from(random % (room as u64 + 1)).unwrap_or(0)
        };
        let (left, top) = (place(width, CROP.0, random & 0xffff_ffff), place(height, CROP.1, random >> 32));
        Self::at(frame, left, top)
    }

    fn at(frame: &frame::Video, left: usize, top: usize) -> Self {
        let width = CROP.0.min(frame.width() as usize);
        let luma = rows(frame, left, top, width).take(CROP.1).flatten().copied().collect();
        Self { frame: (frame.width(), frame.height()), left, top, width, luma }
    }

    /// The same part of another frame of that size.
    pub(super) fn same_of(&self, other: &frame::Video) -> Self {
        Self::at(other, self.left, self.top)
    }

    /// Of the frame that it is from.
    pub(super) fn size(&self) -> (u32, u32) {
        self.frame
    }

    fn lines(&self) -> std::slice::Chunks<'_, u8> {
        self.luma.chunks(self.width.max(1))
    }
}

/// Figures of frames, summed up.
#[derive(Default)]
pub(super) struct Scores {
    frames: u32,
    pixels: u64,
    squared_error: u64,
    windows: u64,
    similarity: f64,
    /// Of the source's Laplacian with itself and with the rendition's.
    energy: i64,
    kept: i64,
    points: u64,
}

impl Scores {
    pub(super) fn add(&mut self, source: &Crop, rendition: &Crop) {
        self.frames += 1;
        self.pixels += source.luma.len().min(rendition.luma.len()) as u64;
        let errors = source.luma.iter().zip(&rendition.luma);
        self.squared_error += errors.map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum::<u64>();
        self.add_similarity(source, rendition);
        self.add_detail(source, rendition);
    }

    fn add_similarity(&mut self, source: &Crop, rendition: &Crop) {
        let (ours, theirs): (Vec<&[u8]>, Vec<&[u8]>) = source.lines().zip(rendition.lines()).unzip();
        for (ours, theirs) in ours.chunks_exact(WINDOW).zip(theirs.chunks_exact(WINDOW)) {
            for left in (0..source.width.saturating_sub(WINDOW - 1)).step_by(WINDOW) {
                let mut sums = Sums::default();
                for (a, b) in ours.iter().zip(theirs) {
                    let pixels = a.get(left..left + WINDOW).zip(b.get(left..left + WINDOW));
                    pixels.into_iter().for_each(|(a, b)| sums.add(a, b));
                }
                self.similarity += sums.similarity();
                self.windows += 1;
            }
        }
    }

    fn add_detail(&mut self, source: &Crop, rendition: &Crop) {
        let (ours, theirs): (Vec<&[u8]>, Vec<&[u8]>) = source.lines().zip(rendition.lines()).unzip();
        for (ours, theirs) in ours.windows(3).zip(theirs.windows(3)) {
            let edges = laplacian(ours).zip(laplacian(theirs));
            for (a, b) in edges {
                self.energy += i64::from(a * a);
                self.kept += i64::from(a * b);
                self.points += 1;
            }
        }
    }

    pub(super) fn frames(&self) -> u32 {
        self.frames
    }

    pub(super) fn psnr(&self) -> f64 {
        if self.pixels == 0 {
            return 0.0;
        }
        let mean = self.squared_error as f64 / self.pixels as f64;
        if mean == 0.0 { BEST_PSNR } else { (10.0 * (255.0 * 255.0 / mean).log10()).min(BEST_PSNR) }
    }

    pub(super) fn ssim(&self) -> f64 {
        if self.windows == 0 { 0.0 } else { self.similarity / self.windows as f64 }
    }

    pub(super) fn detail(&self) -> Option<f64> {
        let energy = self.energy as f64;
        (self.points > 0 && energy / self.points as f64 >= LEAST_DETAIL).then(|| self.kept as f64 / energy)
    }
}

/// Four times a pixel less its neighbours, along the middle one of three lines.
fn laplacian(lines: &[&[u8]]) -> impl Iterator<Item = i32> {
    let line = |index: usize| lines.get(index).copied().unwrap_or_default();
    let (above, line, below) = (line(0), line(1), line(2));
    let middles = line.windows(3).zip(above.iter().skip(1).zip(below.iter().skip(1)));
    middles.map(|(near, (above, below))| {
        let of = |pixel: &u8| i32::from(*pixel);
        4 * of(&near[1]) - of(&near[0]) - of(&near[2]) - of(above) - of(below)
    })
}

/// Sums over one window of two pictures.
#[derive(Default)]
struct Sums {
    a: u32,
    b: u32,
    aa: u32,
    bb: u32,
    ab: u32,
}

impl Sums {
    fn add(&mut self, a: &[u8], b: &[u8]) {
        for (a, b) in a.iter().zip(b) {
            let (a, b) = (u32::from(*a), u32::from(*b));
            self.a += a;
            self.b += b;
            self.aa += a * a;
            self.bb += b * b;
            self.ab += a * b;
        }
    }

    fn similarity(&self) -> f64 {
        const COUNT: f64 = (WINDOW * WINDOW) as f64;
        const C1: f64 = (0.01 * 255.0) * (0.01 * 255.0);
        const C2: f64 = (0.03 * 255.0) * (0.03 * 255.0);
        let (a, b) = (f64::from(self.a) / COUNT, f64::from(self.b) / COUNT);
        let (var_a, var_b) = (f64::from(self.aa) / COUNT - a * a, f64::from(self.bb) / COUNT - b * b);
        let both = f64::from(self.ab) / COUNT - a * b;
        ((2.0 * a * b + C1) * (2.0 * both + C2)) / ((a * a + b * b + C1) * (var_a + var_b + C2))
    }
}
