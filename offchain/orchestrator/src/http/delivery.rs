//! What is left to do when a segment is transcoded: sign, charge, and hand over (node.md §2.4).
use std::time::Duration;

use alloy_primitives::{Address, B256, keccak256};
use bytes::Bytes;
use streamflow_pm::{SignError, TRANSCODING_H264, WorkReceipt, is_credible_bill};
use streamflow_types::{Profile, with_causes};
use streamflow_wire::{
    Code, Refusal as Coded, SegmentRequest, TranscodeError, encode_receipt, proto,
    refusal::{is_bad_input, scrub},
    result_hash_of, settings_id, sign_result, software_id,
    stream::StreamError,
};
use tokio::time::Instant;

use super::admit::{estimate, terms};
use crate::{
    intake::BodyError,
    metrics,
    payments::Hold,
    refusal::{of_body, of_transcode},
    service::Service,
    sessions::Outcome,
    transcode::Rendition,
    upload::{SenderStore, UploadError},
};

/// What is left to do when a segment is transcoded.
pub(super) struct Delivery {
    pub(super) service: Service,
    pub(super) sender: Address,
    pub(super) token: proto::AuthToken,
    pub(super) segment: SegmentRequest,
}

impl Delivery {
    pub(super) async fn result(self, outcome: Outcome, hold: Option<Hold>, started: Instant) -> proto::TranscodeResult {
        use proto::transcode_result::Result as Answer;
        let delivered = match outcome {
            Ok(renditions) => self.deliver(renditions, hold).await,
            Err(error) => Err(error.into()),
        };
        metrics::segment_done(delivered.is_ok(), started.elapsed());
        let (session, seq) = (&self.token.session_id, self.segment.seq);
        let (answer, refusal, receipt) = match delivered {
            Ok((data, hashes)) => {
                tracing::info!(session, seq, took = ?started.elapsed(), "segment done");
                (Answer::Data(data), None, self.receipt(hashes))
            }
            Err(error) => {
                tracing::warn!(session, seq, error = with_causes(&error), "segment failed");
                let refusal = error.coded(&self.service, &self.segment);
                (Answer::Error(scrub(&error.to_string())), Some(refusal.to_proto()), Vec::new())
            }
        };
        // The first terms of this segment: blocks went by since its upload, and the next payment needs terms that last.
        let (offer, _) = terms(&self.service, self.sender, &self.token).await;
        proto::TranscodeResult {
            // It came as a number of this kind.
            seq: i64::try_from(seq).unwrap_or(i64::MAX),
            info: Some(offer.to_proto()),
            result: Some(answer),
            refusal,
            receipt,
        }
    }

    /// What this node stands for with its stake: that these results are of this segment. Empty where nobody judges challenges,
    /// or where the round is not known.
    ///
    /// Never deterministic: nothing here pins the encoder, its threads and its build for ever.
    pub(super) fn receipt(&self, result_hashes: Vec<B256>) -> Vec<u8> {
        let Some((payments, domain)) = self.service.payments().and_then(|p| Some((p, p.receipt_domain()?))) else {
            return Vec::new();
        };
        let Some(round) = payments.round() else { return Vec::new() };
        let receipt = WorkReceipt {
            orchestrator: payments.address(),
            sender: self.sender,
            service: TRANSCODING_H264,
            manifest: keccak256(self.segment.manifest_id.as_str()),
            sequence: self.segment.seq,
            source_hash: self.segment.hash,
            settings: settings_id(&self.segment.profiles),
            software: software_id(env!("CARGO_PKG_VERSION")),
            result_hashes,
            round: round.0,
            deterministic: false,
        };
        match receipt.sign(&domain, payments.signer()) {
            Ok(signed) => encode_receipt(&signed),
            Err(error) => {
                tracing::warn!(%error, "result leaves without a receipt");
                Vec::new()
            }
        }
    }

    /// Pixels of all renditions.
    ///
    /// Nobody is trusted for the work's size: the sender names the length that was paid for ahead, and a remote
    /// transcoder counts the pixels that are charged.
    pub(super) fn bill(&self, pixels: impl Iterator<Item = u64>, hold: Option<&Hold>) -> Result<u64, Undelivered> {
        let (got, estimate) = (pixels.fold(0, u64::saturating_add), estimate(&self.segment));
        match hold.is_some() && !is_credible_bill(estimate, got) {
            true => Err(Undelivered::Pixels { got, estimate }),
            false => Ok(got),
        }
    }

    /// Signs, keeps and charges for the renditions. All or nothing: what cannot be fetched is not charged.
    async fn deliver(
        &self,
        renditions: Vec<Rendition>,
        hold: Option<Hold>,
    ) -> Result<(proto::TranscodeData, Vec<B256>), Undelivered> {
        let pixels = self.bill(renditions.iter().map(|rendition| rendition.pixels), hold.as_ref())?;
        let mut hashes = Vec::new();
        let sig = match self.service.payments() {
            None => Vec::new(),
            Some(payments) => {
                hashes = renditions.iter().map(|rendition| keccak256(&rendition.data)).collect();
                sign_result(result_hash_of(hashes.iter().copied()), payments.signer())?.as_bytes().to_vec()
            }
        };
        let store = self.segment.storage.first().and_then(|info| SenderStore::read(info).ok());
        let placed = renditions.into_iter().zip(&self.segment.profiles).map(|(rendition, profile)| {
            let store = store.as_ref();
            async move {
                let pixels = i64::try_from(rendition.pixels).unwrap_or(i64::MAX);
                let url = match store {
                    None => self.keep(rendition.data, profile)?,
                    Some(store) => {
                        let file = format!("{}.{}", self.segment.seq, profile.format.extension());
                        store.put(self.service.http(), &profile.name, &file, profile.format, &rendition.data).await?
                    }
                };
                Ok(proto::TranscodedSegmentData { url, pixels, perceptual_hash_url: String::new() })
            }
        });
        // All at once: there are no more than profiles may be.
        let segments = futures::future::try_join_all(placed).await.map_err(|error: Undelivered| error)?;
        metrics::encoded_pixels(pixels);
        if let Some(hold) = hold {
            hold.debit(pixels);
        }
        Ok((proto::TranscodeData { segments, sig }, hashes))
    }

    /// Keeps a rendition until the sender fetches it, and returns where it is.
    fn keep(&self, data: Bytes, profile: &Profile) -> Result<String, Undelivered> {
        let directory = format!("{}/{}", self.token.session_id, profile.name);
        let file = format!("{}.{}", self.segment.seq, profile.format.extension());
        let url = format!("{}/stream/{directory}/{file}", self.service.service_uri());
        let bytes = data.len();
        match self.service.cache().insert(&directory, &file, data) {
            true => Ok(url),
            false => Err(Undelivered::TooLarge { bytes, max: self.service.config().storage.max_bytes }),
        }
    }
}

/// Why a segment that was taken is not delivered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Undelivered {
    #[error(transparent)]
    Transcode(#[from] TranscodeError),
    #[error("{got} pixels are too many for the segment's length")]
    Pixels { got: u64, estimate: u64 },
    #[error("result cannot be signed")]
    Sign(#[from] SignError),
    /// Peers match on the text.
    #[error("Missing local storage")]
    TooLarge { bytes: usize, max: u64 },
    #[error("renditions cannot be uploaded to the sender's store")]
    Upload(#[from] UploadError),
    /// Of a stream.
    #[error("the segment did not come: {0}")]
    Body(#[from] BodyError),
    #[error("the stream cannot be read: {0}")]
    Frames(#[from] StreamError),
    #[error("the trailer is not of what came")]
    Trailer { got: String, told: String },
    /// More bytes of renditions wait for the sender than it may leave.
    #[error("renditions are not fetched")]
    Unfetched { max: u64 },
}

/// Who is to blame for a segment that is not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// This node, or who works for it.
    Ours,
    /// Nobody could transcode it to its end; or its sender does not take what is made of it.
    Segment,
    /// The sender broke its own stream.
    Sender,
}

impl Undelivered {
    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::Body(BodyError::Overloaded) => Fault::Ours,
            Self::Body(_) | Self::Frames(_) | Self::Trailer { .. } => Fault::Sender,
            Self::Pixels { .. } | Self::Unfetched { .. } => Fault::Segment,
            Self::Transcode(TranscodeError::Other(text)) if is_bad_input(text) => Fault::Segment,
            Self::Transcode(_) | Self::Sign(_) | Self::TooLarge { .. } | Self::Upload(_) => Fault::Ours,
        }
    }

    pub(super) fn coded(&self, service: &Service, segment: &SegmentRequest) -> Coded {
        match self {
            Self::Transcode(error) => {
                let duration = Duration::from_millis(segment.duration_ms.into());
                of_transcode(error, service, segment.profiles.len(), duration)
            }
            Self::Pixels { got, estimate } => {
                Coded::new(Code::PixelsBeyondEstimate, format!("{got} pixels"), format!("{estimate} pixels"))
            }
            Self::Sign(_) => Coded::new(Code::TranscoderFailed, "a result that cannot be signed", "a signed result"),
            Self::TooLarge { bytes, max } => {
                Coded::new(Code::RenditionTooLargeToKeep, format!("{bytes} bytes"), format!("{max} bytes"))
            }
            Self::Upload(_) => Coded::new(Code::OutputUploadFailed, "an upload that failed", "status 2xx within 8 s"),
            Self::Body(error) => of_body(error, service),
            Self::Frames(error) => Coded::new(Code::StreamUnreadable, error, "frames of version 1 of the stream"),
            Self::Trailer { got, told } => Coded::new(Code::StreamTrailerWrong, got, told),
            Self::Unfetched { max } => {
                Coded::new(Code::MemoryFull, "more renditions unfetched", format!("{max} bytes for a sender"))
            }
        }
    }
}
