//! Devices as a node meets them. This machine may have one or not: what has none, device 4242, fails as a broken one does.
use streamflow_media::{
    Encoder, Made, MediaError, PoolError, TranscodeJob, TranscodeSettings, WorkerPool,
    gpu::{BreakerPolicy, Coding, DeviceChoice, Fallback, Fleet, NoDevice, Unusable, UsableDevice},
};
use streamflow_types::{Profile, VideoCodec};

use crate::{clip, pool::config};

fn broken_device(fallback: Fallback) -> Fleet {
    let device =
        UsableDevice { device: 4242, decodes: vec![Coding::H264], encodes: vec![VideoCodec::H264], sessions: None };
    Fleet::new(vec![device], Encoder::Nvenc, fallback, BreakerPolicy::default())
}

fn profiles() -> Vec<Profile> {
    vec![Profile::new("a", 320, 180, 300_000).unwrap()]
}

fn job() -> TranscodeJob {
    let settings =
        TranscodeSettings { encoder: Encoder::Nvenc, preset: "ultrafast".into(), ..TranscodeSettings::default() };
    TranscodeJob { segment: clip::segment(4), profiles: profiles(), settings, deadline: None }
}

#[tokio::test]
async fn the_probe_says_what_the_machine_has_or_what_is_missing() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    let devices = pool.probe_devices(&DeviceChoice::All).await.unwrap();
    match &devices.driver {
        Ok(cuda) => assert!(cuda.0 >= 10, "{devices:?}"),
        Err(reason) => {
            eprintln!("skipped the trials of a device: {reason}");
            assert!(reason.contains("libcuda.so.1"), "{reason}");
            let refused = devices.select(&DeviceChoice::Auto, Encoder::Nvenc);
            assert!(matches!(refused, Err(Unusable::NoDriver { .. })), "{refused:?}");
        }
    }
    pool.transcode(TranscodeJob { settings: TranscodeSettings::default(), ..job() }).await.unwrap();
    pool.shutdown().await;
}

#[tokio::test]
async fn segments_leave_a_broken_device_for_the_cpu_and_are_not_held_guilty() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    pool.use_devices(broken_device(Fallback::Cpu));
    // More than the breaker takes, and more than a segment may cost workers.
    for _ in 0..5 {
        let done = pool.transcode(job()).await.unwrap();
        assert_eq!(done.output.renditions[0].frames, 25);
    }
    pool.shutdown().await;
}

#[tokio::test]
async fn a_segment_that_comes_in_leaves_a_broken_device_as_well() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    pool.use_devices(broken_device(Fallback::Cpu));
    let (feed, mut made) = pool.transcode_stream(profiles(), job().settings, None).unwrap();
    let (first, rest) = (clip::segment(4).slice(..20_000), clip::segment(4).slice(20_000..));
    tokio::spawn(async move {
        assert!(feed.send(first).await && feed.send(rest).await && feed.finish().await);
    });
    let report = loop {
        if let Made::Done(report) = made.next().await.unwrap().unwrap() {
            break report;
        }
    };
    assert_eq!(report.output.renditions[0].frames, 25);
    pool.shutdown().await;
}

#[tokio::test]
async fn where_the_cpu_may_not_help_segments_are_refused() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    pool.use_devices(broken_device(Fallback::Refuse));
    for _ in 0..BreakerPolicy::default().faults {
        let error = pool.transcode(job()).await.unwrap_err();
        assert!(matches!(error, PoolError::Media(MediaError::Gpu { device: 4242, .. })), "{error}");
        assert!(error.to_string().len() > "device 4242 cannot open the device: ".len(), "{error}");
    }
    let error = pool.transcode(job()).await.unwrap_err();
    assert!(matches!(error, PoolError::NoDevice(NoDevice::Broken { .. })), "{error}");
    assert!(error.to_string().starts_with("every device failed, the next is tried in "), "{error}");
    pool.inspect(clip::segment(4)).await.unwrap();
    pool.shutdown().await;
}
