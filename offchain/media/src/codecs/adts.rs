//! AAC as transport streams carry it: each packet says what it is (ISO/IEC 13818-7, section 6.2).
use crate::rate::TICKS_PER_SECOND;

/// Samples a second, in the order of their codes.
const RATES: [i64; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000, 7350];
const SAMPLES_PER_BLOCK: i64 = 1024;

/// How long a packet lasts, in ticks, rounded.
pub(super) fn ticks(packet: &[u8]) -> Option<i64> {
    let [0xff, second, third, _, _, _, seventh] = *packet.first_chunk::<7>()? else { return None };
    if second & 0xf6 != 0xf0 {
        return None;
    }
    let rate = *RATES.get(usize::from(third >> 2 & 0b1111))?;
    let samples = SAMPLES_PER_BLOCK * (1 + i64::from(seventh & 0b11));
    Some((samples * TICKS_PER_SECOND + rate / 2) / rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_follows_from_rate_and_blocks() {
        assert_eq!(ticks(&[0xff, 0xf1, 0x4c, 0x80, 0, 0, 0xfc]), Some(1920));
        assert_eq!(ticks(&[0xff, 0xf1, 0x50, 0x80, 0, 0, 0xfd]), Some(4180));
        assert_eq!(ticks(&[0xff, 0xf1, 0x7c, 0x80, 0, 0, 0xfc]), None, "a rate that does not exist");
        assert_eq!(ticks(&[0xff, 0xfb, 0x4c, 0x80, 0, 0, 0xfc]), None, "another kind of sound");
        assert_eq!(ticks(&[0xff, 0xf1, 0x4c]), None);
    }
}
