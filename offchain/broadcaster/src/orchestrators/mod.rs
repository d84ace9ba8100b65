//! What we know of each orchestrator, and which one gets the next segment.
//!
//! Of a long list only a shortlist is asked for quotes and given work; the others wait for a place in it. Places are drawn
//! by stake, and freed by whoever may not be used. Among our own, turns are dealt by start-time fair queueing with the
//! latency as the cost of a segment; the market is drawn from by weights ([`crate::selection`]).
mod convictions;
mod places;
mod record;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use alloy_primitives::{Address, U256};
use streamflow_types::Price;
use streamflow_wire::{Offer, capability, proto};
use tokio::{sync::Notify, time::Instant};
use url::Url;

use crate::{
    discovery::{Candidate, Dropped, Filter},
    error::{AttemptError, Refusal},
    metrics,
    race::{HedgePoint, Link, Pace},
    selection::{
        Affinity, Ask, CandidateStatus, Chance, ChoiceStatus, How, Latency, Reason, SelectionConfig, Standing, Wanted,
        pick,
    },
    status::{PoolStatus, SessionStatus},
    verification::{Conviction, Terms, Verdict},
};

use convictions::Convictions;
use record::Record;

pub(crate) use convictions::MOST_CONVICTED;
pub(crate) use record::Remembered;

/// How long those whom we only remember are kept while no list came.
const REMEMBERED_FOR: Duration = Duration::from_secs(120);
/// Time without a rest after which a stream comes back to one of our own.
const CALM: Duration = Duration::from_secs(30);
/// Pause before a question that could not be asked.
const PUT_OFF: Duration = Duration::from_secs(1);
/// Those that no list has any more, but that worked for us, and are shown.
const MOST_GONE: usize = 64;
/// Candidates shown for one stream.
const SHOWN: usize = 40;
/// Length of a segment where a stream has none yet.
const USUAL_SEGMENT: Duration = Duration::from_secs(2);

/// What decides whether and in which order orchestrators are used.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) filter: Filter,
    pub(crate) selection: SelectionConfig,
    pub(crate) max_price: Option<Price>,
    pub(crate) min_version: Option<String>,
    /// What every job needs.
    pub(crate) job: proto::Capabilities,
    pub(crate) shortlist: usize,
    pub(crate) probe_interval: Duration,
    pub(crate) extra_nodes: usize,
}

/// All orchestrators, shared by the streams.
#[derive(Clone, Debug)]
pub(crate) struct Orchestrators {
    book: Arc<Mutex<Book>>,
    /// Somebody was convicted.
    caught: Arc<Notify>,
    rules: Arc<Rules>,
}

#[derive(Debug, Default)]
struct Book {
    records: Vec<Record>,
    /// The newest list, without those that the filters drop.
    listed: Vec<Candidate>,
    /// Those that they drop.
    dropped: Dropped,
    remembered: HashMap<Url, Remembered>,
    convictions: Convictions,
    passed_over: HashMap<Url, Instant>,
    /// Start of the turn dealt last.
    virtual_time: Duration,
    /// Turns dealt.
    turns: u64,
    /// The newest times for a segment, of everybody.
    pace: Pace,
}

impl Orchestrators {
    pub(crate) fn new(rules: Rules) -> Self {
        Self { book: Arc::default(), caught: Arc::default(), rules: Arc::new(rules) }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what an earlier run learnt. With `as_candidates`, those whom the chain named then are candidates until a
    /// list comes.
    pub(crate) fn remember(&self, mut known: Vec<(Candidate, Remembered)>, as_candidates: bool, now: Instant) {
        let mut book = self.book();
        // Of too many, those that were caught have no place.
        known.sort_by_key(|(candidate, _)| book.convictions.is_running(&candidate.url, now));
        for (candidate, remembered) in known {
            book.remembered.insert(candidate.url.clone(), remembered);
            let places = book.records.iter().filter(|record| !record.candidate.own).count() < self.rules.shortlist;
            let is_named = candidate.address.is_some() && book.find(&candidate.url).is_none();
            if as_candidates && places && is_named && self.rules.filter.reason(&candidate, None).is_none() {
                let mut record = book.new_record(candidate, now);
                (record.listed, record.kept_until) = (false, Some(now + REMEMBERED_FOR));
                book.records.push(record);
            }
        }
    }

    /// Takes a new list. What is known of an orchestrator that stays, or comes back, is kept.
    pub(crate) fn update(&self, candidates: &[Candidate], now: Instant) {
        let mut book = self.book();
        let mut listed: Vec<Candidate> = Vec::with_capacity(candidates.len());
        let mut places: HashMap<&Url, usize> = HashMap::with_capacity(candidates.len());
        for candidate in candidates {
            match places.get(&candidate.url) {
                // Anybody may publish the URI of somebody else; more stake is more to lose.
                Some(place) if outranks(candidate, &listed[*place]) => listed[*place] = candidate.clone(),
                Some(_) => {}
                None => {
                    places.insert(&candidate.url, listed.len());
                    listed.push(candidate.clone());
                }
            }
        }
        for record in &mut book.records {
            let place = places.get(&record.candidate.url);
            record.listed = place.is_some();
            if let Some(place) = place {
                record.candidate = listed[*place].clone();
                record.parent = None;
            }
        }
        book.dropped = Dropped::default();
        listed.retain(|candidate| match self.rules.filter.reason(candidate, None) {
            Some(reason) => {
                book.dropped.add(&reason);
                false
            }
            None => true,
        });
        book.listed = listed;
        book.drop_children();
        let mut gone = 0;
        book.records.retain(|record| {
            let worked = !record.is_present(now) && record.segments > 0;
            gone += usize::from(worked);
            record.is_present(now) || record.in_flight > 0 || (worked && gone <= MOST_GONE)
        });
        self.fill_places(&mut book, now);
    }

    /// Whether one that may be used has quoted and does not rest. Where only those are left that were caught, one of them
    /// will do.
    pub(crate) fn any_ready(&self, now: Instant) -> bool {
        let book = self.book();
        let usable = book.records.iter().filter(|record| self.exclusion(record, now).is_none());
        let (convicted, others): (Vec<&Record>, Vec<&Record>) = usable.partition(|record| record.is_convicted(now));
        others.iter().any(|record| record.quoted && record.rest.left(now).is_none())
            || (others.iter().all(|record| record.is_silent()) && convicted.iter().any(|record| record.quoted))
    }

    /// Those whose quote is due, at most `limit`; each is then not due again for about the interval.
    pub(crate) fn due(&self, limit: usize, now: Instant) -> Vec<Candidate> {
        let mut book = self.book();
        self.fill_places(&mut book, now);
        let mut due: Vec<&mut Record> = book
            .records
            .iter_mut()
            .filter(|r| r.is_present(now) && r.probe_at <= now && (r.rest.left(now).is_none() || r.is_convicted(now)))
            .collect();
        // Those who never told a price first, our own before the market, and whoever was caught last.
        due.sort_by_key(|r| (r.is_convicted(now), r.quoted, !r.candidate.own, r.probe_at));
        let due = due.into_iter().take(limit).map(|record| {
            let jitter = rand::random_range(0.75..1.25);
            record.probe_at = now + self.rules.probe_interval.mul_f64(jitter);
            record.candidate.clone()
        });
        due.collect()
    }

    /// Makes these due again: they were not asked after all.
    pub(crate) fn put_off(&self, candidates: &[Candidate], now: Instant) {
        for candidate in candidates {
            self.with_record(&candidate.url, |record| record.probe_at = now + PUT_OFF);
        }
    }

    /// How many there are that may yet be used, or have not told.
    pub(crate) fn len(&self, now: Instant) -> usize {
        self.book().records.iter().filter(|record| record.is_present(now)).count()
    }

    /// Why there is nobody to choose, if that is so.
    pub(crate) fn refusal(&self, now: Instant) -> Option<Refusal> {
        let book = self.book();
        let mut dropped = book.dropped.clone();
        for record in book.records.iter().filter(|record| record.is_present(now)) {
            dropped.add(&self.exclusion(record, now)?);
        }
        Some(if dropped.total() == 0 { Refusal::NoOrchestrators } else { Refusal::NoneUsable(Box::new(dropped)) })
    }

    /// Why an orchestrator may not be used at all.
    fn exclusion(&self, record: &Record, now: Instant) -> Option<Reason> {
        if !record.is_present(now) {
            return Some(Reason::Unlisted);
        }
        if let Some(reason) = self.rules.filter.reason(&record.candidate, record.account) {
            return Some(reason);
        }
        if let (Some(got), Some(max)) = (record.price, self.rules.max_price)
            && got > max
        {
            return Some(Reason::Price { got, max });
        }
        record.unfit.clone()
    }

    /// Chooses who does a segment. Ask again with those in `tried` who have it, for another one for the same segment.
    pub(crate) fn choose(&self, ask: Ask<'_>) -> Result<Turn, Refusal> {
        let turn = self.choose_besides(ask, &[], Wanted::Anybody);
        turn.ok_or_else(|| self.refusal(ask.now).unwrap_or(Refusal::NoOrchestrators))
    }

    /// The same beside those who work on the segment already, if there is anybody who is wanted.
    pub(crate) fn choose_besides(&self, ask: Ask<'_>, working: &[&Url], wanted: Wanted) -> Option<Turn> {
        let deadline = self.rules.selection.deadline(ask.segment);
        let book = self.book();
        let mut standings = self.standings(&book, &ask);
        for (record, standing) in book.records.iter().zip(&mut standings) {
            if working.contains(&&record.candidate.url) {
                standing.excluded.get_or_insert(Reason::NotDrawn);
            }
        }
        let (index, how) = pick(&standings, deadline, &self.rules.selection, rand::random())?;
        if wanted == Wanted::Fit && how == How::NobodyElse {
            return None;
        }
        let mut turn = self.deal(book, ask, &standings, index);
        if ask.tried.is_empty() && leaves_home(&standings, &standings[index], deadline) {
            settle(ask.affinity, &turn.candidate.url);
        }
        turn.begin(ask.segment, ask.now);
        Some(turn)
    }

    /// The stream's orchestrator for a segment that still comes, if it would have it once those before are done. The turn
    /// has to begin.
    pub(crate) fn choose_home(&self, ask: Ask<'_>) -> Option<Turn> {
        let deadline = self.rules.selection.deadline(ask.segment);
        let book = self.book();
        let standings = self.standings(&book, &Ask { affinity: &ask.affinity.later(), ..ask });
        let (index, how) = pick(&standings, deadline, &self.rules.selection, rand::random())?;
        (standings[index].home && how != How::NobodyElse).then(|| self.deal(book, ask, &standings, index))
    }

    /// A turn of the one at this place.
    fn deal(&self, mut book: MutexGuard<'_, Book>, ask: Ask<'_>, standings: &[Standing], index: usize) -> Turn {
        let deadline = self.rules.selection.deadline(ask.segment);
        let others = standings.iter().enumerate().filter(|(other, standing)| *other != index && standing.is_clear());
        let alternative = others.filter_map(|(_, standing)| standing.predicted).min();
        let (predicted, number) = (standings[index].predicted, book.turns);
        let hedge = HedgePoint::new(&book.records[index].pace, &book.pace, alternative, ask.segment, deadline);
        book.turns += 1;
        let virtual_time = book.virtual_time;
        let record = &mut book.records[index];
        let start = record.turn.max(virtual_time);
        record.turn = start + record.cost();
        record.in_flight += 1;
        let (candidate, link) = (record.candidate.clone(), record.link);
        book.virtual_time = start;
        drop(book);
        ask.affinity.begin(&candidate.url);
        let (affinity, segment) = (ask.affinity.clone(), ask.segment);
        Turn { orchestrators: self.clone(), candidate, affinity, segment, number, predicted, hedge, link }
    }

    fn standings(&self, book: &Book, ask: &Ask<'_>) -> Vec<Standing> {
        let home = ask.affinity.home();
        let standing = |record: &Record| {
            let url = &record.candidate.url;
            let ahead = ask.affinity.ahead(url);
            let predict = |latency: &Latency| latency.predict(ask.segment, ahead, self.rules.selection.sigmas, ask.now);
            let predicted = record.latency.as_ref().and_then(predict);
            let overdue = record.overdue(&self.rules.selection, ask.now);
            Standing {
                own: record.candidate.own,
                excluded: self.exclusion(record, ask.now),
                rest: record.rest.left(ask.now),
                calm: record.rest.calm_for(CALM, ask.now),
                tried: ask.tried.contains(url),
                overdue,
                quoted: record.quoted,
                predicted: predicted.map(|predicted| overdue.map_or(predicted, |(age, _)| predicted.max(age))),
                home: home.as_ref() == Some(url),
                in_flight: record.in_flight,
                ahead,
                turn: record.turn.max(book.virtual_time),
                chance: Chance {
                    price: record.price,
                    stake: record.candidate.stake.unwrap_or_default(),
                    latency: record.latency.map(|latency| latency.mean()),
                    success: record.success(),
                },
            }
        };
        book.records.iter().map(standing).collect()
    }

    /// Who would get a stream's next segment, and why not the others.
    pub(crate) fn explain(&self, affinity: &Affinity, segment: Option<Duration>, now: Instant) -> ChoiceStatus {
        let ask = Ask { affinity, segment: segment.unwrap_or(USUAL_SEGMENT), tried: &[], now };
        let deadline = self.rules.selection.deadline(ask.segment);
        let book = self.book();
        let standings = self.standings(&book, &ask);
        let chosen = pick(&standings, deadline, &self.rules.selection, 0.0);
        let mut candidates: Vec<CandidateStatus> = book
            .records
            .iter()
            .zip(&standings)
            .enumerate()
            .map(|(index, (record, standing))| {
                let how = chosen.filter(|(chosen, _)| *chosen == index).map(|(_, how)| how);
                let (code, why) = match how {
                    Some(how) => ("chosen", how.to_string()),
                    None => {
                        let reason = why_not(record, standing, chosen.map(|(_, how)| how), deadline);
                        (reason.code(), reason.to_string())
                    }
                };
                CandidateStatus {
                    url: record.candidate.url.clone(),
                    orchestrator: record.account.or(record.candidate.address),
                    own: record.candidate.own,
                    chosen: how.is_some(),
                    code,
                    why,
                    price: record.price.map(terms),
                    predicted_ms: standing.predicted.map(millis),
                }
            })
            .collect();
        candidates.sort_by_key(|candidate| !candidate.chosen);
        let unlisted = candidates.len().saturating_sub(SHOWN);
        candidates.truncate(SHOWN);
        ChoiceStatus {
            orchestrator: chosen.map(|(index, _)| book.records[index].candidate.url.clone()),
            swaps: affinity.swaps(),
            deadline_ms: millis(deadline),
            candidates,
            unlisted,
        }
    }

    fn with_record(&self, url: &Url, change: impl FnOnce(&mut Record)) {
        if let Some(record) = self.book().records.iter_mut().find(|record| record.candidate.url == *url) {
            change(record);
        }
    }

    /// Notes a quote: who, at what price, and whether it can do the work.
    pub(crate) fn quoted(&self, url: &Url, account: Option<Address>, offer: &Offer, now: Instant) {
        let unfit = offer.capabilities.as_ref().and_then(|node| self.unfit(node));
        let named: Vec<Url> = offer.nodes.iter().take(self.rules.extra_nodes).filter_map(|n| n.parse().ok()).collect();
        self.with_record(url, |record| record.has_quoted(account, offer.price, unfit));
        if self.rules.extra_nodes > 0 {
            self.take_over_instances(url, &named, now);
        }
    }

    /// What it lacks for our jobs.
    fn unfit(&self, node: &proto::Capabilities) -> Option<Reason> {
        if let Some(least) = &self.rules.min_version
            && !capability::is_at_least(&node.version, least)
        {
            return Some(Reason::Version { got: node.version.clone(), least: least.clone() });
        }
        let lacks = || capability::missing_bits(node, &self.rules.job);
        (!capability::is_compatible(node, &self.rules.job)).then(|| Reason::Incapable { lacks: lacks() })
    }

    /// Notes tickets that left, and their expected value in wei, rounded down.
    pub(crate) fn paid(&self, url: &Url, tickets: u64, value: U256) {
        self.with_record(url, |record| {
            record.tickets += tickets;
            record.value = record.value.saturating_add(value);
        });
    }

    /// Notes that no quote came. One that has no room is only asked again soon.
    pub(crate) fn no_quote(&self, url: &Url, error: &AttemptError, now: Instant) {
        self.with_record(url, |record| {
            record.unanswered = record.unanswered.saturating_add(1);
            record.rest_after(error, now);
            // Asked again as soon as it may be; one that was caught need not wait for the end of that.
            let left = record.rest.left(now).map_or(Duration::ZERO, |(_, left)| left);
            record.probe_at = now + if record.is_convicted(now) { self.rules.probe_interval } else { left };
        });
    }

    pub(crate) fn status(&self, now: Instant) -> Vec<SessionStatus> {
        let book = self.book();
        let status = |record: &Record| {
            let overdue = || record.overdue(&self.rules.selection, now);
            let stands = || overdue().map(|(age, expected)| Reason::Overdue { age, expected });
            let reason = self.exclusion(record, now).or_else(|| resting(record, now)).or_else(stands);
            let reason = reason.or_else(|| (!record.quoted).then_some(Reason::Unquoted));
            record.status(reason, now)
        };
        book.records.iter().map(status).collect()
    }

    /// The list as a whole.
    pub(crate) fn pool(&self, now: Instant) -> PoolStatus {
        let book = self.book();
        let mut dropped = book.dropped.clone();
        let mut more = Dropped::default();
        for reason in book.records.iter().filter_map(|record| self.exclusion(record, now)) {
            more.add(&reason);
        }
        dropped.merge(&more);
        PoolStatus::new(book.listed.len() + book.dropped.total(), book.records.len(), &dropped)
    }

    /// What was learnt since the last call.
    pub(crate) fn learnt(&self) -> Vec<(Candidate, Remembered)> {
        let mut book = self.book();
        let fresh = book.records.iter_mut().filter(|record| record.changed && record.parent.is_none());
        let fresh = fresh.map(|record| {
            record.changed = false;
            (record.candidate.clone(), record.remembered())
        });
        fresh.collect()
    }
}

impl Book {
    fn find(&self, url: &Url) -> Option<&Record> {
        self.records.iter().find(|record| record.candidate.url == *url)
    }

    fn new_record(&self, candidate: Candidate, now: Instant) -> Record {
        let remembered = self.remembered.get(&candidate.url).copied();
        let conviction = self.convictions.of(&candidate.url).cloned();
        Record::new(candidate, remembered, conviction, now)
    }
}

fn outranks(candidate: &Candidate, other: &Candidate) -> bool {
    (candidate.own, candidate.stake) > (other.own, other.stake)
}

/// Whether the stream goes over to `chosen` for good: it has no orchestrator, or its own one cannot be waited for. One that
/// is only behind with this stream's own segments keeps the stream.
fn leaves_home(standings: &[Standing], chosen: &Standing, deadline: Duration) -> bool {
    match standings.iter().find(|standing| standing.home) {
        None => true,
        Some(_) if chosen.home => false,
        Some(home) => {
            let fine = home.excluded.is_none() && home.rest.is_none();
            let only_behind = home.ahead > 0 || !home.is_late(deadline);
            !(fine && only_behind) || (chosen.own && !home.own)
        }
    }
}

fn settle(affinity: &Affinity, url: &Url) {
    if affinity.settle(url) {
        metrics::orchestrator_swapped();
    }
}

fn resting(record: &Record, now: Instant) -> Option<Reason> {
    let (kind, left) = record.rest.left(now)?;
    Some(Reason::Resting { kind, left, because: record.because(kind) })
}

fn why_not(record: &Record, standing: &Standing, how: Option<How>, deadline: Duration) -> Reason {
    if let Some(reason) = &standing.excluded {
        return reason.clone();
    }
    if let Some((kind, left)) = standing.rest {
        return Reason::Resting { kind, left, because: record.because(kind) };
    }
    if let Some((age, expected)) = standing.overdue {
        return Reason::Overdue { age, expected };
    }
    match (standing.predicted, how) {
        (Some(predicted), _) if predicted > deadline => Reason::Late { predicted, deadline },
        (_, Some(How::Kept)) => Reason::HasHome,
        (_, Some(How::Own)) if !standing.own => Reason::OwnFirst,
        _ if !standing.quoted => Reason::Unquoted,
        _ => Reason::NotDrawn,
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn terms(price: Price) -> String {
    format!("{}/{}", price.wei_per_unit(), price.pixels_per_unit())
}

/// One segment's place at an orchestrator; given back on drop.
#[derive(Debug)]
pub(crate) struct Turn {
    orchestrators: Orchestrators,
    pub(crate) candidate: Candidate,
    affinity: Affinity,
    segment: Duration,
    number: u64,
    /// Time for the segment, as far as can be told.
    pub(crate) predicted: Option<Duration>,
    /// When another is started beside it.
    pub(crate) hedge: HedgePoint,
    pub(crate) link: Link,
}

impl Orchestrators {
    /// Keeps one that was caught from work, whatever else it does. Returns for how long from now.
    pub(crate) fn convicted(&self, url: &Url, verdict: Verdict, why: &str, terms: Terms, now: Instant) -> Duration {
        let mut book = self.book();
        let conviction = Conviction::new(verdict, why.to_owned(), book.convictions.of(url), terms, now);
        book.convictions.add(url, conviction.clone());
        drop(book);
        self.caught.notify_one();
        let rest = conviction.until.saturating_duration_since(now);
        self.with_record(url, |record| record.convict(conviction, now));
        rest
    }

    /// Takes over whom an earlier run convicted; before there are candidates.
    pub(crate) fn recall_convictions(&self, known: Vec<(Url, Conviction)>) {
        let mut book = self.book();
        known.into_iter().for_each(|(url, conviction)| book.convictions.recall(url, conviction));
    }

    /// Waits until there are convictions that may not be stored yet.
    pub(crate) async fn somebody_caught(&self) {
        self.caught.notified().await;
    }

    /// Convictions to be stored.
    pub(crate) fn unkept_convictions(&self) -> Vec<(Url, Conviction)> {
        self.book().convictions.unkept()
    }

    /// These are stored.
    pub(crate) fn kept_convictions(&self, stored: &[(Url, Conviction)]) {
        self.book().convictions.kept(stored);
    }
}

impl Orchestrators {
    /// Notes what was measured on the way to one.
    pub(crate) fn measured(&self, url: &Url, change: impl FnOnce(&mut Link)) {
        self.with_record(url, |record| change(&mut record.link));
    }

    fn failed(&self, url: &Url, error: &AttemptError, now: Instant) {
        self.with_record(url, |record| {
            record.failures += u64::from(!error.is_busy());
            record.rest_after(error, now);
        });
    }

    /// `winner` did a segment that this one called bad, or whose result our workers broke on. So it has failed, and the stream
    /// goes over if it was there.
    pub(crate) fn disproved(&self, url: &Url, error: &AttemptError, winner: &Url, affinity: &Affinity, now: Instant) {
        self.failed(url, error, now);
        if affinity.home().as_ref() == Some(url) {
            settle(affinity, winner);
        }
    }
}

impl Turn {
    /// The segment is there, and this long: from now on it may be late.
    pub(crate) fn begin(&mut self, segment: Duration, now: Instant) {
        self.segment = segment;
        self.orchestrators
            .with_record(&self.candidate.url, |record| record.under_way.push((self.number, now, segment)));
    }

    /// The segment is done. A stream whose orchestrator failed at it goes over to this one.
    pub(crate) fn succeeded(&self, took: Duration, now: Instant) {
        let url = &self.candidate.url;
        self.orchestrators.with_record(url, |record| record.succeeded(took, self.segment, now));
        self.orchestrators.book().pace.add(took, self.segment);
        let home = self.affinity.home();
        let home_rests = home.as_ref().is_none_or(|home| {
            let book = self.orchestrators.book();
            book.find(home).is_none_or(|record| record.rest.left(now).is_some())
        });
        if home_rests {
            settle(&self.affinity, url);
        }
    }

    /// Another was first; nobody looked at what it made. How long it took counts.
    pub(crate) fn overtaken(&self, took: Duration, now: Instant) {
        self.orchestrators.with_record(&self.candidate.url, |record| record.measured(took, self.segment, now));
        self.orchestrators.book().pace.add(took, self.segment);
    }

    /// The segment is not done. Busy is no fault.
    pub(crate) fn failed(&self, error: &AttemptError, now: Instant) {
        self.orchestrators.failed(&self.candidate.url, error, now);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.orchestrators.with_record(&self.candidate.url, |record| {
            record.in_flight -= 1;
            record.under_way.retain(|(number, ..)| *number != self.number);
        });
        self.affinity.end(&self.candidate.url);
    }
}
