//! The runner's own log: to stderr, as text or as JSON lines.

use std::io::{IsTerminal as _, stderr};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line, its fields beside `timestamp`, `level` and `message`.
    Json,
}

/// Starts the log. `RUST_LOG` says what is in it, or else `default`.
pub(super) fn start(format: LogFormat, default: &str) {
    let asked = std::env::var("RUST_LOG").ok().filter(|asked| !asked.is_empty());
    let filter = EnvFilter::new(asked.as_deref().unwrap_or(default));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    match format {
        LogFormat::Text => {
            let colour = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            log.with_target(false).with_ansi(colour).init();
        }
        LogFormat::Json => log.json().flatten_event(true).with_target(false).init(),
    }
}
