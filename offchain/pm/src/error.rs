//! What can be wrong with a ticket. Peers match on the wording (payments.md §1.3, §1.6, §1.7; node.md §2.7).
use alloy_primitives::{Address, U256};
use streamflow_types::Round;

use crate::Shortfall;

/// Why a received payment earns no credit, or no more of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// The sender may withdraw in the coming round.
    #[error("deposit and reserve for sender {sender} is set to unlock soon")]
    UnlockingSoon {
        /// Who is unlocking.
        sender: Address,
    },
    /// Made out to somebody else.
    #[error("invalid ticket recipient")]
    Recipient,
    /// No sender.
    #[error("invalid ticket sender")]
    Sender,
    /// Bound to a contract that this node does not redeem at.
    #[error("ticket is bound to another deployment")]
    Deployment,
    /// Face value, probability, expiry, price or round differ from what was quoted to this sender, or nothing was.
    #[error("invalid recipientRand for ticket recipientRandHash")]
    NotQuoted,
    /// Not signed by the sender.
    #[error("invalid ticket signature")]
    Signature,
    /// A replay.
    #[error("invalid ticket senderNonce: already seen {nonce} for these params")]
    NonceSeen {
        /// The repeated number.
        nonce: u32,
    },
    /// The memory for numbers seen is full, for these params or altogether.
    #[error("invalid ticket senderNonce: too many values {nonce} for these params")]
    TooManyNonces {
        /// The number that found no room.
        nonce: u32,
    },
    /// The quote is too old. The one error that asks the sender to fetch new params.
    #[error("TicketParams expired")]
    ParamsExpired,
    /// More tickets than one payment may carry.
    #[error("payment has {got} tickets, more than {max}")]
    TooManyTickets {
        /// Tickets received.
        got: usize,
        /// Tickets allowed.
        max: usize,
    },
    /// Tickets without the price they were quoted for.
    #[error("invalid expected price sent with payment err=expected price is nil")]
    NoPrice,
    /// Less than the price that this session was started at.
    #[error("invalid expected price sent with payment err=expected price {got} is less than the session's {pinned}")]
    PriceBelowPinned {
        /// As sent.
        got: streamflow_types::Price,
        /// As pinned.
        pinned: streamflow_types::Price,
    },
    /// Every slot for sessions is taken by one that is in use.
    #[error("too many payment sessions")]
    TooManySessions,
    /// Winners of this sender that are not redeemed yet have used up what its funds cover.
    #[error("LowPMBalance: insufficient sender reserve: {0}")]
    LowPmBalance(Box<Shortfall>),
    /// More signatures than are checked for one sender in this time.
    #[error("too many tickets of this sender: {got} signatures to check, {left} are left to it for the moment")]
    TooFast {
        /// Signatures to check.
        got: usize,
        /// Signatures that would be checked now.
        left: u64,
    },
}

impl TicketError {
    /// Whether the whole payment is void: none of its tickets was examined.
    ///
    /// After any other error, tickets that came before it are credited and winners that come after it are kept.
    pub fn is_fatal(&self) -> bool {
        !matches!(
            self,
            Self::Signature
                | Self::NonceSeen { .. }
                | Self::TooManyNonces { .. }
                | Self::ParamsExpired
                | Self::TooManySessions
                | Self::LowPmBalance(_)
        )
    }
}

/// Why an orchestrator offers no params to a sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// Its funds do not cover a face value that is worth redeeming, beside what it owes already.
    #[error("LowPMBalance: insufficient sender reserve: {0}")]
    LowPmBalance(Box<Shortfall>),
    /// Gas costs more than this orchestrator's largest face value would pay. Nothing that the sender can help.
    #[error(
        "no terms at this gas price: a ticket worth its redemption has a face value of {needed} wei, more than the maximum {max}"
    )]
    FaceValueCapped {
        /// Wei.
        needed: U256,
        /// Wei.
        max: U256,
    },
    /// The sender may withdraw in the coming round.
    #[error("deposit and reserve for sender {sender} is set to unlock soon")]
    UnlockingSoon {
        /// Who is unlocking.
        sender: Address,
    },
    /// No round with a block hash to commit tickets to.
    #[error("no initialized round with a block hash")]
    NoRound,
}

/// Why a sender will not sign tickets on offered terms (payments.md §1.6).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    /// The orchestrator sent none.
    #[error("ticketParams is nil")]
    Missing,
    /// Never valid.
    #[error("ticketParams expiration block is 0")]
    NoExpirationBlock,
    /// At most one block is left. The one error that asks for new params from the same orchestrator.
    #[error("TicketParams expired")]
    Expired,
    /// They would have to be remembered for too long.
    #[error("ticketParams expiration block {expiration_block} is too far ahead")]
    TooLongLived {
        /// As offered.
        expiration_block: u64,
    },
    /// Every ticket would win, so the expected value is all of it.
    #[error("ticket faceValue too low faceValue={face_value}")]
    FaceValueTooLow {
        /// Wei.
        face_value: U256,
    },
    /// The tickets would be redeemed at another contract.
    #[error("ticketParams are for another deployment")]
    OtherDeployment,
    /// One ticket costs too much.
    #[error("ticket EV {ev} > max ticket EV {max}")]
    TicketEv {
        /// Wei, rounded down.
        ev: U256,
        /// Wei.
        max: U256,
    },
    /// Params are known under this commitment, with other terms.
    #[error("ticketParams differ from earlier ones with the same recipientRandHash")]
    Changed,
    /// Our own funds are no good to any orchestrator.
    #[error(transparent)]
    Funds(#[from] FundsError),
    /// The batch costs too much.
    #[error("total ticket EV {ev} for {count} tickets > max total ticket EV {max}")]
    TotalEv {
        /// Wei, rounded down.
        ev: U256,
        /// Tickets wanted.
        count: usize,
        /// Wei.
        max: U256,
    },
    /// One winner would take too much of the deposit.
    #[error("ticket faceValue {face_value} > max faceValue {max}")]
    FaceValueTooHigh {
        /// Wei.
        face_value: U256,
        /// Wei.
        max: U256,
    },
}

/// What helps when terms are not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// New params of the same orchestrator.
    Refresh,
    /// More deposit or reserve, or an unlock that is stopped.
    Fund,
    /// Another orchestrator: this one asks too much, or what nobody should sign. Or a higher limit of our own.
    Leave,
}

impl ParamsError {
    /// What would help.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Expired => Remedy::Refresh,
            Self::Funds(_) | Self::FaceValueTooHigh { .. } => Remedy::Fund,
            Self::Missing
            | Self::NoExpirationBlock
            | Self::TooLongLived { .. }
            | Self::FaceValueTooLow { .. }
            | Self::OtherDeployment
            | Self::TicketEv { .. }
            | Self::Changed
            | Self::TotalEv { .. } => Remedy::Leave,
        }
    }

    /// Field of [`crate::SenderLimits`] that decided it; none if no limit did.
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::TicketEv { .. } => Some("max_ticket_ev"),
            Self::TotalEv { .. } => Some("max_total_ev"),
            Self::FaceValueTooHigh { .. } => Some("deposit_multiplier"),
            _ => None,
        }
    }

    /// Whether the same orchestrator may have better terms when asked again.
    pub fn wants_refresh(&self) -> bool {
        self.remedy() == Remedy::Refresh
    }
}

/// Why the sender's own funds cannot back tickets. No other orchestrator helps: the stream must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FundsError {
    /// The sender asked to withdraw and the round is near.
    #[error("unable to validate sender: deposit and reserve is set to unlock soon")]
    UnlockingSoon {
        /// Round of the withdrawal.
        withdraw_round: Round,
    },
    /// Nothing in reserve.
    #[error("no sender reserve")]
    NoReserve,
    /// Nothing deposited.
    #[error("no sender deposit")]
    NoDeposit,
}
