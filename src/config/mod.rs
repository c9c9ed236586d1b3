//! The configuration file: read, checked as a whole, and watched.
//!
//! ```text
//! text ──parse──► spanned tables ──decode──► Config
//!                        └── every mistake, with its place ──► Mistakes
//!                └── every key, with its place ──► Effective (for who asks)
//! file ──watch──► settled text ──parse──► one Reload per change
//! ```
//!
//! Knows nothing of processes and gRPC.

mod agents;
mod command;
mod confinement;
mod credentials;
mod demo;
mod document;
mod effective;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod hooks;
mod keys;
mod kubernetes;
mod limits;
mod load;
mod locate;
mod mistakes;
mod near;
mod reach;
mod rollout;
mod sandbox;
mod section;
mod server;
mod settings;
mod watch;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::credentials::Credentials;
use crate::plan::{Enforceable, Rules};
use crate::world::Definition;

pub use document::{explain, parse, parse_world};
pub use effective::{Effective, EffectiveTable, Origin, Setting};
pub use kubernetes::is_namespace;
pub use load::{LoadError, Loaded, explain_read, load, load_world, read_again};
pub use locate::{NotFound, known, locate};
pub use mistakes::{Mistakes, Place};
pub use server::{BadServer, ServerName};
pub use watch::{Reload, Reloader, Watch, watch};

/// The JSON Schema of the file, for editors. What it cannot say: `design/api.md`.
pub const SCHEMA: &str = include_str!("../../configs/runner.schema.json");

/// A configuration that has been checked as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The world to serve.
    pub server: Server,
    /// What it is shown, and known by; nothing, for the demo world.
    pub credentials: Credentials,
    /// Where agents' output goes.
    pub log_dir: PathBuf,
    /// How much of that output is kept.
    pub logs: Logs,
    /// How many bytes of what happened are kept.
    pub events_max_bytes: u64,
    /// Where metrics are served; none: nowhere.
    pub metrics: Option<SocketAddr>,
    /// What is run for events; none: nothing.
    pub hooks: Option<Hooks>,
    /// What the runner is called; none: as its file.
    pub name: Option<String>,
    /// What it remembers beyond its own life is kept here; none: in the user's state directory.
    pub state_dir: Option<PathBuf>,
    /// What a graceful end does with the agents.
    pub on_exit: OnExit,
    /// What agents are.
    pub executor: ExecutorKind,
    /// What holds the processes of an agent together.
    pub containment: Containment,
    /// How long the world may be away at start before the user is told.
    pub connection_timeout: Duration,
    /// Deadline of one discovery call.
    pub discovery_timeout: Duration,
    /// Time between two polls of the world.
    pub watch_interval: Duration,
    /// All that planning depends on.
    pub rules: Rules,
}

/// What agents are. It stays as it is for as long as a runner runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ExecutorKind {
    /// Processes of this machine.
    #[default]
    Local,
    /// Pods of a cluster. Each template has a [`PodTemplate`](crate::plan::PodTemplate).
    Kubernetes(Cluster),
}

/// Which cluster agents are in, and how much may be asked of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// The context of a kubeconfig; none: the current one, or the runner's own pod's.
    pub context: Option<String>,
    /// The namespace of the pods; none: the context's.
    pub namespace: Option<String>,
    /// How many requests in a second, in the long run. More than 0.
    pub qps: f64,
    /// How many requests at once. At least 1.
    pub burst: u32,
}

/// A command that is run for events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// Program and arguments; not empty.
    pub on_event: Vec<String>,
    /// For events of these kinds: patterns.
    pub kinds: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
}

/// What a graceful end of the runner does with the agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OnExit {
    /// Stops them.
    #[default]
    Stop,
    /// Leaves them as they are, for the next runner to take up.
    Leave,
}

/// What holds the processes of an agent together. Read at the start of a runner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Containment {
    /// A cgroup where one can be made, else a process group.
    #[default]
    Auto,
    /// A cgroup, or the runner does not start.
    Cgroup,
    /// A PID namespace, or the runner does not start.
    PidNamespace,
    /// A process group.
    ProcessGroup,
}

/// How much of the agents' output is kept. Changing it restarts nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logs {
    /// How long a log may be before a segment is cut off it; any length if there is none.
    pub max_bytes: Option<u64>,
    /// How many segments are kept for each agent.
    pub keep: usize,
    /// How long all logs together may be; any length if there is none.
    pub max_total_bytes: Option<u64>,
}

/// The world to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// The demo world inside the runner.
    Embedded(Definition),
    /// A server at `HOST:PORT`.
    Address(String),
}

impl Server {
    /// Where it is, if it is known before anything runs.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        match self {
            Self::Address(address) => Some(address),
            Self::Embedded(_) => None,
        }
    }
}

/// What the command line says in place of the file, and what is known of the machine and of the
/// runner that runs, at every load.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// In place of `runner.server`.
    pub server: Option<ServerName>,
    /// In place of `runner.log_dir`.
    pub log_dir: Option<PathBuf>,
    /// In place of `runner.state_dir`.
    pub state_dir: Option<PathBuf>,
    /// In place of `runner.agents_dir`.
    pub agents_dir: Option<PathBuf>,
    /// In place of `runner.on_exit`.
    pub on_exit: Option<OnExit>,
    /// Which limits the file may ask for.
    pub enforceable: Enforceable,
    /// Whether the file is for another machine: certificates, keys and tokens that it names are not
    /// looked for on this one.
    pub elsewhere: bool,
    /// What agents are already: a file that would have them be something else is refused. None: no
    /// runner runs.
    pub running: Option<ExecutorKind>,
}
