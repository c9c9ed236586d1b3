//! The configuration file: read, checked as a whole, and watched.
//!
//! ```text
//! text ──parse──► spanned tables ──decode──► Config
//!                        └── every mistake, with its place ──► Mistakes
//! ```
//!
//! Knows nothing of processes and gRPC.

use std::path::PathBuf;
use std::time::Duration;

use crate::plan::Rules;
use crate::world::Definition;

/// A configuration that has been checked as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The world to serve.
    pub server: Server,
    /// Where agents' output goes.
    pub log_dir: PathBuf,
    /// How long the world may be away at start before the user is told.
    pub connection_timeout: Duration,
    /// Deadline of one discovery call.
    pub discovery_timeout: Duration,
    /// Time between two polls of the world.
    pub watch_interval: Duration,
    /// All that planning depends on.
    pub rules: Rules,
}

/// The world to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// The demo world inside the runner.
    Embedded(Definition),
    /// A server at `HOST:PORT`.
    Address(String),
}
