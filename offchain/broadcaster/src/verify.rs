//! Checking what an orchestrator made before anyone sees or pays for it (node.md §6).
use alloy_primitives::{Address, B256, keccak256};
use bytes::Bytes;
use futures::future::try_join_all;
use streamflow_media::{
    Comparison, Fragment, Inspection, MediaError, PoolError, Sampling, SegmentInfo, TranscodeJob, TranscodeSettings,
    WorkerPool, rendition_size,
};
use streamflow_pm::{eip191_digest, recover_signer};
use streamflow_types::Profile;
use streamflow_wire::{
    proto::{TranscodeData, TranscodedSegmentData},
    result_hash,
};
use tokio::{
    sync::Semaphore,
    time::{Duration, Instant},
};
use url::Url;

use crate::{
    client::OrchestratorClient,
    error::VerifyError,
    metrics,
    streamed::Delivered,
    verification::{Looked, Seen, key},
};

/// Calls of the worker pool at a time: more than these would be refused by it, and that be taken for somebody's fault.
const AT_A_TIME: usize = 8;

/// Looks at segments in worker processes.
#[derive(Debug)]
pub(crate) struct Checker {
    media: WorkerPool,
    permits: Semaphore,
    seen: Seen,
}

impl Checker {
    pub(crate) fn new(media: WorkerPool) -> Self {
        Self { media, permits: Semaphore::new(AT_A_TIME), seen: Seen::default() }
    }

    pub(crate) async fn probe(&self, segment: &Bytes) -> Result<SegmentInfo, PoolError> {
        let _permit = self.permits.acquire().await;
        self.media.probe(segment.clone()).await
    }

    /// Decodes all of it.
    async fn inspect(&self, segment: &Bytes) -> Result<Inspection, PoolError> {
        let key = key(&[segment]);
        match self.seen.get(key) {
            Some(Looked::Inspected(known)) => return Ok(known),
            Some(Looked::Compared(known)) => return Ok(known.inspection),
            None => {}
        }
        let _permit = self.permits.acquire().await;
        let inspected = self.media.inspect(segment.clone()).await?;
        self.seen.put(key, Looked::Inspected(inspected.clone()));
        Ok(inspected)
    }

    /// Makes a fragment of MP4.
    pub(crate) async fn fragment(&self, segment: &Bytes) -> Result<Fragment, PoolError> {
        let _permit = self.permits.acquire().await;
        self.media.fragment(segment.clone()).await
    }

    /// Compares renditions with their source, each on its own account; those compared before are not compared again.
    async fn compare(
        &self,
        source: &Bytes,
        renditions: &[Bytes],
        sampling: Sampling,
    ) -> Result<Vec<Result<Comparison, MediaError>>, PoolError> {
        let keys: Vec<B256> = renditions.iter().map(|rendition| key(&[source, rendition])).collect();
        let mut known: Vec<Option<Comparison>> = keys.iter().map(|key| self.compared_before(*key)).collect();
        let unknown = renditions.iter().zip(&known).filter(|(_, known)| known.is_none());
        let unknown: Vec<Bytes> = unknown.map(|(rendition, _)| rendition.clone()).collect();
        let mut fresh = Vec::new().into_iter();
        if !unknown.is_empty() {
            let _permit = self.permits.acquire().await;
            let compared = self.media.compare(source.clone(), &unknown, sampling).await?;
            metrics::comparison(compared.report.cpu);
            fresh = compared.output.into_iter();
        }
        let all = keys.into_iter().zip(&mut known).filter_map(|(key, known)| match known.take() {
            Some(known) => Some(Ok(known)),
            None => {
                let compared = fresh.next()?;
                if let Ok(compared) = &compared {
                    self.seen.put(key, Looked::Compared(Box::new(compared.clone())));
                }
                Some(compared)
            }
        });
        Ok(all.collect())
    }

    fn compared_before(&self, key: B256) -> Option<Comparison> {
        match self.seen.get(key)? {
            Looked::Compared(known) => Some(*known),
            Looked::Inspected(_) => None,
        }
    }

    /// Compares renditions that are not in doubt.
    pub(crate) async fn compare_with(
        &self,
        source: &Bytes,
        renditions: &[Bytes],
        sampling: Sampling,
    ) -> Result<Vec<Comparison>, PoolError> {
        let compared = self.compare(source, renditions, sampling).await?;
        Ok(compared.into_iter().collect::<Result<_, _>>()?)
    }

    /// Encodes a segment ourselves, and compares that.
    pub(crate) async fn reference(
        &self,
        source: &Bytes,
        profiles: Vec<Profile>,
        sampling: Sampling,
        settings: TranscodeSettings,
    ) -> Result<Vec<Comparison>, PoolError> {
        let keys: Vec<B256> = profiles.iter().map(|profile| reference_key(source, profile)).collect();
        let known: Option<Vec<Comparison>> = keys.iter().map(|key| self.compared_before(*key)).collect();
        if let Some(known) = known {
            return Ok(known);
        }
        let job = TranscodeJob { segment: source.clone(), profiles, settings, deadline: None };
        let made = {
            let _permit = self.permits.acquire().await;
            self.media.transcode(job).await?.output
        };
        let renditions: Vec<Bytes> = made.renditions.into_iter().map(|rendition| rendition.bytes).collect();
        let compared = self.compare_with(source, &renditions, sampling).await?;
        for (key, compared) in keys.into_iter().zip(&compared) {
            self.seen.put(key, Looked::Compared(Box::new(compared.clone())));
        }
        Ok(compared)
    }
}

/// keccak256, as receipts name what they are about.
pub(crate) fn content_hash(media: &[u8]) -> B256 {
    keccak256(media)
}

fn reference_key(source: &Bytes, profile: &Profile) -> B256 {
    key(&[source, format!("{profile:?}").as_bytes(), b"reference"])
}

/// A result that is compared with its source.
#[derive(Clone, Debug)]
pub(crate) struct Scrutiny {
    pub(crate) source: Bytes,
    pub(crate) sampling: Sampling,
}

/// A result that is what was asked for, by its form.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) renditions: Vec<Rendition>,
    /// How long it took to fetch them, if they were fetched.
    pub(crate) fetched: Option<Duration>,
    /// What a comparison with the source showed, if there was one.
    pub(crate) compared: Option<Vec<Comparison>>,
}

impl Checked {
    /// Of all renditions.
    pub(crate) fn bytes(&self) -> u64 {
        self.renditions.iter().map(|rendition| rendition.media.len() as u64).sum()
    }
}

/// A rendition that passed.
#[derive(Clone, Debug)]
pub(crate) struct Rendition {
    pub(crate) media: Bytes,
    pub(crate) info: SegmentInfo,
    pub(crate) pixels: u64,
}

/// What is checked against what.
#[derive(Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) profiles: &'a [Profile],
    pub(crate) source: &'a SegmentInfo,
    /// Length of the segment, for the size limit.
    pub(crate) duration: Duration,
    /// Where the orchestrator listens; renditions are fetched from nowhere else.
    pub(crate) service: &'a Url,
    /// Who must have signed; `None` off-chain, where nothing is signed.
    pub(crate) signer: Option<Address>,
    /// Until when everything must be here.
    pub(crate) deadline: Instant,
    /// Whether it is compared with its source.
    pub(crate) scrutiny: Option<Scrutiny>,
}

/// Bytes of renditions that are what the orchestrator signed.
#[derive(Debug)]
struct Signed {
    media: Vec<Bytes>,
    /// Pixels of each.
    billed: Vec<i64>,
    fetched: Option<Duration>,
}

async fn fetch_all(
    client: &OrchestratorClient,
    expected: &Expected<'_>,
    result: &TranscodeData,
) -> Result<Signed, VerifyError> {
    let (profiles, segments) = (expected.profiles, &result.segments);
    if segments.len() != profiles.len() {
        return Err(VerifyError::Count { got: segments.len(), asked: profiles.len() });
    }
    let asked = Instant::now();
    let media = profiles.iter().zip(segments).map(|(profile, segment)| fetch(client, expected, profile, segment));
    let media = try_join_all(media).await?;
    let fetched = Some(asked.elapsed());
    if let Some(signer) = expected.signer {
        check_signature(&media, &result.sig, signer)?;
    }
    Ok(Signed { media, billed: segments.iter().map(|segment| segment.pixels).collect(), fetched })
}

/// Checks every rendition, and fetches those that have not come yet.
pub(crate) async fn verify(
    client: &OrchestratorClient,
    checker: &Checker,
    expected: &Expected<'_>,
    delivered: Delivered,
) -> Result<Checked, VerifyError> {
    let profiles = expected.profiles;
    let Signed { media: fetched, billed, fetched: took } = match delivered {
        Delivered::ByLink(result) => fetch_all(client, expected, &result).await?,
        Delivered::Streamed(streamed) => {
            streamed.check(profiles, expected.signer)?;
            Signed { billed: streamed.billed(), media: streamed.renditions, fetched: None }
        }
    };
    if let Some(Scrutiny { source, sampling }) = &expected.scrutiny {
        let first = |source| VerifyError::Unchecked { name: profiles[0].name.clone(), source };
        let compared = checker.compare(source, &fetched, *sampling).await.map_err(first)?;
        let named = profiles.iter().zip(compared).map(|(profile, one)| one.map_err(|e| undecodable(profile, e.into())));
        let compared: Vec<Comparison> = named.collect::<Result<_, _>>()?;
        let all = profiles.iter().zip(billed).zip(fetched).zip(&compared);
        let renditions = all.map(|(((profile, billed), media), seen)| {
            accept(profile, expected.source, billed, media, seen.inspection.clone())
        });
        let renditions = renditions.collect::<Result<_, _>>()?;
        return Ok(Checked { renditions, fetched: took, compared: Some(compared) });
    }
    let inspected = profiles.iter().zip(billed).zip(fetched).map(async |((profile, billed), media)| {
        let inspection = checker.inspect(&media).await.map_err(|source| undecodable(profile, source))?;
        accept(profile, expected.source, billed, media, inspection)
    });
    Ok(Checked { renditions: try_join_all(inspected).await?, fetched: took, compared: None })
}

fn accept(
    profile: &Profile,
    source: &SegmentInfo,
    billed: i64,
    media: Bytes,
    inspection: Inspection,
) -> Result<Rendition, VerifyError> {
    check_rendition(profile, source, &inspection, billed)?;
    Ok(Rendition { media, pixels: inspection.pixels, info: inspection.info })
}

async fn fetch(
    client: &OrchestratorClient,
    expected: &Expected<'_>,
    profile: &Profile,
    segment: &TranscodedSegmentData,
) -> Result<Bytes, VerifyError> {
    let elsewhere = || VerifyError::Url { name: profile.name.clone(), url: segment.url.clone() };
    let url: Url = segment.url.parse().map_err(|_| elsewhere())?;
    let service = expected.service;
    let same = url.scheme() == service.scheme()
        && url.host() == service.host()
        && url.port_or_known_default() == service.port_or_known_default();
    if !same {
        return Err(elsewhere());
    }
    let limit = size_limit(profile, expected.duration);
    let left = expected.deadline.saturating_duration_since(Instant::now());
    let fetched = client.fetch(&url, limit, left).await;
    fetched.map_err(|source| VerifyError::Fetch { name: profile.name.clone(), source })
}

/// Four times the bits that were asked for, and room for sound and very short segments.
pub(crate) fn size_limit(profile: &Profile, duration: Duration) -> usize {
    let seconds = duration.as_secs().saturating_add(1);
    let bytes = u64::from(profile.bitrate).saturating_mul(seconds) / 8 * 4 + (8 << 20);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn undecodable(profile: &Profile, source: PoolError) -> VerifyError {
    match source {
        source @ PoolError::Media(MediaError::OutOfMemory { .. }) => {
            VerifyError::Unchecked { name: profile.name.clone(), source }
        }
        PoolError::Media(source) => VerifyError::Media { name: profile.name.clone(), source },
        source => VerifyError::Unchecked { name: profile.name.clone(), source },
    }
}

fn check_signature(renditions: &[Bytes], sig: &[u8], orchestrator: Address) -> Result<(), VerifyError> {
    let hash = result_hash(renditions.iter().map(|media| &media[..]));
    let got = recover_signer(eip191_digest(hash), sig).map_err(|source| VerifyError::Signature { hash, source })?;
    if got == orchestrator { Ok(()) } else { Err(VerifyError::Signer { got, orchestrator }) }
}

fn check_rendition(
    profile: &Profile,
    source: &SegmentInfo,
    inspection: &Inspection,
    billed: i64,
) -> Result<(), VerifyError> {
    let name = profile.name.clone();
    if inspection.decode_errors > 0 {
        return Err(VerifyError::Damaged { name, errors: inspection.decode_errors });
    }
    let (width, height) = rendition_size(profile, (source.width, source.height));
    let (got_width, got_height) = (inspection.info.width, inspection.info.height);
    if (got_width, got_height) != (width, height) {
        return Err(VerifyError::Size { name, got_width, got_height, width, height });
    }
    if u64::try_from(billed) != Ok(inspection.pixels) {
        return Err(VerifyError::Pixels { name, decoded: inspection.pixels, billed });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use streamflow_media::FrameRate;
    use streamflow_pm::{KeySigner, TicketSigner as _};
    use streamflow_wire::sign_result;

    use super::*;

    fn info(width: u32, height: u32) -> SegmentInfo {
        SegmentInfo {
            container: "mpegts".into(),
            video_codec: "h264".into(),
            width,
            height,
            frames: 50,
            fps: FrameRate::new(25, 1),
            start_pts: 0,
            duration: Duration::from_secs(2),
            starts_with_idr: true,
            audio_codec: None,
            audio_packets: 0,
            codecs: "avc1.64001f".into(),
        }
    }

    fn inspection(width: u32, height: u32) -> Inspection {
        let pixels = u64::from(width) * u64::from(height) * 50;
        Inspection { info: info(width, height), frames: 50, pixels, decode_errors: 0 }
    }

    #[test]
    fn a_signature_of_other_media_or_of_another_account_is_refused() {
        let signer = KeySigner::from_bytes([1; 32]).unwrap();
        let media = [Bytes::from_static(b"rend0"), Bytes::from_static(b"rend1")];
        let sig = sign_result(result_hash(media.iter().map(|media| &media[..])), &signer).unwrap();
        assert!(check_signature(&media, sig.as_bytes(), signer.address()).is_ok());
        let other = check_signature(&media[..1], sig.as_bytes(), signer.address());
        assert!(matches!(other, Err(VerifyError::Signer { .. })));
        let stranger = check_signature(&media, sig.as_bytes(), Address::repeat_byte(1));
        assert!(matches!(stranger, Err(VerifyError::Signer { .. })));
        assert!(matches!(check_signature(&media, &[], signer.address()), Err(VerifyError::Signature { .. })));
    }

    #[test]
    fn memory_that_we_lack_is_not_taken_for_bad_video() {
        let profile = Profile::new("360p", 640, 360, 1).unwrap();
        let lacking =
            undecodable(&profile, MediaError::OutOfMemory { step: "decode a frame".to_owned(), limit: None }.into());
        assert!(matches!(lacking, VerifyError::Unchecked { .. }));
        let bad = undecodable(&profile, MediaError::NoKeyFrame.into());
        assert!(matches!(bad, VerifyError::Media { .. }));
    }

    #[test]
    fn billed_pixels_must_be_the_decoded_ones() {
        let profile = Profile::new("360p", 640, 360, 1).unwrap();
        let (source, good) = (info(1280, 720), inspection(640, 360));
        let pixels = i64::try_from(good.pixels).unwrap();
        assert!(check_rendition(&profile, &source, &good, pixels).is_ok());
        for billed in [pixels + 1, 0, -pixels] {
            let refused = check_rendition(&profile, &source, &good, billed);
            assert!(matches!(refused, Err(VerifyError::Pixels { .. })), "{billed}");
        }
    }

    #[test]
    fn another_size_or_damage_is_refused() {
        let profile = Profile::new("360p", 640, 360, 1).unwrap();
        let small = inspection(320, 180);
        let pixels = i64::try_from(small.pixels).unwrap();
        let refused = check_rendition(&profile, &info(1280, 720), &small, pixels);
        assert!(matches!(refused, Err(VerifyError::Size { .. })));
        let damaged = Inspection { decode_errors: 1, ..inspection(640, 360) };
        let refused = check_rendition(&profile, &info(1280, 720), &damaged, 0);
        assert!(matches!(refused, Err(VerifyError::Damaged { .. })));
    }
}
