//! What a plan says is done: written down first, and then carried to the executor.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{AskWorld, Reconciler, Remember, logs, report};
use crate::executor::local::survey::{INSTANCE, RUN};
use crate::executor::{Executor, Resource, SpawnRequest};
use crate::fault::{self, Point};
use crate::plan::{Action, EntityId, Plan, Start, StopReason, Time, Verb, Wants};

impl<E: Executor, W: AskWorld, M: Remember> Reconciler<E, W, M> {
    /// All is written down before any of it is done. What nothing follows from may wait for what
    /// comes of it in the next pass.
    pub(super) fn apply(&mut self, plan: &Plan, now: Time) {
        for (template, turn) in &plan.turns {
            report::turn(template, turn);
            Arc::make_mut(&mut self.orders.rollouts).note(template, turn, now);
        }
        if !plan.turns.is_empty() {
            self.memory.orders(&self.orders);
            self.desired = None;
        }
        for action in &plan.actions {
            let logs = logs(&self.executor, &self.observed, &self.settings);
            self.report.action(action, &logs, now);
            self.observed.note(action, now);
            self.unwritten.insert(action.id.clone());
        }
        if plan.actions.iter().any(|action| action.verb.reaches_processes()) {
            self.write_down();
        }
        for Action { id, verb } in &plan.actions {
            match verb {
                Verb::Start(start) => {
                    fault::reach(Point::StartNoted);
                    self.start(id, start);
                }
                Verb::Stop { run, why, .. } => {
                    if let StopReason::LeaseGone { .. } = why {
                        let dump = self.dumps(id);
                        self.executor.examine(*run, dump);
                    }
                    fault::reach(Point::StopNoted);
                    self.executor.terminate(*run);
                }
                Verb::Kill { run, .. } => {
                    fault::reach(Point::KillNoted);
                    self.executor.kill(*run);
                }
                Verb::Forget { .. } => self.executor.forget(id),
                Verb::BackOff { .. }
                | Verb::AwaitWorld { .. }
                | Verb::Complete { .. }
                | Verb::Fail { .. } => {}
            }
        }
    }

    /// Whether the agent is to write down what it does before it is stopped as hung.
    fn dumps(&mut self, id: &EntityId) -> bool {
        match &self.desired().wants {
            Wants::Unknown => false,
            Wants::Known { agents, .. } => {
                agents.get(id).is_some_and(|want| want.template.faulthandler)
            }
        }
    }

    fn start(&mut self, id: &EntityId, start: &Start) {
        self.runs.insert(start.run, id.clone());
        let names = start.spec.env.keys().map(String::as_str).collect::<Vec<_>>().join(",");
        let markers = BTreeMap::from([
            (INSTANCE.to_owned(), self.settings.instance.clone()),
            (RUN.to_owned(), start.run.0.to_string()),
            ("RUNNER_INCARNATION".to_owned(), start.incarnation.to_string()),
            ("RUNNER_ARRIVAL".to_owned(), start.arrival.name().to_owned()),
            ("RUNNER_TEMPLATE".to_owned(), start.template.clone()),
            ("RUNNER_ARGV".to_owned(), json(&start.spec.argv)),
            ("RUNNER_CWD".to_owned(), start.spec.cwd.to_string_lossy().into_owned()),
            ("RUNNER_ENV".to_owned(), names),
            ("RUNNER_CONFINEMENT".to_owned(), start.spec.confinement.to_string()),
            ("RUNNER_SPEC".to_owned(), start.spec.digest()),
        ]);
        let kind = start.spec.env.get("RUNNER_ENTITY_TYPE").map_or("", String::as_str);
        self.executor.spawn(SpawnRequest {
            run: start.run,
            resource: Resource::of_agent(id.as_str(), kind, &start.template),
            entity: id.clone(),
            spec: (*start.spec).clone(),
            grace: start.grace,
            markers,
            log_dir: self.settings.log_dir.clone(),
            logs: self.settings.logs,
            incarnation: start.incarnation,
            attempts: start.attempts,
            restarts: self.observed.agents.get(id).map_or(0, |agent| agent.restarts),
            reason: start.why.to_string(),
        });
    }
}

/// A list of words, as one.
fn json(words: &[String]) -> String {
    serde_json::Value::from(words).to_string()
}
