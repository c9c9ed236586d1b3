//! What is to be done: plain data, ordered, comparable and printable.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::entity::EntityId;
use super::observed::{Agent, Ended, Lease, Observed, Phase, Stopping};
use super::pace::Pace;
use super::reason::{EndReason, ForgetReason, Pending, StartReason, StopReason, WorldReason};
use super::rollout::Turn;
use super::run::RunId;
use super::template::{AgentSpec, Arrival, ChosenBy};
use super::time::Time;

/// What one pass is to do, and when the next one is due.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What to do, in this order: removals, conclusions, starts. Those that had a place and
    /// newcomers are started in turn; of the former those first that are due the longest, of the
    /// latter those that were seen first. At most one for an entity.
    pub actions: Vec<Action>,
    /// How many agents are left as they are.
    pub unchanged: usize,
    /// Entities that have no agent for now.
    pub pending: BTreeMap<EntityId, Pending>,
    /// When to plan again if nothing happens before.
    pub wake_at: Option<Time>,
    /// What is to be said of rollouts.
    pub turns: Vec<(String, Turn)>,
    /// Whether a rollout waits for agents to be ready.
    pub is_rolling: bool,
    /// Whether another answer of the world may change it, even one that says the same.
    pub hangs_on_answer: bool,
}

/// One thing to do for one entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// The entity.
    pub id: EntityId,
    /// What to do.
    pub verb: Verb,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Verb {
    /// Ask the agent's processes to end.
    Stop {
        /// The run.
        run: RunId,
        /// The time it has before it is killed.
        grace: Duration,
        /// Why.
        why: StopReason,
    },
    /// End the agent's processes.
    Kill {
        /// The run.
        run: RunId,
        /// Why it has to end.
        why: StopReason,
    },
    /// Drop what is known of an agent that has no process.
    Forget {
        /// Why.
        why: ForgetReason,
    },
    /// Start it again after a delay.
    BackOff {
        /// How the last run ended.
        ended: Ended,
        /// When the delay is over.
        until: Time,
        /// Which attempt it will be, from 1.
        attempt: u32,
        /// How many there are.
        of: u32,
    },
    /// Start it again when the world is back.
    AwaitWorld {
        /// How the last run ended.
        ended: Ended,
        /// When it is tried again even without an answer.
        retry_at: Time,
        /// Why it is the world's doing.
        why: WorldReason,
    },
    /// Leave it ended, in good order.
    Complete {
        /// How the last run ended.
        ended: Ended,
        /// Why.
        why: EndReason,
    },
    /// Leave it ended, as failed.
    Fail {
        /// How the last run ended.
        ended: Ended,
        /// Why.
        why: EndReason,
    },
    /// Start a process.
    Start(Start),
}

/// A process to be started.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// The name of the run.
    pub run: RunId,
    /// The entity's spawn tick.
    pub incarnation: i64,
    /// Whether the entity was in the first answer.
    pub arrival: Arrival,
    /// The template's name.
    pub template: String,
    /// The rule that chose the template.
    pub chosen_by: ChosenBy,
    /// The process.
    pub spec: Arc<AgentSpec>,
    /// The time it has from SIGTERM to SIGKILL.
    pub grace: Duration,
    /// Restarts since the last run that was long enough.
    pub attempts: u32,
    /// What it leaves of the right to start more.
    pub pace: Pace,
    /// Why.
    pub why: StartReason,
}

impl Observed {
    /// Takes in that an action of a plan was carried out, or handed on to be.
    pub fn note(&mut self, action: &Action, now: Time) {
        let id = &action.id;
        match &action.verb {
            Verb::Start(start) => {
                self.next_run = self.next_run.max(start.run.0 + 1);
                self.pace = start.pace;
                let phase = Phase::Starting { run: start.run, since: now };
                let before = self.agents.remove(id);
                let before = before.filter(|agent| agent.incarnation == start.incarnation);
                let restarts = before.as_ref().map_or(0, |agent| agent.restarts.saturating_add(1));
                let last_end = before.and_then(|agent| agent.ended().cloned().map(Box::new));
                let agent = Agent {
                    incarnation: start.incarnation,
                    template: start.template.clone(),
                    spec: Arc::clone(&start.spec),
                    grace: start.grace,
                    attempts: start.attempts,
                    restarts,
                    last_end,
                    phase,
                    waits: None,
                };
                self.agents.insert(id.clone(), agent);
            }
            Verb::Forget { .. } => {
                self.agents.remove(id);
            }
            Verb::Stop { .. }
            | Verb::Kill { .. }
            | Verb::BackOff { .. }
            | Verb::AwaitWorld { .. }
            | Verb::Complete { .. }
            | Verb::Fail { .. } => {
                if let Some(agent) = self.agents.get_mut(id) {
                    agent.note(&action.verb, now);
                }
            }
        }
    }
}

impl Agent {
    fn note(&mut self, verb: &Verb, now: Time) {
        self.phase = match verb {
            Verb::Stop { run, grace, why } => {
                Phase::Stopping(self.stopping(*run, why, Some(now + *grace), now))
            }
            Verb::Kill { run, why } => {
                let asked = self.stopping(*run, why, Some(now), now);
                Phase::Stopping(Stopping { killed: true, ..asked })
            }
            Verb::BackOff { ended, until, attempt, .. } => {
                self.attempts = *attempt;
                Phase::BackingOff { ended: ended.clone(), until: *until }
            }
            Verb::AwaitWorld { ended, retry_at, why } => {
                Phase::AwaitingWorld { ended: ended.clone(), why: *why, retry_at: *retry_at }
            }
            Verb::Complete { ended, .. } => Phase::Completed { ended: ended.clone() },
            Verb::Fail { ended, .. } => Phase::Failed { ended: ended.clone() },
            Verb::Start(_) | Verb::Forget { .. } => return,
        };
    }

    fn stopping(
        &self,
        run: RunId,
        why: &StopReason,
        deadline: Option<Time>,
        now: Time,
    ) -> Stopping {
        let started = match &self.phase {
            Phase::Running { since, .. } => *since,
            Phase::Stopping(stopping) => stopping.started,
            Phase::Starting { .. }
            | Phase::Stopped { .. }
            | Phase::Exited(_)
            | Phase::BackingOff { .. }
            | Phase::AwaitingWorld { .. }
            | Phase::Completed { .. }
            | Phase::Failed { .. } => now,
        };
        Stopping { run, started, why: why.clone(), deadline, killed: false }
    }
}

impl Verb {
    /// The word for it: in logs, in plans and in the status.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stop { .. } => "stop",
            Self::Kill { .. } => "kill",
            Self::Forget { .. } => "forget",
            Self::BackOff { .. } => "back-off",
            Self::AwaitWorld { .. } => "await-world",
            Self::Complete { .. } => "complete",
            Self::Fail { .. } => "fail",
            Self::Start(_) => "start",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stop { grace, why, .. } => write!(f, "{why}; grace {grace:?}"),
            Self::Kill { why, .. } => write!(f, "{why}"),
            Self::Forget { why } => write!(f, "{why}"),
            Self::BackOff { ended, until, attempt, of } => {
                let delay = *until - ended.at;
                write!(f, "{}; restart {attempt} of {of} after {delay:?}", ended.how)
            }
            Self::AwaitWorld { ended, why, .. } => write!(f, "{}; {why}", ended.how),
            Self::Complete { ended, why } | Self::Fail { ended, why } => {
                write!(f, "{}; {why}", ended.how)
            }
            Self::Start(start) => {
                write!(f, "{}; template {} ({})", start.why, start.template, start.chosen_by)
            }
        }
    }
}

impl Verb {
    /// Whether anything is done to a process.
    #[must_use]
    pub fn reaches_processes(&self) -> bool {
        match self {
            Self::Start(_) | Self::Stop { .. } | Self::Kill { .. } => true,
            Self::Forget { .. }
            | Self::BackOff { .. }
            | Self::AwaitWorld { .. }
            | Self::Complete { .. }
            | Self::Fail { .. } => false,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Action { id, verb } in &self.actions {
            writeln!(f, "{:<11} {id}: {verb}", verb.name())?;
        }
        for (id, why) in &self.pending {
            writeln!(f, "{:<11} {id}: {why}", "pending")?;
        }
        writeln!(f, "{:<11} {}", "unchanged", self.unchanged)?;
        if let Some(at) = self.wake_at {
            writeln!(f, "{:<11} {at}", "wake at")?;
        }
        Ok(())
    }
}

impl Lease {
    /// For how long, and over how many answers, the lease has been gone.
    #[must_use]
    pub fn gone(self) -> Option<(Duration, u32)> {
        match self {
            Self::Gone { since, asked, answers } => Some((asked - since, answers)),
            Self::Unseen | Self::Held | Self::Unknown => None,
        }
    }
}
