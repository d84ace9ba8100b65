//! Turns `proto/` into Rust without protoc.
use std::{error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(
        ["net.proto", "redeemer.proto", "streamflow.proto", "receipt.proto", "stream.proto"],
        ["proto"],
    )?;
    tonic_prost_build::configure()
        .btree_map(".")
        // Their `Debug` is written by hand in src/proto.rs: it must not print secrets.
        .skip_debug([".net.RegisterRequest", ".net.AuthToken", ".net.Ticket"])
        .compile_fds(descriptors)?;
    // Another version of the same package, so another folder.
    let jobs = PathBuf::from(std::env::var("OUT_DIR")?).join("jobs");
    fs::create_dir_all(&jobs)?;
    tonic_prost_build::configure()
        .btree_map(".")
        // As above, in src/jobs/proto.rs.
        .skip_debug([".net.TranscoderInfo", ".net.AuthToken"])
        .out_dir(jobs)
        .compile_fds(protox::compile(["net.proto"], ["proto/jobs"])?)?;
    Ok(())
}
