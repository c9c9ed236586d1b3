//! Compiles `proto/` with a compiler written in Rust: a newcomer needs no `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    if std::env::var("CARGO_CFG_TARGET_OS")? != "linux" {
        return Err("runner runs on Linux only: it needs pidfds, process groups and /proc".into());
    }
    let descriptors = protox::compile(["proto/world.proto"], ["proto"])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
