//! Why a contract refused.
use std::fmt;

use alloy::{
    primitives::Bytes,
    sol_types::{Panic, Revert as RevertString, SolError, SolInterface},
};
use serde::{Deserialize, Serialize};
use streamflow_bindings::{
    bonding_manager::BondingManager::BondingManagerErrors, controller::Controller::ControllerErrors,
    jobs_manager::JobsManager::JobsManagerErrors, livepeer_token::LivepeerToken::LivepeerTokenErrors,
    minter::Minter::MinterErrors, rounds_manager::RoundsManager::RoundsManagerErrors,
    ticket_broker::TicketBroker::TicketBrokerErrors,
};

/// Longest reason that is told, bytes: a node may tell anything.
const LONGEST_REASON: usize = 512;

/// The bytes a contract reverted with. Empty when the node told none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revert(Bytes);

impl Revert {
    /// Takes the bytes as the contract returned them.
    pub const fn new(data: Bytes) -> Self {
        Self(data)
    }

    /// The raw bytes: selector and arguments.
    pub const fn data(&self) -> &Bytes {
        &self.0
    }

    /// The reason as the error type `E`, if it is one.
    pub fn decode<E: SolError>(&self) -> Option<E> {
        E::abi_decode(&self.0).ok()
    }

    /// The reason as one of the errors of a contract.
    pub fn decode_any<I: SolInterface>(&self) -> Option<I> {
        I::abi_decode(&self.0).ok()
    }

    fn describe(&self) -> Option<String> {
        let text = self.decode::<RevertString>().map(|revert| revert.reason);
        text.or_else(|| self.decode::<Panic>().map(|panic| panic.to_string()))
            .or_else(|| self.custom::<TicketBrokerErrors>())
            .or_else(|| self.custom::<BondingManagerErrors>())
            .or_else(|| self.custom::<RoundsManagerErrors>())
            .or_else(|| self.custom::<LivepeerTokenErrors>())
            .or_else(|| self.custom::<MinterErrors>())
            .or_else(|| self.custom::<JobsManagerErrors>())
            .or_else(|| self.custom::<ControllerErrors>())
    }

    fn custom<I: SolInterface + fmt::Debug>(&self) -> Option<String> {
        self.decode_any::<I>().map(|error| {
            let text = format!("{error:?}");
            // `Variant(Variant { fields })`: the enum's own name says nothing new.
            match text.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')')) {
                Some(inner) => inner.to_owned(),
                None => text,
            }
        })
    }
}

impl fmt::Display for Revert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |text: &str| -> String {
            let end = text.floor_char_boundary(LONGEST_REASON);
            text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
        };
        match self.describe() {
            Some(text) => f.write_str(&plain(&text)),
            None if self.0.is_empty() => f.write_str("no reason given"),
            None => write!(f, "unknown error {}", plain(&self.0.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::U256;

    use super::*;

    #[test]
    fn string_and_panic_are_told_in_words() {
        let text = Revert::new(RevertString::from("ticket is used").abi_encode().into());
        assert_eq!(text.to_string(), "ticket is used");
        let panic = Revert::new(Panic { code: U256::from(0x11) }.abi_encode().into());
        assert!(panic.to_string().contains("overflow"), "{panic}");
    }

    #[test]
    fn long_reasons_and_control_characters_are_not_told() {
        let told = |text: String| Revert::new(RevertString::from(text).abi_encode().into()).to_string();
        assert_eq!(told("a\nb".into()), "a b");
        assert_eq!(told(format!("{}é", "x".repeat(511))), "x".repeat(511));
        assert!(Revert::new(vec![1; 5000].into()).to_string().len() <= 600);
    }

    #[test]
    fn unknown_reason_keeps_its_bytes() {
        assert_eq!(Revert::default().to_string(), "no reason given");
        let odd = Revert::new(Bytes::from_static(&[1, 2, 3, 4, 5]));
        assert_eq!(odd.to_string(), "unknown error 0x0102030405");
        assert_eq!(odd.data().as_ref(), &[1, 2, 3, 4, 5]);
    }
}
