//! `[transcoding.gpu]`: which devices work, and what becomes of segments while none does.
use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Unexpected};

/// Devices of this machine and how they are used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GpuConfig {
    /// Which devices.
    pub devices: DeviceChoice,
    /// What becomes of segments while no device works.
    pub fallback: Fallback,
}

/// Which devices decode, scale and, with the encoder NVENC, encode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// All of them with NVENC, none with an encoder on the CPU.
    #[default]
    Auto,
    /// All of them; with an encoder on the CPU they decode and scale.
    All,
    /// These, by their numbers in `nvidia-smi`; never empty.
    Listed(BTreeSet<u32>),
}

/// What becomes of segments while no device works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fallback {
    /// They are transcoded on the CPU.
    #[default]
    Cpu,
    /// They are refused.
    Refuse,
}

const AUTO: &str = "auto";
const ALL: &str = "all";
const EXPECTED: &str = "\"auto\", \"all\" or a list of device numbers as nvidia-smi has them";

impl DeviceChoice {
    /// Whether device `number` is meant, once it is known that any is.
    pub fn includes(&self, number: u32) -> bool {
        match self {
            Self::Auto | Self::All => true,
            Self::Listed(numbers) => numbers.contains(&number),
        }
    }
}

impl Serialize for DeviceChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str(AUTO),
            Self::All => serializer.serialize_str(ALL),
            Self::Listed(numbers) => serializer.collect_seq(numbers),
        }
    }
}

impl<'de> Deserialize<'de> for DeviceChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "\"auto\", \"all\" or a list of device numbers as nvidia-smi has them")]
        enum Written {
            Numbers(BTreeSet<u32>),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Numbers(numbers) if !numbers.is_empty() => Ok(Self::Listed(numbers)),
            Written::Numbers(_) => Err(D::Error::invalid_value(Unexpected::Other("an empty list"), &EXPECTED)),
            Written::Text(text) if text == AUTO => Ok(Self::Auto),
            Written::Text(text) if text == ALL => Ok(Self::All),
            Written::Text(text) => Err(D::Error::invalid_value(Unexpected::Str(&text), &EXPECTED)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn devices_are_written_as_they_are_read() {
        for (written, read) in [
            (json!("auto"), DeviceChoice::Auto),
            (json!("all"), DeviceChoice::All),
            (json!([0, 3]), DeviceChoice::Listed(BTreeSet::from([0, 3]))),
        ] {
            assert_eq!(serde_json::from_value::<DeviceChoice>(written.clone()).unwrap(), read);
            assert_eq!(serde_json::to_value(&read).unwrap(), written);
        }
    }

    #[test]
    fn what_names_no_device_is_refused() {
        for written in [json!([]), json!("none"), json!("0,1"), json!([-1]), json!(true)] {
            let error = serde_json::from_value::<DeviceChoice>(written.clone()).unwrap_err().to_string();
            assert!(error.contains("nvidia-smi"), "{written}: {error}");
        }
    }

    #[test]
    fn a_list_includes_what_it_names() {
        let listed = DeviceChoice::Listed(BTreeSet::from([1]));
        assert!(listed.includes(1) && !listed.includes(0) && DeviceChoice::All.includes(7));
    }
}
