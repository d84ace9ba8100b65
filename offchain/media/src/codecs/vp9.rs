//! VP9 as MP4 carries it.

/// First bits of every frame.
const FRAME_MARKER: u8 = 0b10;
const SYNC_CODE: [u8; 3] = [0x49, 0x83, 0x42];

/// `vp09.` with profile and depth of the first key frame, and the level that the container has (VP9 in ISOBMFF, codecs
/// parameter).
pub(super) fn name(data: &[u8], level: i32) -> Option<String> {
    let (profile, depth) = key_frame(data)?;
    Some(format!("vp09.{profile:02}.{:02}.{depth:02}", level.clamp(0, 99)))
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
    fn profile_and_depth_are_read_from_the_key_frame() {
        assert_eq!(name(&[0x82, 0x49, 0x83, 0x42, 0, 0], 10).as_deref(), Some("vp09.00.10.08"));
        assert_eq!(name(&[0x92, 0x49, 0x83, 0x42, 0x00, 0], 31).as_deref(), Some("vp09.02.31.10"));
        assert_eq!(name(&[0x92, 0x49, 0x83, 0x42, 0x80, 0], 31).as_deref(), Some("vp09.02.31.12"));
        assert_eq!(name(&[0x86, 0x49, 0x83, 0x42, 0, 0], 10), None, "a frame that needs others");
        assert_eq!(name(&[0x82, 0x49, 0x83], 10), None);
        assert_eq!(name(&[], 10), None);
    }
}
