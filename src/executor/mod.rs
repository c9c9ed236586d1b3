//! How agents are started, watched and ended. Knows nothing of why.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::plan::{AgentSpec, EntityId, Exit, RunId};

pub mod local;
#[cfg(test)]
pub(crate) mod misbehave;

pub use local::{Local, log_name};

/// Starts and ends agents. No method blocks or fails: what came of it is told by an [`Event`].
/// What is asked of a run that has not started yet is done right after its start.
pub trait Executor {
    /// Starts a process, the leader of a new process group.
    /// Answered by [`Event::Started`] or [`Event::SpawnFailed`].
    fn spawn(&self, request: SpawnRequest);

    /// SIGTERM: to the leader while it lives (launchers such as uv pass it on, and a group signal
    /// would reach the agent twice), to the rest of the group after that. Does nothing if the run
    /// is over.
    fn terminate(&self, run: RunId);

    /// SIGKILL to the whole group. Does nothing if the run is over.
    fn kill(&self, run: RunId);
}

/// What to start.
#[derive(Clone, Debug)]
pub struct SpawnRequest {
    /// Names the run in every event about it.
    pub run: RunId,
    /// The entity that it serves.
    pub entity: EntityId,
    /// The process.
    pub spec: AgentSpec,
    /// Environment variables by which the process is found again. They are not part of the spec.
    pub markers: BTreeMap<String, String>,
    /// Where logs are kept; created if it is not there.
    pub log_dir: PathBuf,
}

/// What happened to a run. For each run, in this order:
/// `SpawnFailed` alone; or `Started`, perhaps `LeaderExited`, `Gone`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The process runs.
    Started {
        /// Which one.
        run: RunId,
        /// Its process id, also its group's.
        pid: u32,
    },
    /// There is no process; the reason names what could not be done, and to what.
    SpawnFailed {
        /// Which one.
        run: RunId,
        /// The reason, for a person.
        error: String,
    },
    /// The leader has ended, but other processes of its group live on.
    LeaderExited {
        /// Which one.
        run: RunId,
        /// How.
        exit: Exit,
    },
    /// No process of the group lives any more.
    Gone {
        /// Which one.
        run: RunId,
        /// How the leader ended.
        exit: Exit,
    },
}

impl Event {
    /// Which run it is about.
    #[must_use]
    pub fn run(&self) -> RunId {
        match self {
            Self::Started { run, .. }
            | Self::SpawnFailed { run, .. }
            | Self::LeaderExited { run, .. }
            | Self::Gone { run, .. } => *run,
        }
    }
}
