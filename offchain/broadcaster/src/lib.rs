//! The broadcaster role: takes a live stream in, has it transcoded by orchestrators it pays per pixel, checks what comes
//! back, and serves it as HLS.
//!
//! [`Broadcaster::bind`] takes the port, [`Broadcaster::run`] serves until it is told to stop. The node gives it the chain
//! as `watch` channels ([`Deps`]); it never talks to the chain itself.

mod admission;
mod broadcaster;
mod budget;
mod client;
mod config;
mod error;
mod metrics;
mod multipart;
mod orchestrators;
mod output;
mod page;
mod payment;
mod play;
mod push;
mod remote;
mod rtmp;
mod segment;
mod serve;
mod session;
mod status;
mod stream;
mod top_up;
mod transcode;
mod verify;
mod webhook;

pub use admission::AdmitError;
pub use broadcaster::{Broadcaster, BroadcasterHandle, Deps};
pub use budget::{BudgetError, Clock};
pub use client::CallError;
pub use config::{
    BroadcasterConfig, BroadcasterConfigError, BudgetConfig, FileInput, HlsFormat, PaymentConfig, RtmpConfig,
    TopUpConfig,
};
pub use error::{
    AttemptError, BadTerms, BroadcasterError, Cure, PaymentError, PlayError, QuoteError, Refusal, SegmentError,
    SignerError, VerifyError,
};
pub use orchestrators::Candidate;
pub use output::OutputStoreError;
pub use payment::{Funding, Payments};
pub use remote::RemoteSigner;
pub use rtmp::{IngestError, RtmpError, TagError};
pub use status::{
    BudgetStatus, FundsStatus, PaymentMode, RenditionStatus, SegmentStatus, SessionStatus, Status, StreamStatus,
    TicketStatus,
};
pub use top_up::{DepositTopUp, TopUpError, TopUpFuture};
pub use webhook::{OrdersError, WebhookError};
