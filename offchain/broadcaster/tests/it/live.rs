//! Settings that change while streams are live.
use reqwest::StatusCode;
use streamflow_broadcaster::BroadcasterConfig;
use streamflow_types::Price;

use crate::{
    clip,
    fixture::Setup,
    orchestrator::{Conduct, FakeOrchestrator},
};

#[tokio::test]
async fn streams_that_begin_get_the_new_renditions_and_live_ones_keep_theirs() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    running.push_clip("before", 0).await;
    let fewer = BroadcasterConfig { profiles: clip::profiles().split_off(1), ..BroadcasterConfig::default() };
    running.handle.reconfigure(&fewer);
    running.push_clip("before", 1).await;
    running.push_clip("after", 0).await;
    let [before, after] = [running.text("/stream/before.m3u8").await, running.text("/stream/after.m3u8").await];
    assert!(before.contains("before/180p.m3u8") && before.contains("before/90p.m3u8"), "{before}");
    assert!(!after.contains("after/180p.m3u8") && after.contains("after/90p.m3u8"), "{after}");
    assert_eq!(running.get("/stream/before/180p/1.ts").await.status(), StatusCode::OK);
    assert_eq!(running.get("/stream/after/180p/0.ts").await.status(), StatusCode::NOT_FOUND);
    running.stop().await;
}

#[tokio::test]
async fn a_new_limit_on_prices_and_streams_holds_for_what_begins() {
    let orchestrator = FakeOrchestrator::start(1, Conduct::Honest, true).await;
    let running = Setup::new(&[orchestrator.url()]).start().await;
    running.push_clip("before", 0).await;
    let mut config = BroadcasterConfig { profiles: clip::profiles(), ..BroadcasterConfig::default() };
    config.payment.max_price = Some(Price::new(1, i64::MAX as u64).unwrap());
    running.handle.reconfigure(&config);
    running.push_clip("before", 1).await;
    let reply = running.push("/live/dear/0.ts", clip::segment(0)).await;
    let (status, text) = (reply.status(), reply.text().await.unwrap());
    assert!(!status.is_success() && text.contains("more than the maximum"), "{status}: {text}");

    config.payment.max_price = None;
    config.max_streams = 1;
    running.handle.reconfigure(&config);
    let reply = running.push("/live/third/0.ts", clip::segment(0)).await;
    let (status, text) = (reply.status(), reply.text().await.unwrap());
    assert!(status == StatusCode::SERVICE_UNAVAILABLE && text.contains("streams are live"), "{status}: {text}");
    running.stop().await;
}
