//! Frames on their way to the encoders, and which encoders may be open: those of one process together keep within their memory.
//!
//! An encoder that looks ahead holds two to four times the bytes of the frames it was given. Where all of them at once would
//! take too much, or have more threads than keep all cores busy, the smaller ones begin when a larger one has ended; until
//! then their frames wait here, which costs less.
use std::{
    cmp::Reverse,
    collections::VecDeque,
    num::NonZero,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use rustix::process::{Resource, getrlimit};

use super::rung::Work;
use crate::MediaError;

/// Bytes that encoders may take together for each core: with more of them open, cores only wait for each other.
const ENCODERS_PER_CORE: usize = 144 << 20;
/// Encoders may take one in so many bytes of those that the process may: the rest is for frames, the decoder and stacks of threads.
const ENCODERS_SHARE: usize = 2;
/// Threads of encoders for each core from which on all cores are busy: with more, encoders take memory and gain nothing.
const THREADS_PER_CORE: usize = 2;
/// Frames of lookahead from which on an encoder holds most of a segment before it makes anything of it.
pub(super) const DEEP: usize = 32;
/// Frames that may wait for an encoder that runs: while one decides on frames, the others go on.
const QUEUED_FRAMES: usize = 3;
/// The same for one that looks ahead over most of a segment, which it decides on for as long as it encodes ten frames. By then the end
/// of the segment waits for it, and the others get theirs.
const QUEUED_FRAMES_DEEP: usize = 10;
/// Bytes of frames that may wait for encoders that do not run yet; with more, they run all the same.
const ROOM: usize = 64 << 20;
/// Frames that may wait for an encoder that is opened when the segment before has ended.
const FRAMES_AHEAD: usize = 4;
/// The same while the largest encoder of its segment runs, which they are not to keep waiting: more than it encodes until the last
/// one of the segment before has ended.
const FRAMES_BEHIND: usize = 20;
/// The same where that encoder looks ahead over most of a segment: it takes nearly all frames before it makes anything.
const FRAMES_BEHIND_DEEP: usize = 40;

/// The encoders of all segments that one process works on at a time.
pub(crate) struct Encoders {
    state: Mutex<State>,
    limits: Limits,
}

#[derive(Clone, Copy)]
struct Limits {
    /// Bytes that encoders may take together.
    memory: usize,
    /// Threads of encoders that are enough for a segment that is there as a whole.
    threads: usize,
}

impl Default for Encoders {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let limit = getrlimit(Resource::Data).current.and_then(|limit| usize::try_from(limit).ok());
        let memory = (ENCODERS_PER_CORE * cores).min(limit.unwrap_or(usize::MAX) / ENCODERS_SHARE);
        Self::new(Limits { memory, threads: THREADS_PER_CORE * cores })
    }
}

impl Encoders {
    fn new(limits: Limits) -> Self {
        Self { state: Mutex::default(), limits }
    }
}

#[derive(Default)]
struct State {
    /// In the order they came.
    segments: Vec<Segment>,
    /// Numbers given to segments.
    came: u64,
}

/// The lanes of one segment.
struct Segment {
    number: u64,
    lanes: Vec<Queue>,
    waker: Arc<Waker>,
    /// It is there as a whole, and another may follow it: what counts is when all is done, not the first piece of each rendition.
    whole: bool,
    /// The most bytes that its encoders took at a time.
    most: usize,
    /// No more frames come.
    closed: bool,
}

/// Who waits for a change of one segment. A frame that comes or goes is of interest to one of them, all else to all.
struct Waker {
    /// Lanes, for their next order or to begin.
    lanes: Vec<Condvar>,
    /// Who fills them.
    room: Condvar,
    /// Who waits until one has ended.
    end: Condvar,
}

impl Waker {
    fn new(lanes: usize) -> Self {
        Self { lanes: (0..lanes).map(|_| Condvar::new()).collect(), room: Condvar::new(), end: Condvar::new() }
    }

    fn wake_all(&self) {
        self.lanes.iter().chain([&self.room, &self.end]).for_each(Condvar::notify_all);
    }
}

struct Queue {
    work: VecDeque<Work>,
    lane: Footprint,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Running,
    Ended,
}

impl Segment {
    fn running(&self) -> impl Iterator<Item = &Footprint> {
        self.lanes.iter().filter(|queue| queue.stage == Stage::Running).map(|queue| &queue.lane)
    }

    /// Bytes of its encoders.
    fn encoders(&self) -> usize {
        self.running().map(|lane| lane.encoder).sum()
    }

    /// Bytes of frames that wait for encoders to be opened.
    fn waiting(&self) -> usize {
        let waiting = self.lanes.iter().filter(|queue| queue.stage == Stage::Waiting);
        waiting.map(|queue| queue.work.len() * queue.lane.frame).sum()
    }

    /// Lanes that wait: the larger first, as frames that wait for the smaller take less. Of those that look ahead over most of a
    /// segment the smallest first, as frames that waited for a larger one all go into its encoder when that opens; but before
    /// it the largest of all that are left, for which the segment has to wait in any case.
    fn order(&self) -> Vec<usize> {
        let left = self.lanes.iter().filter(|queue| queue.stage != Stage::Ended);
        let largest = left.map(|queue| queue.lane.encoder).max();
        let mut order: Vec<_> = (0..self.lanes.len()).filter(|at| self.lanes[*at].stage == Stage::Waiting).collect();
        order.sort_by_key(|at| {
            let lane = self.lanes[*at].lane;
            let size = if lane.lookahead < DEEP || Some(lane.encoder) == largest { lane.encoder } else { 0 };
            (Reverse(size), lane.encoder)
        });
        order
    }

    /// Frames that may wait for each of its encoders while another segment is before it.
    fn ahead(&self) -> usize {
        match self.lanes.iter().max_by_key(|queue| queue.lane.encoder) {
            Some(largest) if largest.stage == Stage::Waiting || self.waiting() >= ROOM => FRAMES_AHEAD,
            Some(largest) if largest.lane.lookahead >= DEEP => FRAMES_BEHIND_DEEP,
            _ => FRAMES_BEHIND,
        }
    }
}

impl State {
    /// Lets begin what fits beside those that run, and lets everybody look. A segment that follows another takes what that one has
    /// left.
    fn admit(&mut self, limits: Limits) {
        self.begin(limits);
        self.segments.iter().for_each(|segment| segment.waker.wake_all());
    }

    fn begin(&mut self, limits: Limits) {
        let running = || self.segments.iter().flat_map(Segment::running);
        let mut memory: usize = running().map(|lane| lane.encoder).sum();
        let mut threads: usize = running().map(|lane| lane.threads).sum();
        let mut most = limits.memory;
        for (place, segment) in self.segments.iter_mut().enumerate() {
            let overrun = place == 0 && segment.waiting() > ROOM;
            for at in segment.order() {
                let Queue { lane, stage, .. } = &mut segment.lanes[at];
                let fits = memory + lane.encoder <= most && !(segment.whole && threads >= limits.threads);
                if memory == 0 || overrun || fits {
                    *stage = Stage::Running;
                    memory += lane.encoder;
                    threads += lane.threads;
                }
            }
            segment.most = segment.most.max(segment.encoders());
            if segment.lanes.iter().any(|lane| lane.stage == Stage::Waiting) {
                return;
            }
            most = most.min(segment.most);
        }
    }

    fn segment(&mut self, number: u64) -> Option<&mut Segment> {
        self.segments.iter_mut().find(|segment| segment.number == number)
    }

    fn is_first(&self, number: u64) -> bool {
        self.segments.first().is_some_and(|segment| segment.number == number)
    }
}

/// What a lane takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Footprint {
    /// Bytes of its encoder.
    pub(super) encoder: usize,
    /// Threads of its encoder.
    pub(super) threads: usize,
    /// Frames that its encoder looks ahead over.
    pub(super) lookahead: usize,
    /// Bytes of a frame that waits for it.
    pub(super) frame: usize,
}

/// The queues of all lanes of one segment.
pub(super) struct Queues {
    encoders: Arc<Encoders>,
    number: u64,
    waker: Arc<Waker>,
}

impl Drop for Queues {
    fn drop(&mut self) {
        let mut state = self.lock();
        state.segments.retain(|segment| segment.number != self.number);
        state.admit(self.encoders.limits);
    }
}

impl Queues {
    pub(super) fn new(encoders: &Arc<Encoders>, lanes: impl IntoIterator<Item = Footprint>, whole: bool) -> Self {
        let queue = |lane: Footprint| Queue {
            work: VecDeque::new(),
            lane: Footprint { encoder: lane.encoder.max(1), ..lane },
            stage: Stage::Waiting,
        };
        let lanes: Vec<_> = lanes.into_iter().map(queue).collect();
        let waker = Arc::new(Waker::new(lanes.len()));
        let mut state = encoders.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.came += 1;
        let number = state.came;
        state.segments.push(Segment { number, lanes, waker: waker.clone(), whole, most: 0, closed: false });
        state.admit(encoders.limits);
        drop(state);
        Self { encoders: encoders.clone(), number, waker }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.encoders.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what there is of this segment, and lets everybody look.
    fn change(&self, change: impl FnOnce(&mut Segment)) {
        let mut state = self.lock();
        if let Some(segment) = state.segment(self.number) {
            change(segment);
        }
        state.admit(self.encoders.limits);
    }

    /// Hands a lane its next order, and waits while it has enough; one that failed takes no more.
    pub(super) fn push(&self, lane: usize, work: Work) -> Result<(), MediaError> {
        let mut state = self.lock();
        loop {
            let first = state.is_first(self.number);
            let segment = state.segment(self.number).ok_or(MediaError::Abandoned)?;
            let ahead = segment.ahead();
            let queue = segment.lanes.get_mut(lane).ok_or(MediaError::Abandoned)?;
            let enough = match queue.stage {
                Stage::Ended => return Err(MediaError::Abandoned),
                Stage::Running if queue.lane.lookahead >= DEEP => queue.work.len() >= QUEUED_FRAMES_DEEP,
                Stage::Running => queue.work.len() >= QUEUED_FRAMES,
                // The segment before it goes first.
                Stage::Waiting => !first && queue.work.len() >= ahead,
            };
            if enough {
                state = wait(&self.waker.room, state);
                continue;
            }
            queue.work.push_back(work);
            match queue.stage {
                Stage::Running => self.waker.lanes[lane].notify_all(),
                // What waits may be too much.
                _ => state.admit(self.encoders.limits),
            }
            return Ok(());
        }
    }

    /// No more frames come. Unless they are `complete`, nobody wants what waits.
    fn close(&self, complete: bool) {
        self.change(|segment| {
            segment.closed = true;
            if !complete {
                segment.lanes.iter_mut().for_each(|lane| lane.work.clear());
            }
        });
    }

    /// Waits until the lane may open its encoder; false when it need not any more.
    pub(super) fn begin(&self, lane: usize) -> bool {
        let mut state = self.lock();
        loop {
            let Some(segment) = state.segment(self.number) else { return false };
            match segment.lanes.get(lane) {
                Some(queue) if queue.stage == Stage::Running => return true,
                // What was ordered before the end is still to be made.
                Some(queue) if segment.closed && queue.work.is_empty() => return false,
                Some(_) => state = wait(&self.waker.lanes[lane], state),
                None => return false,
            }
        }
    }

    /// Waits until one lane's encoder is closed.
    pub(super) fn first_end(&self) {
        let mut state = self.lock();
        while let Some(segment) = state.segment(self.number) {
            if segment.lanes.iter().any(|lane| lane.stage == Stage::Ended) {
                return;
            }
            state = wait(&self.waker.end, state);
        }
    }

    /// The next order of a lane; `None` when frames end before [`Work::End`].
    pub(super) fn next(&self, lane: usize) -> Option<Work> {
        let mut state = self.lock();
        loop {
            let segment = state.segment(self.number)?;
            let work = segment.lanes.get_mut(lane)?.work.pop_front();
            if work.is_some() {
                self.waker.room.notify_all();
            }
            if work.is_some() || segment.closed {
                return work;
            }
            state = wait(&self.waker.lanes[lane], state);
        }
    }

    /// Ends the lane when it is dropped: a lane that panics must not keep the others waiting.
    pub(super) fn ending(&self, lane: usize) -> Ending<'_> {
        Ending { queues: self, lane }
    }

    /// The lane's encoder is closed.
    fn end(&self, lane: usize) {
        self.change(|segment| {
            if let Some(queue) = segment.lanes.get_mut(lane) {
                queue.stage = Stage::Ended;
                queue.work.clear();
            }
        });
    }
}

fn wait<'a>(changed: &Condvar, guard: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
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

/// Closes the queues when it is dropped: whatever happens to who was to fill them, no lane waits for ever.
pub(super) struct Closing {
    queues: Arc<Queues>,
    complete: bool,
}

impl Closing {
    pub(super) fn new(queues: Arc<Queues>) -> Self {
        Self { queues, complete: false }
    }

    pub(super) fn queues(&self) -> &Queues {
        &self.queues
    }

    /// All frames are there.
    pub(super) fn complete(mut self) {
        self.complete = true;
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.queues.close(self.complete);
    }
}

#[cfg(test)]
mod tests {
    use ffmpeg_next::frame;

    use super::*;

    const MIB: usize = 1 << 20;

    fn all(memory: usize) -> Arc<Encoders> {
        Arc::new(Encoders::new(Limits { memory: memory * MIB, threads: 4 }))
    }

    fn queues(encoders: &[usize], memory: usize) -> Queues {
        beside(&all(memory), encoders)
    }

    fn footprint(encoder: usize, threads: usize) -> Footprint {
        Footprint { encoder: encoder * MIB, threads, lookahead: 0, frame: MIB }
    }

    fn beside(others: &Arc<Encoders>, encoders: &[usize]) -> Queues {
        Queues::new(others, encoders.iter().map(|encoder| footprint(*encoder, 1)), true)
    }

    fn running(queues: &Queues) -> Vec<bool> {
        let mut state = queues.lock();
        state.segment(queues.number).unwrap().lanes.iter().map(|lane| lane.stage == Stage::Running).collect()
    }

    fn show(pts: i64) -> Work {
        Work::Show { picture: Arc::new(frame::Video::empty()), pts, key: false }
    }

    /// The next order of a lane finds no room before something has happened.
    fn one_more_waits_for(queues: &Queues, lane: usize, room: impl FnOnce()) {
        thread::scope(|scope| {
            let (pushed, seen) = std::sync::mpsc::channel();
            scope.spawn(move || pushed.send(queues.push(lane, show(0))).unwrap());
            assert!(seen.recv_timeout(std::time::Duration::from_millis(100)).is_err());
            room();
            assert_eq!(seen.recv(), Ok(Ok(())));
        });
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
    fn a_segment_takes_what_the_one_before_it_leaves() {
        let all = all(300);
        let first = beside(&all, &[100, 40, 20]);
        let second = beside(&all, &[100, 40, 20]);
        assert_eq!((running(&first), running(&second)), (vec![true; 3], vec![false; 3]));
        first.end(2);
        assert_eq!(running(&second), [false, false, true], "the largest that fits");
        first.end(1);
        assert_eq!(running(&second), [false, true, true]);
        first.end(0);
        assert_eq!(running(&second), [true; 3]);
    }

    #[test]
    fn what_has_threads_enough_begins_no_more_unless_all_renditions_are_waited_for() {
        let lanes = [footprint(20, 2), footprint(100, 3), footprint(40, 2)];
        let (at_leisure, live) = (Queues::new(&all(300), lanes, true), Queues::new(&all(300), lanes, false));
        assert_eq!((running(&at_leisure), running(&live)), (vec![false, true, true], vec![true; 3]));
        at_leisure.end(1);
        assert_eq!(running(&at_leisure), [true, false, true]);
    }

    #[test]
    fn of_those_that_hold_a_whole_segment_the_smallest_follows_the_largest() {
        let lanes = [(40, 2), (100, 3), (20, 2)].map(|(encoder, threads)| footprint(encoder, threads));
        let queues = Queues::new(&all(300), lanes.map(|lane| Footprint { lookahead: DEEP, ..lane }), true);
        assert_eq!(running(&queues), [false, true, true]);
        queues.end(2);
        assert_eq!(running(&queues), [true, true, false]);
    }

    #[test]
    fn when_the_largest_has_ended_the_next_is_the_largest() {
        let lanes = [100, 90, 20].map(|encoder| Footprint { lookahead: DEEP, ..footprint(encoder, 1) });
        let queues = Queues::new(&all(100), lanes, true);
        assert_eq!(running(&queues), [true, false, false]);
        queues.end(0);
        assert_eq!(running(&queues), [false, true, false]);
    }

    #[test]
    fn threads_of_the_segment_before_count() {
        let all = all(300);
        let lanes = [footprint(100, 3), footprint(40, 2), footprint(20, 2)];
        let (first, second) = (Queues::new(&all, lanes, true), Queues::new(&all, lanes, true));
        first.end(0);
        assert_eq!((running(&first), running(&second)), (vec![false, true, true], vec![false; 3]));
        first.end(1);
        assert_eq!(running(&second), [true, false, false]);
        first.end(2);
        assert_eq!(running(&second), [true, true, false]);
    }

    #[test]
    fn more_frames_wait_while_the_largest_encoder_runs() {
        let all = all(120);
        let first = beside(&all, &[100, 20]);
        let second = beside(&all, &[100, 20]);
        first.end(0);
        assert_eq!(running(&second), [true, false]);
        (0..FRAMES_BEHIND).for_each(|_| second.push(1, show(0)).unwrap());
        one_more_waits_for(&second, 1, || {
            drop(first);
            (0..=FRAMES_BEHIND).for_each(|_| assert!(second.next(1).is_some()));
        });
    }

    #[test]
    fn a_deep_lookahead_has_the_end_of_the_segment_wait_for_it() {
        for (lookahead, most) in [(DEEP - 1, QUEUED_FRAMES), (DEEP, QUEUED_FRAMES_DEEP)] {
            let lane = Footprint { lookahead, ..footprint(100, 1) };
            let queues = Queues::new(&all(100), [lane], true);
            (0..most).for_each(|_| queues.push(0, show(0)).unwrap());
            one_more_waits_for(&queues, 0, || assert!(queues.next(0).is_some()));
        }
    }

    #[test]
    fn a_segment_that_waits_for_another_keeps_few_frames() {
        let all = all(100);
        let (first, second) = (beside(&all, &[100]), Arc::new(beside(&all, &[100])));
        let (pushed, seen) = std::sync::mpsc::channel();
        let pushing = std::thread::spawn({
            let second = second.clone();
            move || (0..10).for_each(|pts| pushed.send(second.push(0, show(pts))).unwrap())
        });
        let wait = std::time::Duration::from_secs(5);
        (0..FRAMES_AHEAD).for_each(|_| seen.recv_timeout(wait).unwrap().unwrap());
        assert!(seen.recv_timeout(wait / 50).is_err());
        drop(first);
        (0..10).for_each(|_| assert!(second.next(0).is_some()));
        (FRAMES_AHEAD..10).for_each(|_| seen.recv_timeout(wait).unwrap().unwrap());
        pushing.join().unwrap();
    }

    #[test]
    fn large_frames_ahead_open_no_encoder_beside_the_segment_before() {
        let all = all(300);
        let first = beside(&all, &[200, 100]);
        let second = Queues::new(&all, [Footprint { frame: ROOM, ..footprint(200, 1) }; 2], true);
        (0..FRAMES_AHEAD).for_each(|_| second.push(0, show(0)).unwrap());
        assert_eq!(running(&second), [false; 2]);
        first.end(0);
        assert_eq!(running(&second), [true, false]);
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
    fn lanes_end_with_who_was_to_fill_them() {
        let queues = Arc::new(queues(&[180, 85], 192));
        let (ended, seen) = std::sync::mpsc::channel();
        for lane in [0, 1] {
            let (queues, ended) = (queues.clone(), ended.clone());
            thread::spawn(move || ended.send(queues.begin(lane) && queues.next(lane).is_some()));
        }
        let filling = thread::spawn(move || {
            let _closing = Closing::new(queues);
            panic!("as a thread does that cannot start another");
        });
        assert!(filling.join().is_err());
        for _ in [0, 1] {
            assert_eq!(seen.recv_timeout(std::time::Duration::from_secs(5)), Ok(false));
        }
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
