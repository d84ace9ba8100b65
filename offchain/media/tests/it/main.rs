//! Real video through the public interface, with the `ffmpeg` and `ffprobe` programs as yardsticks.
mod bad_input;
mod benchmark;
mod clip;
mod pool;
mod source;
mod transcode;
