//! What viewers get of a segment, and where copies of it go.
mod copies;
mod store;

use std::time::Duration;

use bytes::Bytes;
pub(crate) use copies::{Copies, Published, Track};
pub use store::OutputStoreError;
pub(crate) use store::Store;
use streamflow_media::{
    Fragment,
    hls::{HlsError, HlsWriter},
};
use streamflow_types::Container;

use crate::{broadcaster::Core, config::HlsFormat, error::SegmentError, stream::LiveStream};

/// A segment as HLS serves it.
#[derive(Clone, Debug)]
pub(crate) enum Shown {
    /// As it is.
    Whole(Bytes),
    /// Made into a fragment of MP4.
    Fragment(Fragment),
}

impl Shown {
    fn bytes(&self) -> &Bytes {
        match self {
            Self::Whole(media) => media,
            Self::Fragment(made) => &made.media,
        }
    }

    /// As the playlist names it.
    fn file(&self, seq: u64) -> String {
        match self {
            Self::Whole(_) => format!("{seq}.ts"),
            Self::Fragment(_) => format!("{seq}.m4s"),
        }
    }

    fn content_type(&self) -> &'static str {
        match self {
            Self::Whole(_) => "video/mp2t",
            Self::Fragment(_) => "video/mp4",
        }
    }

    /// Returns the file name of what goes before a fragment.
    pub(crate) async fn publish(
        &self,
        writer: &mut HlsWriter,
        seq: u64,
        duration: Duration,
    ) -> Result<Option<String>, HlsError> {
        match self {
            Self::Whole(media) => writer.publish(seq, media, duration).await.map(|()| None),
            Self::Fragment(made) => writer.publish_fragment(seq, made, duration).await.map(Some),
        }
    }
}

impl Core {
    /// Makes of a segment what viewers get. Without pictures there is nothing to make a fragment of.
    pub(crate) async fn show(&self, stream: &LiveStream, media: &Bytes, pictures: bool) -> Result<Shown, SegmentError> {
        let mp4 = self.config.hls_format == HlsFormat::Fmp4
            || stream.profiles().iter().any(|profile| profile.format == Container::Mp4);
        if !mp4 || !pictures {
            return Ok(Shown::Whole(media.clone()));
        }
        self.checker.fragment(media).await.map(Shown::Fragment).map_err(SegmentError::Worker)
    }
}
