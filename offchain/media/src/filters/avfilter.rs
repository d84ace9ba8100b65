//! libavfilter, loaded when the first chain is opened. It brings thirty libraries with it, which take 4 MiB of every process
//! that loads them, and most segments need none of its filters.
use std::{
    ffi::{c_char, c_int, c_uint, c_void},
    sync::OnceLock,
};

use ffmpeg_next::ffi::{
    AVBufferSrcParameters, AVFilter, AVFilterContext, AVFilterGraph, AVFrame, AVRational, LIBAVFILTER_VERSION_MAJOR,
};

use crate::{MediaError, loader::Library};

type Context = *mut AVFilterContext;
type Graph = *mut AVFilterGraph;

/// The functions of libavfilter that are used here.
pub(crate) struct Avfilter {
    pub(super) graph_alloc: unsafe extern "C" fn() -> Graph,
    pub(super) graph_free: unsafe extern "C" fn(*mut Graph),
    pub(super) graph_alloc_filter: unsafe extern "C" fn(Graph, *const AVFilter, *const c_char) -> Context,
    pub(super) graph_config: unsafe extern "C" fn(Graph, *mut c_void) -> c_int,
    pub(super) get_by_name: unsafe extern "C" fn(*const c_char) -> *const AVFilter,
    pub(super) init_str: unsafe extern "C" fn(Context, *const c_char) -> c_int,
    pub(super) link: unsafe extern "C" fn(Context, c_uint, Context, c_uint) -> c_int,
    pub(super) source_parameters: unsafe extern "C" fn() -> *mut AVBufferSrcParameters,
    pub(super) set_source_parameters: unsafe extern "C" fn(Context, *mut AVBufferSrcParameters) -> c_int,
    pub(super) add_frame: unsafe extern "C" fn(Context, *mut AVFrame, c_int) -> c_int,
    pub(super) get_frame: unsafe extern "C" fn(Context, *mut AVFrame) -> c_int,
    pub(super) time_base: unsafe extern "C" fn(*const AVFilterContext) -> AVRational,
}

impl Avfilter {
    /// # Errors
    /// [`MediaError::Libav`] in the words of the dynamic loader where the library, or a function of it, is not there.
    pub(crate) fn load() -> Result<&'static Self, MediaError> {
        static LOADED: OnceLock<Avfilter> = OnceLock::new();
        if let Some(loaded) = LOADED.get() {
            return Ok(loaded);
        }
        // What failed for want of memory or of files may be there the next time.
        let loaded = Self::open().map_err(|reason| MediaError::Libav { step: "load libavfilter".into(), reason })?;
        Ok(LOADED.get_or_init(|| loaded))
    }

    #[allow(unsafe_code)] // the types of foreign functions
    fn open() -> Result<Self, String> {
        let library = Library::open(&format!("libavfilter.so.{LIBAVFILTER_VERSION_MAJOR}"))?;
        // SAFETY: the types are those of the headers of this major version, which was there when this program was built.
        unsafe {
            Ok(Self {
                graph_alloc: library.function(c"avfilter_graph_alloc")?,
                graph_free: library.function(c"avfilter_graph_free")?,
                graph_alloc_filter: library.function(c"avfilter_graph_alloc_filter")?,
                graph_config: library.function(c"avfilter_graph_config")?,
                get_by_name: library.function(c"avfilter_get_by_name")?,
                init_str: library.function(c"avfilter_init_str")?,
                link: library.function(c"avfilter_link")?,
                source_parameters: library.function(c"av_buffersrc_parameters_alloc")?,
                set_source_parameters: library.function(c"av_buffersrc_parameters_set")?,
                add_frame: library.function(c"av_buffersrc_add_frame_flags")?,
                get_frame: library.function(c"av_buffersink_get_frame")?,
                time_base: library.function(c"av_buffersink_get_time_base")?,
            })
        }
    }
}
