//! Figures of two planes of one size, 8 bits a pixel.
use ffmpeg_next::frame;

/// Side of the blocks whose sums make up windows, in pixels.
const BLOCK: usize = 4;
/// Bits that hold twice the sum of a block's products, the largest sum there is: 2 * 16 * 255 * 255.
const LANE: u32 = 21;
const LANE_MASK: u64 = (1 << LANE) - 1;
/// Pixels of a window: four blocks.
const WINDOW_PIXELS: i64 = 64;
/// Constants of structural similarity for sums of a window, as ffmpeg rounds them.
const C1: i64 = (0.01 * 0.01 * 255.0 * 255.0 * 64.0 + 0.5) as i64;
const C2: i64 = (0.03 * 0.03 * 255.0 * 255.0 * 64.0 * 63.0 + 0.5) as i64;

/// Rows of one plane of a picture.
#[derive(Clone, Copy)]
pub(super) struct Plane<'a> {
    data: &'a [u8],
    stride: usize,
    width: usize,
    height: usize,
}

impl<'a> Plane<'a> {
    pub(super) fn of(frame: &'a frame::Video, index: usize) -> Self {
        Self {
            data: frame.data(index),
            stride: frame.stride(index),
            width: frame.plane_width(index) as usize,
            height: frame.plane_height(index) as usize,
        }
    }

    fn row(&self, index: usize) -> &'a [u8] {
        let start = index * self.stride;
        self.data.get(start..start + self.width).unwrap_or_default()
    }
}

/// What two planes have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figures {
    pub(super) pixels: u64,
    squared_error: u64,
    /// Structural similarity, windows on average; 0 where none fits in.
    pub(super) ssim: f64,
}

impl Figures {
    pub(super) fn mse(&self) -> f64 {
        self.squared_error as f64 / self.pixels as f64
    }
}

/// Both planes must be of the same size.
pub(super) fn figures(a: Plane<'_>, b: Plane<'_>) -> Figures {
    let (columns, rows) = (a.width / BLOCK, a.height / BLOCK);
    let (mut above, mut sums) = (vec![Sums::default(); columns], vec![Sums::default(); columns]);
    let mut blocks = vec![Block::default(); columns];
    let (mut squared_error, mut similarity) = (0, 0.0);
    for row in 0..rows {
        blocks.fill(Block::default());
        for y in row * BLOCK..(row + 1) * BLOCK {
            add_row(&mut blocks, a.row(y), b.row(y));
            squared_error += rest_error(a.row(y), b.row(y), columns * BLOCK);
        }
        for (sums, block) in sums.iter_mut().zip(&blocks) {
            *sums = Sums::of(block);
            squared_error += sums.squared_error();
        }
        if row > 0 {
            similarity += windows(&above, &sums);
        }
        std::mem::swap(&mut above, &mut sums);
    }
    squared_error += (rows * BLOCK..a.height).map(|y| rest_error(a.row(y), b.row(y), 0)).sum::<u64>();
    let count = rows.saturating_sub(1) * columns.saturating_sub(1);
    let ssim = if count == 0 { 0.0 } else { similarity / count as f64 };
    Figures { pixels: (a.width * a.height) as u64, squared_error, ssim }
}

/// Adds a row of pixels to a row of blocks. The loop is by hand, for the builds that do not inline iterators.
fn add_row(blocks: &mut [Block], a: &[u8], b: &[u8]) {
    let (a, b) = (a.as_chunks::<BLOCK>().0, b.as_chunks::<BLOCK>().0);
    let count = blocks.len().min(a.len()).min(b.len());
    let mut index = 0;
    while index < count {
        let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (a[index], b[index]);
        let p0 = a0 as u64 | (b0 as u64) << LANE;
        let p1 = a1 as u64 | (b1 as u64) << LANE;
        let p2 = a2 as u64 | (b2 as u64) << LANE;
        let p3 = a3 as u64 | (b3 as u64) << LANE;
        let block = &mut blocks[index];
        block.levels += p0 + p1 + p2 + p3;
        block.squares += p0 * p0 + p1 * p1 + p2 * p2 + p3 * p3;
        index += 1;
    }
}

/// Squared error of a row's pixels from `left`.
fn rest_error(a: &[u8], b: &[u8], left: usize) -> u64 {
    let rest = a.get(left..).unwrap_or_default().iter().zip(b.get(left..).unwrap_or_default());
    rest.map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum()
}

/// Similarity of all windows of two rows of blocks. By hand as well.
fn windows(above: &[Sums], below: &[Sums]) -> f64 {
    let (count, mut sum, mut index) = (above.len().min(below.len()), 0.0, 1);
    while index < count {
        sum += Sums::similarity(&above[index - 1], &above[index], &below[index - 1], &below[index]);
        index += 1;
    }
    sum
}

/// Sums over the pixels `a` and `b` of one block of two planes, side by side in lanes of a number, that of `a` lowest.
/// With `p = a + (b << LANE)` they are the sums of `p` and `p * p`, whose lanes are `a * a`, `2 * a * b` and `b * b`.
#[derive(Clone, Copy, Default)]
struct Block {
    levels: u64,
    squares: u64,
}

/// Sums over blocks, lanes apart.
#[derive(Clone, Copy, Default)]
struct Sums {
    a: i64,
    b: i64,
    /// Of both.
    squares: i64,
    products: i64,
}

impl Sums {
    fn of(block: &Block) -> Self {
        let (levels, squares) = (block.levels, block.squares);
        Self {
            a: (levels & LANE_MASK) as i64,
            b: (levels >> LANE) as i64,
            squares: ((squares & LANE_MASK) + (squares >> (2 * LANE))) as i64,
            products: (squares >> (LANE + 1) & (LANE_MASK >> 1)) as i64,
        }
    }

    fn squared_error(&self) -> u64 {
        (self.squares - 2 * self.products).unsigned_abs()
    }

    /// Of the window of these four blocks.
    fn similarity(one: &Self, two: &Self, three: &Self, four: &Self) -> f64 {
        let (a, b) = (one.a + two.a + three.a + four.a, one.b + two.b + three.b + four.b);
        let squares = one.squares + two.squares + three.squares + four.squares;
        let products = one.products + two.products + three.products + four.products;
        let variances = squares * WINDOW_PIXELS - a * a - b * b;
        let covariance = products * WINDOW_PIXELS - a * b;
        let (means, details) = ((2 * a * b + C1) as f64, (2 * covariance + C2) as f64);
        means * details / ((a * a + b * b + C1) as f64 * (variances + C2) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDES: (usize, usize) = (22, 13);

    fn plane(data: &[u8]) -> Plane<'_> {
        Plane { data, stride: SIDES.0 + 3, width: SIDES.0, height: SIDES.1 }
    }

    /// Pixels of no order; what lies behind a row is not part of it.
    fn noise(mut seed: u32) -> Vec<u8> {
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        };
        (0..(SIDES.0 + 3) * SIDES.1).map(|_| next()).collect()
    }

    #[test]
    fn equal_planes_have_no_error() {
        let data = noise(1);
        let figures = figures(plane(&data), plane(&data));
        assert_eq!((figures.mse(), figures.ssim), (0.0, 1.0));
    }

    #[test]
    fn the_brightest_pixels_stay_in_their_lanes() {
        let (white, black) = (vec![255; (SIDES.0 + 3) * SIDES.1], vec![0; (SIDES.0 + 3) * SIDES.1]);
        assert_eq!(figures(plane(&white), plane(&white)).mse(), 0.0);
        let apart = [figures(plane(&white), plane(&black)), figures(plane(&black), plane(&white))];
        assert!(apart.iter().all(|figures| figures.mse() == 255.0 * 255.0 && figures.ssim < 1e-3), "{apart:?}");
    }

    #[test]
    fn pixels_beyond_whole_blocks_count_as_errors_but_those_behind_a_row_do_not() {
        let (a, mut b) = (noise(1), noise(1));
        let stride = SIDES.0 + 3;
        b[SIDES.0] = !b[SIDES.0];
        assert_eq!(figures(plane(&a), plane(&b)).mse(), 0.0);
        b[SIDES.0 - 1] ^= 1;
        b[12 * stride] ^= 1;
        b[0] ^= 1;
        assert_eq!(figures(plane(&a), plane(&b)).squared_error, 3);
    }

    #[test]
    fn similarity_is_that_of_every_window_by_its_definition() {
        let (a, b) = (noise(1), noise(2));
        let (mut sum, mut count) = (0.0, 0.0);
        for top in (0..=SIDES.1 - 8).step_by(4) {
            for left in (0..=SIDES.0 - 8).step_by(4) {
                let window = |data: &[u8]| -> Vec<f64> {
                    let rows = (top..top + 8).flat_map(|y| plane(data).row(y)[left..left + 8].to_vec());
                    rows.map(f64::from).collect()
                };
                sum += by_definition(&window(&a), &window(&b));
                count += 1.0;
            }
        }
        assert!((figures(plane(&a), plane(&b)).ssim - sum / count).abs() < 1e-5);
    }

    /// Equation 13 of Wang et al., variances of a sample.
    fn by_definition(a: &[f64], b: &[f64]) -> f64 {
        let mean = |of: &[f64]| of.iter().sum::<f64>() / 64.0;
        let (mean_a, mean_b) = (mean(a), mean(b));
        let spread = |x: &[f64], mean_x: f64, y: &[f64], mean_y: f64| {
            x.iter().zip(y).map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>() / 63.0
        };
        let (c1, c2) = ((0.01_f64 * 255.0).powi(2), (0.03_f64 * 255.0).powi(2));
        let both = spread(a, mean_a, b, mean_b);
        let apart = spread(a, mean_a, a, mean_a) + spread(b, mean_b, b, mean_b);
        (2.0 * mean_a * mean_b + c1) * (2.0 * both + c2) / ((mean_a.powi(2) + mean_b.powi(2) + c1) * (apart + c2))
    }
}
