//! What the log must not tell.
use std::{
    io,
    sync::{Arc, Mutex},
};

use serde_json::json;
use streamflow_types::Secret;
use tracing_subscriber::fmt::MakeWriter;

use crate::fixture::{FakeWebhook, Setup, info, next, request};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn neither_credentials_nor_signatures_are_logged() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_env_filter("streamflow_signer=trace").with_writer(log.clone());
    // For all tests of this program: whoever meets a log line first decides whether it is written at all.
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    let webhook = FakeWebhook::start(json!({ "status": 200, "auth_id": "alice" })).await;
    let mut url = webhook.url.clone();
    url.set_query(Some("key=webhookkey"));
    let signer = Setup::default()
        .with(|setup| {
            setup.config.auth.webhook = Some(url);
            setup.config.auth.headers.extend([("Authorization".to_owned(), Secret::new("hooksecret"))]);
        })
        .start()
        .await;
    let body = request(&info((35, 1), 35), "fixed");
    let bearer = [("Authorization", "Bearer clientsecret")];
    let first = signer.pay_as(&body, &bearer).await;
    let mut forged = next(body.clone(), first.ok());
    forged["state"]["Sig"] = forged["state"]["State"].clone();
    assert_eq!(signer.pay_as(&forged, &bearer).await.status, 400);
    webhook.answer(500, json!({}));
    assert_eq!(signer.pay_as(&next(body, &first), &bearer).await.status, 500);

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("payment signed") && text.contains("request failed"), "nothing is logged");
    let payment = first.payment();
    let ticket = alloy_primitives::hex::encode(payment.tickets[0].sig.as_bytes());
    let state = first.state();
    let secrets = [
        "clientsecret",
        "hooksecret",
        "webhookkey",
        &ticket,
        state["Sig"].as_str().unwrap(),
        state["State"].as_str().unwrap(),
        first.body["payment"].as_str().unwrap(),
    ];
    for secret in secrets {
        let line = text.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is in the log");
    }
}
