//! `runner agent`: the built-in forager.

use std::time::Duration;

use clap::Parser;

use super::{Ending, fail, runtime};
use crate::world::agent::{self, AgentOptions};

/// Control one entity of the demo world: the built-in forager.
#[derive(Debug, Parser)]
#[command(after_help = "Example: runner agent --server 127.0.0.1:50051 --entity alice")]
pub(super) struct Args {
    /// The world's address.
    #[arg(long, value_name = "HOST:PORT")]
    server: String,
    /// The entity to control.
    #[arg(long, value_name = "ID")]
    entity: String,
    /// Crash after this time or up to twice as long, to show restarts.
    #[arg(long, value_name = "MS")]
    crash_after_ms: Option<u64>,
}

pub(super) fn run(args: Args) -> Ending {
    let options = AgentOptions {
        server: args.server,
        entity: args.entity,
        crash_after: args.crash_after_ms.map(Duration::from_millis),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail("cannot start the agent", &error),
    };
    let exit = runtime.block_on(agent::run(options));
    // A name that is still being looked up must not delay the end.
    runtime.shutdown_background();
    match exit {
        agent::Exit::Finished => Ending::Done,
        agent::Exit::Failed => Ending::Failed,
    }
}
