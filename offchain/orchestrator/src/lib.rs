//! The orchestrator role: quotes prices, checks payments, dispatches segments.
//!
//! [`Orchestrator::bind`] opens one TLS port for gRPC and HTTP, [`Orchestrator::run`] serves it. A segment is checked and
//! charged, queued in its session, and transcoded by whatever implements [`Transcode`]: the pool of remote transcoders, or
//! workers of this process. Winning tickets are in the store before anybody gets an answer.
mod admission;
mod chain;
mod closing;
mod config;
#[cfg(test)]
mod fuzz;
mod gatekeeper;
mod grpc;
mod http;
mod intake;
mod jobs;
mod listener;
mod live;
mod metrics;
mod orchestrator;
mod outstanding;
mod payments;
mod pool;
mod price_feed;
mod quotas;
mod refusal;
mod rounds;
mod serials;
mod service;
mod sessions;
mod storage;
mod tls;
mod transcode;
mod turns;
mod upload;
mod wei;
mod workers;

pub use admission::Overload;
pub use chain::{ChainDeps, ChainUnavailable, FundsFuture, FundsUnavailable, SenderFundsSource};
pub use config::{
    AdmissionConfig, ConfigError, LimitsConfig, MaxSessions, OrchestratorConfig, StorageConfig, TicketConfig,
};
pub use gatekeeper::{Unauthorized, WebhookError};
pub use jobs::{JobFuture, JobSource, JobUnavailable, JobsConfig};
pub use live::{BrokenOff, Live, LiveInput, LiveOutput};
pub use orchestrator::{Deps, Handle, Orchestrator, StartError};
pub use payments::PaymentError;
pub use price_feed::{PriceFeed, PriceFeedConfig, PriceFeedError, Reading, Unbelievable};
pub use quotas::{Metered, QuotaConfig, QuotaExceeded, Sender};
pub use rounds::{RoundFacts, unquotable};
pub use service::Clock;
pub use streamflow_wire::TranscodeError;
pub use tls::TlsError;
pub use transcode::{LiveFuture, Rendition, Transcode, TranscodeFuture, TranscodeJob, deadline, live_deadline};
