//! POST /segment/stream: a segment in frames, and renditions that arrive while they are made
//! (docs/designs/038-streaming-wire.md). All of them are provisional until the result has come and was verified.
use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use alloy_primitives::{Address, B256, keccak256};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use streamflow_pm::{SignError, TicketSigner, eip191_digest, recover_signer};
use streamflow_types::{Keccak256, Profile};
use streamflow_wire::{
    SegmentRequest, header, proto,
    stream::{
        self, DownFrame, FrameReader, StreamError, StreamHead, StreamResult, StreamTrailer, UpFrame, sign_stream_head,
    },
};
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::{
    arriving::{Arriving, Next},
    charge::Failed,
    client::{CallError, OrchestratorClient, join, refused},
    error::VerifyError,
};

/// How often renditions may begin anew: a worker that dies costs the segment once.
const MOST_RESTARTS: u32 = 1;

/// One POST /segment/stream.
pub(crate) struct StreamSubmission {
    base: Url,
    head: StreamHead,
    segment: String,
    payment: String,
    media: Arriving,
    /// When a segment that has not come is not waited for any more.
    until: Instant,
    signer: Option<Arc<dyn TicketSigner>>,
    /// Most bytes of each rendition.
    limits: Vec<usize>,
}

impl fmt::Debug for StreamSubmission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamSubmission").field("base", &self.base).finish_non_exhaustive()
    }
}

impl StreamSubmission {
    /// A segment that is there, or is there `until` then, of which `request` asks for renditions of these lengths at most.
    /// Nothing is signed off-chain.
    pub(crate) fn new(
        base: Url,
        mut request: SegmentRequest,
        payment: String,
        (media, until): (Arriving, Instant),
        limits: Vec<usize>,
        signer: Option<Arc<dyn TicketSigner>>,
    ) -> Result<Self, SignError> {
        request.hash = B256::ZERO;
        let head = match &signer {
            Some(signer) => sign_stream_head(&mut request, &payment, signer.as_ref())?,
            None => StreamHead::new(&request, &payment),
        };
        let segment = header::encode_segment(&request.to_proto());
        Ok(Self { base, head, segment, payment, media, until, signer, limits })
    }
}

/// A segment on its way up.
struct Outgoing {
    media: Arriving,
    until: Instant,
    head: StreamHead,
    signer: Option<Arc<dyn TicketSigner>>,
    sent: usize,
    hasher: Keccak256,
    /// Filled at the end, before it leaves: with the trailer, or nothing where the segment broke off.
    end: Arc<OnceLock<Option<StreamTrailer>>>,
}

impl Outgoing {
    /// The next frame; none after the trailer, or where the segment broke off.
    async fn next(&mut self) -> Result<Option<UpFrame>, SignError> {
        if self.end.get().is_some() {
            return Ok(None);
        }
        match self.media.next(self.sent, self.until).await {
            Next::Bytes(bytes) => {
                self.sent += bytes.len();
                self.hasher.update(&bytes);
                Ok(Some(UpFrame::Media(bytes)))
            }
            Next::End => {
                let hash = self.hasher.clone().finalize();
                let trailer = StreamTrailer::new(&self.head, self.sent as u64, hash, self.signer.as_deref())?;
                Ok(self.end.get_or_init(|| Some(trailer)).map(UpFrame::Trailer))
            }
            Next::BrokenOff => Ok(self.end.get_or_init(|| None).map(UpFrame::Trailer)),
        }
    }

    fn body(self) -> reqwest::Body {
        let frames = futures::stream::try_unfold(self, |mut outgoing| async move {
            let frame = outgoing.next().await?;
            Ok::<_, SignError>(frame.map(|frame| (frame.to_bytes(), outgoing)))
        });
        reqwest::Body::wrap_stream(frames)
    }
}

/// A stream that has ended as it should.
#[derive(Debug)]
pub(crate) struct Streamed {
    head: StreamHead,
    trailer: StreamTrailer,
    pub(crate) renditions: Vec<Bytes>,
    pub(crate) result: StreamResult,
}

/// What a rendition was made into, as far as it has come.
struct Incoming {
    renditions: Vec<BytesMut>,
    limits: Vec<usize>,
    restarts: u32,
    /// Something came, void or not.
    any: bool,
}

impl Incoming {
    fn take(&mut self, rendition: usize, bytes: &[u8], wanted: bool) -> Result<(), CallError> {
        let asked = self.limits.len();
        let beyond = || StreamError::Renditions { got: rendition + 1, max: asked };
        let (Some(made), Some(limit)) = (self.renditions.get_mut(rendition), self.limits.get(rendition)) else {
            return Err(CallError::Stream(beyond()));
        };
        if made.len() + bytes.len() > *limit {
            return Err(CallError::TooLarge(*limit));
        }
        self.any = true;
        match wanted {
            true => made.extend_from_slice(bytes),
            // Another orchestrator was first: only the end matters, for what it costs.
            false => *made = BytesMut::new(),
        }
        Ok(())
    }

    fn begin_anew(&mut self) -> Result<(), CallError> {
        self.restarts += 1;
        if self.restarts > MOST_RESTARTS {
            return Err(CallError::Restarts(MOST_RESTARTS));
        }
        self.renditions.iter_mut().for_each(BytesMut::clear);
        Ok(())
    }
}

impl OrchestratorClient {
    /// Streams a segment. Tells `accepted` when the orchestrator has taken the head, and returns once it is done; what it
    /// says of a failure comes as `Ok(Err(_))`. Pieces are kept while they are `wanted`.
    ///
    /// # Errors
    /// As of [`Self::submit`]; and the answer is none, or ends early.
    pub(crate) async fn stream(
        &self,
        request: StreamSubmission,
        limit: Duration,
        accepted: impl FnOnce(),
        wanted: impl Fn() -> bool,
    ) -> Result<Result<Streamed, Failed>, CallError> {
        let end = Instant::now() + limit;
        let StreamSubmission { base, head, segment, payment, media, until, signer, limits } = request;
        let own_end = Arc::<OnceLock<Option<StreamTrailer>>>::default();
        let (hasher, known) = (Keccak256::new(), own_end.clone());
        let outgoing = Outgoing { media, until, head, signer, sent: 0, hasher, end: known };
        let post = self.http().post(join(&base, stream::PATH));
        let post = post.header(header::SEGMENT, segment).header(header::PAYMENT, payment);
        let sent = post.header(reqwest::header::CONTENT_TYPE, stream::CONTENT_TYPE).body(outgoing.body()).send();
        let reply =
            timeout_at(end, sent).await.map_err(|_| CallError::HeaderTimeout(limit))?.map_err(CallError::Send)?;
        if !reply.status().is_success() {
            let refused = timeout_at(end, refused(reply)).await;
            return Err(refused.unwrap_or(CallError::BodyTimeout(limit)));
        }
        accepted();
        let answered = timeout_at(end, receive(reply.bytes_stream(), limits, wanted)).await;
        let (renditions, ended) = answered.map_err(|_| CallError::BodyTimeout(limit))??;
        match ended {
            Ok(result) => {
                let trailer = own_end.get().copied().flatten().ok_or(CallError::Premature)?;
                Ok(Ok(Streamed { head, trailer, renditions, result }))
            }
            Err(failed) => Ok(Err(Failed { broken_off: own_end.get() == Some(&None), ..failed })),
        }
    }
}

type Ended = Result<StreamResult, Failed>;

async fn receive(
    body: impl Stream<Item = reqwest::Result<Bytes>>,
    limits: Vec<usize>,
    wanted: impl Fn() -> bool,
) -> Result<(Vec<Bytes>, Ended), CallError> {
    let mut body = std::pin::pin!(body);
    let mut incoming = Incoming { renditions: vec![BytesMut::new(); limits.len()], limits, restarts: 0, any: false };
    let mut frames = FrameReader::default();
    loop {
        while let Some(frame) = frames.next_down().map_err(CallError::Stream)? {
            let ended = match frame {
                DownFrame::Piece { rendition, bytes } => {
                    incoming.take(rendition, &bytes, wanted())?;
                    continue;
                }
                DownFrame::Again => {
                    incoming.begin_anew()?;
                    continue;
                }
                DownFrame::Result(result) => Ok(*result),
                DownFrame::Failure(failure) => {
                    Err(Failed { failure: *failure, any_piece: incoming.any, broken_off: false })
                }
            };
            return Ok((incoming.renditions.into_iter().map(BytesMut::freeze).collect(), ended));
        }
        match body.next().await {
            Some(chunk) => frames.push(&chunk.map_err(CallError::Receive)?),
            None => return Err(CallError::Unfinished),
        }
    }
}

impl Streamed {
    /// Whether the result is of the renditions that came, and signed by whom it should be.
    pub(crate) fn check(&self, profiles: &[Profile], signer: Option<Address>) -> Result<(), VerifyError> {
        let told = &self.result.renditions;
        if told.len() != profiles.len() {
            return Err(VerifyError::Count { got: told.len(), asked: profiles.len() });
        }
        for ((profile, media), told) in profiles.iter().zip(&self.renditions).zip(told) {
            let got = keccak256(media);
            if (got, media.len() as u64) != (told.hash, told.length) {
                let (name, bytes) = (profile.name.clone(), media.len() as u64);
                return Err(VerifyError::Streamed { name, got, bytes, told: told.hash, told_bytes: told.length });
            }
        }
        let Some(orchestrator) = signer else { return Ok(()) };
        let hash = self.result.digest(&self.head, &self.trailer);
        let signature = self.result.signature.as_ref().map(|signature| signature.as_bytes().as_slice());
        let got = recover_signer(eip191_digest(hash), signature.unwrap_or_default());
        let got = got.map_err(|source| VerifyError::Signature { hash, source })?;
        if got == orchestrator { Ok(()) } else { Err(VerifyError::Signer { got, orchestrator }) }
    }

    /// Pixels of each rendition, as billed.
    pub(crate) fn billed(&self) -> Vec<i64> {
        self.result.renditions.iter().map(|told| i64::try_from(told.pixels).unwrap_or(i64::MAX)).collect()
    }
}

/// The renditions of a segment, as they were delivered.
#[derive(Debug)]
pub(crate) enum Delivered {
    /// To be fetched.
    ByLink(proto::TranscodeData),
    /// With the answer.
    Streamed(Box<Streamed>),
}
