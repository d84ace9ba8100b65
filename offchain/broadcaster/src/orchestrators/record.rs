//! What is known of one orchestrator.
use std::time::Duration;

use alloy_primitives::{Address, U256};
use streamflow_types::{Price, with_causes};
use tokio::time::Instant;

use super::{millis, terms};
use crate::{
    discovery::Candidate,
    error::AttemptError,
    race::{Link, Pace},
    selection::{Latency, Reason, Rest, RestKind, SelectionConfig},
    status::{SessionStatus, TicketStatus},
    verification::Conviction,
};

/// Cost of a turn at an orchestrator that has done no segment.
const UNKNOWN_LATENCY: Duration = Duration::from_secs(1);
/// Segments after which the history is halved, so that it tells of now.
const HISTORY: u64 = 200;

/// Probes in a row without an answer that cost a place; one of somebody who never answered.
const UNANSWERED: u32 = 3;

/// What an earlier run learnt of an orchestrator, or this one for the next.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Remembered {
    pub(crate) price: Option<Price>,
    /// Mean and deviation of the time for a segment over its length.
    pub(crate) latency: Option<(f64, f64)>,
    pub(crate) served: u64,
    pub(crate) failed: u64,
}

#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) candidate: Candidate,
    /// Whether the newest list has it.
    pub(crate) listed: bool,
    /// Until when it is used although no list has it.
    pub(crate) kept_until: Option<Instant>,
    /// Who named it as a further instance.
    pub(crate) parent: Option<url::Url>,
    /// Whether it has quoted in this run, and what.
    pub(crate) quoted: bool,
    pub(crate) account: Option<Address>,
    pub(crate) price: Option<Price>,
    /// What its quote says that keeps it from being used.
    pub(crate) unfit: Option<Reason>,
    /// Quotes in a row that did not come.
    pub(crate) unanswered: u32,
    /// When it is asked for the next one.
    pub(crate) probe_at: Instant,
    pub(crate) latency: Option<Latency>,
    /// Moving average of the time for a segment.
    took: Option<Duration>,
    pub(crate) turn: Duration,
    pub(crate) in_flight: u32,
    /// Those segments: number of the turn, when it began, length.
    pub(crate) under_way: Vec<(u64, Instant, Duration)>,
    /// The newest times for a segment.
    pub(crate) pace: Pace,
    pub(crate) link: Link,
    pub(crate) rest: Rest,
    /// What it was caught at last.
    conviction: Option<Conviction>,
    pub(crate) segments: u64,
    pub(crate) failures: u64,
    /// With earlier runs, old segments counting less.
    served: u64,
    failed: u64,
    pub(crate) last_error: Option<String>,
    pub(crate) tickets: u64,
    pub(crate) value: U256,
    /// Whether there is something to remember.
    pub(crate) changed: bool,
}

impl Record {
    pub(crate) fn new(
        candidate: Candidate,
        remembered: Option<Remembered>,
        conviction: Option<Conviction>,
        now: Instant,
    ) -> Self {
        let remembered = remembered.unwrap_or_default();
        let latency = remembered.latency.map(|(mean, deviation)| Latency::known(mean, deviation, 1, now));
        let mut rest = Rest::default();
        if let Some(conviction) = &conviction {
            rest.convict(conviction.until, now);
        }
        Self {
            candidate,
            listed: true,
            kept_until: None,
            parent: None,
            quoted: false,
            account: None,
            price: remembered.price,
            unfit: None,
            unanswered: 0,
            probe_at: now,
            latency,
            took: None,
            turn: Duration::ZERO,
            in_flight: 0,
            under_way: Vec::new(),
            pace: Pace::default(),
            link: Link::default(),
            rest,
            conviction,
            segments: 0,
            failures: 0,
            served: remembered.served,
            failed: remembered.failed,
            last_error: None,
            tickets: 0,
            value: U256::ZERO,
            changed: false,
        }
    }

    /// Whether it is on a list, or kept until there is one.
    pub(crate) fn is_present(&self, now: Instant) -> bool {
        self.listed || self.kept_until.is_some_and(|until| until > now)
    }

    /// Whether others should have its place.
    pub(crate) fn is_silent(&self) -> bool {
        self.unanswered >= if self.quoted { UNANSWERED } else { 1 }
    }

    pub(crate) fn has_quoted(&mut self, account: Option<Address>, price: Option<Price>, unfit: Option<Reason>) {
        if !self.quoted {
            self.rest.begin();
            self.last_error = None;
        }
        self.quoted = true;
        self.unanswered = 0;
        self.account = account;
        self.price = price;
        self.unfit = unfit;
        self.changed = true;
    }

    pub(crate) fn succeeded(&mut self, took: Duration, segment: Duration, now: Instant) {
        self.rest.end();
        self.segments += 1;
        self.count(1, 0);
        self.measured(took, segment, now);
    }

    /// Notes how long a segment took, whatever it was good for.
    pub(crate) fn measured(&mut self, took: Duration, segment: Duration, now: Instant) {
        self.took = Some(self.took.map_or(took, |known| (known * 3 + took) / 4));
        self.pace.add(took, segment);
        match &mut self.latency {
            Some(latency) => latency.add(took, segment, now),
            None => self.latency = Some(Latency::first(took, segment, now)),
        }
    }

    /// Rests for what it was caught at.
    pub(crate) fn convict(&mut self, conviction: Conviction, now: Instant) {
        self.rest.convict(conviction.until, now);
        self.conviction = Some(conviction);
    }

    /// Whether it rests for what it was caught at.
    pub(crate) fn is_convicted(&self, now: Instant) -> bool {
        matches!(self.rest.left(now), Some((RestKind::Convicted, _)))
    }

    /// What it rests for.
    pub(crate) fn because(&self, kind: RestKind) -> Option<String> {
        let why = self.conviction.as_ref().filter(|_| kind == RestKind::Convicted).map(|conviction| &conviction.why);
        why.or(self.last_error.as_ref()).cloned()
    }

    /// Rests after a failure, for longer each time in a row; shortly where it only had no room.
    pub(crate) fn rest_after(&mut self, error: &AttemptError, now: Instant) {
        self.last_error = Some(with_causes(error));
        if error.is_busy() {
            self.rest.back_off(now);
        } else {
            self.rest.suspend(now);
            self.count(0, 1);
        }
    }

    fn count(&mut self, served: u64, failed: u64) {
        self.served += served;
        self.failed += failed;
        if self.served + self.failed > HISTORY {
            self.served /= 2;
            self.failed /= 2;
        }
        self.changed = true;
    }

    /// Share of segments that it did; one half where there were none.
    pub(crate) fn success(&self) -> f64 {
        (self.served + 1) as f64 / (self.served + self.failed + 2) as f64
    }

    /// How long its oldest segment in flight has been under way, and how long that should have taken, if it stands still: it
    /// needs twice the predicted time, or more than the deadline.
    pub(crate) fn overdue(&self, config: &SelectionConfig, now: Instant) -> Option<(Duration, Duration)> {
        let (_, begun, segment) = self.under_way.iter().min_by_key(|(_, begun, _)| *begun)?;
        let (age, deadline) = (now.saturating_duration_since(*begun), config.deadline(*segment));
        let predicted = self.latency.as_ref().and_then(|latency| latency.predict(*segment, 0, config.sigmas, now));
        let expected = predicted.map_or(deadline / 2, |predicted| predicted.saturating_mul(2)).min(deadline);
        (age > expected).then_some((age, expected))
    }

    /// What a turn costs.
    pub(crate) fn cost(&self) -> Duration {
        self.took.unwrap_or(UNKNOWN_LATENCY)
    }

    pub(crate) fn remembered(&self) -> Remembered {
        let latency = self.latency.map(|latency| (latency.mean(), latency.deviation()));
        Remembered { price: self.price, latency, served: self.served, failed: self.failed }
    }

    /// For `/status`. `reason` keeps it from being used.
    pub(crate) fn status(&self, reason: Option<Reason>, now: Instant) -> SessionStatus {
        SessionStatus {
            orchestrator: self.account.or(self.candidate.address),
            url: self.candidate.url.clone(),
            own: self.candidate.own,
            stake: self.candidate.stake.map(|stake| stake.to_string()),
            price: self.price.map(terms),
            latency_ms: self.took.map(millis),
            in_flight: self.in_flight,
            segments: self.segments,
            failures: self.failures,
            suspended_ms: self.rest.left(now).map_or(0, |(_, left)| millis(left)),
            verdict: self.conviction.as_ref().map(|conviction| conviction.verdict),
            last_error: self.last_error.clone(),
            code: reason.as_ref().map_or("usable", Reason::code),
            why: reason.map_or_else(|| "usable".to_owned(), |reason| reason.to_string()),
            tickets: TicketStatus { sent: self.tickets, value: self.value.to_string() },
        }
    }
}
