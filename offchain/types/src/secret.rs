//! Shared secrets from the configuration, never printed.
use std::fmt;

use alloy_primitives::keccak256;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A secret text. `Debug` and serialisation hide it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that has to send it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether no secret is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares in a time that does not depend on where the texts differ. An empty secret matches nothing.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        let (ours, theirs) = (keccak256(self.0.as_bytes()), keccak256(candidate));
        let difference = ours.iter().zip(theirs.iter()).fold(0, |acc, (a, b)| std::hint::black_box(acc | (a ^ b)));
        difference == 0 && !self.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "Secret(unset)" } else { "Secret(set)" })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_text_matches() {
        let secret = Secret::new("swordfish");
        assert!(secret.matches(b"swordfish"));
        assert!(!secret.matches(b"swordfisH"));
        assert!(!secret.matches(b""));
    }

    #[test]
    fn unset_secret_matches_nothing() {
        assert!(!Secret::default().matches(b""));
    }

    #[test]
    fn secret_is_neither_printed_nor_written() {
        let secret = Secret::new("swordfish");
        assert!(!format!("{secret:?}").contains("swordfish"));
        assert!(!serde_json::to_string(&secret).unwrap().contains("swordfish"));
    }
}
