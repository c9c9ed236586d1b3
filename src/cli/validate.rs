//! `runner validate`: is the file right?

use clap::Parser;

use super::file::ConfigFile;
use super::{Ending, limits, print};

/// Check a configuration file.
#[derive(Debug, Parser)]
#[command(after_help = "Example: runner validate --config configs/demo.toml")]
pub(super) struct Args {
    #[command(flatten)]
    file: ConfigFile,
}

pub(super) fn run(args: &Args) -> Ending {
    match args.file.clone().load() {
        Ok(loaded) => {
            limits::tell_missing(&loaded.config, &loaded.overrides.enforceable);
            let templates = loaded.config.rules.templates.len();
            print(format_args!("{}: ok, {templates} templates", loaded.path.display()));
            Ending::Done
        }
        Err(ending) => ending,
    }
}
