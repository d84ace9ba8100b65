//! The broadcaster role: takes a live stream in, has it transcoded by orchestrators it pays per pixel, checks what comes
//! back, and serves it as HLS.
//!
//! [`Broadcaster::bind`] takes the port, [`Broadcaster::run`] serves until it is told to stop. The node gives it the chain
//! as `watch` channels ([`Deps`]); it never talks to the chain itself.

mod broadcaster;
mod client;
mod config;
mod error;
mod metrics;
mod multipart;
mod orchestrators;
mod page;
mod payment;
mod play;
mod push;
mod remote;
mod segment;
mod serve;
mod session;
mod status;
mod stream;
mod transcode;
mod verify;

pub use broadcaster::{Broadcaster, BroadcasterHandle, Deps};
pub use client::CallError;
pub use config::{BroadcasterConfig, BroadcasterConfigError, FileInput, PaymentConfig};
pub use error::{
    AttemptError, BroadcasterError, PaymentError, PlayError, QuoteError, Refusal, SegmentError, SignerError,
    VerifyError,
};
pub use orchestrators::Candidate;
pub use payment::{Funding, Payments};
pub use remote::RemoteSigner;
pub use status::{
    FundsStatus, PaymentMode, RenditionStatus, SegmentStatus, SessionStatus, Status, StreamStatus, TicketStatus,
};
