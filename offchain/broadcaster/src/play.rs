//! A file played as if a live encoder pushed it.
use std::{io::Read as _, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};

use streamflow_media::{IngestContainer, IngestSettings, PoolError, SourceSettings};
use streamflow_types::{ManifestId, with_causes};
use tokio::{
    sync::mpsc,
    task::AbortHandle,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    admission::Admission,
    broadcaster::Core,
    config::FileInput,
    error::PlayError,
    pushes::{POLL, Pushes},
};

/// Names standard input in place of a file.
const STDIN: &str = "-";
/// Bytes of a pipe handed over at a time.
const PIECE: usize = 64 * 1024;

/// Standard input. Read in a thread of its own, which ends with the process: a silent pipe cannot be interrupted.
fn stdin() -> impl Stream<Item = Bytes> + Send + Unpin + 'static {
    let (sender, mut pieces) = mpsc::channel(2);
    std::thread::spawn(move || {
        let (mut input, mut piece) = (std::io::stdin().lock(), vec![0; PIECE]);
        loop {
            match input.read(&mut piece) {
                Ok(0) => return,
                Ok(len) if sender.blocking_send(Bytes::copy_from_slice(&piece[..len])).is_err() => return,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return tracing::warn!(%error, "standard input cannot be read on"),
            }
        }
    });
    futures::stream::poll_fn(move |context| pieces.poll_recv(context))
}

/// Ends a task that nobody waits for.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Releases segments when a live encoder would have finished them: each after its own length.
#[derive(Debug)]
struct Pacer {
    due: Instant,
}

impl Pacer {
    fn new() -> Self {
        Self { due: Instant::now() }
    }

    async fn release(&mut self, length: Duration) {
        self.due += length;
        sleep_until(self.due).await;
    }
}

impl Core {
    /// Plays a file as a stream, in real time, and ends the stream. Waits until an orchestrator is ready.
    pub(crate) async fn play(self: &Arc<Self>, input: &FileInput) -> Result<(), PlayError> {
        self.ready().await?;
        let played = tokio::select! { biased;
            () = self.stopping.cancelled() => Err(PlayError::Stopped),
            played = self.push_all(input) => played
                .map_err(|source| PlayError::Source { path: input.path.clone(), source }),
        };
        // Before the stream ends: who sees its end sees the reason too.
        if let Err(error @ PlayError::Source { .. }) = &played {
            *self.input_error() = Some(with_causes(error));
        }
        if let Some(stream) = self.find_stream(input.stream.as_str()) {
            stream.close(self).await;
        }
        played
    }

    async fn ready(&self) -> Result<(), PlayError> {
        loop {
            if self.check_ready().is_ok() && self.orchestrators.any_ready(Instant::now()) {
                return Ok(());
            }
            tokio::select! { biased;
                () = self.stopping.cancelled() => return Err(PlayError::Stopped),
                () = sleep(POLL) => {}
            }
        }
    }

    /// Plays what a pipe brings, as fast as it brings it, and ends the stream. `length` ends it early.
    pub(crate) async fn play_pipe(
        self: &Arc<Self>,
        name: ManifestId,
        mut pipe: impl Stream<Item = Bytes> + Send + Unpin + 'static,
        length: Duration,
    ) -> Result<(), PoolError> {
        let settings = IngestSettings { container: IngestContainer::Any, ..IngestSettings::default() };
        let (feed, mut segments) = self.media.ingest(settings)?;
        let feeding = self.tracker.spawn(async move {
            while let Some(piece) = pipe.next().await
                && feed.send(piece).await
            {}
        });
        // A pipe that stays silent must not hold up the end.
        let _feeding = AbortOnDrop(feeding.abort_handle());
        let admission = Arc::new(Admission::plain(name, &self.settings()));
        let mut pushes = Pushes::new(self.clone(), admission);
        let (mut played, mut failed) = (Duration::ZERO, None);
        while played < length
            && let Some(segment) = segments.next().await
        {
            let segment = match segment {
                Ok(segment) => segment,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            };
            played += segment.duration;
            // A pipe can wait where a live encoder would lose segments.
            pushes.start_in_turn(segment).await;
        }
        pushes.finish().await;
        failed.map_or(Ok(()), Err)
    }

    async fn push_all(self: &Arc<Self>, input: &FileInput) -> Result<(), PoolError> {
        if input.path == Path::new(STDIN) {
            return self.play_pipe(input.stream.clone(), stdin(), input.duration).await;
        }
        let mut source = self.media.source(SourceSettings::new(&input.path, input.duration))?;
        let admission = Arc::new(Admission::plain(input.stream.clone(), &self.settings()));
        let mut pushes = Pushes::new(self.clone(), admission);
        let mut pacer = Pacer::new();
        while let Some(segment) = source.next().await {
            let segment = segment?;
            pacer.release(segment.duration).await;
            // A file can wait where a live encoder would lose segments.
            pushes.start_in_turn(segment).await;
        }
        pushes.finish().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn segments_are_released_in_real_time() {
        let start = Instant::now();
        let mut pacer = Pacer::new();
        let mut released = Vec::new();
        for millis in [2000, 2000, 1500] {
            pacer.release(Duration::from_millis(millis)).await;
            released.push(start.elapsed().as_millis());
        }
        assert_eq!(released, [2000, 4000, 5500]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_is_made_up_for() {
        let start = Instant::now();
        let mut pacer = Pacer::new();
        pacer.release(Duration::from_secs(2)).await;
        sleep(Duration::from_secs(3)).await;
        pacer.release(Duration::from_secs(2)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        pacer.release(Duration::from_secs(2)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(6));
    }
}
