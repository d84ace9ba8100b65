//! The smallest worker process: what `streamflow media-worker` does, for the tests of this crate.
use std::io;

fn main() -> Result<(), streamflow_media::worker::WorkerError> {
    streamflow_media::worker::run(io::stdin(), io::stdout().lock())
}
