//! The protocol of 2018, in which a job on chain says who transcodes for whom (docs/designs/033-jobs-protocol.md). It shares
//! the port with today's: `GetTranscoder` has a path of its own, and a segment that comes with `Authorization` and
//! `Credentials` is one of a job.
use axum::{
    extract::{Request, State},
    http::{HeaderMap, Method, header::AUTHORIZATION},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use streamflow_wire::{
    header,
    jobs::{GET_TRANSCODER, proto::orchestrator_server::OrchestratorServer},
};

use crate::listener::Routes;

mod config;
mod desk;
mod discovery;
mod options;
mod refusal;
mod segment;
mod source;

pub use config::JobsConfig;
pub(crate) use desk::{Jobs, session_key};
pub use source::{JobFuture, JobSource, JobUnavailable};

/// A job's number, a signature and a block.
const MAX_MESSAGE_BYTES: usize = 4096;

impl Jobs {
    /// Puts this protocol beside today's.
    pub(crate) fn add_to(self, routes: Routes) -> Routes {
        let server = OrchestratorServer::new(discovery::Discovery::new(self.clone()));
        let grpc = routes.grpc.route_service(GET_TRANSCODER, server.max_decoding_message_size(MAX_MESSAGE_BYTES));
        Routes { grpc, http: routes.http.layer(from_fn_with_state(self, divert)), ..routes }
    }
}

/// Takes segments of jobs out of today's protocol.
async fn divert(State(jobs): State<Jobs>, request: Request, next: Next) -> Response {
    let is_segment = request.method() == Method::POST && request.uri().path() == "/segment";
    if is_segment && is_of_job(request.headers()) {
        segment::post(jobs, request).await
    } else {
        next.run(request).await
    }
}

fn is_of_job(headers: &HeaderMap) -> bool {
    headers.contains_key(AUTHORIZATION) && headers.contains_key(header::CREDENTIALS)
}
