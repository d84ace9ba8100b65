//! Getting a segment transcoded by somebody: choose, pay, upload, verify, and try another one when it fails.
use std::sync::Arc;

use alloy_primitives::keccak256;
use streamflow_pm::Outcome;
use streamflow_types::{Price, Profile, VideoCodec, with_causes};
use streamflow_wire::{
    Refusal as Coded, SegmentRequest, TranscodeError, capability, header,
    proto::{OrchestratorInfo, OrchestratorRequest, TranscodeData, TranscodeResult, transcode_result},
    sign_segment,
};
use tokio::time::{Duration, Instant};
use url::Url;

use crate::{
    broadcaster::Core,
    client::{CallError, Deadlines, Submission},
    discovery::Candidate,
    error::{AttemptError, PaymentError, QuoteError, Refusal, SegmentError},
    metrics,
    orchestrators::Turn,
    segment::Segment,
    selection::Ask,
    session::{Paid, Purse, Quote, Session, complete},
    stream::LiveStream,
    verify::{Expected, Rendition, verify},
};

/// Pause before the same orchestrator is tried again for the same segment.
const SECOND_TRY: Duration = Duration::from_millis(500);

impl Core {
    /// Has a segment transcoded, by as many orchestrators as it takes up to the limit.
    pub(crate) async fn transcode(
        &self,
        stream: &LiveStream,
        segment: &Segment,
    ) -> Result<Vec<Rendition>, SegmentError> {
        let mut tried: Vec<Url> = Vec::new();
        let mut blaming_input = 0;
        let mut attempt = 1;
        loop {
            let (affinity, now) = (stream.affinity(), Instant::now());
            let turn = self.orchestrators.choose(Ask { affinity, segment: segment.duration, tried: &tried, now })?;
            let url = turn.candidate.url.clone();
            if tried.contains(&url) {
                tokio::time::sleep(SECOND_TRY).await;
            }
            let started = Instant::now();
            // Each attempt gets more time than the one before: where everybody is slow, a late segment is better than none.
            let deadlines =
                Deadlines::of_segment(segment.duration, self.config.timeout_multiplier.saturating_mul(attempt));
            let error = match self.attempt(stream, segment, &turn, deadlines).await {
                Ok(renditions) => {
                    turn.succeeded(started.elapsed(), Instant::now());
                    return Ok(renditions);
                }
                Err(error) => error,
            };
            tracing::warn!(%url, attempt, error = with_causes(&error), "attempt failed");
            metrics::attempt_failed(&error);
            if let Some(refusal) = hopeless(&error) {
                return Err(refusal.into());
            }
            match error.blames_input() {
                // One orchestrator's word is not enough to give up a segment that our own probe accepts.
                Some(text) => {
                    blaming_input += 1;
                    if blaming_input > 1 || self.orchestrators.len(Instant::now()) < 2 {
                        return Err(SegmentError::BadInput(text.to_owned()));
                    }
                }
                None => turn.failed(&error, Instant::now()),
            }
            if attempt >= self.config.max_attempts {
                return Err(SegmentError::AllFailed { attempts: attempt, url, last: Box::new(error) });
            }
            attempt += 1;
            stream.count(|counts| counts.retried += 1);
            self.count(|totals| totals.retried += 1);
            tried.push(url);
        }
    }

    /// One orchestrator's try. If it wants a newer quote than the one we have, it gets a second one at once.
    async fn attempt(
        &self,
        stream: &LiveStream,
        segment: &Segment,
        turn: &Turn,
        deadlines: Deadlines,
    ) -> Result<Vec<Rendition>, AttemptError> {
        let session = stream.session(self, &turn.candidate).await?;
        let first = self.attempt_on(stream, segment, &session, deadlines).await;
        match first {
            Err(error) if session.outlives(&error) && error.brought_new_params() => {
                self.attempt_on(stream, segment, &session, deadlines).await
            }
            Err(error) if error.wants_new_quote() => {
                tracing::debug!(url = %turn.candidate.url, error = with_causes(&error), "asking for a new quote");
                stream.forget(&session).await;
                let session = stream.session(self, &turn.candidate).await?;
                self.attempt_on(stream, segment, &session, deadlines).await
            }
            other => other,
        }
    }

    async fn attempt_on(
        &self,
        stream: &LiveStream,
        segment: &Segment,
        session: &Arc<Session>,
        deadlines: Deadlines,
    ) -> Result<Vec<Rendition>, AttemptError> {
        let done = self.submit_and_verify(stream, segment, session, deadlines).await;
        if let Err(error) = &done {
            self.note_verdict(&session.url, error);
        }
        if done.as_ref().is_err_and(|error| !session.outlives(error)) {
            stream.forget(session).await;
        }
        done
    }

    #[tracing::instrument(name = "attempt", skip_all, fields(session = session.token.session_id, orchestrator = %session.url))]
    pub(crate) async fn submit_and_verify(
        &self,
        stream: &LiveStream,
        segment: &Segment,
        session: &Session,
        deadlines: Deadlines,
    ) -> Result<Vec<Rendition>, AttemptError> {
        let mut request = self.segment_request(stream, segment, session)?;
        let (payment, paid) = session.pay(self.purse(), stream.budget(), &mut request).await?;
        let submission = Submission {
            base: session.service.clone(),
            segment: header::encode_segment(&request.to_proto()),
            payment,
            media: segment.media.clone(),
        };
        let result = self.client.submit(submission, deadlines).await;
        if result.as_ref().err().is_none_or(CallError::payment_may_have_left) {
            self.count_tickets(session, &paid);
        }
        let (data, receipt) = self.settle(session, paid, result).await?;
        let expected = Expected {
            profiles: stream.profiles(),
            source: &segment.info,
            duration: segment.duration,
            service: &session.service,
            signer: session.account,
            deadline: Instant::now() + deadlines.fetch,
            scrutiny: self.scrutiny(session, segment),
        };
        let checked = verify(&self.client, &self.checker, &expected, &data).await?;
        let receipt = self.take_receipt(stream, segment, session, &receipt, &checked.renditions).await?;
        if let Err(error) = self.judge(stream, segment, session, &checked).await {
            self.convict_receipt(receipt, &error).await;
            return Err(error.into());
        }
        Ok(checked.renditions)
    }

    fn segment_request(
        &self,
        stream: &LiveStream,
        segment: &Segment,
        session: &Session,
    ) -> Result<SegmentRequest, PaymentError> {
        let hash = keccak256(&segment.media);
        let profiles = stream.profiles().to_vec();
        let mut request = SegmentRequest::new(stream.name().clone(), segment.seq, hash, profiles, segment.millis());
        request.capabilities = Some(capability::job(VideoCodec::H264, stream.profiles(), false));
        request.auth_token = Some(session.token.clone());
        if let Some(payer) = &self.payer {
            sign_segment(&mut request, payer.signer()).map_err(|error| PaymentError::Sender(error.into()))?;
        }
        Ok(request)
    }

    /// Closes the payment by what the orchestrator answered, and takes its new params into use. The result comes with its
    /// receipt.
    async fn settle(
        &self,
        session: &Session,
        paid: Paid,
        result: Result<TranscodeResult, CallError>,
    ) -> Result<(TranscodeData, Vec<u8>), AttemptError> {
        let purse = self.purse();
        let result = match result {
            Ok(result) => result,
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
        let pixels = match &result.result {
            Some(transcode_result::Result::Data(data)) => billed_pixels(data),
            _ => 0,
        };
        complete(purse, session, paid, Outcome::Served { pixels }, true).await;
        if let Some(info) = result.info {
            self.renew(session, info).await;
        }
        match result.result {
            Some(transcode_result::Result::Data(data)) => Ok((data, result.receipt)),
            Some(transcode_result::Result::Error(text)) => {
                let text = TranscodeError::from_text(&text).to_string();
                Err(match result.refusal.as_ref().and_then(Coded::from_proto) {
                    Some(refusal) => AttemptError::Coded { text, refusal: Box::new(refusal) },
                    None => AttemptError::Orchestrator(text),
                })
            }
            None => Err(AttemptError::Orchestrator("no result".to_owned())),
        }
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
        let info = self.client.quote(&candidate.url, request, self.config.quote_timeout).await?;
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

/// Our own trouble, which no other orchestrator can help with.
fn hopeless(error: &AttemptError) -> Option<Refusal> {
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
