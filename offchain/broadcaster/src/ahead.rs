//! A segment goes to its stream's orchestrator while it comes in (docs/designs/038-streaming-wire.md).
//!
//! The upload begins on what is known of the segment before. It is ended well once all of the segment is there and was taken
//! into the stream; then it is the first attempt of the race for it. Otherwise it is broken off, and the segment, if there is
//! one, is sent whole as ever.
use std::{sync::Arc, time::Duration};

use streamflow_types::{ManifestId, with_causes};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{
    arriving::{Arriving, UnlessTaken},
    broadcaster::Core,
    error::AttemptError,
    metrics,
    orchestrators::Turn,
    race::{Deadlines, Finished, Lane, note},
    segment::{Outline, Segment},
    selection::{Ask, counted_length},
    session::Session,
    stream::LiveStream,
};

/// A segment that comes for longer than so many lengths of what was expected is not what was expected. Orchestrators wait for
/// twice as long.
const LONGEST: u32 = 2;
/// The same for short ones.
const LEAST_LONGEST: Duration = Duration::from_secs(4);

/// A segment that is sent while it comes in.
#[derive(Debug)]
pub(crate) struct Ahead {
    /// Of its stream.
    pub(crate) turn: OwnedSemaphorePermit,
    pub(crate) begun: Begun,
}

/// An attempt that waits for the end of its segment. Dropped before, it is broken off.
#[derive(Debug)]
pub(crate) struct Begun {
    stream: Arc<LiveStream>,
    outline: Outline,
    arriving: UnlessTaken,
    turn: Turn,
    lane: Lane,
    won: CancellationToken,
    go: oneshot::Sender<Go>,
    attempt: JoinHandle<Result<Finished, AttemptError>>,
}

/// What an attempt gets when its segment is there.
#[derive(Debug)]
struct Go {
    segment: Arc<Segment>,
    turn: Turn,
    deadlines: Deadlines,
}

/// A segment that may be sent before it is there.
struct Early {
    core: Arc<Core>,
    stream: Arc<LiveStream>,
    session: Arc<Session>,
    outline: Outline,
    arriving: Arriving,
    lane: Lane,
    /// Until when the segment has to be there.
    until: Instant,
    /// From the start to the last word of the orchestrator.
    limit: Duration,
}

impl Core {
    /// Begins to send a segment that has only begun to come, if all is known that has to be, and its stream's orchestrator
    /// takes it so. `told` is its length by its encoder.
    pub(crate) fn send_ahead(
        self: &Arc<Self>,
        name: &ManifestId,
        seq: u64,
        told: Option<Duration>,
        arriving: &Arriving,
    ) -> Option<Ahead> {
        // Where several do a segment, they begin together.
        if !arriving.is_transport_stream() || self.config.redundancy.orchestrators > 1 {
            return None;
        }
        let stream = self.find_stream(name.as_str())?;
        let outline = stream.foresee(seq, told)?;
        let (turn_of_stream, place) = stream.turn_ahead()?;
        let now = Instant::now();
        let ask = Ask { affinity: stream.affinity(), segment: outline.duration, tried: &[], now };
        let turn = self.orchestrators.choose_home(ask)?;
        let session = stream.streaming_session(&turn.candidate.url)?;
        let coming = counted_length(outline.duration).saturating_mul(LONGEST).max(LEAST_LONGEST);
        let deadline = self.config.selection.deadline(outline.duration);
        let patience = stream.orders().timeout_multiplier(&self.config);
        let deadlines = Deadlines::new(stream.load(&outline, 0, deadline), &turn.link, turn.predicted, patience);
        let (won, (go, going)) = (CancellationToken::new(), oneshot::channel());
        let lane = Lane::new(won.clone(), false);
        let early = Early {
            core: self.clone(),
            stream: stream.clone(),
            session,
            outline,
            arriving: arriving.clone(),
            lane: lane.clone(),
            until: now + coming,
            limit: coming + deadlines.last,
        };
        metrics::sent_ahead();
        let (id, url) = (&early.session.token.session_id, &turn.candidate.url);
        let span = tracing::info_span!("attempt", session = id, orchestrator = %url);
        let attempt = self.tracker.spawn(stream.attempts().track_future(early.run(going, place).instrument(span)));
        let arriving = UnlessTaken(arriving.clone());
        Some(Ahead { turn: turn_of_stream, begun: Begun { stream, outline, arriving, turn, lane, won, go, attempt } })
    }
}

impl Begun {
    /// Whether the segment is in the stream that it was sent for, and about what was expected: of one that is far longer
    /// the orchestrator would not believe the pixels.
    pub(crate) fn is_of(&self, stream: &Arc<LiveStream>, segment: &Segment) -> bool {
        let (expected, found) = (self.outline, segment.outline());
        Arc::ptr_eq(&self.stream, stream) && found.codec == expected.codec && found.duration <= expected.duration * 2
    }

    /// Whom it races with.
    pub(crate) fn won(&self) -> &CancellationToken {
        &self.won
    }

    pub(crate) fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Whether the upload may still be ended well, which it then is.
    pub(crate) fn take(&self) -> bool {
        self.arriving.0.take()
    }

    /// The segment is there.
    pub(crate) fn begin(&mut self, segment: &Segment, now: Instant) -> &Turn {
        self.turn.begin(segment.duration, now);
        &self.turn
    }

    /// The attempt, which goes on.
    pub(crate) fn go(self, segment: Arc<Segment>, deadlines: Deadlines) -> JoinHandle<Result<Finished, AttemptError>> {
        // Where nobody listens the attempt has ended in a panic, which the handle tells.
        drop(self.go.send(Go { segment, turn: self.turn, deadlines }));
        self.attempt
    }
}

impl Early {
    /// Keeps its `place` until the segment is there, or nothing of it is under way any more.
    async fn run(self, going: oneshot::Receiver<Go>, place: OwnedSemaphorePermit) -> Result<Finished, AttemptError> {
        let Self { core, stream, session, outline, arriving, lane, until, limit } = self;
        let mut place = Some(place);
        let going = async {
            let go = going.await.ok()?;
            place.take();
            Some((go, Instant::now()))
        };
        let sending = core.submit_stream(&stream, &session, &outline, (arriving, until), limit, &lane);
        let (sent, go) = tokio::join!(sending, going);
        let Some((Go { segment, turn, deadlines }, whole)) = go else {
            metrics::sent_ahead_in_vain();
            stream.disappointed();
            let answer = sent.as_ref().err().map(|error| with_causes(error)).unwrap_or_default();
            tracing::info!(url = %session.url, seq = outline.seq, answer, "segment was sent ahead in vain");
            return Ok(Finished::BrokenOff);
        };
        let first = match sent {
            Ok(sent) => core.accept(&stream, &segment, &session, sent, deadlines, &lane).await,
            Err(error) => Err(error),
        };
        let first = core.note_end(&stream, &session, first).await;
        // Paid for as far shorter than it is: that is our own doing.
        let fell_short = segment.duration > outline.duration * 3 / 2;
        let result = match first {
            Err(error) if fell_short && error.is_an_answer() => {
                core.attempt_on(&stream, &segment, &session, deadlines, &lane).await
            }
            first => {
                let again = (&*stream, &*segment, &turn.candidate);
                core.with_newer_terms(first, &session, again, deadlines, &lane).await
            }
        };
        note(&core, &turn, &lane, whole, &result);
        result
    }
}
