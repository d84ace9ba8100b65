//! What a node can do, as a set of bits, and whether a job fits (node.md §1.3).
use streamflow_types::{Container, Gop, H264Profile, Profile, VideoCodec};

use crate::proto;

/// Bits of video transcoding. Numbers are the wire's; those of other pipelines pass through as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Capability {
    /// Decode and encode H.264.
    H264 = 0,
    /// MPEG transport stream output.
    MpegTs = 1,
    /// MP4 output.
    Mp4 = 2,
    /// Frame rates with a denominator.
    FractionalFramerates = 3,
    /// Renditions are fetched from the orchestrator.
    StorageDirect = 4,
    /// Renditions are put into S3.
    StorageS3 = 5,
    /// Renditions are put into Google Cloud Storage.
    StorageGcs = 6,
    /// Baseline profile on request.
    ProfileH264Baseline = 7,
    /// Main profile on request.
    ProfileH264Main = 8,
    /// High profile on request.
    ProfileH264High = 9,
    /// Constrained high profile on request.
    ProfileH264ConstrainedHigh = 10,
    /// Distance of key frames on request.
    Gop = 11,
    /// Session tokens.
    AuthToken = 12,
    /// MPEG-7 signature of renditions.
    Mpeg7Signature = 14,
    /// Decode H.265.
    HevcDecode = 15,
    /// Encode H.265.
    HevcEncode = 16,
    /// Decode VP8.
    Vp8Decode = 17,
    /// Decode VP9.
    Vp9Decode = 18,
    /// Encode VP8.
    Vp8Encode = 19,
    /// Encode VP9.
    Vp9Encode = 20,
    /// Transcode a part of a segment.
    SegmentSlicing = 26,
}

impl Capability {
    /// Number of the bit.
    pub const fn bit(self) -> u32 {
        self as u32
    }
}

/// What every transcoder of ours can do, whatever its library has: the default set without MPEG-7 signatures and foreign
/// object stores.
///
/// Slicing is in it because peers ask for it with every segment that was pushed over HTTP, mostly to mean the whole.
pub const OFFERED: [Capability; 12] = [
    Capability::H264,
    Capability::MpegTs,
    Capability::Mp4,
    Capability::FractionalFramerates,
    Capability::StorageDirect,
    Capability::ProfileH264Baseline,
    Capability::ProfileH264Main,
    Capability::ProfileH264High,
    Capability::ProfileH264ConstrainedHigh,
    Capability::Gop,
    Capability::AuthToken,
    Capability::SegmentSlicing,
];

/// What some transcoders can do beside it.
pub const CODECS: [Capability; 4] =
    [Capability::HevcDecode, Capability::HevcEncode, Capability::Vp9Decode, Capability::Vp9Encode];

/// What transcoders can do that have those of [`CODECS`] that `has` says.
pub fn offered(has: impl Fn(Capability) -> bool) -> Vec<Capability> {
    OFFERED.into_iter().chain(CODECS.into_iter().filter(|capability| has(*capability))).collect()
}

/// Highest bit taken from a list; real ones are below 64.
const MAX_BIT: u32 = 4095;

/// Words of a bit set. Negative numbers mean "unused" and are left out; none needs more than 64 words.
pub fn bitstring(bits: impl IntoIterator<Item = i64>) -> Vec<u64> {
    let mut words = Vec::new();
    for bit in bits.into_iter().filter_map(|bit| u32::try_from(bit).ok()).filter(|bit| *bit <= MAX_BIT) {
        let word = (bit / 64) as usize;
        if words.len() <= word {
            words.resize(word + 1, 0);
        }
        words[word] |= 1_u64 << (bit % 64);
    }
    words
}

/// Whether a bit set has a bit.
pub fn has_bit(words: &[u64], bit: u32) -> bool {
    words.get((bit / 64) as usize).is_some_and(|word| word >> (bit % 64) & 1 == 1)
}

/// A node's description of itself: each capability with room for `capacity` sessions.
pub fn describe(capabilities: &[Capability], capacity: u32, version: &str) -> proto::Capabilities {
    proto::Capabilities {
        bitstring: bitstring(capabilities.iter().map(|c| c.bit().into())),
        mandatories: bitstring([Capability::AuthToken.bit().into()]),
        capacities: capabilities.iter().map(|c| (c.bit(), capacity)).collect(),
        version: version.to_owned(),
        constraints: None,
    }
}

/// What is assumed of a peer that sends no capabilities: bits 0 to 11.
pub fn legacy() -> proto::Capabilities {
    proto::Capabilities { bitstring: bitstring(0..12), ..Default::default() }
}

/// What a job needs, its renditions being fetched from the orchestrator.
pub fn job(input: VideoCodec, profiles: &[Profile], clipped: bool) -> proto::Capabilities {
    let mut needed = vec![Capability::AuthToken, Capability::StorageDirect, decoding(input)];
    needed.extend(clipped.then_some(Capability::SegmentSlicing));
    needed.extend(profiles.iter().flat_map(needs));
    proto::Capabilities { bitstring: bitstring(needed.iter().map(|c| c.bit().into())), ..Default::default() }
}

/// The codec of the source, as a job says. Who sends no capabilities says H.264.
pub fn source(job: Option<&proto::Capabilities>) -> VideoCodec {
    let told = |codec: &VideoCodec| job.is_some_and(|job| has_bit(&job.bitstring, decoding(*codec).bit()));
    [VideoCodec::H265, VideoCodec::Vp8, VideoCodec::Vp9].into_iter().find(told).unwrap_or(VideoCodec::H264)
}

/// What takes sources of this codec.
pub fn decoding(codec: VideoCodec) -> Capability {
    match codec {
        VideoCodec::H264 => Capability::H264,
        VideoCodec::H265 => Capability::HevcDecode,
        VideoCodec::Vp8 => Capability::Vp8Decode,
        VideoCodec::Vp9 => Capability::Vp9Decode,
    }
}

fn encoding(codec: VideoCodec) -> Capability {
    match codec {
        VideoCodec::H264 => Capability::H264,
        VideoCodec::H265 => Capability::HevcEncode,
        VideoCodec::Vp8 => Capability::Vp8Encode,
        VideoCodec::Vp9 => Capability::Vp9Encode,
    }
}

fn needs(profile: &Profile) -> impl Iterator<Item = Capability> {
    let format = match profile.format {
        Container::MpegTs => Capability::MpegTs,
        Container::Mp4 => Capability::Mp4,
    };
    let h264_profile = match profile.h264_profile {
        H264Profile::EncoderDefault => None,
        H264Profile::Baseline => Some(Capability::ProfileH264Baseline),
        H264Profile::Main => Some(Capability::ProfileH264Main),
        H264Profile::High => Some(Capability::ProfileH264High),
        H264Profile::ConstrainedHigh => Some(Capability::ProfileH264ConstrainedHigh),
    };
    let fractional = (profile.fps_den > 1).then_some(Capability::FractionalFramerates);
    let gop = (profile.gop != Gop::EncoderDefault).then_some(Capability::Gop);
    [Some(format), Some(encoding(profile.encoder)), h264_profile, fractional, gop].into_iter().flatten()
}

/// Why a node and a job do not go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incompatibility {
    /// The job wants a newer version.
    Version {
        /// The node's; empty if it does not say.
        node: String,
        /// The least that the job wants.
        least: String,
    },
    /// The job needs what the node does not have.
    Missing {
        /// Bits.
        missing: Vec<u32>,
        /// Bits of the node.
        offered: Vec<u32>,
    },
    /// The node insists on what the job does not have.
    Mandatory {
        /// Bits of the job.
        job: Vec<u32>,
        /// Bits that the node insists on.
        mandatory: Vec<u32>,
    },
    /// The job wants a model that the node does not have, or not as it is wanted.
    Model {
        /// Bit.
        capability: u32,
        /// Name.
        model: String,
        /// Models of that bit at the node.
        offered: usize,
    },
    /// The job wants a part of a segment.
    Slice {
        /// Milliseconds.
        from: u64,
        /// Milliseconds.
        to: u64,
    },
    /// The job wants its renditions where the node cannot put them.
    Storage {
        /// Type of the store.
        kind: i32,
        /// What is wrong with it.
        fault: &'static str,
    },
}

/// Most bits that are listed.
const LISTED_BITS: usize = 64;

/// Numbers of the bits of a set, the first of them if there are many.
pub fn bits(words: &[u64]) -> Vec<u32> {
    let bit_of = |(i, word): (usize, &u64)| {
        let (first, word) = (u32::try_from(i).unwrap_or(u32::MAX).saturating_mul(64), *word);
        (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| first.saturating_add(bit))
    };
    words.iter().enumerate().flat_map(bit_of).take(LISTED_BITS).collect()
}

/// Whether `node` can do `job` and gets what it insists on.
pub fn is_compatible(node: &proto::Capabilities, job: &proto::Capabilities) -> bool {
    check(node, job).is_ok()
}

/// The same, and why not.
pub fn check(node: &proto::Capabilities, job: &proto::Capabilities) -> Result<(), Incompatibility> {
    if !has_version(node, job) {
        let least = job.constraints.as_ref().map(|c| c.min_version.clone()).unwrap_or_default();
        return Err(Incompatibility::Version { node: node.version.clone(), least });
    }
    // As peers do it: more words than the node has, whatever is in them.
    let too_long = job.bitstring.len() > node.bitstring.len();
    let missing = lacking(&node.bitstring, &job.bitstring);
    if too_long || !missing.is_empty() {
        return Err(Incompatibility::Missing { missing, offered: bits(&node.bitstring) });
    }
    if !lacking(&job.bitstring, &node.mandatories).is_empty() {
        return Err(Incompatibility::Mandatory { job: bits(&job.bitstring), mandatory: bits(&node.mandatories) });
    }
    check_models(node, job)
}

/// Bits that are needed and not there.
fn lacking(have: &[u64], need: &[u64]) -> Vec<u32> {
    let rest: Vec<u64> = need.iter().enumerate().map(|(i, word)| word & !have.get(i).copied().unwrap_or(0)).collect();
    bits(&rest)
}

/// Bits that the job needs and the node lacks.
pub fn missing_bits(node: &proto::Capabilities, job: &proto::Capabilities) -> Vec<u32> {
    let bits = (0..).zip(&job.bitstring).flat_map(|(word, _)| (0..64).map(move |bit| word * 64 + bit));
    bits.filter(|bit| has_bit(&job.bitstring, *bit) && !has_bit(&node.bitstring, *bit)).collect()
}

fn has_version(node: &proto::Capabilities, job: &proto::Capabilities) -> bool {
    match job.constraints.as_ref().map(|c| c.min_version.as_str()) {
        None | Some("") => true,
        Some(least) => is_at_least(&node.version, least),
    }
}

/// Whether a version is no older. Pre-release suffixes do not count; a node that does not say its version fails any minimum.
pub fn is_at_least(version: &str, least: &str) -> bool {
    match (release(version), release(least)) {
        (Some(version), Some(least)) => version >= least,
        _ => false,
    }
}

/// Whether a text is a version that others can be compared with.
pub fn is_version(text: &str) -> bool {
    release(text).is_some()
}

fn release(version: &str) -> Option<[u64; 3]> {
    let version = version.strip_prefix('v').unwrap_or(version);
    let mut numbers = version.split(['-', '+']).next()?.split('.').map(|n| n.parse().ok());
    let release = [numbers.next()??, numbers.next()??, numbers.next()??];
    numbers.next().is_none().then_some(release)
}

fn check_models(node: &proto::Capabilities, job: &proto::Capabilities) -> Result<(), Incompatibility> {
    let Some(wanted) = &job.constraints else { return Ok(()) };
    for (bit, wanted) in &wanted.per_capability {
        let offered = node.constraints.as_ref().and_then(|c| c.per_capability.get(bit));
        for (name, wanted) in &wanted.models {
            let fits = offered.and_then(|o| o.models.get(name)).is_some_and(|model| {
                let right_runner = wanted.runner_version.is_empty() || wanted.runner_version == model.runner_version;
                right_runner && (model.warm || !wanted.warm)
            });
            if !fits {
                let offered = offered.map_or(0, |o| o.models.len());
                return Err(Incompatibility::Model { capability: *bit, model: name.clone(), offered });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered() -> proto::Capabilities {
        describe(&OFFERED, 4, "0.9.1-rc.1")
    }

    fn with_bits(bits: impl IntoIterator<Item = i64>) -> proto::Capabilities {
        proto::Capabilities { bitstring: bitstring(bits), ..Default::default() }
    }

    fn needs_version(least: &str) -> proto::Capabilities {
        let constraints = proto::capabilities::Constraints { min_version: least.into(), ..Default::default() };
        proto::Capabilities { constraints: Some(constraints), ..with_bits([12]) }
    }

    #[test]
    fn bitstring_vectors() {
        assert_eq!(bitstring([-10, -1, 0, 1, 2, 3, 4, 5]), [63]);
        assert_eq!(bitstring([193, 192]), [0, 0, 0, 3]);
        assert_eq!(bitstring([193, 54, 192, 79]), [1 << 54, 1 << 15, 0, 3]);
        assert_eq!(bitstring([i64::MAX]), Vec::<u64>::new());
    }

    #[test]
    fn a_plain_job_fits() {
        let profiles = [Profile::preset("P240p30fps16x9").unwrap()];
        let job = job(VideoCodec::H264, &profiles, true);
        assert_eq!(job.bitstring, bitstring([0, 1, 4, 12, 26]));
        assert!(is_compatible(&offered(), &job));
    }

    #[test]
    fn other_codecs_are_offered_by_who_has_them() {
        let plain = Profile::preset("P240p30fps16x9").unwrap();
        let job = |source, encoder| job(source, &[Profile { encoder, ..plain.clone() }], false);
        let with = [Capability::HevcDecode, Capability::Vp9Encode, Capability::Mpeg7Signature];
        let node = describe(&super::offered(|capability| with.contains(&capability)), 4, "0.9.1");
        assert_eq!(bits(&node.bitstring), [0, 1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 15, 20, 26]);
        assert!(is_compatible(&node, &job(VideoCodec::H265, VideoCodec::Vp9)));
        assert!(!is_compatible(&node, &job(VideoCodec::H265, VideoCodec::H265)));
        assert!(!is_compatible(&node, &job(VideoCodec::Vp9, VideoCodec::H264)));
        assert_eq!(describe(&super::offered(|_| false), 4, "0.9.1-rc.1"), offered());
    }

    #[test]
    fn a_job_says_the_codec_of_its_source() {
        let profiles = [Profile::preset("P240p30fps16x9").unwrap()];
        for codec in [VideoCodec::H264, VideoCodec::H265, VideoCodec::Vp8, VideoCodec::Vp9] {
            assert_eq!(source(Some(&job(codec, &profiles, false))), codec);
        }
        assert_eq!(source(None), VideoCodec::H264);
    }

    #[test]
    fn each_wish_needs_its_bit() {
        let plain = Profile::preset("P240p30fps16x9").unwrap();
        let wishes = [
            (Profile { format: Container::Mp4, ..plain.clone() }, 2),
            (Profile { fps_den: 1001, fps: 30_000, ..plain.clone() }, 3),
            (Profile { h264_profile: H264Profile::Baseline, ..plain.clone() }, 7),
            (Profile { h264_profile: H264Profile::ConstrainedHigh, ..plain.clone() }, 10),
            (Profile { gop: Gop::IntraOnly, ..plain.clone() }, 11),
            (Profile { encoder: VideoCodec::H265, ..plain.clone() }, 16),
            (Profile { encoder: VideoCodec::Vp9, ..plain.clone() }, 20),
        ];
        for (profile, bit) in wishes {
            assert!(has_bit(&job(VideoCodec::H264, &[profile], false).bitstring, bit));
        }
        assert!(has_bit(&job(VideoCodec::H265, &[], false).bitstring, 15));
        assert!(!has_bit(&job(VideoCodec::H264, &[plain], false).bitstring, 26));
    }

    #[test]
    fn a_missing_bit_is_incompatible() {
        assert!(!is_compatible(&offered(), &with_bits([12, 16])));
        assert!(!is_compatible(&offered(), &with_bits([12, 64])));
        // As peers do it: more words than the node has, whatever is in them.
        let long = proto::Capabilities { bitstring: vec![1 << 12, 0], ..Default::default() };
        assert!(!is_compatible(&offered(), &long));
    }

    #[test]
    fn missing_bits_are_named() {
        assert_eq!(missing_bits(&offered(), &with_bits([0, 12, 16, 64])), [16, 64]);
        assert!(missing_bits(&offered(), &with_bits([0, 12])).is_empty());
    }

    #[test]
    fn a_job_without_a_mandatory_bit_is_incompatible() {
        assert!(!is_compatible(&offered(), &with_bits([0, 1])));
        assert!(!is_compatible(&offered(), &legacy()));
    }

    #[test]
    fn the_least_version_ignores_pre_releases() {
        for least in ["", "0.9.1", "0.9.1-beta", "v0.9.0", "0.8.99"] {
            assert!(is_compatible(&offered(), &needs_version(least)), "{least}");
        }
        for least in ["0.9.2", "0.10.0", "1.0.0", "nonsense", "1"] {
            assert!(!is_compatible(&offered(), &needs_version(least)), "{least}");
        }
        let silent = proto::Capabilities { version: String::new(), ..offered() };
        assert!(!is_compatible(&silent, &needs_version("0.0.1")));
        assert!(is_compatible(&silent, &needs_version("")));
    }

    #[test]
    fn wanted_models_must_be_there_and_warm() {
        use proto::capabilities::{CapabilityConstraints, Constraints, capability_constraints::ModelConstraint};
        let with_model = |warm| {
            let model = ModelConstraint { warm, ..Default::default() };
            let models = CapabilityConstraints { models: [("m".to_owned(), model)].into() };
            let constraints = Constraints { per_capability: [(27, models)].into(), ..Default::default() };
            proto::Capabilities { constraints: Some(constraints), ..with_bits([27]) }
        };
        assert!(is_compatible(&with_model(true), &with_model(true)));
        assert!(is_compatible(&with_model(true), &with_model(false)));
        assert!(!is_compatible(&with_model(false), &with_model(true)));
        assert!(!is_compatible(&with_bits([27]), &with_model(false)));
    }
}
