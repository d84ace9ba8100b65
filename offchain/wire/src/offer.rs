//! What an orchestrator offers a broadcaster: `OrchestratorInfo` (node.md §1.1).
use alloy_primitives::Address;
use streamflow_types::{Price, TicketParams};

use crate::{
    PaymentError,
    number::address,
    payment::{params_from_proto, params_to_proto, price_from_proto, price_to_proto},
    proto, stream,
};

/// A checked `OrchestratorInfo`, as far as transcoding needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// Base URI of `POST /segment`; empty for a node that is registered but not working.
    pub service_uri: String,
    /// Terms for tickets; none without a chain.
    pub params: Option<TicketParams>,
    /// Wei per pixel.
    pub price: Option<Price>,
    /// Signer of results; zero means the recipient of the tickets.
    pub address: Address,
    /// What it can do.
    pub capabilities: Option<proto::Capabilities>,
    /// Proof of the session.
    pub auth_token: Option<proto::AuthToken>,
    /// Where it wants its input; empty means in the request.
    pub storage: Vec<proto::OsInfo>,
    /// Other instances of the same operator.
    pub nodes: Vec<String>,
    /// Newest version of `POST /segment/stream` that it speaks; 0: none, as deployed peers.
    pub stream_version: u32,
}

impl Offer {
    /// Account that must have signed the results.
    pub fn result_signer(&self) -> Address {
        match (&self.params, self.address.is_zero()) {
            (Some(params), true) => params.recipient,
            _ => self.address,
        }
    }

    /// Whether segments may be streamed to it.
    pub fn speaks_streams(&self) -> bool {
        self.stream_version >= stream::VERSION
    }

    /// As it travels.
    pub fn to_proto(&self) -> proto::OrchestratorInfo {
        proto::OrchestratorInfo {
            transcoder: self.service_uri.clone(),
            ticket_params: self.params.as_ref().map(params_to_proto),
            price_info: self.price.map(price_to_proto),
            address: self.address.to_vec(),
            capabilities: self.capabilities.clone(),
            auth_token: self.auth_token.clone(),
            storage: self.storage.clone(),
            nodes: self.nodes.clone(),
            stream_version: self.stream_version,
            ..Default::default()
        }
    }

    /// Checks lengths and ranges.
    pub fn from_proto(info: proto::OrchestratorInfo) -> Result<Self, PaymentError> {
        Ok(Self {
            params: info.ticket_params.as_ref().map(params_from_proto).transpose()?,
            price: info.price_info.as_ref().map(price_from_proto).transpose()?,
            address: address("address", &info.address)?,
            service_uri: info.transcoder,
            capabilities: info.capabilities,
            auth_token: info.auth_token,
            storage: info.storage,
            nodes: info.nodes,
            stream_version: info.stream_version,
        })
    }
}
