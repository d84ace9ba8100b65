//! What an orchestrator tells a transcoder (node.md §3).
use alloy_primitives::B256;

use crate::{SegmentError, SegmentRequest, proto, segment::LEGACY_PROFILES};

/// A checked `NotifySegment`.
#[derive(Clone, Debug, PartialEq)]
pub enum TranscoderTask {
    /// Fetch, transcode and post the results.
    Transcode {
        /// Names the task in the answer.
        task_id: i64,
        /// Where the input is.
        url: String,
        /// Address of the orchestrator, or `offchain`.
        orchestrator: String,
        /// What to make of it. Boxed: it is far larger than the other task.
        segment: Box<SegmentRequest>,
    },
    /// Drop the encoders of a session.
    EndSession {
        /// From the auth token.
        session_id: String,
    },
}

impl TranscoderTask {
    /// As it travels. The body's hash and the sender's storage are none of the transcoder's business.
    pub fn to_proto(&self) -> proto::NotifySegment {
        match self {
            Self::Transcode { task_id, url, orchestrator, segment } => proto::NotifySegment {
                url: url.clone(),
                seg_data: Some(proto::SegData { hash: B256::ZERO.to_vec(), storage: Vec::new(), ..segment.to_proto() }),
                task_id: *task_id,
                profiles: LEGACY_PROFILES.to_vec(),
                orch_id: orchestrator.clone(),
            },
            Self::EndSession { session_id } => {
                let auth_token = proto::AuthToken { session_id: session_id.clone(), ..Default::default() };
                let seg_data = proto::SegData { auth_token: Some(auth_token), ..Default::default() };
                proto::NotifySegment { seg_data: Some(seg_data), ..Default::default() }
            }
        }
    }

    /// Reads a task.
    pub fn from_proto(task: proto::NotifySegment) -> Result<Self, SegmentError> {
        let segment = task.seg_data.ok_or(SegmentError::NoSegment)?;
        if task.url.is_empty() {
            let session_id = segment.auth_token.unwrap_or_default().session_id;
            return Ok(Self::EndSession { session_id });
        }
        Ok(Self::Transcode {
            task_id: task.task_id,
            url: task.url,
            orchestrator: task.orch_id,
            segment: Box::new(SegmentRequest::from_proto(segment)?),
        })
    }
}
