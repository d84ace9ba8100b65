//! Damage to real inputs, for the property tests of parsers: a mutated message gets further into a parser than noise does.
//!
//! `script/fuzz` runs these tests for long (docs/designs/035-fuzzing.md).
use proptest::{prelude::*, sample::Index};

/// Changes made to one input.
const MOST_CHANGES: usize = 8;
/// Bytes that a change may add or repeat.
const MOST_ADDED: usize = 256;
/// Numbers that lengths and counts break at, as four bytes.
const NUMBERS: [u32; 10] = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x00ff_ffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
/// Pieces that mean something in JSON, URLs, headers, TOML and playlists.
const PIECES: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    ":",
    ",",
    "null",
    "-1",
    "1e999",
    "18446744073709551616",
    "0.0000001",
    "\u{0}",
    "\r\n",
    "/",
    "..",
    "%00",
    "%ff",
    "@",
    "?",
    "#",
    "=",
    "\u{feff}é𝒳",
];

/// So many cases in the normal run; `PROPTEST_CASES` sets another number.
pub fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig { max_shrink_iters: 4096, ..ProptestConfig::default() };
    let is_set = std::env::var_os("PROPTEST_CASES").is_some();
    ProptestConfig { cases: if is_set { default.cases } else { cases }, ..default }
}

#[derive(Clone, Debug)]
enum Change {
    Flip { at: Index, bit: u8 },
    Set { at: Index, byte: u8 },
    Number { at: Index, which: Index, little: bool },
    Cut { at: Index },
    Remove { at: Index, len: usize },
    Repeat { at: Index, len: usize, times: usize },
    Insert { at: Index, bytes: Vec<u8> },
    Piece { at: Index, which: Index },
    Splice { at: Index, other: Index, from: Index },
}

fn changes() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        3 => (at(), 0..8_u8).prop_map(|(at, bit)| Change::Flip { at, bit }),
        3 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set { at, byte }),
        3 => (at(), at(), any::<bool>()).prop_map(|(at, which, little)| Change::Number { at, which, little }),
        1 => at().prop_map(|at| Change::Cut { at }),
        1 => (at(), 1..=MOST_ADDED).prop_map(|(at, len)| Change::Remove { at, len }),
        1 => (at(), 1..64_usize, 1..=4_usize).prop_map(|(at, len, times)| Change::Repeat { at, len, times }),
        1 => (at(), prop::collection::vec(any::<u8>(), 1..32)).prop_map(|(at, bytes)| Change::Insert { at, bytes }),
        2 => (at(), at()).prop_map(|(at, which)| Change::Piece { at, which }),
        1 => (at(), at(), at()).prop_map(|(at, other, from)| Change::Splice { at, other, from }),
    ]
}

/// One of the inputs with up to eight changes, or one in twenty times noise.
///
/// # Panics
/// Without any input.
pub fn damaged(inputs: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    assert!(!inputs.is_empty(), "nothing to damage");
    let made = (any::<Index>(), prop::collection::vec(changes(), 0..=MOST_CHANGES));
    let changed = made.prop_map(move |(which, changes)| {
        let mut bytes = inputs[which.index(inputs.len())].clone();
        for change in changes {
            apply(&mut bytes, change, &inputs);
        }
        bytes
    });
    prop_oneof![19 => changed, 1 => prop::collection::vec(any::<u8>(), 0..512)]
}

/// The same for texts; what is no UTF-8 any more is replaced.
///
/// # Panics
/// Without any input.
pub fn damaged_text(inputs: &[&str]) -> impl Strategy<Value = String> + use<> {
    let inputs = inputs.iter().map(|text| text.as_bytes().to_vec()).collect();
    damaged(inputs).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn apply(bytes: &mut Vec<u8>, change: Change, inputs: &[Vec<u8>]) {
    // One place behind the last byte is a place, too.
    let place = |at: Index, bytes: &[u8]| at.index(bytes.len() + 1);
    match change {
        Change::Flip { at, bit } if !bytes.is_empty() => {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        Change::Set { at, byte } if !bytes.is_empty() => {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        Change::Number { at, which, little } if bytes.len() >= 4 => {
            let at = at.index(bytes.len() - 3);
            let number = NUMBERS[which.index(NUMBERS.len())];
            bytes[at..at + 4].copy_from_slice(&if little { number.to_le_bytes() } else { number.to_be_bytes() });
        }
        Change::Cut { at } => bytes.truncate(place(at, bytes)),
        Change::Remove { at, len } => {
            let at = place(at, bytes);
            bytes.drain(at..(at + len).min(bytes.len()));
        }
        Change::Repeat { at, len, times } => {
            let at = place(at, bytes);
            let end = (at + len).min(bytes.len());
            let again = bytes[at..end].repeat(times);
            bytes.splice(end..end, again);
        }
        Change::Insert { at, bytes: more } => {
            let at = place(at, bytes);
            bytes.splice(at..at, more);
        }
        Change::Piece { at, which } => {
            let at = place(at, bytes);
            bytes.splice(at..at, PIECES[which.index(PIECES.len())].bytes());
        }
        Change::Splice { at, other, from } => {
            let other = &inputs[other.index(inputs.len())];
            let (at, from) = (place(at, bytes), from.index(other.len() + 1));
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};

    use super::*;

    #[test]
    fn inputs_come_out_whole_changed_cut_and_longer() {
        let input = b"a real message of some length".to_vec();
        let strategy = damaged(vec![input.clone()]);
        let mut runner = TestRunner::deterministic();
        let all: Vec<Vec<u8>> = (0..500).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect();
        assert!(all.contains(&input), "untouched");
        assert!(all.iter().any(|made| made.len() == input.len() && *made != input), "changed");
        assert!(all.iter().any(|made| made.len() < input.len() && input.starts_with(made)), "cut");
        assert!(all.iter().any(|made| made.len() > input.len()), "longer");
        let bound = 512 + input.len() * 8 + MOST_CHANGES * 4 * 64;
        assert!(all.iter().all(|made| made.len() <= bound), "bounded");
    }
}
