//! One orchestrator's try at a segment: pay, upload, settle, verify. Who tries, and who comes next: [`crate::race`].
use std::{sync::Arc, time::Duration};

use alloy_primitives::{B256, keccak256};
use streamflow_pm::{Outcome, SignError, estimated_pixels};
use streamflow_types::{Price, Profile, VideoCodec, with_causes};
use streamflow_wire::{
    Refusal as Coded, SegmentRequest, TranscodeError, capability, header,
    proto::{OrchestratorInfo, OrchestratorRequest, TranscodeData, TranscodeResult, transcode_result},
    sign_segment,
    stream::StreamFailure,
};
use tokio::time::Instant;

use crate::{
    arriving::Arriving,
    broadcaster::Core,
    charge::Failed,
    client::{CallError, Submission},
    discovery::Candidate,
    error::{AttemptError, PaymentError, QuoteError, Refusal, VerifyError},
    metrics,
    payment::Payer,
    race::{Deadlines, Finished, Lane},
    segment::{Outline, Segment},
    session::{Paid, Purse, Quote, Session, complete},
    stream::LiveStream,
    streamed::{Delivered, StreamSubmission, Streamed},
    verify::{Expected, size_limit, verify},
};

impl Core {
    /// One orchestrator's try. If it wants a newer quote than the one we have, it gets a second one at once.
    pub(crate) async fn attempt(
        &self,
        stream: &LiveStream,
        segment: &Segment,
        candidate: &Candidate,
        deadlines: Deadlines,
        lane: &Lane,
    ) -> Result<Finished, AttemptError> {
        let session = stream.session(self, candidate).await?;
        let first = self.attempt_on(stream, segment, &session, deadlines, lane).await;
        self.with_newer_terms(first, &session, (stream, segment, candidate), deadlines, lane).await
    }

    /// Tries the segment once more at once if the `first` try failed for its terms alone.
    pub(crate) async fn with_newer_terms(
        &self,
        first: Result<Finished, AttemptError>,
        session: &Arc<Session>,
        (stream, segment, candidate): (&LiveStream, &Segment, &Candidate),
        deadlines: Deadlines,
        lane: &Lane,
    ) -> Result<Finished, AttemptError> {
        match first {
            Err(error) if session.outlives(&error) && error.brought_new_params() => {
                self.attempt_on(stream, segment, session, deadlines, lane).await
            }
            Err(error) if error.wants_new_quote() => {
                tracing::debug!(url = %candidate.url, error = with_causes(&error), "asking for a new quote");
                stream.forget(session).await;
                let session = stream.session(self, candidate).await?;
                self.attempt_on(stream, segment, &session, deadlines, lane).await
            }
            other => other,
        }
    }

    pub(crate) async fn attempt_on(
        &self,
        stream: &LiveStream,
        segment: &Segment,
        session: &Arc<Session>,
        deadlines: Deadlines,
        lane: &Lane,
    ) -> Result<Finished, AttemptError> {
        let done = self.submit_and_verify(stream, segment, session, deadlines, lane).await;
        self.note_end(stream, session, done).await
    }

    /// Uses the session no more if it ended with the try.
    pub(crate) async fn note_end(
        &self,
        stream: &LiveStream,
        session: &Arc<Session>,
        done: Result<Finished, AttemptError>,
    ) -> Result<Finished, AttemptError> {
        if done.as_ref().is_err_and(|error| !session.outlives(error)) {
            stream.forget(session).await;
        }
        done
    }

    #[tracing::instrument(name = "attempt", skip_all, fields(session = session.token.session_id, orchestrator = %session.url))]
    async fn submit_and_verify(
        &self,
        stream: &LiveStream,
        segment: &Segment,
        session: &Session,
        deadlines: Deadlines,
        lane: &Lane,
    ) -> Result<Finished, AttemptError> {
        if lane.is_overtaken() {
            return Ok(Finished::Unpaid);
        }
        let limit = deadlines.last;
        let sent = match session.streams {
            true => {
                let media = (Arriving::whole(segment.media.clone()), Instant::now() + limit);
                self.submit_stream(stream, session, &segment.outline(), media, limit, lane).await?
            }
            false => self.submit_whole(stream, session, segment, limit, lane).await?,
        };
        self.accept(stream, segment, session, sent, deadlines, lane).await
    }

    /// Verifies what an orchestrator sent.
    pub(crate) async fn accept(
        &self,
        stream: &LiveStream,
        segment: &Segment,
        session: &Session,
        Sent { delivered, receipt }: Sent,
        deadlines: Deadlines,
        lane: &Lane,
    ) -> Result<Finished, AttemptError> {
        if lane.is_overtaken() {
            return Ok(Finished::Overtaken);
        }
        let expected = Expected {
            profiles: stream.profiles(),
            source: &segment.info,
            duration: segment.duration,
            service: &session.service,
            signer: session.account,
            deadline: Instant::now() + deadlines.fetch,
            scrutiny: self.scrutiny(session, segment, lane.is_compared()),
        };
        let checked = verify(&self.client, &self.checker, &expected, delivered).await?;
        if let Some(took) = checked.fetched {
            self.orchestrators.measured(&session.url, |link| link.downloaded(checked.bytes(), took));
        }
        let receipt = self.take_receipt(stream, segment, session, &receipt, &checked.renditions).await?;
        if let Err(error) = self.judge(stream, segment, session, &checked).await {
            self.convict_receipt(receipt, &error).await;
            return Err(error.into());
        }
        Ok(Finished::Done(checked.renditions))
    }

    /// Pays, and sends the segment by the deployed wire.
    async fn submit_whole(
        &self,
        stream: &LiveStream,
        session: &Session,
        segment: &Segment,
        limit: Duration,
        lane: &Lane,
    ) -> Result<Sent, AttemptError> {
        let mut request = segment_request(stream, &segment.outline(), session);
        request.hash = keccak256(&segment.media);
        if let Some(payer) = &self.payer {
            sign_segment(&mut request, payer.signer()).map_err(unsigned)?;
        }
        let (payment, paid) = session.pay(self.purse(), stream.budget(), &mut request).await?;
        let submission = Submission {
            base: session.service.clone(),
            segment: header::encode_segment(&request.to_proto()),
            payment,
            media: segment.media.clone(),
        };
        let accepted = |took| {
            lane.accept();
            self.orchestrators.measured(&session.url, |link| link.uploaded(segment.media.len() as u64, took));
        };
        let answer = self.client.submit(submission, limit, accepted).await;
        self.settle(session, paid, answer.map(Answer::from)).await
    }

    /// The same by our own, for a segment that is there or comes until then. The head is taken before the upload, and the
    /// renditions come before the result: neither way is measured.
    pub(crate) async fn submit_stream(
        &self,
        stream: &LiveStream,
        session: &Session,
        outline: &Outline,
        media: (Arriving, Instant),
        limit: Duration,
        lane: &Lane,
    ) -> Result<Sent, AttemptError> {
        let mut request = segment_request(stream, outline, session);
        let (payment, paid) = session.pay(self.purse(), stream.budget(), &mut request).await?;
        let limits = request.profiles.iter().map(|profile| size_limit(profile, outline.duration)).collect();
        let estimate = estimated_pixels(&request.profiles, outline.millis().into());
        let signer = self.payer.as_ref().map(Payer::shared_signer);
        let submission = StreamSubmission::new(session.service.clone(), request, payment, media, limits, signer);
        let submission = match submission {
            Ok(submission) => submission,
            Err(error) => {
                complete(self.purse(), session, paid, Outcome::NotSent, false).await;
                return Err(unsigned(error).into());
            }
        };
        let answer = self.client.stream(submission, limit, || lane.accept(), || !lane.is_overtaken()).await;
        self.settle(session, paid, answer.map(|ended| Answer::of_stream(ended, estimate))).await
    }

    /// Closes the payment by what the orchestrator answered, and takes its new params into use.
    async fn settle(
        &self,
        session: &Session,
        paid: Paid,
        answer: Result<Answer, CallError>,
    ) -> Result<Sent, AttemptError> {
        let purse = self.purse();
        if answer.as_ref().err().is_none_or(CallError::payment_may_have_left) {
            self.count_tickets(session, &paid);
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let outcome = if error.payment_arrived() { Outcome::Lost } else { Outcome::NotSent };
                let may_have_left = error.payment_may_have_left();
                complete(purse, session, paid, outcome, may_have_left).await;
                let info = match &error {
                    CallError::Status { info: Some(info), .. } => Some(info.as_ref().clone()),
                    _ => None,
                };
                let error = AttemptError::from(error);
                session.refused(purse, &error);
                if let Some(info) = info {
                    self.renew(session, info).await;
                }
                return Err(error);
            }
        };
        complete(purse, session, paid, answer.cost, true).await;
        if let Some(info) = answer.info {
            self.renew(session, info).await;
        }
        answer.outcome
    }

    async fn renew(&self, session: &Session, info: OrchestratorInfo) {
        let purse = self.purse();
        if matches!(purse, Purse::Empty) {
            return;
        }
        if let Err(error) = session.renew(purse, info).await {
            tracing::debug!(url = %session.url, error = with_causes(&error), "params that came with an answer are of no use");
        }
    }

    fn count_tickets(&self, session: &Session, paid: &Paid) {
        let (tickets, value) = paid.worth();
        match self.purse() {
            Purse::Empty => return,
            Purse::Own(payer) => payer.sent(tickets, value),
            Purse::Remote(signer) => signer.sent(tickets, value),
        }
        self.orchestrators.paid(&session.url, tickets, value);
        metrics::tickets_sent(tickets);
    }

    /// Asks an orchestrator for terms, and checks who it is.
    pub(crate) async fn quote(
        &self,
        candidate: &Candidate,
        request: OrchestratorRequest,
    ) -> Result<Quote, AttemptError> {
        let asked = Instant::now();
        let info = self.client.quote(&candidate.url, request, self.config.quote_timeout).await?;
        self.orchestrators.measured(&candidate.url, |link| link.quoted(asked.elapsed()));
        let quote = Quote::check(candidate, info, !matches!(self.purse(), Purse::Empty))?;
        self.orchestrators.quoted(&candidate.url, quote.account, &quote.offer, Instant::now());
        Ok(quote)
    }

    /// Opens a session for a stream's segments; `first` is the price of its first session there.
    pub(crate) async fn open_session(
        &self,
        candidate: &Candidate,
        profiles: &[Profile],
        first: Option<Price>,
    ) -> Result<Session, AttemptError> {
        let job = capability::job(VideoCodec::H264, profiles, false);
        let request = OrchestratorRequest { capabilities: Some(job.clone()), ..self.quote_request().await? };
        let quote = self.quote(candidate, request).await?;
        if let Some(node) = &quote.offer.capabilities
            && !capability::is_compatible(node, &job)
        {
            return Err(QuoteError::Incapable.into());
        }
        Session::open(candidate, quote, self.purse(), self.settings().payment.max_price, first).await
    }
}

/// What an orchestrator answered to a segment that it took, whichever wire it came by.
#[derive(Debug)]
struct Answer {
    /// What it takes off our balance.
    cost: Outcome,
    /// Terms for the next payment.
    info: Option<OrchestratorInfo>,
    outcome: Result<Sent, AttemptError>,
}

/// What came back for a segment: the renditions, or where they are, and an encoded receipt.
#[derive(Debug)]
pub(crate) struct Sent {
    delivered: Delivered,
    receipt: Vec<u8>,
}

fn segment_request(stream: &LiveStream, outline: &Outline, session: &Session) -> SegmentRequest {
    let (profiles, millis) = (stream.profiles().to_vec(), outline.millis());
    let mut request = SegmentRequest::new(stream.name().clone(), outline.seq, B256::ZERO, profiles, millis);
    request.capabilities = Some(capability::job(session.told(outline.codec), stream.profiles(), false));
    request.auth_token = Some(session.token.clone());
    request
}

fn unsigned(error: SignError) -> PaymentError {
    PaymentError::Sender(error.into())
}

impl From<TranscodeResult> for Answer {
    fn from(result: TranscodeResult) -> Self {
        let (billed, outcome) = match result.result {
            Some(transcode_result::Result::Data(data)) => {
                (billed_pixels(&data), Ok(Sent { delivered: Delivered::ByLink(data), receipt: result.receipt }))
            }
            Some(transcode_result::Result::Error(text)) => {
                (0, Err(failed(&text, result.refusal.as_ref().and_then(Coded::from_proto))))
            }
            None => (0, Err(AttemptError::Orchestrator("no result".to_owned()))),
        };
        Self { cost: Outcome::Served { pixels: billed }, info: result.info, outcome }
    }
}

impl Answer {
    /// Of a segment of about so many pixels.
    fn of_stream(ended: Result<Streamed, Failed>, estimate: u64) -> Self {
        match ended {
            Ok(mut streamed) => {
                let (info, receipt) = (streamed.result.info.take(), std::mem::take(&mut streamed.result.receipt));
                let billed = streamed.result.renditions.iter().map(|told| told.pixels).fold(0, u64::saturating_add);
                let cost = Outcome::Served { pixels: billed };
                Self { cost, info, outcome: Ok(Sent { delivered: Delivered::Streamed(Box::new(streamed)), receipt }) }
            }
            Err(ended) => {
                let charged = ended.charged(estimate);
                let StreamFailure { text, refusal, info, .. } = ended.failure;
                match charged {
                    Ok(pixels) => Self { cost: Outcome::Served { pixels }, info, outcome: Err(failed(&text, refusal)) },
                    // Whoever lies has our tickets, and gets no more of them.
                    Err(lie) => {
                        let outcome = Err(VerifyError::from(lie).into());
                        Self { cost: Outcome::Lost, info: None, outcome }
                    }
                }
            }
        }
    }
}

fn failed(text: &str, refusal: Option<Coded>) -> AttemptError {
    let text = TranscodeError::from_text(text).to_string();
    match refusal {
        Some(refusal) => AttemptError::Coded { text, refusal: Box::new(refusal) },
        None => AttemptError::Orchestrator(text),
    }
}

/// Our own trouble, which no other orchestrator can help with.
pub(crate) fn hopeless(error: &AttemptError) -> Option<Refusal> {
    let AttemptError::Payment(payment) = error else { return None };
    match payment {
        PaymentError::Refused(refusal) => Some(refusal.clone()),
        PaymentError::Signer(error) if error.is_for_everybody() => Some(Refusal::Signer(with_causes(error))),
        PaymentError::Budget(budget) => Some(Refusal::Budget(*budget)),
        _ => payment.funds().map(Refusal::Funds),
    }
}

/// What the orchestrator takes off our balance. A negative number is a lie that verification catches.
fn billed_pixels(data: &TranscodeData) -> u64 {
    data.segments.iter().map(|segment| u64::try_from(segment.pixels).unwrap_or(0)).fold(0, u64::saturating_add)
}
