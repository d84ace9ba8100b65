//! Real video through the public interface, with the `ffmpeg` and `ffprobe` programs as yardsticks.
#![allow(clippy::unwrap_used)] // a test may stop at the first surprise

mod bad_input;
mod benchmark;
mod clip;
mod compare;
mod containment;
mod determinism;
mod formats_in;
mod formats_out;
mod fuzz;
mod gpu;
mod ingest;
mod made;
mod memory;
mod mp4;
mod odd_inputs;
mod odd_times;
mod outcome;
mod pool;
mod quality;
mod sound;
mod source;
mod stream;
mod surgery;
mod transcode;
