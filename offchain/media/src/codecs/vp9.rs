//! VP9 as MP4 carries it.
use crate::rate::FrameRate;

/// First bits of every frame.
const FRAME_MARKER: u8 = 0b10;
const SYNC_CODE: [u8; 3] = [0x49, 0x83, 0x42];

/// Levels with the most pixels a second and the most pixels of a picture (VP9 levels, annex A).
const LEVELS: [(i32, u64, u64); 11] = [
    (10, 829_440, 36_864),
    (11, 2_764_800, 73_728),
    (20, 4_608_000, 122_880),
    (21, 9_216_000, 245_760),
    (30, 20_736_000, 552_960),
    (31, 36_864_000, 983_040),
    (40, 83_558_400, 2_228_224),
    (41, 160_432_128, 2_228_224),
    (50, 311_951_360, 8_912_896),
    (51, 588_251_136, 8_912_896),
    (52, 1_176_502_272, 8_912_896),
];
/// Above all of them.
const LARGEST_LEVEL: i32 = 62;

/// The lowest level that has room for pictures of that many pixels.
pub(super) fn level(pixels: u64, fps: FrameRate) -> i32 {
    let rate = pixels * u64::from(fps.num) / u64::from(fps.den);
    let fits = LEVELS.iter().find(|(_, most_rate, most_pixels)| rate <= *most_rate && pixels <= *most_pixels);
    fits.map_or(LARGEST_LEVEL, |(level, ..)| *level)
}

/// `vp09.` with profile and depth of the first key frame (VP9 in ISOBMFF, codecs parameter).
pub(super) fn name(data: &[u8], level: i32) -> Option<String> {
    let (profile, depth) = key_frame(data)?;
    Some(format!("vp09.{profile:02}.{level:02}.{depth:02}"))
}

/// Profile and depth that a key frame begins with (VP9 bitstream specification, section 6.2).
fn key_frame(data: &[u8]) -> Option<(u8, u8)> {
    let first = *data.first()?;
    if first >> 6 != FRAME_MARKER {
        return None;
    }
    let profile = first >> 5 & 1 | (first >> 4 & 1) << 1;
    // Profile 3 has a bit more before what kind of frame it is.
    let (kinds, after) = if profile == 3 { (first << 1, 1) } else { (first, 0) };
    let (is_shown_again, is_inter) = (kinds & 0b1000 != 0, kinds & 0b100 != 0);
    let bits = u64::from_be_bytes([&[0; 3], data.get(1..6)?].concat().try_into().ok()?) << (24 + after);
    if is_shown_again || is_inter || bits.to_be_bytes()[..3] != SYNC_CODE {
        return None;
    }
    let depth = match (profile, bits.to_be_bytes()[3] & 0x80) {
        (0 | 1, _) => 8,
        (_, 0) => 10,
        _ => 12,
    };
    Some((profile, depth))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_grow_with_pictures_and_rates() {
        let (hd, cinema) = (1920 * 1080, 4096 * 4096);
        let levels = [(146 * 82, 25), (hd, 30), (hd, 60), (hd, 480), (cinema, 60)];
        assert_eq!(levels.map(|(pixels, fps)| level(pixels, FrameRate::new(fps, 1))), [10, 40, 41, 52, 62]);
    }

    #[test]
    fn profile_and_depth_are_read_from_the_key_frame() {
        assert_eq!(name(&[0x82, 0x49, 0x83, 0x42, 0, 0], 10).as_deref(), Some("vp09.00.10.08"));
        assert_eq!(name(&[0x92, 0x49, 0x83, 0x42, 0x00, 0], 31).as_deref(), Some("vp09.02.31.10"));
        assert_eq!(name(&[0x92, 0x49, 0x83, 0x42, 0x80, 0], 31).as_deref(), Some("vp09.02.31.12"));
        assert_eq!(name(&[0x86, 0x49, 0x83, 0x42, 0, 0], 10), None, "a frame that needs others");
        assert_eq!(name(&[0x82, 0x49, 0x83], 10), None);
        assert_eq!(name(&[], 10), None);
    }
}
