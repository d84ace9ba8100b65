//! Segments of the fixture clip, and workers that transcode them.
use std::{ops::ControlFlow, path::PathBuf, sync::OnceLock, time::Duration};

use bytes::Bytes;
use futures::FutureExt as _;
use streamflow_media::{PoolConfig, SourceSettings, TranscodeSettings, WorkerPool, play};
use streamflow_orchestrator::{
    Live, LiveFuture, Rendition, Transcode, TranscodeError, TranscodeFuture, TranscodeJob, deadline, live_deadline,
};
use streamflow_transcoder::{LiveEvent, LocalTranscoder};
use streamflow_types::Profile;

/// Two segments of two seconds; encoded once for all tests.
pub(crate) fn segment(index: usize) -> Bytes {
    static SEGMENTS: OnceLock<Vec<Bytes>> = OnceLock::new();
    let segments = SEGMENTS.get_or_init(|| {
        let clip = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures/bbb-720p25-5s.mp4");
        let mut segments = Vec::new();
        play(&SourceSettings::new(clip, Duration::from_secs(4)), &mut |segment| {
            segments.push(segment.bytes);
            ControlFlow::Continue(())
        })
        .unwrap();
        segments
    });
    segments[index].clone()
}

pub(crate) fn profiles() -> Vec<Profile> {
    [("240p", 426, 240), ("180p", 320, 180)]
        .map(|(name, width, height)| Profile::new(name, width, height, 300_000).unwrap())
        .into()
}

/// The example program of this crate.
pub(crate) fn transcoder_program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.parent().unwrap().parent().unwrap().join("examples/transcoder")
}

pub(crate) async fn local_transcoder() -> LocalTranscoder {
    local_transcoder_and_pool(TranscodeSettings::default()).await.0
}

/// And its worker.
pub(crate) async fn local_transcoder_and_pool(settings: TranscodeSettings) -> (LocalTranscoder, WorkerPool) {
    let pool = PoolConfig { workers: 1, ..PoolConfig::new(transcoder_program(), ["worker"]) };
    let pool = WorkerPool::start(pool).await.unwrap();
    (LocalTranscoder::new(pool.clone(), settings), pool)
}

/// How a node joins the two roles in one process.
#[derive(Debug)]
pub(crate) struct InProcess(pub(crate) LocalTranscoder);

impl Transcode for InProcess {
    fn transcode(&self, job: TranscodeJob) -> TranscodeFuture<'_> {
        Box::pin(async move {
            let limit = deadline(job.duration);
            let done = self.0.transcode(job.input, job.profiles, limit).await;
            let done = done.map_err(|error| TranscodeError::from_text(&error.to_string()))?;
            let rendition = |r: streamflow_media::Rendition| Rendition { data: r.bytes, pixels: r.pixels };
            Ok(done.renditions.into_iter().map(rendition).collect())
        })
    }

    fn transcode_live(&self, job: TranscodeJob, live: Live) -> LiveFuture<'_> {
        let Live { input, output } = live;
        let put = move |event| {
            let put = match event {
                LiveEvent::Piece { rendition, bytes, pixels } => output.put(rendition, &bytes, pixels),
                LiveEvent::Again => {
                    output.again();
                    Ok(())
                }
            };
            // The orchestrator knows why it takes no more.
            if put.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        async move {
            let (limit, mut put) = (live_deadline(job.duration), put);
            let done = self
                .0
                .transcode_live(input.into_stream(), job.profiles, limit, &mut put)
                .await
                .map_err(|error| TranscodeError::from_text(&error.to_string()))?;
            Ok(done.renditions.iter().map(|made| made.pixels).collect())
        }
        .boxed()
    }

    fn end_session(&self, _session_id: &str) {}
}
