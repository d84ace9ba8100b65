//! Turns `proto/` into Rust without protoc.
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["net.proto", "redeemer.proto", "receipt.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .btree_map(".")
        // Their `Debug` is written by hand in src/proto.rs: it must not print secrets.
        .skip_debug([".net.RegisterRequest", ".net.AuthToken", ".net.Ticket"])
        .compile_fds(descriptors)?;
    Ok(())
}
