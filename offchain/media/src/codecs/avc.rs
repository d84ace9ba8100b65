//! H.264 as transport streams carry it (Annex B).

/// `avc1.PPCCLL` of the first sequence parameter set.
pub(super) fn name(data: &[u8]) -> Option<String> {
    const SEQUENCE_PARAMETER_SET: u8 = 7;
    let at = data.windows(4).position(|w| w[..3] == [0, 0, 1] && w[3] & 0x1f == SEQUENCE_PARAMETER_SET)?;
    let [profile, constraints, level] = *data.get(at + 4..)?.first_chunk::<3>()?;
    Some(format!("avc1.{profile:02x}{constraints:02x}{level:02x}"))
}

/// Whether the first picture is an instantaneous refresh (IDR).
pub(super) fn is_idr(data: &[u8]) -> bool {
    const SLICE: u8 = 1;
    const IDR_SLICE: u8 = 5;
    data.windows(4)
        .filter(|w| w[..3] == [0, 0, 1])
        .map(|w| w[3] & 0x1f)
        .find(|kind| (SLICE..=IDR_SLICE).contains(kind))
        .is_some_and(|kind| kind == IDR_SLICE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_and_level_are_read_from_the_parameter_set() {
        let data = [0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x67, 0x64, 0x00, 0x1f, 0xac, 0, 0, 1, 0x65, 0x88];
        assert_eq!(name(&data).as_deref(), Some("avc1.64001f"));
        assert!(is_idr(&data));
    }

    #[test]
    fn data_without_a_parameter_set_has_no_name() {
        assert_eq!(name(&[0, 0, 1, 0x41, 0x9a]), None);
        assert_eq!(name(&[0, 0, 1, 0x67, 0x64]), None);
        assert!(!is_idr(&[0, 0, 1, 0x41, 0x9a]));
    }
}
