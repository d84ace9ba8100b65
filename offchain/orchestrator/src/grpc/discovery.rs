//! GetOrchestrator, EndTranscodingSession, Ping (node.md §2.3, §2.6).
use alloy_primitives::Address;
use streamflow_types::with_causes;
use streamflow_wire::{
    Code, DiscoveryError, Refusal as Coded, WireError,
    proto::{
        EndTranscodingSessionRequest, EndTranscodingSessionResponse, OrchestratorInfo, OrchestratorRequest, PingPong,
        orchestrator_server::Orchestrator,
    },
    refusal::{of_quote, scrub},
    sign_ping, verify_request,
};
use tonic::{Request, Response, Status};

use crate::{
    admission::Demand,
    payments::PaymentError,
    quotas::Sender,
    refusal::{self, Refusal},
    service::Service,
};

/// Longest challenge that is signed: the hash that nodes check themselves with. Anybody may ask, and a signature over a longer
/// one of his choice could be that of a ticket, whose shortest form has 168 bytes, or of a segment.
const MAX_PING_BYTES: usize = 32;

#[derive(Clone, Debug)]
pub(super) struct Discovery {
    service: Service,
}

impl Discovery {
    pub(super) fn new(service: Service) -> Self {
        Self { service }
    }

    fn sender(&self, request: &OrchestratorRequest) -> Result<Address, DiscoveryError> {
        match self.service.payments() {
            None => Ok(Address::ZERO),
            Some(_) => verify_request(request).ok_or(DiscoveryError::Signature),
        }
    }
}

/// Deployed nodes answer every refusal with the code "unknown", and peers read the text.
fn refused(error: &DiscoveryError, coded: &Coded) -> Status {
    coded.on_status(Status::unknown(error.to_string()))
}

fn unsigned(error: DiscoveryError) -> Status {
    refused(&error, &Coded::new(Code::RequestNotSigned, "no signature of the address", "a signature of the address"))
}

fn not_offered(error: PaymentError, service: &Service) -> Status {
    tracing::warn!(error = with_causes(&error), "no terms offered");
    let text = scrub(&error.to_string());
    match error {
        PaymentError::Quote(error) => {
            let coded = of_quote(&error);
            refused(&error.into(), &coded)
        }
        PaymentError::Chain(error) => refusal::of_chain(&error, service).on_status(Status::unavailable(text)),
        PaymentError::Stopping => refusal::stopping().on_status(Status::unavailable(text)),
        error @ PaymentError::Unheard { .. } => {
            Refusal::from(error).coded(service).on_status(Status::unavailable(text))
        }
        other => Refusal::from(other).coded(service).on_status(Status::internal(text)),
    }
}

#[tonic::async_trait]
impl Orchestrator for Discovery {
    async fn get_orchestrator(
        &self,
        request: Request<OrchestratorRequest>,
    ) -> Result<Response<OrchestratorInfo>, Status> {
        let peer = request.remote_addr().map(|peer| peer.ip());
        if let Some(peer) = peer {
            let counted = self.service.quotas().quote(peer);
            counted.map_err(|exceeded| {
                refusal::of_quota(&exceeded).on_status(Status::resource_exhausted(exceeded.to_string()))
            })?;
        }
        let sender = self.sender(request.get_ref()).map_err(unsigned)?;
        if self.service.intake_closed().is_cancelled() {
            return Err(refusal::stopping().on_status(Status::unavailable("TranscoderStopped")));
        }
        // Who asks for a job holds no place yet, and is refused only where nobody would find one. Who asks what this node is
        // and costs gets his answer in any case; so does who has a stream here, which ends without new terms.
        if request.get_ref().capabilities.is_some()
            && let Err(overload) = self.service.sessions().room(Demand::NONE)
            && !self.service.sessions().serves(Sender::of(sender, peer))
        {
            tracing::debug!(%overload, "no terms offered");
            return Err(refused(&DiscoveryError::Capped, &refusal::of_overload(&overload)));
        }
        let checked = self.service.gatekeeper().check(sender).await;
        checked.map_err(|why| refusal::of_unauthorized(&why).on_status(Status::unknown(why.to_string())))?;
        let token = self.service.tokens().issue(rand::random::<[u8; 16]>(), self.service.now());
        let offer = self.service.offer(sender, &token).await.map_err(|error| not_offered(error, &self.service))?;
        Ok(Response::new(offer.to_proto()))
    }

    async fn end_transcoding_session(
        &self,
        request: Request<EndTranscodingSessionRequest>,
    ) -> Result<Response<EndTranscodingSessionResponse>, Status> {
        let token = request.into_inner().auth_token;
        let checked = token.as_ref().ok_or(WireError::MissingAuthToken);
        let session = checked.and_then(|token| self.service.tokens().check_origin(token));
        let session = session.map_err(|error| error.refusal().on_status(Status::unknown("Invalid auth token")))?;
        self.service.sessions().end(session);
        Ok(Response::new(EndTranscodingSessionResponse {}))
    }

    async fn ping(&self, request: Request<PingPong>) -> Result<Response<PingPong>, Status> {
        let value = request.into_inner().value;
        if value.len() > MAX_PING_BYTES {
            let told = format!("a challenge of {} bytes, at most {MAX_PING_BYTES} are signed", value.len());
            let (got, limit) = (format!("{} bytes", value.len()), format!("{MAX_PING_BYTES} bytes"));
            return Err(Coded::new(Code::PingTooLong, got, limit).on_status(Status::invalid_argument(told)));
        }
        match self.service.payments() {
            None => Ok(Response::new(PingPong::default())),
            Some(payments) => {
                let answer = sign_ping(&value, payments.signer());
                answer.map(Response::new).map_err(|error| {
                    tracing::warn!(error = with_causes(&error), "challenge not signed");
                    Status::internal("Internal Server Error")
                })
            }
        }
    }
}
