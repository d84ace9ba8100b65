//! A published stream, as those see it who play its source over RTMP.
use std::sync::{Mutex, MutexGuard, PoisonError};

use streamflow_types::{ManifestId, Secret};
use tokio::sync::broadcast;

use super::flv::{Kind, Tag};

/// Messages that a player may lag behind.
const BACKLOG: usize = 128;
/// Longer messages are not passed on: the backlog is held in memory.
const MAX_PASSED_ON: usize = 1 << 20;
/// Players of one stream.
pub(super) const MAX_PLAYERS: usize = 16;

/// A published stream.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) name: ManifestId,
    key: Secret,
    headers: Mutex<Headers>,
    tags: broadcast::Sender<Tag>,
}

/// What decoders must know before anything else.
#[derive(Clone, Debug, Default)]
struct Headers {
    video: Option<Tag>,
    audio: Option<Tag>,
}

impl Live {
    pub(super) fn new(name: ManifestId, key: Secret) -> Self {
        Self { name, key, headers: Mutex::default(), tags: broadcast::channel(BACKLOG).0 }
    }

    fn headers(&self) -> MutexGuard<'_, Headers> {
        self.headers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes a message on to whoever plays.
    pub(super) fn show(&self, tag: &Tag) {
        if tag.data.len() > MAX_PASSED_ON {
            return;
        }
        if tag.is_header() {
            let mut headers = self.headers();
            let slot = match tag.kind {
                Kind::Video => &mut headers.video,
                Kind::Audio => &mut headers.audio,
            };
            *slot = Some(tag.clone());
        }
        // Nobody plays: nobody misses it.
        let _ = self.tags.send(tag.clone());
    }

    /// What to begin with and what follows, for whoever has the key; `None` for others.
    pub(super) fn play(&self, key: Option<&Secret>) -> Option<(Vec<Tag>, broadcast::Receiver<Tag>)> {
        if !key.is_some_and(|key| self.key.matches(key.expose().as_bytes()))
            || self.tags.receiver_count() >= MAX_PLAYERS
        {
            return None;
        }
        let tags = self.tags.subscribe();
        let Headers { video, audio } = self.headers().clone();
        Some((video.into_iter().chain(audio).collect(), tags))
    }
}
