//! An orchestrator on a real TLS port, with real tickets, SQLite and video.
mod checks;
mod clip;
mod discovery;
mod fixture;
mod paid;
mod port;
mod transcoders;
mod video;
