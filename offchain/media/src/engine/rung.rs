//! What one rendition shows, and when.
use std::sync::Arc;

use ffmpeg_next::frame;

use super::{keys::KeyClock, queues::Queues};
use crate::{
    MediaError,
    rate::{Even, Grid},
};

/// Encoded frames per decoded one above which a job is refused (node.md §9.3).
const MAX_FRAMES_PER_FRAME: u64 = 25;
/// Frames of one rendition above which a gap in the source is not filled any further: 300 s at 480 frames a second.
const MAX_SHOWN: u64 = 300 * 480;

/// Orders to an encoder. Frames that end without [`Work::End`] mean that nobody wants what was made so far.
pub(super) enum Work {
    /// Show this from `pts` ticks on.
    Show {
        picture: Arc<frame::Video>,
        pts: i64,
        key: bool,
    },
    End,
}

/// When pictures of the source are shown.
pub(super) enum Pace {
    /// At their own times.
    Own,
    /// At the rate that the source should have.
    Even(Even),
    /// At another rate.
    Grid(Grid),
}

/// Lays pictures of the source on the time line of one rendition.
pub(super) struct Rung {
    pace: Pace,
    keys: KeyClock,
    lane: usize,
    /// The last picture, which fills the time up to the next.
    held: Option<(Arc<frame::Video>, i64)>,
    seen: u64,
    shown: u64,
}

impl Rung {
    /// For the encoder of that lane.
    pub(super) fn new(pace: Pace, keys: KeyClock, lane: usize) -> Self {
        Self { pace, keys, lane, held: None, seen: 0, shown: 0 }
    }

    /// Takes the next picture, in this rendition's size.
    pub(super) fn see(&mut self, picture: Arc<frame::Video>, pts: i64, queues: &Queues) -> Result<(), MediaError> {
        self.seen += 1;
        match &mut self.pace {
            Pace::Own => self.send(picture, pts, queues),
            Pace::Even(even) => {
                let mut times = even.times(pts);
                let own = times.next_back();
                if let Some((before, _)) = self.held.replace((picture.clone(), pts)) {
                    self.fill(&before, times, queues)?;
                }
                self.fill(&picture, own, queues)
            }
            Pace::Grid(grid) => {
                let grid = *grid;
                match self.held.replace((picture, pts)) {
                    Some((before, from)) => self.fill(&before, grid.times(from, pts), queues),
                    None => Ok(()),
                }
            }
        }
    }

    /// Shows the last picture for `step` ticks, and ends.
    pub(super) fn finish(&mut self, step: i64, queues: &Queues) -> Result<(), MediaError> {
        if let (Pace::Grid(grid), Some((last, from))) = (&self.pace, self.held.take()) {
            let times = grid.times(from, from + step);
            self.fill(&last, times, queues)?;
        }
        queues.push(self.lane, Work::End)
    }

    fn fill(
        &mut self,
        picture: &Arc<frame::Video>,
        times: impl IntoIterator<Item = i64>,
        queues: &Queues,
    ) -> Result<(), MediaError> {
        for pts in times {
            if self.shown > MAX_SHOWN {
                break;
            }
            self.send(picture.clone(), pts, queues)?;
            if self.shown > MAX_FRAMES_PER_FRAME * self.seen {
                return Err(MediaError::FramesRunaway { decoded: self.seen, encoded: self.shown });
            }
        }
        Ok(())
    }

    fn send(&mut self, picture: Arc<frame::Video>, pts: i64, queues: &Queues) -> Result<(), MediaError> {
        self.shown += 1;
        let key = self.keys.is_key(pts);
        queues.push(self.lane, Work::Show { picture, pts, key })
    }
}

#[cfg(test)]
mod tests {
    use streamflow_types::Gop;

    use super::{
        super::queues::{Closing, Footprint},
        *,
    };
    use crate::rate::{FrameRate, TICKS_PER_SECOND};

    /// Two lanes, of which the second takes everything and encodes nothing.
    fn queues() -> Arc<Queues> {
        let lane = |encoder| Footprint { encoder, threads: 1, lookahead: 0, frame: 0 };
        Arc::new(Queues::new(&Arc::default(), [lane(usize::MAX / 4), lane(usize::MAX / 8)], false))
    }

    #[test]
    fn a_long_pause_is_refused_before_it_is_filled() {
        let queues = queues();
        let mut rung = Rung::new(Pace::Grid(Grid(FrameRate::new(480, 1))), KeyClock::new(Gop::EncoderDefault), 1);
        let picture = || Arc::new(frame::Video::empty());
        rung.see(picture(), 0, &queues).unwrap();
        let refused = rung.see(picture(), 30 * TICKS_PER_SECOND, &queues);
        let most = 2 * MAX_FRAMES_PER_FRAME + 1;
        assert_eq!(refused, Err(MediaError::FramesRunaway { decoded: 2, encoded: most }));
        Closing::new(queues.clone()).complete();
        assert_eq!(std::iter::from_fn(|| queues.next(1)).count() as u64, most);
    }
}
