//! NVIDIA devices: found at run time, tried before they are used, given up while they fail.
//!
//! A worker process opens the context of the device that a job is assigned; decoder, scalers and encoders of
//! the job share it, and frames stay on the device. Chips without an encoder decode and scale, and hand the frames over.
//! Which job goes to which device is decided in the node ([`Fleet`]), which no fault of a driver reaches.
mod breaker;
mod choice;
mod coding;
mod decoder;
mod device;
mod driver;
mod encoder;
mod fleet;
mod hardware;
mod sample;
mod scaler;
mod survey;
#[cfg(test)]
mod testing;
mod trial;

#[cfg(test)]
pub(crate) use self::testing::frames_on_device_or_skip;
pub use self::{
    breaker::{BreakerPolicy, BreakerState},
    choice::{DeviceChoice, Fallback, GpuConfig},
    coding::Coding,
    driver::{DeviceName, Driver},
    fleet::{Fleet, NoDevice},
    survey::{DeviceReport, Devices, MIN_SESSIONS, Selection, Unusable, UsableDevice},
};
pub(crate) use self::{
    device::{fault, in_memory, is_fault, is_on_device},
    fleet::{Assignment, Lease, Placement},
    hardware::{Hardware, Kept, LentScaler},
    scaler::Target,
    trial::{Finding, Trial, attempt},
};
