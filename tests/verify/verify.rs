//! Holds the runner to what it promises: *when faults stop, every entity that should have an agent
//! has exactly one, within seconds, and then nothing moves.*
//!
//! ```text
//! cargo run --example verify -- model            # the real planner, in every state
//! cargo run --example verify -- model --mutants  # and that this would find a mistake
//! cargo run --example verify -- simulate         # the real loop, under whatever chance brings
//! cargo run --example verify -- simulate --seed 7
//! ```

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a check that panics has said what is wrong"
)]

mod hearsay;
mod machine;
mod model;
mod promise;
mod rules;
mod simulate;

use std::process::ExitCode;

use clap::Parser;

/// Checks the runner against its promise.
#[derive(Debug, Parser)]
enum Verify {
    /// Explores the real planner between an abstract executor, world and user.
    Model(model::Options),
    /// Runs the real loop on a clock that is moved by hand, with faults that follow from a seed.
    Simulate(simulate::Options),
}

fn main() -> ExitCode {
    let is_well = match Verify::parse() {
        Verify::Model(options) => model::check(&options),
        Verify::Simulate(options) => simulate::check(&options),
    };
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
