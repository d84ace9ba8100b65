//! Who was caught. Known longer than who is listed: leaving the list and coming back does not help.
use std::collections::{HashMap, HashSet};

use tokio::time::Instant;
use url::Url;

use crate::verification::Conviction;

/// Such that are known at a time; of more, those that end first are forgotten.
pub(crate) const MOST_CONVICTED: usize = 10_000;

/// The newest conviction of each.
#[derive(Debug, Default)]
pub(super) struct Convictions {
    known: HashMap<Url, Conviction>,
    /// Those that are not stored yet.
    unkept: HashSet<Url>,
}

impl Convictions {
    pub(super) fn of(&self, url: &Url) -> Option<&Conviction> {
        self.known.get(url)
    }

    /// Whether it still rests for what it was caught at.
    pub(super) fn is_running(&self, url: &Url, now: Instant) -> bool {
        self.known.get(url).is_some_and(|conviction| conviction.until > now)
    }

    /// Takes over one that is stored.
    pub(super) fn recall(&mut self, url: Url, conviction: Conviction) {
        if self.known.len() >= MOST_CONVICTED && !self.known.contains_key(&url) {
            let first = self.known.iter().min_by_key(|(_, known)| known.until).map(|(url, _)| url.clone());
            if let Some(first) = first {
                self.known.remove(&first);
                self.unkept.remove(&first);
            }
        }
        self.known.insert(url, conviction);
    }

    pub(super) fn add(&mut self, url: &Url, conviction: Conviction) {
        self.recall(url.clone(), conviction);
        self.unkept.insert(url.clone());
    }

    /// Those that are to be stored.
    pub(super) fn unkept(&self) -> Vec<(Url, Conviction)> {
        self.unkept.iter().filter_map(|url| Some((url.clone(), self.known.get(url)?.clone()))).collect()
    }

    /// These are stored, as they were.
    pub(super) fn kept(&mut self, stored: &[(Url, Conviction)]) {
        for (url, conviction) in stored {
            if self.known.get(url) == Some(conviction) {
                self.unkept.remove(url);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::verification::Verdict;

    fn url(n: usize) -> Url {
        format!("https://o{n}.example").parse().unwrap()
    }

    fn ending(seconds: usize, now: Instant) -> Conviction {
        let until = now + Duration::from_secs(seconds as u64);
        Conviction { verdict: Verdict::Unsigned, why: String::new(), until, relapses: 0 }
    }

    #[test]
    fn of_too_many_those_that_end_first_are_forgotten() {
        let (mut convictions, now) = (Convictions::default(), Instant::now());
        for n in 1..=MOST_CONVICTED + 1 {
            convictions.add(&url(n), ending(n, now));
        }
        assert_eq!((convictions.of(&url(1)), convictions.known.len()), (None, MOST_CONVICTED));
        assert!(convictions.of(&url(2)).is_some());
        assert_eq!(convictions.unkept().len(), MOST_CONVICTED);
    }

    #[test]
    fn one_that_changed_while_it_was_stored_is_stored_again() {
        let (mut convictions, now) = (Convictions::default(), Instant::now());
        convictions.add(&url(1), ending(1, now));
        let stored = convictions.unkept();
        convictions.add(&url(1), ending(2, now));
        convictions.kept(&stored);
        assert_eq!(convictions.unkept(), [(url(1), ending(2, now))]);
        convictions.kept(&convictions.unkept());
        assert_eq!(convictions.unkept(), []);
    }
}
