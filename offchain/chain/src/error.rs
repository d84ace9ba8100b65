//! Errors of reading the chain.
use std::sync::Arc;

use alloy::{
    primitives::{Address, B256},
    transports::{TransportError, TransportErrorKind},
};
use streamflow_bindings::ContractName;

use crate::{
    Fault, Revert,
    endpoint::{EndpointError, Unusable},
};

/// Why a fact of the chain could not be had. Every message names the setting to look at.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The setting is no URL that can be dialled.
    #[error(
        "chain.rpc_url must be an http or https URL with a host, as must each of chain.rpc_urls, got scheme {scheme:?}"
    )]
    InvalidUrl { scheme: String },
    /// The HTTP client could not be set up.
    #[error("cannot set up the HTTP client for the chain RPC")]
    Client(#[source] reqwest::Error),
    /// No usable answer: connection refused, time-out, HTTP error.
    #[error("no answer from the chain RPC at {host} to {call}: check that it runs and that chain.rpc_url is right")]
    Unreachable { host: String, call: &'static str, source: TransportError },
    /// The node was caught, and is not asked until it is in order again.
    #[error("the chain RPC at {host} is not used: {fault} (chain.rpc_url, chain.rpc_urls)")]
    Left { host: String, fault: Fault },
    /// Too few nodes say the same; each may be wrong.
    #[error("only {agreed} of {needed} chain RPCs agree on {call} (chain.rpc_urls, chain.quorum)")]
    Disagree { call: &'static str, agreed: usize, needed: usize },
    /// The node answered with an error.
    #[error("the chain RPC at {host} refused {call}: {source} (chain.rpc_url)")]
    Refused { host: String, call: &'static str, source: TransportError },
    /// The answer is not what the call returns.
    #[error("the chain RPC at {host} gave an unreadable answer to {call}: is chain.rpc_url an Ethereum node?")]
    BadAnswer { host: String, call: &'static str, source: TransportError },
    /// The contract's answer cannot be decoded: wrong address or another ABI.
    #[error("the answer to {call} cannot be decoded: chain.controller may belong to another deployment")]
    BadContract { call: &'static str, source: alloy::sol_types::Error },
    /// The contract refused the call.
    #[error("{call} would revert: {reason}")]
    Reverted { call: &'static str, reason: Revert },
    /// The node serves another chain.
    #[error("the chain RPC at {host} serves chain {got}, chain.chain_id says {expected}")]
    WrongChain { host: String, got: u64, expected: u64 },
    /// Nothing is deployed at the address of Controller.
    #[error("no contract at {controller} on the chain of {host}: check chain.controller and chain.rpc_url")]
    NoController { host: String, controller: Address },
    /// Controller does not know a contract we need.
    #[error("Controller {controller} has no {name}: check chain.controller")]
    NotRegistered { controller: Address, name: ContractName },
    /// The deployment has no contract for the jobs of 2018.
    #[error(
        "Controller {controller} has no TranscodingJobs: check chain.controller, or set orchestrator.jobs_2018.enabled = false"
    )]
    NoJobs { controller: Address },
    /// The follower has not seen a block yet.
    #[error("not synced with the chain yet")]
    NotSynced,
    /// The task that answers has ended.
    #[error("the chain follower has stopped")]
    Stopped,
    /// A value on chain does not fit our type.
    #[error("{what} on chain is out of range")]
    OutOfRange { what: &'static str },
    /// The node does not know a block that it announced: a reorganisation, or a node behind a balancer that lags.
    #[error("the chain RPC at {host} does not know block {hash} any more")]
    UnknownBlock { host: String, hash: B256 },
    /// A list on chain is longer than we read.
    #[error("{what} has more than {limit} entries")]
    TooMany { what: &'static str, limit: usize },
    /// The answer to several who asked together.
    #[error(transparent)]
    Shared(Arc<Self>),
}

impl ChainError {
    /// Whether no node could be reached that may be believed: waiting may help.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Left { .. } | Self::Disagree { .. } => true,
            Self::Shared(err) => err.is_unreachable(),
            _ => false,
        }
    }

    pub(crate) fn from_transport(host: &str, call: &'static str, source: TransportError) -> Self {
        let source = match source {
            TransportError::Transport(TransportErrorKind::Custom(cause)) => match told(cause, call) {
                Told::Known(err) => return err,
                Told::At(host, source) => return Self::from_transport(&host, call, source),
                Told::Nothing(cause) => TransportError::Transport(TransportErrorKind::Custom(cause)),
            },
            source => source,
        };
        let host = host.to_owned();
        match &source {
            TransportError::ErrorResp(payload) => match payload.as_revert_data() {
                Some(data) => Self::Reverted { call, reason: Revert::new(data) },
                None if payload.code == 3 || payload.message.contains("execution reverted") => {
                    Self::Reverted { call, reason: Revert::default() }
                }
                None => Self::Refused { host, call, source },
            },
            TransportError::DeserError { .. } | TransportError::NullResp | TransportError::SerError(_) => {
                Self::BadAnswer { host, call, source }
            }
            _ => Self::Unreachable { host, call, source },
        }
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What the endpoints told along with an error.
enum Told {
    Known(ChainError),
    At(String, TransportError),
    Nothing(Cause),
}

fn told(cause: Cause, call: &'static str) -> Told {
    let cause = match cause.downcast::<EndpointError>() {
        Ok(err) => return Told::At(err.host, err.source),
        Err(cause) => cause,
    };
    match cause.downcast::<Unusable>().map(|unusable| *unusable) {
        Ok(Unusable::Left { host, fault }) => Told::Known(ChainError::Left { host, fault }),
        Ok(Unusable::Disagree { agreed, needed }) => Told::Known(ChainError::Disagree { call, agreed, needed }),
        Err(cause) => Told::Nothing(cause),
    }
}
