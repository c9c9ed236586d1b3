//! Compiles `proto/` with a compiler written in Rust: a newcomer needs no `protoc`.

use std::path::PathBuf;

use prost::Message as _;
use prost_types::FileDescriptorSet;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    if std::env::var("CARGO_CFG_TARGET_OS")? != "linux" {
        return Err("runner runs on Linux only: it needs pidfds, process groups and /proc".into());
    }
    let descriptors =
        protox::compile(["proto/world.proto", "proto/runner/v1/control.proto"], ["proto"])?;
    // What reflection tells of the control API.
    let control = FileDescriptorSet {
        file: descriptors
            .file
            .iter()
            .filter(|file| file.package() == "runner.v1")
            .cloned()
            .collect(),
    };
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("control.bin"), control.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
