//! Chains of libavfilter. The library is opened when the first chain is made: it costs every process that is linked with it
//! a megabyte or ten and a moment at the start, and only scaling on a device needs it.
use std::{
    ffi::{CStr, CString, c_char, c_int, c_uint, c_void},
    ptr::{self, NonNull},
    sync::OnceLock,
};

use ffmpeg_next::{Error, error::ENOMEM, ffi, frame};

use super::library::Library;
use crate::demux::TICKS;

/// What libavfilter's major number is behind that of libavcodec in every release since FFmpeg 4.
const BEHIND_AVCODEC: u32 = 51;
/// The caller keeps its frame (`AV_BUFFERSRC_FLAG_KEEP_REF`).
const KEEP_FRAME: c_int = 8;
const NO_MEMORY: Error = Error::Other { errno: ENOMEM };

/// What a source of frames is told (`AVBufferSrcParameters`), as far as it is set here; libav makes and frees it, so that
/// what follows in newer releases is there.
#[repr(C)]
struct SourceParameters {
    format: c_int,
    time_base: ffi::AVRational,
    width: c_int,
    height: c_int,
    sample_aspect_ratio: ffi::AVRational,
    frame_rate: ffi::AVRational,
    hw_frames_ctx: *mut ffi::AVBufferRef,
}

type FilterRef = *mut c_void;
type GraphRef = *mut c_void;
type Link = unsafe extern "C" fn(FilterRef, c_uint, FilterRef, c_uint) -> c_int;
type Alloc = unsafe extern "C" fn(GraphRef, *const c_void, *const c_char) -> FilterRef;

/// The functions of libavfilter that are used here.
struct Functions {
    graph_alloc: unsafe extern "C" fn() -> GraphRef,
    graph_free: unsafe extern "C" fn(*mut GraphRef),
    graph_config: unsafe extern "C" fn(GraphRef, *mut c_void) -> c_int,
    by_name: unsafe extern "C" fn(*const c_char) -> *const c_void,
    alloc: Alloc,
    init: unsafe extern "C" fn(FilterRef, *const c_char) -> c_int,
    link: Link,
    source_parameters: unsafe extern "C" fn() -> *mut SourceParameters,
    set_source: unsafe extern "C" fn(FilterRef, *mut SourceParameters) -> c_int,
    add_frame: unsafe extern "C" fn(FilterRef, *mut ffi::AVFrame, c_int) -> c_int,
    get_frame: unsafe extern "C" fn(FilterRef, *mut ffi::AVFrame) -> c_int,
}

impl Functions {
    /// # Errors
    /// The words of the dynamic loader.
    fn get() -> Result<&'static Self, String> {
        static FUNCTIONS: OnceLock<Result<Functions, String>> = OnceLock::new();
        FUNCTIONS.get_or_init(Self::load).as_ref().map_err(Clone::clone)
    }

    #[allow(unsafe_code)] // the types of foreign functions
    fn load() -> Result<Self, String> {
        let major = (ffmpeg_next::codec::version() >> 16) - BEHIND_AVCODEC;
        let avfilter = Library::open(&format!("libavfilter.so.{major}"))?;
        // SAFETY: the types are those of avfilter.h, buffersrc.h and buffersink.h, with opaque structures as untyped
        // pointers; they are the same in all releases that ffmpeg-next can be built with.
        unsafe {
            Ok(Self {
                graph_alloc: avfilter.function(c"avfilter_graph_alloc")?,
                graph_free: avfilter.function(c"avfilter_graph_free")?,
                graph_config: avfilter.function(c"avfilter_graph_config")?,
                by_name: avfilter.function(c"avfilter_get_by_name")?,
                alloc: avfilter.function(c"avfilter_graph_alloc_filter")?,
                init: avfilter.function(c"avfilter_init_str")?,
                link: avfilter.function(c"avfilter_link")?,
                source_parameters: avfilter.function(c"av_buffersrc_parameters_alloc")?,
                set_source: avfilter.function(c"av_buffersrc_parameters_set")?,
                add_frame: avfilter.function(c"av_buffersrc_add_frame_flags")?,
                get_frame: avfilter.function(c"av_buffersink_get_frame")?,
            })
        }
    }
}

/// A filter and its arguments.
pub(super) type Step = (&'static CStr, String);

/// A chain of filters, for frames like the one it was made for.
pub(super) struct Chain {
    functions: &'static Functions,
    graph: NonNull<c_void>,
    source: FilterRef,
    sink: FilterRef,
}

// SAFETY: a graph has no tie to the thread that made it, and `&mut` keeps others out while it works.
#[allow(unsafe_code)]
unsafe impl Send for Chain {}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chain").finish_non_exhaustive()
    }
}

impl Drop for Chain {
    #[allow(unsafe_code)] // the call into libavfilter
    fn drop(&mut self) {
        let mut graph = self.graph.as_ptr();
        // SAFETY: the graph was made here and is freed once, with all its filters.
        unsafe { (self.functions.graph_free)(&mut graph) };
    }
}

/// Why there is no chain.
#[derive(Debug)]
pub(super) enum ChainError {
    /// The library is not there; the words of the loader.
    Library(String),
    /// A step of libavfilter failed.
    Libav(Error),
}

impl From<Error> for ChainError {
    fn from(error: Error) -> Self {
        Self::Libav(error)
    }
}

impl Chain {
    /// Makes a chain of `steps` for frames of the size, format and device of `like`.
    #[allow(unsafe_code)] // the calls into libavfilter
    pub(super) fn new(like: &frame::Video, steps: &[Step]) -> Result<Self, ChainError> {
        let functions = Functions::get().map_err(ChainError::Library)?;
        // SAFETY: takes nothing and gives a graph or null.
        let graph = NonNull::new(unsafe { (functions.graph_alloc)() }).ok_or(NO_MEMORY)?;
        // From here on, dropping frees it.
        let mut chain = Self { functions, graph, source: ptr::null_mut(), sink: ptr::null_mut() };
        // SAFETY: a graph is an object with options, of which "threads" is one.
        check(unsafe { ffi::av_opt_set_int(graph.as_ptr(), c"threads".as_ptr(), 1, 0) })?;
        chain.source = chain.add(c"buffer")?;
        chain.describe_source(like)?;
        chain.init(chain.source, "")?;
        let mut last = chain.source;
        for (name, arguments) in steps {
            let filter = chain.add(name)?;
            chain.init(filter, arguments)?;
            chain.join(last, filter)?;
            last = filter;
        }
        chain.sink = chain.add(c"buffersink")?;
        chain.init(chain.sink, "")?;
        chain.join(last, chain.sink)?;
        // SAFETY: the graph is live, and there is no context to log for.
        check(unsafe { (functions.graph_config)(graph.as_ptr(), ptr::null_mut()) })?;
        Ok(chain)
    }

    #[allow(unsafe_code)] // the calls into libavfilter
    fn add(&self, name: &CStr) -> Result<FilterRef, Error> {
        // SAFETY: the name is a C string; filters are static data.
        let filter = unsafe { (self.functions.by_name)(name.as_ptr()) };
        if filter.is_null() {
            return Err(Error::FilterNotFound);
        }
        // SAFETY: graph and filter are live, the name lives through the call, and the graph owns what is made.
        let made = unsafe { (self.functions.alloc)(self.graph.as_ptr(), filter, name.as_ptr()) };
        if made.is_null() { Err(NO_MEMORY) } else { Ok(made) }
    }

    #[allow(unsafe_code)] // the call into libavfilter
    fn init(&self, filter: FilterRef, arguments: &str) -> Result<(), Error> {
        let arguments = CString::new(arguments).map_err(|_| Error::InvalidData)?;
        // SAFETY: the filter belongs to this graph and is initialised once; the string lives through the call.
        check(unsafe { (self.functions.init)(filter, arguments.as_ptr()) })
    }

    #[allow(unsafe_code)] // the call into libavfilter
    fn join(&self, from: FilterRef, to: FilterRef) -> Result<(), Error> {
        // SAFETY: both filters belong to this graph, and each has one pad on either side.
        check(unsafe { (self.functions.link)(from, 0, to, 0) })
    }

    /// Tells the source what frames it gets and on which device they are.
    #[allow(unsafe_code)] // the calls into libavfilter
    fn describe_source(&self, like: &frame::Video) -> Result<(), Error> {
        // SAFETY: takes nothing and gives parameters, none of them set, or null.
        let parameters = unsafe { (self.functions.source_parameters)() };
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
        // SAFETY: the filter belongs to this graph; libav takes a reference of its own to the context and frees what it
        // allocated.
        let code = unsafe {
            let code = (self.functions.set_source)(self.source, parameters);
            ffi::av_free(parameters.cast());
            code
        };
        check(code)
    }

    /// Sends one frame through. Every chain made here answers one frame with one.
    #[allow(unsafe_code)] // the calls into libavfilter
    pub(super) fn run(&mut self, frame: &frame::Video) -> Result<frame::Video, Error> {
        let mut made = frame::Video::empty();
        // SAFETY: source and sink belong to this graph. With the flag the frame is only read, and a reference to its data
        // is taken; the other frame is empty and ours.
        unsafe {
            check((self.functions.add_frame)(self.source, frame.as_ptr().cast_mut(), KEEP_FRAME))?;
            check((self.functions.get_frame)(self.sink, made.as_mut_ptr()))?;
        }
        Ok(made)
    }
}

fn check(code: c_int) -> Result<(), Error> {
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
        assert!(matches!(unknown, ChainError::Libav(Error::FilterNotFound)), "{unknown:?}");
        // A filter for devices does not take frames in memory.
        let misplaced = Chain::new(&frame, &[(c"scale_cuda", "w=128:h=72".to_owned())]).unwrap_err();
        assert!(matches!(misplaced, ChainError::Libav(_)), "{misplaced:?}");
    }
}
