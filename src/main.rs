//! `runner`: keeps exactly one agent process alive for every entity of a world.

use std::process::ExitCode;

fn main() -> ExitCode {
    runner::cli::main()
}
