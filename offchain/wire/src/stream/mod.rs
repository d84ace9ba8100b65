//! Segments that are sent and answered piece by piece: `POST /segment/stream` (docs/designs/038-streaming-wire.md).
//!
//! The head says what is asked for and is paid before a byte of the segment is read. Body and answer are frames. The
//! trailer has length and hash of what was sent; a signed result, or a failure, ends the answer. Whatever came before it
//! is provisional.
mod error;
mod frame;
mod result;
mod signed;

pub use error::StreamError;
pub use frame::{DownFrame, FrameReader, MAX_MEDIA, UpFrame};
pub use result::{StreamFailure, StreamResult, StreamedRendition};
pub use signed::{StreamHead, StreamTrailer, sign_stream_head, sign_stream_result, verify_stream_head};

/// Version that is spoken here. `OrchestratorInfo.stream_version` tells peers.
pub const VERSION: u32 = 1;

/// Path below the service URI.
pub const PATH: &str = "segment/stream";

/// Content type of body and answer.
pub const CONTENT_TYPE: &str = "application/vnd.streamflow.stream";

mod proto {
    #![allow(missing_docs, unreachable_pub, missing_debug_implementations, clippy::all)]
    tonic::include_proto!("streamflow.stream");
}
