//! Damaged words of orchestrators: whatever is said of them is said by returning.
use proptest::prelude::*;
use prost::Message as _;
use streamflow_fuzz::{damaged, damaged_text};
use streamflow_nats::Order;
use streamflow_types::{Profile, VideoCodec};
use streamflow_wire::{SegmentRequest, TranscoderTask, capability, header, proto::NotifySegment};
use tonic::metadata::{MetadataKey, MetadataMap};

use crate::{
    remote::{LONGEST_HEARTBEAT, Membership, SHORTEST_HEARTBEAT},
    shared::asked,
};

fn notice() -> NotifySegment {
    let profiles = vec![Profile::preset("P240p30fps16x9").unwrap(), Profile::preset("P144p30fps16x9").unwrap()];
    let segment = SegmentRequest {
        capabilities: Some(capability::job(VideoCodec::H264, &profiles, false)),
        ..SegmentRequest::new("clip".parse().unwrap(), 7, Default::default(), profiles, 2000)
    };
    let url = "https://127.0.0.1:8935/stream/01010101/7.tempfile".into();
    let task = TranscoderTask::Transcode { task_id: 9, url, orchestrator: "o".into(), segment: Box::new(segment) };
    task.to_proto()
}

fn end() -> NotifySegment {
    TranscoderTask::EndSession { session_id: "01010101".into() }.to_proto()
}

fn order(notice: NotifySegment) -> Vec<u8> {
    let (orchestrator, member) = ("https://127.0.0.1:8935".into(), "0123456789abcdef0123456789abcdef".into());
    Order { notice: Some(notice), orchestrator, member }.encode_to_vec()
}

proptest! {
    #![proptest_config(streamflow_fuzz::config(512))]

    #[test]
    fn segments_of_orchestrators(bytes in damaged(vec![notice().encode_to_vec(), end().encode_to_vec()])) {
        let Ok(notice) = NotifySegment::decode(&bytes[..]) else { return Ok(()) };
        if let Ok(task) = TranscoderTask::from_proto(notice) {
            let again = TranscoderTask::from_proto(task.to_proto());
            let expected = match task {
                // Both stay with the orchestrator.
                TranscoderTask::Transcode { task_id, url, orchestrator, mut segment } => {
                    segment.hash = Default::default();
                    segment.storage.clear();
                    TranscoderTask::Transcode { task_id, url, orchestrator, segment }
                }
                end => end,
            };
            prop_assert_eq!(again, Ok(expected), "what was accepted is written as it was read");
        }
    }

    #[test]
    fn orders_of_the_pool(bytes in damaged(vec![order(notice()), order(end())])) {
        let Ok(order) = Order::decode(&bytes[..]) else { return Ok(()) };
        if let Some((notice, url, _)) = asked(order) {
            prop_assert!(url.scheme() == "https" && url.has_host(), "{}", url);
            prop_assert!(!notice.url.is_empty());
        }
    }

    #[test]
    fn answers_to_registrations(text in damaged_text(&[
        "streamflow-member: 0123456789abcdef0123456789abcdef\nstreamflow-heartbeat-ms: 15000",
        "streamflow-heartbeat-ms: 18446744073709551615\nstreamflow-member: a",
    ])) {
        let mut metadata = MetadataMap::new();
        for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
            if let (Ok(name), Ok(value)) = (MetadataKey::from_bytes(name.trim().as_bytes()), value.trim().parse()) {
                metadata.insert(name, value);
            }
        }
        if let Some(membership) = Membership::from_metadata(&metadata) {
            prop_assert!((SHORTEST_HEARTBEAT..=LONGEST_HEARTBEAT).contains(&membership.every));
        }
    }
}

#[test]
fn an_undamaged_answer_is_read() {
    let mut metadata = MetadataMap::new();
    metadata.insert("streamflow-member", "a".parse().unwrap());
    assert!(Membership::from_metadata(&metadata).is_none(), "without {}", header::HEARTBEAT_MS);
    metadata.insert("streamflow-heartbeat-ms", "1".parse().unwrap());
    assert_eq!(Membership::from_metadata(&metadata).unwrap().every, SHORTEST_HEARTBEAT);
}
