//! Encoder settings: one table serves libav, the yardstick of benchmarks and the probe.
use std::fmt;

use serde::{Deserialize, Serialize};
use streamflow_types::{Gop, H264Profile, Profile, VideoCodec};

use crate::{MediaError, rate::FrameRate};

/// Largest segment taken, in bytes (two minutes at 8 Mbit/s).
pub const MAX_SEGMENT_BYTES: usize = 128 * 1024 * 1024;
/// Longest segment taken, in milliseconds (node.md §9.4).
pub const MAX_SEGMENT_MILLIS: u64 = 300_000;
/// Most renditions of one job (node.md §9.1).
pub const MAX_RENDITIONS: usize = 10;
/// Shortest side of a source picture, in pixels.
pub const MIN_SIDE: u32 = 16;
/// Longest side of a picture, in pixels (node.md §9.1).
pub const MAX_SIDE: u32 = 4096;

/// Which encoder makes the renditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoder {
    /// libx264, on the CPU.
    #[default]
    X264,
    /// h264_nvenc, on an NVIDIA GPU.
    Nvenc,
}

impl Encoder {
    /// libav's name.
    pub const fn libav_name(self) -> &'static str {
        match self {
            Self::X264 => "libx264",
            Self::Nvenc => "h264_nvenc",
        }
    }
}

impl fmt::Display for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.libav_name())
    }
}

/// How renditions are encoded; what they are is in [`Profile`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TranscodeSettings {
    /// Which encoder.
    pub encoder: Encoder,
    /// Preset of libx264.
    pub preset: String,
    /// Preset of h264_nvenc.
    pub nvenc_preset: String,
    /// Threads of each libx264 encoder; 0 lets it choose. One is the cheapest in CPU time and alone gives the same bytes
    /// in every run; two answer sooner, as the largest rendition then uses a second core.
    pub encoder_threads: u32,
    /// Threads of the decoder, at least 1.
    pub decoder_threads: u32,
    /// Whether renditions of libx264 are the same bytes on every x86-64 machine with the same builds of the libraries:
    /// what fault verification encodes again.
    ///
    /// The encoder and the decoder have one thread each, whatever the settings above say: with more, rate control and
    /// the concealment of damaged pictures differ from run to run. Scaling is exact. `cpu-independent` keeps the encoder
    /// from all assembly whose results depend on the processor: floating point, and the propagation of macroblock
    /// trees, which with AVX-512 even reads what was never written, at some widths such as 854 (libx264 164). The rest
    /// of the assembly gives the same results at every level, so that none of it is forgone.
    ///
    /// Only in a worker of a [`crate::WorkerPool`] is glibc kept from functions that round by the processor.
    pub deterministic: bool,
    /// Whether each frame leaves the encoder before the next one comes in: no lookahead, no B-frames, and threads that
    /// share a picture, where otherwise each has its own. Costs quality.
    pub low_latency: bool,
}

impl TranscodeSettings {
    /// Threads of the decoder that is opened.
    pub(crate) fn decoding_threads(&self) -> u32 {
        if self.deterministic { 1 } else { self.decoder_threads }
    }

    /// Options of libx264 that libav has no name for.
    fn x264_params(&self) -> Option<String> {
        let deterministic = self.deterministic.then_some("cpu-independent=1");
        // A constant frame rate: else a frame waits for the time of the one after it.
        let low_latency = "rc-lookahead=0:sync-lookahead=0:mbtree=0:force-cfr=1:sliced-threads=1";
        let low_latency = self.low_latency.then_some(low_latency);
        let params: Vec<_> = deterministic.into_iter().chain(low_latency).collect();
        (!params.is_empty()).then(|| params.join(":"))
    }
}

impl Default for TranscodeSettings {
    fn default() -> Self {
        Self {
            encoder: Encoder::X264,
            preset: "veryfast".into(),
            nvenc_preset: "p4".into(),
            encoder_threads: 2,
            decoder_threads: 1,
            deterministic: false,
            low_latency: false,
        }
    }
}

impl TranscodeSettings {
    /// Frames that the encoder looks ahead over: `rc-lookahead` of libx264's presets.
    pub(crate) fn lookahead_frames(&self) -> usize {
        if self.low_latency {
            return 0;
        }
        match (self.encoder, self.preset.as_str()) {
            (Encoder::Nvenc, _) | (Encoder::X264, "ultrafast" | "superfast") => 0,
            (Encoder::X264, "veryfast") => 10,
            (Encoder::X264, "faster") => 20,
            (Encoder::X264, "fast") => 30,
            (Encoder::X264, "medium") => 40,
            (Encoder::X264, "slow") => 50,
            (Encoder::X264, _) => 60,
        }
    }
}

/// Options of the encoder, by the names libav gives them.
pub(crate) type EncoderOptions = Vec<(&'static str, String)>;

/// What an encoder must know of the frames it gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EncoderInput {
    pub(crate) fps: FrameRate,
    /// False where the first time stamps leave no room for reordering (decode times would be negative).
    pub(crate) may_reorder: bool,
}

/// The options for `profile` (node.md §9.1): bitrate, peak and buffer are equal, key frames are closed and real.
pub(crate) fn encoder_options(settings: &TranscodeSettings, profile: &Profile, input: EncoderInput) -> EncoderOptions {
    let bitrate = profile.bitrate.to_string();
    let mut options = vec![
        ("b", bitrate.clone()),
        ("maxrate", bitrate.clone()),
        ("bufsize", bitrate),
        ("forced-idr", "1".into()),
        ("flags", "+cgop".into()),
    ];
    match settings.encoder {
        Encoder::X264 => {
            options.push(("preset", settings.preset.clone()));
            let threads = if settings.deterministic { 1 } else { settings.encoder_threads };
            options.push(("threads", threads.to_string()));
            options.extend(settings.x264_params().map(|params| ("x264-params", params)));
        }
        Encoder::Nvenc => {
            options.push(("preset", settings.nvenc_preset.clone()));
            options.push(("rc", "cbr".into()));
            if settings.low_latency {
                options.extend([("tune", "ull".into()), ("delay", "0".into())]);
            }
        }
    }
    let name = match profile.h264_profile {
        H264Profile::EncoderDefault => None,
        H264Profile::Baseline => Some("baseline"),
        H264Profile::Main => Some("main"),
        H264Profile::High | H264Profile::ConstrainedHigh => Some("high"),
    };
    options.extend(name.map(|name| ("profile", name.to_owned())));
    let reorder = input.may_reorder
        && !settings.low_latency
        && settings.encoder == Encoder::X264
        && !matches!(profile.h264_profile, H264Profile::Baseline | H264Profile::ConstrainedHigh)
        && profile.gop != Gop::IntraOnly;
    options.push(("bf", if reorder { "3" } else { "0" }.into()));
    match profile.gop {
        Gop::EncoderDefault => options.push(("g", "250".into())),
        Gop::IntraOnly => options.push(("g", "1".into())),
        Gop::Millis(ms) => options.push(("g", input.fps.frames_in_millis(u64::from(ms)).max(1).to_string())),
    }
    options
}

/// Refuses what this transcoder cannot produce.
pub(crate) fn check_profile(profile: &Profile) -> Result<(), MediaError> {
    let refuse = |reason: String| MediaError::UnsupportedProfile { name: profile.name.clone(), reason };
    profile.validate().map_err(|error| refuse(error.to_string()))?;
    if profile.encoder != VideoCodec::H264 {
        return Err(refuse(format!("video codec {:?}", profile.encoder)));
    }
    if profile.width.max(profile.height) > MAX_SIDE {
        return Err(refuse(format!("more than {MAX_SIDE} pixels a side")));
    }
    Ok(())
}

/// The three renditions of the development network: 720p, 360p and 240p with a key frame every two seconds.
pub fn devnet_ladder() -> Vec<Profile> {
    [("720p", 1280, 720, 3_000_000), ("360p", 640, 360, 900_000), ("240p", 426, 240, 400_000)]
        .into_iter()
        .filter_map(|(name, width, height, bitrate)| {
            let profile = Profile::new(name, width, height, bitrate).ok()?;
            Some(Profile { gop: Gop::Millis(2000), h264_profile: H264Profile::High, ..profile })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(options: &EncoderOptions, key: &str) -> Option<String> {
        options.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone())
    }

    #[test]
    fn ladder_has_three_valid_profiles() {
        let ladder = devnet_ladder();
        assert_eq!(
            ladder.iter().map(|p| (p.width, p.height)).collect::<Vec<_>>(),
            [(1280, 720), (640, 360), (426, 240)]
        );
        assert!(ladder.iter().all(|p| check_profile(p).is_ok()));
    }

    #[test]
    fn gop_is_counted_in_frames_of_the_stream() {
        let input = EncoderInput { fps: FrameRate::new(30_000, 1001), may_reorder: true };
        let options = encoder_options(&TranscodeSettings::default(), &devnet_ladder()[0], input);
        assert_eq!(option(&options, "g").as_deref(), Some("60"));
        assert_eq!(option(&options, "bf").as_deref(), Some("3"));
    }

    #[test]
    fn baseline_and_constrained_high_have_no_b_frames() {
        for h264_profile in [H264Profile::Baseline, H264Profile::ConstrainedHigh] {
            let profile = Profile { h264_profile, ..devnet_ladder()[0].clone() };
            let input = EncoderInput { fps: FrameRate::new(25, 1), may_reorder: true };
            let options = encoder_options(&TranscodeSettings::default(), &profile, input);
            assert_eq!(option(&options, "bf").as_deref(), Some("0"));
        }
    }

    #[test]
    fn other_codecs_and_sizes_are_refused() {
        let base = devnet_ladder()[0].clone();
        for profile in [
            Profile { encoder: VideoCodec::Vp9, ..base.clone() },
            Profile { width: 4098, ..base.clone() },
            Profile { bitrate: 0, ..base },
        ] {
            assert!(matches!(check_profile(&profile), Err(MediaError::UnsupportedProfile { .. })));
        }
    }
}
