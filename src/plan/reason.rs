//! Why the runner does what it does. Every action carries one of these, and the log, the status
//! and `runner plan` print it.

use std::fmt;
use std::path::PathBuf;
use std::ptr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::run::Exit;
use super::template::AgentSpec;
use super::time::Time;

/// Why an agent is started.
#[derive(Clone, Debug, PartialEq)]
pub enum StartReason {
    /// Its entity has none.
    NoAgent,
    /// It crashed, and the delay is over.
    Restart {
        /// Which attempt this is, from 1.
        attempt: u32,
        /// How many there are before it counts as failed.
        of: u32,
    },
    /// The world took the last one along, and is back.
    WorldBack(WorldReason),
    /// The world took the last one along and gives no answer; it is tried all the same.
    WorldSilent,
    /// What it runs has changed.
    Changed(Change),
    /// Its entity is another incarnation.
    NewIncarnation {
        /// The spawn tick before.
        from: i64,
        /// The spawn tick now.
        to: i64,
    },
    /// It was stopped for a reason that does not hold any more.
    WantedAgain,
    /// The user asked for it.
    Asked,
}

/// Why an agent is stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StopReason {
    /// Its entity has left the world.
    EntityGone,
    /// No template serves its entity any more.
    NoTemplate,
    /// What it runs has changed.
    Changed(Change),
    /// Its entity is another incarnation.
    NewIncarnation {
        /// The spawn tick before.
        from: i64,
        /// The spawn tick now.
        to: i64,
    },
    /// Its entity has had no lease for too long.
    LeaseGone {
        /// For how long.
        lasted: Duration,
    },
    /// Its first process ended by itself, but others of its group live on.
    Leftovers {
        /// How the first process ended.
        exit: Exit,
        /// When.
        at: Time,
    },
    /// The user wants its entity to have no agent for now.
    Suspended,
    /// The user asked for it to be started anew.
    Asked,
    /// The runner is to end.
    Shutdown,
}

/// Why nothing more is started for an agent that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// It exited with code 0, and its restart policy is not `always`.
    Success,
    /// Its restart policy is `never`.
    PolicyNever,
    /// It crashed after this many restarts without a long enough run.
    TooManyAttempts(u32),
}

/// Why an agent that ended waits for the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorldReason {
    /// Contact with the world broke about when the agent ended.
    Disrupted,
    /// The world is there, but its latest answer lacks the entity.
    EntityMissing,
    /// It ended while no runner was there: nobody knows how.
    RunnerAway,
    /// It ended before anybody knew of contact with this world: nobody knows whose doing it was.
    Unjudged,
    /// The cluster that it ran in took it away.
    Lost,
}

/// Why an agent is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForgetReason {
    /// Its entity has left the world.
    EntityGone,
    /// No template serves its entity any more.
    NoTemplate,
    /// The user wants its entity to have no agent for now.
    Suspended,
    /// The runner is to end.
    Shutdown,
}

/// Why an entity that could have an agent has none yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pending {
    /// Somebody else held its lease at first sight.
    LeasedElsewhere,
    /// As many agents as `max_agents` allows are there already.
    OverLimit,
    /// No template serves it.
    NoTemplate,
    /// The latest answer lacks it.
    Missing,
    /// The user wants it to have none for now.
    Suspended,
    /// Others are started first.
    Turn(Throttle),
    /// The environment of the project in this directory is not ready.
    Unsynced(PathBuf),
}

/// What keeps starts from being made all at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttle {
    /// As many starts as there may be are under way.
    MaxParallel(usize),
    /// As many starts as there may be were made within the last second.
    PerSecond(u32),
}

/// What of a spec differs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "one for each part of a spec")]
pub struct Change {
    command: bool,
    env: bool,
    cwd: bool,
    inherited: bool,
    privileges: bool,
    limits: bool,
    sandbox: bool,
    pod: bool,
}

impl Change {
    /// What differs between two specs; none if nothing does.
    #[must_use]
    pub fn between(before: &AgentSpec, after: &AgentSpec) -> Option<Self> {
        // Nearly always: a pass looks at every agent, and is made for every exit.
        if ptr::eq(before, after) {
            return None;
        }
        let change = Self {
            command: before.argv != after.argv,
            env: before.env != after.env,
            cwd: before.cwd != after.cwd,
            inherited: before.confinement.env_inherit != after.confinement.env_inherit,
            privileges: !before.confinement.same_privileges(&after.confinement),
            limits: before.confinement.limits != after.confinement.limits,
            sandbox: before.confinement.sandbox != after.confinement.sandbox,
            pod: before.pod != after.pod,
        };
        (change != Self::default()).then_some(change)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.command, "command"),
            (self.env, "environment"),
            (self.cwd, "working directory"),
            (self.inherited, "env_inherit"),
            (self.privileges, "user or privileges"),
            (self.limits, "limits"),
            (self.sandbox, "sandbox"),
            (self.pod, "pod"),
        ];
        let changed: Vec<_> = parts.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect();
        write!(f, "{} changed", changed.join(" and "))
    }
}

impl StartReason {
    /// The word for it, for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NoAgent => "no_agent",
            Self::Restart { .. } => "crashed",
            Self::WorldBack(_) => "world_back",
            Self::WorldSilent => "world_silent",
            Self::Changed(_) => "changed",
            Self::NewIncarnation { .. } => "new_incarnation",
            Self::WantedAgain => "wanted_again",
            Self::Asked => "asked",
        }
    }
}

impl StopReason {
    /// The word for it, for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::EntityGone => "entity_gone",
            Self::NoTemplate => "no_template",
            Self::Changed(_) => "changed",
            Self::NewIncarnation { .. } => "new_incarnation",
            Self::LeaseGone { .. } => "lease_gone",
            Self::Leftovers { .. } => "leftovers",
            Self::Suspended => "suspended",
            Self::Asked => "asked",
            Self::Shutdown => "shutdown",
        }
    }
}

impl EndReason {
    /// The word for it, for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::PolicyNever => "policy_never",
            Self::TooManyAttempts(_) => "too_many_attempts",
        }
    }
}

impl WorldReason {
    /// The word for it, for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Disrupted => "disrupted",
            Self::EntityMissing => "entity_missing",
            Self::RunnerAway => "runner_away",
            Self::Unjudged => "unjudged",
            Self::Lost => "lost",
        }
    }
}

impl Pending {
    /// All words for it.
    pub const WORDS: [&str; 7] = [
        "leased_elsewhere",
        "missing",
        "no_template",
        "over_limit",
        "suspended",
        "turn",
        "unsynced",
    ];

    /// The word for it, for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::LeasedElsewhere => "leased_elsewhere",
            Self::OverLimit => "over_limit",
            Self::NoTemplate => "no_template",
            Self::Missing => "missing",
            Self::Suspended => "suspended",
            Self::Turn(_) => "turn",
            Self::Unsynced(_) => "unsynced",
        }
    }
}

impl fmt::Display for StartReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAgent => f.write_str("the entity has no agent"),
            Self::Restart { attempt, of } => write!(f, "restart {attempt} of {of} after a crash"),
            Self::WorldBack(WorldReason::Disrupted) => f.write_str("the world is back"),
            Self::WorldBack(WorldReason::EntityMissing) => {
                f.write_str("the world has the entity again")
            }
            Self::WorldBack(WorldReason::RunnerAway) => {
                f.write_str("the last one ended while no runner was there")
            }
            Self::WorldBack(WorldReason::Unjudged) => {
                f.write_str("nobody knows whether the world took the last one along")
            }
            Self::WorldBack(WorldReason::Lost) => f.write_str("the cluster took the last one away"),
            Self::WorldSilent => f.write_str("the world stays silent; trying without its answer"),
            Self::Changed(change) => write!(f, "{change}"),
            Self::NewIncarnation { from, to } => {
                write!(f, "the entity is a new incarnation (spawn tick {from}, now {to})")
            }
            Self::WantedAgain => f.write_str("the entity has an agent again"),
            Self::Asked => f.write_str("a restart was asked for"),
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EntityGone => f.write_str("the entity has left the world"),
            Self::NoTemplate => f.write_str("no template serves the entity any more"),
            Self::Changed(change) => write!(f, "{change}"),
            Self::NewIncarnation { from, to } => {
                write!(f, "the entity is a new incarnation (spawn tick {from}, now {to})")
            }
            Self::LeaseGone { lasted } => {
                write!(f, "the entity has had no lease for {:.1} s", lasted.as_secs_f64())
            }
            Self::Leftovers { exit, .. } => {
                write!(f, "its first process ended ({exit}) and left others behind")
            }
            Self::Suspended => f.write_str("the entity was suspended"),
            Self::Asked => f.write_str("a restart was asked for"),
            Self::Shutdown => f.write_str("the runner is stopping"),
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success => f.write_str("it exited with code 0"),
            Self::PolicyNever => f.write_str("its restart policy is never"),
            Self::TooManyAttempts(attempts) => {
                write!(f, "it crashed again after restart {attempts} of {attempts}")
            }
        }
    }
}

impl fmt::Display for WorldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disrupted => "contact with the world broke",
            Self::EntityMissing => "the world does not have the entity at the moment",
            Self::RunnerAway => "it ended while no runner was there",
            Self::Unjudged => "the runner that saw it end did not get to ask whose doing it was",
            Self::Lost => "it was the cluster's doing",
        })
    }
}

impl fmt::Display for ForgetReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EntityGone => "the entity has left the world",
            Self::NoTemplate => "no template serves the entity any more",
            Self::Suspended => "the entity was suspended",
            Self::Shutdown => "the runner is stopping",
        })
    }
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeasedElsewhere => f.write_str("somebody else holds the entity's lease"),
            Self::OverLimit => f.write_str("max_agents are there already"),
            Self::NoTemplate => f.write_str("no template serves the entity"),
            Self::Missing => f.write_str("the world does not have the entity at the moment"),
            Self::Suspended => f.write_str("it is suspended"),
            Self::Unsynced(dir) => write!(f, "waits for uv sync of {}", dir.display()),
            Self::Turn(Throttle::MaxParallel(most)) => {
                write!(f, "waits for its turn: spawn.max_parallel = {most}")
            }
            Self::Turn(Throttle::PerSecond(most)) => {
                write!(f, "waits for its turn: spawn.per_second = {most}")
            }
        }
    }
}
