//! The words of the API for what the loop knows.

use crate::plan::{Agent, Arrival, Intent, Lease, Phase, RestartPolicy};

/// When an agent is started again, as a file has it.
pub(super) const fn policy(policy: RestartPolicy) -> &'static str {
    match policy {
        RestartPolicy::Always => "always",
        RestartPolicy::OnFailure => "on-failure",
        RestartPolicy::Never => "never",
    }
}

/// The names of all phases, as the API has them.
pub(crate) const PHASES: [&str; 9] = [
    "Starting",
    "Running",
    "Stopping",
    "Stopped",
    "Exited",
    "BackingOff",
    "AwaitingWorld",
    "Completed",
    "Failed",
];

/// The name of a phase, as the API has it.
pub(crate) const fn phase(phase: &Phase) -> &'static str {
    match phase {
        Phase::Starting { .. } => "Starting",
        Phase::Running { .. } => "Running",
        Phase::Stopping(_) => "Stopping",
        Phase::Stopped { .. } => "Stopped",
        Phase::Exited(_) => "Exited",
        Phase::BackingOff { .. } => "BackingOff",
        Phase::AwaitingWorld { .. } => "AwaitingWorld",
        Phase::Completed { .. } => "Completed",
        Phase::Failed { .. } => "Failed",
    }
}

pub(super) const fn lease(agent: &Agent) -> &'static str {
    let Some((_, lease)) = agent.running() else { return "" };
    match lease {
        Lease::Unseen => "unseen",
        Lease::Held => "held",
        Lease::Unknown => "unknown",
        Lease::Gone { .. } => "gone",
    }
}

pub(super) const fn intent(intent: Intent) -> &'static str {
    match intent {
        Intent::Run => "run",
        Intent::Stop => "stop",
        Intent::Kill => "kill",
        Intent::Leave => "leave",
    }
}

pub(super) const fn arrival(arrival: Arrival) -> &'static str {
    match arrival {
        Arrival::First => "was in the world's first answer",
        Arrival::Late => "came after the world's first answer",
    }
}
