//! Codes of what a broadcaster refuses (docs/refusals.md).
use streamflow_media::PoolError;
use streamflow_pm::{FundsError, OverBudget};
use streamflow_types::with_causes;
use streamflow_wire::{Code, Refusal as Coded};

use crate::{
    admission::AdmitError,
    budget::BudgetError,
    config::BroadcasterConfig,
    error::{Refusal, SegmentError},
    push::PushError,
    rtmp::{IngestError, RtmpError},
};

impl PushError {
    /// Code and figures for whoever pushes.
    pub(crate) fn coded(&self, config: &BroadcasterConfig) -> Coded {
        let path = |got: String, limit: &str| Coded::new(Code::PushPathInvalid, got, limit);
        match self {
            Self::Path => path("another path".into(), "live, stream and number.ts"),
            Self::Name(error) => path(error.to_string(), "1 to 128 of a-z A-Z 0-9 . _ -"),
            Self::Extension => path("another extension".into(), ".ts or .mp4"),
            Self::Configuration(fault) => Coded::new(
                Code::TranscodeConfigurationInvalid,
                with_causes(fault),
                "JSON with profiles that can be encoded",
            ),
            Self::Sequence(stem) => path(format!("number {stem:?}"), "0 to 9223372036854775807"),
            Self::Header { name, expected } => Coded::new(Code::PushHeaderInvalid, name, expected),
            Self::Unsupported(name) => {
                let taken = "Content-Duration, Content-Resolution, Accept, Livepeer-Transcode-Configuration";
                Coded::new(Code::PushHeaderUnsupported, name, taken)
            }
            Self::CrossSite => Coded::new(Code::PushCrossSite, "another site", "none, or this node"),
            Self::TooLarge(max) => {
                Coded::new(Code::PushTooLarge, format!("more than {max} bytes"), format!("{max} bytes"))
            }
            Self::Memory => memory(config),
            Self::Silence(limit) => {
                Coded::new(Code::PushTooSlow, format!("{limit:?} of silence"), format!("{limit:?}"))
            }
            Self::Slow(limit) => Coded::new(Code::PushTooSlow, format!("more than {limit:?}"), format!("{limit:?}")),
            Self::CutOff(_) => Coded::new(Code::PushCutOff, "a part of the segment", "all of the segment"),
        }
    }
}

fn memory(config: &BroadcasterConfig) -> Coded {
    Coded::new(Code::PushMemoryFull, "no room for the segment", format!("{} bytes", config.max_upload_bytes))
}

impl SegmentError {
    /// Code and figures for whoever pushes.
    pub(crate) fn coded(&self, config: &BroadcasterConfig) -> Coded {
        let input =
            |got: &str| Coded::new(Code::SegmentFormatDidntMatchJobInputParams, got, "MPEG-TS with decodable video");
        match self {
            Self::Refused(refusal) => refusal.coded(config),
            Self::Media(error) => input(&error.to_string()),
            Self::BadInput(text) => input(text),
            Self::Duplicate(seq) => Coded::new(Code::SegmentDuplicate, format!("number {seq}"), "each number once"),
            Self::AllFailed { attempts, .. } => Coded::new(
                Code::AllOrchestratorsFailed,
                format!("{attempts} attempts"),
                format!("{} attempts", config.max_attempts),
            ),
            Self::Store(fault) => {
                Coded::new(Code::StreamStoreUnusable, with_causes(fault), "a store that can be opened")
            }
            Self::Keep(_) | Self::Directory(_) => {
                Coded::new(Code::StreamNotKept, "a file that cannot be written", "room and permission to write")
            }
            Self::Worker(_) | Self::Abandoned => {
                Coded::new(Code::WorkerFailed, "a worker that failed", "a worker that answers")
            }
        }
    }
}

impl RtmpError {
    /// Code and figures for whoever publishes over RTMP; none where nobody is there to be told.
    pub(crate) fn coded(&self, config: &BroadcasterConfig) -> Option<Coded> {
        let input = |got: String| {
            let taken = "H.264 with AAC or MP3";
            Some(Coded::new(Code::SegmentFormatDidntMatchJobInputParams, got, taken))
        };
        match self {
            Self::NotAdmitted(error) => Some(error.coded(config)),
            Self::Refused(refusal) => Some(refusal.coded(config)),
            Self::Name(error) => Some(PushError::Name(*error).coded(config)),
            Self::Tag(error) => input(error.to_string()),
            Self::Ingest(error @ IngestError::NoVideoHeader { .. }) => input(error.to_string()),
            Self::Ingest(IngestError::Media(PoolError::Media(error))) => input(error.to_string()),
            Self::Stall { waited } | Self::Setup { waited } => {
                Some(Coded::new(Code::PushTooSlow, format!("{waited:?} of silence"), format!("{waited:?}")))
            }
            Self::Ingest(IngestError::Media(_)) | Self::Abandoned => {
                Some(Coded::new(Code::WorkerFailed, "a worker that failed", "a worker that answers"))
            }
            Self::Io(_) | Self::Protocol(_) | Self::Commands { .. } | Self::Stuck(_) => None,
        }
    }

    /// The reason as the encoder and the log get it, with its code at the end.
    pub(crate) fn told(&self, config: &BroadcasterConfig) -> String {
        let text = with_causes(self);
        match self.coded(config) {
            Some(coded) => format!("{text} ({})", coded.code),
            None => text,
        }
    }
}

impl AdmitError {
    /// Code and figures for whoever publishes.
    pub fn coded(&self, config: &BroadcasterConfig) -> Coded {
        match self {
            Self::NotListed(name) => {
                Coded::new(Code::StreamNotAllowed, name, format!("{} streams in the list", config.streams.len()))
            }
            Self::NoKey(name) => {
                Coded::new(Code::StreamKeyWrong, format!("{name}, which has none"), "a name that has a key")
            }
            Self::WrongKey(name) => {
                Coded::new(Code::StreamKeyWrong, format!("a missing or wrong key for {name}"), "the key in the setting")
            }
            Self::Webhook { source, .. } => {
                Coded::new(Code::StreamNotAdmitted, with_causes(source), "an answer of 200")
            }
            Self::OtherProfiles { asked, known, .. } => Coded::new(
                Code::StreamProfilesDiffer,
                format!("{asked} renditions"),
                format!("the {known} renditions of the stream"),
            ),
            Self::Live(name) => Coded::new(Code::StreamLive, name, "a stream that is not live"),
            Self::TooMany { live, max, .. } => {
                Coded::new(Code::TooManyStreams, format!("{live} streams"), format!("{max} streams"))
            }
        }
    }
}

impl Refusal {
    /// Code and figures for whoever pushes.
    pub fn coded(&self, config: &BroadcasterConfig) -> Coded {
        match self {
            Self::Stopping => Coded::new(Code::NodeStopping, "stopping", "running"),
            Self::ChainUnknown => Coded::new(Code::ChainUnknown, "0 answers", "1 answer"),
            Self::FundsUnknown => Coded::new(Code::DepositUnknown, "0 answers", "1 answer"),
            Self::Funds(FundsError::UnlockingSoon { withdraw_round }) => {
                Coded::new(Code::SenderUnlocking, format!("withdrawal from round {withdraw_round}"), "2 rounds or more")
            }
            Self::Funds(FundsError::NoReserve) => Coded::new(Code::NoReserve, "0 wei", "1 wei"),
            Self::Funds(FundsError::NoDeposit) => Coded::new(Code::NoDeposit, "0 wei", "1 wei"),
            Self::Signer(told) => Coded::new(Code::SignerFailed, told, "signed payments"),
            Self::Budget(BudgetError::Stream(over)) => over_budget(Code::StreamBudgetSpent, over),
            Self::Budget(BudgetError::Day(over)) => over_budget(Code::DayBudgetSpent, over),
            Self::NoOrchestrators => Coded::new(Code::NoOrchestrators, "0 orchestrators", "1 orchestrator"),
            Self::NoneUsable(dropped) => Coded::new(Code::NoUsableOrchestrator, "0 orchestrators", dropped.to_string()),
            Self::TooManyStreams(live) => {
                Coded::new(Code::TooManyStreams, format!("{live} streams"), format!("{} streams", config.max_streams))
            }
            Self::Behind(waiting) => Coded::new(
                Code::StreamBehind,
                format!("{waiting} segments"),
                format!("{} segments", config.max_segments_in_flight.saturating_add(config.max_segments_waiting)),
            ),
            Self::Memory => memory(config),
            Self::Ending(name) => Coded::new(Code::StreamEnding, name, "a stream that has ended"),
        }
    }
}

fn over_budget(code: Code, over: &OverBudget) -> Coded {
    let OverBudget { spent, limit, wanted } = over;
    Coded::new(code, format!("{spent} wei and {wanted} wei more"), format!("{limit} wei"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{body::Body, http::HeaderMap};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::{arriving::Arriving, push::read_body};

    async fn refused(body: Body) -> Coded {
        let memory = Arc::new(Semaphore::new(100));
        let error = read_body(body, &HeaderMap::new(), 100, &memory, &Arriving::default()).await.unwrap_err();
        error.coded(&BroadcasterConfig::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_encoder_is_told_for_how_long() {
        let silent = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
        assert_eq!(refused(silent).await, Coded::new(Code::PushTooSlow, "30s of silence", "30s"));
    }

    #[tokio::test]
    async fn a_segment_that_breaks_off_is_told_so() {
        let broken =
            futures::stream::iter([Ok(bytes::Bytes::from_static(b"part")), Err(std::io::Error::other("gone"))]);
        let told = refused(Body::from_stream(broken)).await;
        assert_eq!(told, Coded::new(Code::PushCutOff, "a part of the segment", "all of the segment"));
    }
}
