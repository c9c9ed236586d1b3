//! What must never happen, watched from outside: by what the world really said and which processes
//! really live, not by what the runner makes of it.

use std::collections::BTreeMap;

use runner::plan::{EntityId, Phase, Plan, Rules, StopReason, Time, Verb};

use super::mind::Event;
use crate::hearsay::Hearsay;
use crate::machine::Machine;

/// What was seen so far, as far as anything may depend on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    /// The first thing that must not happen and did.
    pub(crate) violation: Option<String>,
    /// What answers prove.
    pub(crate) hearsay: Hearsay,
    /// The entities whose agent's last end was the world's doing.
    pub(crate) taken_along: BTreeMap<EntityId, bool>,
}

impl Watch {
    /// Keeps the first violation.
    pub(crate) fn hold(&mut self, found: Result<(), String>) {
        if let (Err(violation), None) = (found, &self.violation) {
            self.violation = Some(violation);
        }
    }

    /// The runner hears of this.
    pub(crate) fn ended(&mut self, id: &EntityId, event: Event, machine: &mut Machine) {
        match event {
            Event::Gone(run, _) | Event::LeaderExited(run, _) => {
                let along = machine.of_run(run).is_some_and(|process| process.taken_along);
                self.taken_along.insert(id.clone(), along);
            }
            Event::Started(_) | Event::NotStarted(_) => _ = self.taken_along.remove(id),
        }
    }

    /// The runner is about to do this.
    pub(crate) fn planned(&mut self, plan: &Plan, machine: &Machine, rules: &Rules, now: Time) {
        let starts = plan.actions.iter().filter(|it| matches!(it.verb, Verb::Start(_))).count();
        let living = machine.processes.iter().filter(|process| !process.life.is_over()).count();
        if starts > 0 && living + starts > rules.max_agents {
            self.hold(Err(format!("{starts} are started beside {living}")));
        }
        for action in &plan.actions {
            let id = &action.id;
            match &action.verb {
                Verb::Stop { why: StopReason::EntityGone, .. } => {
                    self.hold(self.hearsay.proves_gone(id, rules, now));
                }
                Verb::BackOff { .. } | Verb::Fail { .. } => {
                    if self.taken_along.get(id).copied().unwrap_or(false) {
                        self.hold(Err(format!("the end of {id} is held against it")));
                    }
                }
                Verb::Stop { .. }
                | Verb::Kill { .. }
                | Verb::Forget { .. }
                | Verb::AwaitWorld { .. }
                | Verb::Complete { .. }
                | Verb::Start(_) => {}
            }
        }
    }
}

/// The word for a phase, and how long it has to go.
pub(crate) fn standing(phase: &Phase) -> (u8, Option<Time>) {
    match phase {
        Phase::Starting { since, .. } => (1, Some(*since)),
        Phase::Running { since, .. } => (2, Some(*since)),
        Phase::Stopping(stopping) => (if stopping.killed { 4 } else { 3 }, stopping.deadline),
        Phase::Stopped { .. } => (5, None),
        Phase::Exited(ended) => (6, Some(ended.at)),
        Phase::BackingOff { until, .. } => (7, Some(*until)),
        Phase::AwaitingWorld { retry_at, .. } => (8, Some(*retry_at)),
        Phase::Completed { .. } => (9, None),
        Phase::Failed { .. } => (10, None),
    }
}
