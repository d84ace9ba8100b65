//! NVIDIA devices: found at run time, tried before they are used, given up while they fail.
//!
//! A worker process opens the context of the device that a job names ([`Device`]); decoder, scalers and encoders of that job
//! share it, and frames stay on the device. Chips without an encoder decode and scale, and hand the frames over. Which
//! job goes to which device is decided in the node ([`Fleet`]), which no fault of a driver reaches.
mod breaker;
mod choice;
mod coding;
mod decoder;
mod device;
mod driver;
mod encoder;
mod filter;
mod fleet;
mod library;
mod sample;
mod scaler;
mod survey;
#[cfg(test)]
mod testing;
mod trial;

pub use breaker::{BreakerPolicy, BreakerState};
pub use choice::{DeviceChoice, Fallback, GpuConfig};
pub use coding::Coding;
pub use driver::{DeviceName, Driver};
pub use fleet::{Fleet, Lease, NoDevice, Placement};
pub use survey::{DeviceReport, Devices, MIN_SESSIONS, Selection, Unusable, UsableDevice};
pub(crate) use trial::{Finding, Trial, attempt};
