//! What the devices of this machine can do, and which of them can be used as the configuration wants.
use std::fmt;

use serde::{Deserialize, Serialize};
use streamflow_types::VideoCodec;

use super::{
    Coding, DeviceChoice, DeviceName,
    trial::{Finding, MAX_TRIED_SESSIONS, Trial},
};
use crate::{Encoder, MediaError, PoolError, WorkerPool};

/// Sessions that a device must have for NVENC to be of use: a ladder of three renditions (node.md §9.4).
pub const MIN_SESSIONS: u32 = 3;

/// What NVENC makes; every device that encodes makes the first.
const ENCODED: [VideoCodec; 2] = [VideoCodec::H264, VideoCodec::H265];

/// The reason is in the words of libav, of the driver, or of the pool whose worker died.
type Tried = Result<(), String>;

/// What was found on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    /// The newest CUDA that the driver runs, major and minor, or why there is no driver.
    pub driver: Result<(u32, u32), String>,
    /// The devices that were tried.
    pub devices: Vec<DeviceReport>,
}

/// What was found of one device. One that does not open can do nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// Which it is.
    pub name: DeviceName,
    /// Whether libav can use it at all.
    pub opens: Tried,
    /// Codings, each with why it is not decoded there.
    pub decodes: Vec<(Coding, Tried)>,
    /// Whether frames can be scaled there.
    pub scales: Tried,
    /// Codecs, each with why it is not encoded there. H.264 comes first.
    pub encodes: Vec<(VideoCodec, Tried)>,
    /// Encoders that can be open at a time; `None` if there is none, or no end was found.
    pub sessions: Option<u32>,
}

impl DeviceReport {
    /// Codings that are decoded there.
    pub fn decoded(&self) -> impl Iterator<Item = Coding> {
        self.decodes.iter().filter(|(_, tried)| tried.is_ok()).map(|(coding, _)| *coding)
    }

    /// Codecs that are encoded there.
    pub fn encoded(&self) -> impl Iterator<Item = VideoCodec> {
        self.encodes.iter().filter(|(_, tried)| tried.is_ok()).map(|(codec, _)| *codec)
    }

    /// Whether it is of use with an encoder on the CPU: it decodes H.264 and scales.
    pub fn feeds_cpu(&self) -> bool {
        self.scales.is_ok() && self.decoded().any(|coding| coding == Coding::H264)
    }

    fn unusable_for(&self, encoder: Encoder) -> Option<Unusable> {
        let name = || self.name.clone();
        if let Err(reason) = &self.opens {
            return Some(Unusable::NotOpened { name: name(), reason: reason.clone() });
        }
        match encoder {
            Encoder::Nvenc => match (self.encodes.first(), self.sessions) {
                (Some((_, Err(reason))), _) => {
                    let (reason, feeds_cpu) = (reason.clone(), self.feeds_cpu());
                    Some(Unusable::NoEncoder { name: name(), reason, feeds_cpu })
                }
                (_, Some(sessions)) if sessions < MIN_SESSIONS => {
                    Some(Unusable::FewSessions { name: name(), sessions })
                }
                _ => None,
            },
            _ if self.feeds_cpu() => None,
            _ => {
                let undecoded = self.decodes.iter().find_map(|(_, tried)| tried.clone().err());
                let reason = undecoded.or(self.scales.clone().err()).unwrap_or_default();
                Some(Unusable::NoDecoder { name: name(), reason })
            }
        }
    }
}

/// A device and what it is used for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsableDevice {
    /// Its number.
    pub device: u32,
    /// Codings that it decodes and whose frames it scales.
    pub decodes: Vec<Coding>,
    /// Codecs that it encodes; none with an encoder on the CPU.
    pub encodes: Vec<VideoCodec>,
    /// Encoders that can be open at a time, where an end was found.
    pub sessions: Option<u32>,
}

/// Why a device, or all, cannot be used as the configuration wants.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// No driver, or it does not work.
    #[error("no NVIDIA driver: {reason}")]
    NoDriver {
        /// In the words of the loader or of the driver.
        reason: String,
    },
    /// A driver without devices.
    #[error("the NVIDIA driver knows no device")]
    NoDevice,
    /// A number that no device has.
    #[error("there is no device {device}")]
    Missing {
        /// The number.
        device: u32,
    },
    /// It cannot be used at all.
    #[error("{name} cannot be opened: {reason}")]
    NotOpened {
        /// Which device.
        name: DeviceName,
        /// In the words of libav.
        reason: String,
    },
    /// It does not encode.
    #[error("{name} has no encoder: {reason}")]
    NoEncoder {
        /// Which device.
        name: DeviceName,
        /// In the words of libav.
        reason: String,
        /// Whether it decodes and scales.
        feeds_cpu: bool,
    },
    /// It does not decode or scale.
    #[error("{name} cannot decode and scale: {reason}")]
    NoDecoder {
        /// Which device.
        name: DeviceName,
        /// In the words of libav.
        reason: String,
    },
    /// Too few encoders can be open at a time.
    #[error("{name} opens {sessions} encoders at a time, a job needs {MIN_SESSIONS}")]
    FewSessions {
        /// Which device.
        name: DeviceName,
        /// How many.
        sessions: u32,
    },
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device {} ({})", self.device, self.model)
    }
}

/// The devices to use, at least one, and those of the choice that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// To be used.
    pub usable: Vec<UsableDevice>,
    /// Not to be used, and why; only where the choice did not name them.
    pub left_out: Vec<Unusable>,
}

impl Devices {
    /// Those that `choice` means and that can do the work of `encoder`.
    ///
    /// # Errors
    /// A device that is named cannot be used, or of all devices none can.
    pub fn select(&self, choice: &DeviceChoice, encoder: Encoder) -> Result<Selection, Unusable> {
        if let Err(reason) = &self.driver {
            return Err(Unusable::NoDriver { reason: reason.clone() });
        }
        if let DeviceChoice::Listed(numbers) = choice {
            let known = |number: &u32| self.devices.iter().any(|report| report.name.device == *number);
            if let Some(device) = numbers.iter().find(|number| !known(number)) {
                return Err(Unusable::Missing { device: *device });
            }
        }
        let mut selection = Selection { usable: Vec::new(), left_out: Vec::new() };
        for report in self.devices.iter().filter(|report| choice.includes(report.name.device)) {
            match (report.unusable_for(encoder), choice) {
                (None, _) => selection.usable.push(UsableDevice {
                    device: report.name.device,
                    decodes: report.decoded().filter(|_| report.scales.is_ok()).collect(),
                    encodes: report.encoded().filter(|_| encoder == Encoder::Nvenc).collect(),
                    sessions: report.sessions.filter(|_| encoder == Encoder::Nvenc),
                }),
                (Some(unusable), DeviceChoice::Listed(_)) => return Err(unusable),
                (Some(unusable), DeviceChoice::Auto | DeviceChoice::All) => selection.left_out.push(unusable),
            }
        }
        match (selection.usable.is_empty(), selection.left_out.first()) {
            (false, _) => Ok(selection),
            (true, Some(first)) => Err(first.clone()),
            (true, None) => Err(Unusable::NoDevice),
        }
    }
}

impl WorkerPool {
    /// Tries what the devices of `choice` can do, in worker processes: a driver that crashes or hangs costs one answer.
    ///
    /// # Errors
    /// There are no workers to try it.
    pub async fn probe_devices(&self, choice: &DeviceChoice) -> Result<Devices, PoolError> {
        let names = match self.tried(Trial::Driver).await? {
            Ok(Finding::Driver(driver)) => (driver.cuda, driver.devices),
            Ok(_) => return Ok(Devices { driver: Err(ANOTHER_ANSWER.into()), devices: Vec::new() }),
            Err(reason) => return Ok(Devices { driver: Err(reason), devices: Vec::new() }),
        };
        let (cuda, names) = names;
        let mut devices = Vec::new();
        for name in names.into_iter().filter(|name| choice.includes(name.device)) {
            devices.push(self.probe_device(name).await?);
        }
        Ok(Devices { driver: Ok(cuda), devices })
    }

    async fn probe_device(&self, name: DeviceName) -> Result<DeviceReport, PoolError> {
        let device = name.device;
        let opens = self.tried(Trial::Open(device)).await?.map(drop);
        let (mut decodes, mut encodes) = (Vec::new(), Vec::new());
        if let Err(reason) = &opens {
            let scales = Err(reason.clone());
            return Ok(DeviceReport { name, opens, decodes, scales, encodes, sessions: None });
        }
        for coding in Coding::ALL {
            decodes.push((coding, self.tried(Trial::Decode(device, coding)).await?.map(drop)));
        }
        let scales = self.tried(Trial::Scale(device)).await?.map(drop);
        for codec in ENCODED {
            encodes.push((codec, self.tried(Trial::Encode(device, codec)).await?.map(drop)));
        }
        let mut sessions = None;
        if encodes.iter().any(|(_, tried)| tried.is_ok())
            && let Ok(Finding::Sessions(count)) = self.tried(Trial::Sessions(device)).await?
        {
            sessions = Some(count).filter(|count| *count < MAX_TRIED_SESSIONS);
        }
        Ok(DeviceReport { name, opens, decodes, scales, encodes, sessions })
    }

    /// What a trial found, or why it failed; an error where it could not be made.
    async fn tried(&self, trial: Trial) -> Result<Result<Finding, String>, PoolError> {
        match self.attempt(trial).await {
            Ok(finding) => Ok(Ok(finding)),
            Err(PoolError::Media(MediaError::NoDriver { reason } | MediaError::Gpu { reason, .. })) => Ok(Err(reason)),
            Err(
                error @ (PoolError::Media(_)
                | PoolError::WorkerDied { .. }
                | PoolError::WorkerHung { .. }
                | PoolError::WorkerGarbage { .. }),
            ) => Ok(Err(error.to_string())),
            Err(error) => Err(error),
        }
    }
}

const ANOTHER_ANSWER: &str = "the worker answered another question";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn report(device: u32) -> DeviceReport {
        DeviceReport {
            name: DeviceName { device, model: "NVIDIA L4".into(), uuid: format!("GPU-{device}") },
            opens: Ok(()),
            decodes: Coding::ALL.map(|coding| (coding, Ok(()))).to_vec(),
            scales: Ok(()),
            encodes: ENCODED.map(|codec| (codec, Ok(()))).to_vec(),
            sessions: None,
        }
    }

    /// An H200: everything but an encoder.
    fn decode_only(device: u32) -> DeviceReport {
        let name = DeviceName { model: "NVIDIA H200".into(), ..report(device).name };
        let refused = || Err("OpenEncodeSessionEx failed: unsupported device (2)".into());
        let encodes = ENCODED.map(|codec| (codec, refused())).to_vec();
        DeviceReport { name, encodes, ..report(device) }
    }

    fn machine(devices: Vec<DeviceReport>) -> Devices {
        Devices { driver: Ok((12, 4)), devices }
    }

    fn listed(numbers: &[u32]) -> DeviceChoice {
        DeviceChoice::Listed(numbers.iter().copied().collect::<BTreeSet<_>>())
    }

    fn numbers(selection: &Selection) -> Vec<u32> {
        selection.usable.iter().map(|usable| usable.device).collect()
    }

    #[test]
    fn without_driver_or_device_it_says_which_is_missing() {
        let none = Devices { driver: Err("libcuda.so.1: cannot open".into()), devices: Vec::new() };
        let refused = none.select(&DeviceChoice::Auto, Encoder::Nvenc).unwrap_err();
        assert_eq!(refused.to_string(), "no NVIDIA driver: libcuda.so.1: cannot open");
        assert_eq!(machine(vec![]).select(&DeviceChoice::All, Encoder::Nvenc), Err(Unusable::NoDevice));
        let one = machine(vec![report(0)]);
        assert_eq!(one.select(&listed(&[0, 3]), Encoder::Nvenc), Err(Unusable::Missing { device: 3 }));
    }

    #[test]
    fn of_all_devices_those_that_work_are_taken_but_a_named_one_must_work() {
        let two = machine(vec![decode_only(0), report(1)]);
        let selection = two.select(&DeviceChoice::All, Encoder::Nvenc).unwrap();
        assert_eq!(numbers(&selection), [1]);
        assert!(
            matches!(&selection.left_out[..], [Unusable::NoEncoder { name, feeds_cpu: true, .. }] if name.device == 0)
        );
        assert!(matches!(two.select(&listed(&[0, 1]), Encoder::Nvenc), Err(Unusable::NoEncoder { .. })));
        assert_eq!(numbers(&two.select(&listed(&[1]), Encoder::Nvenc).unwrap()), [1]);
    }

    #[test]
    fn a_chip_without_encoder_feeds_one_on_the_cpu() {
        let h200 = machine(vec![decode_only(0)]);
        let refused = h200.select(&DeviceChoice::Auto, Encoder::Nvenc).unwrap_err();
        assert!(
            refused.to_string().starts_with("device 0 (NVIDIA H200) has no encoder: OpenEncodeSessionEx"),
            "{refused}"
        );
        let selection = h200.select(&DeviceChoice::All, Encoder::X264).unwrap();
        assert_eq!((&selection.usable[0].decodes[..], &selection.usable[0].encodes[..]), (&Coding::ALL[..], &[][..]));
        let blind = DeviceReport { scales: Err("no scale_cuda".into()), ..decode_only(0) };
        let refused = machine(vec![blind]).select(&DeviceChoice::All, Encoder::X264).unwrap_err();
        assert!(matches!(refused, Unusable::NoDecoder { reason, .. } if reason == "no scale_cuda"));
    }

    #[test]
    fn an_encoder_without_scaler_gets_frames_from_memory() {
        let report = DeviceReport { scales: Err("no scale_cuda".into()), ..report(0) };
        let selection = machine(vec![report]).select(&DeviceChoice::Auto, Encoder::Nvenc).unwrap();
        assert_eq!((&selection.usable[0].decodes[..], &selection.usable[0].encodes[..]), (&[][..], &ENCODED[..]));
    }

    #[test]
    fn a_ladder_of_three_renditions_must_fit() {
        let with = |sessions| machine(vec![DeviceReport { sessions, ..report(0) }]);
        let few = with(Some(2)).select(&DeviceChoice::Auto, Encoder::Nvenc).unwrap_err();
        assert_eq!(few.to_string(), "device 0 (NVIDIA L4) opens 2 encoders at a time, a job needs 3");
        for sessions in [Some(3), None] {
            let selection = with(sessions).select(&DeviceChoice::Auto, Encoder::Nvenc).unwrap();
            assert_eq!(selection.usable[0].sessions, sessions);
        }
        assert!(with(Some(2)).select(&DeviceChoice::All, Encoder::X264).is_ok(), "it encodes on the CPU");
    }

    #[test]
    fn a_device_that_does_not_open_is_told_as_that() {
        let closed = DeviceReport { opens: Err("CUDA_ERROR_NO_DEVICE".into()), ..decode_only(0) };
        for encoder in [Encoder::Nvenc, Encoder::X264] {
            let refused = machine(vec![closed.clone()]).select(&DeviceChoice::All, encoder).unwrap_err();
            assert_eq!(refused.to_string(), "device 0 (NVIDIA H200) cannot be opened: CUDA_ERROR_NO_DEVICE");
        }
    }

    #[test]
    fn a_report_survives_being_written() {
        let devices = machine(vec![report(0), decode_only(1)]);
        let written = serde_json::to_string(&devices).unwrap();
        assert_eq!(serde_json::from_str::<Devices>(&written).unwrap(), devices);
    }
}
