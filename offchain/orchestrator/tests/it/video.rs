//! Real segments, good and bad.
use alloy_primitives::keccak256;
use bytes::Bytes;
use streamflow_pm::TicketSigner;
use streamflow_wire::{is_signed_by, result_hash};

use crate::{
    clip,
    fixture::{Broadcaster, World, orchestrator_key},
};

#[tokio::test]
async fn renditions_are_signed_and_can_be_fetched() {
    let world = World::with_video().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let data = broadcaster.segment(&orchestrator, &offer, 4, 7, &clip::segment(0)).await.data();
    let session = offer.auth_token.unwrap().session_id;
    let mut renditions = Vec::new();
    for (segment, profile) in data.segments.iter().zip(clip::profiles()) {
        assert_eq!(segment.url, orchestrator.url(&format!("/stream/{session}/{}/7.ts", profile.name)));
        let response = broadcaster.http.get(&segment.url).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "video/mp2t");
        let rendition = response.bytes().await.unwrap();
        let inspection = streamflow_media::inspect(&rendition).unwrap();
        assert_eq!(inspection.pixels, segment.pixels as u64, "{}", profile.name);
        assert_eq!((inspection.info.width, inspection.info.height), (profile.width, profile.height));
        renditions.push(rendition);
    }
    let hash = result_hash(renditions.iter().map(Bytes::as_ref));
    assert!(is_signed_by(hash, &data.sig, orchestrator_key().address()));
}

#[tokio::test]
async fn renditions_of_other_sessions_and_paths_are_not_found() {
    let world = World::with_video().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    for path in
        ["/stream/00000000/240p/0.ts", "/stream/00000000/0.tempfile", "/stream/..%2f..%2fetc/passwd", "/nothing"]
    {
        assert_eq!(broadcaster.http.get(orchestrator.url(path)).send().await.unwrap().status(), 404, "{path}");
    }
}

#[tokio::test]
async fn bad_segments_are_taken_and_then_fail() {
    let world = World::with_video().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let whole = clip::segment(0);
    let bad: [(Bytes, &str); 3] = [
        (whole.slice(..whole.len() / 2 + 1), "segment is cut after"),
        (Bytes::from(vec![0x5a; 100_000]), "segment is not an mpeg transport stream"),
        (Bytes::new(), "segment of 0 bytes"),
    ];
    for (seq, (body, text)) in bad.into_iter().enumerate() {
        let reply = broadcaster.segment(&orchestrator, &offer, 2, seq as u64, &body).await;
        assert!(reply.error().starts_with(text), "{}", reply.error());
    }
    // The session survives them.
    assert_eq!(broadcaster.segment(&orchestrator, &offer, 2, 3, &whole).await.data().segments.len(), 2);
}

#[tokio::test]
async fn segments_of_a_session_are_done_in_order() {
    let world = World::with_video().await;
    let orchestrator = world.start().await;
    let broadcaster = Broadcaster::new(&orchestrator);
    let offer = broadcaster.offer(&orchestrator).await;
    let segments = [clip::segment(0), clip::segment(1)];
    let (first, second) = tokio::join!(
        broadcaster.segment(&orchestrator, &offer, 2, 0, &segments[0]),
        broadcaster.segment(&orchestrator, &offer, 2, 1, &segments[1]),
    );
    assert_eq!((first.result().seq, second.result().seq), (0, 1));
    assert_ne!(keccak256(&first.body), keccak256(&second.body));
    assert_eq!((first.data().segments.len(), second.data().segments.len()), (2, 2));
}
