//! GetTranscoder: where a job's segments go, and with what credentials.
use std::net::IpAddr;

use streamflow_wire::jobs::{
    AUTH_TYPE, issue_credentials,
    proto::{TranscoderInfo, TranscoderRequest, orchestrator_server::Orchestrator},
    request_signer,
};
use tonic::{Request, Response, Status};

use super::{desk::Jobs, refusal::JobRefusal};

#[derive(Clone, Debug)]
pub(super) struct Discovery {
    jobs: Jobs,
}

impl Discovery {
    pub(super) fn new(jobs: Jobs) -> Self {
        Self { jobs }
    }

    async fn answer(&self, request: &TranscoderRequest, peer: Option<IpAddr>) -> Result<TranscoderInfo, JobRefusal> {
        let service = self.jobs.service();
        if let Some(peer) = peer {
            service.quotas().quote(peer)?;
        }
        if service.intake_closed().is_cancelled() {
            return Err(JobRefusal::Stopping);
        }
        let there = u64::try_from(request.current_block).ok().filter(|block| *block > 0);
        let job = self.jobs.running(request.job_id, there).await?;
        let (signer, broadcaster) = (request_signer(request), job.broadcaster);
        if signer != Some(broadcaster) {
            return Err(JobRefusal::RequestSignature { job: job.id, signer, broadcaster });
        }
        let running = self.jobs.admit(job)?;
        let credentials = issue_credentials(request.job_id, self.jobs.payments().signer());
        let session = &running.session;
        let stream = |name: String| (format!("{session}/{name}"), name);
        Ok(TranscoderInfo {
            transcoder: service.service_uri().to_owned(),
            auth_type: AUTH_TYPE.to_owned(),
            credentials: credentials.map_err(JobRefusal::Signing)?,
            stream_ids: running.profiles.into_iter().map(|profile| stream(profile.name)).collect(),
        })
    }
}

#[tonic::async_trait]
impl Orchestrator for Discovery {
    async fn get_transcoder(&self, request: Request<TranscoderRequest>) -> Result<Response<TranscoderInfo>, Status> {
        let refused = |refusal: JobRefusal| {
            refusal.note();
            refusal.grpc(self.jobs.service())
        };
        let peer = request.remote_addr().map(|peer| peer.ip());
        self.answer(request.get_ref(), peer).await.map(Response::new).map_err(refused)
    }
}
