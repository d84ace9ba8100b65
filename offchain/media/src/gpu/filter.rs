//! Chains of libavfilter for frames that may be on a device, of which the library's wrapper knows nothing.
use std::{
    ffi::{CStr, CString},
    ptr,
};

use ffmpeg_next::{Error, error::ENOMEM, ffi, filter::Graph, frame};

use crate::demux::TICKS;

/// The caller keeps its frame.
const KEEP_FRAME: i32 = ffi::AV_BUFFERSRC_FLAG_KEEP_REF as i32;
const NO_MEMORY: Error = Error::Other { errno: ENOMEM };

/// A filter and its arguments.
pub(super) type Step = (&'static CStr, String);

/// A chain of filters, for frames like the one it was made for.
pub(super) struct Chain {
    graph: Graph,
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

impl Chain {
    /// Makes a chain of `steps` for frames of the size, format and device of `like`.
    #[allow(unsafe_code)] // the library has no wrapper
    pub(super) fn new(like: &frame::Video, steps: &[Step]) -> Result<Self, Error> {
        let mut chain = Self { graph: Graph::new(), source: ptr::null_mut(), sink: ptr::null_mut() };
        // SAFETY: the graph is live and has no filter yet, and the field is a plain number: threads are for encoders.
        unsafe { (*chain.graph.as_mut_ptr()).nb_threads = 1 };
        chain.source = chain.add(c"buffer")?;
        chain.describe_source(like)?;
        init(chain.source, "")?;
        let mut last = chain.source;
        for (name, arguments) in steps {
            let filter = chain.add(name)?;
            init(filter, arguments)?;
            join(last, filter)?;
            last = filter;
        }
        chain.sink = chain.add(c"buffersink")?;
        init(chain.sink, "")?;
        join(last, chain.sink)?;
        chain.graph.validate()?;
        Ok(chain)
    }

    #[allow(unsafe_code)] // the library's wrapper initialises what it adds
    fn add(&mut self, name: &CStr) -> Result<*mut ffi::AVFilterContext, Error> {
        // SAFETY: the name is a C string; filters are static data.
        let filter = unsafe { ffi::avfilter_get_by_name(name.as_ptr()) };
        if filter.is_null() {
            return Err(Error::FilterNotFound);
        }
        // SAFETY: graph and filter are live, the name lives through the call, and the graph owns what is made.
        let made = unsafe { ffi::avfilter_graph_alloc_filter(self.graph.as_mut_ptr(), filter, name.as_ptr()) };
        if made.is_null() { Err(NO_MEMORY) } else { Ok(made) }
    }

    /// Tells the source what frames it gets and on which device they are.
    #[allow(unsafe_code)] // the library has no wrapper
    fn describe_source(&self, like: &frame::Video) -> Result<(), Error> {
        // SAFETY: takes nothing and gives parameters, none of them set, or null.
        let parameters = unsafe { ffi::av_buffersrc_parameters_alloc() };
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
        let code = unsafe {
            let code = ffi::av_buffersrc_parameters_set(self.source, parameters);
            ffi::av_free(parameters.cast());
            code
        };
        check(code)
    }

    /// Sends one frame through. Every chain made here answers one frame with one.
    #[allow(unsafe_code)] // the library's wrapper takes the frame away
    pub(super) fn run(&mut self, frame: &frame::Video) -> Result<frame::Video, Error> {
        let mut made = frame::Video::empty();
        // SAFETY: source and sink belong to this graph. With the flag the frame is only read, and a reference to its data
        // is taken; the other frame is empty and ours.
        unsafe {
            check(ffi::av_buffersrc_add_frame_flags(self.source, frame.as_ptr().cast_mut(), KEEP_FRAME))?;
            check(ffi::av_buffersink_get_frame(self.sink, made.as_mut_ptr()))?;
        }
        Ok(made)
    }
}

/// Finishes a filter that was just added.
#[allow(unsafe_code)] // the library's wrapper initialises what it adds
fn init(filter: *mut ffi::AVFilterContext, arguments: &str) -> Result<(), Error> {
    let arguments = CString::new(arguments).map_err(|_| Error::InvalidData)?;
    // SAFETY: the filter belongs to a live graph and is initialised once; the string lives through the call.
    check(unsafe { ffi::avfilter_init_str(filter, arguments.as_ptr()) })
}

#[allow(unsafe_code)] // the library's wrapper has no errors
fn join(from: *mut ffi::AVFilterContext, to: *mut ffi::AVFilterContext) -> Result<(), Error> {
    // SAFETY: both filters belong to one live graph, and each has one pad on either side.
    check(unsafe { ffi::avfilter_link(from, 0, to, 0) })
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

    #[test]
    fn a_chain_answers_each_frame_with_one() {
        let frame = picture(256, 144);
        let steps = [(c"scale", "w=128:h=72".to_owned()), (c"format", "pix_fmts=nv12".to_owned())];
        let mut chain = Chain::new(&frame, &steps).unwrap();
        for _ in 0..50 {
            let made = chain.run(&frame).unwrap();
            assert_eq!((made.width(), made.height(), made.format()), (128, 72, Pixel::NV12));
            assert_eq!(made.pts(), Some(1234));
            assert_eq!(made.data(0)[0], 77);
        }
    }

    #[test]
    fn what_cannot_be_made_is_an_error() {
        let frame = picture(256, 144);
        let unknown = Chain::new(&frame, &[(c"no_filter_of_ours", String::new())]).unwrap_err();
        assert_eq!(unknown, Error::FilterNotFound);
        // A filter for devices does not take frames in memory.
        let misplaced = Chain::new(&frame, &[(c"scale_cuda", "w=128:h=72".to_owned())]).unwrap_err();
        assert_ne!(misplaced, Error::FilterNotFound);
    }
}
