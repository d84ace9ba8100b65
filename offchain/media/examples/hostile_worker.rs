//! A worker that does to itself what a segment asks for, as a hole in libav would: for the tests of what contains it.
//!
//! A segment asks with `hostile:` and a word, anywhere in its bytes: `abort`, `hang` (without using the CPU), `spin` (using
//! it), `eat` (memory without end), `panic`, before the first answer; `abort-last` and `hang-last`, before the last one;
//! `ending-twice` and `played`, with an answer that nobody asked for where it says that it is ending.
use std::{
    io::{self, Read, Write},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use streamflow_media::worker::{WorkerError, run};

const MARK: &[u8] = b"hostile:";
const ENDING: &[u8] = b"\"Ending\"";
/// Longest mark and word.
const MARK_BYTES: usize = 32;
/// Bytes eaten at a time.
const BITE: usize = 16 << 20;

#[derive(Clone, Copy, Debug)]
enum Deed {
    Abort,
    AbortLast,
    Hang,
    HangLast,
    Spin,
    Eat,
    Panic,
    EndingTwice,
    Played,
}

impl Deed {
    /// The deed that a text begins with.
    fn asked(word: &[u8]) -> Option<Self> {
        let deeds = [
            (&b"abort-last;"[..], Self::AbortLast),
            (b"abort;", Self::Abort),
            (b"hang-last;", Self::HangLast),
            (b"hang;", Self::Hang),
            (b"spin;", Self::Spin),
            (b"eat;", Self::Eat),
            (b"panic;", Self::Panic),
            (b"ending-twice;", Self::EndingTwice),
            (b"played;", Self::Played),
        ];
        deeds.into_iter().find_map(|(name, deed)| word.starts_with(name).then_some(deed))
    }

    /// Whether an answer that begins with these bytes still leaves.
    fn waits_for_more_than(self, bytes: &[u8]) -> bool {
        let has = |answer: &[u8]| bytes.windows(answer.len()).any(|word| word == answer);
        match self {
            Self::AbortLast | Self::HangLast => !has(b"Transcoded"),
            Self::EndingTwice | Self::Played => !has(ENDING),
            _ => false,
        }
    }

    fn commit(self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Abort | Self::AbortLast => std::process::abort(),
            Self::Hang | Self::HangLast => loop {
                thread::park();
            },
            Self::Spin => loop {
                std::hint::spin_loop();
            },
            Self::Eat => {
                let mut eaten = Vec::new();
                loop {
                    eaten.push(vec![1_u8; BITE]);
                }
            }
            Self::Panic => panic!("as asked"),
            Self::EndingTwice => [bytes, bytes].into_iter().try_for_each(|bytes| io::stdout().write_all(bytes)),
            Self::Played => {
                let said = String::from_utf8_lossy(bytes).replace("\"Ending\"", "\"Played\"");
                io::stdout().write_all(said.as_bytes())
            }
        }
    }
}

type Asked = Arc<Mutex<Option<Deed>>>;

/// Standard input, searched for marks.
struct Input {
    asked: Asked,
    tail: Vec<u8>,
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = io::stdin().read(buffer)?;
        self.tail.extend_from_slice(&buffer[..read]);
        for (at, seen) in self.tail.windows(MARK.len()).enumerate() {
            if seen == MARK
                && let Some(deed) = Deed::asked(&self.tail[at + MARK.len()..])
            {
                self.asked.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(deed);
            }
        }
        self.tail.drain(..self.tail.len().saturating_sub(MARK_BYTES));
        Ok(read)
    }
}

/// Standard output, until a deed is done instead.
struct Output {
    asked: Asked,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        match asked {
            Some(deed) if !deed.waits_for_more_than(bytes) => deed.commit(bytes).map(|()| bytes.len()),
            _ => io::stdout().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

fn main() -> Result<(), WorkerError> {
    let asked = Asked::default();
    run(Input { asked: asked.clone(), tail: Vec::new() }, Output { asked })
}
