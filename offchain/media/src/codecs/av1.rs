//! AV1 as MP4 carries it.
/// `av01.` with profile, level, tier and depth of the configuration that the container has (AV1 in ISOBMFF, section 5).
pub(super) fn name(configuration: &[u8]) -> Option<String> {
    let [version, levels, depths] = *configuration.first_chunk::<3>()?;
    if version != 0x81 {
        return None;
    }
    let (profile, level) = (levels >> 5, levels & 0x1f);
    let tier = if depths & 0x80 == 0 { 'M' } else { 'H' };
    let depth = match depths >> 5 & 0b11 {
        0b11 => 12,
        0b10 => 10,
        _ => 8,
    };
    Some(format!("av01.{profile}.{level:02}{tier}.{depth:02}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_level_tier_and_depth_are_in_the_configuration() {
        assert_eq!(name(&[0x81, 0x04, 0x0c, 0]).as_deref(), Some("av01.0.04M.08"));
        assert_eq!(name(&[0x81, 0x2d, 0xcc, 0]).as_deref(), Some("av01.1.13H.10"));
        assert_eq!(name(&[0x01, 0x2d, 0xcc]), None);
        assert_eq!(name(&[0x81]), None);
    }
}
