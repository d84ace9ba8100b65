//! Devices as the operator is told of them: which are used, what is missing, what to do.
use anyhow::Context as _;
use streamflow_media::{
    Encoder, WorkerPool,
    gpu::{BreakerPolicy, DeviceChoice, Fleet, Selection, Unusable, UsableDevice},
};

use crate::{config::TranscodingConfig, exit::Usage};

/// Whether the configuration wants any device.
pub(crate) fn is_wanted(config: &TranscodingConfig) -> bool {
    config.encode.encoder == Encoder::Nvenc || config.gpu.devices != DeviceChoice::Auto
}

/// The setting that wants a device, as it stands in the file.
pub(crate) fn wish(config: &TranscodingConfig) -> &'static str {
    match config.encode.encoder {
        Encoder::Nvenc => "transcoding.encode.encoder = \"nvenc\"",
        _ => "transcoding.gpu.devices",
    }
}

/// Tries the devices that the configuration wants, and has the pool use those that work; nothing where it wants none.
///
/// # Errors
/// [`Usage`] that says what is missing, and what to do.
pub(crate) async fn use_devices(pool: &WorkerPool, config: &TranscodingConfig) -> anyhow::Result<()> {
    if !is_wanted(config) {
        return Ok(());
    }
    let devices = pool.probe_devices(&config.gpu.devices).await.context("cannot try the devices")?;
    let selection = devices.select(&config.gpu.devices, config.encode.encoder);
    let Selection { usable, left_out } = selection.map_err(|unusable| refusal(&unusable, config))?;
    for unusable in left_out {
        tracing::warn!(%unusable, advice = advice(&unusable), "device is not used");
    }
    for UsableDevice { device, decodes, encodes, sessions } in &usable {
        tracing::info!(device, ?decodes, ?encodes, ?sessions, "device is used");
    }
    let (encoder, fallback) = (config.encode.encoder, config.gpu.fallback);
    pool.use_devices(Fleet::new(usable, encoder, fallback, BreakerPolicy::default()));
    Ok(())
}

/// Why the role does not start: the setting, what is missing, and what to do.
fn refusal(unusable: &Unusable, config: &TranscodingConfig) -> Usage {
    let (wish, advice) = (wish(config), advice(unusable));
    Usage(format!("configuration: {wish} cannot work here: {unusable}: {advice}; `streamflow doctor` says more"))
}

/// What to do about it.
pub(crate) fn advice(unusable: &Unusable) -> String {
    match unusable {
        Unusable::NoDriver { reason } => no_driver(reason).to_owned(),
        Unusable::NotOpened { .. } => "nvidia-smi and dmesg (Xid) say what is wrong with it".to_owned(),
        Unusable::NoDevice => "is the card seen (nvidia-smi)? A container needs --gpus all".to_owned(),
        Unusable::Missing { .. } => "nvidia-smi -L lists them; correct transcoding.gpu.devices".to_owned(),
        Unusable::NoEncoder { reason, .. } if reason.contains("libnvidia-encode") => {
            "install libnvidia-encode1; a container needs NVIDIA_DRIVER_CAPABILITIES=compute,video,utility".to_owned()
        }
        Unusable::NoEncoder { feeds_cpu: true, .. } => {
            "A100, H100 and H200 have no video encoder: decode and scale run on it, set transcoding.encode.encoder = \
             \"x264\" and transcoding.gpu.devices = \"all\""
                .to_owned()
        }
        Unusable::NoEncoder { .. } => "set transcoding.encode.encoder = \"x264\"".to_owned(),
        Unusable::NoDecoder { reason, .. } => no_decoder(reason),
        Unusable::FewSessions { .. } => {
            "are others encoding on it (nvidia-smi)? A newer driver allows consumer cards more".to_owned()
        }
    }
}

/// What to do where there is no driver.
pub(crate) fn no_driver(reason: &str) -> &'static str {
    if reason.contains("No such file") {
        "install the NVIDIA driver (a container needs --gpus all), or set transcoding.encode.encoder = \"x264\""
    } else {
        "the driver is there and does not work: nvidia-smi says why"
    }
}

/// What to do where a device does not decode or scale.
pub(crate) fn no_decoder(reason: &str) -> String {
    if reason.contains("libnvcuvid") {
        "install libnvcuvid1; a container needs NVIDIA_DRIVER_CAPABILITIES=compute,video,utility".to_owned()
    } else {
        "set transcoding.gpu.devices = \"auto\", and the CPU does it".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use streamflow_media::gpu::{Coding, DeviceName, DeviceReport, Devices, GpuConfig};
    use streamflow_types::VideoCodec;

    use super::*;

    const UNSUPPORTED: &str = "OpenEncodeSessionEx failed: unsupported device (2): (no details)";

    fn h200() -> Devices {
        let report = DeviceReport {
            name: DeviceName { device: 0, model: "NVIDIA H200".into(), uuid: "GPU-0".into() },
            opens: Ok(()),
            decodes: vec![(Coding::H264, Ok(()))],
            scales: Ok(()),
            encodes: vec![(VideoCodec::H264, Err(UNSUPPORTED.into()))],
            sessions: None,
        };
        Devices { driver: Ok((12, 4)), devices: vec![report] }
    }

    fn config(encoder: Encoder, devices: DeviceChoice) -> TranscodingConfig {
        let mut config = TranscodingConfig { gpu: GpuConfig { devices, ..Default::default() }, ..Default::default() };
        config.encode.encoder = encoder;
        config
    }

    /// The configuration error, or none.
    fn refused(devices: &Devices, encoder: Encoder, choice: DeviceChoice) -> Option<String> {
        let config = config(encoder, choice);
        let selection = devices.select(&config.gpu.devices, config.encode.encoder);
        selection.err().map(|unusable| refusal(&unusable, &config).to_string())
    }

    #[test]
    fn a_configuration_without_device_asks_for_none() {
        assert!(!is_wanted(&TranscodingConfig::default()));
        assert!(is_wanted(&config(Encoder::Nvenc, DeviceChoice::Auto)));
        assert!(is_wanted(&config(Encoder::X264, DeviceChoice::All)));
    }

    #[test]
    fn a_missing_driver_is_told_with_the_setting_and_what_to_do() {
        let reason = "libcuda.so.1: cannot open shared object file: No such file or directory";
        let none = Devices { driver: Err(reason.into()), devices: Vec::new() };
        let told = refused(&none, Encoder::Nvenc, DeviceChoice::Auto).unwrap();
        assert_eq!(
            told,
            "configuration: transcoding.encode.encoder = \"nvenc\" cannot work here: no NVIDIA driver: libcuda.so.1: \
             cannot open shared object file: No such file or directory: install the NVIDIA driver (a container needs \
             --gpus all), or set transcoding.encode.encoder = \"x264\"; `streamflow doctor` says more"
        );
        let told = refused(&none, Encoder::X264, DeviceChoice::All).unwrap();
        assert!(told.starts_with("configuration: transcoding.gpu.devices cannot work here"), "{told}");
    }

    #[test]
    fn a_chip_without_encoder_is_told_how_it_can_be_used() {
        let told = refused(&h200(), Encoder::Nvenc, DeviceChoice::Auto).unwrap();
        for part in ["device 0 (NVIDIA H200) has no encoder", UNSUPPORTED, "decode and scale run on it", "\"x264\""] {
            assert!(told.contains(part), "{told}");
        }
        assert_eq!(refused(&h200(), Encoder::X264, DeviceChoice::All), None);
    }

    #[test]
    fn what_a_container_lacks_is_not_taken_for_the_chip() {
        let mut devices = h200();
        devices.devices[0].encodes = vec![(VideoCodec::H264, Err("Cannot load libnvidia-encode.so.1".into()))];
        let told = refused(&devices, Encoder::Nvenc, DeviceChoice::Auto).unwrap();
        assert!(told.contains("NVIDIA_DRIVER_CAPABILITIES") && !told.contains("H100"), "{told}");
    }
}
