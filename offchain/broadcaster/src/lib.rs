//! The broadcaster role: takes a live stream in, has it transcoded by orchestrators it pays per pixel, checks what comes
//! back, and serves it as HLS.
//!
//! [`Broadcaster::bind`] takes the port, [`Broadcaster::run`] serves until it is told to stop. The node gives it the chain
//! as `watch` channels ([`Deps`]); it never talks to the chain itself.

mod admission;
mod ahead;
mod arriving;
mod broadcaster;
mod budget;
mod charge;
mod client;
mod config;
mod connections;
mod discovery;
mod error;
#[cfg(test)]
mod fuzz;
mod listener;
mod live;
mod metrics;
mod multipart;
mod numbering;
mod orchestrators;
mod output;
mod page;
mod payment;
mod play;
mod push;
mod pushes;
mod race;
mod refusal;
mod remote;
mod rtmp;
mod segment;
mod selection;
mod serve;
mod session;
mod status;
mod stream;
mod streamed;
mod top_up;
mod transcode;
mod verification;
mod verify;
mod webhook;

pub use admission::AdmitError;
pub use broadcaster::{Broadcaster, BroadcasterHandle, Deps};
pub use budget::{BudgetError, Clock};
pub use charge::ChargeError;
pub use client::{CallError, OrchestratorClient, Submission};
pub use config::{
    BroadcasterConfig, BroadcasterConfigError, BudgetConfig, FileInput, HlsFormat, PaymentConfig, RtmpConfig,
    TopUpConfig,
};
pub use discovery::{
    AddressError, Candidate, CandidateOffer, DiscoveryConfig, DiscoveryError, Dropped, ListError, OrchestratorCache,
    parse_address,
};
pub use error::{
    AttemptError, BadTerms, BroadcasterError, Cure, PaymentError, PlayError, QuoteError, Refusal, SegmentError,
    SignerError, VerifyError,
};
pub use output::OutputStoreError;
pub use payment::{Funding, Payments};
pub use race::{FailoverConfig, RedundancyConfig};
pub use remote::RemoteSigner;
pub use rtmp::{IngestError, RtmpError, TagError};
pub use selection::{CandidateStatus, ChoiceStatus, SelectionConfig, SelectionError, Weights};
pub use status::{
    BalanceStatus, BudgetStatus, DropStatus, FundsStatus, PaymentMode, PoolStatus, RenditionStatus, RtmpStatus,
    SegmentStatus, SessionStatus, Status, StreamStatus, TicketStatus,
};
pub use top_up::{DepositTopUp, TopUpError, TopUpFuture};
pub use verification::{Evidence, ReceiptError, Verdict, VerificationConfig};
pub use webhook::{OrdersError, WebhookError};
