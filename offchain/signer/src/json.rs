//! JSON as Go reads it: names in any case, `null` as absent, a repeated name by its last value.
use std::{collections::HashMap, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// Longest name of a field that is kept.
const MAX_NAME: usize = 64;
/// Fields of one object.
const MAX_FIELDS: usize = 64;

/// Why a field cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FieldError {
    /// Another type.
    #[error("{0} has the wrong type")]
    Type(&'static str),
    /// Above its limit.
    #[error("{0} is too long")]
    TooLong(&'static str),
    /// Not base64.
    #[error("{0} is not base64")]
    Base64(&'static str),
}

/// The fields of one object, by name in lower case. Values are looked at when they are asked for.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a>(HashMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    /// Reads an object.
    pub(crate) fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The value as it stands; none if it is absent or `null`. `name` is in lower case.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|value| value.get().trim()).filter(|text| *text != "null")
    }

    /// A value of a type; the default if it is absent.
    pub(crate) fn value<T: DeserializeOwned + Default>(&self, name: &'static str) -> Result<T, FieldError> {
        match self.raw(name) {
            Some(text) => serde_json::from_str(text).map_err(|_| FieldError::Type(name)),
            None => Ok(T::default()),
        }
    }

    /// A text of at most `max` bytes; empty if it is absent.
    pub(crate) fn text(&self, name: &'static str, max: usize) -> Result<String, FieldError> {
        let text: String = self.value(name)?;
        if text.len() > max { Err(FieldError::TooLong(name)) } else { Ok(text) }
    }

    /// Bytes in base64, at most `max` of them; empty if they are absent.
    pub(crate) fn bytes(&self, name: &'static str, max: usize) -> Result<Vec<u8>, FieldError> {
        let text = self.text(name, max.div_ceil(3) * 4)?;
        let bytes = STANDARD.decode(text).map_err(|_| FieldError::Base64(name))?;
        if bytes.len() > max { Err(FieldError::TooLong(name)) } else { Ok(bytes) }
    }

    /// An object inside; empty if it is absent.
    pub(crate) fn object(&self, name: &'static str) -> Result<Self, FieldError> {
        self.raw(name).map_or(Ok(Self::default()), |text| Self::parse(text).map_err(|_| FieldError::Type(name)))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = HashMap::new();
        while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
            if name.len() <= MAX_NAME && fields.len() < MAX_FIELDS {
                fields.insert(name.to_lowercase(), value);
            }
        }
        Ok(Fields(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case_and_the_last_one_counts() {
        let fields = Fields::parse(r#"{"ManifestID":"a","manifestid":"b","MANIFESTID":"c"}"#).unwrap();
        assert_eq!(fields.text("manifestid", 9).unwrap(), "c");
    }

    #[test]
    fn null_is_absent() {
        let fields = Fields::parse(r#"{"a":null,"b": null ,"c":{"State":null}}"#).unwrap();
        assert_eq!(fields.text("a", 9).unwrap(), "");
        assert_eq!(fields.bytes("b", 9).unwrap(), b"");
        assert_eq!(fields.object("c").unwrap().bytes("state", 9).unwrap(), b"");
        assert_eq!(fields.value::<i64>("d").unwrap(), 0);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let fields = Fields::parse(r#"{"a":5,"b":"***","c":"AAAA"}"#).unwrap();
        assert_eq!(fields.text("a", 9), Err(FieldError::Type("a")));
        assert_eq!(fields.bytes("b", 9), Err(FieldError::Base64("b")));
        assert_eq!(fields.bytes("c", 2), Err(FieldError::TooLong("c")));
        assert_eq!(fields.text("c", 3), Err(FieldError::TooLong("c")));
        assert!(Fields::parse("[]").is_err() && Fields::parse("").is_err());
    }
}
