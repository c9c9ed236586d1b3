//! The runner with one of its rules taken out: each must be found, or what finds nothing wrong
//! with the real one has proved nothing.

use clap::ValueEnum;
use runner::plan::{Contact, Desired, Observed, Phase, Plan, StopReason, Time, Verb, Wants};

/// What is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mutant {
    /// An agent runs before it is written down who it is.
    NoGate,
    /// One answer that lacks an entity removes it.
    NoConfirmation,
    /// An empty answer is believed at once.
    NoHold,
    /// A replacement is started before the last process of what it replaces is gone.
    NoKillBeforeSpawn,
    /// An agent that the world took along has crashed.
    AttemptsWhileAway,
    /// Processes are signalled by their number.
    NoIdentity,
    /// The next runner knows nothing of the one before.
    NoJournal,
    /// Agents are started however many there are.
    NoMaxAgents,
    /// Nobody is killed who does not end when asked.
    NoKill,
    /// Who crashed is never started again.
    NoRestart,
    /// Suspended entities have agents.
    NoSuspension,
}

impl Mutant {
    /// What the planner does not get to see.
    pub(crate) fn blind(self, desired: &mut Desired, observed: &mut Observed, now: Time) {
        match self {
            Self::NoKillBeforeSpawn => {
                for agent in observed.agents.values_mut() {
                    if matches!(agent.phase, Phase::Stopping(_)) {
                        agent.phase = Phase::Stopped { why: StopReason::EntityGone };
                    }
                }
            }
            Self::AttemptsWhileAway => {
                observed.contact =
                    Contact { reachable: true, asked: Some(now), ..Contact::default() };
            }
            Self::NoMaxAgents => {
                std::sync::Arc::make_mut(&mut desired.rules).max_agents = 1000;
            }
            Self::NoSuspension => {
                if let Wants::Known { agents, .. } = &mut desired.wants {
                    for want in agents.values_mut() {
                        want.suspended = false;
                    }
                }
            }
            Self::NoGate
            | Self::NoConfirmation
            | Self::NoHold
            | Self::NoIdentity
            | Self::NoJournal
            | Self::NoKill
            | Self::NoRestart => {}
        }
    }

    /// What of the plan is not done.
    pub(crate) fn bend(self, plan: &mut Plan) {
        match self {
            Self::NoKill => plan.actions.retain(|it| !matches!(it.verb, Verb::Kill { .. })),
            Self::NoRestart => plan
                .actions
                .retain(|it| !matches!(&it.verb, Verb::Start(start) if start.attempts > 0)),
            Self::NoGate
            | Self::NoConfirmation
            | Self::NoHold
            | Self::NoKillBeforeSpawn
            | Self::AttemptsWhileAway
            | Self::NoIdentity
            | Self::NoJournal
            | Self::NoMaxAgents
            | Self::NoSuspension => {}
        }
    }
}
