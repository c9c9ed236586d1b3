//! What is: every agent that the runner knows of, and how it got there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::answer::{Answer, Heard};
use super::entity::EntityId;
use super::membership::Contact;
use super::pace::Pace;
use super::place::{Place, Waits};
use super::reason::{StopReason, WorldReason};
use super::run::{Exit, RunId};
use super::template::AgentSpec;
use super::time::Time;

/// All agents, and whether the world can be reached.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// What is known of contact with the world.
    pub contact: Contact,
    /// One agent for each entity that has, or had, one.
    pub agents: BTreeMap<EntityId, Agent>,
    /// The number of the next run.
    pub next_run: u64,
    /// What the starts so far leave of the right to start more.
    pub pace: Pace,
    /// The directories of the projects whose environment is ready for agents to be started in it.
    pub synced: BTreeSet<PathBuf>,
}

/// The agent of one incarnation of an entity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// The spawn tick of the entity that it serves.
    pub incarnation: i64,
    /// The name of the template that it came of.
    pub template: String,
    /// What was started, or is to be started again.
    pub spec: Arc<AgentSpec>,
    /// The time from SIGTERM to SIGKILL, if its template is not there any more to say it.
    pub grace: Duration,
    /// Restarts since the last run that was long enough.
    pub attempts: u32,
    /// How often it was started again, for whatever reason.
    #[serde(default)]
    pub restarts: u64,
    /// How the run before this one ended by itself, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_end: Option<Box<Ended>>,
    /// Where it stands.
    pub phase: Phase,
    /// What it waits for, where it runs in a cluster and is not as it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Waits>,
}

/// Where an agent stands. `design/lifecycle.md` has the table of phase × event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Phase {
    /// The executor was asked to start it. It may be stopped, never started again.
    Starting {
        /// The run.
        run: RunId,
        /// Since when.
        since: Time,
    },
    /// Its process lives.
    Running {
        /// The run.
        run: RunId,
        /// Where.
        #[serde(flatten)]
        place: Place,
        /// Since when.
        since: Time,
        /// What answers have said of its lease.
        lease: Lease,
    },
    /// Its processes are to end. Nothing is started for the entity until all of them have.
    Stopping(Stopping),
    /// All its processes were ended by the runner. It may be started or forgotten.
    Stopped {
        /// Why.
        why: StopReason,
    },
    /// It ended by itself, and nothing was concluded from it yet.
    Exited(Ended),
    /// It crashed. It is started when the delay is over.
    BackingOff {
        /// How it ended.
        ended: Ended,
        /// When the delay is over.
        until: Time,
    },
    /// The world took it along. It is started when the world is back.
    AwaitingWorld {
        /// How it ended.
        ended: Ended,
        /// Why that is not held against it.
        why: WorldReason,
        /// When it is tried again even without an answer.
        retry_at: Time,
    },
    /// It is done, and is not started again.
    Completed {
        /// How it ended.
        ended: Ended,
    },
    /// It crashed too often, and is not started again.
    Failed {
        /// How it ended.
        ended: Ended,
    },
}

/// A run whose processes are to end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stopping {
    /// The run.
    pub run: RunId,
    /// When its process was started.
    pub started: Time,
    /// Why.
    pub why: StopReason,
    /// When it is killed; none: it has not been asked to end yet.
    pub deadline: Option<Time>,
    /// Whether it was killed already.
    pub killed: bool,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// How.
    pub how: Outcome,
    /// When its process was started.
    pub started: Time,
    /// When the last of its processes was gone.
    pub at: Time,
}

const SIGKILL: i32 = 9;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Its first process exited.
    Exit(Exit),
    /// There never was a process, for this reason.
    NotStarted(String),
    /// The runner ended it, as it did not do its work: its entity's lease was gone.
    Unhealthy,
}

impl Outcome {
    /// Whether the world may be the cause of it, so that it has to be asked. No agent sends SIGKILL
    /// to itself for the want of a world: that comes from the kernel, or from a person.
    #[must_use]
    pub fn may_be_the_worlds(&self) -> bool {
        match self {
            Self::Exit(exit) => !matches!(exit, Exit::Signal(SIGKILL) | Exit::Lost(_)),
            Self::NotStarted(_) | Self::Unhealthy => false,
        }
    }

    /// The word for it, for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Exit(exit) => exit.word(),
            Self::NotStarted(_) => "not_started",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What answers have said of the lease of a running agent's entity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lease {
    /// Nothing yet: its time to get the first lease runs from the start of the process.
    #[default]
    Unseen,
    /// It was held when last heard of.
    Held,
    /// Nothing since contact with the world was lost.
    Unknown,
    /// It was gone in `answers` good answers in a row.
    Gone {
        /// Since when it counts as gone.
        since: Time,
        /// When the latest of the answers was asked for.
        asked: Time,
        /// How many answers said so.
        answers: u32,
    },
}

impl Agent {
    /// Whether a process of it lives, or may.
    #[must_use]
    pub fn is_live(&self) -> bool {
        match self.phase {
            Phase::Starting { .. } | Phase::Running { .. } | Phase::Stopping(_) => true,
            Phase::Stopped { .. }
            | Phase::Exited(_)
            | Phase::BackingOff { .. }
            | Phase::AwaitingWorld { .. }
            | Phase::Completed { .. }
            | Phase::Failed { .. } => false,
        }
    }

    /// Whether it has no process but will have one again, so that its place under `max_agents`
    /// is kept for it.
    #[must_use]
    pub fn keeps_place(&self) -> bool {
        match self.phase {
            Phase::Stopped { .. }
            | Phase::Exited(_)
            | Phase::BackingOff { .. }
            | Phase::AwaitingWorld { .. } => true,
            Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopping(_)
            | Phase::Completed { .. }
            | Phase::Failed { .. } => false,
        }
    }

    /// The run whose processes live, or may.
    #[must_use]
    pub fn run(&self) -> Option<RunId> {
        match &self.phase {
            Phase::Starting { run, .. } | Phase::Running { run, .. } => Some(*run),
            Phase::Stopping(stopping) => Some(stopping.run),
            Phase::Stopped { .. }
            | Phase::Exited(_)
            | Phase::BackingOff { .. }
            | Phase::AwaitingWorld { .. }
            | Phase::Completed { .. }
            | Phase::Failed { .. } => None,
        }
    }

    /// Where it runs, and what is known of its entity's lease, while it does.
    #[must_use]
    pub const fn running(&self) -> Option<(&Place, Lease)> {
        match &self.phase {
            Phase::Running { place, lease, .. } => Some((place, *lease)),
            Phase::Starting { .. }
            | Phase::Stopping(_)
            | Phase::Stopped { .. }
            | Phase::Exited(_)
            | Phase::BackingOff { .. }
            | Phase::AwaitingWorld { .. }
            | Phase::Completed { .. }
            | Phase::Failed { .. } => None,
        }
    }

    /// Since when it is being started, if it is.
    #[must_use]
    pub fn starting_since(&self) -> Option<Time> {
        let Phase::Starting { since, .. } = &self.phase else { return None };
        Some(*since)
    }

    /// When its process was started, or its start was asked for; none if there is none.
    #[must_use]
    pub fn since(&self) -> Option<Time> {
        match &self.phase {
            Phase::Starting { since, .. } | Phase::Running { since, .. } => Some(*since),
            Phase::Stopping(stopping) => Some(stopping.started),
            Phase::Stopped { .. }
            | Phase::Exited(_)
            | Phase::BackingOff { .. }
            | Phase::AwaitingWorld { .. }
            | Phase::Completed { .. }
            | Phase::Failed { .. } => None,
        }
    }

    /// How the latest run ended, if it ended by itself and there is none after it.
    #[must_use]
    pub fn ended(&self) -> Option<&Ended> {
        match &self.phase {
            Phase::Exited(ended)
            | Phase::BackingOff { ended, .. }
            | Phase::AwaitingWorld { ended, .. }
            | Phase::Completed { ended }
            | Phase::Failed { ended } => Some(ended),
            Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopping(_)
            | Phase::Stopped { .. } => None,
        }
    }

    /// Takes in that its process was started.
    pub fn started(&mut self, place: Place, now: Time) {
        self.waits = None;
        match &mut self.phase {
            Phase::Starting { run, .. } => {
                let run = *run;
                self.phase = Phase::Running { run, place, since: now, lease: Lease::Unseen };
            }
            // It was asked to stop before it had started.
            Phase::Stopping(stopping) => stopping.started = now,
            Phase::Running { .. }
            | Phase::Stopped { .. }
            | Phase::Exited(_)
            | Phase::BackingOff { .. }
            | Phase::AwaitingWorld { .. }
            | Phase::Completed { .. }
            | Phase::Failed { .. } => {}
        }
    }

    /// Takes in that its first process has ended while others of its group live on.
    pub fn leader_exited(&mut self, exit: Exit, now: Time) {
        if let Phase::Running { run, since, .. } = self.phase {
            self.phase = Phase::Stopping(Stopping {
                run,
                started: since,
                why: StopReason::Leftovers { exit, at: now },
                deadline: None,
                killed: false,
            });
        }
    }

    /// Takes in that none of its processes lives any more, or that there never was one.
    pub fn gone(&mut self, how: Outcome, now: Time) {
        self.waits = None;
        let ended = |how, started| Ended { how, started, at: now };
        let next = match &self.phase {
            Phase::Starting { since, .. } | Phase::Running { since, .. } => {
                Phase::Exited(ended(how, *since))
            }
            Phase::Stopping(stopping) => match &stopping.why {
                StopReason::Leftovers { exit, at } => Phase::Exited(Ended {
                    how: Outcome::Exit(*exit),
                    started: stopping.started,
                    at: *at,
                }),
                StopReason::LeaseGone { .. } => {
                    Phase::Exited(ended(Outcome::Unhealthy, stopping.started))
                }
                why @ (StopReason::EntityGone
                | StopReason::NoTemplate
                | StopReason::Changed(_)
                | StopReason::NewIncarnation { .. }
                | StopReason::Suspended
                | StopReason::Asked
                | StopReason::Shutdown) => Phase::Stopped { why: why.clone() },
            },
            Phase::Stopped { .. }
            | Phase::Exited(_)
            | Phase::BackingOff { .. }
            | Phase::AwaitingWorld { .. }
            | Phase::Completed { .. }
            | Phase::Failed { .. } => return,
        };
        self.phase = next;
    }
}

impl Observed {
    /// The entities whose agents live.
    #[must_use]
    pub fn live(&self) -> BTreeSet<EntityId> {
        self.agents.iter().filter(|(_, agent)| agent.is_live()).map(|(id, _)| id.clone()).collect()
    }

    /// Takes in what a good answer says of leases.
    pub fn heard(&mut self, answer: &Answer) {
        for (id, agent) in &mut self.agents {
            let Phase::Running { since, lease, .. } = &mut agent.phase else { continue };
            let Some(entity) = answer.entities.get(id.as_str()) else { continue };
            *lease = match answer.heard {
                _ if entity.leased => Lease::Held,
                Heard::Asked(asked) if asked >= *since => lease.without(*since, asked),
                Heard::Asked(_) | Heard::Told => *lease,
            };
        }
    }

    /// Takes in that contact was lost or made anew: a world that restarts forgets its leases, and
    /// agents must have the time to get theirs again.
    pub fn disrupted(&mut self) {
        for agent in self.agents.values_mut() {
            if let Phase::Running { lease, .. } = &mut agent.phase {
                *lease = Lease::Unknown;
            }
        }
    }
}

impl Lease {
    fn without(self, started: Time, asked: Time) -> Self {
        match self {
            Self::Unseen => Self::Gone { since: started, asked, answers: 1 },
            Self::Held | Self::Unknown => Self::Gone { since: asked, asked, answers: 1 },
            Self::Gone { since, answers, .. } => {
                Self::Gone { since, asked, answers: answers.saturating_add(1) }
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(exit) => write!(f, "{exit}"),
            Self::NotStarted(error) => write!(f, "not started: {error}"),
            Self::Unhealthy => f.write_str("stopped as unhealthy"),
        }
    }
}
