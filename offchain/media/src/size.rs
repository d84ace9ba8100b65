//! Size of a rendition.
use streamflow_types::Profile;

use crate::settings::MAX_SIDE;

/// Sides of the smallest picture that hardware encoders take (node.md §9.1).
const MIN_LONGER: u64 = 146;
const MIN_SHORTER: u64 = 50;

/// Width and height of a rendition of a `source` picture, in pixels, both even (node.md §9.1).
///
/// The larger side asked for goes to the larger side of the source, so that an upright source turns the ladder; the other
/// side follows the shape of the source. What peers bill is this size, not the one asked for.
pub fn rendition_size(profile: &Profile, source: (u32, u32)) -> (u32, u32) {
    let asked = u64::from(profile.width.max(profile.height));
    let (width, height) = (u64::from(source.0.max(1)), u64::from(source.1.max(1)));
    let (longer, shorter) = fit(asked, width.max(height), width.min(height));
    if width >= height { (longer, shorter) } else { (shorter, longer) }
}

/// The longer and the shorter side for a source of the shape `long`:`short`.
fn fit(asked: u64, long: u64, short: u64) -> (u32, u32) {
    let max = u64::from(MAX_SIDE);
    let longer = even(asked.clamp(MIN_LONGER, max), 1);
    let shorter = even(longer * short, long);
    if shorter >= MIN_SHORTER {
        return (side(longer), side(shorter));
    }
    (side(even(MIN_SHORTER * long, short).min(max)), side(MIN_SHORTER))
}

/// `numerator / denominator` to the nearest even number.
fn even(numerator: u64, denominator: u64) -> u64 {
    (numerator + denominator) / (2 * denominator) * 2
}

fn side(pixels: u64) -> u32 {
    u32::try_from(pixels).unwrap_or(MAX_SIDE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(asked: (u32, u32), source: (u32, u32)) -> (u32, u32) {
        rendition_size(&Profile::new("x", asked.0, asked.1, 1).unwrap(), source)
    }

    #[test]
    fn sizes_of_the_same_shape_are_met_exactly() {
        for asked in [(1280, 720), (640, 360), (426, 240), (854, 480), (1024, 576), (256, 144)] {
            assert_eq!(size(asked, (1280, 720)), asked);
            assert_eq!(size(asked, (1920, 1080)), asked);
        }
    }

    #[test]
    fn upright_source_turns_the_ladder() {
        assert_eq!(size((640, 360), (720, 1280)), (360, 640));
        assert_eq!(size((640, 360), (1080, 1920)), (360, 640));
    }

    #[test]
    fn other_side_follows_the_source() {
        assert_eq!(size((640, 360), (640, 480)), (640, 480));
        assert_eq!(size((640, 360), (1000, 1000)), (640, 640));
        assert_eq!(size((640, 360), (1920, 800)), (640, 266));
    }

    #[test]
    fn tiny_sizes_grow_to_the_minimum() {
        assert_eq!(size((64, 36), (1280, 720)), (146, 82));
        assert_eq!(size((200, 100), (4000, 400)), (500, 50));
        assert_eq!(size((200, 100), (4096, 16)), (4096, 50));
    }
}
