//! The sound of a segment, which every rendition carries as it came.
use std::sync::{Mutex, MutexGuard, PoisonError};

use ffmpeg_next::{Packet, codec};

use crate::{avc, mux::AUDIO_STREAM};

/// Packets of sound as they come in.
pub(super) struct Sound(Mutex<Heard>);

struct Heard {
    /// What the stream is, if there is one that renditions can carry.
    parameters: Option<codec::Parameters>,
    packets: Vec<Packet>,
    ended: bool,
}

impl Sound {
    pub(super) fn new(parameters: Option<&codec::Parameters>) -> Self {
        let parameters = parameters.filter(|parameters| avc::audio_codec(parameters.id()).is_some()).cloned();
        let ended = parameters.is_none();
        Self(Mutex::new(Heard { parameters, packets: Vec::new(), ended }))
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn parameters(&self) -> Option<codec::Parameters> {
        self.lock().parameters.clone()
    }

    pub(super) fn push(&self, mut packet: Packet) {
        packet.set_stream(AUDIO_STREAM);
        self.lock().packets.push(packet);
    }

    /// No more will come.
    pub(super) fn end(&self) {
        self.lock().ended = true;
    }

    /// As a playlist names it (RFC 6381), if there was any.
    pub(super) fn codec(&self) -> Option<&'static str> {
        let heard = self.lock();
        let any = heard.parameters.as_ref().filter(|_| !heard.packets.is_empty());
        any.and_then(|parameters| avc::audio_codec(parameters.id()))
    }

    /// The packets from the `from`th on that are due before a picture decoded at `dts`, and whether they are all: where
    /// later ones may still come, the picture must wait for them, or files would depend on how fast their source came.
    pub(super) fn due(&self, from: usize, dts: Option<i64>) -> (Vec<Packet>, bool) {
        let heard = self.lock();
        let due: Vec<_> = heard.packets.iter().skip(from).take_while(|packet| packet.dts() <= dts).cloned().collect();
        let all = heard.ended || from + due.len() < heard.packets.len();
        (due, all)
    }

    /// The packets from the `from`th on.
    pub(super) fn rest(&self, from: usize) -> Vec<Packet> {
        self.lock().packets.iter().skip(from).cloned().collect()
    }
}
