//! Frames on their way to the encoders, and which encoders may be open: those of one segment together keep within their memory.
//!
//! An encoder that looks ahead holds two to four times the bytes of the frames it was given. Where all of them at once would
//! take too much, the smaller ones begin when a larger one has ended; until then their frames wait here, which costs less.
use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use super::rung::Work;
use crate::MediaError;

/// Frames that may wait for an encoder that runs.
const QUEUED_FRAMES: usize = 2;
/// Bytes of frames that may wait for encoders that do not run yet; with more, they run all the same.
const ROOM: usize = 64 << 20;

/// The queues of all lanes of one segment.
pub(super) struct Queues {
    state: Mutex<State>,
    changed: Condvar,
    /// Bytes that encoders may take together.
    budget: usize,
}

struct State {
    lanes: Vec<Queue>,
    /// No more frames come.
    closed: bool,
}

struct Queue {
    work: VecDeque<Work>,
    /// Bytes that its encoder is thought to take.
    encoder: usize,
    /// Bytes of one frame.
    frame: usize,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Running,
    Ended,
}

impl State {
    /// Lets the largest begin that fit beside those that run.
    fn admit(&mut self, budget: usize) {
        let in_stage = |lanes: &[Queue], stage, bytes: fn(&Queue) -> usize| -> usize {
            lanes.iter().filter(|lane| lane.stage == stage).map(bytes).sum()
        };
        let waiting = in_stage(&self.lanes, Stage::Waiting, |lane| lane.work.len() * lane.frame);
        let mut used = in_stage(&self.lanes, Stage::Running, |lane| lane.encoder);
        let mut order: Vec<_> = (0..self.lanes.len()).filter(|at| self.lanes[*at].stage == Stage::Waiting).collect();
        order.sort_by_key(|at| std::cmp::Reverse(self.lanes[*at].encoder));
        for at in order {
            let lane = &mut self.lanes[at];
            if used == 0 || used + lane.encoder <= budget || waiting > ROOM {
                lane.stage = Stage::Running;
                used += lane.encoder;
            }
        }
    }
}

/// What a lane takes, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Footprint {
    /// Its encoder.
    pub(super) encoder: usize,
    /// A frame that waits for it.
    pub(super) frame: usize,
}

impl Queues {
    pub(super) fn new(lanes: impl IntoIterator<Item = Footprint>, budget: usize) -> Self {
        let queue = |lane: Footprint| Queue {
            work: VecDeque::new(),
            encoder: lane.encoder.max(1),
            frame: lane.frame,
            stage: Stage::Waiting,
        };
        let mut state = State { lanes: lanes.into_iter().map(queue).collect(), closed: false };
        state.admit(budget);
        Self { state: Mutex::new(state), changed: Condvar::new(), budget }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&'a self, guard: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a lane its next order, and waits while it has enough; one that failed takes no more.
    pub(super) fn push(&self, lane: usize, work: Work) -> Result<(), MediaError> {
        let mut state = self.lock();
        loop {
            let queue = state.lanes.get_mut(lane).ok_or(MediaError::Abandoned)?;
            match queue.stage {
                Stage::Ended => return Err(MediaError::Abandoned),
                Stage::Running if queue.work.len() >= QUEUED_FRAMES => state = self.wait(state),
                Stage::Running | Stage::Waiting => break,
            }
        }
        if let Some(queue) = state.lanes.get_mut(lane) {
            queue.work.push_back(work);
        }
        state.admit(self.budget);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// No more frames come. Unless they are `complete`, nobody wants what waits.
    pub(super) fn close(&self, complete: bool) {
        let mut state = self.lock();
        state.closed = true;
        if !complete {
            state.lanes.iter_mut().for_each(|lane| lane.work.clear());
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until the lane may open its encoder; false when it need not any more.
    pub(super) fn begin(&self, lane: usize) -> bool {
        let mut state = self.lock();
        loop {
            match state.lanes.get(lane) {
                Some(queue) if queue.stage == Stage::Running => return true,
                // What was ordered before the end is still to be made.
                Some(queue) if state.closed && queue.work.is_empty() => return false,
                Some(_) => state = self.wait(state),
                None => return false,
            }
        }
    }

    /// The next order of a lane; `None` when frames end before [`Work::End`].
    pub(super) fn next(&self, lane: usize) -> Option<Work> {
        let mut state = self.lock();
        loop {
            let work = state.lanes.get_mut(lane).and_then(|queue| queue.work.pop_front());
            if work.is_some() || state.closed {
                drop(state);
                self.changed.notify_all();
                return work;
            }
            state = self.wait(state);
        }
    }

    /// Ends the lane when it is dropped: a lane that panics must not keep the others waiting.
    pub(super) fn ending(&self, lane: usize) -> Ending<'_> {
        Ending { queues: self, lane }
    }

    /// The lane's encoder is closed.
    fn end(&self, lane: usize) {
        let mut state = self.lock();
        if let Some(queue) = state.lanes.get_mut(lane) {
            queue.stage = Stage::Ended;
            queue.work.clear();
        }
        state.admit(self.budget);
        drop(state);
        self.changed.notify_all();
    }
}

/// See [`Queues::ending`].
pub(super) struct Ending<'a> {
    queues: &'a Queues,
    lane: usize,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.queues.end(self.lane);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ffmpeg_next::frame;

    use super::*;

    const MIB: usize = 1 << 20;

    fn queues(encoders: &[usize], budget: usize) -> Queues {
        Queues::new(encoders.iter().map(|encoder| Footprint { encoder: encoder * MIB, frame: MIB }), budget * MIB)
    }

    fn running(queues: &Queues) -> Vec<bool> {
        queues.lock().lanes.iter().map(|lane| lane.stage == Stage::Running).collect()
    }

    fn show(pts: i64) -> Work {
        Work::Show { picture: Arc::new(frame::Video::empty()), pts, key: false }
    }

    #[test]
    fn the_largest_that_fit_run_and_the_others_follow() {
        let queues = queues(&[48, 180, 85], 192);
        assert_eq!(running(&queues), [false, true, false]);
        queues.end(1);
        assert_eq!(running(&queues), [true, false, true]);
    }

    #[test]
    fn one_that_never_fits_runs_alone() {
        let queues = queues(&[500, 400], 192);
        assert_eq!(running(&queues), [true, false]);
        queues.end(0);
        assert_eq!(running(&queues), [false, true]);
    }

    #[test]
    fn frames_that_find_no_room_make_everybody_run() {
        let queues = queues(&[180, 85], 192);
        for pts in 0..64 {
            queues.push(1, show(pts)).unwrap();
        }
        assert_eq!(running(&queues), [true, false]);
        queues.push(1, show(64)).unwrap();
        assert_eq!(running(&queues), [true, true]);
        assert!(queues.begin(1));
    }

    #[test]
    fn a_lane_that_ended_takes_nothing_and_one_that_is_closed_ends() {
        let queues = queues(&[1, 1], 192);
        queues.end(0);
        assert_eq!(queues.push(0, show(0)), Err(MediaError::Abandoned));
        queues.push(1, show(0)).unwrap();
        queues.close(true);
        assert!(matches!(queues.next(1), Some(Work::Show { pts: 0, .. })));
        assert!(queues.next(1).is_none());
    }

    #[test]
    fn nobody_makes_what_nobody_wants() {
        let queues = queues(&[180, 85], 192);
        queues.push(1, show(0)).unwrap();
        queues.close(false);
        assert!(!queues.begin(1));
        assert!(queues.next(0).is_none());
    }
}
