//! Segments in frames, and renditions that come while they are made (docs/designs/038-streaming-wire.md).
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use alloy_primitives::{Sign, keccak256};
use bytes::Bytes;
use futures::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process};
use streamflow_media::TranscodeSettings;
use streamflow_orchestrator::{
    LimitsConfig, Live, LiveFuture, OrchestratorConfig, QuotaConfig, Transcode, TranscodeError, TranscodeFuture,
    TranscodeJob,
};
use streamflow_pm::{Payment, TicketSigner as _, estimated_pixels};
use streamflow_types::Signature65;
use streamflow_wire::{
    Code, Offer, SegmentRequest, decode_receipt, header, is_signed_by, payment_to_proto,
    stream::{
        self, DownFrame, FrameReader, StreamFailure, StreamHead, StreamResult, StreamTrailer, UpFrame, sign_stream_head,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    checks::Case,
    clip,
    fixture::{Broadcaster, RECEIPTS, Running, World, config, orchestrator_key},
    refusals::results::{Claiming, Stuck, with_local},
};

const BODY: &[u8] = b"any bytes: nobody looks into them";

/// The head of a stream, to be sent and spoilt.
pub(crate) struct StreamDraft {
    url: String,
    payment: String,
    pub(crate) request: SegmentRequest,
    pub(crate) head: StreamHead,
}

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    renditions: Vec<Vec<u8>>,
    began_anew: usize,
    result: Option<StreamResult>,
    pub(crate) failure: Option<StreamFailure>,
}

impl Answered {
    fn add(&mut self, frame: DownFrame) {
        assert!(self.result.is_none() && self.failure.is_none(), "nothing comes after the end");
        match frame {
            DownFrame::Piece { rendition, bytes } => {
                self.renditions.resize(self.renditions.len().max(rendition + 1), Vec::new());
                self.renditions[rendition].extend_from_slice(&bytes);
            }
            DownFrame::Again => {
                self.began_anew += 1;
                self.renditions.clear();
            }
            DownFrame::Result(result) => self.result = Some(*result),
            DownFrame::Failure(failure) => self.failure = Some(*failure),
        }
    }

    pub(crate) fn failure(&self) -> &StreamFailure {
        self.failure.as_ref().unwrap_or_else(|| panic!("no failure: {self:?}"))
    }

    fn code(&self) -> Code {
        self.failure().refusal.as_ref().unwrap().code
    }

    fn result(&self) -> &StreamResult {
        self.result.as_ref().unwrap_or_else(|| panic!("no result: {:?}", self.failure))
    }
}

/// A stream whose head was taken.
struct Streaming {
    upload: mpsc::Sender<Result<Bytes, std::io::Error>>,
    answer: futures::stream::BoxStream<'static, reqwest::Result<Bytes>>,
    frames: FrameReader,
}

impl Streaming {
    async fn send(&self, frame: &UpFrame) {
        // Who has heard enough does not listen.
        let _ = self.upload.send(Ok(frame.to_bytes())).await;
    }

    async fn next(&mut self) -> Option<DownFrame> {
        loop {
            if let Some(frame) = self.frames.next_down().unwrap() {
                return Some(frame);
            }
            self.frames.push(&self.answer.next().await?.unwrap());
        }
    }

    /// All that comes, once nothing more is sent: who is refused is listened to for a while.
    async fn rest(mut self) -> Answered {
        self.upload = mpsc::channel(1).0;
        let mut answered = Answered::default();
        while let Some(frame) = self.next().await {
            answered.add(frame);
        }
        answered
    }
}

impl Broadcaster {
    pub(crate) fn stream_draft(&self, at: &Running, payment: &Payment, request: &SegmentRequest) -> StreamDraft {
        let payment = header::encode_payment(&payment_to_proto(payment));
        let mut request = request.clone();
        let head = sign_stream_head(&mut request, &payment, self.key.as_ref()).unwrap();
        StreamDraft { url: at.url(&format!("/{}", stream::PATH)), payment, request, head }
    }

    fn paid_draft(&self, at: &Running, offer: &Offer, tickets: usize, seq: u64) -> StreamDraft {
        self.stream_draft(at, &self.pay(offer, tickets), &self.request(offer, seq, &[]))
    }

    fn trailer(&self, draft: &StreamDraft, media: &[u8]) -> StreamTrailer {
        StreamTrailer::new(&draft.head, media.len() as u64, keccak256(media), Some(self.key.as_ref())).unwrap()
    }

    /// Sends a head and leaves the body open.
    async fn open(&self, draft: &StreamDraft) -> Result<Streaming, reqwest::Response> {
        let (upload, body) = mpsc::channel(4);
        let request = self.http.post(&draft.url).header(header::PAYMENT, &draft.payment);
        let segment = header::encode_segment(&draft.request.to_proto());
        let body = reqwest::Body::wrap_stream(ReceiverStream::new(body));
        let response = request.header(header::SEGMENT, segment).body(body).send().await.unwrap();
        if response.status() != 200 {
            return Err(response);
        }
        assert_eq!(response.headers()["content-type"], stream::CONTENT_TYPE);
        Ok(Streaming { upload, answer: response.bytes_stream().boxed(), frames: FrameReader::default() })
    }

    /// Sends a whole segment in frames, with a trailer.
    async fn stream(&self, draft: &StreamDraft, media: &Bytes, trailer: StreamTrailer) -> Answered {
        let streaming = self.open(draft).await.unwrap();
        for frame in UpFrame::media(media.clone()).chain([UpFrame::Trailer(trailer)]) {
            streaming.send(&frame).await;
        }
        streaming.rest().await
    }

    async fn good_stream(&self, at: &Running, offer: &Offer, tickets: usize, seq: u64, media: &Bytes) -> Answered {
        let draft = self.paid_draft(at, offer, tickets, seq);
        self.stream(&draft, media, self.trailer(&draft, media)).await
    }
}

impl Case {
    /// Streams these bytes, which are no frames.
    pub(crate) async fn stream_bytes(&self, bytes: Vec<u8>) -> Answered {
        let draft = self.broadcaster.paid_draft(&self.orchestrator, &self.offer, 1, 0);
        let streaming = self.broadcaster.open(&draft).await.unwrap();
        streaming.upload.send(Ok(bytes.into())).await.unwrap();
        streaming.rest().await
    }

    /// Streams [`BODY`] with another trailer.
    pub(crate) async fn stream_with(&self, change: impl FnOnce(&mut StreamTrailer)) -> Answered {
        let draft = self.broadcaster.paid_draft(&self.orchestrator, &self.offer, 1, 0);
        let mut trailer = self.broadcaster.trailer(&draft, BODY);
        change(&mut trailer);
        self.broadcaster.stream(&draft, &BODY.into(), trailer).await
    }

    /// Wei of the one session, rounded down.
    fn balance(&self) -> i128 {
        let balances = self.orchestrator.handle.balances().unwrap();
        let [session] = balances.as_slice() else { panic!("{balances:?}") };
        let (sign, wei) = session.balance.floor_wei();
        let wei = i128::try_from(wei.to::<u128>()).unwrap();
        if sign == Sign::Negative { -wei } else { wei }
    }
}

/// Answers each part of a segment with a part of every rendition, which has so many pixels, and counts the parts.
#[derive(Debug, Default)]
struct Echo(Arc<AtomicUsize>, u64);

impl Transcode for Echo {
    fn transcode(&self, _job: TranscodeJob) -> TranscodeFuture<'_> {
        Box::pin(std::future::ready(Err(TranscodeError::NoTranscoders)))
    }

    fn transcode_live(&self, job: TranscodeJob, mut live: Live) -> LiveFuture<'_> {
        Box::pin(async move {
            while let Some(bytes) = live.input.next().await? {
                self.0.fetch_add(1, Ordering::SeqCst);
                for rendition in 0..job.profiles.len() {
                    live.output.put(rendition, &bytes, self.1)?;
                }
            }
            Ok(vec![1000; job.profiles.len()])
        })
    }

    fn end_session(&self, _session_id: &str) {}
}

/// Fails after it has made something of the first bytes.
#[derive(Debug)]
struct Unwilling;

impl Transcode for Unwilling {
    fn transcode(&self, _job: TranscodeJob) -> TranscodeFuture<'_> {
        Box::pin(std::future::ready(Err(TranscodeError::NoTranscoders)))
    }

    fn transcode_live(&self, _job: TranscodeJob, mut live: Live) -> LiveFuture<'_> {
        Box::pin(async move {
            let first = live.input.next().await?.unwrap_or_default();
            live.output.put(0, &first, 1000)?;
            Err(TranscodeError::Other("out of luck".to_owned()))
        })
    }

    fn end_session(&self, _session_id: &str) {}
}

async fn echo() -> (Case, Arc<AtomicUsize>) {
    let parts = Arc::<AtomicUsize>::default();
    (with_local(Echo(parts.clone(), 500), config()).await, parts)
}

fn media(text: &'static [u8]) -> UpFrame {
    UpFrame::Media(text.into())
}

#[tokio::test]
async fn renditions_are_the_same_as_of_whole_segments_and_signed_with_their_pixels() {
    // Otherwise the bytes differ from run to run.
    let settings = TranscodeSettings { deterministic: true, ..TranscodeSettings::default() };
    let (local, _) = clip::local_transcoder_and_pool(settings).await;
    let Case { world: _world, orchestrator, broadcaster, offer } = with_local(clip::InProcess(local), config()).await;
    assert!(offer.speaks_streams());
    let body = clip::segment(0);
    let whole = broadcaster.segment(&orchestrator, &offer, 8, 0, &body).await.data();
    let draft = broadcaster.paid_draft(&orchestrator, &offer, 8, 1);
    let trailer = broadcaster.trailer(&draft, &body);
    let streamed = broadcaster.stream(&draft, &body, trailer).await;
    let result = streamed.result();
    assert_eq!(result.renditions.len(), whole.segments.len());
    for (index, (told, segment)) in result.renditions.iter().zip(&whole.segments).enumerate() {
        let fetched = broadcaster.http.get(&segment.url).send().await.unwrap().bytes().await.unwrap();
        let made = &streamed.renditions[index];
        assert_eq!(keccak256(made), keccak256(&fetched), "the same bytes either way");
        assert_eq!((told.hash, told.length), (keccak256(made), made.len() as u64));
        assert_eq!(i64::try_from(told.pixels), Ok(segment.pixels));
    }
    let signature = result.signature.unwrap();
    assert!(is_signed_by(result.digest(&draft.head, &trailer), signature.as_bytes(), orchestrator_key().address()));
    let receipt = decode_receipt(&result.receipt).unwrap();
    assert_eq!(receipt.signer(&RECEIPTS), Ok(offer.address));
    assert_eq!((receipt.receipt.source_hash, receipt.receipt.sequence), (keccak256(&body), 1));
    let hashes: Vec<_> = result.renditions.iter().map(|rendition| rendition.hash).collect();
    assert_eq!(receipt.receipt.result_hashes, hashes);
    let terms = Offer::from_proto(result.info.clone().unwrap()).unwrap();
    assert_eq!((terms.auth_token, terms.params.is_some()), (offer.auth_token, true));
}

#[tokio::test]
async fn pieces_leave_while_the_segment_comes_and_the_result_only_after_its_trailer() {
    let (case, parts) = echo().await;
    let draft = case.broadcaster.paid_draft(&case.orchestrator, &case.offer, 4, 0);
    let mut streaming = case.broadcaster.open(&draft).await.unwrap();
    assert!(case.world.winners().await > 0, "they are stored when the head of the answer arrives");
    assert_eq!(parts.load(Ordering::SeqCst), 0);
    let half = DownFrame::Piece { rendition: 0, bytes: "the first half, ".into() };
    streaming.send(&media(b"the first half, ")).await;
    assert_eq!(streaming.next().await, Some(half), "nobody waits for the rest");
    streaming.send(&media(b"and the second")).await;
    streaming.send(&UpFrame::Trailer(case.broadcaster.trailer(&draft, b"the first half, and the second"))).await;
    let answered = streaming.rest().await;
    assert_eq!(answered.renditions[1], b"the first half, and the second");
    assert_eq!(answered.result().renditions[0].hash, keccak256(b"the first half, and the second"));
}

#[tokio::test]
async fn a_stream_costs_what_its_renditions_have_of_pixels() {
    let (case, _) = echo().await;
    let paid = case.broadcaster.pay(&case.offer, 4);
    let draft = case.broadcaster.stream_draft(&case.orchestrator, &paid, &case.request());
    let streaming = case.broadcaster.open(&draft).await.unwrap();
    let before = case.balance();
    for frame in [media(BODY), UpFrame::Trailer(case.broadcaster.trailer(&draft, BODY))] {
        streaming.send(&frame).await;
    }
    assert_eq!(streaming.rest().await.result().renditions.len(), 2);
    assert_eq!(before - case.balance(), 2 * 1000 * PRICE);
}

/// Wei per pixel.
const PRICE: i128 = 10_000_000;

#[tokio::test]
async fn a_head_is_refused_before_anything_of_its_segment_is_looked_at() {
    let (case, parts) = echo().await;
    let (at, broadcaster) = (&case.orchestrator, &case.broadcaster);
    let good = || broadcaster.paid_draft(at, &case.offer, 1, 0);
    let other = broadcaster.pay(&case.offer, 1);
    let other = header::encode_payment(&payment_to_proto(&other));
    let mut forged = broadcaster.pay(&case.offer, 1);
    forged.tickets[0].sig = Signature65::new([7; 65]);
    let of_request = |change: fn(&mut SegmentRequest)| {
        let mut request = broadcaster.request(&case.offer, 0, &[]);
        change(&mut request);
        broadcaster.stream_draft(at, &broadcaster.pay(&case.offer, 1), &request)
    };
    let after_signing = |change: fn(&mut SegmentRequest)| {
        let mut draft = good();
        change(&mut draft.request);
        draft
    };
    let cases = [
        (StreamDraft { payment: other, ..good() }, 403, Code::SegmentNotSignedBySender),
        (after_signing(|request| request.seq += 1), 403, Code::SegmentNotSignedBySender),
        (after_signing(|request| request.profiles[0].width = 428), 403, Code::SegmentNotSignedBySender),
        (broadcaster.stream_draft(at, &forged, &case.request()), 400, Code::TicketSignatureInvalid),
        (of_request(|request| request.auth_token.as_mut().unwrap().expiration = 1), 403, Code::AuthTokenInvalid),
        (of_request(|request| request.storage = vec![crate::uploads::store("http://a")]), 403, Code::StorageNotOffered),
    ];
    for (draft, status, code) in cases {
        // The body stays open: nobody waits for it.
        let Err(refused) = broadcaster.open(&draft).await else { panic!("{code}: the head was taken") };
        let told = refused.headers()[streamflow_wire::refusal::HEADER].to_str().unwrap();
        let told = streamflow_wire::Refusal::from_header(told).unwrap();
        assert_eq!((refused.status().as_u16(), told.code), (status, code), "{told}");
    }
    case.world.time.store(1_900_000_000, Ordering::SeqCst);
    let Err(refused) = broadcaster.open(&good()).await else { panic!("the token is over") };
    assert_eq!(refused.text().await.unwrap().trim(), "expired auth token");
    assert_eq!(parts.load(Ordering::SeqCst), 0, "nothing reached a transcoder");
}

#[tokio::test]
async fn what_a_whole_segment_is_signed_with_opens_no_stream() {
    let case = Case::new().await;
    let draft = case.broadcaster.paid_draft(&case.orchestrator, &case.offer, 1, 0);
    let draft = StreamDraft { request: case.request(), ..draft };
    let Err(refused) = case.broadcaster.open(&draft).await else { panic!("the head was taken") };
    assert_eq!(refused.text().await.unwrap().trim(), "ErrSegSig");
}

#[tokio::test]
async fn who_breaks_its_stream_before_renditions_leave_is_charged_nothing() {
    let (case, _) = echo().await;
    let bytes = BODY.len() as u64;
    // Whole trailers of other segments: with fewer bytes than were sent, with more, of other bytes, of nobody.
    let changes: [fn(&mut StreamTrailer); 4] = [
        |trailer| trailer.length -= 1,
        |trailer| trailer.length += 1,
        |trailer| trailer.hash = keccak256("x"),
        |trailer| trailer.signature = None,
    ];
    let stuck = with_local(Stuck, config()).await;
    for change in changes {
        let answered = stuck.stream_with(change).await;
        assert_eq!((answered.code(), answered.failure().charged), (Code::StreamTrailerWrong, 0));
        assert!(answered.failure().info.is_some(), "with terms for the next payment");
    }
    // Well signed, as long, and of other bytes.
    let draft = stuck.broadcaster.paid_draft(&stuck.orchestrator, &stuck.offer, 1, 1);
    let trailer = stuck.broadcaster.trailer(&draft, &vec![b'x'; BODY.len()]);
    let answered = stuck.broadcaster.stream(&draft, &BODY.into(), trailer).await;
    assert_eq!((answered.code(), answered.failure().charged), (Code::StreamTrailerWrong, 0));
    assert_eq!(answered.failure().refusal.clone().unwrap().got, keccak256(BODY).to_string());
    let told = case.stream_with(|trailer| trailer.length += 1).await.failure().refusal.clone().unwrap();
    assert_eq!((told.got, told.limit), (format!("{bytes} bytes"), format!("{} bytes", bytes + 1)));
}

#[tokio::test]
async fn who_breaks_its_stream_after_renditions_have_left_is_charged_what_its_head_named() {
    let (case, _) = echo().await;
    let estimate = estimated_pixels(&case.broadcaster.profiles, 2000);
    let draft = case.broadcaster.paid_draft(&case.orchestrator, &case.offer, 4, 0);
    let mut streaming = case.broadcaster.open(&draft).await.unwrap();
    let before = case.balance();
    streaming.send(&media(BODY)).await;
    assert!(matches!(streaming.next().await, Some(DownFrame::Piece { .. })));
    streaming.send(&UpFrame::Trailer(case.broadcaster.trailer(&draft, b"something else"))).await;
    let answered = streaming.rest().await;
    assert_eq!((answered.code(), answered.failure().charged), (Code::StreamTrailerWrong, estimate));
    assert_eq!(before - case.balance(), i128::from(estimate) * PRICE);

    let draft = case.broadcaster.paid_draft(&case.orchestrator, &case.offer, 4, 1);
    let mut streaming = case.broadcaster.open(&draft).await.unwrap();
    let before = case.balance();
    streaming.send(&media(BODY)).await;
    assert!(matches!(streaming.next().await, Some(DownFrame::Piece { .. })));
    drop(streaming);
    for _ in 0..100 {
        if case.balance() != before {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(before - case.balance(), i128::from(estimate) * PRICE, "who hangs up is no better off");
}

#[tokio::test]
async fn who_breaks_its_stream_is_charged_all_that_has_left_where_that_is_more() {
    let case = with_local(Echo(Arc::default(), 12_000_000), config()).await;
    let estimate = estimated_pixels(&case.broadcaster.profiles, 2000);
    let draft = case.broadcaster.paid_draft(&case.orchestrator, &case.offer, 8, 0);
    let mut streaming = case.broadcaster.open(&draft).await.unwrap();
    let before = case.balance();
    streaming.send(&media(BODY)).await;
    for _ in 0..case.broadcaster.profiles.len() {
        assert!(matches!(streaming.next().await, Some(DownFrame::Piece { .. })));
    }
    streaming.send(&UpFrame::Trailer(case.broadcaster.trailer(&draft, b"something else"))).await;
    let answered = streaming.rest().await;
    assert!(estimate < 24_000_000);
    assert_eq!((answered.code(), answered.failure().charged), (Code::StreamTrailerWrong, 24_000_000));
    assert_eq!(before - case.balance(), 24_000_000 * PRICE);
}

/// Four seconds.
fn long_clip() -> Vec<u8> {
    [clip::segment(0), clip::segment(1)].concat()
}

/// Sends a segment with an honest trailer that fails nevertheless, and checks that what came of it is what it cost.
async fn costs_what_came(case: &Case, draft: &StreamDraft, body: &Bytes) -> Answered {
    let streaming = case.broadcaster.open(draft).await.unwrap();
    let before = case.balance();
    for frame in UpFrame::media(body.clone()) {
        streaming.send(&frame).await;
    }
    streaming.send(&UpFrame::Trailer(case.broadcaster.trailer(draft, body))).await;
    let answered = streaming.rest().await;
    let pixels = |made: &Vec<u8>| streamflow_media::inspect(&made.clone().into()).unwrap().pixels;
    let came: u64 = answered.renditions.iter().filter(|made| !made.is_empty()).map(pixels).sum();
    let charged = answered.failure().charged;
    assert!(came > 0 && charged >= came, "{came} pixels came for {charged}");
    assert!(charged <= 2 * estimated_pixels(&draft.request.profiles, draft.request.duration_ms.into()), "{charged}");
    assert_eq!(before - case.balance(), i128::from(charged) * PRICE);
    answered
}

#[tokio::test]
async fn a_segment_that_is_bad_at_its_end_costs_what_has_left_of_it() {
    let case = with_local(clip::InProcess(clip::local_transcoder().await), config()).await;
    let body = [long_clip(), clip::segment(0)[..100].to_vec()].concat().into();
    let mut request = case.broadcaster.request(&case.offer, 0, &[]);
    request.duration_ms = 4000;
    let draft = case.broadcaster.stream_draft(&case.orchestrator, &case.broadcaster.pay(&case.offer, 8), &request);
    let answered = costs_what_came(&case, &draft, &body).await;
    assert_eq!(answered.code(), Code::SegmentFormatDidntMatchJobInputParams);
}

#[tokio::test]
async fn a_segment_longer_than_its_sender_says_is_stopped_on_its_way_and_costs_what_has_left() {
    let case = with_local(clip::InProcess(clip::local_transcoder().await), config()).await;
    let mut request = case.broadcaster.request(&case.offer, 0, &[]);
    request.duration_ms = 1;
    request.profiles.iter_mut().for_each(|profile| (profile.fps, profile.fps_den) = (25, 1));
    let draft = case.broadcaster.stream_draft(&case.orchestrator, &case.broadcaster.pay(&case.offer, 8), &request);
    let answered = costs_what_came(&case, &draft, &long_clip().into()).await;
    assert_eq!(answered.code(), Code::PixelsBeyondEstimate);
}

#[tokio::test]
async fn who_leaves_renditions_unfetched_is_stopped_and_charged_what_has_left() {
    let quotas = QuotaConfig { max_unfetched_bytes: 1_000_000, ..Default::default() };
    let case = with_local(Echo(Arc::default(), 1000), OrchestratorConfig { quotas, ..config() }).await;
    let draft = case.broadcaster.paid_draft(&case.orchestrator, &case.offer, 4, 0);
    let streaming = case.broadcaster.open(&draft).await.unwrap();
    let before = case.balance();
    for frame in UpFrame::media(vec![7; 12 << 20].into()) {
        streaming.send(&frame).await;
    }
    let answered = streaming.rest().await;
    let failure = answered.failure();
    assert_eq!((answered.code(), &*failure.text), (Code::MemoryFull, "renditions are not fetched"));
    assert_eq!(failure.refusal.clone().unwrap().limit, "1000000 bytes for a sender");
    assert!(failure.charged > 0);
    assert_eq!(before - case.balance(), i128::from(failure.charged) * PRICE);
}

#[tokio::test]
async fn a_segment_on_which_workers_die_costs_nothing() {
    let (local, pool) = clip::local_transcoder_and_pool(TranscodeSettings::default()).await;
    let case = with_local(clip::InProcess(local), config()).await;
    let draft = case.broadcaster.paid_draft(&case.orchestrator, &case.offer, 8, 0);
    let mut streaming = case.broadcaster.open(&draft).await.unwrap();
    let before = case.balance();
    let body = Bytes::from(long_clip());
    let (first, rest) = (body.slice(..body.len() / 4 * 3), body.slice(body.len() / 4 * 3..));
    for frame in UpFrame::media(first) {
        streaming.send(&frame).await;
    }
    for _ in 0..2 {
        while !matches!(streaming.next().await, Some(DownFrame::Piece { .. })) {}
        let busy = pool.workers().into_iter().find(|worker| worker.busy).unwrap();
        kill_process(Pid::from_raw(busy.pid as i32).unwrap(), Signal::KILL).unwrap();
        while pool.workers().iter().any(|worker| worker.pid == busy.pid) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
    for frame in UpFrame::media(rest) {
        streaming.send(&frame).await;
    }
    streaming.send(&UpFrame::Trailer(case.broadcaster.trailer(&draft, &body))).await;
    let answered = streaming.rest().await;
    assert_eq!((answered.code(), answered.failure().charged), (Code::TranscoderFailed, 0));
    assert_eq!(before, case.balance());
}

#[tokio::test]
async fn what_fails_here_costs_nothing_and_is_told_at_once() {
    // A transcoder elsewhere that counts too much: nothing of it has left.
    let case = with_local(Claiming(1_000_000_000), config()).await;
    let answered = case.stream_with(|_| {}).await;
    assert_eq!((answered.code(), answered.failure().charged), (Code::PixelsBeyondEstimate, 0));
    // Who streams on hears of it before the end.
    let case = with_local(Unwilling, config()).await;
    let draft = case.broadcaster.paid_draft(&case.orchestrator, &case.offer, 1, 0);
    let mut streaming = case.broadcaster.open(&draft).await.unwrap();
    streaming.send(&media(BODY)).await;
    let failure = loop {
        match streaming.next().await.unwrap() {
            DownFrame::Failure(failure) => break failure,
            DownFrame::Piece { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((failure.refusal.unwrap().code, failure.charged), (Code::TranscoderFailed, 0));
}

#[tokio::test]
async fn a_body_without_end_or_without_frames_is_given_up() {
    let limits = LimitsConfig { max_segment_bytes: 1000, ..Default::default() };
    let case = with_local(Stuck, OrchestratorConfig { limits, ..config() }).await;
    let draft = case.broadcaster.paid_draft(&case.orchestrator, &case.offer, 1, 0);
    let streaming = case.broadcaster.open(&draft).await.unwrap();
    streaming.send(&UpFrame::Media(vec![0; 1001].into())).await;
    assert_eq!(streaming.rest().await.code(), Code::SegmentTooLarge);
    let draft = case.broadcaster.paid_draft(&case.orchestrator, &case.offer, 1, 1);
    let answered = case.broadcaster.open(&draft).await.unwrap().rest().await;
    assert_eq!(answered.code(), Code::SegmentCutOff, "it ended without a trailer");
}

#[tokio::test]
async fn transcoders_elsewhere_get_the_whole_segment_and_the_wire_is_the_same() {
    let world = World::new().await;
    let orchestrator = world.start().await;
    let _transcoder = crate::transcoders::transcoder_at(&orchestrator.url(""));
    orchestrator.wait_for_transcoders(1).await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let body = clip::segment(0);
    let answered = broadcaster.good_stream(&orchestrator, &offer, 8, 0, &body).await;
    for (told, made) in answered.result().renditions.iter().zip(&answered.renditions) {
        assert_eq!(told.hash, keccak256(made));
        assert_eq!(streamflow_media::inspect(&made.clone().into()).unwrap().pixels, told.pixels);
    }
}

#[tokio::test]
async fn a_worker_that_dies_does_not_cost_the_segment() {
    let (local, pool) = clip::local_transcoder_and_pool(TranscodeSettings::default()).await;
    let case = with_local(clip::InProcess(local), config()).await;
    let body = clip::segment(0);
    let draft = case.broadcaster.paid_draft(&case.orchestrator, &case.offer, 8, 0);
    let streaming = case.broadcaster.open(&draft).await.unwrap();
    streaming.send(&UpFrame::Media(body.slice(..100_000))).await;
    while !pool.workers()[0].busy {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    kill_process(Pid::from_raw(pool.workers()[0].pid as i32).unwrap(), Signal::KILL).unwrap();
    for frame in UpFrame::media(body.slice(100_000..)) {
        streaming.send(&frame).await;
    }
    streaming.send(&UpFrame::Trailer(case.broadcaster.trailer(&draft, &body))).await;
    let answered = streaming.rest().await;
    for (told, made) in answered.result().renditions.iter().zip(&answered.renditions) {
        assert_eq!(told.hash, keccak256(made));
    }
}
