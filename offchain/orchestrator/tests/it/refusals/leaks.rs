//! No refusal says where things are kept, where the chain is read, or what was asked of a database.
use prost::Message;
use streamflow_orchestrator::TranscodeError;
use streamflow_wire::{refusal, sign_request};

use super::results::{Failing, with_local};
use crate::{
    checks::{BODY, Case},
    fixture::{config, orchestrator_key},
};

/// What of a node's inside must not be in an answer.
const INSIDE: [&str; 8] = ["rpc.example", "10.0.0.7", "postgres", "/var/lib", "SELECT", "sqlite", "/tmp", "swordfish"];

#[track_caller]
fn says_nothing(answer: &str) {
    for word in INSIDE {
        assert!(!answer.to_lowercase().contains(&word.to_lowercase()), "{word} in {answer}");
    }
}

/// Text and refusal of an answer, as far as it has them.
async fn told(response: reqwest::Response) -> String {
    let header = response.headers().get(refusal::HEADER).map(|value| value.to_str().unwrap().to_owned());
    let refusal = header.and_then(|header| refusal::Refusal::from_header(&header));
    let headers = format!("{:?}", response.headers());
    format!("{headers} {refusal:?} {}", response.text().await.unwrap())
}

#[tokio::test]
async fn nothing_of_the_inside_is_in_a_refusal() {
    let case = Case::new().await;
    let draft = case.good();
    case.world.funds.silence();
    let request = sign_request(&orchestrator_key(), None).unwrap();
    let status = case.orchestrator.grpc().await.get_orchestrator(request.clone()).await.unwrap_err();
    says_nothing(&format!("{status:?} {:?}", refusal::Refusal::of_status(&status)));
    says_nothing(&told(case.broadcaster.start(&draft, BODY).await).await);
    case.world.chain.send_replace(None);
    let status = case.orchestrator.grpc().await.get_orchestrator(request).await.unwrap_err();
    says_nothing(&format!("{status:?}"));
    says_nothing(&told(case.broadcaster.start(&draft, BODY).await).await);
    case.world.store.close().await;
    says_nothing(&told(case.broadcaster.start(&draft, BODY).await).await);
}

#[tokio::test]
async fn what_a_transcoder_says_of_its_machine_stays_here() {
    let text = "cannot open /var/lib/streamflow/7.ts on 10.0.0.7:5432: SELECT name FROM files failed";
    let case = with_local(Failing(TranscodeError::Other(text.into())), config()).await;
    let result = case.broadcaster.send(&case.good(), BODY).await.result();
    let bytes = result.encode_to_vec();
    says_nothing(&String::from_utf8_lossy(&bytes));
    let told = result.refusal.unwrap();
    assert_eq!(told.got, "cannot open … on …: …");
}
