//! The smallest worker process: what `streamflow media-worker` does, for the tests of this crate. An argument names the
//! instructions that libav may use, such as `sse2`.
use std::{env, ffi::CString, io};

use ffmpeg_next::ffi;

fn main() -> Result<(), streamflow_media::worker::WorkerError> {
    if let Some(instructions) = env::args().nth(1).and_then(|name| CString::new(name).ok()) {
        allow_only(&instructions);
    }
    streamflow_media::worker::run(io::stdin(), io::stdout())
}

#[allow(unsafe_code)] // the library has no wrapper
fn allow_only(instructions: &CString) {
    let mut flags = 0;
    // SAFETY: both pointers are valid for the call, and no codec is open yet in this process.
    let code = unsafe { ffi::av_parse_cpu_caps(&mut flags, instructions.as_ptr()) };
    assert!(code >= 0, "instructions that libav does not know: {instructions:?}");
    // SAFETY: as above; the argument is a number.
    unsafe { ffi::av_force_cpu_flags(flags.cast_signed()) };
}
