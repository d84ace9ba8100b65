//! The body of `POST /generate-live-payment`, within its limits (payments.md §2.2).
use prost::Message;
use streamflow_wire::proto;

use crate::{
    json::{FieldError, Fields},
    state::SignedState,
};

/// Longest body.
pub(crate) const MAX_BODY: usize = 1 << 20;
const MAX_STATE: usize = 8 * 1024;
const MAX_SIGNATURE: usize = 65;
/// Decoding a message takes several times its size.
const MAX_ORCHESTRATOR: usize = 64 * 1024;
const MAX_CAPABILITIES: usize = 16 * 1024;
const MAX_SEGMENT: usize = 64 * 1024;
const MAX_MANIFEST: usize = 128;
const MAX_APP: usize = 256;
const MAX_TYPE: usize = 32;

/// Why a body cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("request is not a JSON object: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error("missing orchestrator")]
    NoOrchestrator,
    #[error("orchestrator is not an OrchestratorInfo: {0}")]
    Orchestrator(#[source] prost::DecodeError),
    #[error("capabilities cannot be read: {0}")]
    Capabilities(#[source] prost::DecodeError),
    #[error("segment cannot be read: {0}")]
    Segment(#[source] prost::DecodeError),
}

/// A body, nothing of it checked yet.
#[derive(Debug)]
pub(crate) struct PaymentRequest<'a> {
    pub(crate) state: Option<SignedState>,
    pub(crate) info: proto::OrchestratorInfo,
    pub(crate) manifest_id: String,
    pub(crate) app: String,
    pub(crate) job: String,
    pub(crate) in_pixels: i64,
    pub(crate) max_price: Option<Fields<'a>>,
    capabilities: Vec<u8>,
    segment: Vec<u8>,
}

impl<'a> PaymentRequest<'a> {
    pub(crate) fn parse(body: &'a str) -> Result<Self, RequestError> {
        let fields = Fields::parse(body)?;
        let orchestrator = fields.bytes("orchestrator", MAX_ORCHESTRATOR)?;
        if orchestrator.is_empty() {
            return Err(RequestError::NoOrchestrator);
        }
        let state = fields.object("state")?;
        let state = SignedState { state: state.bytes("state", MAX_STATE)?, sig: state.bytes("sig", MAX_SIGNATURE)? };
        Ok(Self {
            state: Some(state).filter(|state| !state.state.is_empty() || !state.sig.is_empty()),
            info: orchestrator_info(&orchestrator).map_err(RequestError::Orchestrator)?,
            manifest_id: fields.text("manifestid", MAX_MANIFEST)?,
            app: fields.text("app", MAX_APP)?,
            job: fields.text("type", MAX_TYPE)?,
            in_pixels: fields.value("inpixels")?,
            max_price: fields.raw("maxprice").map(|_| fields.object("maxprice")).transpose()?,
            capabilities: fields.bytes("capabilities", MAX_CAPABILITIES)?,
            segment: fields.bytes("segment", MAX_SEGMENT)?,
        })
    }

    /// What the job needs; none if the request does not say.
    pub(crate) fn capabilities(&self) -> Result<Option<proto::Capabilities>, RequestError> {
        decode(&self.capabilities).map_err(RequestError::Capabilities)
    }

    /// The segment that the credentials are wanted for, unsigned; none asks for those of an empty segment.
    pub(crate) fn segment(&self) -> Result<Option<proto::SegData>, RequestError> {
        decode(&self.segment).map_err(RequestError::Segment)
    }
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<Option<M>, prost::DecodeError> {
    if bytes.is_empty() { Ok(None) } else { M::decode(bytes).map(Some) }
}

/// Go's signer takes the info itself, its protocol document names the `PaymentResult` around it. They share no field.
fn orchestrator_info(bytes: &[u8]) -> Result<proto::OrchestratorInfo, prost::DecodeError> {
    match proto::PaymentResult::decode(bytes)?.info {
        Some(info) => Ok(info),
        None => proto::OrchestratorInfo::decode(bytes),
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;

    fn info() -> proto::OrchestratorInfo {
        proto::OrchestratorInfo { transcoder: "https://o.example".into(), ..Default::default() }
    }

    #[test]
    fn the_info_is_taken_bare_and_wrapped() {
        let wrapped = proto::PaymentResult { info: Some(info()) };
        for bytes in [info().encode_to_vec(), wrapped.encode_to_vec()] {
            let body = format!(r#"{{"Orchestrator":"{}"}}"#, STANDARD.encode(bytes));
            assert_eq!(PaymentRequest::parse(&body).unwrap().info, info());
        }
    }

    #[test]
    fn the_first_request_of_go_has_no_state() {
        let orchestrator = STANDARD.encode(info().encode_to_vec());
        let body = format!(
            r#"{{"state":{{"State":null,"Sig":null}},"orchestrator":"{orchestrator}","ManifestID":"m","maxPrice":null}}"#
        );
        let request = PaymentRequest::parse(&body).unwrap();
        assert!(request.state.is_none() && request.max_price.is_none());
        assert_eq!(request.manifest_id, "m");
        let half = body.replace(r#""State":null"#, r#""sTATE":"AAAA""#);
        assert_eq!(PaymentRequest::parse(&half).unwrap().state.unwrap().state, [0; 3]);
    }

    #[test]
    fn fields_have_limits() {
        let orchestrator = STANDARD.encode(info().encode_to_vec());
        let with = |field: &str| {
            let body = format!(r#"{{"orchestrator":"{orchestrator}",{field}}}"#);
            PaymentRequest::parse(&body).map(drop).map_err(|error| error.to_string())
        };
        let long = |bytes: usize| STANDARD.encode(vec![0; bytes]);
        assert_eq!(with(&format!(r#""app":"{}""#, "x".repeat(257))), Err("app is too long".into()));
        assert_eq!(with(&format!(r#""manifestID":"{}""#, "x".repeat(129))), Err("manifestid is too long".into()));
        assert_eq!(with(&format!(r#""state":{{"state":"{}"}}"#, long(8193))), Err("state is too long".into()));
        assert_eq!(with(&format!(r#""state":{{"sig":"{}"}}"#, long(66))), Err("sig is too long".into()));
        assert_eq!(with(&format!(r#""segment":"{}""#, long(70_000))), Err("segment is too long".into()));
        assert_eq!(with(r#""inPixels":1.5"#), Err("inpixels has the wrong type".into()));
        let huge = format!(r#"{{"orchestrator":"{}"}}"#, long(70_000));
        assert_eq!(PaymentRequest::parse(&huge).unwrap_err().to_string(), "orchestrator is too long");
    }
}
