//! Amounts of wei in settings: a number, or text where a number is too large for the format.
use std::fmt;

use alloy_primitives::U256;
use serde::{
    Deserializer, Serializer,
    de::{Error, Visitor},
};

pub(crate) fn serialize<S: Serializer>(wei: &U256, serializer: S) -> Result<S::Ok, S::Error> {
    // TOML has no integers beyond i64.
    match i64::try_from(*wei) {
        Ok(small) => serializer.serialize_i64(small),
        Err(_) => serializer.collect_str(wei),
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<U256, D::Error> {
    deserializer.deserialize_any(WeiVisitor)
}

struct WeiVisitor;

impl Visitor<'_> for WeiVisitor {
    type Value = U256;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an amount of wei, as a number or as text")
    }

    fn visit_i64<E: Error>(self, wei: i64) -> Result<U256, E> {
        U256::try_from(wei).map_err(|_| E::custom("an amount of wei is not negative"))
    }

    fn visit_u64<E: Error>(self, wei: u64) -> Result<U256, E> {
        Ok(U256::from(wei))
    }

    fn visit_u128<E: Error>(self, wei: u128) -> Result<U256, E> {
        Ok(U256::from(wei))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<U256, E> {
        text.parse().map_err(|_| E::custom(format_args!("{text:?} is not an amount of wei")))
    }
}
