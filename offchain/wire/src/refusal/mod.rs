//! Refusals with a code, beside the texts that deployed peers match on (docs/refusals.md).
//!
//! One message, [`crate::streamflow::Refusal`], travels in three places: in the header [`HEADER`] of an HTTP answer, in the
//! gRPC metadata [`METADATA`], and as a field of `TranscodeResult`.
use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use prost::Message;

use crate::streamflow;

mod code;
mod of_errors;
mod scrub;

pub use code::{Code, Side, UnknownCode};
pub use of_errors::{is_bad_input, of_quote, of_ticket};
pub use scrub::scrub;

/// Header of an HTTP answer, base64 of the message.
pub const HEADER: &str = "streamflow-refusal";
/// gRPC metadata, the message itself.
pub const METADATA: &str = "streamflow-refusal-bin";

/// Longest text of one field that is sent or read, bytes.
const MAX_TEXT: usize = 512;
/// Longest message that is read, bytes.
const MAX_BYTES: usize = 4096;

/// Why a node says no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is refused.
    pub code: Code,
    /// What was got.
    pub got: String,
    /// What it was held against.
    pub limit: String,
    /// Setting that decides it; empty if none does.
    pub setting: Cow<'static, str>,
    /// What to do.
    pub advice: Cow<'static, str>,
}

impl Refusal {
    /// With the code's own setting and advice. What should not leave a node is taken out of the figures.
    pub fn new(code: Code, got: impl fmt::Display, limit: impl fmt::Display) -> Self {
        Self {
            code,
            got: cut(scrub(&got.to_string())),
            limit: cut(scrub(&limit.to_string())),
            setting: code.setting().into(),
            advice: code.advice().into(),
        }
    }

    /// With advice that has figures of its own.
    pub fn advising(self, advice: impl fmt::Display) -> Self {
        Self { advice: cut(scrub(&advice.to_string())).into(), ..self }
    }

    /// As it travels.
    pub fn to_proto(&self) -> streamflow::Refusal {
        streamflow::Refusal {
            code: self.code.name().to_owned(),
            got: self.got.clone(),
            limit: self.limit.clone(),
            setting: self.setting.clone().into_owned(),
            advice: self.advice.clone().into_owned(),
        }
    }

    /// Reads a peer's; none if its code is not known here, since the text beside it says what it says. Its texts are cut, and
    /// what could confuse a terminal is taken out.
    pub fn from_proto(refusal: &streamflow::Refusal) -> Option<Self> {
        let text = |text: &str| cut(text.chars().filter(|c| !c.is_control()).collect());
        Some(Self {
            code: refusal.code.parse().ok()?,
            got: text(&refusal.got),
            limit: text(&refusal.limit),
            setting: text(&refusal.setting).into(),
            advice: text(&refusal.advice).into(),
        })
    }

    /// Contents of the metadata.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_proto().encode_to_vec()
    }

    /// Reads the metadata; none if it cannot be read, as peers send none at all.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let message = streamflow::Refusal::decode(bytes).ok().filter(|_| bytes.len() <= MAX_BYTES)?;
        Self::from_proto(&message)
    }

    /// Text of the header.
    pub fn to_header(&self) -> String {
        STANDARD.encode(self.to_bytes())
    }

    /// Reads the header; none if it cannot be read.
    pub fn from_header(header: &str) -> Option<Self> {
        // Four letters for three bytes.
        let header = Some(header).filter(|header| header.len() <= MAX_BYTES.div_ceil(3) * 4)?;
        Self::from_bytes(&STANDARD.decode(header).ok()?)
    }

    /// The refusal that a gRPC status carries.
    pub fn of_status(status: &tonic::Status) -> Option<Self> {
        Self::from_bytes(&status.metadata().get_bin(METADATA)?.to_bytes().ok()?)
    }

    /// Puts the refusal into a gRPC status.
    pub fn on_status(&self, mut status: tonic::Status) -> tonic::Status {
        status.metadata_mut().insert_bin(METADATA, tonic::metadata::MetadataValue::from_bytes(&self.to_bytes()));
        status
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, got, limit, setting, advice } = self;
        write!(f, "{code}: {got}, against {limit}")?;
        if !setting.is_empty() {
            write!(f, " (their setting {setting})")?;
        }
        write!(f, ": {advice}")
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal() -> Refusal {
        Refusal::new(Code::OrchestratorCapped, "10 sessions", "10 sessions")
    }

    #[test]
    fn a_refusal_is_read_back_from_each_of_its_places() {
        assert_eq!(Refusal::from_header(&refusal().to_header()), Some(refusal()));
        assert_eq!(Refusal::from_bytes(&refusal().to_bytes()), Some(refusal()));
        let status = refusal().on_status(tonic::Status::unknown("OrchestratorCapped"));
        assert_eq!((status.message(), Refusal::of_status(&status)), ("OrchestratorCapped", Some(refusal())));
    }

    #[test]
    fn what_cannot_be_read_is_passed_over() {
        assert_eq!(Refusal::from_header("***"), None);
        assert_eq!(Refusal::from_header(&"A".repeat(10_000)), None);
        assert_eq!(Refusal::of_status(&tonic::Status::unknown("x")), None);
        let newer = streamflow::Refusal { code: "OfTomorrow".into(), ..refusal().to_proto() };
        assert_eq!(Refusal::from_proto(&newer), None);
    }

    #[test]
    fn a_peers_texts_are_cut_and_cleaned() {
        let mut message = refusal().to_proto();
        (message.got, message.limit) = ("é".repeat(600), "\u{1b}[31mred\n".into());
        let read = Refusal::from_proto(&message).unwrap();
        assert_eq!((read.got.len(), read.limit.as_str()), (512, "[31mred"));
    }

    #[test]
    fn the_line_names_everything() {
        let line = refusal().to_string();
        assert_eq!(
            line,
            "OrchestratorCapped: 10 sessions, against 10 sessions (their setting orchestrator.max_sessions): ask another \
             orchestrator; its operator may raise the setting if the hardware has room"
        );
    }

    #[test]
    fn names_are_read_back() {
        for code in Code::ALL {
            assert_eq!(code.name().parse(), Ok(*code));
        }
        assert_eq!("NoSuchCode".parse::<Code>(), Err(UnknownCode));
    }
}
