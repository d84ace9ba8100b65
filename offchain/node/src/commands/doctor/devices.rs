//! What the doctor says of graphics cards.
use streamflow_media::{
    Encoder, WorkerPool,
    gpu::{DeviceChoice, DeviceReport, MIN_SESSIONS},
};

use streamflow_types::VideoCodec;

use super::{Diagnosis, State};
use crate::{
    config::{Config, TranscodingConfig},
    gpu,
};

const NOT_WANTED: &str = "not configured, so not needed";

impl Diagnosis {
    /// Tries every device, wanted or not: it is time that decides what is bought next.
    pub(super) async fn devices(&mut self, pool: &WorkerPool, config: &Config) {
        let config = &config.transcoding;
        let devices = match pool.probe_devices(&DeviceChoice::All).await {
            Ok(devices) => devices,
            Err(e) => return self.add("GPU driver", State::Fail, format!("cannot be tried: {e}")),
        };
        match &devices.driver {
            Ok((major, minor)) => self.add("GPU driver", State::Ok, format!("runs CUDA {major}.{minor}")),
            Err(reason) if gpu::is_wanted(config) => {
                let found = format!("{reason}: {}; {} wants it", gpu::no_driver(reason), gpu::wish(config));
                return self.add("GPU driver", State::Fail, found);
            }
            Err(reason) => return self.add("GPU driver", State::Warn, format!("{reason}; {NOT_WANTED}")),
        }
        for report in &devices.devices {
            self.device(report, config);
        }
        match devices.select(&config.gpu.devices, config.encode.encoder) {
            _ if !gpu::is_wanted(config) => {}
            Err(unusable) => {
                let (wish, advice) = (gpu::wish(config), gpu::advice(&unusable));
                self.add("GPU use", State::Fail, format!("{unusable}: {advice}; {wish} wants it"));
            }
            Ok(selection) => {
                let numbers: Vec<_> = selection.usable.iter().map(|usable| usable.device.to_string()).collect();
                self.add(
                    "GPU use",
                    State::Ok,
                    format!("device {}, as {} wants", numbers.join(", "), gpu::wish(config)),
                );
                for unusable in &selection.left_out {
                    self.add("GPU use", State::Warn, format!("not {unusable}: {}", gpu::advice(unusable)));
                }
            }
        }
    }

    /// A device that cannot do something is a fault only where that is wanted, which the line about its use says.
    fn device(&mut self, report: &DeviceReport, config: &TranscodingConfig) {
        let name = &report.name;
        if let Err(reason) = &report.opens {
            return self.add("GPU", State::Warn, format!("{name}, {}: cannot be opened: {reason}", name.uuid));
        }
        self.add("GPU", State::Ok, format!("{name}, {}", name.uuid));
        let decoded: Vec<_> = report.decoded().map(|coding| coding.to_string()).collect();
        if !decoded.is_empty() {
            self.add("GPU decode", State::Ok, format!("device {}: {}", name.device, decoded.join(", ")));
        }
        for (coding, tried) in &report.decodes {
            if let Err(reason) = tried {
                self.add("GPU decode", State::Warn, format!("device {}: not {coding}: {reason}", name.device));
            }
        }
        match &report.scales {
            Ok(()) => self.add("GPU scale", State::Ok, format!("device {} scales", name.device)),
            Err(reason) => self.add("GPU scale", State::Warn, format!("device {}: {reason}", name.device)),
        }
        let encoded: Vec<_> = report.encoded().map(codec_name).collect();
        if !encoded.is_empty() {
            self.add("GPU encode", State::Ok, format!("device {}: {}", name.device, encoded.join(", ")));
            self.sessions(report, config);
        }
        for (codec, tried) in &report.encodes {
            if let Err(reason) = tried {
                let codec = codec_name(*codec);
                self.add("GPU encode", State::Warn, format!("device {}: not {codec}: {reason}", name.device));
            }
        }
    }

    fn sessions(&mut self, report: &DeviceReport, config: &TranscodingConfig) {
        let device = report.name.device;
        let Some(sessions) = report.sessions else {
            return self.add("GPU sessions", State::Ok, format!("device {device}: no limit found"));
        };
        let (jobs, workers) = (sessions / MIN_SESSIONS, config.workers);
        let found = format!("device {device}: {sessions} encoders at a time, {jobs} jobs of {MIN_SESSIONS} renditions");
        let enough = u32::try_from(workers).is_ok_and(|workers| workers <= jobs);
        match enough || config.encode.encoder != Encoder::Nvenc {
            true => self.add("GPU sessions", State::Ok, found),
            false => {
                let advice = "more jobs go to other devices or, by transcoding.gpu.fallback, to the CPU";
                self.add("GPU sessions", State::Warn, format!("{found}; transcoding.workers is {workers}: {advice}"));
            }
        }
    }
}

/// As the lines about decoding have it.
const fn codec_name(codec: VideoCodec) -> &'static str {
    match codec {
        VideoCodec::H264 => "h264",
        VideoCodec::H265 => "hevc",
        VideoCodec::Vp8 => "vp8",
        VideoCodec::Vp9 => "vp9",
    }
}

#[cfg(test)]
mod tests {
    use streamflow_media::gpu::{Coding, DeviceName};

    use super::*;

    fn report(sessions: Option<u32>) -> DeviceReport {
        DeviceReport {
            name: DeviceName { device: 1, model: "NVIDIA L4".into(), uuid: "GPU-1".into() },
            opens: Ok(()),
            decodes: vec![(Coding::H264, Ok(())), (Coding::Av1, Err("the chip does not take it".into()))],
            scales: Ok(()),
            encodes: vec![(VideoCodec::H264, Ok(())), (VideoCodec::H265, Err("no capable devices found".into()))],
            sessions,
        }
    }

    fn lines(report: &DeviceReport, workers: usize) -> Vec<(&'static str, State, String)> {
        let mut diagnosis = Diagnosis::default();
        let mut config = TranscodingConfig { workers, ..Default::default() };
        config.encode.encoder = Encoder::Nvenc;
        diagnosis.device(report, &config);
        diagnosis.checks.into_iter().map(|check| (check.name, check.state, check.found)).collect()
    }

    #[test]
    fn a_device_is_described_line_by_line() {
        let found = lines(&report(None), 2);
        assert_eq!(
            found,
            [
                ("GPU", State::Ok, "device 1 (NVIDIA L4), GPU-1"),
                ("GPU decode", State::Ok, "device 1: h264"),
                ("GPU decode", State::Warn, "device 1: not av1: the chip does not take it"),
                ("GPU scale", State::Ok, "device 1 scales"),
                ("GPU encode", State::Ok, "device 1: h264"),
                ("GPU sessions", State::Ok, "device 1: no limit found"),
                ("GPU encode", State::Warn, "device 1: not hevc: no capable devices found"),
            ]
            .map(|(name, state, found)| (name, state, found.to_owned()))
        );
    }

    #[test]
    fn more_workers_than_the_encoders_serve_are_told() {
        let sessions = |workers| lines(&report(Some(8)), workers).into_iter().find(|line| line.0 == "GPU sessions");
        assert_eq!(sessions(2).unwrap().1, State::Ok);
        let (_, state, found) = sessions(3).unwrap();
        assert_eq!(state, State::Warn);
        assert!(
            found.contains("8 encoders at a time, 2 jobs") && found.contains("transcoding.workers is 3"),
            "{found}"
        );
    }
}
