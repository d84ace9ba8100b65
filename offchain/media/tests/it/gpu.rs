//! Devices as a node meets them. This machine may have one or not: what has none, device 4242, fails as a broken one does.
use streamflow_media::{
    Encoder, MediaError, PoolError, TranscodeJob, TranscodeSettings, WorkerPool,
    gpu::{BreakerPolicy, Coding, DeviceChoice, Fallback, Fleet, NoDevice, Unusable, UsableDevice},
};
use streamflow_types::Profile;

use crate::{clip, pool::config};

fn broken_device(fallback: Fallback) -> Fleet {
    let device = UsableDevice { device: 4242, decodes: vec![Coding::H264], sessions: None };
    Fleet::new(vec![device], Encoder::Nvenc, fallback, BreakerPolicy::default())
}

fn job() -> TranscodeJob {
    let settings =
        TranscodeSettings { encoder: Encoder::Nvenc, preset: "ultrafast".into(), ..TranscodeSettings::default() };
    TranscodeJob { segment: clip::segment(4), profiles: vec![Profile::new("a", 320, 180, 300_000).unwrap()], settings }
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
async fn segments_leave_a_broken_device_for_the_cpu() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    pool.use_devices(broken_device(Fallback::Cpu));
    for _ in 0..BreakerPolicy::default().faults {
        let error = pool.transcode(job()).await.unwrap_err();
        assert!(matches!(error, PoolError::Media(MediaError::Gpu { device: 4242, .. })), "{error}");
        assert!(error.to_string().len() > "device 4242 cannot open the device: ".len(), "{error}");
    }
    let done = pool.transcode(job()).await.unwrap();
    assert_eq!(done.output.renditions[0].frames, 25);
    pool.shutdown().await;
}

#[tokio::test]
async fn where_the_cpu_may_not_help_segments_are_refused() {
    let pool = WorkerPool::start(config(1)).await.unwrap();
    pool.use_devices(broken_device(Fallback::Refuse));
    for _ in 0..BreakerPolicy::default().faults {
        pool.transcode(job()).await.unwrap_err();
    }
    let error = pool.transcode(job()).await.unwrap_err();
    assert!(matches!(error, PoolError::NoDevice(NoDevice::Broken { .. })), "{error}");
    assert!(error.to_string().starts_with("every device failed, the next is tried in "), "{error}");
    pool.inspect(clip::segment(4)).await.unwrap();
    pool.shutdown().await;
}
