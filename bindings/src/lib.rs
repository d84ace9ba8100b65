//! Typed bindings of the Streamflow contracts, generated from committed ABI JSON.
