//! The webhook (payments.md §2.6).
use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::{FakeWebhook, START, Setup, info, next, request};

fn fixed() -> Value {
    request(&info((3, 1), 35), "fixed")
}

/// Each costs one ticket.
fn one_ticket() -> Value {
    request(&info((35, 1), 35), "fixed")
}

#[tokio::test]
async fn the_webhook_sees_headers_and_the_state_that_will_be() {
    let webhook = FakeWebhook::start(json!({ "status": 200 })).await;
    let signer = Setup::default()
        .with(|setup| {
            setup.config.auth.webhook = Some(webhook.url.clone());
            let secret = streamflow_types::Secret::new("Bearer swordfish");
            setup.config.auth.headers.extend([("Authorization".to_owned(), secret)]);
        })
        .start()
        .await;
    let reply = signer.pay_as(&fixed(), &[("X-Client", "one")]).await;
    let (headers, question) = webhook.asked().remove(0);
    assert_eq!(headers["authorization"], "Bearer swordfish");
    assert_eq!(question["headers"]["X-Client"], json!(["one"]));
    assert_eq!(question["state"], reply.ok().blob());
}

#[tokio::test]
async fn its_word_holds_until_it_expires() {
    let webhook = FakeWebhook::start(json!({ "status": 200, "expiry": START + 100, "auth_id": "a" })).await;
    let signer = webhook.signer().await;
    let first = signer.pay(&one_ticket()).await;
    signer.advance(Duration::from_secs(100));
    let second = signer.pay(&next(one_ticket(), first.ok())).await;
    assert_eq!(second.ok().blob()["AuthID"], "a");
    assert_eq!(webhook.asked().len(), 1);
    signer.advance(Duration::from_secs(1));
    signer.pay(&next(one_ticket(), &second)).await.ok();
    assert_eq!(webhook.asked().len(), 2);
}

#[tokio::test]
async fn without_an_expiry_it_is_asked_every_time() {
    let webhook = FakeWebhook::start(json!({ "status": 200 })).await;
    let signer = webhook.signer().await;
    let first = signer.pay(&fixed()).await;
    signer.pay(&next(fixed(), first.ok())).await.ok();
    assert_eq!(webhook.asked().len(), 2);
}

#[tokio::test]
async fn an_answer_that_is_no_decision_is_a_masked_failure() {
    let webhook = FakeWebhook::start(json!({})).await;
    let signer = webhook.signer().await;
    for (status, answer) in [(200, json!({})), (200, json!("yes")), (204, json!({ "status": 200 })), (500, json!({}))] {
        webhook.answer(status, answer);
        assert_eq!(signer.pay(&fixed()).await.refused(), (500, "Internal Server Error"));
    }
    webhook.answer(200, json!({ "status": 418 }));
    let text = "signer auth rejected request with status 418";
    assert_eq!(signer.pay(&fixed()).await.refused(), (418, text));
}

#[tokio::test]
async fn its_ceiling_holds_for_the_request_that_it_was_asked_about() {
    let webhook = FakeWebhook::start(json!({})).await;
    let signer = webhook.signer().await;
    let with_ceiling = |unit: &str, wei: f64| json!({ "status": 200, "expiry": START + 100, "maxPrice": { "price": wei, "currency": "wei", "unit": unit } });
    webhook.answer(200, with_ceiling("fixed", 2.5));
    let text = "orchestrator price 3/1 wei per pixel exceeds webhook ceiling 5/2";
    assert_eq!(signer.pay(&fixed()).await.refused(), (481, text));
    webhook.answer(200, with_ceiling("seconds", 5.0));
    assert_eq!(signer.pay(&fixed()).await.status, 502);
    webhook.answer(200, with_ceiling("fixed", 3.0));
    let first = signer.pay(&fixed()).await;
    signer.pay(&next(fixed(), first.ok())).await.ok();
    assert_eq!(webhook.asked().len(), 3);
}

#[tokio::test]
async fn a_webhook_that_is_away_lets_nobody_pass() {
    let url = "http://127.0.0.1:1/".parse().unwrap();
    let signer = Setup::default().with(|setup| setup.config.auth.webhook = Some(url)).start().await;
    assert_eq!(signer.pay(&fixed()).await.refused(), (500, "Internal Server Error"));
}
