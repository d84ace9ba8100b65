//! The gRPC half of the port.
use axum::Router;
use streamflow_wire::proto::{orchestrator_server::OrchestratorServer, transcoder_server::TranscoderServer};
use tonic::service::Routes;

use crate::service::Service;

mod discovery;
mod registration;

pub(crate) use registration::task;

/// No request is longer: capabilities of an AI node are the largest.
const MAX_MESSAGE_BYTES: usize = 256 * 1024;

pub(crate) fn router(service: Service) -> Router {
    let orchestrator = OrchestratorServer::new(discovery::Discovery::new(service.clone()));
    let transcoder = TranscoderServer::new(registration::Registration::new(service));
    Routes::new(orchestrator.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(transcoder.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .into_axum_router()
}
