//! A worker that does to itself what a segment asks for, as a hole in libav would: for the tests of what contains it.
//!
//! A segment asks with `hostile:` and a word, anywhere in its bytes: `abort`, `hang` (without using the CPU), `spin` (using
//! it), `eat` (memory without end), before the first answer; or `abort-last` and `hang-last`, before the last one.
use std::{
    io::{self, Read, Write},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use streamflow_media::worker::{WorkerError, run};

const MARK: &[u8] = b"hostile:";
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
        ];
        deeds.into_iter().find_map(|(name, deed)| word.starts_with(name).then_some(deed))
    }

    fn commit(self) -> ! {
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
                *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(deed);
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
            Some(Deed::AbortLast | Deed::HangLast) if !bytes.windows(10).any(|word| word == b"Transcoded") => {}
            Some(deed) => deed.commit(),
            None => {}
        }
        io::stdout().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

fn main() -> Result<(), WorkerError> {
    let asked = Asked::default();
    run(Input { asked: asked.clone(), tail: Vec::new() }, Output { asked })
}
