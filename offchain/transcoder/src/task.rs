//! One segment: download, transcode, deliver.
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{
    Client, RequestBuilder, Response,
    header::{AUTHORIZATION, CONTENT_TYPE},
    redirect,
};
use streamflow_media::Transcoded;
use streamflow_types::Secret;
use streamflow_wire::{SegmentRequest, header};
use tokio::time::Instant;
use tracing::Instrument as _;
use url::Url;

use crate::{
    LocalTranscoder, TranscoderConfig,
    error::TaskError,
    metrics,
    multipart::{MixedBody, Part},
};

/// Uploads of one result before it is given up.
const POST_ATTEMPTS: u32 = 2;

/// Talks HTTP with the orchestrator. Clones share connections.
#[derive(Clone, Debug)]
pub(crate) struct TaskClient {
    http: Client,
    results: Url,
    /// Where to tell how we are.
    state: Url,
    secret: Secret,
    /// By which the orchestrator knows this registration.
    member: Option<String>,
    max_segment_bytes: u64,
    fetch_timeout: Duration,
    post_timeout: Duration,
}

impl TaskClient {
    /// The orchestrator's certificate is not verified; see [`crate::tls`].
    pub(crate) fn new(config: &TranscoderConfig, orchestrator: &Url, secret: Secret) -> Result<Self, reqwest::Error> {
        let http = Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .redirect(redirect::Policy::none())
            .connect_timeout(config.connect_timeout)
            .build()?;
        let mut results = orchestrator.clone();
        results.set_path("/transcodeResults");
        let mut state = orchestrator.clone();
        state.set_path("/transcoderState");
        Ok(Self {
            http,
            results,
            state,
            secret,
            member: None,
            max_segment_bytes: config.max_segment_bytes,
            fetch_timeout: config.fetch_timeout,
            post_timeout: config.post_timeout,
        })
    }

    /// The same for one registration.
    pub(crate) fn of(&self, member: Option<String>) -> Self {
        Self { member, ..self.clone() }
    }

    /// The same for another orchestrator, where this transcoder has this name.
    pub(crate) fn at(&self, orchestrator: &Url, member: String) -> Self {
        let (mut results, mut state) = (orchestrator.clone(), orchestrator.clone());
        results.set_path("/transcodeResults");
        state.set_path("/transcoderState");
        Self { results, state, member: Some(member), ..self.clone() }
    }

    /// Tells the orchestrator how we are, if it wants to know.
    pub(crate) async fn tell(&self, state: &'static str, within: Duration) {
        let Some(member) = &self.member else { return };
        let request = self
            .http
            .post(self.state.clone())
            .timeout(within)
            .header(AUTHORIZATION, header::TRANSCODER_AUTHORIZATION)
            .header(header::CREDENTIALS, self.secret.expose())
            .header(header::MEMBER, member)
            .header(header::STATE, state);
        if let Err(error) = request.send().await {
            tracing::debug!(%error, state, "orchestrator does not hear of us");
        }
    }

    /// Downloads a segment, no more of it than allowed.
    async fn fetch(&self, url: &str) -> Result<Bytes, TaskError> {
        let max = self.max_segment_bytes;
        let mut response = self.http.get(url).timeout(self.fetch_timeout).send().await?;
        if !response.status().is_success() {
            return Err(TaskError::FetchStatus(response.status()));
        }
        if response.content_length().is_some_and(|length| length > max) {
            return Err(TaskError::TooLarge { max });
        }
        let mut data = BytesMut::new();
        while let Some(chunk) = response.chunk().await? {
            if data.len() as u64 + chunk.len() as u64 > max {
                return Err(TaskError::TooLarge { max });
            }
            data.extend_from_slice(&chunk);
        }
        Ok(data.freeze())
    }

    fn post(&self, task_id: i64) -> RequestBuilder {
        let request = self
            .http
            .post(self.results.clone())
            .timeout(self.post_timeout)
            .header(AUTHORIZATION, header::TRANSCODER_AUTHORIZATION)
            .header(header::CREDENTIALS, self.secret.expose())
            .header(header::TASK_ID, task_id);
        match &self.member {
            Some(member) => request.header(header::MEMBER, member),
            None => request,
        }
    }

    /// Uploads renditions. A connection that breaks is tried again, a refusal is final.
    async fn deliver(&self, task_id: i64, decoded_pixels: u64, body: &MixedBody) -> Result<Response, reqwest::Error> {
        let mut attempt = 1;
        loop {
            let request = self
                .post(task_id)
                .header(header::PIXELS, decoded_pixels)
                .header(CONTENT_TYPE, body.content_type())
                .body(reqwest::Body::wrap_stream(body.stream()));
            match request.send().await {
                Err(error) if attempt < POST_ATTEMPTS => {
                    tracing::debug!(task_id, %error, "result is sent again");
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    /// Tells the orchestrator that a segment failed.
    pub(crate) async fn report(&self, task_id: i64, error: &TaskError) {
        let request = self.post(task_id).header(CONTENT_TYPE, header::TRANSCODING_ERROR).body(error.to_string());
        if let Err(error) = request.send().await {
            tracing::debug!(task_id, %error, "failure not reported");
        }
    }
}

/// One segment in hand.
#[derive(Debug)]
pub(crate) struct Task<'a> {
    pub(crate) task_id: i64,
    pub(crate) url: String,
    pub(crate) segment: SegmentRequest,
    pub(crate) local: &'a LocalTranscoder,
    pub(crate) client: &'a TaskClient,
}

impl Task<'_> {
    /// Does the work, under the name that the segment has elsewhere too.
    pub(crate) async fn run(self) {
        let (stream, seq) = (&self.segment.manifest_id, self.segment.seq);
        let session = self.segment.auth_token.as_ref().map(|token| token.session_id.clone());
        let span = tracing::info_span!("segment", %stream, seq, session, task_id = self.task_id);
        self.work().instrument(span).await;
    }

    /// Does the work and delivers renditions or the reason why there are none.
    async fn work(self) {
        let (task_id, started) = (self.task_id, Instant::now());
        match self.transcode().await {
            Ok(done) => self.deliver(done, started).await,
            Err(error) => {
                tracing::warn!(task_id, %error, "segment failed");
                metrics::segment_done(false, started.elapsed());
                self.client.report(task_id, &error).await;
            }
        }
    }

    async fn transcode(&self) -> Result<Transcoded, TaskError> {
        let input = self.client.fetch(&self.url).await?;
        // The orchestrator waits for max(8 s, 4 × duration), download and upload included (node.md §3).
        let duration = Duration::from_millis(self.segment.duration_ms.into());
        let limit = duration.saturating_mul(4).max(Duration::from_secs(8));
        Ok(self.local.transcode(input, self.segment.profiles.clone(), limit).await?)
    }

    async fn deliver(&self, done: Transcoded, started: Instant) {
        let task_id = self.task_id;
        let pixels = done.renditions.iter().map(|r| r.pixels).fold(0, u64::saturating_add);
        let profiles = self.segment.profiles.iter();
        let parts = done.renditions.into_iter().zip(profiles).map(|(rendition, profile)| Part {
            content_type: profile.format.content_type(),
            pixels: rendition.pixels,
            data: rendition.bytes,
        });
        let body = MixedBody::new(rand::random(), parts.collect());
        let delivered = self.client.deliver(task_id, done.source.pixels, &body).await;
        let ok = matches!(&delivered, Ok(response) if response.status().is_success());
        metrics::segment_done(ok, started.elapsed());
        match delivered {
            Ok(response) if ok => {
                metrics::encoded_pixels(pixels);
                tracing::debug!(task_id, pixels, took = ?started.elapsed(), status = %response.status(), "delivered");
            }
            // Too late, as a rule: the orchestrator gave the segment to another transcoder.
            Ok(response) => tracing::warn!(task_id, status = %response.status(), "result refused"),
            Err(error) => tracing::warn!(task_id, %error, "result not delivered"),
        }
    }
}
