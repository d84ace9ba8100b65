//! Real video through the public interface, with the `ffmpeg` and `ffprobe` programs as yardsticks.
mod clip;
mod transcode;
