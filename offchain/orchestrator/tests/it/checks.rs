//! Every check of POST /segment, in its order, with status and text (node.md §2.4, §11.6).
use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::stream;
use streamflow_orchestrator::{LimitsConfig, MaxSessions, OrchestratorConfig, Transcode};
use streamflow_pm::{Payment, TicketSigner};
use streamflow_types::Signature65;
use streamflow_wire::{
    Offer, SegmentRequest, capability, header, payment_to_proto,
    proto::{self, SegParameters},
};

use crate::{
    fixture::{Broadcaster, Draft, Running, World, config, view},
    paid::Liar,
};

pub(crate) const BODY: &[u8] = b"any bytes: nothing looks into them before they are taken";

/// A good request, to be spoilt.
pub(crate) struct Case {
    pub(crate) world: World,
    pub(crate) orchestrator: Running,
    pub(crate) broadcaster: Broadcaster,
    pub(crate) offer: Offer,
}

impl Case {
    pub(crate) async fn new() -> Self {
        Self::with(config()).await
    }

    pub(crate) async fn with(config: OrchestratorConfig) -> Self {
        Self::of(World::new().await, config).await
    }

    /// Where somebody does the work.
    async fn with_local(config: OrchestratorConfig) -> Self {
        let local: Arc<dyn Transcode> = Arc::new(Liar(100));
        Self::of(World { local: Some(local), ..World::new().await }, config).await
    }

    pub(crate) async fn of(world: World, config: OrchestratorConfig) -> Self {
        let orchestrator = world.start_with(config).await;
        let broadcaster = Broadcaster::new(&orchestrator);
        let offer = broadcaster.offer(&orchestrator).await;
        Self { world, orchestrator, broadcaster, offer }
    }

    pub(crate) fn request(&self) -> SegmentRequest {
        self.broadcaster.request(&self.offer, 0, BODY)
    }

    pub(crate) fn draft(&self, payment: &Payment, request: &SegmentRequest) -> Draft {
        self.broadcaster.draft(&self.orchestrator, payment, request)
    }

    pub(crate) fn good(&self) -> Draft {
        self.draft(&self.broadcaster.pay(&self.offer, 1), &self.request())
    }

    async fn refused(&self, draft: Draft, status: u16, text: &str) {
        let reply = self.broadcaster.send(&draft, BODY).await;
        assert_eq!((reply.status, reply.text()), (status, text));
    }

    async fn refused_segment(&self, change: impl FnOnce(&mut SegmentRequest), status: u16, text: &str) {
        let mut request = self.request();
        change(&mut request);
        self.broadcaster.sign(&mut request);
        self.refused(self.draft(&self.broadcaster.pay(&self.offer, 1), &request), status, text).await;
    }

    async fn refused_data(&self, change: impl FnOnce(&mut proto::SegData), status: u16, text: &str) {
        let mut data = self.request().to_proto();
        change(&mut data);
        let draft = Draft { segment: header::encode_segment(&data), ..self.good() };
        self.refused(draft, status, text).await;
    }

    async fn refused_payment(&self, change: impl FnOnce(&mut Payment), status: u16, text: &str) {
        let mut payment = self.broadcaster.pay(&self.offer, 1);
        change(&mut payment);
        self.refused(self.draft(&payment, &self.request()), status, text).await;
    }
}

#[tokio::test]
async fn good_request_passes_every_check() {
    let case = Case::new().await;
    let reply = case.broadcaster.send(&case.good(), BODY).await;
    // No transcoder is connected: that comes after the last check.
    assert_eq!(reply.error(), "no transcoders available");
}

#[tokio::test]
async fn unreadable_payment_is_402() {
    let case = Case::new().await;
    let with = |payment: String| Draft { payment, ..case.good() };
    let reply = case.broadcaster.send(&with("!".into()), BODY).await;
    assert_eq!(reply.status, 402);
    assert!(reply.text().starts_with("base64 decode error: "), "{}", reply.text());
    let reply = case.broadcaster.send(&with(STANDARD.encode([0xff; 9])), BODY).await;
    assert_eq!(reply.status, 402);
    assert!(reply.text().starts_with("protobuf unmarshal error: "), "{}", reply.text());
}

/// HTTP/2 of today closes a connection, with all that is on it, for a hundred empty frames.
#[tokio::test]
async fn hundreds_of_refusals_leave_the_connection_to_the_other_segments() {
    let case = Case::new().await;
    let junk = Draft { segment: "!".into(), ..case.good() };
    for _ in 0..300 {
        let reply = case.broadcaster.send(&junk, BODY).await;
        assert_eq!((reply.status, reply.text()), (403, "ErrorSegEncoding"));
    }
}

#[tokio::test]
async fn unreadable_segment_data_is_403() {
    let case = Case::new().await;
    case.refused(Draft { segment: "!".into(), ..case.good() }, 403, "ErrorSegEncoding").await;
    let junk = Draft { segment: STANDARD.encode([0xff; 9]), ..case.good() };
    assert_eq!(case.broadcaster.send(&junk, BODY).await.status, 403);
    let profile =
        |change: fn(&mut proto::VideoProfile)| move |data: &mut proto::SegData| change(&mut data.full_profiles[0]);
    case.refused_data(profile(|p| p.format = 9), 403, "unrecognized profile output format").await;
    case.refused_data(profile(|p| p.profile = 9), 403, "unrecognized encoder profile").await;
    case.refused_data(profile(|p| p.encoder = 9), 403, "unrecognized video codec").await;
    case.refused_data(|data| data.duration = -1, 403, "invalid duration").await;
    case.refused_data(|data| data.duration = 300_001, 403, "invalid duration").await;
    case.refused_data(profile(|p| p.name = "../x".into()), 403, "profile name \"../x\" is not usable").await;
}

#[tokio::test]
async fn segment_not_signed_by_the_payer_is_403() {
    let case = Case::new().await;
    case.refused_data(|data| data.seq += 1, 403, "ErrSegSig").await;
    case.refused_data(|data| data.sig.clear(), 403, "ErrSegSig").await;
    let stranger = Broadcaster::with_key(&case.orchestrator, 0x0c);
    let mut request = case.request();
    stranger.sign(&mut request);
    case.refused(case.draft(&case.broadcaster.pay(&case.offer, 1), &request), 403, "ErrSegSig").await;
    // Nobody pays, so nobody can have signed.
    case.refused(Draft { payment: String::new(), ..case.good() }, 403, "ErrSegSig").await;
}

#[tokio::test]
async fn job_that_cannot_be_done_is_403() {
    let case = Case::new().await;
    let text = "incompatible capabilities";
    case.refused_segment(|r| r.capabilities.as_mut().unwrap().bitstring[0] |= 1 << 5, 403, text).await;
    case.refused_segment(|r| r.capabilities.as_mut().unwrap().bitstring[0] |= 1 << 16, 403, text).await;
    case.refused_segment(|r| r.capabilities.as_mut().unwrap().bitstring.push(1), 403, text).await;
    case.refused_segment(|r| r.capabilities = Some(capability::legacy()), 403, text).await;
    case.refused_segment(|r| r.clip = Some(SegParameters { from: 100, to: 900 }), 403, text).await;
    case.refused_segment(|r| r.storage = vec![proto::OsInfo { storage_type: 1, s3info: None }], 403, text).await;
}

#[tokio::test]
async fn session_token_is_checked() {
    let case = Case::new().await;
    case.refused_segment(|r| r.auth_token = None, 403, "missing auth token").await;
    let forge = |r: &mut SegmentRequest| r.auth_token.as_mut().unwrap().session_id = "00000000".into();
    case.refused_segment(forge, 403, "invalid auth token").await;
    let extend = |r: &mut SegmentRequest| r.auth_token.as_mut().unwrap().expiration += 1;
    case.refused_segment(extend, 403, "invalid auth token").await;
    case.world.time.fetch_add(1800, std::sync::atomic::Ordering::SeqCst);
    case.refused_segment(|_| {}, 403, "expired auth token").await;
}

#[tokio::test]
async fn payment_that_is_malformed_inside_is_400() {
    let case = Case::new().await;
    let refused = async |change: fn(&mut proto::Payment), text| {
        let mut payment = payment_to_proto(&case.broadcaster.pay(&case.offer, 1));
        change(&mut payment);
        let draft = Draft { payment: header::encode_payment(&payment), ..case.good() };
        case.refused(draft, 400, text).await;
    };
    refused(|p| p.expiration_params = None, "payment has ticket params but no expiration params").await;
    refused(|p| p.ticket_params = None, "payment has tickets but no ticket params").await;
    refused(|p| p.ticket_sender_params[0].sig.truncate(64), "invalid ticket signature").await;
    refused(
        |p| p.expected_price.as_mut().unwrap().pixels_per_unit = 0,
        "invalid expected price sent with payment err=pixels per unit is 0",
    )
    .await;
    let negative = "invalid expected price sent with payment err=negative price";
    refused(|p| p.expected_price.as_mut().unwrap().price_per_unit = -1, negative).await;
    refused(|p| p.expected_price = None, "invalid expected price sent with payment err=expected price is nil").await;
}

#[tokio::test]
async fn ticket_that_was_not_quoted_is_400() {
    let case = Case::new().await;
    let not_quoted = "invalid recipientRand for ticket recipientRandHash";
    case.refused_payment(|p| p.params.as_mut().unwrap().recipient.0[0] ^= 1, 400, "invalid ticket recipient").await;
    case.refused_payment(|p| p.params.as_mut().unwrap().face_value += one(), 400, not_quoted).await;
    case.refused_payment(|p| p.params.as_mut().unwrap().win_prob.0 -= one(), 400, not_quoted).await;
    case.refused_payment(|p| p.params.as_mut().unwrap().expiration_block += 1, 400, not_quoted).await;
    case.refused_payment(|p| p.expected_price = "1".parse().ok(), 400, not_quoted).await;
    case.refused_payment(|p| p.expected_price = "0".parse().ok(), 400, not_quoted).await;
    let forge = |p: &mut Payment| {
        let mut sig = *p.tickets[0].sig.as_bytes();
        sig[40] ^= 1;
        p.tickets[0].sig = Signature65::new(sig);
    };
    case.refused_payment(forge, 400, "invalid ticket signature").await;
    assert_eq!(case.world.winners().await, 0);
}

fn one() -> alloy_primitives::U256 {
    alloy_primitives::U256::ONE
}

#[tokio::test]
async fn replayed_ticket_is_400() {
    let case = Case::new().await;
    let draft = case.good();
    assert_eq!(case.broadcaster.send(&draft, BODY).await.status, 200);
    case.refused(draft, 400, "invalid ticket senderNonce: already seen 1 for these params").await;
}

#[tokio::test]
async fn ticket_on_expired_params_is_400() {
    let case = Case::new().await;
    let draft = case.good();
    case.world.chain.send_modify(|chain| chain.as_mut().unwrap().block = view().block + 40);
    case.refused(draft, 400, "TicketParams expired").await;
}

#[tokio::test]
async fn inactive_orchestrator_gives_no_credit_but_keeps_winners() {
    let case = Case::new().await;
    let draft = case.draft(&case.broadcaster.pay(&case.offer, 30), &case.request());
    case.world.active.send_replace(false);
    let account = crate::fixture::orchestrator_key().address();
    let text = format!("orchestrator {account} is inactive in round 10, cannot process payments");
    case.refused(draft, 400, &text).await;
    assert!(case.world.winners().await > 0);
    let unpaid = Payment::without_tickets(case.broadcaster.address(), case.offer.price);
    case.refused(case.draft(&unpaid, &case.request()), 400, "Insufficient balance").await;
}

#[tokio::test]
async fn work_without_credit_is_400() {
    let case = Case::new().await;
    let payment = Payment::without_tickets(case.broadcaster.address(), case.offer.price);
    case.refused(case.draft(&payment, &case.request()), 400, "Insufficient balance").await;
}

#[tokio::test]
async fn sender_without_reserve_gets_no_terms_but_its_winners_are_kept() {
    let case = Case::new().await;
    let draft = case.draft(&case.broadcaster.pay(&case.offer, 30), &case.request());
    case.world.funds.set(|funds| funds.reserve = Default::default());
    let reply = case.broadcaster.send(&draft, "").await;
    assert_eq!(reply.status, 400);
    assert!(reply.text().starts_with("LowPMBalance: insufficient sender reserve: "), "{}", reply.text());
    assert!(case.world.winners().await > 0);
}

#[tokio::test]
async fn body_with_another_hash_is_403() {
    let case = Case::new().await;
    let reply = case.broadcaster.send(&case.good(), "other bytes").await;
    assert_eq!((reply.status, reply.text()), (403, "Forbidden"));
}

#[tokio::test]
async fn body_of_400_mb_is_500_without_being_read() {
    let case = Case::new().await;
    let megabyte = Bytes::from(vec![0; 1_000_000]);
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&sent);
    let chunks = stream::iter((0..400).map(move |_| {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok::<_, std::convert::Infallible>(megabyte.clone())
    }));
    let draft = case.good();
    let request = case.broadcaster.http.post(&draft.url).header(header::PAYMENT, &draft.payment);
    let request = request.header(header::SEGMENT, &draft.segment).header("Content-Length", 400_000_000);
    let response = request.body(reqwest::Body::wrap_stream(chunks)).send().await.unwrap();
    assert_eq!(response.status(), 500);
    let read = sent.load(std::sync::atomic::Ordering::SeqCst);
    assert!(read < 50, "{read} MB were sent");
}

#[tokio::test]
async fn body_of_unknown_length_is_500_once_it_passes_the_limit() {
    let limits = LimitsConfig { max_segment_bytes: 1_000_000, ..Default::default() };
    let case = Case::with(OrchestratorConfig { limits, ..config() }).await;
    let chunks = stream::iter((0..400).map(|_| Ok::<_, std::convert::Infallible>(Bytes::from(vec![0; 100_000]))));
    let reply = case.broadcaster.send(&case.good(), reqwest::Body::wrap_stream(chunks)).await;
    assert_eq!((reply.status, reply.text()), (500, "Internal Server Error"));
}

#[tokio::test]
async fn url_instead_of_bytes_is_refused_unless_allowed() {
    let case = Case::new().await;
    let draft = case.good();
    let request = case.broadcaster.http.post(&draft.url).header(header::PAYMENT, &draft.payment);
    let request = request.header(header::SEGMENT, &draft.segment).header("Content-Type", header::SEGMENT_URI);
    let response = request.body("http://127.0.0.1:9/segment.ts").send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(response.text().await.unwrap(), "BadRequest");
}

#[tokio::test]
async fn url_is_fetched_where_allowed() {
    let case = Case::with(OrchestratorConfig { fetch_segments_by_url: true, ..config() }).await;
    let origin = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/segment.ts", origin.local_addr().unwrap());
    let routes = axum::Router::new().route("/segment.ts", axum::routing::get(|| async { BODY }));
    let serving = tokio::spawn(async move { axum::serve(origin, routes).await });
    let draft = case.good();
    let send = async |draft: &Draft, url: String| {
        let request = case.broadcaster.http.post(&draft.url).header(header::PAYMENT, &draft.payment);
        let request = request.header(header::SEGMENT, &draft.segment).header("Content-Type", header::SEGMENT_URI);
        request.body(url).send().await.unwrap().status()
    };
    assert_eq!(send(&draft, url.clone()).await, 200);
    assert_eq!(send(&case.good(), url.replace("segment.ts", "none.ts")).await, 400);
    assert_eq!(send(&case.good(), "http://127.0.0.1:9/".into()).await, 400);
    assert_eq!(send(&case.good(), "file:///etc/hostname".into()).await, 400);
    serving.abort();
}

#[tokio::test]
async fn session_beyond_the_limit_is_403_and_open_ones_go_on() {
    let case = Case::with_local(OrchestratorConfig { max_sessions: MaxSessions::AtMost(1), ..config() }).await;
    let other = case.broadcaster.offer(&case.orchestrator).await;
    assert_eq!(case.broadcaster.segment(&case.orchestrator, &case.offer, 1, 0, &BODY.into()).await.status, 200);
    assert_eq!(case.orchestrator.handle.open_sessions(), 1);
    let another = case.broadcaster.request_of("other", &other, 0, BODY);
    case.refused(case.draft(&case.broadcaster.pay(&other, 1), &another), 403, "OrchestratorCapped").await;
    assert_eq!(case.broadcaster.segment(&case.orchestrator, &case.offer, 1, 1, &BODY.into()).await.status, 200);
}
