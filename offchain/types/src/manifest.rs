//! Name of a stream.
use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Name of a stream: 1 to 128 characters of `A-Z a-z 0-9 . _ -`, not starting with a dot.
///
/// Safe as one component of a path or URL: it has no separator and is neither `.`, `..` nor hidden.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ManifestId(String);

/// Why a text is not a [`ManifestId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestIdError {
    /// No characters.
    #[error("manifest id is empty")]
    Empty,
    /// More than 128 bytes.
    #[error("manifest id has {0} bytes, more than {max}", max = ManifestId::MAX_LEN)]
    TooLong(usize),
    /// `.`, `..` or a hidden file.
    #[error("manifest id starts with a dot")]
    LeadingDot,
    /// A separator, a control character, anything outside the alphabet.
    #[error("manifest id contains {0:?}")]
    Character(char),
}

impl ManifestId {
    /// Longest name, in bytes.
    pub const MAX_LEN: usize = 128;

    /// Checks and takes a name.
    pub fn new(id: impl Into<String>) -> Result<Self, ManifestIdError> {
        let id = id.into();
        check_path_component(&id)?;
        Ok(Self(id))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The rule of [`ManifestId`]; profile names become directories too and share it.
pub(crate) fn check_path_component(text: &str) -> Result<(), ManifestIdError> {
    if text.is_empty() {
        return Err(ManifestIdError::Empty);
    }
    if text.len() > ManifestId::MAX_LEN {
        return Err(ManifestIdError::TooLong(text.len()));
    }
    if text.starts_with('.') {
        return Err(ManifestIdError::LeadingDot);
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        Some(stranger) => Err(ManifestIdError::Character(stranger)),
        None => Ok(()),
    }
}

impl FromStr for ManifestId {
    type Err = ManifestIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl TryFrom<String> for ManifestId {
    type Error = ManifestIdError;

    fn try_from(id: String) -> Result<Self, Self::Error> {
        Self::new(id)
    }
}

impl From<ManifestId> for String {
    fn from(id: ManifestId) -> Self {
        id.0
    }
}

impl AsRef<str> for ManifestId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ManifestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn path_tricks_are_refused() {
        assert_eq!(ManifestId::new(""), Err(ManifestIdError::Empty));
        assert_eq!(ManifestId::new(".."), Err(ManifestIdError::LeadingDot));
        assert_eq!(ManifestId::new("a/b"), Err(ManifestIdError::Character('/')));
        assert_eq!(ManifestId::new("a\0"), Err(ManifestIdError::Character('\0')));
        assert_eq!(ManifestId::new("ä"), Err(ManifestIdError::Character('ä')));
        assert_eq!(ManifestId::new("x".repeat(129)), Err(ManifestIdError::TooLong(129)));
    }

    #[test]
    fn ordinary_names_are_taken() {
        for name in ["clip", "a", "0_1-2.ts", &"x".repeat(128)] {
            assert_eq!(name.parse::<ManifestId>().unwrap().as_str(), name);
        }
    }

    proptest! {
        #[test]
        fn an_accepted_name_is_one_normal_path_component(text in ".{0,12}") {
            if let Ok(id) = ManifestId::new(text.clone()) {
                let parts: Vec<_> = std::path::Path::new(id.as_str()).components().collect();
                prop_assert_eq!(parts, vec![std::path::Component::Normal(text.as_ref())]);
            }
        }
    }
}
