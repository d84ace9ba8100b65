//! What one rendition shows, and when.
use std::sync::Arc;

use ffmpeg_next::frame;

use super::{keys::KeyClock, queues::Queues};
use crate::{MediaError, rate::Grid};

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

/// Lays pictures of the source on the time line of one rendition.
pub(super) struct Rung {
    /// Another frame rate than the source's.
    grid: Option<Grid>,
    keys: KeyClock,
    lane: usize,
    /// With a grid, the last picture waits to learn how long it is shown.
    held: Option<(Arc<frame::Video>, i64)>,
    seen: u64,
    shown: u64,
}

impl Rung {
    /// For the encoder of that lane.
    pub(super) fn new(grid: Option<Grid>, keys: KeyClock, lane: usize) -> Self {
        Self { grid, keys, lane, held: None, seen: 0, shown: 0 }
    }

    /// Takes the next picture, in this rendition's size.
    pub(super) fn see(&mut self, picture: Arc<frame::Video>, pts: i64, queues: &Queues) -> Result<(), MediaError> {
        self.seen += 1;
        if self.grid.is_none() {
            return self.send(picture, pts, queues);
        }
        match self.held.replace((picture, pts)) {
            Some((before, from)) => self.fill(&before, (from, pts), queues),
            None => Ok(()),
        }
    }

    /// Shows the last picture for `step` ticks, and ends.
    pub(super) fn finish(&mut self, step: i64, queues: &Queues) -> Result<(), MediaError> {
        if let Some((last, from)) = self.held.take() {
            self.fill(&last, (from, from + step), queues)?;
        }
        queues.push(self.lane, Work::End)
    }

    fn fill(
        &mut self,
        picture: &Arc<frame::Video>,
        (from, until): (i64, i64),
        queues: &Queues,
    ) -> Result<(), MediaError> {
        let Some(grid) = self.grid else { return Ok(()) };
        for pts in grid.times(from, until) {
            if self.shown > MAX_SHOWN {
                break;
            }
            self.send(picture.clone(), pts, queues)?;
        }
        if self.shown > MAX_FRAMES_PER_FRAME * self.seen {
            return Err(MediaError::FramesRunaway { decoded: self.seen, encoded: self.shown });
        }
        Ok(())
    }

    fn send(&mut self, picture: Arc<frame::Video>, pts: i64, queues: &Queues) -> Result<(), MediaError> {
        self.shown += 1;
        let key = self.keys.is_key(pts);
        queues.push(self.lane, Work::Show { picture, pts, key })
    }
}
