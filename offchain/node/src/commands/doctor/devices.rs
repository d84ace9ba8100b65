//! What the doctor says of graphics cards.
use streamflow_media::{
    Encoder, WorkerPool,
    gpu::{DeviceChoice, DeviceReport, MIN_SESSIONS},
};

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
        match gpu::select(&devices, config) {
            _ if !gpu::is_wanted(config) => {}
            Err(e) => self.add("GPU use", State::Fail, e),
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
        match &report.encodes {
            Ok(()) => self.add("GPU encode", State::Ok, format!("device {}: h264_nvenc encodes", name.device)),
            Err(reason) => self.add("GPU encode", State::Warn, format!("device {}: {reason}", name.device)),
        }
        if report.encodes.is_ok() {
            self.sessions(report, config);
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

#[cfg(test)]
mod tests {
    use streamflow_media::gpu::{Coding, DeviceName};

    use super::*;

    fn report(sessions: Option<u32>) -> DeviceReport {
        DeviceReport {
            name: DeviceName { device: 1, model: "NVIDIA L4".into(), uuid: "GPU-1".into() },
            decodes: vec![(Coding::H264, Ok(())), (Coding::Av1, Err("the chip does not take it".into()))],
            scales: Ok(()),
            encodes: Ok(()),
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
                ("GPU encode", State::Ok, "device 1: h264_nvenc encodes"),
                ("GPU sessions", State::Ok, "device 1: no limit found"),
            ]
            .map(|(name, state, found)| (name, state, found.to_owned()))
        );
    }

    #[test]
    fn more_workers_than_the_encoders_serve_are_told() {
        assert_eq!(lines(&report(Some(8)), 2).last().unwrap().1, State::Ok);
        let (_, state, found) = lines(&report(Some(8)), 3).pop().unwrap();
        assert_eq!(state, State::Warn);
        assert!(
            found.contains("8 encoders at a time, 2 jobs") && found.contains("transcoding.workers is 3"),
            "{found}"
        );
    }
}
