//! All state of a development chain, to be executed by `streamflow_evm`. Used by tests only.

mod dump;

pub use dump::dumped_state;
