//! Renditions that go into the sender's own store (node.md §4.6).
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use bytes::Bytes;
use streamflow_orchestrator::OrchestratorConfig;
use streamflow_types::VideoCodec;
use streamflow_wire::{
    capability,
    proto::{OsInfo, S3osInfo, os_info::StorageType, transcode_result::Result as Answer},
};

use crate::{
    checks::{BODY, Case},
    clip,
    fixture::config,
    refusals::results::{Claiming, with_local},
};

/// A store with a whole upload policy.
pub(crate) fn store(host: &str) -> OsInfo {
    let s3info = S3osInfo {
        host: host.into(),
        key: "clip/0a0b0c0d".into(),
        policy: "eyJleHBpcmF0aW9uIjoiMjAyNyJ9".into(),
        signature: "51600d".into(),
        credential: "KEY/20260101/eu/s3/aws4_request".into(),
        x_amz_date: "20260101T000000Z".into(),
    };
    OsInfo { storage_type: StorageType::S3.into(), s3info: Some(s3info) }
}

/// What was put into the store: the fields of the form, the file's name and bytes.
type Put = (BTreeMap<String, String>, String, Bytes);

/// A store that takes what its form says, and refuses the first `refuses` times.
#[derive(Clone, Default)]
struct Bucket {
    puts: Arc<Mutex<Vec<Put>>>,
    refuses: Arc<AtomicU32>,
}

async fn put(State(bucket): State<Bucket>, headers: HeaderMap, body: Body) -> StatusCode {
    if bucket.refuses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let boundary = multer::parse_boundary(headers["content-type"].to_str().unwrap()).unwrap();
    let mut form = multer::Multipart::new(body.into_data_stream(), boundary);
    let mut fields = BTreeMap::new();
    while let Some(field) = form.next_field().await.unwrap() {
        let name = field.name().unwrap().to_owned();
        if name == "file" {
            let file = field.file_name().unwrap().to_owned();
            let bytes = field.bytes().await.unwrap();
            bucket.puts.lock().unwrap().push((fields, file, bytes));
            // As S3 does: nothing after the file counts.
            return StatusCode::NO_CONTENT;
        }
        fields.insert(name, field.text().await.unwrap());
    }
    StatusCode::BAD_REQUEST
}

async fn bucket() -> (Bucket, String) {
    let bucket = Bucket::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("http://{}/bucket", listener.local_addr().unwrap());
    let routes = Router::new().route("/bucket", post(put)).with_state(bucket.clone());
    tokio::spawn(async move { axum::serve(listener, routes.into_make_service()).await });
    (bucket, host)
}

async fn answer(case: &Case, host: &str) -> Answer {
    let mut request = case.broadcaster.request(&case.offer, 7, BODY);
    request.storage = vec![store(host)];
    let mut needed = capability::job(VideoCodec::H264, &case.broadcaster.profiles, false);
    needed.bitstring[0] ^= 1 << 4 | 1 << 5;
    request.capabilities = Some(needed);
    case.broadcaster.sign(&mut request);
    let draft = case.draft(&case.broadcaster.pay(&case.offer, 4), &request);
    case.broadcaster.send(&draft, BODY).await.result().result.unwrap()
}

async fn case() -> Case {
    let config = OrchestratorConfig { deliver_to_sender_stores: true, ..config() };
    with_local(Claiming(100), config).await
}

#[tokio::test]
async fn every_rendition_is_put_with_the_senders_policy() {
    let (bucket, host) = bucket().await;
    let case = case().await;
    // One attempt more is made where the store fails once.
    bucket.refuses.store(1, Ordering::SeqCst);
    let Answer::Data(data) = answer(&case, &host).await else { panic!("no renditions") };
    let mut puts = bucket.puts.lock().unwrap().clone();
    // They come side by side.
    puts.sort_by_key(|(fields, ..)| !fields["key"].contains("/240p/"));
    assert_eq!(puts.len(), 2);
    for ((fields, file, bytes), (profile, made)) in puts.iter().zip(clip::profiles().iter().zip(&data.segments)) {
        let expected = [
            ("Content-Type", "video/mp2t".to_owned()),
            ("acl", "public-read".to_owned()),
            ("key", format!("clip/0a0b0c0d/{}/${{filename}}", profile.name)),
            ("policy", "eyJleHBpcmF0aW9uIjoiMjAyNyJ9".to_owned()),
            ("x-amz-algorithm", "AWS4-HMAC-SHA256".to_owned()),
            ("x-amz-credential", "KEY/20260101/eu/s3/aws4_request".to_owned()),
            ("x-amz-date", "20260101T000000Z".to_owned()),
            ("x-amz-signature", "51600d".to_owned()),
        ];
        assert_eq!(*fields, BTreeMap::from(expected.map(|(name, value)| (name.to_owned(), value))));
        assert_eq!(file, "7.ts");
        assert_eq!(made.url, format!("{host}/clip/0a0b0c0d/{}/7.ts", profile.name));
        assert_eq!((bytes.as_ref(), made.pixels), (&[7; 100][..], 100));
    }
}

#[tokio::test]
async fn an_upload_that_fails_is_an_error_and_never_fewer_renditions() {
    let (bucket, host) = bucket().await;
    let case = case().await;
    bucket.refuses.store(u32::MAX, Ordering::SeqCst);
    let Answer::Error(text) = answer(&case, &host).await else { panic!("renditions without a store") };
    assert_eq!(text, "renditions cannot be uploaded to the sender's store");
}

#[tokio::test]
async fn stores_are_offered_where_they_can_be_written() {
    let case = case().await;
    let offered = capability::bits(&case.offer.capabilities.as_ref().unwrap().bitstring);
    assert!(offered.contains(&5) && offered.contains(&6), "{offered:?}");
    let plain = Case::new().await;
    let offered = capability::bits(&plain.offer.capabilities.unwrap().bitstring);
    assert!(!offered.contains(&5) && !offered.contains(&6), "{offered:?}");
}
