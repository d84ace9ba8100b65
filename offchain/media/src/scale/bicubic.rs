//! Bicubic scaling of planes of bytes with AVX2, in less than half of the time that libswscale takes, and closer to its exact result than it is
//! itself when it is fast.
//!
//! A band of [`SIDE`] lines of the result is first mixed from lines of the source, each of which is read once, from its first pixel to its
//! last. Squares of the band are then turned over their diagonal: so mixing columns is the same work as mixing lines, whole vectors of
//! pixels by one weight each.
//!
//! The kernel is that of R. Keys, "Cubic convolution interpolation for digital image processing" (1981), with a = -0.6 as in libswscale,
//! stretched by the step from one pixel of the result to the next. Pixels at an edge go on beyond it.
use std::{
    arch::x86_64::{
        __m256i, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm_storeu_si128, _mm256_add_epi16, _mm256_adds_epi16,
        _mm256_castsi256_si128, _mm256_cvtepu8_epi16, _mm256_extracti128_si256, _mm256_mulhrs_epi16,
        _mm256_packus_epi16, _mm256_permute2x128_si256, _mm256_set1_epi16, _mm256_setzero_si256, _mm256_slli_epi16,
        _mm256_srai_epi16, _mm256_unpackhi_epi8, _mm256_unpackhi_epi16, _mm256_unpacklo_epi8, _mm256_unpacklo_epi16,
    },
    ops::Range,
};

/// Side of the squares that are turned at a time: pixels in a vector.
const SIDE: usize = 16;
/// Vectors whose pixels are a line of the processor's cache.
const CACHED: usize = 64 / SIDE;
/// Bits behind the point of a weight, which at an edge is more than one.
const WEIGHT_BITS: u32 = 14;
/// Bits behind the point of a pixel of the source.
const SOURCE_BITS: i32 = 7;
/// Of what has been mixed of lines and columns: each time, 15 bits of a product are dropped, and there is room for what the kernel
/// overshoots by.
const MIXED_BITS: i32 = SOURCE_BITS - 2;
/// Pixels that one may be made of, in each direction: pictures are not made smaller than a sixty-fourth.
const MOST_TAPS: usize = 256;

/// Brings planes of one size to another.
#[derive(Debug)]
pub(super) struct Plane {
    rows: Axis,
    columns: Axis,
    /// The lines of the source that one of the result is mixed of; the last vector of each may overlap the one before it.
    lines: Vec<Box<[__m256i]>>,
    /// Lines of a band, mixed, one after the other.
    mixed: Vec<__m256i>,
    /// The columns of a band, as many as the source has.
    band: Vec<__m256i>,
}

/// What the pixels of one direction are made of.
#[derive(Debug)]
struct Axis {
    from: usize,
    to: usize,
    /// How many go into each.
    taps: usize,
    /// The first that does; they ascend.
    firsts: Vec<usize>,
    /// Their weights, whose sum is one.
    weights: Vec<i16>,
}

impl Plane {
    /// For (width, height); [`None`] for what this is not made for: other processors, sides below [`SIDE`] and far smaller pictures.
    pub(super) fn new(from: (usize, usize), to: (usize, usize)) -> Option<Self> {
        let (columns, rows) = (Axis::new(from.0, to.0)?, Axis::new(from.1, to.1)?);
        if !is_x86_feature_detected!("avx2") {
            return None;
        }
        // SAFETY: the processor has vectors of this length.
        #[allow(unsafe_code)]
        let zeros = unsafe { _mm256_setzero_si256() };
        let width = from.0.div_ceil(SIDE);
        let lines = vec![vec![zeros; width].into(); rows.taps];
        Some(Self { lines, mixed: vec![zeros; width * SIDE], band: vec![zeros; from.0], rows, columns })
    }

    /// Fills the lines of `target` with what those of `source` show; each comes with the bytes from one line to the next.
    #[allow(unsafe_code)] // a processor that lacks the instructions ends the process
    pub(super) fn scale(&mut self, source: (&[u8], usize), target: (&mut [u8], usize)) {
        // SAFETY: there is no plane where there is no AVX2.
        unsafe { self.scale_bands(source, target) };
    }

    #[target_feature(enable = "avx2")]
    fn scale_bands(&mut self, (source, stride): (&[u8], usize), (target, target_stride): (&mut [u8], usize)) {
        let width = self.columns.from.div_ceil(SIDE);
        let mut held = 0..0;
        for y in steps(self.rows.to) {
            for (row, mixed) in (y..).zip(self.mixed.chunks_exact_mut(width)) {
                let wanted = self.rows.made_of(row);
                // The last band may begin before the end of the one above it.
                let new = if wanted.start < held.start { wanted.start } else { wanted.start.max(held.end) };
                for line in new..wanted.end {
                    self.lines.rotate_left(1);
                    if let Some(lane) = self.lines.last_mut() {
                        widen(&source[line * stride..], stride, self.columns.from, lane);
                    }
                }
                self.rows.mix_lines(&self.lines, row, mixed);
                held = wanted;
            }
            for (at, x) in steps(self.columns.from).enumerate() {
                let mut square = [_mm256_setzero_si256(); SIDE];
                for (pixels, line) in square.iter_mut().zip(self.mixed.chunks_exact(width)) {
                    *pixels = line[at];
                }
                if let Some(columns) = self.band[x..].first_chunk_mut() {
                    *columns = turned(square);
                }
            }
            for x in steps(self.columns.to) {
                write(self.columns.mix_columns(&self.band, x), &mut target[y * target_stride + x..], target_stride);
            }
        }
    }
}

/// Where squares begin: the last may overlap the one before it.
fn steps(pixels: usize) -> impl Iterator<Item = usize> {
    (0..pixels).step_by(SIDE).map(move |at| at.min(pixels - SIDE))
}

/// Vectors of the first `width` bytes. The second line from here, a line being `stride` bytes, is asked for: it comes soon.
#[target_feature(enable = "avx2")]
fn widen(bytes: &[u8], stride: usize, width: usize, line: &mut [__m256i]) {
    let (blocks, rest) = bytes[..width].as_chunks().0.as_chunks::<CACHED>();
    let (pixels, rest_pixels) = line.split_at_mut(blocks.len() * CACHED);
    for (pixels, bytes) in pixels.as_chunks_mut::<CACHED>().0.iter_mut().zip(blocks) {
        _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_byte_add(2 * stride).cast());
        for (pixels, bytes) in pixels.iter_mut().zip(bytes) {
            *pixels = widened(bytes);
        }
    }
    for (pixels, bytes) in rest_pixels.iter_mut().zip(rest) {
        *pixels = widened(bytes);
    }
    if let (Some(pixels), Some(bytes)) = (line.last_mut(), bytes[..width].last_chunk()) {
        *pixels = widened(bytes);
    }
}

/// Pixels of bytes.
#[target_feature(enable = "avx2")]
#[allow(unsafe_code)] // there is no safe load
fn widened(bytes: &[u8; SIDE]) -> __m256i {
    // SAFETY: the array has as many bytes as are loaded.
    let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    _mm256_slli_epi16::<SOURCE_BITS>(_mm256_cvtepu8_epi16(bytes))
}

/// Columns of pixels become lines of bytes, rounded, `stride` bytes from one to the next.
#[target_feature(enable = "avx2")]
#[allow(unsafe_code)] // there is no safe store
fn write(columns: [__m256i; SIDE], target: &mut [u8], stride: usize) {
    let half = _mm256_set1_epi16(1 << (MIXED_BITS - 1));
    let mut lines = [_mm256_setzero_si256(); SIDE / 2];
    for (bytes, columns) in lines.iter_mut().zip(columns.as_chunks::<2>().0) {
        let mut words = *columns;
        for word in &mut words {
            *word = _mm256_srai_epi16::<MIXED_BITS>(_mm256_adds_epi16(*word, half));
        }
        *bytes = _mm256_packus_epi16(words[0], words[1]);
    }
    // Each half of a vector has eight pixels of two columns. As in `turned`, what tells vectors apart, columns, comes to tell their bytes
    // apart, and the other way round.
    for _ in 0..4 {
        let before = lines;
        for at in 0..SIDE / 4 {
            let (a, b) = (before[at], before[at + SIDE / 4]);
            lines[2 * at] = _mm256_unpacklo_epi8(a, b);
            lines[2 * at + 1] = _mm256_unpackhi_epi8(a, b);
        }
    }
    for (at, line) in lines.into_iter().enumerate() {
        let halves = [_mm256_castsi256_si128(line), _mm256_extracti128_si256::<1>(line)];
        for (at, half) in [at, at + SIDE / 2].into_iter().zip(halves) {
            let bytes = &mut target[at * stride..][..SIDE];
            // SAFETY: the slice has as many bytes as are stored.
            unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), half) };
        }
    }
}

/// Rows become columns.
#[target_feature(enable = "avx2")]
fn turned(square: [__m256i; SIDE]) -> [__m256i; SIDE] {
    let mut rows = square;
    // Each time, what tells rows apart loses a bit to what tells the pixels of half a row apart.
    for _ in 0..3 {
        let before = rows;
        for at in 0..SIDE / 2 {
            let (upper, row) = (at / 4 * 8, at % 4);
            let (a, b) = (before[upper + row], before[upper + row + 4]);
            rows[upper + 2 * row] = _mm256_unpacklo_epi16(a, b);
            rows[upper + 2 * row + 1] = _mm256_unpackhi_epi16(a, b);
        }
    }
    let mut columns = rows;
    for at in 0..SIDE / 2 {
        columns[at] = _mm256_permute2x128_si256::<0x20>(rows[at], rows[at + SIDE / 2]);
        columns[at + SIDE / 2] = _mm256_permute2x128_si256::<0x31>(rows[at], rows[at + SIDE / 2]);
    }
    columns
}

impl Axis {
    fn new(from: usize, to: usize) -> Option<Self> {
        let step = from as f64 / to as f64;
        let stretch = step.max(1.0);
        let reach = 2.0 * stretch;
        let taps = ((2.0 * reach).ceil() as usize).min(from);
        if from.min(to) < SIDE || taps > MOST_TAPS {
            return None;
        }
        let (mut firsts, mut weights) = (Vec::with_capacity(to), Vec::with_capacity(to * taps));
        for at in 0..to {
            let centre = (at as f64 + 0.5) * step - 0.5;
            let left = (centre - reach).floor() as i64 + 1;
            let inside = |position: i64| position.clamp(0, from as i64 - 1) as usize;
            let first = inside(left).min(from - taps);
            let mut exact = vec![0.0; taps];
            for position in left..=(centre + reach).ceil() as i64 - 1 {
                exact[inside(position) - first] += kernel((position as f64 - centre) / stretch);
            }
            firsts.push(first);
            weights.extend(rounded(&exact));
        }
        Some(Self { from, to, taps, firsts, weights })
    }

    /// What the pixel `at` of the result is made of.
    fn made_of(&self, at: usize) -> Range<usize> {
        self.firsts[at]..self.firsts[at] + self.taps
    }

    /// The line `at` of the result, of the lines that it is made of.
    #[target_feature(enable = "avx2")]
    fn mix_lines(&self, lines: &[Box<[__m256i]>], at: usize, mixed: &mut [__m256i]) {
        let weights = &self.weights[at * self.taps..][..self.taps];
        // What is as large, two thirds as large and half as large is made of a known number, and no loop is left.
        match self.taps {
            4 => mix_lines_of::<4>(lines, weights, mixed),
            6 => mix_lines_of::<6>(lines, weights, mixed),
            8 => mix_lines_of::<8>(lines, weights, mixed),
            _ => {
                mixed.fill(_mm256_setzero_si256());
                for (line, weight) in lines.iter().zip(weights) {
                    let weight = _mm256_set1_epi16(*weight);
                    for (sum, pixels) in mixed.iter_mut().zip(line) {
                        *sum = _mm256_add_epi16(*sum, _mm256_mulhrs_epi16(*pixels, weight));
                    }
                }
            }
        }
    }

    /// The [`SIDE`] columns of the result from `at` on, of all of the source.
    #[target_feature(enable = "avx2")]
    fn mix_columns(&self, columns: &[__m256i], at: usize) -> [__m256i; SIDE] {
        match self.taps {
            4 => self.mix_columns_of::<4>(columns, at),
            6 => self.mix_columns_of::<6>(columns, at),
            8 => self.mix_columns_of::<8>(columns, at),
            _ => self.mix_columns_of::<0>(columns, at),
        }
    }

    /// The same for a number of taps, 0 for any.
    #[target_feature(enable = "avx2")]
    fn mix_columns_of<const TAPS: usize>(&self, columns: &[__m256i], at: usize) -> [__m256i; SIDE] {
        let taps = if TAPS == 0 { self.taps } else { TAPS };
        let weights = self.weights[at * taps..].chunks_exact(taps);
        let mut mixed = [_mm256_setzero_si256(); SIDE];
        for ((sum, first), weights) in mixed.iter_mut().zip(&self.firsts[at..]).zip(weights) {
            for (pixels, weight) in columns[*first..][..taps].iter().zip(weights) {
                *sum = _mm256_add_epi16(*sum, _mm256_mulhrs_epi16(*pixels, _mm256_set1_epi16(*weight)));
            }
        }
        mixed
    }
}

/// A line of so many.
#[target_feature(enable = "avx2")]
fn mix_lines_of<const TAPS: usize>(lines: &[Box<[__m256i]>], weights: &[i16], mixed: &mut [__m256i]) {
    let mut taps: [&[__m256i]; TAPS] = [&[]; TAPS];
    let mut broad = [_mm256_setzero_si256(); TAPS];
    for tap in 0..TAPS {
        taps[tap] = &lines[tap][..mixed.len()];
        broad[tap] = _mm256_set1_epi16(weights[tap]);
    }
    for (x, sum) in mixed.iter_mut().enumerate() {
        let mut pixels = _mm256_setzero_si256();
        for tap in 0..TAPS {
            pixels = _mm256_add_epi16(pixels, _mm256_mulhrs_epi16(taps[tap][x], broad[tap]));
        }
        *sum = pixels;
    }
}

/// Of the distance from the centre, in pixels.
fn kernel(distance: f64) -> f64 {
    const A: f64 = -0.6;
    match distance.abs() {
        x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A,
        _ => 0.0,
    }
}

/// Weights whose sum is one, as close as they come to it: what rounding leaves goes to the largest.
fn rounded(exact: &[f64]) -> Vec<i16> {
    let one = f64::from(1 << WEIGHT_BITS);
    let sum: f64 = exact.iter().sum();
    let mut weights: Vec<_> = exact.iter().map(|weight| (weight / sum * one).round() as i16).collect();
    let rest = (1 << WEIGHT_BITS) - weights.iter().copied().map(i32::from).sum::<i32>();
    if let Some(largest) = weights.iter_mut().max() {
        *largest += rest as i16;
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plane scaled, lines without padding; [`None`] on processors that this is not made for.
    fn scaled(from: (usize, usize), to: (usize, usize), source: &[u8]) -> Option<Vec<u8>> {
        if !is_x86_feature_detected!("avx2") {
            eprintln!("skipped: this processor has no AVX2");
            return None;
        }
        let mut target = vec![0; to.0 * to.1];
        Plane::new(from, to).unwrap().scale((source, from.0), (&mut target, to.0));
        Some(target)
    }

    #[test]
    fn what_is_flat_stays_flat() {
        for (from, to) in [((64, 48), (33, 17)), ((16, 16), (200, 100)), ((640, 64), (16, 16)), ((40, 40), (40, 40))] {
            for value in [0, 1, 16, 128, 235, 254, 255] {
                let Some(target) = scaled(from, to, &vec![value; from.0 * from.1]) else { return };
                assert!(target.iter().all(|pixel| *pixel == value), "{value}, {from:?} to {to:?}");
            }
        }
    }

    #[test]
    fn what_has_the_size_stays_as_it_is() {
        let source: Vec<u8> = (0..50 * 40_u32).map(|at| ((at * at * 7) >> 5) as u8).collect();
        assert!(scaled((50, 40), (50, 40), &source).is_none_or(|target| target == source));
    }

    #[test]
    fn small_sides_and_far_smaller_pictures_are_left_to_others() {
        let sizes = [((15, 64), (32, 32)), ((64, 64), (32, 15)), ((16 * 65, 64), (16, 64)), ((64, 0), (32, 32))];
        for (from, to) in sizes {
            assert!(Plane::new(from, to).is_none(), "{from:?} to {to:?}");
        }
    }
}
