//! `runner schema`: what editors need to complete and check the configuration file.

use clap::Parser;

use super::{Ending, print};
use crate::config::SCHEMA;

/// Print the JSON Schema of the configuration file.
#[derive(Debug, Parser)]
#[command(after_help = "Example: runner schema > runner.schema.json\n\n\
                  With `#:schema ./runner.schema.json` as its first line, a configuration file is \
                  completed and checked by editors that know TOML (taplo, Even Better TOML).")]
pub(super) struct Args {}

pub(super) fn run(_: &Args) -> Ending {
    print(SCHEMA.trim_end());
    Ending::Done
}
