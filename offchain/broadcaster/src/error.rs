//! Why the broadcaster does not start, and why a segment is not transcoded.
use std::{fmt, io, net::SocketAddr, path::PathBuf};

use alloy_primitives::{Address, B256, U256};
use streamflow_media::{MediaError, PoolError, hls::HlsError};
use streamflow_pm::{
    FundsError, ParamsError, PriceGuardError, Remedy, SenderError, SignError, SignatureError, TooManyTicketsNeeded,
};
use streamflow_store::StoreError;
use streamflow_types::{ChainView, ManifestId, Round, SenderFunds};
use streamflow_wire::{Code, Refusal as Coded, asks_for_new_params, refusal::is_bad_input};
use url::Url;

use crate::{
    budget::BudgetError,
    charge::ChargeError,
    client::CallError,
    config::BroadcasterConfigError,
    discovery::Dropped,
    output::OutputStoreError,
    verification::{Evidence, ReceiptError},
};

/// Why the broadcaster does not start or run.
#[derive(Debug, thiserror::Error)]
pub enum BroadcasterError {
    /// Settings that cannot be used.
    #[error(transparent)]
    Config(#[from] BroadcasterConfigError),
    /// Streams cannot be kept.
    #[error("cannot create {} (setting broadcaster.data_dir)", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The address is taken or not ours.
    #[error("cannot listen on {address} (setting broadcaster.listen)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The address for RTMP is taken or not ours.
    #[error("cannot listen on {address} (setting broadcaster.rtmp.listen)")]
    ListenRtmp {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A store cannot be used.
    #[error("store of setting broadcaster.{setting} cannot be used")]
    Store {
        /// Which one.
        setting: &'static str,
        /// Why.
        #[source]
        source: OutputStoreError,
    },
    /// The webhook cannot be called.
    #[error("cannot prepare calls to the webhook (setting broadcaster.auth_webhook_url)")]
    Webhook(#[source] reqwest::Error),
    /// No TLS, no HTTP client, or no signature to ask for quotes with.
    #[error("cannot prepare calls to orchestrators")]
    Client(#[from] CallError),
    /// The remote signer cannot be called.
    #[error("cannot prepare calls to the signer")]
    Signer(#[from] SignerError),
    /// Requests for quotes are signed once, at the start.
    #[error("cannot sign requests for quotes")]
    Sign(#[from] SignError),
    /// The listener broke.
    #[error("http server failed")]
    Serve(#[source] io::Error),
}

/// Why no segment is taken now. It may be otherwise in a moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Being shut down.
    #[error("broadcaster is stopping")]
    Stopping,
    /// The follower has not synced: the RPC does not answer.
    #[error("chain state is not known yet: the Ethereum RPC has not answered")]
    ChainUnknown,
    /// The payer's funds have not been read.
    #[error("the deposit is not known yet: the Ethereum RPC has not answered")]
    FundsUnknown,
    /// The payer has nothing to pay with.
    #[error("cannot pay: {0}: `streamflow fund` adds to deposit and reserve, and stops an unlock")]
    Funds(FundsError),
    /// The remote signer fails for every session.
    #[error("cannot pay: remote signer: {0} (setting broadcaster.signer)")]
    Signer(String),
    /// What may be spent is spent.
    #[error("cannot pay: {0}")]
    Budget(BudgetError),
    /// No list, or an empty one.
    #[error(
        "No sessions available: no orchestrator is known: none is registered on chain, or set broadcaster.orchestrators"
    )]
    NoOrchestrators,
    /// A list, and none of it may be used.
    #[error("No sessions available: {0} (`streamflow broadcaster explain`)")]
    NoneUsable(Box<Dropped>),
    /// More streams than allowed.
    #[error("{0} streams are live already")]
    TooManyStreams(usize),
    /// Segments come faster than they are transcoded.
    #[error("stream is behind: {0} segments wait already")]
    Behind(usize),
    /// Too much media is held in memory.
    #[error("too many uploads at once")]
    Memory,
    /// Its last segments are still being closed.
    #[error("stream {0} is just ending")]
    Ending(ManifestId),
}

/// Why an accepted segment was not transcoded.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// Not taken.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Not video that can be transcoded.
    #[error("segment cannot be transcoded")]
    Media(#[from] MediaError),
    /// An orchestrator says that no one could transcode it.
    #[error("segment cannot be transcoded: {0}")]
    BadInput(String),
    /// It was pushed before, or given up.
    #[error("segment {0} was pushed already, or comes too late")]
    Duplicate(u64),
    /// Everyone who was tried failed.
    #[error(
        "no orchestrator transcoded the segment in {attempts} attempts (settings broadcaster.max_attempts, \
         broadcaster.failover.patience_percent), the last at {url}"
    )]
    AllFailed {
        /// How many times.
        attempts: u32,
        /// Who failed last.
        url: Url,
        /// Why.
        #[source]
        last: Box<AttemptError>,
    },
    /// Files cannot be written.
    #[error("cannot keep the stream on disk")]
    Keep(#[source] HlsError),
    /// The directory of the stream cannot be made.
    #[error("cannot make room for the stream on disk")]
    Directory(#[source] io::Error),
    /// The store that a webhook names cannot be used.
    #[error("store of the stream cannot be used")]
    Store(#[source] OutputStoreError),
    /// Our own worker failed to look at it.
    #[error("segment cannot be looked at")]
    Worker(#[source] PoolError),
    /// Its task ended early.
    #[error("segment was abandoned")]
    Abandoned,
}

/// Why one orchestrator did not transcode a segment.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Its quote is of no use.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// Tickets were not made.
    #[error(transparent)]
    Payment(#[from] PaymentError),
    /// It answered with an error.
    #[error("orchestrator failed: {0}")]
    Orchestrator(String),
    /// It answered with an error that has a code.
    #[error("orchestrator failed: {text}: {refusal}")]
    Coded {
        /// As deployed peers know it.
        text: String,
        /// Code, figures and advice.
        refusal: Box<Coded>,
    },
    /// Its result is not what was asked for.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// It broke off on our side.
    #[error("attempt broke off")]
    Abandoned(#[source] tokio::task::JoinError),
}

/// Why a quote is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// It is registered but does no work.
    #[error("orchestrator names no url for segments")]
    NoServiceUrl,
    /// Not a URL, or not on http.
    #[error("orchestrator names {0:?} for segments, which is not an http or https url")]
    ServiceUrl(String),
    /// Required since sessions exist.
    #[error("quote has no auth token")]
    NoToken,
    /// Work is not free here.
    #[error("quote has no price")]
    NoPrice,
    /// Some field does not decode.
    #[error("quote cannot be read")]
    Field(#[from] streamflow_wire::PaymentError),
    /// We would not know who signs.
    #[error("quote names no account")]
    NoAccount,
    /// The chain says otherwise.
    #[error("quote is from account {got}, but {listed} is registered there")]
    OtherAccount {
        /// In the quote.
        got: Address,
        /// On chain.
        listed: Address,
    },
    /// Above our limit.
    #[error(transparent)]
    Price(#[from] PriceGuardError),
    /// It lacks something that the profiles need.
    #[error("orchestrator cannot do these profiles")]
    Incapable,
    /// Tickets cannot be made without.
    #[error("quote has no ticket params")]
    NoParams,
}

/// Why a payment was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PaymentError {
    /// Terms that we do not accept, and what would help.
    #[error(transparent)]
    Terms(Box<BadTerms>),
    /// No tickets, for another reason: used up params, or a signer that failed.
    #[error(transparent)]
    Sender(#[from] SenderError),
    /// What may be spent is spent.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// The price rose too far.
    #[error(transparent)]
    Price(#[from] PriceGuardError),
    /// The segment costs too much for tickets of this value.
    #[error(transparent)]
    TooManyTickets(#[from] TooManyTicketsNeeded),
    /// The chain is not known any more.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The remote signer made no payment.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// Nonces could not be persisted, so no ticket may leave.
    #[error("cannot persist ticket nonces")]
    Store(#[from] StoreError),
}

/// Why a remote signer made no payment.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignerError {
    /// A configured header cannot be sent.
    #[error("{0:?} is no header that can be sent (setting broadcaster.signer_headers)")]
    Header(String),
    /// It is away.
    #[error("signer does not answer")]
    Call(#[source] reqwest::Error),
    /// Its answer broke off or has no end.
    #[error("answer of the signer cannot be read")]
    Receive(#[source] Box<CallError>),
    /// It answered with something else.
    #[error("answer of the signer is not what was asked for")]
    Answer(#[source] serde_json::Error),
    /// It could pay for nobody with that.
    #[error("signer's own signature is not valid")]
    Identity,
    /// The orchestrator's terms are too old.
    #[error("signer wants fresh terms of the orchestrator")]
    Refresh,
    /// It signs payments for an empty segment alone, as go-livepeer's does.
    #[error("signer did not sign the segment")]
    NotSigned,
    /// The payment is not from the account that it named.
    #[error("payment of the signer cannot be used")]
    Payment,
    /// It said no.
    #[error("signer answered {status}: {text}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What it said.
        text: String,
    },
}

impl SignerError {
    /// Whether no other orchestrator helps.
    pub(crate) fn is_for_everybody(&self) -> bool {
        match self {
            Self::Refused { status, .. } => matches!(status, 401 | 403 | 404 | 429 | 500..),
            Self::Refresh | Self::Header(_) => false,
            _ => true,
        }
    }
}

impl AttemptError {
    /// The code that the orchestrator gave; deployed peers give none, and then texts are matched on.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Call(error) => error.code(),
            Self::Coded { refusal, .. } => Some(refusal.code),
            _ => None,
        }
    }

    /// What the orchestrator says of the segment, if it says that nobody could transcode it.
    pub(crate) fn blames_input(&self) -> Option<&str> {
        match self {
            Self::Coded { text, refusal } if refusal.code == Code::SegmentFormatDidntMatchJobInputParams => Some(text),
            Self::Orchestrator(text) if is_bad_input(text) => Some(text),
            _ => None,
        }
    }

    /// Whether we could not tell if the result is good, which says nothing of the orchestrator.
    pub(crate) fn is_unchecked(&self) -> bool {
        matches!(self, Self::Verify(VerifyError::Unchecked { .. } | VerifyError::Doubtful { .. }))
    }

    /// Whether it is the orchestrator's failure only if another one can do the segment: it calls the segment bad, or workers of
    /// ours broke on what it made of it.
    pub(crate) fn awaits_another(&self) -> bool {
        match self {
            Self::Verify(VerifyError::Unchecked { source, .. }) => !matches!(
                source,
                PoolError::QueueFull { .. } | PoolError::Spawn(_) | PoolError::NotReady(_) | PoolError::Closed
            ),
            _ => self.blames_input().is_some(),
        }
    }

    /// Whether the orchestrator says so in its answer to the segment.
    pub(crate) fn is_an_answer(&self) -> bool {
        matches!(self, Self::Orchestrator(_) | Self::Coded { .. })
    }

    /// Whether the orchestrator only has no room now: peers say it in these words (node.md §5.3).
    pub(crate) fn is_busy(&self) -> bool {
        let says = |text: &str| ["OrchestratorBusy", "OrchestratorCapped"].iter().any(|word| text.contains(word));
        match self {
            Self::Orchestrator(text) | Self::Call(CallError::Status { text, .. }) => says(text),
            Self::Call(CallError::Refused(status)) => says(status.message()),
            _ => false,
        }
    }

    /// Whether the same orchestrator should be asked for a new quote and tried once more at once: its params or its token
    /// are too old, or it forgot them in a restart.
    pub(crate) fn wants_new_quote(&self) -> bool {
        match self {
            Self::Payment(error) => error.wants_new_quote(),
            Self::Call(CallError::Status { refusal: Some(refusal), .. }) => {
                CURED_BY_A_NEW_QUOTE.contains(&refusal.code)
            }
            Self::Call(CallError::Status { text, .. }) => {
                asks_for_new_params(text) || FORGOTTEN.iter().any(|known| text.starts_with(known))
            }
            _ => false,
        }
    }

    /// Whether the orchestrator refused params that are too old and sent new ones along: another try needs no new quote.
    pub(crate) fn brought_new_params(&self) -> bool {
        match self {
            Self::Call(CallError::Status { refusal: Some(refusal), info, .. }) => {
                refusal.code == Code::ParamsExpired && info.is_some()
            }
            Self::Call(CallError::Status { text, info, .. }) => asks_for_new_params(text) && info.is_some(),
            _ => false,
        }
    }
}

/// Codes of refusals that a new session cures.
const CURED_BY_A_NEW_QUOTE: [Code; 9] = [
    Code::AuthTokenInvalid,
    Code::AuthTokenExpired,
    Code::ParamsExpired,
    Code::TicketNotQuoted,
    Code::TicketNonceSeen,
    Code::TooManyNonces,
    Code::InsufficientBalance,
    Code::PriceBelowPinned,
    // A smaller face value may still be covered.
    Code::LowPMBalance,
];

/// The same refusals by the texts of deployed peers.
const FORGOTTEN: [&str; 6] = [
    "invalid auth token",
    "expired auth token",
    "invalid recipientRand",
    "invalid ticket senderNonce",
    "Insufficient balance",
    // A smaller face value may still be covered.
    "LowPMBalance",
];

impl PaymentError {
    /// Our own funds are no good: no other orchestrator helps.
    pub(crate) fn funds(&self) -> Option<FundsError> {
        match self {
            Self::Terms(terms) => match terms.error {
                ParamsError::Funds(funds) => Some(funds),
                _ => None,
            },
            _ => None,
        }
    }

    /// The same orchestrator may have better terms when asked again.
    pub(crate) fn wants_new_quote(&self) -> bool {
        match self {
            Self::Terms(terms) => terms.cure == Cure::Refresh,
            Self::Sender(error) => error.wants_refresh(),
            Self::Signer(error) => matches!(error, SignerError::Refresh),
            _ => false,
        }
    }
}

/// Terms that are not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}: {cure}")]
pub struct BadTerms {
    /// What is wrong with them.
    pub error: ParamsError,
    /// What would help.
    pub cure: Cure,
}

/// What would help against terms that are not accepted: new ones, more funds, or somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cure {
    /// Newer params of the same orchestrator.
    Refresh,
    /// A larger deposit.
    Deposit {
        /// Wei.
        has: U256,
        /// Wei that would do.
        needs: U256,
    },
    /// A reserve.
    Reserve,
    /// An unlock that is stopped.
    StopUnlock {
        /// Now.
        round: Round,
        /// From which the funds may be withdrawn.
        withdraw_round: Round,
    },
    /// Another orchestrator, or a higher limit.
    Limit(&'static str),
    /// Another orchestrator.
    Leave,
}

impl Cure {
    /// Against `error`, where a deposit of `needs` wei would cover the face value.
    pub(crate) fn new(error: &ParamsError, needs: U256, funds: &SenderFunds, chain: &ChainView) -> Self {
        match (error, error.remedy()) {
            (ParamsError::Funds(FundsError::UnlockingSoon { withdraw_round }), _) => {
                Self::StopUnlock { round: chain.round, withdraw_round: *withdraw_round }
            }
            (ParamsError::Funds(FundsError::NoReserve), _) => Self::Reserve,
            (_, Remedy::Fund) => Self::Deposit { has: funds.deposit, needs },
            (_, Remedy::Refresh) => Self::Refresh,
            (_, Remedy::Leave) => error.limit().map_or(Self::Leave, Self::Limit),
        }
    }
}

impl fmt::Display for Cure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refresh => write!(f, "new params are needed"),
            Self::Deposit { has, needs } => write!(
                f,
                "the deposit is {has} wei, {needs} wei would do (`streamflow fund`, \
                 setting broadcaster.payment.deposit_multiplier)"
            ),
            Self::Reserve => write!(f, "the reserve is 0 wei: `streamflow fund` adds to it"),
            Self::StopUnlock { round, withdraw_round } => write!(
                f,
                "round {round} is too near to round {withdraw_round}, from which the funds may be withdrawn: \
                 `streamflow fund` stops the unlock"
            ),
            Self::Limit(limit) => {
                write!(f, "this orchestrator asks too much (setting broadcaster.payment.{limit})")
            }
            Self::Leave => write!(f, "this orchestrator's terms are of no use"),
        }
    }
}

/// Why a result is not accepted (node.md §6).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Not one rendition for each profile.
    #[error("{got} renditions came back, {asked} were asked for")]
    Count {
        /// Received.
        got: usize,
        /// Asked.
        asked: usize,
    },
    /// A link we do not follow.
    #[error("rendition {name} is at {url:?}, not at the orchestrator's host")]
    Url {
        /// Profile.
        name: String,
        /// Link.
        url: String,
    },
    /// Not a signature of the renditions' hash.
    #[error("PM Check Failed: result hash {hash} carries no valid signature")]
    Signature {
        /// Hash of the renditions.
        hash: B256,
        /// What is wrong with it.
        #[source]
        source: SignatureError,
    },
    /// Signed by somebody else.
    #[error("PM Check Failed: result is signed by {got}, not by {orchestrator}")]
    Signer {
        /// Who signed.
        got: Address,
        /// Who should have.
        orchestrator: Address,
    },
    /// Other bytes than the result that came after them is of.
    #[error(
        "PM Check Failed: {bytes} bytes {got} of rendition {name} came, the result is of {told_bytes} bytes {told}"
    )]
    Streamed {
        /// Profile.
        name: String,
        /// Hash of what came.
        got: B256,
        /// What came.
        bytes: u64,
        /// Hash in the result.
        told: B256,
        /// Bytes in the result.
        told_bytes: u64,
    },
    /// Not decodable.
    #[error("rendition {name} does not decode")]
    Media {
        /// Profile.
        name: String,
        /// Why.
        #[source]
        source: MediaError,
    },
    /// The directory of the stream cannot be made.
    #[error("cannot make room for the stream on disk")]
    Directory(#[source] io::Error),
    /// Our own worker failed, perhaps because of it.
    #[error("rendition {name} cannot be checked")]
    Unchecked {
        /// Profile.
        name: String,
        /// Why.
        #[source]
        source: PoolError,
    },
    /// Parts of it do not decode.
    #[error("rendition {name} has {errors} damaged packets or frames")]
    Damaged {
        /// Profile.
        name: String,
        /// How many.
        errors: u64,
    },
    /// Another picture size.
    #[error("rendition {name} is {got_width}x{got_height}, not {width}x{height}")]
    Size {
        /// Profile.
        name: String,
        /// Decoded.
        got_width: u32,
        /// Decoded.
        got_height: u32,
        /// Asked.
        width: u32,
        /// Asked.
        height: u32,
    },
    /// The bill is wrong.
    #[error("PixelMismatch: rendition {name} has {decoded} pixels, {billed} were billed")]
    Pixels {
        /// Profile.
        name: String,
        /// Counted by decoding.
        decoded: u64,
        /// In the result.
        billed: i64,
    },
    /// Pictures that no honest encoder makes.
    #[error("rendition {name}: {evidence}")]
    Cheat {
        /// Profile.
        name: String,
        /// Both figures.
        evidence: Evidence,
    },
    /// No good receipt, where one is required.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// A charge for nothing.
    #[error(transparent)]
    Charge(#[from] ChargeError),
    /// It looks odd, and nothing could be made to compare it with.
    #[error("rendition {name} looks odd ({doubt}) and cannot be judged")]
    Doubtful {
        /// Profile.
        name: String,
        /// What about it.
        doubt: &'static str,
        /// Why there is no reference.
        #[source]
        source: Box<AttemptError>,
    },
    /// It could not be fetched in time.
    #[error("rendition {name} cannot be fetched")]
    Fetch {
        /// Profile.
        name: String,
        /// Why.
        #[source]
        source: CallError,
    },
}

/// Why a file is not played.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// The file is no clip, or a worker failed.
    #[error("cannot play {}", path.display())]
    Source {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: PoolError,
    },
    /// The broadcaster stopped meanwhile.
    #[error("broadcaster stopped before the end of the file")]
    Stopped,
}
