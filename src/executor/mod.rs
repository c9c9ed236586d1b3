//! How agents are started, watched and ended. Knows nothing of why.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::future::ready;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::plan::{AgentSpec, EntityId, Exit, Place, RunId, Waits};

pub mod contain;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub mod gate;
mod kernel;
pub mod kubernetes;
pub mod local;
#[cfg(test)]
pub(crate) mod misbehave;
mod resource;

pub use local::{
    CannotContain, Containment, Doing, Evidence, Hold, Local, Trees, Usage, log_name, logs, usage,
};
pub use resource::{RESOURCE_ATTRIBUTES, Resource};

/// What the runner's own program does as one of the processes that an agent begins with, by its
/// first argument.
#[must_use]
pub fn hidden_verb(verb: &OsStr) -> Option<fn(&[OsString]) -> ExitCode> {
    match verb.to_str()? {
        gate::VERB => Some(gate::run),
        contain::VERB => Some(contain::run),
        _ => None,
    }
}

/// Starts and ends agents. No method blocks or fails: what came of it is told by an [`Event`].
/// What is asked of a run that has not started yet is done right after its start.
pub trait Executor {
    /// By what an agent is known that another runner started.
    type Identity;

    /// Starts a process, the leader of a new process group.
    /// Answered by [`Event::Started`] or [`Event::SpawnFailed`].
    fn spawn(&self, request: SpawnRequest);

    /// Takes charge of an agent that another runner started. Answered by [`Event::Gone`] when it
    /// has ended, or at once if there is no such process any more.
    fn adopt(&self, adoption: Adoption<Self::Identity>);

    /// All agents that there were are in charge: who else there is belongs to nobody.
    fn adopted(&self) {}

    /// Finds out what an agent is doing that is about to be ended for not doing its work, as far as
    /// that can be known; with `dump`, those of its processes that listen to SIGUSR1 are asked to write that down. What is
    /// asked of the run after this waits for it, for less than a second. Answered by
    /// [`Event::Examined`], unless it has ended.
    fn examine(&self, run: RunId, dump: bool);

    /// SIGTERM: to the leader while it lives (launchers such as uv pass it on, and a group signal
    /// would reach the agent twice), to the rest of its tree after that. Does nothing if the run
    /// is over.
    fn terminate(&self, run: RunId);

    /// SIGKILL to the whole tree. Does nothing if the run is over.
    fn kill(&self, run: RunId);

    /// The end of what an agent wrote, about so many bytes of it; nothing where that cannot be read.
    fn tail(&self, _: Writer, _: u64) -> BoxFuture<'static, String> {
        Box::pin(ready(String::new()))
    }

    /// What is left of the ended agents of an entity is not needed any more.
    fn forget(&self, _: &EntityId) {}

    /// Returns once what was ordered of agents that have ended is done, or will not be soon.
    fn finish(&self) -> impl Future<Output = ()> + Send {
        ready(())
    }

    /// Gives up all agents, for a successor in this very process. What was told was told before
    /// this returns; what happens after it is told to nobody, and left for the successor to see.
    fn give_up(&self);
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
    /// The time that it has to end when it is asked to.
    pub grace: Duration,
    /// Environment variables by which the process is found again. They are not part of the spec.
    pub markers: BTreeMap<String, String>,
    /// What its telemetry says of where it comes from. It is not part of the spec either.
    pub resource: Resource,
    /// Where logs are kept; created if it is not there.
    pub log_dir: PathBuf,
    /// How much of them is kept.
    pub logs: logs::Policy,
    /// The entity's spawn tick, for the head of the log.
    pub incarnation: i64,
    /// Restarts since the last run that was long enough, and in all: for a runner that takes it up
    /// without having been there.
    pub attempts: u32,
    /// See `attempts`.
    pub restarts: u64,
    /// Why it is started, in words, for the head of the log.
    pub reason: String,
}

/// An agent that wrote something.
#[derive(Clone, Debug)]
pub struct Writer {
    /// Its entity.
    pub entity: EntityId,
    /// The entity's spawn tick.
    pub incarnation: i64,
    /// Where logs are kept.
    pub log_dir: PathBuf,
}

/// Who a process is: its number alone may be another's by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// Its process id, also its group's.
    pub pid: u32,
    /// When it was started, in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start: u64,
}

/// An agent that runs already.
#[derive(Clone, Debug)]
pub struct Adoption<I = Identity> {
    /// Names the run in every event about it.
    pub run: RunId,
    /// Who it is.
    pub identity: I,
    /// The marker that all of its processes have in their environment, `NAME=value`.
    pub marker: String,
    /// Whether it was still a gate when it was found: it may end without ever having been an
    /// agent, and its exit code says nothing then.
    pub gate: bool,
}

/// Writes down who an agent is, before it runs.
pub trait Record: fmt::Debug + Send + Sync {
    /// The process of this run. It is not an agent yet: if the runner ends now, it never will be.
    /// Where it cannot be written down the agent runs all the same, and is found again by the
    /// markers in its environment.
    fn identity(&self, run: RunId, identity: Identity);
}

/// What happened to a run. For each run, in this order:
/// `SpawnFailed` alone; or `Started`, perhaps `Examined`, perhaps `LeaderExited`, `Gone`; and at any
/// time between, `Waits`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The process runs.
    Started {
        /// Which one.
        run: RunId,
        /// Where.
        place: Place,
    },
    /// The cluster says of it that it waits, or that it waits no more.
    Waits {
        /// Which one.
        run: RunId,
        /// What for; none: for nothing.
        waits: Option<Waits>,
    },
    /// There is no process; the reason names what could not be done, and to what.
    SpawnFailed {
        /// Which one.
        run: RunId,
        /// The reason, for a person.
        error: String,
    },
    /// What its processes were doing.
    Examined {
        /// Which one.
        run: RunId,
        /// What was found.
        evidence: Evidence,
    },
    /// The leader has ended, but other processes of its tree live on.
    LeaderExited {
        /// Which one.
        run: RunId,
        /// How.
        exit: Exit,
    },
    /// No process of the tree lives any more.
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
            | Self::Waits { run, .. }
            | Self::SpawnFailed { run, .. }
            | Self::Examined { run, .. }
            | Self::LeaderExited { run, .. }
            | Self::Gone { run, .. } => *run,
        }
    }
}
