//! HTTP live streaming: playlists and segments under one directory (RFC 8216).
mod playlist;
mod writer;

pub use playlist::{Variant, master_playlist};
pub use writer::{HlsConfig, HlsError, HlsWriter, write_master};
