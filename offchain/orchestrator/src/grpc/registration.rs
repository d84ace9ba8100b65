//! RegisterTranscoder: a stream of segments for a remote transcoder (node.md §3).
use std::pin::Pin;

use alloy_primitives::B256;
use futures::{Stream, StreamExt};
use streamflow_wire::{
    Code, Refusal as Coded, SegmentRequest, TranscoderTask, capability,
    proto::{AuthToken, NotifySegment, RegisterRequest, transcoder_server::Transcoder},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::{
    http::INPUT_SUFFIX,
    pool::{JoinError, Membership, Notice},
    refusal,
    service::Service,
    transcode::TranscodeJob,
};

/// [`streamflow_wire::header::MEMBER`] as the metadata wants it.
const MEMBER: &str = "streamflow-member";
/// [`streamflow_wire::header::HEARTBEAT_MS`] as the metadata wants it.
const HEARTBEAT_MS: &str = "streamflow-heartbeat-ms";

#[derive(Clone, Debug)]
pub(super) struct Registration {
    service: Service,
}

impl Registration {
    pub(super) fn new(service: Service) -> Self {
        Self { service }
    }

    fn not_joined(&self, error: JoinError, capacity: i64) -> Status {
        let refusal = match error {
            JoinError::ZeroCapacity => {
                Coded::new(Code::TranscoderCapacityInvalid, format!("{capacity} sessions"), "1 session")
            }
            JoinError::Full { max } => {
                let connected = self.service.pool().connected();
                Coded::new(Code::TooManyTranscoders, format!("{connected} transcoders"), format!("{max} transcoders"))
            }
        };
        refusal.on_status(Status::unknown(error.to_string()))
    }

    /// Ends when the pool gives the transcoder up; dropping it takes the transcoder out of the pool.
    fn stream(&self, membership: Membership) -> impl Stream<Item = Result<NotifySegment, Status>> + Send + use<> {
        let Membership { inbox, gone, leave, token: _ } = membership;
        let service = self.service.clone();
        let task = move |notice| {
            let _member = &leave;
            Ok(task(&service, notice).to_proto())
        };
        ReceiverStream::new(inbox).map(task).take_until(gone.cancelled_owned())
    }
}

/// What a transcoder is told.
pub(crate) fn task(service: &Service, notice: Notice) -> TranscoderTask {
    match notice {
        Notice::EndSession(session_id) => TranscoderTask::EndSession { session_id },
        Notice::Segment(task, job) => TranscoderTask::Transcode {
            task_id: task.0,
            url: format!("{}/stream/{}/{}{INPUT_SUFFIX}", service.service_uri(), job.session_id, job.seq),
            orchestrator: service.name(),
            segment: Box::new(request(&job)),
        },
    }
}

fn request(job: &TranscodeJob) -> SegmentRequest {
    let duration_ms = u32::try_from(job.duration.as_millis()).unwrap_or(u32::MAX);
    let auth_token = AuthToken { session_id: job.session_id.clone(), ..Default::default() };
    SegmentRequest {
        capabilities: Some(capability::job(job.source, &job.profiles, false)),
        auth_token: Some(auth_token),
        ..SegmentRequest::new(job.manifest_id.clone(), job.seq, B256::ZERO, job.profiles.clone(), duration_ms)
    }
}

#[tonic::async_trait]
impl Transcoder for Registration {
    type RegisterTranscoderStream = Pin<Box<dyn Stream<Item = Result<NotifySegment, Status>> + Send>>;

    async fn register_transcoder(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<Self::RegisterTranscoderStream>, Status> {
        let peer = request.remote_addr().map(tracing::field::display);
        let request = request.into_inner();
        if !self.service.transcoder_secret().matches(request.secret.as_bytes()) {
            tracing::warn!(peer, "transcoder with a wrong secret");
            let refusal =
                Coded::new(Code::TranscoderSecretWrong, "another secret, or none", "the orchestrator's secret");
            return Err(refusal.on_status(Status::unknown("invalid secret")));
        }
        if self.service.intake_closed().is_cancelled() {
            return Err(refusal::stopping().on_status(Status::unavailable("TranscoderStopped")));
        }
        let capabilities = request.capabilities.unwrap_or_else(|| crate::service::capabilities(1, |_| false));
        let membership = self.service.pool().join(request.capacity, capabilities);
        let membership = membership.map_err(|error| self.not_joined(error, request.capacity))?;
        tracing::info!(peer, capacity = request.capacity, "transcoder registered");
        let name = membership.token.to_text();
        let mut response: Response<Self::RegisterTranscoderStream> = Response::new(Box::pin(self.stream(membership)));
        // Transcoders of ours name themselves by it, and tell how they are; others pass it over.
        let interval = self.service.config().limits.keep_alive.as_millis() / 2;
        let metadata = response.metadata_mut();
        for (key, value) in [(MEMBER, name), (HEARTBEAT_MS, interval.max(1).to_string())] {
            let value = value.parse().map_err(|_| Status::internal("registration cannot be answered"))?;
            metadata.insert(key, value);
        }
        Ok(response)
    }
}
