//! Messages of package `streamflow`, generated from `proto/`: what we add to the messages of deployed peers.
#![allow(missing_docs, unreachable_pub, clippy::all)]

tonic::include_proto!("streamflow");
