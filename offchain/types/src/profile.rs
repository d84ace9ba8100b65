//! Target of a transcode (node.md §1.1 `VideoProfile`, §4.7 presets).
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ManifestIdError, manifest::check_path_component};

/// What one rendition should be.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Names the rendition; signed by the broadcaster, and a directory name. Never empty.
    pub name: String,
    /// Pixels, even.
    pub width: u32,
    /// Pixels, even.
    pub height: u32,
    /// Bits per second.
    pub bitrate: u32,
    /// Numerator of the frame rate; 0 keeps the source's.
    #[serde(default)]
    pub fps: u32,
    /// Denominator of the frame rate, at least 1.
    #[serde(default = "one")]
    pub fps_den: u32,
    /// Container of the rendition.
    #[serde(default)]
    pub format: Container,
    /// H.264 profile asked of the encoder.
    #[serde(default)]
    pub h264_profile: H264Profile,
    /// Distance of key frames.
    #[serde(default)]
    pub gop: Gop,
    /// Codec of the rendition.
    #[serde(default)]
    pub encoder: VideoCodec,
}

const fn one() -> u32 {
    1
}

/// Container of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Container {
    /// MPEG transport stream.
    #[default]
    MpegTs,
    /// Fragmented MP4.
    Mp4,
}

impl Container {
    /// File name extension, without the dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::MpegTs => "ts",
            Self::Mp4 => "mp4",
        }
    }

    /// Media type of the reply parts.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::MpegTs => "video/mp2t",
            Self::Mp4 => "video/mp4",
        }
    }
}

/// H.264 profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum H264Profile {
    /// The encoder's own choice.
    #[default]
    EncoderDefault,
    /// Baseline.
    Baseline,
    /// Main.
    Main,
    /// High.
    High,
    /// Constrained high: high without B frames.
    ConstrainedHigh,
}

/// Distance of key frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gop {
    /// The encoder's own choice.
    #[default]
    EncoderDefault,
    /// Every frame is a key frame.
    IntraOnly,
    /// At most this many milliseconds.
    Millis(u32),
}

/// Video codec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VideoCodec {
    /// H.264.
    #[default]
    H264,
    /// H.265.
    H265,
    /// VP8.
    Vp8,
    /// VP9.
    Vp9,
}

/// Why a profile cannot be transcoded to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// The name becomes a directory and follows the rule of manifest ids.
    #[error("profile name {name:?} is not usable")]
    Name {
        /// As given.
        name: String,
        /// The rule it breaks.
        #[source]
        source: ManifestIdError,
    },
    /// Chroma planes have half the size, so both sides must be even.
    #[error("profile size {width}x{height} is not even or not within {min} to {max}", min = Profile::MIN_SIDE, max = Profile::MAX_SIDE)]
    Size {
        /// As given.
        width: u32,
        /// As given.
        height: u32,
    },
    /// 0, or more than the wire can carry.
    #[error("profile bitrate {0} is not within 1 to 2147483647")]
    Bitrate(u32),
    /// Zero denominator, or above the limit.
    #[error("profile frame rate {fps}/{fps_den} is not within 0 to {max}", max = Profile::MAX_FPS)]
    FrameRate {
        /// As given.
        fps: u32,
        /// As given.
        fps_den: u32,
    },
    /// More than the wire can carry, or 0.
    #[error("profile gop of {0} ms is not within 1 to 2147483647")]
    Gop(u32),
}

impl Profile {
    /// Shortest side, in pixels.
    pub const MIN_SIDE: u32 = 16;
    /// Longest side, in pixels.
    pub const MAX_SIDE: u32 = 8192;
    /// Highest frame rate, per second.
    pub const MAX_FPS: u32 = 480;

    /// H.264 in a transport stream at the source's frame rate; everything else is the encoder's choice.
    pub fn new(name: impl Into<String>, width: u32, height: u32, bitrate: u32) -> Result<Self, ProfileError> {
        let profile = Self {
            name: name.into(),
            width,
            height,
            bitrate,
            fps: 0,
            fps_den: 1,
            format: Container::default(),
            h264_profile: H264Profile::default(),
            gop: Gop::default(),
            encoder: VideoCodec::default(),
        };
        profile.validate()?;
        Ok(profile)
    }

    /// One of the names that Livepeer peers know, such as `P240p30fps16x9` (node.md §4.7).
    pub fn preset(name: &str) -> Option<Self> {
        let (_, width, height, fps, kbit) = PRESETS.into_iter().find(|preset| preset.0 == name)?;
        Some(Self { fps, ..Self::new(name, width, height, kbit * 1000).ok()? })
    }

    /// Whether it can be signed, sent, stored and encoded.
    pub fn validate(&self) -> Result<(), ProfileError> {
        check_path_component(&self.name).map_err(|source| ProfileError::Name { name: self.name.clone(), source })?;
        let side = |s: u32| s.is_multiple_of(2) && (Self::MIN_SIDE..=Self::MAX_SIDE).contains(&s);
        if !side(self.width) || !side(self.height) {
            return Err(ProfileError::Size { width: self.width, height: self.height });
        }
        if self.bitrate == 0 || i32::try_from(self.bitrate).is_err() {
            return Err(ProfileError::Bitrate(self.bitrate));
        }
        if self.fps_den == 0 || u64::from(self.fps) > u64::from(Self::MAX_FPS) * u64::from(self.fps_den) {
            return Err(ProfileError::FrameRate { fps: self.fps, fps_den: self.fps_den });
        }
        match self.gop {
            Gop::Millis(ms) if ms == 0 || i32::try_from(ms).is_err() => Err(ProfileError::Gop(ms)),
            _ => Ok(()),
        }
    }

    /// Frames per second rounded up; a passthrough rate counts as 60, as peers estimate it (payments.md §1.9).
    pub fn fps_estimate(&self) -> u32 {
        if self.fps == 0 { 60 } else { self.fps.div_ceil(self.fps_den.max(1)) }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}x{}", self.name, self.width, self.height)
    }
}

/// Name, width, height, frames per second, kbit/s.
const PRESETS: [(&str, u32, u32, u32, u32); 14] = [
    ("P720p60fps16x9", 1280, 720, 60, 6000),
    ("P720p30fps16x9", 1280, 720, 30, 4000),
    ("P720p25fps16x9", 1280, 720, 25, 3500),
    ("P720p30fps4x3", 960, 720, 30, 3500),
    ("P576p30fps16x9", 1024, 576, 30, 1500),
    ("P576p25fps16x9", 1024, 576, 25, 1500),
    ("P360p30fps16x9", 640, 360, 30, 1200),
    ("P360p25fps16x9", 640, 360, 25, 1000),
    ("P360p30fps4x3", 480, 360, 30, 1000),
    ("P240p30fps16x9", 426, 240, 30, 600),
    ("P240p25fps16x9", 426, 240, 25, 600),
    ("P240p30fps4x3", 320, 240, 30, 600),
    ("P144p30fps16x9", 256, 144, 30, 400),
    ("P144p25fps16x9", 256, 144, 25, 400),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        Profile::new("240p", 426, 240, 600_000).unwrap()
    }

    #[test]
    fn every_preset_is_valid() {
        for (name, ..) in PRESETS {
            let preset = Profile::preset(name).unwrap();
            assert_eq!(preset.validate(), Ok(()));
            assert_eq!(preset.name, name);
        }
        assert_eq!(Profile::preset("P240p31fps16x9"), None);
    }

    #[test]
    fn impossible_profiles_are_refused() {
        let refused = |change: fn(&mut Profile)| {
            let mut changed = profile();
            change(&mut changed);
            changed.validate().unwrap_err()
        };
        assert!(matches!(refused(|p| p.name = "../x".into()), ProfileError::Name { .. }));
        assert!(matches!(refused(|p| p.name.clear()), ProfileError::Name { .. }));
        assert_eq!(refused(|p| p.width = 427), ProfileError::Size { width: 427, height: 240 });
        assert_eq!(refused(|p| p.height = 8194), ProfileError::Size { width: 426, height: 8194 });
        assert_eq!(refused(|p| p.bitrate = 0), ProfileError::Bitrate(0));
        assert_eq!(refused(|p| p.bitrate = 1 << 31), ProfileError::Bitrate(1 << 31));
        assert_eq!(refused(|p| p.fps_den = 0), ProfileError::FrameRate { fps: 0, fps_den: 0 });
        assert_eq!(refused(|p| p.fps = 481), ProfileError::FrameRate { fps: 481, fps_den: 1 });
        assert_eq!(refused(|p| p.gop = Gop::Millis(0)), ProfileError::Gop(0));
    }

    #[test]
    fn fractional_rates_are_estimated_upwards() {
        assert_eq!(Profile { fps: 30_000, fps_den: 1001, ..profile() }.fps_estimate(), 30);
        assert_eq!(profile().fps_estimate(), 60);
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let text = r#"{"name":"a","width":16,"height":16,"bitrate":1,"fsp":30}"#;
        assert!(serde_json::from_str::<Profile>(text).is_err());
        let read: Profile = serde_json::from_str(&text.replace("fsp", "fps")).unwrap();
        assert_eq!((read.fps, read.fps_den, read.gop), (30, 1, Gop::EncoderDefault));
    }
}
