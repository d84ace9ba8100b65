//! What is no stream.

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// A frame that this side does not expect.
    #[error("frame of unknown kind {0}")]
    Kind(u8),
    /// A frame that says it is longer or shorter than its kind may be.
    #[error("frame of kind {kind} has {got} bytes, not {least} to {most}")]
    Length {
        /// First byte.
        kind: u8,
        /// Bytes that it claims.
        got: usize,
        /// Bytes.
        least: usize,
        /// Bytes.
        most: usize,
    },
    /// The message in the last frame.
    #[error("end of the stream is not understood")]
    Message,
    /// A field of the message in the last frame.
    #[error("field {field} of the stream's end has {got} bytes, not {length}")]
    Field {
        /// Its name.
        field: &'static str,
        /// Bytes.
        got: usize,
        /// Bytes.
        length: usize,
    },
    /// More renditions than a segment can have.
    #[error("{got} renditions, more than {max}")]
    Renditions {
        /// As told.
        got: usize,
        /// Most.
        max: usize,
    },
}
