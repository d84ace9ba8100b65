//! POST /segment/stream: a segment in frames, and renditions that leave while it comes (docs/designs/038-streaming-wire.md).
//!
//! The status says that head, tickets and room are good. What follows is told in the last frame.
use std::{convert::Infallible, pin::pin, time::Duration};

use axum::{
    body::{Body, BodyDataStream},
    extract::{Request, State},
    http::{HeaderValue, header::CONTENT_TYPE},
    response::Response,
};
use bytes::Bytes;
use streamflow_pm::most_credible_bill;
use streamflow_types::{Keccak256, with_causes};
use streamflow_wire::{
    TranscodeError, capability,
    refusal::scrub,
    stream::{
        self, DownFrame, FrameReader, StreamFailure, StreamHead, StreamResult, StreamTrailer, StreamedRendition,
        UpFrame, sign_stream_result,
    },
};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::{
    admit::{Admitted, Manner, admit, estimate, terms},
    delivery::{Delivery, Fault, Undelivered},
};
use crate::{
    intake::{BodyError, BudgetShare, Timed, drain},
    live::{Answer, AnswerRoom, Live, LiveFeed, LiveInput, LiveOutput, Overrun},
    metrics,
    payments::Hold,
    quotas::Upload,
    service::Service,
    transcode::{TranscodeJob, check_lengths, deadline, live_deadline},
};

#[tracing::instrument(name = "segment", skip_all, fields(stream, seq, session))]
pub(super) async fn post(State(service): State<Service>, request: Request) -> Response {
    // A node that stops waits for segments that it has begun to take.
    let _in_hand = service.deliveries().token();
    let (parts, body) = request.into_parts();
    let body = body.into_data_stream();
    match admit(&service, &parts, Manner::Streamed).await {
        Ok(admitted) => begin(service, admitted, body),
        Err(refusal) => refusal.answer(body, &service),
    }
}

/// The head of the answer leaves now.
fn begin(service: Service, admitted: Admitted, body: BodyDataStream) -> Response {
    // Off-chain nobody is charged for pixels.
    let most = admitted.hold.as_ref().map(|_| most_credible_bill(estimate(&admitted.segment)));
    let room =
        AnswerRoom { all: service.intake().budget().share(), own: admitted.upload.unfetched().share(), pixels: most };
    let (answer, outbox) = Answer::new(admitted.segment.profiles.len(), room);
    let deliveries = service.deliveries().clone();
    deliveries.spawn(run(service, admitted, body, answer).in_current_span());
    let frames = futures::stream::unfold(outbox, |mut outbox| async move {
        let frame = outbox.next().await?;
        Some((Ok::<_, Infallible>(frame.to_bytes()), outbox))
    });
    let mut response = Response::new(Body::from_stream(frames));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(stream::CONTENT_TYPE));
    response
}

async fn run(service: Service, admitted: Admitted, mut body: BodyDataStream, answer: Answer) {
    let started = Instant::now();
    let Admitted { sender, owner, token, segment, payment_text, upload, hold } = admitted;
    let head = StreamHead::new(&segment, &payment_text);
    let (feed, input) = LiveInput::new();
    let job = TranscodeJob {
        manifest_id: segment.manifest_id.clone(),
        session_id: token.session_id.clone(),
        seq: segment.seq,
        duration: Duration::from_millis(segment.duration_ms.into()),
        source: capability::source(segment.capabilities.as_ref()),
        input: Bytes::new(),
        profiles: segment.profiles.clone(),
    };
    let duration = job.duration;
    // Until the segment is done its bytes may be in memory.
    let mut share = service.intake().budget().share();
    let coming = Coming { service: &service, head, sender, feed, upload: &upload, share: &mut share, duration };
    let queued = service.sessions().submit_live(job, owner, Live { input, output: answer.output().clone() });
    let done = async {
        let made = queued?;
        let mut made = pin!(async { made.await.unwrap_or(Err(TranscodeError::TranscoderStopped)) });
        let mut coming = pin!(coming.receive(&mut body));
        // Who has failed already need not hear the rest.
        tokio::select! { biased;
            trailer = &mut coming => Ok((trailer?, made.await?)),
            pixels = &mut made => {
                let pixels = pixels?;
                Ok((coming.await?, pixels))
            }
        }
    };
    let done = done.await;
    drop(share);
    let delivery = Delivery { service: service.clone(), sender, token, segment };
    let last = Streamed { delivery, head, output: answer.output() }.conclude(done, hold, started).await;
    let failed = matches!(last, DownFrame::Failure(_));
    answer.end(last);
    let ending = async {
        if failed {
            drain(&mut body, service.intake().limits()).await;
        }
        answer.fetched(live_deadline(duration)).await;
    };
    tokio::select! { biased;
        () = service.intake_closed().cancelled() => {}
        () = ending => {}
    }
}

/// A segment on its way in.
struct Coming<'a> {
    service: &'a Service,
    head: StreamHead,
    sender: alloy_primitives::Address,
    feed: LiveFeed,
    upload: &'a Upload,
    share: &'a mut BudgetShare,
    duration: Duration,
}

impl Coming<'_> {
    /// Hands on what comes, until its trailer. What is after that is nobody's business.
    async fn receive(self, body: &mut BodyDataStream) -> Result<StreamTrailer, Undelivered> {
        let (intake, max) = (self.service.intake(), self.service.intake().limits().max_segment_bytes);
        let mut bytes = self.upload.counting(body);
        // Later than that nobody waits for it.
        let mut bytes = Timed::within(&mut bytes, intake.limits(), deadline(self.duration));
        let (mut frames, mut hasher, mut length) = (FrameReader::default(), Keccak256::new(), 0_u64);
        loop {
            while let Some(frame) = frames.next_up()? {
                match frame {
                    UpFrame::Media(media) => {
                        length += media.len() as u64;
                        if length > max {
                            return Err(BodyError::TooLarge { max }.into());
                        }
                        self.share.grow(media.len())?;
                        hasher.update(&media);
                        self.feed.put(&media);
                    }
                    UpFrame::Trailer(trailer) => {
                        self.check(&trailer, length, hasher.finalize())?;
                        self.feed.finish();
                        return Ok(trailer);
                    }
                }
            }
            match bytes.next().await? {
                Some(chunk) => frames.push(&chunk),
                None => return Err(BodyError::Broken("the body ended before its trailer".to_owned()).into()),
            }
        }
    }

    fn check(&self, trailer: &StreamTrailer, length: u64, hash: alloy_primitives::B256) -> Result<(), Undelivered> {
        if trailer.length != length {
            return Err(wrong(format!("{length} bytes"), format!("{} bytes", trailer.length)));
        }
        if trailer.hash != hash {
            return Err(wrong(hash, trailer.hash));
        }
        match self.service.payments().is_none() || trailer.is_signed_by(&self.head, self.sender) {
            true => Ok(()),
            false => Err(wrong("no signature of the sender", "the sender of the payment")),
        }
    }
}

fn wrong(got: impl ToString, told: impl ToString) -> Undelivered {
    Undelivered::Trailer { got: got.to_string(), told: told.to_string() }
}

/// A stream that is over, but for its last frame.
struct Streamed<'a> {
    delivery: Delivery,
    head: StreamHead,
    output: &'a LiveOutput,
}

impl Streamed<'_> {
    async fn conclude(
        mut self,
        done: Result<(StreamTrailer, Vec<u64>), Undelivered>,
        hold: Option<Hold>,
        started: Instant,
    ) -> DownFrame {
        // The reason is that there was no room, and not what the transcoder made of it.
        let done = match self.output.overrun() {
            None => done,
            Some(Overrun::Memory) => Err(BodyError::Overloaded.into()),
            Some(Overrun::Unfetched { max }) => Err(Undelivered::Unfetched { max }),
            Some(Overrun::Pixels { got }) => {
                Err(Undelivered::Pixels { got, estimate: estimate(&self.delivery.segment) })
            }
        };
        let mut hold = hold;
        let sealed = done.and_then(|(trailer, pixels)| self.seal(trailer, pixels, &mut hold));
        metrics::segment_done(sealed.is_ok(), started.elapsed());
        let (session, seq) = (self.delivery.token.session_id.clone(), self.delivery.segment.seq);
        let last = match sealed {
            Ok(result) => {
                tracing::info!(session, seq, took = ?started.elapsed(), "segment done");
                Ok(result)
            }
            Err(error) => {
                tracing::warn!(session, seq, error = with_causes(&error), "segment failed");
                Err(StreamFailure {
                    text: scrub(&error.to_string()),
                    refusal: Some(error.coded(&self.delivery.service, &self.delivery.segment)),
                    charged: self.charge(&error, hold),
                    info: None,
                })
            }
        };
        // As of whole segments, the newest terms.
        let (offer, _) = terms(&self.delivery.service, self.delivery.sender, &self.delivery.token).await;
        let info = Some(offer.to_proto());
        match last {
            Ok(result) => DownFrame::Result(Box::new(StreamResult { info, ..result })),
            Err(failure) => DownFrame::Failure(Box::new(StreamFailure { info, ..failure })),
        }
    }

    /// Signs and charges for the renditions.
    fn seal(
        &mut self,
        trailer: StreamTrailer,
        pixels: Vec<u64>,
        hold: &mut Option<Hold>,
    ) -> Result<StreamResult, Undelivered> {
        let (seals, profiles) = (self.output.seals(), self.delivery.segment.profiles.len());
        check_lengths(seals.iter().map(|(_, length)| *length), profiles)?;
        if pixels.len() != profiles {
            return Err(TranscodeError::MismatchedSegments.into());
        }
        let billed = self.delivery.bill(pixels.iter().copied(), hold.as_ref())?;
        let renditions = seals.into_iter().zip(pixels);
        let renditions = renditions.map(|((hash, length), pixels)| StreamedRendition { hash, length, pixels });
        let renditions: Vec<_> = renditions.collect();
        let payments = self.delivery.service.payments();
        let sign = |signer| sign_stream_result(&self.head, &trailer, &renditions, signer);
        let signature = payments.map(|payments| sign(payments.signer())).transpose()?;
        metrics::encoded_pixels(billed);
        if let Some(hold) = hold.take() {
            hold.debit(billed);
        }
        // Known from the trailer on.
        self.delivery.segment.hash = trailer.hash;
        let receipt = match payments {
            Some(_) => self.delivery.receipt(renditions.iter().map(|rendition| rendition.hash).collect()),
            None => Vec::new(),
        };
        Ok(StreamResult { renditions, signature, receipt, info: None })
    }

    /// Pixels that a segment without a result costs: those that have left, where sender or segment are to blame, and at least
    /// those that its head named, where the sender broke its own stream. It could have work for nothing otherwise. Whose
    /// stream this node breaks is charged nothing, as ever.
    fn charge(&self, error: &Undelivered, hold: Option<Hold>) -> u64 {
        let Some((hold, left)) = hold.zip(self.output.stop()) else { return 0 };
        let pixels = match error.fault() {
            Fault::Ours => return 0,
            Fault::Segment => left,
            Fault::Sender => left.max(estimate(&self.delivery.segment)),
        };
        hold.debit(pixels);
        pixels
    }
}
