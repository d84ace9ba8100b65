//! Deterministic renditions: the same bytes from any worker of any machine with the same libraries.
use std::{collections::BTreeSet, ops::ControlFlow, path::Path};

use alloy_primitives::keccak256;
use bytes::Bytes;
use streamflow_media::{PoolConfig, TranscodeJob, TranscodeSettings, WorkerPool, inspect, settings_id, transcode_live};
use streamflow_types::{Container, Gop, Profile};

use crate::{
    clip,
    made::{H264, made as generated},
    pool::{config, program},
};

/// Sets of instructions, each with all before it. Every x86-64 processor has the first.
const INSTRUCTIONS: [&str; 5] = [
    "mmx+mmxext+sse+sse2",
    "mmx+mmxext+sse+sse2+sse3+ssse3",
    "mmx+mmxext+sse+sse2+sse3+ssse3+sse4.1+sse4.2",
    "mmx+mmxext+sse+sse2+sse3+ssse3+sse4.1+sse4.2+avx",
    "mmx+mmxext+sse+sse2+sse3+ssse3+sse4.1+sse4.2+avx+fma3+bmi1+bmi2+avx2",
];

fn settings() -> TranscodeSettings {
    TranscodeSettings { preset: "medium".into(), deterministic: true, ..TranscodeSettings::default() }
}

/// Widths of every kind, another frame rate, both containers.
fn profiles() -> Vec<Profile> {
    let profile = |name: &str, width, height| Profile::new(name, width, height, 500_000).unwrap();
    vec![
        Profile { gop: Gop::Millis(2000), ..profile("480p", 854, 480) },
        Profile { fps: 30, fps_den: 1, ..profile("360p", 640, 360) },
        Profile { format: Container::Mp4, ..profile("240p", 426, 240) },
    ]
}

fn job(segment: &Bytes, settings: TranscodeSettings) -> TranscodeJob {
    TranscodeJob { segment: segment.clone(), profiles: profiles(), settings, deadline: None }
}

async fn made(pool: &WorkerPool, job: TranscodeJob) -> Vec<Bytes> {
    let done = pool.transcode(job).await.unwrap();
    done.output.renditions.into_iter().map(|rendition| rendition.bytes).collect()
}

/// What one worker makes that is started by a program with arguments.
async fn made_by(worker: &Path, args: &[&str], segment: &Bytes, settings: TranscodeSettings) -> Vec<Bytes> {
    let pool = PoolConfig { workers: 1, ..PoolConfig::new(worker, args) };
    let pool = WorkerPool::start(pool).await.unwrap();
    let made = made(&pool, job(segment, settings)).await;
    pool.shutdown().await;
    made
}

/// The same in an environment with another variable.
async fn made_with(variable: &str, segment: &Bytes) -> Vec<Bytes> {
    made_by("/usr/bin/env".as_ref(), &[variable, program("media_worker").to_str().unwrap()], segment, settings()).await
}

/// A segment with bits turned over that its decoder has to make something of.
fn damaged() -> Bytes {
    let mut bytes = clip::segment(4).to_vec();
    let len = bytes.len();
    for step in 1..40 {
        let at = len / 40 * step;
        // Behind the head of a transport packet.
        bytes[at / 188 * 188 + 100] ^= 0x55;
    }
    bytes.into()
}

#[tokio::test]
async fn any_number_of_workers_and_threads_makes_the_same() {
    let segment = clip::segment(4);
    let mut all = BTreeSet::new();
    for workers in [1, 3] {
        let pool = WorkerPool::start(config(workers)).await.unwrap();
        let mut running = tokio::task::JoinSet::new();
        for threads in 1..=4 {
            let settings = TranscodeSettings { decoder_threads: threads, encoder_threads: 5 - threads, ..settings() };
            let (pool, job) = (pool.clone(), job(&segment, settings));
            running.spawn(async move { made(&pool, job).await });
        }
        all.extend(running.join_all().await);
        pool.shutdown().await;
    }
    assert_eq!(all.len(), 1);
}

#[tokio::test]
async fn results_tell_what_a_receipt_needs() {
    let segment = clip::segment(4);
    let mut told = Vec::new();
    for settings in [settings(), TranscodeSettings::default()] {
        let pool = WorkerPool::start(config(1)).await.unwrap();
        let made = pool.transcode(job(&segment, settings.clone())).await.unwrap().output;
        let mut pieces = vec![Vec::new(); profiles().len()];
        let streamed = transcode_live(&segment[..], &profiles(), &settings, &mut |piece| {
            pieces[piece.rendition].extend_from_slice(&piece.bytes);
            ControlFlow::Continue(())
        });
        for ((made, streamed), pieces) in made.renditions.iter().zip(streamed.unwrap().renditions).zip(&pieces) {
            assert_eq!(made.hash, keccak256(&made.bytes), "{}", made.name);
            assert_eq!(streamed.hash, keccak256(pieces), "{}", made.name);
            assert_eq!(made.pixels, inspect(&made.bytes).unwrap().pixels, "{}", made.name);
        }
        assert_eq!(made.evidence.deterministic, settings.deterministic);
        assert!(made.evidence.encoder.starts_with("libx264 core "), "{}", made.evidence.encoder);
        assert!(made.evidence.settings.as_str().contains(&made.evidence.encoder), "{}", made.evidence.settings);
        told.push(made.evidence.settings);
        pool.shutdown().await;
    }
    assert_eq!(told[1], settings_id(&TranscodeSettings::default()).unwrap());
    // This process may use what only some processors have.
    #[cfg(target_arch = "x86_64")]
    assert_eq!(told[0] != settings_id(&settings()).unwrap(), std::arch::is_x86_feature_detected!("fma"));
}

#[tokio::test]
async fn what_a_worker_did_before_changes_nothing() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let first = made(&pool, job(&clip::segment(4), settings())).await;
    made(&pool, job(&clip::segment(1), TranscodeSettings::default())).await;
    made(&pool, job(&damaged(), settings())).await;
    assert!(made(&pool, job(&clip::segment(4), settings())).await == first);
    pool.shutdown().await;
}

#[tokio::test]
async fn every_set_of_instructions_makes_the_same() {
    let segment = clip::segment(4);
    let worker = program("media_worker");
    let best = made_by(&worker, &[], &segment, settings()).await;
    for instructions in INSTRUCTIONS.into_iter().chain(["0"]) {
        assert!(made_by(&worker, &[instructions], &segment, settings()).await == best, "{instructions}");
    }
    // What the setting is for: without it libswscale scales otherwise, which only pictures other than 4:2:0 are left to.
    let loose = TranscodeSettings { deterministic: false, encoder_threads: 1, ..settings() };
    let pictures = generated(&["-f lavfi -i testsrc2=s=1280x720:r=25:d=0.2", H264, "-pix_fmt yuv422p"], "loose.ts");
    let (all, none) = (made_by(&worker, &[], &pictures, loose.clone()), made_by(&worker, &["0"], &pictures, loose));
    assert!(all.await != none.await);
}

#[tokio::test]
async fn every_choice_of_glibc_makes_the_same() {
    let segment = clip::segment(4);
    let usual = made_by(&program("media_worker"), &[], &segment, settings()).await;
    let choices =
        ["", "-AVX512F,-AVX512VL,-AVX512BW", "-AVX2,-AVX512F,-AVX512VL", "-FMA,-FMA4,-AVX2,-AVX,-SSE4_1,-SSSE3"];
    for choice in choices {
        let made = made_with(&format!("GLIBC_TUNABLES=glibc.cpu.hwcaps={choice}"), &segment).await;
        assert!(made == usual, "{choice}");
    }
}

#[tokio::test]
async fn nothing_is_read_that_was_not_written() {
    // As long as the encoder looks ahead, and more.
    let segment = clip::segment(1);
    let usual = made_by(&program("media_worker"), &[], &segment, settings()).await;
    for filling in ["85", "170"] {
        assert!(made_with(&format!("MALLOC_PERTURB_={filling}"), &segment).await == usual, "{filling}");
    }
}

/// Its decoder deblocks across the edge of a slice that is lost, whose QP it never wrote.
#[tokio::test]
async fn nothing_is_read_of_slices_that_are_lost() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures/mandelbrot-hevc-damaged.mp4");
    let segment = std::fs::read(fixture).unwrap().into();
    let usual = made_by(&program("media_worker"), &[], &segment, settings()).await;
    for filling in ["85", "170"] {
        assert!(made_with(&format!("MALLOC_PERTURB_={filling}"), &segment).await == usual, "{filling}");
    }
}

#[tokio::test]
async fn a_damaged_segment_is_concealed_in_one_way() {
    let segment = damaged();
    assert!(inspect(&segment).unwrap().decode_errors > 0);
    let worker = program("media_worker");
    let usual = made_by(&worker, &[], &segment, settings()).await;
    for decoder_threads in [2, 4] {
        let settings = TranscodeSettings { decoder_threads, ..settings() };
        assert!(made_by(&worker, &[], &segment, settings).await == usual, "{decoder_threads} threads");
    }
    for instructions in INSTRUCTIONS.into_iter().step_by(2) {
        assert!(made_by(&worker, &[instructions], &segment, settings()).await == usual, "{instructions}");
    }
}
