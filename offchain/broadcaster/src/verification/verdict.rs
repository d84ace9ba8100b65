//! What an orchestrator is suspended for.
use std::fmt;

use serde::Serialize;

use crate::{error::VerifyError, verification::ReceiptError};

/// Why an orchestrator was convicted; both figures are in the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Black pictures in place of the source's.
    BlackFrames,
    /// Pictures of one colour.
    FlatFrames,
    /// Pictures that stand still while the source moves.
    FrozenFrames,
    /// Pictures of something else.
    ForeignFrames,
    /// A smaller picture, scaled up.
    Upscaled,
    /// Worse by far than honest work.
    PoorPicture,
    /// The source's own bytes.
    SourceReturned,
    /// Another number of pixels billed than encoded.
    WrongPixels,
    /// Another size than asked for.
    WrongSize,
    /// Another number of renditions.
    Incomplete,
    /// No valid signature, or somebody else's.
    Unsigned,
    /// What no decoder takes.
    Undecodable,
    /// A link to another host.
    ForeignLink,
    /// A receipt that does not state what was delivered.
    FalseReceipt,
    /// A charge for what was not delivered, and not our fault.
    FalseCharge,
}

impl Verdict {
    const ALL: [Self; 15] = [
        Self::BlackFrames,
        Self::FlatFrames,
        Self::FrozenFrames,
        Self::ForeignFrames,
        Self::Upscaled,
        Self::PoorPicture,
        Self::SourceReturned,
        Self::WrongPixels,
        Self::WrongSize,
        Self::Incomplete,
        Self::Unsigned,
        Self::Undecodable,
        Self::ForeignLink,
        Self::FalseReceipt,
        Self::FalseCharge,
    ];

    /// The verdict of that label.
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.label() == label)
    }

    /// What a refused result proves. Nothing, where the network or we may be to blame.
    pub fn of(error: &VerifyError) -> Option<Self> {
        Some(match error {
            VerifyError::Cheat { evidence, .. } => match evidence {
                Evidence::Black { .. } => Self::BlackFrames,
                Evidence::Flat { .. } => Self::FlatFrames,
                Evidence::Frozen { .. } => Self::FrozenFrames,
                Evidence::Foreign { .. } => Self::ForeignFrames,
                Evidence::Upscaled { .. } => Self::Upscaled,
                Evidence::Poor { .. } => Self::PoorPicture,
                Evidence::SourceReturned { .. } => Self::SourceReturned,
            },
            VerifyError::Pixels { .. } => Self::WrongPixels,
            VerifyError::Size { .. } => Self::WrongSize,
            VerifyError::Count { .. } => Self::Incomplete,
            VerifyError::Signature { .. } | VerifyError::Signer { .. } | VerifyError::Streamed { .. } => Self::Unsigned,
            VerifyError::Media { .. } | VerifyError::Damaged { .. } => Self::Undecodable,
            VerifyError::Url { .. } => Self::ForeignLink,
            VerifyError::Receipt(error) if *error != ReceiptError::Missing => Self::FalseReceipt,
            VerifyError::Charge(_) => Self::FalseCharge,
            _ => return None,
        })
    }

    /// Whether only counts and sizes are wrong, which an honest peer with other rules of rounding may have too.
    pub const fn is_of_form(self) -> bool {
        matches!(self, Self::WrongPixels | Self::WrongSize)
    }

    /// As metrics and `/status` have it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::BlackFrames => "black_frames",
            Self::FlatFrames => "flat_frames",
            Self::FrozenFrames => "frozen_frames",
            Self::ForeignFrames => "foreign_frames",
            Self::Upscaled => "upscaled",
            Self::PoorPicture => "poor_picture",
            Self::SourceReturned => "source_returned",
            Self::WrongPixels => "wrong_pixels",
            Self::WrongSize => "wrong_size",
            Self::Incomplete => "incomplete",
            Self::Unsigned => "unsigned",
            Self::Undecodable => "undecodable",
            Self::ForeignLink => "foreign_link",
            Self::FalseReceipt => "false_receipt",
            Self::FalseCharge => "false_charge",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// What pictures show, and what honest ones of the same segment do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Evidence {
    /// Black.
    #[error("black frames: {shown} of {of} moments, {honest} in honest work")]
    Black {
        /// Moments of one colour, most of them black.
        shown: u32,
        /// Moments at which the source shows something.
        of: u32,
        /// The same, of a re-encode.
        honest: u32,
    },
    /// Of another colour.
    #[error("frames of one colour: {shown} of {of} moments, {honest} in honest work")]
    Flat {
        /// Moments of one colour.
        shown: u32,
        /// Moments at which the source shows something.
        of: u32,
        /// The same, of a re-encode.
        honest: u32,
    },
    /// Standing still.
    #[error("frozen frames: still in {frozen} of {moving} steps in which the source moves, in {honest} in honest work")]
    Frozen {
        /// Steps without a change.
        frozen: u32,
        /// Steps in which the source changes.
        moving: u32,
        /// The same, of a re-encode.
        honest: u32,
    },
    /// Something else.
    #[error("other pictures than the source: {foreign} of {steps} moments, {honest} in honest work")]
    Foreign {
        /// Moments at which pictures differ.
        foreign: u32,
        /// Moments looked at.
        steps: u32,
        /// The same, of a re-encode.
        honest: u32,
    },
    /// Scaled up.
    #[error("scaled up: {detail} of 1000 parts of the finest detail are left, {honest} in honest work")]
    Upscaled {
        /// Of a thousand.
        detail: u32,
        /// The same, of a re-encode.
        honest: u32,
    },
    /// Bad.
    #[error("poor picture: {psnr} dB, {honest} dB in honest work")]
    Poor {
        /// Whole decibels.
        psnr: u32,
        /// The same, of a re-encode.
        honest: u32,
    },
    /// Not encoded at all.
    #[error("source returned: {copied} of 1000 coded bytes are its own, {most} may be")]
    SourceReturned {
        /// Of a thousand.
        copied: u32,
        /// Of a thousand.
        most: u32,
    },
}
