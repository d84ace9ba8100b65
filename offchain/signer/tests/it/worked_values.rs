//! The published values (payments.md §2.7).
use std::time::Duration;

use serde_json::json;

use crate::fixture::{Setup, blob, info, next, request};

#[tokio::test]
async fn pixels_are_paid_to_the_last_fraction_of_a_wei() {
    let signer = Setup::default().start().await;
    let mut body = request(&info((150, 175), 35), "");
    body["inPixels"] = 1000.into();
    let first = signer.pay(&body).await;
    assert_eq!(first.outcome(), (25, "125/7".into()));
    body["inPixels"] = 2500.into();
    let second = signer.pay(&next(body, &first)).await;
    assert_eq!(second.outcome(), (61, "10".into()));
    assert_eq!(second.nonces(), (26..=86).collect::<Vec<_>>());
    signer.stop().await;
}

#[tokio::test]
async fn one_pixel_of_a_high_price_takes_nine_tickets() {
    let signer = Setup::default().start().await;
    let mut body = request(&info((300, 1), 35), "");
    body["inPixels"] = 1.into();
    assert_eq!(signer.pay(&body).await.outcome(), (9, "15".into()));
}

#[tokio::test]
async fn seconds_are_paid_ahead_by_ten_and_then_as_they_pass() {
    let signer = Setup::default().start().await;
    let body = request(&info((3, 1), 35), "live");
    let first = signer.pay(&body).await;
    assert_eq!(first.outcome(), (1, "5".into()));
    signer.advance(Duration::from_secs(12));
    let second = signer.pay(&next(body, &first)).await;
    assert_eq!(second.outcome(), (1, "4".into()));
    assert_eq!(second.nonces(), [2]);
}

#[tokio::test]
async fn fixed_work_is_paid_once() {
    let signer = Setup::default().start().await;
    assert_eq!(signer.pay(&request(&info((3, 1), 3), "fixed")).await.outcome(), (1, "0".into()));
}

#[tokio::test]
async fn live_video_begins_with_a_minute_of_pixels() {
    let signer = Setup::default().start().await;
    let first = signer.pay(&request(&info((1, 1_000_000), 35), "lv2v")).await;
    // 1,658,880,000 pixels cost 1658.88 wei: 48 tickets of 35 leave 21.12.
    assert_eq!(first.outcome(), (48, "528/25".into()));
}

#[tokio::test]
async fn a_state_that_holds_enough_gets_no_tickets() {
    let signer = Setup::default().start().await;
    let mut body = request(&info((1, 1), 35), "");
    body["inPixels"] = 3.into();
    body["state"] = signer.state(&blob("1000", (1, 1)));
    let reply = signer.pay(&body).await;
    assert_eq!(reply.refused(), (482, "no tickets"));
    assert_eq!(reply.blob()["Balance"], "997");
}

#[tokio::test]
async fn a_ceiling_is_an_exact_decimal() {
    let signer = Setup::default().start().await;
    let mut body = request(&info((506, 5), 35), "fixed");
    body["maxPrice"] = json!({ "price": 101.2, "currency": "wei", "unit": "fixed" });
    signer.pay(&body).await.ok();
    body["orchestrator"] = crate::fixture::encoded(&info((507, 5), 35));
    let reply = signer.pay(&body).await;
    let text = "orchestrator price 507/5 wei per pixel exceeds request ceiling 506/5";
    assert_eq!(reply.refused(), (481, text));
}
