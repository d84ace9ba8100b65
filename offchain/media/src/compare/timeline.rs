//! What two runs of thumbnails have in common over time.
use super::picture::Thumb;

/// Thumbnails kept of one segment; of longer ones only some frames leave one.
const MOST: i64 = 2048;
/// Spread of a picture that shows something, in levels.
const TEXTURED: f64 = 6.0;
/// A picture whose spread is less than this part of the source's shows one colour.
const FLAT: f64 = 0.1;
/// Mean level up to which a colour is black; television's black is 16.
const BLACK: f64 = 24.0;
/// Change from one step to the next that is a movement, in levels.
const MOVING: f64 = 1.0;
/// A change of less than this part of the source's is none.
const FROZEN: f64 = 0.1;
/// Difference of pictures that are not the same, in levels, beside what the source changes in one step.
const FOREIGN: f64 = 12.0;

/// Thumbnails in the order of their times.
pub(super) struct Timeline {
    thumbs: Vec<(i64, Thumb)>,
    /// Time from one frame to the next.
    step: i64,
    /// Least time from one that is kept to the next.
    sparse: i64,
}

/// How many steps show what.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) steps: u32,
    pub(super) foreign: u32,
    pub(super) textured: u32,
    pub(super) flat: u32,
    pub(super) black: u32,
    pub(super) moving: u32,
    pub(super) frozen: u32,
}

impl Timeline {
    /// For frames every `step` ticks, up to `duration`.
    pub(super) fn new(duration: i64, step: i64) -> Self {
        Self { thumbs: Vec::new(), step, sparse: duration / MOST }
    }

    pub(super) fn push(&mut self, time: i64, thumb: Thumb) {
        let late_enough = self.thumbs.last().is_none_or(|(last, _)| time - last >= self.sparse);
        // A time stamp can say anything, so the count is what bounds memory.
        if late_enough && (self.thumbs.len() as i64) < 2 * MOST {
            self.thumbs.push((time, thumb));
        }
    }

    /// What is shown at a time.
    fn at(&self, time: i64) -> Option<&Thumb> {
        let after = self.thumbs.partition_point(|(start, _)| *start <= time);
        self.thumbs.get(after.saturating_sub(1)).map(|(_, thumb)| thumb)
    }

    fn end(&self) -> i64 {
        self.thumbs.last().map_or(0, |(time, _)| *time + self.step)
    }
}

/// Looks at both at the same times, in steps in which each shows a new frame.
///
/// Where the rates differ, a frame of one may stand for a neighbour of the other: two frames are a step then, so that no honest
/// conversion shows the same frame in two steps.
pub(super) fn compare(source: &Timeline, rendition: &Timeline) -> Counts {
    let same_rate = (source.step - rendition.step).abs() <= 1;
    let longer = source.step.max(rendition.step);
    let step = (if same_rate { longer } else { 2 * longer }).max(source.sparse).max(rendition.sparse).max(1);
    let mut counts = Counts::default();
    let mut before: Option<(&Thumb, &Thumb)> = None;
    let mut time = step / 2;
    // The rendition ends early when frames are missing, which the other figures tell.
    while time < source.end() && i64::from(counts.steps) < 2 * MOST {
        let (Some(ours), Some(theirs)) = (source.at(time), rendition.at(time)) else { break };
        counts.steps += 1;
        let (_, spread) = ours.levels();
        let (level, their_spread) = theirs.levels();
        if spread >= TEXTURED {
            counts.textured += 1;
            if their_spread < FLAT * spread {
                counts.flat += 1;
                counts.black += u32::from(level <= BLACK);
            }
        }
        let mut moved = 0.0;
        if let Some((ours_before, theirs_before)) = before {
            moved = ours_before.difference(ours);
            if moved >= MOVING {
                counts.moving += 1;
                counts.frozen += u32::from(theirs_before.difference(theirs) < FROZEN * moved);
            }
        }
        counts.foreign += u32::from(ours.difference(theirs) > FOREIGN + 2.0 * moved);
        before = Some((ours, theirs));
        time += step;
    }
    counts
}
