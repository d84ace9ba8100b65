//! As much of a transport stream as it takes to see when its pictures come (ISO/IEC 13818-1, 2.4.3).
use std::time::Duration;

use bytes::Bytes;

use crate::ticks_to_duration;

const PACKET: usize = 188;
const SYNC: u8 = 0x47;
/// Time stamps have 33 bits.
const CLOCK: i64 = 1 << 33;

/// The first transport packet of a coded picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    /// Where it starts, in bytes.
    pub(super) offset: usize,
    /// Time at which it is to be decoded, in ticks of 1/90000 s.
    pub(super) decode_at: i64,
}

/// The pictures of a stream in the order of its bytes. libav writes one packet of the elementary stream for each.
pub(super) fn pictures(stream: &[u8]) -> impl Iterator<Item = Picture> + '_ {
    stream.chunks_exact(PACKET).enumerate().filter_map(|(index, packet)| {
        let decode_at = decode_time(packet)?;
        Some(Picture { offset: index * PACKET, decode_at })
    })
}

fn decode_time(packet: &[u8]) -> Option<i64> {
    let starts_unit = packet[1] & 0x40 != 0;
    if packet[0] != SYNC || !starts_unit || packet[3] & 0x10 == 0 {
        return None;
    }
    let adaptation = if packet[3] & 0x20 == 0 { 0 } else { usize::from(packet[4]) + 1 };
    let unit = packet.get(4 + adaptation..)?;
    let is_video = unit.starts_with(&[0, 0, 1]) && unit.get(3)? & 0xf0 == 0xe0;
    if !is_video {
        return None;
    }
    match unit.get(7)? >> 6 {
        0b11 => stamp(unit.get(14..19)?),
        0b10 => stamp(unit.get(9..14)?),
        _ => None,
    }
}

/// 33 bits with a marker bit after 3, 15 and 15 of them.
fn stamp(field: &[u8]) -> Option<i64> {
    let [a, b, c, d, e] = *<&[u8; 5]>::try_from(field).ok()?;
    let bits = |byte: u8, mask: u8, shift: u32| i64::from(byte & mask) >> 1 << shift;
    Some(bits(a, 0x0e, 30) | i64::from(b) << 22 | bits(c, 0xfe, 15) | i64::from(d) << 7 | bits(e, 0xfe, 0))
}

/// A segment as an encoder sends it that works in real time: a piece for each picture, sound between them, and when to
/// send it after the first.
pub(super) fn paced(segment: &Bytes) -> Vec<(Duration, Bytes)> {
    let pictures: Vec<_> = pictures(segment).collect();
    let Some(first) = pictures.first().copied() else { return vec![(Duration::ZERO, segment.clone())] };
    let starts = std::iter::once(0).chain(pictures.iter().skip(1).map(|picture| picture.offset));
    let ends = pictures.iter().skip(1).map(|picture| picture.offset).chain([segment.len()]);
    let times = pictures.iter().map(|picture| {
        let ticks = (picture.decode_at - first.decode_at).rem_euclid(CLOCK);
        // A time that goes back is sent at once.
        ticks_to_duration(if ticks > CLOCK / 2 { 0 } else { ticks })
    });
    times.zip(starts.zip(ends)).map(|(at, (start, end))| (at, segment.slice(start..end))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet that starts a picture, or sound where `stream` says so.
    fn packet(stream: u8, decode_at: i64) -> Vec<u8> {
        let mut bytes = vec![SYNC, 0x41, 0x00, 0x30, 1, 0x00];
        bytes.extend([0, 0, 1, stream, 0, 0, 0x80, 0xc0, 10]);
        for (mark, time) in [(0x31, decode_at + 7200), (0x11, decode_at)] {
            let time = time & (CLOCK - 1);
            bytes.push(mark & 0xf0 | ((time >> 30) as u8) << 1 | 1);
            bytes.extend((((time >> 15 & 0x7fff) as u16) << 1 | 1).to_be_bytes());
            bytes.extend((((time & 0x7fff) as u16) << 1 | 1).to_be_bytes());
        }
        bytes.resize(PACKET, 0xff);
        bytes
    }

    #[test]
    fn pieces_start_with_their_pictures_and_lose_nothing() {
        let start = CLOCK - 3600;
        let times = [start, 0, 3600];
        let mut segment = vec![SYNC; PACKET];
        for time in times {
            segment.extend(packet(0xe0, time));
            segment.extend(packet(0xc0, 77));
        }
        assert_eq!(pictures(&segment).map(|picture| picture.decode_at).collect::<Vec<_>>(), times);
        let segment = Bytes::from(segment);
        let pieces = paced(&segment);
        let at: Vec<_> = pieces.iter().map(|(at, _)| at.as_millis()).collect();
        assert_eq!(at, [0, 40, 80]);
        assert_eq!(pieces.iter().map(|(_, piece)| piece.len()).collect::<Vec<_>>(), [3, 2, 2].map(|n| n * PACKET));
        assert_eq!(pieces.iter().flat_map(|(_, piece)| piece.clone()).collect::<Bytes>(), segment);
    }

    #[test]
    fn other_bytes_are_one_piece() {
        let noise = Bytes::from_static(b"no transport stream");
        assert_eq!(paced(&noise), [(Duration::ZERO, noise.clone())]);
        assert_eq!(pictures(&[0; 1000]).count(), 0);
    }
}
