//! Damaged requests and answers: whatever is said of them is said by returning.
use alloy_primitives::Address;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use prost::Message as _;
use streamflow_fuzz::damaged_text;
use streamflow_pm::KeySigner;
use streamflow_wire::proto;

use crate::{
    auth::decide,
    billing::JobType,
    ceiling::Ceiling,
    discovery::{Entry, merge, read_entries},
    request::PaymentRequest,
    state::{sign, verify},
};

const STATE: &str = r#"{"StateID":"a","PMSessionID":"","LastUpdate":"2026-01-02T03:04:05.000000006Z",
    "OrchestratorAddress":"0x0101010101010101010101010101010101010101","App":"","SenderNonce":3,"Balance":"12/7",
    "InitialPricePerUnit":1,"InitialPixelsPerUnit":1000,"Type":"","SequenceNumber":9,"AuthID":"x"}"#;

fn request() -> String {
    let info = proto::OrchestratorInfo { transcoder: "https://o.example".into(), ..Default::default() };
    let (info, state) = (STANDARD.encode(info.encode_to_vec()), STANDARD.encode(STATE));
    let segment = proto::SegData { manifest_id: b"m".to_vec(), duration: 2000, ..Default::default() };
    let segment = STANDARD.encode(segment.encode_to_vec());
    format!(
        r#"{{"state":{{"State":"{state}","Sig":"{}"}},"orchestrator":"{info}","ManifestID":"m","inPixels":7,
            "type":"lv2v","app":"a","maxPrice":{{"price":"1.5e3","currency":"wei","unit":"pixel"}},
            "capabilities":"{segment}","segment":"{segment}"}}"#,
        STANDARD.encode([1; 65]),
    )
}

proptest! {
    #![proptest_config(streamflow_fuzz::config(512))]

    #[test]
    fn requests_for_payments(body in damaged_text(&[&request()])) {
        if let Ok(request) = PaymentRequest::parse(&body) {
            let _ = (request.capabilities(), request.segment(), JobType::parse(&request.job));
            if let Some(price) = &request.max_price {
                let _ = JobType::parse("lv2v").map(|job| Ceiling::read(price, job).is_ok());
            }
            if let Some(state) = &request.state {
                let _ = verify(state, Address::ZERO);
            }
        }
    }

    #[test]
    fn states_of_sessions(json in damaged_text(&[STATE])) {
        let signer = KeySigner::from_bytes([1; 32]).unwrap();
        let signed = sign(json, &signer).unwrap();
        if let Ok(state) = verify(&signed, streamflow_pm::TicketSigner::address(&signer)) {
            prop_assert!(state.to_json().is_ok(), "what was read can be written");
        }
    }

    #[test]
    fn answers_of_the_webhook(body in damaged_text(&[
        r#"{"status":200,"expiry":1790000000,"auth_id":"x","max_price":{"price":1.5,"currency":"WEI","unit":"pixel"}}"#,
        r#"{"status":402,"reason":"no credit é"}"#,
    ])) {
        for job in ["", "lv2v"] {
            if let Ok(job) = JobType::parse(job) {
                let _ = decide(body.as_bytes(), job);
            }
        }
    }

    #[test]
    fn descriptions_of_orchestrators(body in damaged_text(&[
        r#"[{"address":"https://o:8935","score":0.5,"capabilities":["a"],"runners":[{"url":"https://r/","app":"x",
            "price":{"price":"1e-3","currency":"wei","unit":"seconds"},"metadata":{}}]}]"#,
        r#"{"capabilities":["a"],"runners":[]}"#,
    ])) {
        if let Ok(entries) = read_entries(body.as_bytes()) {
            let mut entry = Entry::default();
            merge(&mut entry, entries);
            prop_assert!(entry.capabilities.len() <= 256 && entry.runners.len() <= 256);
        }
    }

    #[test]
    fn prices_in_decimals(text in damaged_text(&["1.5", "101.2e-3", "0.00000000000000000001", "1E38", "-1"])) {
        let _ = Ceiling::from_decimal(&text);
    }
}
