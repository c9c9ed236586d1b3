//! `runner world`: the demo world by itself.

use clap::Parser;
use clap_complete::ArgValueCompleter;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::file::{locate, refuse};
use super::{Ending, candidates, fail};
use crate::config;
use crate::world::{self, Definition};

/// Serve the demo world.
#[derive(Debug, Parser)]
#[command(
    after_help = "Example: runner world --config configs/worlds/foraging.toml --listen 127.0.0.1:50051"
)]
pub(super) struct Args {
    /// The file with the tables [world], [[entities]] and [[objects]].
    #[arg(long, short, value_name = "PATH|NAME",
          add = ArgValueCompleter::new(candidates::configurations))]
    config: String,
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:50051", value_name = "HOST:PORT")]
    listen: String,
}

pub(super) fn run(args: &Args) -> Ending {
    let definition = match load(&args.config) {
        Ok(definition) => definition,
        Err(ending) => return ending,
    };
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail("cannot start", &error),
    };
    match runtime.block_on(world::serve(definition, &args.listen, told_to_stop())) {
        Ok(()) => Ending::Done,
        Err(error) => fail("cannot serve the world", &error),
    }
}

fn load(name: &str) -> Result<Definition, Ending> {
    config::load_world(&locate(name)?).map_err(refuse)
}

/// Ends at SIGINT or SIGTERM.
async fn told_to_stop() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
