//! Livepeer wire formats: protobuf, headers and the exact bytes that are signed.

pub mod proto;
