//! H.265 as transport streams carry it (Annex B).
use std::fmt::Write as _;

/// Kinds of units (ISO/IEC 23008-2, table 7-1).
const FIRST_ENTRY: u8 = 16;
const LAST_ENTRY: u8 = 21;
const LAST_SLICE: u8 = 31;
const SEQUENCE_PARAMETER_SET: u8 = 33;
/// Bytes before the profile in a sequence parameter set: the header of its unit, and identifiers.
const BEFORE_PROFILE: usize = 3;

/// `hvc1.` with profile, compatibility, tier, level and constraints of the first sequence parameter set (ISO/IEC 14496-15,
/// annex E.3).
pub(super) fn name(data: &[u8]) -> Option<String> {
    let (_, unit) = units(data).find(|(kind, _)| *kind == SEQUENCE_PARAMETER_SET)?;
    let unit = plain(unit);
    let [general, compatibility @ .., a, b, c, d, e, f, level] = *unit.get(BEFORE_PROFILE..)?.first_chunk::<12>()?;
    let space = ["", "A", "B", "C"][usize::from(general >> 6)];
    let tier = if general & 0x20 == 0 { 'L' } else { 'H' };
    let compatibility = u32::from_be_bytes(compatibility).reverse_bits();
    let mut name = format!("hvc1.{space}{}.{compatibility:X}.{tier}{level}", general & 0x1f);
    let constraints = [a, b, c, d, e, f];
    let told = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    constraints[..told].iter().try_for_each(|byte| write!(name, ".{byte:X}")).ok()?;
    Some(name)
}

/// Whether the first picture is one that decoding can begin with.
pub(super) fn is_entry(data: &[u8]) -> bool {
    let mut kinds = units(data).map(|(kind, _)| kind);
    kinds.find(|kind| *kind <= LAST_SLICE).is_some_and(|kind| (FIRST_ENTRY..=LAST_ENTRY).contains(&kind))
}

/// Units with their kinds; each reaches to the end of the data.
fn units(data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let starts = data.windows(4).enumerate().filter(|(_, window)| window[..3] == [0, 0, 1]);
    starts.map(|(at, window)| (window[3] >> 1 & 0x3f, &data[at + 3..]))
}

/// The first bytes of a unit, without those that keep start codes out of it.
fn plain(unit: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    for byte in unit.iter().take(32) {
        if !(*byte == 3 && plain.ends_with(&[0, 0])) {
            plain.push(*byte);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_tier_and_level_are_read_from_the_parameter_set() {
        // Main profile, level 2, as libx265 writes it: with bytes against start codes in it.
        let data = [
            0, 0, 0, 1, 0x40, 1, 0x0c, 0, 0, 0, 1, 0x42, 1, 1, 0x01, 0x60, 0, 0, 3, 0, 0x90, 0, 0, 3, 0, 0, 3, 0, 60,
            0xa0,
        ];
        assert_eq!(name(&data).as_deref(), Some("hvc1.1.6.L60.90"));
        assert_eq!(name(&data[..20]), None);
        assert_eq!(name(&[0, 0, 1, 0x26, 1]), None);
    }

    #[test]
    fn decoding_begins_with_random_access_pictures_alone() {
        let picture = |kind: u8| [0, 0, 1, 0x42, 1, 0, 0, 1, kind << 1, 1];
        assert!([16, 19, 20, 21].into_iter().all(|kind| is_entry(&picture(kind))));
        assert!(![0, 1, 9, 22].into_iter().any(|kind| is_entry(&picture(kind))));
    }
}
