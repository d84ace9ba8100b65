//! Messages and service of 2018, generated from `proto/jobs/`.
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, clippy::all)]

use std::fmt;

include!(concat!(env!("OUT_DIR"), "/jobs/net.rs"));

impl fmt::Debug for TranscoderInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TranscoderInfo")
            .field("transcoder", &self.transcoder)
            .field("auth_type", &self.auth_type)
            .field("stream_ids", &self.stream_ids)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AuthToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthToken").field("job_id", &self.job_id).finish_non_exhaustive()
    }
}
