//! What is odd about an instance or an agent, as conditions: each with its reason.

use super::names::phase;
use super::status::{View, seconds};
use crate::executor::kubernetes::Inquiry;
use crate::plan::{Agent, EntityId, Membership, is_behind};
use crate::proto::control as pb;

/// Whether the cluster of pods answers.
pub(super) fn cluster_condition(cluster: &Inquiry) -> pb::Condition {
    match cluster.trouble() {
        None => condition("ClusterReachable", true, "Answers", String::new()),
        Some(why) => {
            let message = format!("{why}; the agents run on, and none is started or stopped");
            condition("ClusterReachable", false, "Silent", message)
        }
    }
}

impl View<'_> {
    /// What is odd about an agent or its entity.
    pub(super) fn conditions(&self, id: &EntityId) -> Vec<pb::Condition> {
        let mut all = Vec::new();
        if let Some(agent) = self.look.observed.agents.get(id) {
            let ready = self.is_ready(agent);
            let message = self.reason(agent);
            let reason = agent.waits.as_ref().map(|waits| waits.on.word());
            let reason = reason.unwrap_or(phase(&agent.phase));
            all.push(condition("Ready", ready, reason, message));
        }
        if let Some(missing) = self.missing(id) {
            let of = self.look.settings.rules.removal.confirmations;
            let message = format!("{missing} good answers in a row lack it; it is gone after {of}");
            all.push(condition("Missing", true, "NotInAnswer", message));
        }
        if let Some(message) = self.held() {
            all.push(condition("RemovalHeld", true, "TooManyAtOnce", message));
        }
        let agent = self.look.observed.agents.get(id);
        if let Some((reason, message)) = agent.and_then(|agent| self.waits(id, agent)) {
            all.push(condition("Updated", false, reason, message));
        }
        if self.look.orders.suspended.contains(id) {
            let message = "it gets no agent until it is resumed".to_owned();
            all.push(condition("Suspended", true, "Asked", message));
        }
        all
    }

    /// That nobody is removed for now, if that is so.
    pub(super) fn held(&self) -> Option<String> {
        let hold = self.look.membership.as_ref().and_then(Membership::hold)?;
        let left = (hold.since + self.look.settings.rules.removal.hold) - self.look.now;
        Some(format!(
            "the world's answers would remove {} agents at once; they have to stand for another {}",
            hold.agents,
            seconds(left)
        ))
    }

    /// What is odd about the instance.
    pub(super) fn instance_conditions(&self) -> Vec<pb::Condition> {
        let contact = self.look.observed.contact;
        let (reason, message) = if contact.reachable {
            ("Answers", String::new())
        } else {
            let server = &self.look.settings.site.server;
            ("Silent", format!("the world at {server} does not answer; nobody is stopped for that"))
        };
        let mut all = vec![condition("WorldReachable", contact.reachable, reason, message)];
        all.extend(
            self.held().map(|message| condition("RemovalHeld", true, "TooManyAtOnce", message)),
        );
        for rollout in self.rollouts() {
            let name = &rollout.template;
            if rollout.state == "Paused" {
                let message = format!("the rollout of {name} is paused: {}", rollout.reason);
                all.push(condition("RolloutPaused", true, "Paused", message));
            }
            if rollout.undone {
                let message =
                    format!("template {name} is at its version before, until the file changes");
                all.push(condition("RolloutUndone", true, "Undone", message));
            }
        }
        all
    }

    /// Why an agent is not what its template says by now, if it is to wait for that.
    pub(super) fn waits(&self, id: &EntityId, agent: &Agent) -> Option<(&'static str, String)> {
        let want = self.want(id).filter(|want| is_behind(agent, want))?;
        let name = &want.template.name;
        let rollout = self.look.desired.rollouts.get(name)?;
        Some(match rollout.paused() {
            Some(pause) => (
                "RolloutPaused",
                format!("it keeps its version: the rollout of {name} is paused, as {pause}"),
            ),
            None => (
                "WaitsForTurn",
                format!("it is changed when its turn comes in the rollout of {name}"),
            ),
        })
    }
}

fn condition(kind: &str, status: bool, reason: &str, message: String) -> pb::Condition {
    pb::Condition { r#type: kind.to_owned(), status, reason: reason.to_owned(), message }
}
