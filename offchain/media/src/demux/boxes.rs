//! The boxes that MP4 consists of, each with its length and its name (ISO/IEC 14496-12, section 4.2).
use super::framing::check_len;
use crate::MediaError;

/// Length and name.
const HEADER: usize = 8;
/// Version and number of a table's entries.
const BEFORE_ENTRIES: usize = 8;
/// Boxes on the way to the codings of a track.
const WAY: [&[u8; 4]; 5] = [b"moov", b"trak", b"mdia", b"minf", b"stbl"];

/// Refuses MP4 that ends inside a box, and such whose pictures or sound are encrypted.
pub(super) fn check(bytes: &[u8]) -> Result<(), MediaError> {
    check_len(bytes.len())?;
    let mut protected = false;
    for found in boxes(bytes) {
        let (name, inside) = found.map_err(|broken| match broken {
            Broken::Cut => MediaError::Truncated { len: bytes.len() },
            Broken::Short => MediaError::NotMp4,
        })?;
        protected |= is_protected(name, inside, &WAY);
    }
    if protected { Err(MediaError::Encrypted) } else { Ok(()) }
}

/// Whether one of the tracks in this box says that it is encrypted.
fn is_protected(name: [u8; 4], inside: &[u8], way: &[&[u8; 4]]) -> bool {
    match way.split_first() {
        Some((first, rest)) => {
            name == **first && boxes(inside).flatten().any(|(name, inside)| is_protected(name, inside, rest))
        }
        None if &name == b"stsd" => {
            let entries = inside.get(BEFORE_ENTRIES..).unwrap_or_default();
            boxes(entries).flatten().any(|(name, _)| matches!(&name, b"encv" | b"enca"))
        }
        None => false,
    }
}

/// What is wrong with a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// It is longer than what is there.
    Cut,
    /// It is shorter than its own header.
    Short,
}

/// Name and inside.
type Found<'a> = ([u8; 4], &'a [u8]);

/// The boxes in these bytes, with what is inside each, up to the first that is broken.
fn boxes(mut rest: &[u8]) -> impl Iterator<Item = Result<Found<'_>, Broken>> {
    std::iter::from_fn(move || {
        let found = (!rest.is_empty()).then(|| next_box(rest))?;
        rest = found.map_or(&[], |(_, after)| after);
        Some(found.map(|(found, _)| found))
    })
}

/// The first box, and what comes after it.
fn next_box(bytes: &[u8]) -> Result<(Found<'_>, &[u8]), Broken> {
    let (length, name) = (bytes.first_chunk::<4>(), bytes.get(4..).and_then(|rest| rest.first_chunk::<4>()));
    let (Some(length), Some(name)) = (length, name) else { return Err(Broken::Cut) };
    let (header, length) = match u32::from_be_bytes(*length) {
        // Up to the end.
        0 => (HEADER, bytes.len() as u64),
        1 => {
            let long = bytes.get(HEADER..).and_then(|rest| rest.first_chunk()).ok_or(Broken::Cut)?;
            (2 * HEADER, u64::from_be_bytes(*long))
        }
        length => (HEADER, u64::from(length)),
    };
    let length = usize::try_from(length).map_err(|_| Broken::Cut)?;
    if length < header {
        return Err(Broken::Short);
    }
    let (inside, after) = bytes.split_at_checked(length).ok_or(Broken::Cut)?;
    Ok(((*name, &inside[header..]), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(name: &[u8; 4], inside: &[u8]) -> Vec<u8> {
        [&((HEADER + inside.len()) as u32).to_be_bytes()[..], name, inside].concat()
    }

    #[test]
    fn a_file_ends_where_its_last_box_does() {
        let long = [&1_u32.to_be_bytes()[..], b"mdat", &20_u64.to_be_bytes(), b"long"].concat();
        let open = [&0_u32.to_be_bytes()[..], b"mdat", b"to the end"].concat();
        for whole in [boxed(b"free", b""), open, [long.clone(), boxed(b"free", b"x")].concat()] {
            assert_eq!(check(&whole), Ok(()));
        }
        for cut in [&boxed(b"free", b"x")[..8], &[0, 0, 0][..], &long[..12], &long[..19]] {
            assert_eq!(check(cut), Err(MediaError::Truncated { len: cut.len() }));
        }
        assert_eq!(check(&[0, 0, 0, 7, b'f', b'r', b'e', b'e']), Err(MediaError::NotMp4));
        assert!(check(&[]).is_err());
    }

    #[test]
    fn protected_tracks_are_found_where_they_say_so() {
        let track = |coding: &[u8; 4]| {
            let table = boxed(b"stsd", &[&[0; BEFORE_ENTRIES][..], &boxed(coding, b"...")].concat());
            [b"stbl", b"minf", b"mdia", b"trak"].into_iter().fold(table, |inside, name| boxed(name, &inside))
        };
        let file = |tracks: &[Vec<u8>]| [boxed(b"ftyp", b"iso6"), boxed(b"moov", &tracks.concat())].concat();
        assert_eq!(check(&file(&[track(b"avc1"), track(b"mp4a")])), Ok(()));
        assert_eq!(check(&file(&[track(b"encv"), track(b"mp4a")])), Err(MediaError::Encrypted));
        assert_eq!(check(&file(&[track(b"avc1"), track(b"enca")])), Err(MediaError::Encrypted));
        assert_eq!(check(&boxed(b"mdat", &track(b"encv"))), Ok(()));
    }
}
