//! Real video through the public interface, with the `ffmpeg` and `ffprobe` programs as yardsticks.
#![allow(clippy::unwrap_used)] // a test may stop at the first surprise

mod bad_input;
mod benchmark;
mod clip;
mod compare;
mod containment;
mod determinism;
mod fuzz;
mod gpu;
mod ingest;
mod mp4;
mod pool;
mod quality;
mod source;
mod stream;
mod transcode;
