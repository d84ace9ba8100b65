//! Pictures as a viewer expects them: whole frames instead of fields, black at 16 and white at 235, and upright. Done before
//! anything looks at them, so that renditions need no marks that players may ignore.
use std::collections::VecDeque;

use ffmpeg_next::{
    Stream, codec::packet::side_data::Type::DisplayMatrix, color, format::Pixel, frame, util::frame::side_data,
};

use crate::{
    MediaError,
    demux::TICKS,
    error::libav,
    filters::{Avfilter, Chain, Source},
    gpu,
};

/// How pictures are to be turned and mirrored before they are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Turn {
    /// They are as they should be.
    #[default]
    None,
    /// By a quarter, clockwise.
    Clockwise,
    /// By a half.
    Half,
    /// By a quarter, counterclockwise.
    Counterclockwise,
    /// Left and right change places.
    Mirrored,
    /// Top and bottom change places.
    UpsideDown,
    /// Rows and columns change places.
    Transposed,
    /// Rows and columns change places, both from their ends.
    TransposedBack,
}

impl Turn {
    /// As a container has it.
    pub(crate) fn of_stream(stream: &Stream<'_>) -> Self {
        let matrix = stream.side_data().find(|data| data.kind() == DisplayMatrix);
        matrix.map_or(Self::None, |matrix| Self::of_matrix(matrix.data()))
    }

    /// As the picture itself has it.
    fn of_frame(frame: &frame::Video) -> Self {
        let matrix = frame.side_data(side_data::Type::DisplayMatrix);
        matrix.map_or(Self::None, |matrix| Self::of_matrix(matrix.data()))
    }

    /// Nine numbers of 32 bits, row by row. Angles between quarters are left alone.
    fn of_matrix(data: &[u8]) -> Self {
        let sign = |index: usize| {
            let number = data.get(4 * index..).and_then(|rest| rest.first_chunk());
            number.map_or(0, |number| i32::from_ne_bytes(*number).signum())
        };
        match [sign(0), sign(1), sign(3), sign(4)] {
            [0, 1, -1, 0] => Self::Clockwise,
            [-1, 0, 0, -1] => Self::Half,
            [0, -1, 1, 0] => Self::Counterclockwise,
            [-1, 0, 0, 1] => Self::Mirrored,
            [1, 0, 0, -1] => Self::UpsideDown,
            [0, 1, 1, 0] => Self::Transposed,
            [0, -1, -1, 0] => Self::TransposedBack,
            _ => Self::None,
        }
    }

    /// libav's filters for it.
    fn filters(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Clockwise => &["transpose=clock"],
            Self::Half => &["hflip", "vflip"],
            Self::Counterclockwise => &["transpose=cclock"],
            Self::Mirrored => &["hflip"],
            Self::UpsideDown => &["vflip"],
            Self::Transposed => &["transpose=cclock_flip"],
            Self::TransposedBack => &["transpose=clock_flip"],
        }
    }
}

/// Makes frames of fields, of a range that all players know, and turns them; one for each that comes in.
pub(crate) struct Upright {
    /// Until the first picture what the container says.
    turn: Turn,
    begun: bool,
    /// Fields were seen: from then on a frame waits for the one after it.
    fields: bool,
    /// With what they were opened for.
    filters: Option<(Pictures, Chain)>,
    ready: VecDeque<frame::Video>,
}

impl Upright {
    pub(crate) fn new(turn: Turn) -> Self {
        Self { turn, begun: false, fields: false, filters: None, ready: VecDeque::new() }
    }

    /// Takes a frame with a time in ticks, from this device if it is not in memory.
    pub(crate) fn push(&mut self, mut frame: frame::Video, device: Option<u32>) -> Result<(), MediaError> {
        if !std::mem::replace(&mut self.begun, true) && self.turn == Turn::None {
            self.turn = Turn::of_frame(&frame);
        }
        self.fields |= frame.is_interlaced();
        let full_range = frame.color_range() == color::Range::JPEG;
        if let Some(device) = device.filter(|_| gpu::is_on_device(&frame))
            && (self.fields || full_range || self.turn != Turn::None)
        {
            frame = gpu::in_memory(&frame, device)?;
        }
        let input = Pictures::like(&frame, self.fields);
        let chain = input.filters(self.turn);
        if chain.is_empty() {
            self.ready.push_back(frame);
            return Ok(());
        }
        if self.filters.as_ref().is_none_or(|(of, _)| *of != input) {
            self.finish()?;
            let filters = Chain::open(Avfilter::load()?, Source::Pictures(input.told()), &chain);
            self.filters = Some((input, filters.map_err(libav("set up filters"))?));
        }
        if let Some((_, filters)) = &mut self.filters {
            self.ready.extend(filters.run(Some(&frame), frame::Video::empty, TICKS).map_err(libav("filter a frame"))?);
        }
        Ok(())
    }

    /// What was held back comes after this.
    pub(crate) fn finish(&mut self) -> Result<(), MediaError> {
        if let Some((_, mut filters)) = self.filters.take() {
            self.ready.extend(filters.run(None, frame::Video::empty, TICKS).map_err(libav("filter a frame"))?);
        }
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// The next frame that is ready.
    pub(crate) fn next(&mut self) -> Option<frame::Video> {
        self.ready.pop_front()
    }
}

/// What filters are made for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Pictures {
    format: Pixel,
    width: u32,
    height: u32,
    fields: bool,
    /// Black is 0 and white the largest number.
    full_range: bool,
}

impl Pictures {
    fn like(frame: &frame::Video, fields: bool) -> Self {
        let format = frame.format();
        // Scalers know that RGB and grey always have it.
        let may_be_narrow = ["yuv", "nv12", "p010", "p016"].iter().any(|kind| name(format).starts_with(kind));
        let full_range = frame.color_range() == color::Range::JPEG && may_be_narrow;
        Self { format, width: frame.width(), height: frame.height(), fields, full_range }
    }

    /// What libav must know of them.
    fn told(&self) -> String {
        let Self { format, width, height, .. } = *self;
        format!("video_size={width}x{height}:pix_fmt={}:time_base={}/{}", name(format), TICKS.0, TICKS.1)
    }

    /// libav's filters that make what a viewer expects.
    fn filters(&self, turn: Turn) -> Vec<String> {
        let mut chain = Vec::new();
        if self.fields {
            // One frame for each: what is billed is counted before.
            chain.push("bwdif=mode=send_frame:deint=interlaced".into());
        }
        if self.full_range {
            // Rounded alike by every processor.
            chain.push("scale=in_range=full:out_range=limited:flags=bicubic+accurate_rnd+bitexact".into());
            chain.push(format!("format={}", name(self.format).replace("yuvj", "yuv")));
        }
        chain.extend(turn.filters().iter().map(|filter| (*filter).to_owned()));
        chain
    }
}

fn name(format: Pixel) -> &'static str {
    format.descriptor().map_or("", |format| format.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(matrix: [i32; 9]) -> Turn {
        Turn::of_matrix(&matrix.map(i32::to_ne_bytes).concat())
    }

    #[test]
    fn frames_of_a_device_are_turned_in_memory() {
        let Some(frames) = gpu::frames_on_device_or_skip() else { return };
        let size = (frames[0].width(), frames[0].height());
        let mut upright = Upright::new(Turn::Clockwise);
        for frame in frames {
            assert!(gpu::is_on_device(&frame));
            upright.push(frame, Some(0)).unwrap();
        }
        let turned = upright.next().unwrap();
        assert!(!gpu::is_on_device(&turned));
        assert_eq!((turned.height(), turned.width()), size);
    }

    #[test]
    fn quarters_are_told_from_the_matrix() {
        const ONE: i32 = 1 << 16;
        const W: i32 = 1 << 30;
        assert_eq!(turn([ONE, 0, 0, 0, ONE, 0, 0, 0, W]), Turn::None);
        assert_eq!(turn([0, ONE, 0, -ONE, 0, 0, 1080 * ONE / 1024, 0, W]), Turn::Clockwise);
        assert_eq!(turn([-ONE, 0, 0, 0, -ONE, 0, 0, 0, W]), Turn::Half);
        assert_eq!(turn([0, -ONE, 0, ONE, 0, 0, 0, 0, W]), Turn::Counterclockwise);
        assert_eq!(turn([-ONE, 0, 0, 0, ONE, 0, 0, 0, W]), Turn::Mirrored);
        assert_eq!(turn([46_341, 46_341, 0, -46_341, 46_341, 0, 0, 0, W]), Turn::None, "an eighth");
        assert_eq!(Turn::of_matrix(&[0; 7]), Turn::None);
    }
}
