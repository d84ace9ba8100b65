//! Chain access: the node's connection, head and round follower, senders' funds, transactions, and the calls that the
//! command line offers. Roles get chain state as `watch` channels and a [`TxHandle`]; they never import this crate.

mod calls;
mod clock;
mod config;
mod contracts;
pub mod delegator;
mod discovery;
mod endpoint;
mod error;
mod follower;
mod history;
mod inspect;
mod jobs;
mod metrics;
mod number;
mod ordered;
mod profile;
mod registry;
mod retry;
mod revert;
mod round;
mod rpc;
mod sender;
mod tx;

pub use calls::{Calls, redeem_call};
pub use config::{ChainConfig, ConfigError, TxConfig};
pub use contracts::{Chain, connect, connect_when_up, resolve};
pub use discovery::{RegisteredTranscoder, registered_transcoders};
pub use endpoint::Fault;
pub use error::ChainError;
pub use follower::{BlockFeed, BlockFollower, BlockStream, Health};
pub use history::{BlockEvent, BlockHeader};
pub use inspect::{MinedCall, Simulated};
pub use jobs::JobReader;
pub use ordered::{FaceValueTooLarge, OrderedGroup, ordered_face_value, ordered_ticket, redeem_ordered_call};
pub use profile::ChainProfile;
pub use registry::{RegistryEntry, RegistryOffer, RegistryQuery, registry_pages};
pub use revert::Revert;
pub use round::RoundFollower;
pub use rpc::{Rpc, wait_for_node};
pub use sender::{SenderMonitor, SenderMonitorTask};
pub use tx::{
    DryRun, GasPolicy, IntentId, JournalError, MemoryJournal, Raised, TxAttempt, TxError, TxHandle, TxIntent,
    TxJournal, TxManager, TxOutcome, TxRecord, TxState, send_all,
};
