//! The driver of NVIDIA: which devices there are and what they are called, which libav does not tell.
use std::ffi::{CStr, c_char, c_int};

use serde::{Deserialize, Serialize};

use crate::{MediaError, loader::Library};

const CUDA_LIBRARY: &str = "libcuda.so.1";
/// Longest name of a device, in bytes.
const NAME_BYTES: usize = 256;

/// What the driver says of itself and of the devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Driver {
    /// Newest CUDA that it runs: major and minor.
    pub cuda: (u32, u32),
    /// The devices, in the order of the bus, as `nvidia-smi` has them.
    pub devices: Vec<DeviceName>,
}

/// Which device it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceName {
    /// Its number, from 0.
    pub device: u32,
    /// The model.
    pub model: String,
    /// What it is known by whatever else is in the machine, as `GPU-…`.
    pub uuid: String,
}

type Count = unsafe extern "C" fn(*mut c_int) -> c_int;
type Init = unsafe extern "C" fn(u32) -> c_int;
type Get = unsafe extern "C" fn(*mut c_int, c_int) -> c_int;
type Name = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;
type Uuid = unsafe extern "C" fn(*mut [u8; 16], c_int) -> c_int;
type ErrorText = unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int;

/// The functions of the driver that are used here.
struct Functions {
    init: Init,
    driver_version: Count,
    device_count: Count,
    device_get: Get,
    device_name: Name,
    device_uuid: Uuid,
    error_text: ErrorText,
}

impl Functions {
    #[allow(unsafe_code)] // the types of foreign functions
    fn load() -> Result<Self, String> {
        let cuda = Library::open(CUDA_LIBRARY)?;
        // SAFETY: the types are those of cuda.h, whose functions keep their signatures under their names.
        unsafe {
            Ok(Self {
                init: cuda.function(c"cuInit")?,
                driver_version: cuda.function(c"cuDriverGetVersion")?,
                device_count: cuda.function(c"cuDeviceGetCount")?,
                device_get: cuda.function(c"cuDeviceGet")?,
                device_name: cuda.function(c"cuDeviceGetName")?,
                device_uuid: cuda.function(c"cuDeviceGetUuid")?,
                error_text: cuda.function(c"cuGetErrorString")?,
            })
        }
    }

    /// Why a step failed, in the driver's words.
    #[allow(unsafe_code)] // the call into the driver
    fn done(&self, step: &str, code: c_int) -> Result<(), String> {
        if code == 0 {
            return Ok(());
        }
        let mut text = std::ptr::null();
        // SAFETY: the place for the answer lives through the call.
        let known = unsafe { (self.error_text)(code, &mut text) } == 0 && !text.is_null();
        if !known {
            return Err(format!("{step}: error {code}"));
        }
        // SAFETY: the driver said that this is the text of a code, which is a constant of its own.
        Err(format!("{step}: {}", unsafe { CStr::from_ptr(text) }.to_string_lossy()))
    }

    #[allow(unsafe_code)] // the call into the driver
    fn number(&self, step: &str, function: Count) -> Result<u32, String> {
        let mut number = 0;
        // SAFETY: the place for the answer lives through the call.
        self.done(step, unsafe { function(&mut number) })?;
        Ok(u32::try_from(number).unwrap_or(0))
    }

    #[allow(unsafe_code)] // the calls into the driver
    fn device(&self, device: u32) -> Result<DeviceName, String> {
        let (mut handle, mut name, mut uuid) = (0, [0u8; NAME_BYTES], [0u8; 16]);
        let ordinal = c_int::try_from(device).unwrap_or(c_int::MAX);
        // SAFETY: the place for the answer lives through the call.
        self.done("cuDeviceGet", unsafe { (self.device_get)(&mut handle, ordinal) })?;
        let len = c_int::try_from(name.len()).unwrap_or(0);
        // SAFETY: the buffer has the length given, and the handle is the driver's own.
        self.done("cuDeviceGetName", unsafe { (self.device_name)(name.as_mut_ptr().cast(), len, handle) })?;
        // SAFETY: the driver writes sixteen bytes, for which there is room.
        self.done("cuDeviceGetUuid", unsafe { (self.device_uuid)(&mut uuid, handle) })?;
        let model = CStr::from_bytes_until_nul(&name).map(|name| name.to_string_lossy().into_owned());
        Ok(DeviceName { device, model: model.unwrap_or_default(), uuid: uuid_text(uuid) })
    }
}

/// As `nvidia-smi -L` writes it.
fn uuid_text(uuid: [u8; 16]) -> String {
    let number = u128::from_be_bytes(uuid);
    let hex = format!("{number:032x}");
    format!("GPU-{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Asks the driver. Numbers of devices are those of `nvidia-smi` where the process was started with
/// `CUDA_DEVICE_ORDER=PCI_BUS_ID`, as workers are.
///
/// # Errors
/// [`MediaError::NoDriver`] with the words of the loader or of the driver.
pub(super) fn ask() -> Result<Driver, MediaError> {
    list().map_err(|reason| MediaError::NoDriver { reason })
}

#[allow(unsafe_code)] // the call into the driver
fn list() -> Result<Driver, String> {
    let functions = Functions::load()?;
    // SAFETY: no flags are defined but 0; may be called again and from every thread.
    functions.done("cuInit", unsafe { (functions.init)(0) })?;
    let version = functions.number("cuDriverGetVersion", functions.driver_version)?;
    let count = functions.number("cuDeviceGetCount", functions.device_count)?;
    let devices = (0..count).map(|device| functions.device(device)).collect::<Result<_, _>>()?;
    Ok(Driver { cuda: (version / 1000, version % 1000 / 10), devices })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_known_by_the_name_that_nvidia_smi_has() {
        let uuid = std::array::from_fn(|index| u8::try_from(index).unwrap() * 17);
        assert_eq!(uuid_text(uuid), "GPU-00112233-4455-6677-8899-aabbccddeeff");
    }

    #[test]
    fn the_driver_lists_its_devices_or_is_named_as_missing() {
        match ask() {
            Ok(driver) => {
                assert!(driver.cuda.0 >= 10, "{driver:?}");
                assert!(driver.devices.iter().all(|device| !device.model.is_empty()), "{driver:?}");
            }
            Err(error) => assert!(error.to_string().contains(CUDA_LIBRARY), "{error}"),
        }
    }
}
