//! A19 of payments.md §6: replayed states, a webhook that is passed by, another client's name; and what else §2.8 lists.
use std::time::{Duration, Instant};

use alloy_primitives::{Address, U256};
use futures::future::join_all;
use serde_json::{Value, json};
use streamflow_pm::{QuoteDomain, QuoteRequest, QuoteSecret, Recipient, RecipientConfig, TicketPolicy};
use streamflow_signer::FenceKind;
use streamflow_types::{Price, TicketParams};
use streamflow_wire::{Offer, proto};

use crate::fixture::{
    FakeWebhook, ORCHESTRATOR, Reply, Running, Setup, active, blob, funds, info, next, request, view,
};

/// Each piece of fixed work costs one ticket.
const PRICE: (u64, u64) = (35, 1);

fn fixed() -> Value {
    request(&info(PRICE, 35), "fixed")
}

async fn fenced() -> Running {
    Setup::default().with(|setup| setup.config.fence = FenceKind::Memory).start().await
}

/// An orchestrator's desk, as orchestrators of ours have it.
struct Desk(Recipient);

impl Desk {
    fn new() -> Self {
        let policy = TicketPolicy { ev: U256::from(35), redeem_gas: 10, ..TicketPolicy::default() };
        let domain = QuoteDomain { chain_id: 1, broker: Address::repeat_byte(0xbb) };
        Self(Recipient::new(RecipientConfig::new(ORCHESTRATOR, domain, policy), QuoteSecret::new([7; 32])))
    }

    fn quote(&self, signer: &Running) -> proto::OrchestratorInfo {
        let (chain, funds) = (view(), funds());
        let request = QuoteRequest {
            sender: signer.handle.status().sender,
            price: Price::new(PRICE.0, PRICE.1).unwrap(),
            funds: &funds,
            pending: U256::ZERO,
            gas_price: 1000,
            chain: &chain,
        };
        let params: TicketParams = self.0.quote(&request, None, &mut rand::rng()).unwrap();
        let offer = Offer { params: Some(params), ..Offer::from_proto(info(PRICE, 35)).unwrap() };
        offer.to_proto()
    }

    /// Tickets credited, and whether all were.
    fn receive(&self, reply: &Reply) -> (usize, bool) {
        let receipt = self.0.receive(&reply.payment(), "stream", &funds(), &view(), Instant::now());
        (receipt.credited, receipt.error.is_none())
    }
}

/// Without the fence the signer answers each, with the same numbers: the orchestrator credits one of them.
#[tokio::test]
async fn a19_concurrent_requests_on_one_state_are_credited_once() {
    let (signer, desk) = (Setup::default().start().await, Desk::new());
    let body = request(&desk.quote(&signer), "fixed");
    let first = signer.pay(&body).await;
    assert_eq!(desk.receive(&first), (1, true));
    let body = next(body, &first);
    let replies = join_all((0..8).map(|_| signer.pay(&body))).await;
    for reply in &replies {
        assert_eq!((reply.nonces(), reply.blob()), (vec![2], replies[0].blob()));
    }
    let received: Vec<_> = replies.iter().map(|reply| desk.receive(reply)).collect();
    assert_eq!(received.iter().filter(|(credited, all)| *credited == 1 && *all).count(), 1, "{received:?}");
    assert_eq!(received.iter().filter(|(credited, _)| *credited == 0).count(), 7, "{received:?}");
    // Whichever answer the client goes on with, the session goes on.
    let third = signer.pay(&next(body, &replies[5])).await;
    assert_eq!(desk.receive(&third), (1, true));
}

#[tokio::test]
async fn a19_concurrent_requests_on_one_state_are_paid_once_behind_the_fence() {
    let signer = fenced().await;
    let first = signer.pay(&fixed()).await;
    let body = next(fixed(), first.ok());
    let replies = join_all((0..8).map(|_| signer.pay(&body))).await;
    let paid: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
    assert_eq!(paid.len(), 1);
    assert!(
        replies
            .iter()
            .filter(|reply| reply.status != 200)
            .all(|reply| { reply.refused() == (409, "state was paid on before") })
    );
    signer.pay(&next(fixed(), paid[0])).await.ok();
}

#[tokio::test]
async fn a19_an_old_state_is_refused_behind_the_fence() {
    let signer = fenced().await;
    let first = signer.pay(&fixed()).await;
    let second = signer.pay(&next(fixed(), &first)).await;
    signer.pay(&next(fixed(), second.ok())).await.ok();
    for old in [&first, &second] {
        assert_eq!(signer.pay(&next(fixed(), old)).await.status, 409);
    }
}

/// A client that keeps the older of two states, as Go's does, is not locked out; only one of the two is paid on.
#[tokio::test]
async fn a19_the_state_before_a_482_and_the_one_after_it_are_paid_on_once() {
    for use_advanced in [true, false] {
        let signer = fenced().await;
        let terms = info((1, 27_648_000), 35);
        let body = || request(&terms, "lv2v");
        let first = signer.pay(&body()).await;
        signer.advance(Duration::from_secs(5));
        let second = signer.pay(&next(body(), first.ok())).await;
        signer.advance(Duration::from_secs(5));
        let waiting = signer.pay(&next(body(), second.ok())).await;
        assert_eq!(waiting.status, 482);
        signer.advance(Duration::from_secs(60));
        let (used, other) = if use_advanced { (&waiting, &second) } else { (&second, &waiting) };
        signer.pay(&next(body(), used)).await.ok();
        assert_eq!(signer.pay(&next(body(), other)).await.status, 409);
    }
}

/// The signer cannot know what reached the orchestrator, but what it spends for a client has an end.
#[tokio::test]
async fn a19_replays_are_charged_to_the_clients_budget() {
    let signer = Setup::default().with(|setup| setup.config.budget.max_spend = U256::from(5 * 35)).start().await;
    let first = signer.pay_as(&fixed(), &[("Signer-Auth-Id", "alice")]).await;
    let body = next(fixed(), first.ok());
    for _ in 0..4 {
        signer.pay(&body).await.ok();
    }
    let reply = signer.pay(&body).await;
    let text = "spend budget of 175 wei is used up: 175 wei spent, 35 wei wanted";
    assert_eq!(reply.refused(), (403, text));
    signer.pay_as(&fixed(), &[("Signer-Auth-Id", "bob")]).await.ok();
    signer.advance(Duration::from_secs(24 * 3600));
    let mut later = info(PRICE, 35);
    later.auth_token.as_mut().unwrap().expiration += 24 * 3600;
    signer.pay_as(&request(&later, "fixed"), &[("Signer-Auth-Id", "alice")]).await.ok();
}

#[tokio::test]
async fn a19_payments_of_one_client_have_a_rate() {
    let signer = Setup::default().with(|setup| setup.config.budget.max_payments_per_minute = 2).start().await;
    let paid = async || signer.pay(&fixed()).await.status;
    assert_eq!([paid().await, paid().await, paid().await], [200, 200, 429]);
    signer.advance(Duration::from_secs(60));
    assert_eq!(paid().await, 200);
}

#[tokio::test]
async fn a19_nothing_is_signed_for_a_client_that_the_webhook_refuses() {
    let webhook = FakeWebhook::start(json!({ "status": 403, "reason": "unknown client" })).await;
    let signer = webhook.signer().await;
    let signed = signer.key.signed();
    let reply = signer.pay(&fixed()).await;
    assert_eq!(reply.refused(), (403, "unknown client"));
    assert!(reply.body.get("state").is_none() && reply.body.get("payment").is_none());
    assert_eq!(signer.key.signed(), signed);
    assert_eq!(webhook.asked().len(), 1);
    // The name that it sees has the numbers that would have been used.
    assert_eq!(webhook.asked()[0].1["state"]["SenderNonce"], 1);
    webhook.answer(200, json!({ "status": 200 }));
    assert_eq!(signer.pay(&fixed()).await.nonces(), [1]);
}

/// A state that never passed the webhook does not pass by it: its expiry is 0.
#[tokio::test]
async fn a19_a_state_gained_without_the_webhook_is_asked_about() {
    let webhook = FakeWebhook::start(json!({ "status": 403 })).await;
    let signer = webhook.signer().await;
    let mut worthless = info(PRICE, 35);
    worthless.ticket_params.as_mut().unwrap().win_prob.clear();
    let free = signer.pay(&request(&worthless, "fixed")).await;
    assert_eq!(free.status, 482);
    assert_eq!(signer.pay(&next(fixed(), &free)).await.status, 403);
    assert_eq!(webhook.asked().len(), 1);
}

#[tokio::test]
async fn a19_a_session_cannot_be_moved_to_another_client() {
    let webhook = FakeWebhook::start(json!({ "status": 200, "auth_id": "alice" })).await;
    let signer = webhook.signer().await;
    // What the webhook says counts, whatever a header claims.
    let first = signer.pay_as(&fixed(), &[("Signer-Auth-Id", "mallory")]).await;
    assert_eq!(first.ok().blob()["AuthID"], "alice");
    webhook.answer(200, json!({ "status": 200, "auth_id": "bob" }));
    let signed = signer.key.signed();
    assert_eq!(signer.pay(&next(fixed(), &first)).await.refused(), (500, "Internal Server Error"));
    webhook.answer(200, json!({ "status": 200 }));
    let spoofed = signer.pay_as(&next(fixed(), &first), &[("Signer-Auth-Id", "bob")]).await;
    assert_eq!(spoofed.status, 500);
    assert_eq!(signer.key.signed(), signed);
    assert_eq!(signer.pay(&next(fixed(), &first)).await.ok().blob()["AuthID"], "alice");
}

#[tokio::test]
async fn a19_a_header_cannot_change_the_client_while_the_webhook_is_not_asked() {
    let webhook = FakeWebhook::start(json!({ "status": 200, "expiry": 4_000_000_000_i64, "auth_id": "alice" })).await;
    let signer = webhook.signer().await;
    let first = signer.pay(&fixed()).await;
    let spoofed = signer.pay_as(&next(fixed(), first.ok()), &[("Signer-Auth-Id", "bob")]).await;
    assert_eq!(spoofed.status, 500);
    assert_eq!(webhook.asked().len(), 1);
}

/// The signed address is the same for all and says nothing of who asks.
#[tokio::test]
async fn a19_the_static_signature_authorises_nothing() {
    let webhook = FakeWebhook::start(json!({ "status": 401 })).await;
    let signer = webhook.signer().await;
    let reply = signer.http.post(format!("{}/sign-orchestrator-info", signer.url)).send().await.unwrap();
    let identity: Value = reply.json().await.unwrap();
    let bearer = identity["signature"].as_str().unwrap();
    assert_eq!(signer.pay_as(&fixed(), &[("Authorization", bearer)]).await.status, 401);
}

#[tokio::test]
async fn a19_an_invented_orchestrator_is_not_paid() {
    let signer = Setup::default().with(|setup| setup.roster = Some(active(&[Address::repeat_byte(1)]))).start().await;
    let reply = signer.pay(&fixed()).await;
    assert_eq!(reply.status, 400);
    assert!(reply.refused().1.contains("is not an active orchestrator"));
    let anyone = Setup::default().with(|setup| setup.config.require_active = false).start().await;
    anyone.pay(&fixed()).await.ok();
}

#[tokio::test]
async fn a19_a_ticket_of_too_much_value_is_not_signed() {
    let signer = Setup::default().with(|setup| setup.config.tickets.max_ticket_ev = U256::from(34)).start().await;
    let reply = signer.pay(&fixed()).await;
    let text = "remote signer could not check whether to refresh session: ticket EV 35 > max ticket EV 34";
    assert_eq!(reply.refused(), (400, text));
}

#[tokio::test]
async fn a19_bodies_are_bounded() {
    let signer = Setup::default().start().await;
    let mut body = fixed();
    body["padding"] = "x".repeat(1 << 20).into();
    assert_eq!(signer.pay(&body).await.refused(), (413, "request body is larger than 1048576 bytes"));
    body["padding"] = "x".repeat(900_000).into();
    signer.pay(&body).await.ok();
    let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep = signer.http.post(format!("{}/generate-live-payment", signer.url)).body(nested).send().await.unwrap();
    assert_eq!(deep.status(), 400);
}

#[tokio::test]
async fn a19_requests_under_way_are_bounded() {
    let stalled = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}/", stalled.local_addr().unwrap());
    let signer = Setup::default()
        .with(|setup| {
            setup.config.max_requests = 2;
            setup.config.auth.webhook = Some(silent.parse().unwrap());
            setup.config.auth.timeout = Duration::from_millis(500);
        })
        .start()
        .await;
    let body = fixed();
    let mut statuses: Vec<_> = join_all((0..5).map(|_| signer.pay(&body))).await.iter().map(|r| r.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [500, 500, 503, 503, 503]);
}

/// A replay at another price does not make the balance of the first session.
#[tokio::test]
async fn a19_a_state_cannot_be_changed() {
    let signer = Setup::default().start().await;
    let first = signer.pay(&fixed()).await;
    let rich = signer.state(&blob("1000000", PRICE));
    let mut body = next(fixed(), first.ok());
    body["state"]["State"] = rich["State"].clone();
    assert_eq!(signer.pay(&body).await.refused(), (400, "invalid sig"));
}
