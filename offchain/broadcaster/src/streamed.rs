//! POST /segment/stream: a segment in frames, and renditions that arrive while they are made
//! (docs/designs/038-streaming-wire.md). All of them are provisional until the result has come and was verified.
use std::time::Duration;

use alloy_primitives::{Address, B256, keccak256};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use streamflow_pm::{SignError, TicketSigner, eip191_digest, recover_signer};
use streamflow_types::Profile;
use streamflow_wire::{
    SegmentRequest, header, proto,
    stream::{
        self, DownFrame, FrameReader, StreamError, StreamHead, StreamResult, StreamTrailer, UpFrame, sign_stream_head,
    },
};
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::{
    charge::Failed,
    client::{CallError, OrchestratorClient, join, refused},
    error::VerifyError,
};

/// How often renditions may begin anew: a worker that dies costs the segment once.
const MOST_RESTARTS: u32 = 1;

/// One POST /segment/stream.
#[derive(Debug)]
pub(crate) struct StreamSubmission {
    base: Url,
    head: StreamHead,
    segment: String,
    payment: String,
    media: Bytes,
    trailer: StreamTrailer,
    /// Most bytes of each rendition.
    limits: Vec<usize>,
}

impl StreamSubmission {
    /// A whole segment, of which `request` asks for renditions of these lengths at most. Nothing is signed off-chain.
    pub(crate) fn new(
        base: Url,
        mut request: SegmentRequest,
        payment: String,
        media: Bytes,
        limits: Vec<usize>,
        signer: Option<&dyn TicketSigner>,
    ) -> Result<Self, SignError> {
        request.hash = B256::ZERO;
        let head = match signer {
            Some(signer) => sign_stream_head(&mut request, &payment, signer)?,
            None => StreamHead::new(&request, &payment),
        };
        let trailer = StreamTrailer::new(&head, media.len() as u64, keccak256(&media), signer)?;
        let segment = header::encode_segment(&request.to_proto());
        Ok(Self { base, head, segment, payment, media, trailer, limits })
    }

    fn body(&self) -> reqwest::Body {
        let frames = UpFrame::media(self.media.clone()).chain([UpFrame::Trailer(self.trailer)]);
        let frames = frames.map(|frame| Ok::<_, std::convert::Infallible>(frame.to_bytes()));
        reqwest::Body::wrap_stream(futures::stream::iter(frames))
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
        let post = self.http().post(join(&request.base, stream::PATH));
        let post = post.header(header::SEGMENT, &request.segment).header(header::PAYMENT, &request.payment);
        let sent = post.header(reqwest::header::CONTENT_TYPE, stream::CONTENT_TYPE).body(request.body()).send();
        let reply =
            timeout_at(end, sent).await.map_err(|_| CallError::HeaderTimeout(limit))?.map_err(CallError::Send)?;
        if !reply.status().is_success() {
            let refused = timeout_at(end, refused(reply)).await;
            return Err(refused.unwrap_or(CallError::BodyTimeout(limit)));
        }
        accepted();
        let answered = timeout_at(end, receive(reply.bytes_stream(), request.limits, wanted)).await;
        let (renditions, ended) = answered.map_err(|_| CallError::BodyTimeout(limit))??;
        let StreamSubmission { head, trailer, .. } = request;
        Ok(ended.map(|result| Streamed { head, trailer, renditions, result }))
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
                DownFrame::Failure(failure) => Err(Failed { failure: *failure, any_piece: incoming.any }),
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
