//! The `streamflow` binary.

fn main() {}
