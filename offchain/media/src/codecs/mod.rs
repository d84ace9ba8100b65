//! What pictures and sound may be coded in, and how playlists name it (RFC 6381).
mod adts;
mod av1;
mod avc;
mod hevc;
mod vp9;

use ffmpeg_next::{
    Packet,
    codec::{Context, Id, Parameters},
    decoder, frame,
};

use crate::{MediaError, demux::told_size, error::libav, rate::FrameRate, settings::Audio};

/// Decoders that may look into a segment, as libav names them.
pub(crate) const DECODERS: &str =
    "h264,hevc,vp9,libdav1d,libaom-av1,aac,mp3float,mp3,mp2float,mp2,ac3,eac3,opus,libopus";

/// Refuses pictures that are not decoded here.
pub(crate) fn check_video(id: Id) -> Result<(), MediaError> {
    let known = matches!(id, Id::H264 | Id::HEVC | Id::VP9 | Id::AV1);
    let decoded =
        known && decoder::find(id).is_some_and(|decoder| DECODERS.split(',').any(|name| name == decoder.name()));
    if decoded { Ok(()) } else { Err(MediaError::UnsupportedVideo { codec: id.name().into() }) }
}

/// Whether transport streams carry it; MP4 carries all.
pub(crate) fn goes_into_transport_streams(id: Id) -> bool {
    matches!(id, Id::H264 | Id::HEVC)
}

/// Name of pictures, from what the container says and from packets, in their order.
pub(crate) fn video_name<'a>(
    parameters: &Parameters,
    fps: FrameRate,
    packets: impl IntoIterator<Item = &'a Packet>,
) -> Option<String> {
    let mut data = packets.into_iter().filter_map(Packet::data);
    match parameters.id() {
        Id::H264 => data.find_map(avc::name),
        Id::HEVC => data.find_map(hevc::name),
        Id::VP9 => data.find_map(|data| vp9::name(data, vp9::level(pixels(parameters), fps))),
        Id::AV1 => av1::name(configuration(parameters)),
        _ => None,
    }
}

/// Adds what containers say of a coding and neither its encoder nor its decoder does.
#[allow(unsafe_code)] // the library has no setter
pub(crate) fn complete(parameters: &mut Parameters, fps: FrameRate) {
    if parameters.id() == Id::VP9 {
        let level = vp9::level(pixels(parameters), fps);
        // SAFETY: the pointer is that of live parameters which nobody else holds, and the field is a plain number.
        unsafe { (*parameters.as_mut_ptr()).level = level };
    }
}

fn pixels(parameters: &Parameters) -> u64 {
    let (width, height) = told_size(parameters);
    u64::from(width) * u64::from(height)
}

/// What the container says to decoders.
#[allow(unsafe_code)] // the library has no getter
fn configuration(parameters: &Parameters) -> &[u8] {
    // SAFETY: libav keeps as many bytes at that place as it says, for as long as the parameters live, which are borrowed.
    unsafe {
        let (data, len) = ((*parameters.as_ptr()).extradata, (*parameters.as_ptr()).extradata_size);
        if data.is_null() { &[] } else { std::slice::from_raw_parts(data, usize::try_from(len).unwrap_or(0)) }
    }
}

/// Whether decoding can begin with this packet.
pub(crate) fn is_entry(id: Id, packet: &Packet) -> bool {
    match (id, packet.data()) {
        (Id::H264, Some(data)) => avc::is_idr(data),
        (Id::HEVC, Some(data)) => hevc::is_entry(data),
        _ => packet.is_key(),
    }
}

/// Refuses audio that renditions cannot carry on unchanged, or that is not decoded here.
pub(crate) fn check_audio(id: Id, audio: Audio) -> Result<(), MediaError> {
    let decoded = audio == Audio::Aac && matches!(id, Id::MP2 | Id::EAC3 | Id::OPUS);
    if decoded || audio_codec(id).is_some() {
        return Ok(());
    }
    Err(MediaError::UnsupportedAudio { codec: id.name().into() })
}

/// Refuses a packet of sound that is not taken. Transport streams call layers II and III of MPEG audio the same: the
/// packet itself tells them apart.
pub(crate) fn check_sound(id: Option<Id>, packet: &Packet, audio: Audio) -> Result<(), MediaError> {
    const LAYER_II: u8 = 0b10;
    let id = id.unwrap_or(Id::None);
    let layer = packet.data().and_then(|data| data.get(1)).map(|byte| byte >> 1 & 0b11);
    check_audio(if id == Id::MP3 && layer == Some(LAYER_II) { Id::MP2 } else { id }, audio)
}

/// How long a packet of sound lasts, where libav does not say it before it has decoded some. Ticks.
pub(crate) fn sound_ticks(id: Id, packet: &Packet) -> Option<i64> {
    packet.data().filter(|_| id == Id::AAC).and_then(adts::ticks)
}

/// The parameters of sound as its first packets have them: transport streams do not say how fast it is, MP4 must.
pub(crate) fn sounding(parameters: &Parameters, packets: &[Packet]) -> Result<Parameters, MediaError> {
    let failed = || libav("decode sound");
    let context = Context::from_parameters(parameters.clone()).map_err(failed())?;
    let mut decoder = context.decoder().audio().map_err(failed())?;
    if decoder.rate() > 0 {
        return Ok(parameters.clone());
    }
    let mut heard = frame::Audio::empty();
    for packet in packets {
        // Damaged packets tell nothing.
        let _ = decoder.send_packet(packet);
        if decoder.receive_frame(&mut heard).is_ok() {
            break;
        }
    }
    Ok(Parameters::from(&decoder))
}

/// Name of a passed-through audio codec.
pub(crate) fn audio_codec(id: Id) -> Option<&'static str> {
    match id {
        Id::AAC => Some("mp4a.40.2"),
        Id::MP3 => Some("mp4a.40.34"),
        Id::AC3 => Some("ac-3"),
        _ => None,
    }
}
