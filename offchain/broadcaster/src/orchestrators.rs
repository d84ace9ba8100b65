//! What we know of each orchestrator, and which one gets the next segment.
//!
//! The next segment goes to the orchestrator with the fewest in flight and, among those, to the one whose turn it is:
//! turns are dealt by start-time fair queueing with the latency as the cost of a segment, so that a faster
//! orchestrator gets more, and every working one gets some.
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alloy_primitives::{Address, U256};
use streamflow_types::{Price, with_causes};
use tokio::time::Instant;
use url::Url;

use crate::{
    status::{SessionStatus, TicketStatus},
    verification::Verdict,
};

/// Where an orchestrator listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its service URI.
    pub url: Url,
    /// Its account, when the chain told it; a quote of another account is then refused.
    pub address: Option<Address>,
}

const FIRST_SUSPENSION: Duration = Duration::from_secs(2);
const LONGEST_SUSPENSION: Duration = Duration::from_secs(60);
/// Cost of a segment at an orchestrator that has done none.
const UNKNOWN_LATENCY: Duration = Duration::from_secs(1);

/// All orchestrators, shared by the streams.
#[derive(Clone, Debug, Default)]
pub(crate) struct Orchestrators(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    records: Vec<Record>,
    /// Start of the turn dealt last.
    virtual_time: Duration,
}

#[derive(Debug)]
struct Record {
    candidate: Candidate,
    /// Whether the newest list has it.
    listed: bool,
    /// Whether it has quoted, and what.
    quoted: bool,
    address: Option<Address>,
    price: Option<Price>,
    latency: Option<Duration>,
    turn: Duration,
    in_flight: u32,
    failures_in_row: u32,
    suspended_until: Option<Instant>,
    /// Until when a verdict keeps it from work; good work does not shorten that.
    convicted: Option<(Instant, Verdict)>,
    segments: u64,
    failures: u64,
    last_error: Option<String>,
    tickets: u64,
    value: U256,
}

impl Record {
    fn new(candidate: Candidate) -> Self {
        Self {
            candidate,
            listed: true,
            quoted: false,
            address: None,
            price: None,
            latency: None,
            turn: Duration::ZERO,
            in_flight: 0,
            failures_in_row: 0,
            suspended_until: None,
            convicted: None,
            segments: 0,
            failures: 0,
            last_error: None,
            tickets: 0,
            value: U256::ZERO,
        }
    }

    fn is_suspended(&self, now: Instant) -> bool {
        self.rests_until().is_some_and(|until| until > now)
    }

    fn rests_until(&self) -> Option<Instant> {
        self.suspended_until.max(self.convicted.map(|(until, _)| until))
    }
}

impl Orchestrators {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a new list. What is known of an orchestrator that stays, or comes back, is kept.
    pub(crate) fn update(&self, candidates: &[Candidate]) {
        let mut book = self.book();
        for record in &mut book.records {
            record.listed = false;
        }
        for candidate in candidates {
            match book.records.iter_mut().find(|record| record.candidate.url == candidate.url) {
                Some(record) => {
                    record.candidate = candidate.clone();
                    record.listed = true;
                }
                None => book.records.push(Record::new(candidate.clone())),
            }
        }
        book.records.retain(|record| record.listed || record.in_flight > 0 || record.segments > 0);
    }

    /// Whether one that is listed has quoted and is not suspended.
    pub(crate) fn any_ready(&self, now: Instant) -> bool {
        self.book().records.iter().any(|r| r.listed && r.quoted && !r.is_suspended(now))
    }

    /// Those that have not quoted yet and are not suspended.
    pub(crate) fn unquoted(&self, now: Instant) -> Vec<Candidate> {
        let book = self.book();
        let unquoted = book.records.iter().filter(|r| r.listed && !r.quoted && !r.is_suspended(now));
        unquoted.map(|record| record.candidate.clone()).collect()
    }

    /// How many are listed.
    pub(crate) fn len(&self) -> usize {
        self.book().records.iter().filter(|record| record.listed).count()
    }

    /// Chooses who does the next segment. `tried` failed at it already and are taken only when nobody else is left; so
    /// are suspended ones, those first whose suspension ends first.
    pub(crate) fn choose(&self, tried: &[Url], now: Instant) -> Option<Turn> {
        let mut book = self.book();
        let virtual_time = book.virtual_time;
        let (index, _) =
            book.records.iter().enumerate().filter(|(_, record)| record.listed).min_by_key(|(_, record)| {
                let suspended = record.rests_until().filter(|until| *until > now);
                let start = record.turn.max(virtual_time);
                (
                    suspended.is_some(),
                    tried.contains(&record.candidate.url),
                    suspended,
                    record.in_flight,
                    start,
                    record.latency,
                )
            })?;
        let record = &mut book.records[index];
        let start = record.turn.max(virtual_time);
        record.turn = start + record.latency.unwrap_or(UNKNOWN_LATENCY);
        record.in_flight += 1;
        let candidate = record.candidate.clone();
        book.virtual_time = start;
        Some(Turn { orchestrators: self.clone(), candidate })
    }

    fn with_record(&self, url: &Url, change: impl FnOnce(&mut Record)) {
        if let Some(record) = self.book().records.iter_mut().find(|record| record.candidate.url == *url) {
            change(record);
        }
    }

    /// Notes a quote.
    pub(crate) fn quoted(&self, url: &Url, address: Option<Address>, price: Option<Price>) {
        self.with_record(url, |record| {
            if !record.quoted {
                // It was not up yet when it was asked before.
                (record.failures_in_row, record.suspended_until, record.last_error) = (0, None, None);
            }
            record.quoted = true;
            record.address = address;
            record.price = price;
        });
    }

    /// Notes tickets that left, and their expected value in wei, rounded down.
    pub(crate) fn paid(&self, url: &Url, tickets: u64, value: U256) {
        self.with_record(url, |record| {
            record.tickets += tickets;
            record.value = record.value.saturating_add(value);
        });
    }

    /// Notes that a segment failed, and suspends.
    fn failed(&self, url: &Url, cause: &dyn std::error::Error, now: Instant) {
        self.with_record(url, |record| record.failures += 1);
        self.suspend(url, cause, now);
    }

    /// Suspends one for longer each time in a row.
    pub(crate) fn suspend(&self, url: &Url, cause: &dyn std::error::Error, now: Instant) {
        self.with_record(url, |record| {
            let doublings = record.failures_in_row.min(16);
            let pause = FIRST_SUSPENSION.saturating_mul(1 << doublings).min(LONGEST_SUSPENSION);
            record.failures_in_row += 1;
            record.suspended_until = Some(now + pause);
            record.last_error = Some(with_causes(cause));
        });
    }

    /// Keeps one that was caught cheating from work until then, whatever else it does.
    pub(crate) fn convicted(&self, url: &Url, verdict: Verdict, until: Instant) {
        self.with_record(url, |record| record.convicted = Some((until, verdict)));
    }

    fn succeeded(&self, url: &Url, latency: Duration) {
        self.with_record(url, |record| {
            record.failures_in_row = 0;
            record.suspended_until = None;
            record.segments += 1;
            record.latency = Some(record.latency.map_or(latency, |known| (known * 3 + latency) / 4));
        });
    }

    pub(crate) fn status(&self, now: Instant) -> Vec<SessionStatus> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.book()
            .records
            .iter()
            .map(|record| SessionStatus {
                orchestrator: record.address.or(record.candidate.address),
                url: record.candidate.url.clone(),
                price: record.price.map(|price| format!("{}/{}", price.wei_per_unit(), price.pixels_per_unit())),
                latency_ms: record.latency.map(millis),
                in_flight: record.in_flight,
                segments: record.segments,
                failures: record.failures,
                suspended_ms: record.rests_until().map_or(0, |until| millis(until.saturating_duration_since(now))),
                verdict: record.convicted.map(|(_, verdict)| verdict),
                last_error: record.last_error.clone(),
                tickets: TicketStatus { sent: record.tickets, value: record.value.to_string() },
            })
            .collect()
    }
}

/// One segment's place at an orchestrator; given back on drop.
#[derive(Debug)]
pub(crate) struct Turn {
    orchestrators: Orchestrators,
    pub(crate) candidate: Candidate,
}

impl Turn {
    pub(crate) fn succeeded(&self, latency: Duration) {
        self.orchestrators.succeeded(&self.candidate.url, latency);
    }

    pub(crate) fn failed(&self, cause: &dyn std::error::Error, now: Instant) {
        self.orchestrators.failed(&self.candidate.url, cause, now);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.orchestrators.with_record(&self.candidate.url, |record| record.in_flight -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(port: u16) -> Url {
        format!("https://127.0.0.1:{port}").parse().unwrap()
    }

    fn three() -> Orchestrators {
        let orchestrators = Orchestrators::default();
        orchestrators.update(&[1, 2, 3].map(|port| Candidate { url: url(port), address: None }));
        orchestrators
    }

    fn cause() -> std::io::Error {
        std::io::Error::other("broken")
    }

    #[test]
    fn segments_in_flight_are_spread() {
        let (orchestrators, now) = (three(), Instant::now());
        let turns: Vec<Turn> = (0..3).map(|_| orchestrators.choose(&[], now).unwrap()).collect();
        let mut urls: Vec<&Url> = turns.iter().map(|turn| &turn.candidate.url).collect();
        urls.sort();
        assert_eq!(urls, [&url(1), &url(2), &url(3)]);
    }

    #[test]
    fn a_faster_orchestrator_gets_more_and_a_slower_one_some() {
        let (orchestrators, now) = (three(), Instant::now());
        let mut done = [0; 4];
        for _ in 0..70 {
            let turn = orchestrators.choose(&[], now).unwrap();
            let port = turn.candidate.url.port().unwrap();
            done[usize::from(port)] += 1;
            turn.succeeded(Duration::from_millis(100 * u64::from(port)));
        }
        assert!(done[1] > done[2] && done[2] > done[3] && done[3] >= 10, "{done:?}");
    }

    #[test]
    fn a_failing_one_rests_longer_each_time_and_not_forever() {
        let (orchestrators, now) = (three(), Instant::now());
        let rest = || orchestrators.status(now)[0].suspended_ms;
        let mut rests = Vec::new();
        for _ in 0..8 {
            orchestrators.failed(&url(1), &cause(), now);
            rests.push(rest());
        }
        assert_eq!(rests, [2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
        for _ in 0..4 {
            assert_ne!(orchestrators.choose(&[], now).unwrap().candidate.url, url(1));
        }
        let later = now + LONGEST_SUSPENSION;
        let turns: Vec<Turn> = (0..3).map(|_| orchestrators.choose(&[], later).unwrap()).collect();
        assert!(turns.iter().any(|turn| turn.candidate.url == url(1)));
    }

    #[test]
    fn good_work_does_not_end_a_verdict() {
        let (orchestrators, now) = (three(), Instant::now());
        orchestrators.convicted(&url(1), Verdict::Upscaled, now + Duration::from_secs(3600));
        orchestrators.succeeded(&url(1), Duration::from_millis(1));
        orchestrators.failed(&url(1), &cause(), now);
        let status = &orchestrators.status(now)[0];
        assert_eq!((status.suspended_ms, status.verdict), (3_600_000, Some(Verdict::Upscaled)));
        for _ in 0..9 {
            assert_ne!(orchestrators.choose(&[], now).unwrap().candidate.url, url(1));
        }
    }

    #[test]
    fn a_suspended_one_is_better_than_none() {
        let orchestrators = Orchestrators::default();
        orchestrators.update(&[Candidate { url: url(1), address: None }]);
        let now = Instant::now();
        orchestrators.failed(&url(1), &cause(), now);
        assert_eq!(orchestrators.choose(&[url(1)], now).unwrap().candidate.url, url(1));
    }

    #[test]
    fn one_that_failed_at_this_segment_is_tried_last() {
        let (orchestrators, now) = (three(), Instant::now());
        for _ in 0..9 {
            assert_eq!(orchestrators.choose(&[url(1), url(3)], now).unwrap().candidate.url, url(2));
        }
    }

    #[test]
    fn a_returning_one_does_not_catch_up_on_all_it_missed() {
        let (orchestrators, now) = (three(), Instant::now());
        orchestrators.failed(&url(1), &cause(), now);
        for _ in 0..40 {
            orchestrators.choose(&[], now).unwrap().succeeded(Duration::from_millis(200));
        }
        let later = now + FIRST_SUSPENSION;
        let after: Vec<u16> = (0..6)
            .map(|_| {
                let turn = orchestrators.choose(&[], later).unwrap();
                turn.succeeded(Duration::from_millis(200));
                turn.candidate.url.port().unwrap()
            })
            .collect();
        assert!(after.iter().filter(|port| **port == 1).count() <= 3, "{after:?}");
    }

    #[test]
    fn an_unlisted_one_is_not_chosen_and_an_empty_list_gives_none() {
        let orchestrators = three();
        orchestrators.update(&[]);
        assert_eq!(orchestrators.len(), 0);
        assert!(orchestrators.choose(&[], Instant::now()).is_none());
    }
}
