//! What a broadcaster asks for with each segment: `SegData` and the bytes its signature covers (node.md §1.1, §2.2).
use alloy_primitives::{B256, U256, keccak256};
use streamflow_types::{ManifestId, Profile};

use crate::{
    SegmentError,
    profile::{read_profiles, write_profiles},
    proto,
};

/// Duration when none is given, milliseconds.
const DEFAULT_DURATION_MS: u32 = 2000;
/// Longest segment, milliseconds.
pub const MAX_DURATION_MS: u32 = 300_000;
/// What stands in the two legacy fields for profiles.
pub(crate) const LEGACY_PROFILES: &[u8] = b"invalid";

/// A checked `SegData`. The signature is not verified yet: see [`crate::verify_segment`].
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentRequest {
    /// Stream.
    pub manifest_id: ManifestId,
    /// Number in the stream.
    pub seq: u64,
    /// keccak256 of the body.
    pub hash: B256,
    /// Renditions wanted, in this order. None if it only comes with a payment.
    pub profiles: Vec<Profile>,
    /// Signature of the sender; empty without a chain.
    pub sig: Vec<u8>,
    /// Length of the segment, milliseconds.
    pub duration_ms: u32,
    /// What the job needs; none means the legacy set.
    pub capabilities: Option<proto::Capabilities>,
    /// From `OrchestratorInfo`.
    pub auth_token: Option<proto::AuthToken>,
    /// Whether to compute a perceptual hash of each rendition.
    pub calc_perceptual_hash: bool,
    /// Where the sender wants the renditions.
    pub storage: Vec<proto::OsInfo>,
    /// Part of the segment to transcode, if not all.
    pub clip: Option<proto::SegParameters>,
    /// Whether to start a fresh decoder.
    pub force_session_reinit: bool,
}

impl SegmentRequest {
    /// A request for a whole segment with nothing optional in it, unsigned.
    pub fn new(manifest_id: ManifestId, seq: u64, hash: B256, profiles: Vec<Profile>, duration_ms: u32) -> Self {
        Self {
            manifest_id,
            seq,
            hash,
            profiles,
            sig: Vec::new(),
            duration_ms,
            capabilities: None,
            auth_token: None,
            calc_perceptual_hash: false,
            storage: Vec::new(),
            clip: None,
            force_session_reinit: false,
        }
    }

    /// The bytes that are hashed and signed.
    pub fn flatten(&self) -> Vec<u8> {
        flatten(&self.manifest_id, self.seq, self.hash, self.profiles.iter().map(|p| p.name.as_str()))
    }

    /// As it travels.
    pub fn to_proto(&self) -> proto::SegData {
        let mut segment = proto::SegData {
            manifest_id: self.manifest_id.as_str().into(),
            // Readers refuse negative numbers, so a stream ends before 2^63.
            seq: i64::try_from(self.seq).unwrap_or(i64::MAX),
            hash: self.hash.to_vec(),
            profiles: LEGACY_PROFILES.to_vec(),
            sig: self.sig.clone(),
            duration: i32::try_from(self.duration_ms).unwrap_or(i32::MAX),
            capabilities: self.capabilities.clone(),
            auth_token: self.auth_token.clone(),
            calc_perceptual_hash: self.calc_perceptual_hash,
            storage: self.storage.clone(),
            segment_parameters: self.clip,
            force_session_reinit: self.force_session_reinit,
            ..Default::default()
        };
        write_profiles(&self.profiles, &mut segment);
        segment
    }

    /// Checks every field but the signature.
    pub fn from_proto(segment: proto::SegData) -> Result<Self, SegmentError> {
        let request = Self::of_payment(segment)?;
        if request.profiles.is_empty() { Err(SegmentError::NoProfiles) } else { Ok(request) }
    }

    /// The same for what comes with a payment alone, where nothing is to be made and no profile need be named: a peer's remote
    /// signer signs for an empty segment without any (payments.md §2.4, step 16). Those that are named are checked, as
    /// the signature covers their names.
    pub fn of_payment(segment: proto::SegData) -> Result<Self, SegmentError> {
        let profiles = read_profiles(&segment)?;
        let duration_ms = match u32::try_from(segment.duration) {
            Ok(0) => DEFAULT_DURATION_MS,
            Ok(ms) if ms <= MAX_DURATION_MS => ms,
            _ => return Err(SegmentError::Duration(segment.duration)),
        };
        let manifest_id = String::from_utf8(segment.manifest_id).map_err(|_| SegmentError::ManifestNotText)?;
        Ok(Self {
            manifest_id: ManifestId::new(manifest_id)?,
            seq: u64::try_from(segment.seq).map_err(|_| SegmentError::Sequence(segment.seq))?,
            hash: match segment.hash.as_slice() {
                // Orchestrators clear it towards their transcoders.
                [] => B256::ZERO,
                hash => B256::try_from(hash).map_err(|_| SegmentError::HashLength(hash.len()))?,
            },
            profiles,
            sig: segment.sig,
            duration_ms,
            capabilities: segment.capabilities,
            auth_token: segment.auth_token,
            calc_perceptual_hash: segment.calc_perceptual_hash,
            storage: segment.storage,
            clip: segment.segment_parameters,
            force_session_reinit: segment.force_session_reinit,
        })
    }
}

/// manifest id ‖ seq (32 bytes) ‖ hash ‖ for each profile the hexadecimal text of the first four bytes of
/// keccak256(name). Of a profile nothing but the name is bound.
pub fn flatten<'a>(
    manifest_id: &ManifestId,
    seq: u64,
    hash: B256,
    profile_names: impl IntoIterator<Item = &'a str>,
) -> Vec<u8> {
    let mut bytes = manifest_id.as_str().as_bytes().to_vec();
    bytes.extend_from_slice(&U256::from(seq).to_be_bytes::<32>());
    bytes.extend_from_slice(hash.as_slice());
    for name in profile_names {
        bytes.extend_from_slice(alloy_primitives::hex::encode(&keccak256(name)[..4]).as_bytes());
    }
    bytes
}
