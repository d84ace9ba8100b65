//! Domain values of Streamflow: tickets, rounds, prices, profiles; and how errors are shown. No I/O.
#![warn(missing_docs)]

mod causes;
mod chain;
mod hash;
mod job;
mod manifest;
mod price;
mod profile;
mod secret;
mod ticket;
mod units;

pub use causes::with_causes;
pub use chain::{ChainView, SenderFunds};
pub use hash::Keccak256;
pub use job::Job;
pub use manifest::{ManifestId, ManifestIdError};
pub use price::{Price, PriceError};
pub use profile::{Container, Gop, H264Profile, Profile, ProfileError, VideoCodec};
pub use secret::Secret;
pub use ticket::{Expiration, Signature65, SignatureLengthError, SignedTicket, Ticket, TicketParams, WinningTicket};
pub use units::{Ppm, PpmError, Round, WinProb};
