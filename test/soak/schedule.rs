//! What happens, and when: drawn from the seed.
use std::time::Duration;

use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha12Rng;

/// What befalls an orchestrator and its transcoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    KillOrchestrator,
    KillTranscoder,
    KillBoth,
    StallOrchestrator,
    StallTranscoder,
    /// Nobody outside is reached, nor the chain.
    Partition,
}

const KINDS: [Kind; 6] = [
    Kind::KillOrchestrator,
    Kind::KillTranscoder,
    Kind::KillBoth,
    Kind::StallOrchestrator,
    Kind::StallTranscoder,
    Kind::Partition,
];

/// Who is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Whoever has the stream's segments just then: a blow at the others hardly hurts.
    AtWork,
    /// The site of this number.
    Site(usize),
}

/// One blow, at one or two of the sites: never at all of them.
#[derive(Clone, Debug)]
pub(crate) struct Blow {
    /// Before it falls.
    pub(crate) calm: Duration,
    pub(crate) struck: Vec<(Target, Kind)>,
    /// Until all is mended.
    pub(crate) lasts: Duration,
}

impl Blow {
    /// Draws the same numbers whether or not partitions are possible, so that a seed means the same everywhere.
    pub(crate) fn draw(rng: &mut ChaCha12Rng, sites: usize, partitions: bool) -> Self {
        let calm = Duration::from_millis(rng.random_range(300..3_000));
        let lasts = Duration::from_millis(rng.random_range(200..6_000));
        let mut target = || match rng.random_range(0..2 * sites) {
            site if site < sites => Target::Site(site),
            _ => Target::AtWork,
        };
        let targets = [target(), target()];
        let kinds = [*KINDS.choose(rng).unwrap(), *KINDS.choose(rng).unwrap()];
        let count = if rng.random_range(0..4) == 0 { 2 } else { 1 };
        let possible = |kind: &Kind| partitions || *kind != Kind::Partition;
        let struck = targets.into_iter().zip(kinds).take(count).filter(|(_, kind)| possible(kind));
        Self { calm, struck: struck.collect(), lasts }
    }
}
