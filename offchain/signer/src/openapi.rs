//! The OpenAPI document, served at `/openapi.json`. A test holds it against what the handlers answer.

/// The document as it is served.
pub(crate) const DOCUMENT: &str = include_str!("openapi.json");
