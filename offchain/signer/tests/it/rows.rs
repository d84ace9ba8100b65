//! Each row of payments.md §2.4.
use std::time::Duration;

use alloy_primitives::{Address, B256, U256, keccak256};
use serde_json::{Value, json};
use streamflow_types::{ChainView, Price, WinProb};
use streamflow_wire::{SegmentRequest, capability, header, params_to_proto, proto, verify_request, verify_segment};

use crate::fixture::{
    ORCHESTRATOR, Running, SERVICE_URI, START, Setup, active, blob, encoded, info, next, params, request,
};

const PRICE: (u64, u64) = (3, 1);

fn fixed() -> Value {
    request(&info(PRICE, 35), "fixed")
}

fn with_info(change: impl FnOnce(&mut proto::OrchestratorInfo)) -> Value {
    let mut info = info(PRICE, 35);
    change(&mut info);
    request(&info, "fixed")
}

fn with(field: &str, value: Value) -> Value {
    let mut body = fixed();
    body[field] = value;
    body
}

async fn refused(signer: &Running, body: Value, status: u16, text: &str) {
    let reply = signer.pay(&body).await;
    let (got, message) = reply.refused();
    assert!(got == status && message.contains(text), "{status} {text} expected, got {got} {message}");
}

#[tokio::test]
async fn row_1_a_request_without_an_orchestrator_is_refused() {
    let signer = Setup::default().start().await;
    refused(&signer, json!([]), 400, "not a JSON object").await;
    refused(&signer, with("orchestrator", Value::Null), 400, "missing orchestrator").await;
    refused(&signer, with("orchestrator", "/////w==".into()), 400, "orchestrator is not an OrchestratorInfo").await;
    refused(&signer, with("orchestrator", "*".into()), 400, "orchestrator is not base64").await;
}

#[tokio::test]
async fn row_2_terms_must_be_complete() {
    let signer = Setup::default().start().await;
    refused(&signer, with_info(|i| i.price_info = None), 400, "missing or zero priceInfo").await;
    for (wei, pixels) in [(0, 1), (1, 0), (-1, 1)] {
        let price = proto::PriceInfo { price_per_unit: wei, pixels_per_unit: pixels, ..Default::default() };
        refused(&signer, with_info(|i| i.price_info = Some(price)), 400, "missing or zero priceInfo").await;
    }
    refused(&signer, with_info(|i| i.ticket_params = None), 400, "missing ticketParams in OrchestratorInfo").await;
    let short = |i: &mut proto::OrchestratorInfo| i.ticket_params.as_mut().unwrap().recipient_rand_hash.truncate(31);
    refused(&signer, with_info(short), 400, "ticketParams cannot be used").await;
}

#[tokio::test]
async fn row_3_a_state_goes_on_with_the_same_job_alone() {
    let signer = Setup::default().start().await;
    let state = |change: &dyn Fn(&mut Value)| {
        let mut blob = blob("0", PRICE);
        change(&mut blob);
        with("state", signer.state(&blob))
    };
    let mut forged = state(&|_| ());
    forged["state"]["Sig"] = signer.state(&json!({}))["Sig"].clone();
    refused(&signer, forged, 400, "invalid sig").await;
    refused(&signer, with("state", signer.state(&json!({}))), 400, "invalid state").await;
    let other = Address::repeat_byte(1);
    refused(&signer, state(&|b| b["OrchestratorAddress"] = json!(other)), 400, "orchestratorAddress mismatch").await;
    refused(&signer, state(&|b| b["App"] = "other".into()), 400, "app mismatch").await;
    refused(&signer, state(&|b| b["Type"] = "live".into()), 400, "job type mismatch").await;
    let reply = signer.pay(&state(&|b| b["SequenceNumber"] = 7.into())).await;
    assert_eq!(reply.ok().blob()["SequenceNumber"], 8);
}

#[tokio::test]
async fn row_4_a_session_begins_with_a_state_of_its_own() {
    let signer = Setup::default().start().await;
    let (one, two) = (signer.pay(&fixed()).await, signer.pay(&fixed()).await);
    assert_ne!(one.ok().blob()["StateID"], two.ok().blob()["StateID"]);
    let first = one.blob();
    assert_eq!(first["SequenceNumber"], 0);
    assert_eq!((&first["InitialPricePerUnit"], &first["InitialPixelsPerUnit"]), (&json!(3), &json!(1)));
    assert_eq!(first["OrchestratorAddress"], json!(ORCHESTRATOR));
    assert_eq!(first["PMSessionID"], B256::repeat_byte(5).to_string());
    assert_eq!(first["LastUpdate"], "2023-11-14T22:13:20.000000000Z");
}

#[tokio::test]
async fn row_5_a_session_needs_its_manifest_id() {
    let signer = Setup::default().start().await;
    let mut body = with("ManifestID", Value::Null);
    let first = signer.pay(&body).await;
    let credentials = header::decode_segment(first.ok().body["segCreds"].as_str().unwrap()).unwrap();
    assert_eq!(credentials.manifest_id.len(), 32, "a random one");
    body = next(body, &first);
    refused(&signer, body, 400, "missing manifestID").await;
    refused(&signer, with("manifestID", "../x".into()), 400, "manifest id starts with a dot").await;
}

#[tokio::test]
async fn row_6_capabilities_must_decode() {
    let signer = Setup::default().start().await;
    refused(&signer, with("capabilities", "/////w==".into()), 400, "capabilities cannot be read").await;
    let wanted = proto::Capabilities { bitstring: capability::bitstring([35]), ..Default::default() };
    let reply = signer.pay(&with("capabilities", encoded(&wanted))).await;
    let credentials = header::decode_segment(reply.ok().body["segCreds"].as_str().unwrap()).unwrap();
    assert_eq!(credentials.capabilities, Some(wanted));
}

#[tokio::test]
async fn row_7_the_balance_is_that_of_the_request() {
    let signer = Setup::default().start().await;
    let body = with("state", signer.state(&blob("33", PRICE)));
    for _ in 0..3 {
        assert_eq!(signer.pay(&body).await.outcome(), (1, "65".into()), "nothing is left behind in the signer");
    }
}

#[tokio::test]
async fn row_8_numbers_go_on_under_the_same_params_alone() {
    let signer = Setup::default().start().await;
    let first = signer.pay(&fixed()).await;
    assert_eq!(first.nonces(), [1]);
    // 32 wei are left of the first ticket; one more makes the second necessary.
    let second = signer.pay(&next(fixed(), &first)).await;
    assert_eq!(second.nonces(), [2]);
    let mut fresh = info(PRICE, 35);
    let other = streamflow_types::TicketParams { recipient_rand_hash: B256::repeat_byte(6), ..params(35) };
    fresh.ticket_params = Some(params_to_proto(&other));
    let state = blob("0", PRICE);
    let mut body = request(&fresh, "fixed");
    body["state"] = signer.state(&{
        let mut state = state;
        state["PMSessionID"] = B256::repeat_byte(5).to_string().into();
        state["SenderNonce"] = 44.into();
        state
    });
    let third = signer.pay(&body).await;
    assert_eq!(third.nonces(), [1]);
}

#[tokio::test]
async fn row_9_what_is_about_to_expire_is_refreshed() {
    let signer = Setup::default().start().await;
    let refresh = "refresh session for remote signer";
    refused(&signer, with_info(|i| i.auth_token = None), 400, "missing auth token").await;
    let token = |left: i64| with_info(move |i| i.auth_token.as_mut().unwrap().expiration = START as i64 + left);
    let reply = signer.pay(&token(179)).await;
    assert_eq!(reply.refused(), (480, refresh));
    assert_eq!(reply.headers["Livepeer-Orchestrator-URL"], SERVICE_URI);
    signer.pay(&token(180)).await.ok();
    signer.chain.send_modify(|chain| chain.as_mut().unwrap().block = 1039);
    refused(&signer, fixed(), 480, refresh).await;
    signer.chain.send_modify(|chain| chain.as_mut().unwrap().block = 1038);
    signer.pay(&fixed()).await.ok();
    signer.funds.send_modify(|funds| funds.as_mut().unwrap().deposit = U256::ZERO);
    let text = "remote signer could not check whether to refresh session: no sender deposit";
    refused(&signer, fixed(), 400, text).await;
}

#[tokio::test]
async fn row_9_numbers_that_are_used_up_ask_for_new_params() {
    let signer = Setup::default().start().await;
    let mut state = blob("0", PRICE);
    state["PMSessionID"] = B256::repeat_byte(5).to_string().into();
    state["SenderNonce"] = 600.into();
    refused(&signer, with("state", signer.state(&state)), 480, "refresh session").await;
    state["SenderNonce"] = 599.into();
    assert_eq!(signer.pay(&with("state", signer.state(&state))).await.nonces(), [600]);
}

#[tokio::test]
async fn row_10_the_job_says_what_is_billed() {
    let signer = Setup::default().start().await;
    refused(&signer, with("type", "vod".into()), 400, "invalid job type").await;
    refused(&signer, with("type", "".into()), 400, "missing billable unit or job type").await;
}

#[tokio::test]
async fn a16_row_11_the_lowest_ceiling_holds() {
    let price = |wei| Price::new(wei, 1).unwrap();
    let signer = Setup::default()
        .with(|setup| {
            setup.config.price.max = Some(price(2));
            setup.config.price.capabilities.extend([("35".to_owned(), price(3))]);
        })
        .start()
        .await;
    refused(&signer, fixed(), 481, "orchestrator price 3/1 wei per pixel exceeds configured ceiling 2/1").await;
    let wanted = proto::Capabilities { bitstring: capability::bitstring([35]), ..Default::default() };
    let body = with("capabilities", encoded(&wanted));
    let first = signer.pay(&body).await;
    first.ok();
    let asked = |value: Value| {
        let mut body = body.clone();
        body["maxPrice"] = value;
        body
    };
    let max = |wei: f64| json!({ "price": wei, "currency": "wei", "unit": "fixed" });
    refused(&signer, asked(max(2.9)), 481, "exceeds request ceiling 29/10").await;
    refused(&signer, asked(json!({ "price": 3, "currency": "usd", "unit": "fixed" })), 400, "is not wei").await;
    refused(&signer, asked(json!({ "price": 3, "currency": "wei", "unit": "seconds" })), 400, "does not go with").await;
    let begun_lower = |change: &dyn Fn(&mut Value)| {
        let mut state = blob("0", (29, 10));
        change(&mut state);
        let mut body = body.clone();
        body["state"] = signer.state(&state);
        body
    };
    refused(&signer, begun_lower(&|_| ()), 481, "exceeds initial session price ceiling 29/10").await;
    let nothing = begun_lower(&|state| state["InitialPricePerUnit"] = 0.into());
    refused(&signer, nothing, 400, "invalid initial price in state").await;
}

#[tokio::test]
async fn row_12_fees_stay_at_the_first_price() {
    let signer = Setup::default().start().await;
    // Billed at 4 although the orchestrator asks 3 by now: 35 − 4.
    assert_eq!(signer.pay(&with("state", signer.state(&blob("0", (4, 1))))).await.outcome(), (1, "31".into()));
}

/// go-livepeer#4077: otherwise the time of every refusal piles up until no payment can be large enough.
#[tokio::test]
async fn row_13_a_refusal_for_no_tickets_advances_the_state() {
    let signer = Setup::default().start().await;
    let body = request(&info((1, 27_648_000), 35), "lv2v");
    let first = signer.pay(&body).await;
    assert_eq!(first.outcome(), (2, "10".into()));
    signer.advance(Duration::from_secs(5));
    let second = signer.pay(&next(body.clone(), &first)).await;
    assert_eq!(second.outcome(), (1, "40".into()));
    signer.advance(Duration::from_secs(5));
    let third = signer.pay(&next(body.clone(), &second)).await;
    assert_eq!(third.refused(), (482, "no tickets"));
    let (before, after) = (second.blob(), third.blob());
    assert_eq!(after["Balance"], "35");
    assert_eq!(after["LastUpdate"], "2023-11-14T22:13:30.000000000Z");
    assert_eq!(after["SenderNonce"], before["SenderNonce"]);
    assert_eq!(after["SequenceNumber"], before["SequenceNumber"], "no payment, no number");
    signer.advance(Duration::from_secs(1));
    let fourth = signer.pay(&next(body, &third)).await;
    assert_eq!(fourth.refused(), (482, "no tickets"));
    signer.advance(Duration::from_secs(5));
    let fifth = signer.pay(&next(request(&info((1, 27_648_000), 35), "lv2v"), &fourth)).await;
    assert_eq!(fifth.outcome(), (1, "64".into()));
}

#[tokio::test]
async fn row_14_a_hundred_tickets_are_the_most() {
    let signer = Setup::default().start().await;
    let mut body = with("type", "".into());
    body["inPixels"] = 1167.into();
    refused(&signer, body.clone(), 400, "numTickets 101 exceeds maximum of 100").await;
    body["inPixels"] = 1166.into();
    assert_eq!(signer.pay(&body).await.outcome(), (100, "2".into()));
}

#[tokio::test]
async fn row_15_tickets_beyond_the_limits_are_our_own_failure_and_not_explained() {
    let signer = Setup::default().with(|setup| setup.config.tickets.max_total_ev = U256::from(69)).start().await;
    signer.pay(&fixed()).await.ok();
    let mut body = with("type", "".into());
    body["inPixels"] = 20.into();
    refused(&signer, body, 500, "Internal Server Error").await;
}

#[tokio::test]
async fn row_16_credentials_are_for_an_empty_segment_and_signed() {
    let signer = Setup::default().start().await;
    let reply = signer.pay(&fixed()).await;
    let data = header::decode_segment(reply.ok().body["segCreds"].as_str().unwrap()).unwrap();
    assert_eq!(data.hash, keccak256([]).to_vec());
    assert_eq!(data.auth_token, info(PRICE, 35).auth_token);
    assert_eq!((data.manifest_id.as_slice(), data.seq), (b"stream".as_slice(), 0));
    let empty = SegmentRequest {
        sig: data.sig,
        ..SegmentRequest::new("stream".parse().unwrap(), 0, keccak256([]), Vec::new(), 0)
    };
    let sender = reply.payment().sender;
    assert!(verify_segment(&empty, sender));
    let payment = reply.payment();
    assert_eq!(payment.expected_price, Some(Price::new(3, 1).unwrap()));
}

#[tokio::test]
async fn row_16_a_segment_of_the_session_is_signed_and_no_other() {
    let signer = Setup::default().start().await;
    let profiles = vec![streamflow_types::Profile::preset("P240p30fps16x9").unwrap()];
    let hash = keccak256(b"media");
    let segment = SegmentRequest {
        auth_token: info(PRICE, 35).auth_token,
        ..SegmentRequest::new("stream".parse().unwrap(), 7, hash, profiles, 2000)
    };
    let reply = signer.pay(&with("segment", encoded(&segment.to_proto()))).await;
    let data = header::decode_segment(reply.ok().body["segCreds"].as_str().unwrap()).unwrap();
    let signed = SegmentRequest::from_proto(data).unwrap();
    assert!(verify_segment(&signed, reply.payment().sender));
    assert_eq!(SegmentRequest { sig: Vec::new(), ..signed }, segment);

    let other = SegmentRequest { manifest_id: "other".parse().unwrap(), ..segment.clone() };
    refused(&signer, with("segment", encoded(&other.to_proto())), 400, "manifestID differs").await;
    let other = SegmentRequest { auth_token: None, ..segment.clone() };
    refused(&signer, with("segment", encoded(&other.to_proto())), 400, "auth token differs").await;

    // When nothing has to be paid the segment is signed all the same.
    let mut body = with("segment", encoded(&segment.to_proto()));
    body["state"] = signer.state(&blob("1000", PRICE));
    let unpaid = signer.pay(&body).await;
    assert_eq!(unpaid.refused(), (482, "no tickets"));
    let data = header::decode_segment(unpaid.body["segCreds"].as_str().unwrap()).unwrap();
    assert!(verify_segment(&SegmentRequest::from_proto(data).unwrap(), reply.payment().sender));
}

#[tokio::test]
async fn row_18_the_state_is_signed_and_goes_on_at_another_signer_of_the_key() {
    let (one, two) = (Setup::default().start().await, Setup::default().start().await);
    let first = one.pay(&fixed()).await;
    let second = two.pay(&next(fixed(), &first)).await;
    assert_eq!(second.nonces(), [2]);
    assert_eq!(second.blob()["StateID"], first.blob()["StateID"]);
}

#[tokio::test]
async fn keys_in_any_case_and_a_payment_result_around_the_info_are_taken() {
    let signer = Setup::default().start().await;
    let wrapped = proto::PaymentResult { info: Some(info(PRICE, 35)) };
    let body = json!({ "ORCHESTRATOR": encoded(&wrapped), "manifestid": "stream", "Type": "fixed", "State": null,
        "APP": null, "InPixels": null, "MaxPrice": null, "Capabilities": null });
    let first = signer.pay(&body).await;
    assert_eq!(first.nonces(), [1]);
    let lower = json!({ "state": first.state()["State"], "sig": first.state()["Sig"] });
    let mut body = body;
    body["State"] = lower;
    assert_eq!(signer.pay(&body).await.nonces(), [2]);
}

#[tokio::test]
async fn what_is_not_known_of_the_chain_is_not_signed_for() {
    let signer = Setup::default().with(|setup| setup.chain = None).start().await;
    refused(&signer, fixed(), 503, "Service Unavailable Error").await;
    assert!(signer.handle.status().refusing.is_some());
    signer.chain.send_replace(Some(ChainView { block: 1000, ..crate::fixture::view() }));
    signer.pay(&fixed()).await.ok();
    signer.roster.send_replace(None);
    refused(&signer, fixed(), 503, "Service Unavailable Error").await;
    signer.roster.send_replace(Some(active(&[])));
    refused(&signer, fixed(), 400, "is not an active orchestrator").await;
}

#[tokio::test]
async fn worthless_tickets_are_never_made() {
    let signer = Setup::default().start().await;
    let free = streamflow_types::TicketParams { win_prob: WinProb::ZERO, ..params(35) };
    refused(&signer, with_info(|i| i.ticket_params = Some(params_to_proto(&free))), 482, "no tickets").await;
}

#[tokio::test]
async fn the_signed_address_is_what_orchestrators_verify() {
    let signer = Setup::default().start().await;
    let reply = signer.http.post(format!("{}/sign-orchestrator-info", signer.url)).send().await.unwrap();
    let body: Value = reply.json().await.unwrap();
    let address: Address = body["address"].as_str().unwrap().parse().unwrap();
    assert_eq!(body["address"], address.to_checksum(None));
    let request = proto::OrchestratorRequest {
        address: address.to_vec(),
        sig: hex::decode(&body["signature"].as_str().unwrap()[2..]).unwrap(),
        ..Default::default()
    };
    assert_eq!(verify_request(&request), Some(signer.handle.status().sender));
    signer.stop().await;
}
