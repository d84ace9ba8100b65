//! How long a convicted orchestrator gets no work.
use std::time::Duration;

use tokio::time::Instant;

use super::Verdict;
use crate::selection::doubled;

/// Characters of a reason that are kept.
const MOST_WHY: usize = 512;

/// How long verdicts suspend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// For a cheat.
    pub(crate) cheat: Duration,
    /// For a wrong form the first time; twice as long each time it is let back in and does it again, up to that of a cheat.
    pub(crate) form: Duration,
}

/// What an orchestrator was caught at, and until when it rests for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conviction {
    pub(crate) verdict: Verdict,
    /// What was wrong, with both figures.
    pub(crate) why: String,
    pub(crate) until: Instant,
    /// How often it was let back in and caught again.
    pub(crate) relapses: u32,
}

impl Conviction {
    /// After an earlier one, if there was one. One that ended longer ago than a cheat rests is forgotten; results that were
    /// under way when it was caught are no relapse, and a shorter rest does not cut a longer one.
    pub(crate) fn new(verdict: Verdict, why: String, before: Option<&Self>, terms: Terms, now: Instant) -> Self {
        let relapses = match before {
            Some(before) if now < before.until => before.relapses,
            Some(before) if now.saturating_duration_since(before.until) < terms.cheat => {
                before.relapses.saturating_add(1)
            }
            _ => 0,
        };
        let rest = if verdict.is_of_form() { doubled(terms.form, relapses, terms.cheat) } else { terms.cheat };
        let until = now + rest;
        match before {
            Some(longer) if longer.until > until => longer.clone(),
            _ => Self { verdict, why: printable(&why), until, relapses },
        }
    }
}

/// Parts of a reason may be a peer's own words.
fn printable(why: &str) -> String {
    why.chars().take(MOST_WHY).map(|char| if char.is_control() { char::REPLACEMENT_CHARACTER } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const TERMS: Terms = Terms { cheat: Duration::from_secs(6 * 3600), form: Duration::from_secs(600) };

    fn caught(verdict: Verdict, before: Option<&Conviction>, now: Instant) -> Conviction {
        Conviction::new(verdict, verdict.to_string(), before, TERMS, now)
    }

    fn minutes(conviction: &Conviction, now: Instant) -> u64 {
        (conviction.until - now).as_secs() / 60
    }

    #[test]
    fn a_wrong_form_rests_longer_each_time_up_to_a_cheat() {
        let (mut now, mut before, mut rests) = (Instant::now(), None, Vec::new());
        for _ in 0..8 {
            let conviction = caught(Verdict::WrongPixels, before.as_ref(), now);
            rests.push(minutes(&conviction, now));
            now = conviction.until + MINUTE;
            before = Some(conviction);
        }
        assert_eq!(rests, [10, 20, 40, 80, 160, 320, 360, 360]);
    }

    #[test]
    fn a_cheat_rests_as_long_the_first_time_as_the_last() {
        let now = Instant::now();
        let first = caught(Verdict::BlackFrames, None, now);
        assert_eq!(minutes(&first, now), 360);
        assert_eq!(minutes(&caught(Verdict::Unsigned, Some(&first), first.until), first.until), 360);
    }

    #[test]
    fn results_that_were_under_way_are_no_relapse() {
        let now = Instant::now();
        let first = caught(Verdict::WrongSize, None, now);
        let second = caught(Verdict::WrongSize, Some(&first), now + MINUTE);
        assert_eq!((second.relapses, minutes(&second, now)), (0, 11));
    }

    #[test]
    fn a_wrong_form_does_not_shorten_the_rest_of_a_cheat() {
        let now = Instant::now();
        let cheat = caught(Verdict::FrozenFrames, None, now);
        assert_eq!(caught(Verdict::WrongSize, Some(&cheat), now + MINUTE), cheat);
        let worse = caught(Verdict::FrozenFrames, Some(&caught(Verdict::WrongSize, None, now)), now);
        assert_eq!((worse.verdict, minutes(&worse, now)), (Verdict::FrozenFrames, 360));
    }

    #[test]
    fn a_peers_own_words_are_cut_and_hold_no_control_characters() {
        let why = format!("link\0to{}", "x".repeat(2 * MOST_WHY));
        let conviction = Conviction::new(Verdict::ForeignLink, why, None, TERMS, Instant::now());
        assert!(conviction.why.starts_with("link\u{fffd}to") && conviction.why.chars().count() == MOST_WHY);
    }

    #[test]
    fn one_long_ago_is_forgotten() {
        let first = caught(Verdict::WrongPixels, None, Instant::now());
        let later = first.until + TERMS.cheat;
        assert_eq!(minutes(&caught(Verdict::WrongPixels, Some(&first), later), later), 10);
    }
}
