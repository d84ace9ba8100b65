//! What happens, and when: drawn from the seed.
use std::time::Duration;

use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha12Rng;

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    Orchestrator,
    Keeper,
    Both,
}

/// After what. Each is a step at which money changes hands or books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Whatever goes on.
    Any,
    /// A winner came into the orchestrator's store, whose payment may not be answered yet.
    WinnerStored,
    /// A winner came into the keeper's store: over the wire, it may not be acknowledged yet.
    WinnerTaken,
    /// Tickets are bound to a transaction.
    Bound,
    /// The transaction is signed and in the journal; it may have been sent.
    Journalled,
    /// It is in a block, and its outcome is not recorded.
    Mined,
    /// Its outcome is recorded, not final.
    Settled,
}

const MOMENTS: [Moment; 7] = [
    Moment::Any,
    Moment::WinnerStored,
    Moment::WinnerTaken,
    Moment::Bound,
    Moment::Journalled,
    Moment::Mined,
    Moment::Settled,
];

/// What befalls the chain while the victim is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Calm,
    /// The newest blocks are replaced by empty ones.
    Reorganised(u64),
    /// What was sent and not mined is forgotten.
    PoolLost,
    /// No blocks until the victim is back.
    Halted,
}

/// One blow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blow {
    pub(crate) victim: Victim,
    pub(crate) moment: Moment,
    /// Between the moment and the kill.
    pub(crate) delay: Duration,
    pub(crate) weather: Weather,
    /// Before the victim is started again.
    pub(crate) down: Duration,
}

impl Blow {
    pub(crate) fn draw(rng: &mut ChaCha12Rng) -> Self {
        let moment = *MOMENTS.choose(rng).unwrap();
        let victim = match moment {
            Moment::WinnerStored => Victim::Orchestrator,
            Moment::Any | Moment::WinnerTaken => {
                *[Victim::Orchestrator, Victim::Keeper, Victim::Both].choose(rng).unwrap()
            }
            _ => *[Victim::Keeper, Victim::Keeper, Victim::Both].choose(rng).unwrap(),
        };
        let delay = match moment {
            Moment::Any => Duration::from_millis(rng.random_range(0..1_500)),
            _ => Duration::from_micros(rng.random_range(0..15_000)),
        };
        // Two blocks at most: anvil calls the third final.
        let weather = match rng.random_range(0..6) {
            0 | 1 => Weather::Calm,
            2 => Weather::Reorganised(1),
            3 => Weather::Reorganised(2),
            4 => Weather::PoolLost,
            _ => Weather::Halted,
        };
        Self { victim, moment, delay, weather, down: Duration::from_millis(rng.random_range(0..300)) }
    }
}
