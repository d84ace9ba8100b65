//! A chain of libav's filters, fed and emptied on the calling thread.
use std::ops::DerefMut;

use ffmpeg_next::{Frame, Rational, Rescale as _, error::EAGAIN, filter};

use crate::{MediaError, error::libav};

const SOURCE: &str = "in";
const SINK: &str = "out";

/// The filters at both ends of a chain.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ends {
    Pictures,
    Sound,
}

impl Ends {
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Pictures => ("buffer", "buffersink"),
            Self::Sound => ("abuffer", "abuffersink"),
        }
    }
}

/// An open chain.
pub(crate) struct Chain(filter::Graph);

impl Chain {
    /// `told` is what libav must know of the frames that go in, `filters` what is done to them, with commas between.
    pub(crate) fn open(ends: Ends, told: &str, filters: &str) -> Result<Self, MediaError> {
        let failed = || libav("set up filters");
        let find = |name| filter::find(name).ok_or(ffmpeg_next::Error::FilterNotFound).map_err(failed());
        let mut graph = filter::Graph::new();
        on_this_thread(&mut graph);
        let (source, sink) = ends.names();
        graph.add(&find(source)?, SOURCE, told).map_err(failed())?;
        graph.add(&find(sink)?, SINK, "").map_err(failed())?;
        let between = graph.output(SOURCE, 0).and_then(|ends| ends.input(SINK, 0)).map_err(failed())?;
        between.parse(filters).map_err(failed())?;
        graph.validate().map_err(failed())?;
        Ok(Self(graph))
    }

    /// Takes a frame, or the end; gives what is ready, with times in `clock`.
    pub(crate) fn run<F: DerefMut<Target = Frame>>(
        &mut self,
        frame: Option<&Frame>,
        blank: fn() -> F,
        clock: Rational,
    ) -> Result<Vec<F>, MediaError> {
        let failed = || libav("filter a frame");
        if let Some(mut source) = self.0.get(SOURCE) {
            let mut source = source.source();
            let taken = match frame {
                Some(frame) => source.add(frame),
                None => source.flush(),
            };
            taken.map_err(failed())?;
        }
        let mut ready = Vec::new();
        let Some(mut sink) = self.0.get(SINK) else { return Ok(ready) };
        let mut sink = sink.sink();
        loop {
            let mut filtered = blank();
            match sink.frame(&mut filtered) {
                Ok(()) => {
                    let pts = filtered.pts().map(|pts| pts.rescale(sink.time_base(), clock));
                    filtered.set_pts(pts);
                    ready.push(filtered);
                }
                Err(ffmpeg_next::Error::Other { errno: EAGAIN } | ffmpeg_next::Error::Eof) => return Ok(ready),
                Err(error) => return Err(failed()(error)),
            }
        }
    }
}

/// Threads are for encoders.
#[allow(unsafe_code)] // the library has no setter
fn on_this_thread(graph: &mut filter::Graph) {
    // SAFETY: the pointer is that of a live graph without a filter, which nobody else holds, and the field is a plain number.
    unsafe { (*graph.as_mut_ptr()).nb_threads = 1 };
}
