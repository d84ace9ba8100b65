//! Sound that is decoded and encoded again: at its time, and without a hole between segments.
use std::process::Command;

use bytes::Bytes;
use streamflow_media::{Audio, TranscodeSettings, probe};
use streamflow_types::Container;

use crate::{
    clip,
    made::{H264, made},
    outcome::{profile, settings, transcoded_with},
    surgery::{SOUND, kept, pid},
};

/// Samples a second of what comes out, and those of a frame.
const RATE: i64 = 48_000;
const FRAME: i64 = 1024;
/// A frame, in ticks of 1/90000 s.
const FRAME_TICKS: i64 = FRAME * 90_000 / RATE;

fn anew() -> TranscodeSettings {
    TranscodeSettings { audio: Audio::Aac, ..settings() }
}

/// Times of a source in MP4 may begin below 0, which those of a transport stream cannot: they wrap.
fn sound_times(bytes: &Bytes) -> Vec<i64> {
    const WRAP: i64 = 1 << 33;
    clip::times(bytes, "a", "pts").into_iter().map(|pts| if pts > WRAP / 2 { pts - WRAP } else { pts }).collect()
}

/// What is heard, one channel.
fn heard(bytes: &Bytes) -> Vec<i16> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heard");
    std::fs::write(&path, bytes).unwrap();
    let args = ["-nostdin", "-v", "fatal", "-i", path.to_str().unwrap(), "-map", "a", "-ac", "1", "-ar", "48000"];
    let pcm = Command::new("ffmpeg").args(args).args(["-f", "s16le", "-"]).output().unwrap().stdout;
    pcm.chunks_exact(2).map(|sample| i16::from_le_bytes([sample[0], sample[1]])).collect()
}

/// When it becomes loud, in ticks.
fn begins(bytes: &Bytes) -> i64 {
    let sample = heard(bytes).iter().position(|sample| sample.abs() > i16::MAX / 10).unwrap();
    sound_times(bytes)[0] + sample as i64 * 90_000 / RATE
}

#[test]
fn any_sound_becomes_aac_where_that_is_asked_for() {
    let both = [profile(Container::MpegTs), profile(Container::Mp4)];
    for (codec, file) in [
        ("aac -ar 44100", "again.ts"),
        ("libmp3lame", "mp3.mp4"),
        ("mp2", "mp2.ts"),
        ("eac3", "eac3.ts"),
        ("libopus", "opus.ts"),
        ("libopus", "opus.mp4"),
        ("aac -ac 6", "around.mp4"),
    ] {
        let tone = "-f lavfi -i testsrc2=s=160x90:r=25:d=1 -f lavfi -i sine=f=1000:r=48000:d=1";
        let source = made(&[tone, H264, "-c:a", codec], file);
        for made in transcoded_with(&source, &both, &anew()).unwrap().renditions {
            assert!(made.codecs.ends_with(",mp4a.40.2"), "{codec}: {}", made.codecs);
            let told = clip::probe_rows(&made.bytes, "a", &["-show_entries", "stream=codec_name,sample_rate,channels"]);
            assert_eq!(told[0], "aac,48000,2", "{codec}");
            let lasts = probe(&made.bytes).unwrap().audio_packets * 1024;
            assert!((46_000..52_000).contains(&lasts), "{codec}: {lasts} samples");
            let (before, after) = (loudness(&source), loudness(&made.bytes));
            // Of six channels ffmpeg makes one that is softer than two.
            let within = if codec.ends_with("6") { 8.0 } else { 1.0 };
            assert!((before - after).abs() < within, "{codec}: {before} dB became {after}");
            let times = sound_times(&made.bytes);
            assert!(times.is_sorted_by(|a, b| a < b), "{codec}: {times:?}");
        }
    }
}

/// Mean of what is heard, in decibels of the loudest.
fn loudness(bytes: &Bytes) -> f64 {
    let heard = heard(bytes);
    let power: f64 = heard.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    10.0 * (power / heard.len() as f64 / f64::from(i16::MAX).powi(2)).log10()
}

/// Two segments of two seconds; a second into each of them it becomes loud.
fn segments(codec: &str) -> Vec<Bytes> {
    let dir = tempfile::tempdir().unwrap();
    let beep = "aevalsrc='0.5*sin(2*PI*1000*t)*between(mod(t,2),1,1.5)':s=48000:d=4";
    let mut args = vec!["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=160x90:r=25:d=4", "-f", "lavfi", "-i", beep];
    args.extend(H264.split(' ').chain("-g 50 -c:a".split(' ')).chain(codec.split(' ')));
    let files = dir.path().join("%d.ts");
    args.extend(["-f", "segment", "-segment_time", "2", files.to_str().unwrap()]);
    clip::output("ffmpeg", &args);
    (0..2).map(|index| std::fs::read(dir.path().join(format!("{index}.ts"))).unwrap().into()).collect()
}

#[test]
fn sound_made_anew_stays_at_its_time_and_segments_join() {
    // At 44100 a second segments begin at times that are no whole samples of what comes out.
    for codec in ["mp2", "mp2 -ar 44100", "ac3", "eac3 -ac 6", "aac -ar 22050"] {
        let sources = segments(codec);
        let made = |source: &Bytes| {
            let both = [profile(Container::MpegTs), profile(Container::Mp4)];
            let made = transcoded_with(source, &both, &anew()).unwrap();
            assert_eq!(made, transcoded_with(source, &both, &anew()).unwrap(), "the same bytes again");
            made.renditions.into_iter().map(|rendition| rendition.bytes).collect::<Vec<_>>()
        };
        let renditions: Vec<_> = sources.iter().map(made).collect();
        for (source, made) in sources.iter().zip(&renditions) {
            let (before, after) = (sound_times(source), sound_times(&made[0]));
            assert!((after[0] - before[0]).abs() <= 1, "{codec}: {} became {}", before[0], after[0]);
            let late = begins(&made[0]) - begins(source);
            assert!(late.abs() < FRAME_TICKS, "{codec}: {late} ticks late");
            assert_eq!(after.len(), sound_times(&made[1]).len(), "{codec}");
            let steps: Vec<_> = after.windows(2).map(|two| two[1] - two[0]).collect();
            assert!(steps.iter().all(|step| (step - FRAME_TICKS).abs() <= 1), "{codec}: {steps:?}");
        }
        let end = sound_times(&renditions[0][0]).last().unwrap() + FRAME_TICKS;
        let gap = sound_times(&renditions[1][0])[0] - end;
        assert!(gap.abs() <= FRAME_TICKS, "{codec}: {gap} ticks between segments");
    }
}

#[test]
fn lost_sound_leaves_a_gap_and_no_sound_is_none() {
    let one = |source: &Bytes| {
        transcoded_with(source, &[profile(Container::MpegTs)], &anew()).unwrap().renditions.remove(0).bytes
    };
    let source = segments("mp2").swap_remove(0);
    let mut packets = 0;
    let lossy = kept(&source, |_, packet| {
        packets += i32::from(pid(packet) == SOUND);
        pid(packet) != SOUND || !(40..80).contains(&packets)
    });
    let (whole, lossy) = (sound_times(&one(&source)), sound_times(&one(&lossy)));
    assert!(lossy.windows(2).any(|two| two[1] - two[0] > 5 * FRAME_TICKS), "{lossy:?}");
    let late = lossy.last().unwrap() - whole.last().unwrap();
    assert!(late.abs() <= FRAME_TICKS, "{late} ticks late");

    let silent = kept(&source, |_, packet| pid(packet) != SOUND);
    let info = probe(&one(&silent)).unwrap();
    assert_eq!((info.frames, info.audio_packets), (50, 0));
}
