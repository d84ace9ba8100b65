//! What a signed receipt needs to know of a result beside its hashes: what made it.
use std::{
    ffi::CStr,
    fmt,
    hint::black_box,
    sync::{Mutex, OnceLock, PoisonError},
};

use alloy_primitives::{B256, keccak256};
use ffmpeg_next::{codec, ffi, format, software::scaling};
use serde::{Deserialize, Serialize};
use streamflow_types::{Keccak256, Profile, VideoCodec};

use crate::{
    MediaError, TranscodeSettings, library,
    settings::{Audio, Encoder},
};

/// Arguments for which the functions that rate control is made of are evaluated.
const SAMPLES: u16 = 4096;

/// Names all that shapes the bytes of H.264 renditions beside their source and the list of profiles: settings, and
/// builds of the libraries. One line of text.
///
/// Where [`Evidence::deterministic`] is true, equal ids mean equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SettingsId(String);

impl SettingsId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// keccak256 of the text, for where 32 bytes are wanted.
    pub fn hash(&self) -> B256 {
        keccak256(&self.0)
    }
}

impl fmt::Display for SettingsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What made the renditions of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Settings and libraries.
    pub settings: SettingsId,
    /// Encoder of the H.264 renditions and, where it tells, its build: `libx264 core 164 r3095 baee400`.
    pub encoder: String,
    /// Whether whoever encodes the same source and profiles under the same id gets the same bytes.
    pub deterministic: bool,
}

impl Evidence {
    /// Of a job of this process.
    pub(crate) fn of(settings: &TranscodeSettings, profiles: &[Profile]) -> Result<Self, MediaError> {
        let by_x264 =
            settings.encoder == Encoder::X264 && profiles.iter().all(|profile| profile.encoder == VideoCodec::H264);
        Ok(Self {
            settings: settings_id(settings)?,
            encoder: encoder_version(settings)?,
            // AAC that is made here is computed in floating point.
            deterministic: settings.deterministic && by_x264 && settings.audio == Audio::Copy,
        })
    }
}

/// The id of renditions that this process makes with `settings`. In a worker of a [`crate::WorkerPool`] that of
/// deterministic ones may be another: there glibc computes as on every processor. What a worker made tells its own id.
///
/// # Errors
/// [`MediaError::EncoderUnavailable`]: only an encoder that works tells what it is.
pub fn settings_id(settings: &TranscodeSettings) -> Result<SettingsId, MediaError> {
    library::prepare();
    let TranscodeSettings {
        preset,
        nvenc_preset,
        encoder_threads,
        decoder_threads,
        deterministic,
        low_latency,
        audio,
        ..
    } = settings;
    let encoder = encoder_version(settings)?;
    let preset = if settings.encoder == Encoder::X264 { preset } else { nvenc_preset };
    let own = if *deterministic {
        // Threads count for nothing then, and all that could make a difference does.
        format!("deterministic numbers={}", numbers())
    } else {
        format!("threads={encoder_threads},{decoder_threads}")
    };
    let latency = if *low_latency { " low_latency" } else { "" };
    let sound = if *audio == Audio::Aac { " audio=aac" } else { "" };
    let version = env!("CARGO_PKG_VERSION");
    Ok(SettingsId(format!(
        "streamflow/{version} encoder={encoder:?} preset={preset:?} {own}{latency}{sound} {}",
        libraries()
    )))
}

/// Builds of libav, and the kind of processor.
fn libraries() -> String {
    let version = |number: u32| format!("{}.{}.{}", number >> 16, number >> 8 & 0xff, number & 0xff);
    let configuration = keccak256(codec::configuration());
    format!(
        "ffmpeg={:?} libavcodec={} libavformat={} libswscale={} configuration={} {}",
        ffmpeg_version(),
        version(codec::version()),
        version(format::version()),
        version(scaling::version()),
        short(configuration),
        std::env::consts::ARCH,
    )
}

#[allow(unsafe_code)] // the library has no wrapper
fn ffmpeg_version() -> String {
    // SAFETY: the function takes nothing and returns a string that ends with a zero and lives as long as the process.
    unsafe { CStr::from_ptr(ffi::av_version_info()) }.to_string_lossy().into_owned()
}

/// Enough of a hash to tell builds apart.
fn short(hash: B256) -> String {
    alloy_primitives::hex::encode(&hash[..8])
}

/// Names the way in which this process computes powers, exponentials and logarithms: they differ between versions of the
/// C library, and within one by the processor.
fn numbers() -> &'static str {
    static NUMBERS: OnceLock<String> = OnceLock::new();
    NUMBERS.get_or_init(|| {
        let mut hasher = Keccak256::new();
        for sample in 1..=SAMPLES {
            let x = black_box(f64::from(sample) * 0.173);
            for y in [x.powf(0.6), (x / 100.0).exp(), (x / 100.0).exp2(), x.ln(), x.log2(), x.log10()] {
                hasher.update(y.to_bits().to_be_bytes());
            }
            let x = black_box(x as f32);
            for y in [x.powf(0.6), (x / 100.0).exp2(), x.log2()] {
                hasher.update(y.to_bits().to_be_bytes());
            }
        }
        short(hasher.finalize())
    })
}

/// What the encoder calls itself, asked once.
fn encoder_version(settings: &TranscodeSettings) -> Result<String, MediaError> {
    static X264: Mutex<Option<String>> = Mutex::new(None);
    if settings.encoder != Encoder::X264 {
        return Ok(settings.encoder.to_string());
    }
    let mut known = X264.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(version) = &*known {
        return Ok(version.clone());
    }
    let packets = library::try_encoder(settings)?;
    let build = packets.iter().filter_map(|packet| packet.data()).find_map(x264_build);
    let version = build.map_or_else(|| Encoder::X264.to_string(), |build| format!("{} {build}", Encoder::X264));
    Ok(known.insert(version).clone())
}

/// libx264 writes into its first picture who it is: `x264 - core 164 r3095 baee400 - H.264/MPEG-4 AVC codec - …`.
fn x264_build(packet: &[u8]) -> Option<String> {
    const BEFORE: &[u8] = b"x264 - ";
    const AFTER: &[u8] = b" - ";
    let start = packet.windows(BEFORE.len()).position(|window| window == BEFORE)? + BEFORE.len();
    let rest = packet.get(start..)?;
    let end = rest.windows(AFTER.len()).position(|window| window == AFTER)?;
    std::str::from_utf8(&rest[..end]).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(settings: &TranscodeSettings) -> SettingsId {
        settings_id(settings).unwrap()
    }

    #[test]
    fn the_id_names_the_encoder_and_its_build_and_the_libraries() {
        let id = id(&TranscodeSettings { deterministic: true, ..TranscodeSettings::default() });
        let text = id.as_str();
        for part in ["encoder=\"libx264 core ", " r", "preset=\"veryfast\"", "deterministic", "ffmpeg=", "libswscale="]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(id.hash(), keccak256(text));
    }

    #[test]
    fn settings_that_change_bytes_change_the_id() {
        let exact = TranscodeSettings { deterministic: true, ..TranscodeSettings::default() };
        let changes: [fn(&mut TranscodeSettings); 4] = [
            |s| s.preset = "medium".into(),
            |s| s.low_latency = true,
            |s| s.deterministic = false,
            |s| s.audio = Audio::Aac,
        ];
        for change in changes {
            let mut other = exact.clone();
            change(&mut other);
            assert_ne!(id(&other), id(&exact));
        }
        let more_threads = |settings: &TranscodeSettings| {
            let threads = TranscodeSettings { encoder_threads: 7, decoder_threads: 7, ..settings.clone() };
            (id(&threads), id(settings))
        };
        let (threads, without) = more_threads(&exact);
        assert_eq!(threads, without, "deterministic renditions have one thread each");
        let (threads, without) = more_threads(&TranscodeSettings::default());
        assert_ne!(threads, without);
    }

    #[test]
    fn a_build_is_read_only_where_it_is_written() {
        let sei = b"\0\0\x01\x06x264 - core 164 r3095 baee400 - H.264/MPEG-4 AVC codec";
        assert_eq!(x264_build(sei).as_deref(), Some("core 164 r3095 baee400"));
        assert_eq!(x264_build(b"x264 - core 164"), None);
        assert_eq!(x264_build(b""), None);
    }
}
