//! Transport streams changed packet by packet.
use bytes::Bytes;

pub(crate) const PACKET: usize = 188;
/// Where ffmpeg puts pictures and sound.
pub(crate) const PICTURES: u16 = 256;
pub(crate) const SOUND: u16 = 257;

const STUFFING: u8 = 0xff;

pub(crate) fn pid(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[1] & 0x1f, packet[2]])
}

/// The packets that are kept, in their order.
pub(crate) fn kept(segment: &Bytes, mut keep: impl FnMut(usize, &[u8]) -> bool) -> Bytes {
    let packets = segment.chunks(PACKET).enumerate();
    packets.filter(|(index, packet)| keep(*index, packet)).flat_map(|(_, packet)| packet).copied().collect()
}

/// Every packet, changed.
pub(crate) fn changed(segment: &Bytes, change: impl FnMut(&mut [u8])) -> Bytes {
    let mut bytes = segment.to_vec();
    bytes.chunks_mut(PACKET).for_each(change);
    bytes.into()
}

/// As an encoder sends it that does not say by how many pictures it reorders: libx264 says it in the last 26 bits of its parameters.
pub(crate) fn without_reordering(segment: &Bytes) -> Bytes {
    const PARAMETERS: &[u8] = &[0, 0, 0, 1, 0x67];
    let mut bytes = segment.to_vec();
    let begin = bytes.windows(PARAMETERS.len()).position(|word| word == PARAMETERS).unwrap() + PARAMETERS.len();
    let len = bytes[begin..].windows(3).position(|word| word == [0, 0, 1]).unwrap();
    let is_set = |at: &usize| bytes[begin + at / 8] >> (7 - at % 8) & 1 == 1;
    let told = (0..8 * len).rfind(is_set).unwrap() - 26;
    assert!(is_set(&told));
    bytes[begin + told / 8] ^= 1 << (7 - told % 8);
    bytes.into()
}

/// Segments of one encoder behind each other, as one that never stopped would have sent them: the counters of packets go on.
pub(crate) fn joined(segments: &[Bytes]) -> Bytes {
    let mut next = std::collections::HashMap::<u16, u8>::new();
    changed(&segments.concat().into(), |packet| {
        let counter = next.entry(pid(packet)).or_insert(packet[3] & 0x0f);
        packet[3] = packet[3] & 0xf0 | *counter;
        let has_payload = packet[3] & 0x10 != 0;
        *counter = (*counter + u8::from(has_payload)) & 0x0f;
        // No new clock begins anywhere: without the mark of a discontinuity.
        if packet[3] & 0x20 != 0 && packet[4] > 0 {
            packet[5] &= 0x7f;
        }
    })
}

/// Times of one picture or piece of sound, in ticks of 1/90000 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) pts: Option<i64>,
    pub(crate) dts: Option<i64>,
}

/// When the picture is shown that begins in this packet, in ticks, if it says so.
pub(crate) fn shown_at(packet: &[u8]) -> Option<i64> {
    let header = &packet[payload(packet)..];
    (header[7] & 0x80 != 0).then(|| ticks(&header[9..14]))
}

/// Where the payload begins.
fn payload(packet: &[u8]) -> usize {
    if packet[3] & 0x20 == 0 { 4 } else { 5 + usize::from(packet[4]) }
}

/// The same stream with other times: `change` gets the number of the picture, in decoding order. A time can be changed or
/// left out, not added.
pub(crate) fn retimed(segment: &Bytes, stream: u16, mut change: impl FnMut(usize, Times) -> Times) -> Bytes {
    let mut index = 0;
    changed(segment, |packet| {
        let starts = packet[1] & 0x40 != 0;
        if !starts || pid(packet) != stream {
            return;
        }
        let start = payload(packet);
        let header = &mut packet[start..];
        assert_eq!(header[..3], [0, 0, 1]);
        let told = Times {
            pts: (header[7] & 0x80 != 0).then(|| ticks(&header[9..14])),
            dts: (header[7] & 0x40 != 0).then(|| ticks(&header[14..19])),
        };
        let wanted = change(index, told);
        index += 1;
        let mut flags = 0;
        let fields = [(told.pts, wanted.pts, 9, 0x80), (told.dts, wanted.dts, 14, 0x40)];
        for (_, wanted, at, flag) in fields.into_iter().filter(|(told, ..)| told.is_some()) {
            let Some(ticks) = wanted else {
                header[at..at + 5].fill(STUFFING);
                continue;
            };
            let mark = if at == 14 { 0x10 } else { 0x20 | u8::from(told.dts.is_some()) << 4 };
            header[at..at + 5].copy_from_slice(&coded(ticks, mark));
            flags |= flag;
        }
        header[7] = header[7] & 0x3f | flags;
    })
}

fn ticks(field: &[u8]) -> i64 {
    let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|index| i64::from(field[index]));
    (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1
}

fn coded(ticks: i64, mark: u8) -> [u8; 5] {
    let ticks = ticks.rem_euclid(1 << 33) as u64;
    let low = |shift: u32, bits: u32| (ticks >> shift & ((1 << bits) - 1)) as u8;
    [mark | low(30, 3) << 1 | 1, low(22, 8), low(15, 7) << 1 | 1, low(7, 8), low(0, 7) << 1 | 1]
}
