//! The choice among all that are known, as of one moment.
use std::{cmp::Reverse, time::Duration};

use tokio::time::Instant;
use url::Url;

use super::{Affinity, Chance, How, Reason, RestKind, SelectionConfig, draw, probabilities};

/// Who is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    /// What the stream holds on to.
    pub(crate) affinity: &'a Affinity,
    /// Length of the segment.
    pub(crate) segment: Duration,
    /// Those who failed at this segment, or who work on it already: taken only when nobody else is left.
    pub(crate) tried: &'a [Url],
    pub(crate) now: Instant,
}

/// Who will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Whoever is left.
    Anybody,
    /// Only one that neither rests, nor failed at the segment, nor stands still.
    Fit,
}

/// What one candidate has to say for itself.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) own: bool,
    /// Why it may not be used at all.
    pub(crate) excluded: Option<Reason>,
    /// How it rests, and for how much longer.
    pub(crate) rest: Option<(RestKind, Duration)>,
    /// Whether its last rest is so long ago that a stream may come back to it.
    pub(crate) calm: bool,
    pub(crate) tried: bool,
    /// Whether it stands still: how long its oldest segment has been under way, and how long that should have taken.
    pub(crate) overdue: Option<(Duration, Duration)>,
    /// Whether it has told its price.
    pub(crate) quoted: bool,
    /// Time for this segment, as far as can be told.
    pub(crate) predicted: Option<Duration>,
    /// Whether this is its stream's orchestrator.
    pub(crate) home: bool,
    /// Segments of all streams that it works on.
    pub(crate) in_flight: u32,
    /// Segments of this stream that it works on.
    pub(crate) ahead: u32,
    /// When its next turn begins, among our own.
    pub(crate) turn: Duration,
    pub(crate) chance: Chance,
}

impl Standing {
    pub(crate) fn is_late(&self, deadline: Duration) -> bool {
        self.predicted.is_some_and(|predicted| predicted > deadline)
    }

    fn is_usable(&self) -> bool {
        self.excluded.is_none()
    }

    pub(crate) fn is_clear(&self) -> bool {
        self.is_usable() && self.rest.is_none() && !self.tried && self.overdue.is_none()
    }

    /// A stream does not wait behind its own segment at one that was never measured.
    fn keeps(&self) -> bool {
        self.home && (self.ahead == 0 || self.predicted.is_some())
    }
}

/// The index of whoever gets the segment, and how it came to it. `point` is drawn evenly from 0 up to 1.
pub(crate) fn pick(
    standings: &[Standing],
    deadline: Duration,
    config: &SelectionConfig,
    point: f64,
) -> Option<(usize, How)> {
    let in_time: Vec<usize> = select(standings, |s| s.is_clear() && !s.is_late(deadline));
    let home = in_time.iter().copied().find(|index| standings[*index].keeps());
    let own: Vec<usize> = in_time.iter().copied().filter(|index| standings[*index].own).collect();
    match home {
        // Away from our own, a stream comes back only to one that has been quiet for a while.
        Some(home) if standings[home].own || !own.iter().any(|index| standings[*index].calm) => {
            return Some((home, How::Kept));
        }
        _ => {}
    }
    if let Some(first) = own.into_iter().min_by_key(|index| order_of_turns(&standings[*index])) {
        return Some((first, How::Own));
    }
    if let Some(drawn) = draw_from(standings, &in_time, config, point) {
        return Some(drawn);
    }
    least(standings, |s| s.is_clear(), |s| (s.predicted, !s.home)).map(|index| (index, How::LeastLate)).or_else(|| {
        let resting = |kind: RestKind, tried: bool| {
            move |s: &Standing| s.is_usable() && s.tried == tried && s.rest.is_some_and(|(known, _)| known == kind)
        };
        let soonest = |s: &Standing| s.rest.map(|(_, left)| left);
        least(standings, resting(RestKind::Busy, false), soonest)
            .or_else(|| least(standings, |s| s.is_usable() && s.rest.is_none(), |s| (s.tried, order_of_turns(s))))
            .or_else(|| least(standings, resting(RestKind::Suspended, false), soonest))
            .or_else(|| least(standings, resting(RestKind::Busy, true), soonest))
            .or_else(|| least(standings, resting(RestKind::Suspended, true), soonest))
            .or_else(|| least(standings, resting(RestKind::Convicted, false), soonest))
            .map(|index| (index, How::NobodyElse))
    })
}

/// Fewest in flight, then whose turn it is.
fn order_of_turns(standing: &Standing) -> (u32, Duration, Reverse<bool>) {
    (standing.in_flight, standing.turn, Reverse(standing.quoted))
}

/// A draw among those of the market that have quoted; among all while nobody has.
fn draw_from(standings: &[Standing], market: &[usize], config: &SelectionConfig, point: f64) -> Option<(usize, How)> {
    let quoted: Vec<usize> = market.iter().copied().filter(|index| standings[*index].quoted).collect();
    let drawn_from = if quoted.is_empty() { market } else { &quoted };
    let chances: Vec<Chance> = drawn_from.iter().map(|index| standings[*index].chance).collect();
    let shares = probabilities(&chances, config.weights, config.price_scale);
    let drawn = draw(&shares, point)?;
    Some((drawn_from[drawn], How::Drawn { permille: (shares[drawn] * 1000.0).round() as u32, among: shares.len() }))
}

fn select(standings: &[Standing], holds: impl Fn(&Standing) -> bool) -> Vec<usize> {
    standings.iter().enumerate().filter(|(_, standing)| holds(standing)).map(|(index, _)| index).collect()
}

fn least<K: Ord>(
    standings: &[Standing],
    holds: impl Fn(&Standing) -> bool,
    key: impl Fn(&Standing) -> K,
) -> Option<usize> {
    select(standings, holds).into_iter().min_by_key(|index| key(&standings[*index]))
}

#[cfg(test)]
mod tests {
    use alloy_primitives::U256;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(2);

    fn market() -> Standing {
        Standing {
            own: false,
            excluded: None,
            rest: None,
            calm: true,
            tried: false,
            overdue: None,
            quoted: true,
            predicted: None,
            home: false,
            in_flight: 0,
            ahead: 0,
            turn: Duration::ZERO,
            chance: Chance { price: None, stake: U256::from(1), latency: None, success: 1.0 },
        }
    }

    fn own() -> Standing {
        Standing { own: true, ..market() }
    }

    fn picked(standings: &[Standing], point: f64) -> Option<(usize, How)> {
        pick(standings, DEADLINE, &SelectionConfig::default(), point)
    }

    fn index(standings: &[Standing]) -> usize {
        picked(standings, 0.0).unwrap().0
    }

    fn taking(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    fn resting(kind: RestKind, seconds: u64) -> Option<(RestKind, Duration)> {
        Some((kind, Duration::from_secs(seconds)))
    }

    #[test]
    fn a_stream_stays_until_a_missed_deadline_is_predicted() {
        let mut two = [market(), Standing { home: true, predicted: taking(2), ..market() }];
        assert_eq!(picked(&two, 0.0), Some((1, How::Kept)), "just in time is in time");
        two[1].predicted = taking(3);
        assert_eq!(index(&two), 0);
    }

    #[test]
    fn own_orchestrators_come_first_and_overflow_to_the_market() {
        let mut two = [market(), own()];
        assert_eq!(picked(&two, 0.0), Some((1, How::Own)));
        two[1].predicted = taking(3);
        assert_eq!(index(&two), 0, "it would miss the deadline");
        two[1] = Standing { rest: resting(RestKind::Busy, 1), ..own() };
        assert_eq!(index(&two), 0, "it is full");
    }

    #[test]
    fn a_stream_comes_back_to_its_own_once_that_was_quiet() {
        let mut two = [Standing { home: true, ..market() }, Standing { calm: false, ..own() }];
        assert_eq!(index(&two), 0);
        two[1].calm = true;
        assert_eq!(index(&two), 1);
    }

    #[test]
    fn a_suspended_one_is_taken_only_when_nobody_else_is_left() {
        let suspended = Standing { rest: resting(RestKind::Suspended, 1), home: true, ..own() };
        let late = Standing { predicted: taking(9), ..market() };
        let busy = Standing { rest: resting(RestKind::Busy, 9), ..market() };
        let tried = Standing { tried: true, ..market() };
        for other in [market(), late, busy, tried] {
            assert_eq!(index(&[suspended.clone(), other.clone()]), 1, "{other:?}");
        }
        let excluded = Standing { excluded: Some(Reason::Unlisted), ..market() };
        assert_eq!(picked(&[suspended, excluded.clone()], 0.0), Some((0, How::NobodyElse)));
        assert_eq!(picked(&[excluded], 0.0), None);
    }

    #[test]
    fn a_second_candidate_for_the_same_segment_is_another() {
        let two = [Standing { tried: true, home: true, ..market() }, market()];
        assert_eq!(index(&two), 1);
    }

    #[test]
    fn of_the_suspended_the_first_to_end_is_taken_and_of_the_late_the_fastest() {
        let rests = [5, 2, 8].map(|seconds| Standing { rest: resting(RestKind::Suspended, seconds), ..market() });
        assert_eq!(index(&rests), 1);
        let late = [5, 3, 8].map(|seconds| Standing { predicted: taking(seconds), ..market() });
        assert_eq!(picked(&late, 0.0), Some((1, How::LeastLate)));
    }

    #[test]
    fn the_market_is_drawn_from_among_those_who_quoted() {
        let three = [Standing { quoted: false, ..market() }, market(), market()];
        for (point, expected) in [(0.0, 1), (0.49, 1), (0.5, 2), (0.99, 2)] {
            assert_eq!(picked(&three, point).unwrap().0, expected);
        }
    }

    #[test]
    fn nobody_waits_behind_his_own_segment_at_one_that_was_never_measured() {
        let mut two = [Standing { home: true, ahead: 1, in_flight: 1, ..own() }, own()];
        assert_eq!(index(&two), 1);
        two[0].predicted = taking(1);
        assert_eq!(index(&two), 0);
    }
}
