//! Profiles on the wire (node.md §1.1).
use std::collections::HashSet;

use streamflow_types::{Container, Gop, H264Profile, Profile, VideoCodec};

use crate::{
    SegmentError,
    proto::{self, video_profile as vp},
};

/// Most renditions of one segment.
pub const MAX_PROFILES: usize = 32;

/// The number that stands for "every frame is a key frame".
const INTRA_ONLY: i32 = -1;

/// One profile on the wire.
pub fn profile_to_proto(profile: &Profile) -> proto::VideoProfile {
    // Validated profiles fit; others are cut to the greatest number rather than wrapped into a negative one.
    let int = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    proto::VideoProfile {
        name: profile.name.clone(),
        width: int(profile.width),
        height: int(profile.height),
        bitrate: int(profile.bitrate),
        fps: profile.fps,
        format: match profile.format {
            Container::MpegTs => vp::Format::Mpegts,
            Container::Mp4 => vp::Format::Mp4,
        }
        .into(),
        fps_den: if profile.fps_den > 1 { profile.fps_den } else { 0 },
        profile: match profile.h264_profile {
            H264Profile::EncoderDefault => vp::Profile::EncoderDefault,
            H264Profile::Baseline => vp::Profile::H264Baseline,
            H264Profile::Main => vp::Profile::H264Main,
            H264Profile::High => vp::Profile::H264High,
            H264Profile::ConstrainedHigh => vp::Profile::H264ConstrainedHigh,
        }
        .into(),
        gop: match profile.gop {
            Gop::EncoderDefault => 0,
            Gop::IntraOnly => INTRA_ONLY,
            Gop::Millis(ms) => int(ms),
        },
        encoder: match profile.encoder {
            VideoCodec::H264 => vp::VideoCodec::H264,
            VideoCodec::H265 => vp::VideoCodec::H265,
            VideoCodec::Vp8 => vp::VideoCodec::Vp8,
            VideoCodec::Vp9 => vp::VideoCodec::Vp9,
        }
        .into(),
        ..Default::default()
    }
}

/// Reads and validates one profile. An empty name becomes the one that peers agree on.
pub fn profile_from_proto(profile: &proto::VideoProfile) -> Result<Profile, SegmentError> {
    let positive = |field, n: i32| u32::try_from(n).map_err(|_| SegmentError::ProfileField(field));
    let name = match profile.name.as_str() {
        "" => format!("net_{}x{}_{}", profile.width, profile.height, profile.bitrate),
        name => name.to_owned(),
    };
    let read = Profile {
        name,
        width: positive("width", profile.width)?,
        height: positive("height", profile.height)?,
        bitrate: positive("bitrate", profile.bitrate)?,
        fps: profile.fps,
        fps_den: profile.fps_den.max(1),
        format: match vp::Format::try_from(profile.format).map_err(|_| SegmentError::Format(profile.format))? {
            vp::Format::Mpegts => Container::MpegTs,
            vp::Format::Mp4 => Container::Mp4,
        },
        h264_profile: match vp::Profile::try_from(profile.profile)
            .map_err(|_| SegmentError::EncoderProfile(profile.profile))?
        {
            vp::Profile::EncoderDefault => H264Profile::EncoderDefault,
            vp::Profile::H264Baseline => H264Profile::Baseline,
            vp::Profile::H264Main => H264Profile::Main,
            vp::Profile::H264High => H264Profile::High,
            vp::Profile::H264ConstrainedHigh => H264Profile::ConstrainedHigh,
        },
        gop: match profile.gop {
            0 => Gop::EncoderDefault,
            INTRA_ONLY => Gop::IntraOnly,
            ms => Gop::Millis(positive("gop", ms)?),
        },
        encoder: match vp::VideoCodec::try_from(profile.encoder).map_err(|_| SegmentError::Codec(profile.encoder))? {
            vp::VideoCodec::H264 => VideoCodec::H264,
            vp::VideoCodec::H265 => VideoCodec::H265,
            vp::VideoCodec::Vp8 => VideoCodec::Vp8,
            vp::VideoCodec::Vp9 => VideoCodec::Vp9,
        },
    };
    read.validate()?;
    Ok(read)
}

/// Puts profiles into the oldest of the three lists that can express them.
pub(crate) fn write_profiles(profiles: &[Profile], segment: &mut proto::SegData) {
    let plain = |p: &Profile| {
        p.fps_den <= 1
            && p.h264_profile == H264Profile::EncoderDefault
            && p.gop == Gop::EncoderDefault
            && p.encoder == VideoCodec::H264
    };
    let list = if !profiles.iter().all(plain) {
        &mut segment.full_profiles3
    } else if profiles.iter().any(|p| p.format == Container::Mp4) {
        &mut segment.full_profiles2
    } else {
        &mut segment.full_profiles
    };
    *list = profiles.iter().map(profile_to_proto).collect();
}

/// Reads the newest list that is filled; none if no list is.
pub(crate) fn read_profiles(segment: &proto::SegData) -> Result<Vec<Profile>, SegmentError> {
    let lists = [&segment.full_profiles3, &segment.full_profiles2, &segment.full_profiles];
    let Some(list) = lists.into_iter().find(|list| !list.is_empty()) else { return Ok(Vec::new()) };
    if list.len() > MAX_PROFILES {
        return Err(SegmentError::TooManyProfiles { got: list.len(), max: MAX_PROFILES });
    }
    let profiles: Vec<_> = list.iter().map(profile_from_proto).collect::<Result<_, _>>()?;
    let mut names = HashSet::new();
    match profiles.iter().find(|profile| !names.insert(profile.name.as_str())) {
        Some(repeated) => Err(SegmentError::RepeatedProfile(repeated.name.clone())),
        None => Ok(profiles),
    }
}
