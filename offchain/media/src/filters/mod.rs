//! Chains of libavfilter, fed and emptied on the calling thread, for frames in memory and on a device.
mod avfilter;

use std::{ffi::CString, ops::DerefMut, ptr};

use ffmpeg_next::{
    Error, Frame, Rational, Rescale as _,
    error::{EAGAIN, ENOMEM},
    ffi, frame,
};

pub(crate) use self::avfilter::Avfilter;
use crate::demux::TICKS;

/// The caller keeps its frame.
const KEEP_FRAME: i32 = ffi::AV_BUFFERSRC_FLAG_KEEP_REF as i32;
const NO_MEMORY: Error = Error::Other { errno: ENOMEM };

/// What goes into a chain.
pub(crate) enum Source<'a> {
    /// Pictures in memory, as libav's `buffer` is told of them.
    Pictures(String),
    /// Sound, as libav's `abuffer` is told of it.
    Sound(String),
    /// Pictures of the size, format and device of this one, with times in [`TICKS`].
    Like(&'a frame::Video),
}

/// An open chain.
pub(crate) struct Chain {
    library: &'static Avfilter,
    graph: *mut ffi::AVFilterGraph,
    source: *mut ffi::AVFilterContext,
    sink: *mut ffi::AVFilterContext,
}

// SAFETY: the filters belong to the graph, which has no tie to the thread that made it; `&mut` keeps others out while it
// works.
#[allow(unsafe_code)]
unsafe impl Send for Chain {}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chain").finish_non_exhaustive()
    }
}

impl Drop for Chain {
    #[allow(unsafe_code)] // the library owns what it made
    fn drop(&mut self) {
        // SAFETY: the graph is this chain's alone, and nobody has its filters any more.
        unsafe { (self.library.graph_free)(&raw mut self.graph) };
    }
}

impl Chain {
    /// Each of `steps` is a filter and its arguments, as in `scale=w=128:h=72`.
    #[allow(unsafe_code)] // the functions are the library's
    pub(crate) fn open(library: &'static Avfilter, source: Source<'_>, steps: &[String]) -> Result<Self, Error> {
        // SAFETY: takes nothing, and gives a graph that nobody else has, or null.
        let graph = unsafe { (library.graph_alloc)() };
        // SAFETY: null, or as said.
        let Some(fresh) = (unsafe { graph.as_mut() }) else { return Err(NO_MEMORY) };
        // Threads are for encoders.
        fresh.nb_threads = 1;
        let mut chain = Self { library, graph, source: ptr::null_mut(), sink: ptr::null_mut() };
        let (buffer, told, sink) = match &source {
            Source::Pictures(told) => ("buffer", told.as_str(), "buffersink"),
            Source::Sound(told) => ("abuffer", told.as_str(), "abuffersink"),
            Source::Like(_) => ("buffer", "", "buffersink"),
        };
        chain.source = chain.add(buffer)?;
        if let Source::Like(frame) = source {
            chain.describe_source(frame)?;
        }
        chain.init(chain.source, told)?;
        let mut last = chain.source;
        for step in steps {
            let (name, arguments) = step.split_once('=').unwrap_or((step, ""));
            let filter = chain.add(name)?;
            chain.init(filter, arguments)?;
            chain.join(last, filter)?;
            last = filter;
        }
        chain.sink = chain.add(sink)?;
        chain.init(chain.sink, "")?;
        chain.join(last, chain.sink)?;
        // SAFETY: the graph is live, all of its filters are set up, and no context for messages is given.
        check(unsafe { (library.graph_config)(chain.graph, ptr::null_mut()) })?;
        Ok(chain)
    }

    #[allow(unsafe_code)] // the functions are the library's
    fn add(&self, name: &str) -> Result<*mut ffi::AVFilterContext, Error> {
        let name = c_string(name)?;
        // SAFETY: the name is a C string; filters are static data.
        let filter = unsafe { (self.library.get_by_name)(name.as_ptr()) };
        if filter.is_null() {
            return Err(Error::FilterNotFound);
        }
        // SAFETY: graph and filter are live, the name lives through the call, and the graph owns what is made.
        let made = unsafe { (self.library.graph_alloc_filter)(self.graph, filter, name.as_ptr()) };
        if made.is_null() { Err(NO_MEMORY) } else { Ok(made) }
    }

    /// Tells the source what frames it gets and on which device they are.
    #[allow(unsafe_code)] // the functions are the library's
    fn describe_source(&self, like: &frame::Video) -> Result<(), Error> {
        // SAFETY: takes nothing and gives parameters, none of them set, or null.
        let parameters = unsafe { (self.library.source_parameters)() };
        // SAFETY: null, or parameters that nobody else holds.
        let Some(told) = (unsafe { parameters.as_mut() }) else { return Err(NO_MEMORY) };
        // SAFETY: the frame is live, as is its context on the device where it has one.
        unsafe {
            told.format = (*like.as_ptr()).format;
            told.width = (*like.as_ptr()).width;
            told.height = (*like.as_ptr()).height;
            told.sample_aspect_ratio = (*like.as_ptr()).sample_aspect_ratio;
            told.hw_frames_ctx = (*like.as_ptr()).hw_frames_ctx;
        }
        told.time_base = TICKS.into();
        // SAFETY: the filter belongs to this graph and is not initialised yet; libav takes a reference of its own to the
        // context and frees what it allocated.
        check(unsafe {
            let code = (self.library.set_source_parameters)(self.source, parameters);
            ffi::av_free(parameters.cast());
            code
        })
    }

    /// Finishes a filter that was just added.
    #[allow(unsafe_code)] // the functions are the library's
    fn init(&self, filter: *mut ffi::AVFilterContext, arguments: &str) -> Result<(), Error> {
        let arguments = c_string(arguments)?;
        // SAFETY: the filter belongs to this graph and is initialised once; the string lives through the call.
        check(unsafe { (self.library.init_str)(filter, arguments.as_ptr()) })
    }

    #[allow(unsafe_code)] // the functions are the library's
    fn join(&self, from: *mut ffi::AVFilterContext, to: *mut ffi::AVFilterContext) -> Result<(), Error> {
        // SAFETY: both filters belong to this graph, and each has one pad on either side.
        check(unsafe { (self.library.link)(from, 0, to, 0) })
    }

    /// Takes a frame, or the end.
    #[allow(unsafe_code)] // the functions are the library's
    pub(crate) fn feed(&mut self, frame: Option<&Frame>) -> Result<(), Error> {
        // SAFETY: with the flag a reference to the frame's data is taken, and its data only read. Of sound without a layout of
        // channels the layout may be filled in: such a frame is its decoder's and this thread's alone.
        let frame = frame.map_or(ptr::null_mut(), |frame| unsafe { frame.as_ptr() }.cast_mut());
        // SAFETY: the source belongs to this graph; null is the end.
        check(unsafe { (self.library.add_frame)(self.source, frame, KEEP_FRAME) })
    }

    /// The next frame that is ready.
    #[allow(unsafe_code)] // the functions are the library's
    pub(crate) fn next<F: DerefMut<Target = Frame>>(&mut self, blank: fn() -> F) -> Result<Option<F>, Error> {
        let mut made = blank();
        // SAFETY: the sink belongs to this graph, and the frame is empty and ours.
        match check(unsafe { (self.library.get_frame)(self.sink, made.as_mut_ptr()) }) {
            Ok(()) => Ok(Some(made)),
            Err(Error::Other { errno: EAGAIN } | Error::Eof) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes a frame, or the end; gives what is ready, with times in `clock`.
    #[allow(unsafe_code)] // the functions are the library's
    pub(crate) fn run<F: DerefMut<Target = Frame>>(
        &mut self,
        frame: Option<&Frame>,
        blank: fn() -> F,
        clock: Rational,
    ) -> Result<Vec<F>, Error> {
        self.feed(frame)?;
        let mut ready = Vec::new();
        while let Some(mut filtered) = self.next(blank)? {
            // SAFETY: the sink belongs to this graph, which is set up.
            let counted = Rational::from(unsafe { (self.library.time_base)(self.sink) });
            let pts = filtered.pts().map(|pts| pts.rescale(counted, clock));
            filtered.set_pts(pts);
            ready.push(filtered);
        }
        Ok(ready)
    }
}

fn c_string(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::InvalidData)
}

fn check(code: i32) -> Result<(), Error> {
    if code < 0 { Err(code.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use ffmpeg_next::format::Pixel;

    use super::*;
    use crate::library;

    fn picture(width: u32, height: u32) -> frame::Video {
        library::prepare();
        let mut frame = frame::Video::new(Pixel::YUV420P, width, height);
        (0..frame.planes()).for_each(|plane| frame.data_mut(plane).fill(77));
        frame.set_pts(Some(1234));
        frame
    }

    fn open(like: &frame::Video, steps: &[String]) -> Result<Chain, Error> {
        Chain::open(Avfilter::load().unwrap(), Source::Like(like), steps)
    }

    #[test]
    fn a_chain_answers_each_frame_with_one() {
        let frame = picture(256, 144);
        let steps = ["scale=w=128:h=72".to_owned(), "format=pix_fmts=nv12".to_owned()];
        let mut chain = open(&frame, &steps).unwrap();
        for _ in 0..50 {
            let [made] = &chain.run(Some(&frame), frame::Video::empty, TICKS).unwrap()[..] else { panic!("no frame") };
            assert_eq!((made.width(), made.height(), made.format()), (128, 72, Pixel::NV12));
            assert_eq!(made.pts(), Some(1234));
            assert_eq!(made.data(0)[0], 77);
        }
    }

    #[test]
    fn what_cannot_be_made_is_an_error() {
        let frame = picture(256, 144);
        let unknown = open(&frame, &["no_filter_of_ours".to_owned()]).unwrap_err();
        assert_eq!(unknown, Error::FilterNotFound);
        // A filter for devices does not take frames in memory.
        let misplaced = open(&frame, &["scale_cuda=w=128:h=72".to_owned()]).unwrap_err();
        assert_ne!(misplaced, Error::FilterNotFound);
    }
}
