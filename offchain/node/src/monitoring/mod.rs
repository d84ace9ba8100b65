//! Names, meanings and labels of all metrics, and the names that the deployed network knows some of them by.
mod catalogue;
mod deployed;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

pub use self::{
    catalogue::{ALL, Kind, Metric},
    deployed::under_deployed_names,
};

/// Gives every metric the text that stands above it in `/metrics`.
pub fn describe() {
    for Metric { name, kind, help, .. } in ALL {
        match kind {
            Kind::Counter => describe_counter!(*name, Unit::Count, *help),
            Kind::Gauge => describe_gauge!(*name, Unit::Count, *help),
            Kind::Histogram => describe_histogram!(*name, Unit::Seconds, *help),
        }
    }
}
