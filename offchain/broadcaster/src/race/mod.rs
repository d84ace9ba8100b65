//! A segment is a race of attempts: the first result that verifies is published (docs/designs/032-failover.md).
//!
//! Another attempt is started when one fails or is given up, and, within a budget, beside one that is slower than usual. Who
//! is overtaken goes on until its payment is settled, but its renditions are not fetched, unless they are to be compared.
mod budget;
mod deadlines;
mod lane;
mod link;
mod pace;
mod settings;

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use streamflow_types::with_causes;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use url::Url;

pub(crate) use budget::HedgeBudget;
pub(crate) use deadlines::{Deadlines, Load};
pub(crate) use lane::{Finished, Lane};
pub(crate) use link::Link;
pub(crate) use pace::{HedgePoint, Pace};
pub use settings::{FailoverConfig, RedundancyConfig};

use crate::{
    ahead::Begun,
    broadcaster::Core,
    error::{AttemptError, Refusal, SegmentError},
    metrics,
    orchestrators::Turn,
    segment::Segment,
    selection::{Ask, Wanted, counted_length},
    stream::LiveStream,
    transcode::hopeless,
    verify::Rendition,
};

/// Where everybody is slow, a late segment is better than none: later attempts get up to so many times as long.
const MOST_PATIENT: u32 = 3;
/// Our own trouble, which is paid for each time.
const MOST_UNCHECKED: u32 = 3;

impl Core {
    /// Has a segment transcoded, by as many orchestrators as it takes up to the limits. One may have begun.
    pub(crate) async fn transcode(
        self: &Arc<Self>,
        stream: &Arc<LiveStream>,
        segment: Segment,
        begun: Option<Begun>,
    ) -> Result<Vec<Rendition>, SegmentError> {
        let won = begun.as_ref().map(|begun| begun.won().clone());
        let mut race = Race::new(self.clone(), stream.clone(), segment, won.unwrap_or_default());
        race.start(begun)?;
        race.run().await
    }
}

/// Why an attempt is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The segment came.
    First,
    /// It is one of those that all get the segment.
    Compare,
    /// Those before failed, or are given up.
    Failed,
    /// Those before are slow.
    Slow,
}

type Ended = (u32, Result<Finished, AttemptError>);

#[derive(Debug)]
struct Race {
    core: Arc<Core>,
    stream: Arc<LiveStream>,
    segment: Arc<Segment>,
    /// Several do it, to be compared.
    redundant: usize,
    won: CancellationToken,
    attempts: FuturesUnordered<BoxFuture<'static, Ended>>,
    running: Vec<Runner>,
    /// Everybody who has or had it.
    tried: Vec<Url>,
    started: u32,
    blaming_input: u32,
    /// Results that we could not check.
    unchecked: u32,
    /// Those who have failed if another one does the segment, but for the last that failed.
    suspects: Vec<(Url, AttemptError)>,
    /// How often somebody who had failed was asked again.
    repeats: u32,
    /// What no other attempt would help with.
    verdict: Option<SegmentError>,
    last: Option<(Url, AttemptError)>,
    /// Nobody who had it is asked again before.
    pause: Option<Instant>,
}

/// An attempt under way.
#[derive(Debug)]
struct Runner {
    number: u32,
    url: Url,
    cause: Cause,
    lane: Lane,
    hedge_at: Instant,
    upload_by: Instant,
    whole_by: Instant,
}

impl Runner {
    /// When it is given up.
    fn due(&self) -> Instant {
        if self.lane.is_accepted() { self.whole_by } else { self.upload_by }
    }
}

impl Race {
    fn new(core: Arc<Core>, stream: Arc<LiveStream>, segment: Segment, won: CancellationToken) -> Self {
        stream.hedges().segment();
        Self {
            redundant: core.config.redundancy.draw(),
            core,
            stream,
            segment: Arc::new(segment),
            won,
            attempts: FuturesUnordered::new(),
            running: Vec::new(),
            tried: Vec::new(),
            started: 0,
            blaming_input: 0,
            unchecked: 0,
            suspects: Vec::new(),
            repeats: 0,
            verdict: None,
            last: None,
            pause: None,
        }
    }

    /// A part of the segment's length: how long the same orchestrator is left alone, and the longest time between two looks.
    fn beat(&self) -> Duration {
        self.pace() / 4
    }

    /// The length that it is given time for.
    fn pace(&self) -> Duration {
        counted_length(self.stream.pace(self.segment.duration))
    }

    fn start(&mut self, begun: Option<Begun>) -> Result<(), SegmentError> {
        if self.stream.has_ended() {
            return Err(Refusal::Ending(self.stream.name().clone()).into());
        }
        if let Some(begun) = begun.filter(Begun::take) {
            self.adopt(begun);
            return Ok(());
        }
        let turn = self.core.orchestrators.choose(self.ask(Instant::now()))?;
        self.launch(turn, Cause::First);
        while self.running.len() < self.redundant {
            let Some(turn) = self.choose(Wanted::Fit) else { break };
            self.launch(turn, Cause::Compare);
        }
        Ok(())
    }

    async fn run(mut self) -> Result<Vec<Rendition>, SegmentError> {
        loop {
            let look = self.next_look(Instant::now());
            let ended = tokio::select! { biased;
                Some(ended) = self.attempts.next() => Some(ended),
                () = tokio::time::sleep_until(look) => None,
            };
            if let Some((number, result)) = ended
                && let Some(renditions) = self.ended(number, result)
            {
                self.won.cancel();
                return Ok(renditions);
            }
            self.go_on(Instant::now())?;
        }
    }

    fn ask(&self, now: Instant) -> Ask<'_> {
        Ask { affinity: self.stream.affinity(), segment: self.segment.duration, tried: &self.tried, now }
    }

    /// Somebody who does not work on it already; one that calls it bad only where there is no second opinion.
    fn choose(&self, wanted: Wanted) -> Option<Turn> {
        let working: Vec<&Url> = self.running.iter().map(|runner| &runner.url).collect();
        let others: Vec<&Url> = working.iter().copied().chain(self.suspects().map(|(url, _)| url)).collect();
        let choose =
            |besides: &[&Url]| self.core.orchestrators.choose_besides(self.ask(Instant::now()), besides, wanted);
        choose(&others).or_else(|| if others.len() > working.len() { choose(&working) } else { None })
    }

    /// Those who have failed if another one does the segment.
    fn suspects(&self) -> impl Iterator<Item = &(Url, AttemptError)> {
        self.suspects.iter().chain(self.last.iter().filter(|(_, error)| error.awaits_another()))
    }

    /// The attempt that began before the segment was there, which counts from now on.
    fn adopt(&mut self, mut begun: Begun) {
        let (now, lane) = (Instant::now(), begun.lane().clone());
        let deadlines = self.enter(begun.begin(&self.segment, now), Cause::First, lane, now);
        self.follow(begun.go(self.segment.clone(), deadlines));
    }

    fn launch(&mut self, turn: Turn, cause: Cause) {
        let now = Instant::now();
        let lane = Lane::new(self.won.clone(), self.redundant > 1);
        let deadlines = self.enter(&turn, cause, lane.clone(), now);
        let attempt = attempt(self.core.clone(), self.stream.clone(), self.segment.clone(), turn, deadlines, lane);
        let attempt = self.stream.attempts().track_future(attempt.instrument(tracing::Span::current()));
        self.follow(self.core.tracker.spawn(attempt));
    }

    /// Counts another attempt, and says how long it may take.
    fn enter(&mut self, turn: &Turn, cause: Cause, lane: Lane, now: Instant) -> Deadlines {
        self.started += 1;
        let (number, url) = (self.started, turn.candidate.url.clone());
        let multiplier = self.stream.orders().timeout_multiplier(&self.core.config);
        let patience = multiplier.saturating_mul(number.min(MOST_PATIENT));
        let deadline = self.core.config.selection.deadline(self.pace());
        let load = self.stream.load(&self.segment.outline(), self.segment.media.len(), deadline);
        let deadlines = Deadlines::new(load, &turn.link, turn.predicted, patience);
        let left = deadline.saturating_sub(self.segment.arrived.elapsed());
        self.running.push(Runner {
            number,
            url: url.clone(),
            cause,
            lane,
            hedge_at: now + turn.hedge.after(left),
            upload_by: now + deadlines.upload,
            whole_by: now + deadlines.whole,
        });
        self.tried.push(url);
        deadlines
    }

    /// Waits for the end of the attempt that was counted last.
    fn follow(&mut self, task: JoinHandle<Result<Finished, AttemptError>>) {
        let number = self.started;
        // Dropping the handle leaves the task running.
        let ended = task.map(move |ended| (number, ended.unwrap_or_else(|panic| Err(AttemptError::Abandoned(panic)))));
        self.attempts.push(ended.boxed());
    }

    /// Takes an attempt out of the race; its renditions, if it won.
    fn ended(&mut self, number: u32, result: Result<Finished, AttemptError>) -> Option<Vec<Rendition>> {
        let place = self.running.iter().position(|runner| runner.number == number)?;
        let runner = self.running.swap_remove(place);
        match result {
            Ok(Finished::Done(renditions)) => {
                if runner.cause == Cause::Slow {
                    metrics::hedge_won();
                    self.stream.count(|counts| counts.hedges_won += 1);
                    self.core.count(|totals| totals.hedges_won += 1);
                }
                self.disprove(&runner.url);
                return Some(renditions);
            }
            Ok(Finished::Overtaken | Finished::Unpaid | Finished::BrokenOff) => {}
            Err(error) => self.failed(runner.url, error),
        }
        None
    }

    fn failed(&mut self, url: Url, error: AttemptError) {
        if let Some(refusal) = hopeless(&error) {
            self.verdict = Some(refusal.into());
        }
        // One orchestrator's word is not enough to give up a segment that our own probe accepts.
        if let Some(text) = error.blames_input() {
            self.blaming_input += 1;
            if self.blaming_input > 1 || self.core.orchestrators.len(Instant::now()) < 2 {
                self.verdict = Some(SegmentError::BadInput(text.to_owned()));
            }
        }
        self.unchecked += u32::from(error.is_unchecked());
        let before = self.last.replace((url, error));
        self.suspects.extend(before.filter(|(_, error)| error.awaits_another()));
    }

    /// Somebody did the segment: whoever said that nobody can was wrong.
    fn disprove(&self, winner: &Url) {
        for (url, error) in self.suspects().filter(|(url, _)| url != winner) {
            self.core.orchestrators.disproved(url, error, winner, self.stream.affinity(), Instant::now());
        }
    }

    /// Starts another attempt if one is wanted now.
    fn go_on(&mut self, now: Instant) -> Result<(), SegmentError> {
        if self.verdict.is_some() || !self.may_start(now) {
            return if self.running.is_empty() { Err(self.lost()) } else { Ok(()) };
        }
        if self.running.iter().all(|runner| runner.due() <= now) {
            self.replace(now);
        } else if self.running.iter().all(|runner| runner.hedge_at <= now) {
            self.hedge(now);
        }
        Ok(())
    }

    fn may_start(&self, now: Instant) -> bool {
        let config = &self.core.config;
        let patience = self.pace().saturating_mul(config.failover.patience_percent) / 100;
        let in_vain = self.started >= config.max_attempts || self.unchecked >= MOST_UNCHECKED;
        // What comes after the end of the stream would be paid for and published nowhere.
        !in_vain && !self.stream.has_ended() && now < self.segment.arrived + patience
    }

    fn lost(&mut self) -> SegmentError {
        match (self.verdict.take(), self.last.take()) {
            (Some(verdict), _) => verdict,
            (None, Some((url, last))) => SegmentError::AllFailed { attempts: self.started, url, last: Box::new(last) },
            (None, None) => SegmentError::Abandoned,
        }
    }

    fn replace(&mut self, now: Instant) {
        if self.pause.is_some_and(|until| now < until) {
            return;
        }
        match self.choose(Wanted::Anybody) {
            Some(turn) if self.pause.is_some() || !self.tried.contains(&turn.candidate.url) => {
                self.repeats += u32::from(self.pause.take().is_some());
                self.stream.count(|counts| counts.retried += 1);
                self.core.count(|totals| totals.retried += 1);
                self.launch(turn, Cause::Failed);
            }
            // The same once more, or nobody: after a while, which grows, because most failures are paid for.
            _ => self.pause = Some(now + self.beat() * (1 << self.repeats.min(4))),
        }
    }

    fn hedge(&mut self, now: Instant) {
        let turn = if self.stream.hedges().take() {
            let turn = self.choose(Wanted::Fit);
            if turn.is_none() {
                self.stream.hedges().put_back();
            }
            turn
        } else {
            metrics::hedge_refused();
            None
        };
        match turn {
            Some(turn) => {
                tracing::info!(slow = %self.slowest(), other = %turn.candidate.url, "another orchestrator is asked");
                metrics::hedge_started();
                self.stream.count(|counts| counts.hedged += 1);
                self.core.count(|totals| totals.hedged += 1);
                self.launch(turn, Cause::Slow);
            }
            None => {
                let later = now + self.beat();
                self.running.iter_mut().for_each(|runner| runner.hedge_at = later);
            }
        }
    }

    fn slowest(&self) -> &str {
        self.running.first().map_or("", |runner| runner.url.as_str())
    }

    /// When something may have to be done, unless an attempt ends before.
    fn next_look(&self, now: Instant) -> Instant {
        let runners = self.running.iter().flat_map(|runner| [runner.hedge_at, runner.upload_by, runner.whole_by]);
        let events = runners.chain(self.pause).filter(|at| *at > now);
        events.fold(now + self.beat(), Instant::min)
    }
}

/// One orchestrator's try, and what it says about the orchestrator.
async fn attempt(
    core: Arc<Core>,
    stream: Arc<LiveStream>,
    segment: Arc<Segment>,
    turn: Turn,
    deadlines: Deadlines,
    lane: Lane,
) -> Result<Finished, AttemptError> {
    let started = Instant::now();
    let result = core.attempt(&stream, &segment, &turn.candidate, deadlines, &lane).await;
    note(&core, &turn, &lane, started, &result);
    result
}

/// Notes what an attempt says about the orchestrator. It `started` when the segment was there.
pub(crate) fn note(core: &Core, turn: &Turn, lane: &Lane, started: Instant, result: &Result<Finished, AttemptError>) {
    let (took, now) = (started.elapsed(), Instant::now());
    match result {
        Ok(Finished::Done(_)) => {
            turn.succeeded(took, now);
            if lane.is_compared() {
                metrics::redundant_result();
            }
        }
        Ok(Finished::Overtaken) => {
            turn.overtaken(took, now);
            metrics::overtaken();
        }
        Ok(Finished::Unpaid | Finished::BrokenOff) => {}
        Err(error) => {
            tracing::warn!(url = %turn.candidate.url, error = with_causes(error), "attempt failed");
            metrics::attempt_failed(error);
            core.note_verdict(&turn.candidate.url, error);
            if is_its_failure(error, lane.is_won()) {
                turn.failed(error, now);
            }
        }
    }
}

/// Whether an error is the orchestrator's doing. What only another one can show is known once somebody has `won`; before, the
/// race remembers it.
fn is_its_failure(error: &AttemptError, won: bool) -> bool {
    if error.awaits_another() {
        return won;
    }
    hopeless(error).is_none() && !error.is_unchecked()
}

#[cfg(test)]
mod tests {
    use streamflow_media::PoolError;

    use super::*;
    use crate::error::VerifyError;

    fn unchecked(source: PoolError) -> AttemptError {
        VerifyError::Unchecked { name: "720p".to_owned(), source }.into()
    }

    fn doubtful(source: PoolError) -> AttemptError {
        let source = Box::new(unchecked(source));
        VerifyError::Doubtful { name: "720p".to_owned(), doubt: "frozen", source }.into()
    }

    #[test]
    fn our_own_trouble_is_nobodys_failure_and_is_counted() {
        for error in [unchecked(PoolError::QueueFull { limit: 10 }), doubtful(PoolError::Closed)] {
            assert!(!is_its_failure(&error, false) && !is_its_failure(&error, true), "{error}");
            assert!(error.is_unchecked(), "{error}");
        }
        // The reference is made of our source, not of the orchestrator's result.
        let died = || PoolError::WorkerDied { signal: Some(11), exit: None, stderr: Vec::new() };
        assert!(!is_its_failure(&doubtful(died()), true));
        assert!(!is_its_failure(&unchecked(died()), false), "nobody else has done it");
        assert!(is_its_failure(&unchecked(died()), true), "our workers only broke on its result");
    }

    #[test]
    fn who_calls_good_input_bad_has_failed() {
        let error = AttemptError::Orchestrator("No keyframes in input".to_owned());
        assert!(!is_its_failure(&error, false) && is_its_failure(&error, true));
        let error = AttemptError::Orchestrator("no transcoders available".to_owned());
        assert!(is_its_failure(&error, false));
    }
}
