//! Probabilistic micropayments: ticket maths, checks, sender and recipient accounting. No I/O.
//!
//! A ticket is a lottery ticket: it pays its face value with a known probability. [`Recipient`] quotes the terms and
//! checks what it receives; [`Sender`] accepts terms and signs. Money is exact everywhere: [`TicketEv`] and [`Balance`]
//! are integers over fixed denominators.
#![warn(missing_docs)]

mod accounts;
mod allowance;
mod amount;
pub mod benchmark;
mod error;
mod funds;
mod gas;
mod nonces;
pub mod ordered;
mod payment;
mod policy;
mod pricing;
mod quota;
mod ratio;
mod receipt;
mod recipient;
mod secret;
mod seed;
mod sender;
mod serials;
mod signature;
mod spending;
mod store;
mod ticket;

pub use accounts::{AccountLimits, SessionBalance};
pub use allowance::{Allowance, OverBudget, SpendRate};
pub use amount::{Balance, TicketEv};
pub use error::{FundsError, ParamsError, QuoteError, Remedy, TicketError};
pub use funds::{
    Backing, DepositDivisor, Pending, PendingError, Shortfall, available_funds, max_float, reserve_alloc, unlocks_soon,
};
pub use gas::{GasMeter, GasTotals};
pub use nonces::MAX_NONCES;
pub use payment::{MAX_TICKETS, Payment, TicketSig, signed_from_params, ticket_from_params};
pub use policy::{NoTerms, Terms, TicketPolicy};
pub use pricing::{
    PriceGuard, PriceGuardError, base_token_to_fixed, estimated_pixels, is_credible_bill, most_credible_bill,
    price_to_fixed, with_estimate_margin, with_redemption_overhead,
};
pub use quota::RecoveryQuota;
pub use ratio::RatioError;
pub use receipt::{ReceiptDomain, SignedReceipt, TRANSCODING_H264, WorkReceipt};
pub use recipient::{QuoteRequest, Receipt, Recipient, RecipientConfig};
pub use secret::{QuoteDomain, QuoteSecret, QuoteSecrets};
pub use sender::{Sender, SenderError, SenderLimits};
pub use serials::{LeaseTerms, SerialLease, Slot};
pub use signature::{KeyError, KeySigner, SignError, SignatureError, TicketSigner, recover_signer};
pub use spending::{Outcome, Spending, Stage, TooManyTicketsNeeded};
pub use store::{Inserted, StoreError, TicketStore};
pub use ticket::{aux_data, commitment, draw, eip191_digest, flatten, sign_ticket, ticket_hash, ticket_signer, wins};
