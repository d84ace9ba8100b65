//! Codings of pictures that chips decode.
use std::fmt;

use ffmpeg_next::codec;
use serde::{Deserialize, Serialize};

/// A coding that NVDEC may know, by the chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Coding {
    /// H.264, on every chip.
    H264,
    /// HEVC.
    Hevc,
    /// VP9.
    Vp9,
    /// AV1, since Ampere.
    Av1,
}

impl Coding {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::H264, Self::Hevc, Self::Vp9, Self::Av1];

    pub(super) const fn id(self) -> codec::Id {
        match self {
            Self::H264 => codec::Id::H264,
            Self::Hevc => codec::Id::HEVC,
            Self::Vp9 => codec::Id::VP9,
            Self::Av1 => codec::Id::AV1,
        }
    }

    /// The coding of a stream; `None` for those that are decoded on the CPU.
    pub(crate) fn of(id: codec::Id) -> Option<Self> {
        Self::ALL.into_iter().find(|coding| coding.id() == id)
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::H264 => "h264",
            Self::Hevc => "hevc",
            Self::Vp9 => "vp9",
            Self::Av1 => "av1",
        })
    }
}
