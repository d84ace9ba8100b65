//! Encoder settings: one table serves libav, the yardstick of benchmarks and the probe.
use std::fmt;

use serde::{Deserialize, Serialize};
use streamflow_types::{Container, Gop, H264Profile, Profile, VideoCodec};

use crate::{MediaError, demux::Decoding, library, rate::FrameRate};

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
/// Bits a second from which on libx264 takes a rate, which it is told in thousands.
const LEAST_BITRATE: u32 = 1000;

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

    /// libav's name of the encoder beside this one that makes another codec. `None`: nobody here makes it.
    pub(crate) const fn libav_name_for(self, codec: VideoCodec) -> Option<&'static str> {
        match (codec, self) {
            (VideoCodec::H264, own) => Some(own.libav_name()),
            (VideoCodec::H265, Self::X264) => Some("libx265"),
            (VideoCodec::H265, Self::Nvenc) => Some("hevc_nvenc"),
            (VideoCodec::Vp9, Self::X264) => Some("libvpx-vp9"),
            // No container here has a place for VP8, and no device makes VP9.
            (VideoCodec::Vp8, _) | (VideoCodec::Vp9, Self::Nvenc) => None,
        }
    }
}

impl fmt::Display for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.libav_name())
    }
}

/// What becomes of sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Audio {
    /// Renditions carry the packets of the source, which must be AAC, MP3 or AC-3.
    #[default]
    Copy,
    /// It is decoded and becomes AAC, 48 kHz, stereo, 128 kbit/s; MP2, E-AC-3 and Opus are taken as well.
    Aac,
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
    /// Cores that each libx264 encoder has threads for, one and a half for each; 0 lets it choose. With low latency, where threads
    /// cost bits, the largest rendition has one for each, and the others have one. One is the cheapest in CPU time and alone gives the
    /// same bytes in every run; with two, the largest rendition keeps two cores busy.
    pub encoder_threads: u32,
    /// Threads of the decoder, at least 1.
    pub decoder_threads: u32,
    /// Whether renditions of libx264 are the same bytes on every x86-64 machine with the same builds of the libraries:
    /// what fault verification encodes again.
    ///
    /// The encoder and the decoder have one thread each, whatever the settings above say: with more, rate control and
    /// the concealment of damaged pictures differ from run to run. Pictures are decoded into blank buffers: what damage
    /// leaves undecoded would show an earlier one, whichever was free. So is all memory of libraries, as the H.265 decoder
    /// reads some that it never wrote to. Scaling is exact. `cpu-independent` keeps the encoder
    /// from all assembly whose results depend on the processor: floating point, and the propagation of macroblock
    /// trees, which with AVX-512 even reads what was never written, at some widths such as 854 (libx264 164). The rest
    /// of the assembly gives the same results at every level, so that none of it is forgone.
    ///
    /// Only in a worker of a [`crate::WorkerPool`] is glibc kept from functions that round by the processor, and memory blank.
    pub deterministic: bool,
    /// Whether each frame leaves the encoder before the next one comes in: no lookahead, no B-frames, and threads that
    /// share a picture, where otherwise each has its own. Costs quality.
    pub low_latency: bool,
    /// What becomes of sound. AAC that is made here is computed in floating point: not by every processor the same.
    pub audio: Audio,
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
            audio: Audio::Copy,
        }
    }
}

impl TranscodeSettings {
    /// How the CPU decodes.
    pub(crate) fn decoding(&self) -> Decoding {
        if self.deterministic { Decoding::Repeatable } else { Decoding::Threads(self.decoder_threads) }
    }

    /// Threads of the encoder that is opened.
    fn encoding_threads(&self) -> u32 {
        if self.deterministic { 1 } else { self.encoder_threads }
    }

    /// Frames that the encoder looks ahead over: `rc-lookahead` of libx264's presets.
    pub(crate) fn lookahead_frames(&self) -> usize {
        match (self.encoder, self.preset.as_str()) {
            _ if self.low_latency => 0,
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

/// Name of the option for all that libx264 has a name for and libav has none.
const X264_PARAMS: &str = "x264-params";
/// Nothing waits. The frame rate counts as constant, or each frame waited for the time of the one after it.
const LOW_LATENCY: &str = "rc-lookahead=0:sync-lookahead=0:mbtree=0:force-cfr=1:sliced-threads=1";

/// Adds options by libx264's names, `name=value` with colons between them.
pub(crate) fn add_x264_params(options: &mut EncoderOptions, params: &str) {
    match options.iter_mut().find(|(name, _)| *name == X264_PARAMS) {
        Some((_, before)) => {
            before.push(':');
            before.push_str(params);
        }
        None => options.push((X264_PARAMS, params.to_owned())),
    }
}

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
    let mut options = vec![("b", bitrate.clone()), ("maxrate", bitrate.clone()), ("bufsize", bitrate)];
    match profile.encoder {
        VideoCodec::Vp9 => options.extend(vp9::options(settings, profile)),
        VideoCodec::H265 if settings.encoder == Encoder::X264 => options.extend(x265::options(settings)),
        _ => options.extend(h264_options(settings, profile)),
    }
    let reorder = input.may_reorder
        && !settings.low_latency
        && settings.encoder == Encoder::X264
        && !matches!(profile.h264_profile, H264Profile::Baseline | H264Profile::ConstrainedHigh)
        && profile.gop != Gop::IntraOnly;
    options.push(("bf", if reorder { "3" } else { "0" }.into()));
    match profile.gop {
        Gop::EncoderDefault => options.push(("g", "250".into())),
        // To VP9 it is the number of pictures between key frames.
        Gop::IntraOnly => options.push(("g", if profile.encoder == VideoCodec::Vp9 { "0" } else { "1" }.into())),
        Gop::Millis(ms) => options.push(("g", input.fps.frames_in_millis(u64::from(ms)).max(1).to_string())),
    }
    options
}

/// Of H.264, and of the devices that make H.265 as well.
fn h264_options(settings: &TranscodeSettings, profile: &Profile) -> EncoderOptions {
    let mut options = vec![("forced-idr", "1".into()), ("flags", "+cgop".into())];
    match settings.encoder {
        Encoder::X264 => {
            options.push(("preset", settings.preset.clone()));
            options.push(("threads", settings.encoding_threads().to_string()));
            if settings.deterministic {
                add_x264_params(&mut options, "cpu-independent=1");
            }
            if settings.low_latency {
                add_x264_params(&mut options, LOW_LATENCY);
            }
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
    let name = name.filter(|_| profile.encoder == VideoCodec::H264);
    options.extend(name.map(|name| ("profile", name.to_owned())));
    options
}

/// libx265, which has the presets of libx264.
mod x265 {
    use super::{EncoderOptions, TranscodeSettings};

    pub(super) fn options(settings: &TranscodeSettings) -> EncoderOptions {
        // Its own messages are no errors of libav, whose level they ignore.
        let mut params = String::from("log-level=error:open-gop=0");
        match settings.encoding_threads() {
            0 => {}
            1 => params.push_str(":pools=none:frame-threads=1"),
            threads => params.push_str(&format!(":pools={threads}:frame-threads=1")),
        }
        let mut options =
            vec![("forced-idr", "1".into()), ("preset", settings.preset.clone()), ("x265-params", params)];
        options.extend(settings.low_latency.then(|| ("tune", "zerolatency".into())));
        options
    }
}

/// libvpx, as live streams use it: every picture leaves before the next one comes.
mod vp9 {
    use super::{EncoderOptions, Profile, TranscodeSettings};

    /// Its speeds, by the presets of libx264.
    const SPEEDS: [(&str, &str); 9] = [
        ("ultrafast", "8"),
        ("superfast", "8"),
        ("veryfast", "7"),
        ("faster", "6"),
        ("fast", "6"),
        ("medium", "5"),
        ("slow", "4"),
        ("slower", "3"),
        ("veryslow", "2"),
    ];
    const USUAL_SPEED: &str = "7";

    pub(super) fn options(settings: &TranscodeSettings, profile: &Profile) -> EncoderOptions {
        let speed =
            SPEEDS.iter().find(|(preset, _)| *preset == settings.preset).map_or(USUAL_SPEED, |(_, speed)| *speed);
        let threads = settings.encoding_threads().to_string();
        let fixed = [("deadline", "realtime"), ("lag-in-frames", "0"), ("auto-alt-ref", "0"), ("cpu-used", speed)];
        let mut options: EncoderOptions = fixed.map(|(key, value)| (key, value.to_owned())).into();
        // With the least rate equal to the largest it is constant.
        options.extend([("minrate", profile.bitrate.to_string()), ("threads", threads)]);
        options
    }
}

/// Refuses what this transcoder cannot produce with the encoder that it has.
pub(crate) fn check_profile(profile: &Profile, encoder: Encoder) -> Result<(), MediaError> {
    let refuse = |reason: String| MediaError::UnsupportedProfile { name: profile.name.clone(), reason };
    profile.validate().map_err(|error| refuse(error.to_string()))?;
    let Some(name) = encoder.libav_name_for(profile.encoder) else {
        return Err(refuse(format!("no encoder for {:?} beside {encoder}", profile.encoder)));
    };
    if profile.encoder != VideoCodec::H264 && !library::encodes(profile.encoder, encoder) {
        return Err(refuse(format!("this libavcodec has no {name}")));
    }
    if profile.encoder == VideoCodec::Vp9 && profile.format != Container::Mp4 {
        return Err(refuse("VP9 goes into MP4 only, transport streams have no place for it".into()));
    }
    if profile.bitrate < LEAST_BITRATE {
        return Err(refuse(format!("{} bits a second, where encoders count in thousands", profile.bitrate)));
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
        assert!(ladder.iter().all(|p| check_profile(p, Encoder::X264).is_ok()));
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
    fn devices_make_no_vp9() {
        let vp9 = Profile { encoder: VideoCodec::Vp9, format: Container::Mp4, ..devnet_ladder()[0].clone() };
        assert_eq!(check_profile(&vp9, Encoder::X264), Ok(()));
        assert!(matches!(check_profile(&vp9, Encoder::Nvenc), Err(MediaError::UnsupportedProfile { .. })));
    }

    #[test]
    fn other_codecs_and_sizes_are_refused() {
        let base = devnet_ladder()[0].clone();
        for profile in [
            Profile { encoder: VideoCodec::Vp8, format: Container::Mp4, ..base.clone() },
            Profile { encoder: VideoCodec::Vp9, ..base.clone() },
            Profile { width: 4098, ..base.clone() },
            Profile { bitrate: 0, ..base.clone() },
            Profile { bitrate: 999, ..base },
        ] {
            assert!(matches!(check_profile(&profile, Encoder::X264), Err(MediaError::UnsupportedProfile { .. })));
        }
    }
}
