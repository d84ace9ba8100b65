//! The worker process of this crate's tests: what `streamflow media-worker` does.
use std::io;

fn main() -> Result<(), streamflow_media::worker::WorkerError> {
    streamflow_media::worker::run(io::stdin(), io::stdout())
}
