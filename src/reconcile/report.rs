//! What the loop tells people: one line an action with its reason, and what is odd about the
//! world once, when it becomes so. The field `event` is stable; the message is for people.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, error, info, trace, warn};

use super::Order;
use super::crashes::Crashes;
use super::last_words::{Logs, last_lines};
use crate::executor::{Event, Evidence, Executor};
use crate::plan::{
    Action, Agent, Arrival, Ended, EntityId, Exit, Hold, Intent, Membership, Observed, Outcome,
    Pending, Phase, Place, Plan, Refused, Rules, RunId, Start, Steer, StopReason, Stopping,
    Throttle, Time, Turn, Verb, WaitsFor,
};

/// Lines about single entities at one time; beyond that a count is given.
const MOST_LINES: usize = 20;

/// A line, which is of little interest where another one stands for many of its like.
macro_rules! tell {
    ($covered:expr, $level:ident, $($line:tt)+) => {
        if $covered { debug!($($line)+) } else { $level!($($line)+) }
    };
}

/// What was told already, so that it is told once.
#[derive(Debug, Default)]
pub(super) struct Report {
    pending: BTreeMap<EntityId, Pending>,
    turn: Option<Throttle>,
    hold: Option<Hold>,
    untracked: usize,
    refused: Arc<Refused>,
    pub(super) crashes: Crashes,
}

impl Report {
    /// Tells of entities that have no agent for now.
    pub(super) fn pending(&mut self, pending: &BTreeMap<EntityId, Pending>) {
        let throttle = |why: &Pending| match why {
            Pending::Turn(throttle) => Some(*throttle),
            Pending::LeasedElsewhere
            | Pending::OverLimit
            | Pending::NoTemplate
            | Pending::Missing
            | Pending::Suspended
            | Pending::Unsynced(_) => None,
        };
        // Of a thousand starts, most wait at each of a thousand passes.
        let turn = pending.values().find_map(throttle);
        if let Some(why) = turn.filter(|_| self.turn != turn).map(Pending::Turn) {
            debug!(event = "agent.pending", reason = %why, "agents wait for their turn");
        }
        self.turn = turn;
        let others = pending.iter().filter(|(_, why)| throttle(why).is_none());
        let pending: BTreeMap<_, _> =
            others.map(|(id, why)| (id.clone(), (*why).clone())).collect();
        if self.pending == pending {
            return;
        }
        let before = std::mem::replace(&mut self.pending, pending);
        let pending = &self.pending;
        let is_new = |(id, why): &(&EntityId, &Pending)| before.get(*id) != Some(*why);
        let news: Vec<_> = pending.iter().filter(is_new).collect();
        for (id, why) in news.iter().take(MOST_LINES) {
            match why {
                Pending::NoTemplate => {
                    warn!(event = "agent.pending", entity = %id, cause = why.word(), reason = %why, "no agent");
                }
                Pending::LeasedElsewhere | Pending::Suspended | Pending::Unsynced(_) => {
                    info!(event = "agent.pending", entity = %id, cause = why.word(), reason = %why, "no agent yet");
                }
                Pending::OverLimit | Pending::Missing | Pending::Turn(_) => {
                    debug!(event = "agent.pending", entity = %id, cause = why.word(), reason = %why, "no agent yet");
                }
            }
        }
        if news.len() > MOST_LINES {
            let more = news.len() - MOST_LINES;
            info!(event = "agent.pending", count = more, "more entities have no agent yet");
        }
        let over_limit = |pending: &BTreeMap<EntityId, Pending>| {
            pending.values().filter(|why| **why == Pending::OverLimit).count()
        };
        let count = over_limit(pending);
        if count != over_limit(&before) {
            warn!(
                event = "limit.waiting",
                count, "entities wait for an agent, as max_agents are there already"
            );
        }
    }

    /// Tells of holds, and of entities that are only counted.
    pub(super) fn membership(&mut self, membership: &Membership, rules: &Rules) {
        let hold = membership.hold();
        match (self.hold, hold) {
            (None, Some(Hold { agents, .. })) => warn!(
                event = "removal.held",
                agents,
                hold_ms = millis(rules.removal.hold),
                "the world's answer would remove too many agents at once; it must stand first"
            ),
            (Some(_), None) => info!(event = "removal.released", "no removal is held any more"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        self.hold = hold;
        let untracked = membership.untracked();
        if untracked != self.untracked {
            let why = if rules.jit.enabled {
                "there are too many of them"
            } else {
                "they came after the first answer, and JIT is off"
            };
            info!(event = "entities.ignored", count = untracked, reason = why, "entities ignored");
            self.untracked = untracked;
        }
    }

    /// Tells of what the world said and could not be used.
    pub(super) fn refused(&mut self, refused: &Arc<Refused>) {
        if self.refused != *refused {
            for (id, why) in &refused.examples {
                warn!(event = "entity.refused", id = %id, reason = %why, "entity refused");
            }
            if refused.count > refused.examples.len() {
                warn!(event = "entity.refused", count = refused.count, "entities refused");
            }
            self.refused = Arc::clone(refused);
        }
    }

    /// Tells what happened to an agent, before it is taken in.
    pub(super) fn happened(&self, id: &EntityId, agent: &Agent, event: &Event, now: Time) {
        let run = event.run();
        let template = &agent.template;
        match event {
            Event::Started { place, .. } => {
                let covered = self.crashes.cover_restart(agent);
                let took_ms = agent.starting_since().map(|since| fine_millis(now - since));
                match place {
                    Place::Process { pid } => {
                        tell!(covered, info, event = "agent.started", entity = %id, %run, pid, template, took_ms, "started");
                    }
                    Place::Pod { pod, node } => {
                        tell!(covered, info, event = "agent.started", entity = %id, %run, pod, node, template, took_ms, "started");
                    }
                }
            }
            Event::Waits { waits: Some(waits), .. } if waits.on == WaitsFor::Placement => {
                debug!(event = "agent.placing", entity = %id, %run, template, reason = %waits, "is being placed");
            }
            Event::Waits { waits: Some(waits), .. } => {
                warn!(event = "agent.waits", entity = %id, %run, template, cause = waits.on.word(), reason = %waits, "waits for the cluster");
            }
            Event::SpawnFailed { error, .. } => {
                let covered = self.crashes.cover(agent, &Outcome::NotStarted(error.clone()));
                tell!(covered, error, event = "agent.not_started", entity = %id, %run, template, %error, "could not be started");
            }
            Event::Waits { waits: None, .. } | Event::Examined { .. } => {}
            Event::LeaderExited { exit, .. } => {
                let covered = self.crashes.cover_exit(agent, *exit);
                tell!(covered, info, event = "agent.leader_exited", entity = %id, %run, %exit, "its first process ended, others live");
            }
            Event::Gone { exit, .. } => self.gone(id, agent, *exit, run),
        }
    }

    fn gone(&self, id: &EntityId, agent: &Agent, exit: Exit, run: RunId) {
        match &agent.phase {
            Phase::Stopping(Stopping { why, .. })
                if !matches!(why, StopReason::Leftovers { .. }) =>
            {
                let (template, cause) = (&agent.template, why.word());
                info!(event = "agent.gone", entity = %id, %run, template, %exit, cause, reason = %why, "stopped");
            }
            Phase::Stopping(_)
            | Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopped { .. }
            | Phase::Exited(_)
            | Phase::BackingOff { .. }
            | Phase::AwaitingWorld { .. }
            | Phase::Completed { .. }
            | Phase::Failed { .. } => {
                let covered = self.crashes.cover_exit(agent, exit);
                let (template, cause) = (&agent.template, exit.word());
                tell!(covered, info, event = "agent.exited", entity = %id, %run, template, %exit, cause, "ended by itself");
            }
        }
    }

    /// Tells what is done for one entity, and why, before it is done. Also takes in what that says
    /// of others that fare alike.
    pub(super) fn action<E: Executor>(&mut self, action: &Action, logs: &Logs<'_, E>, now: Time) {
        let Action { id, verb } = action;
        let agent = logs.agents.get(id);
        if let Some(agent) = agent {
            self.crashes.take_in(id, (agent, verb), logs, now);
        }
        let template = agent.map(|agent| agent.template.as_str());
        let covers = |ended: &Ended| agent.is_some_and(|it| self.crashes.cover(it, &ended.how));
        match verb {
            Verb::Start(start) => self.starting(id, start),
            Verb::Stop { run, grace, why } => {
                let grace_ms = millis(*grace);
                info!(event = "agent.stopping", entity = %id, %run, template, grace_ms, cause = why.word(), reason = %why, "stopping");
            }
            Verb::Kill { run, why } => {
                warn!(event = "agent.killing", entity = %id, %run, template, cause = why.word(), reason = %why, "killing");
            }
            Verb::Forget { why } => {
                debug!(event = "agent.forgotten", entity = %id, reason = %why, "forgotten");
            }
            Verb::BackOff { ended, until, attempt, of } => {
                let delay_ms = millis(*until - ended.at);
                let after = &ended.how;
                tell!(covers(ended), warn, event = "agent.backoff", entity = %id, template, attempt, of, delay_ms, cause = after.word(), reason = %after, "will be restarted");
            }
            Verb::AwaitWorld { ended, why, .. } => {
                let exit = &ended.how;
                info!(event = "agent.waiting_for_world", entity = %id, template, %exit, cause = why.word(), reason = %why, "waits for the world");
            }
            Verb::Complete { ended, why } => {
                let ran_ms = ran(ended);
                info!(event = "agent.completed", entity = %id, template, exit = %ended.how, ran_ms, cause = why.word(), reason = %why, "completed");
            }
            Verb::Fail { ended, why } => {
                let ran_ms = ran(ended);
                tell!(covers(ended), error, event = "agent.failed", entity = %id, template, exit = %ended.how, ran_ms, cause = why.word(), reason = %why, "failed; a changed template starts it again");
            }
        }
    }

    fn starting(&self, id: &EntityId, start: &Start) {
        tell!(
            self.crashes.cover_start(start),
            info,
            event = "agent.starting",
            entity = %id,
            run = %start.run,
            template = start.template,
            chosen_by = %start.chosen_by,
            attempt = start.attempts,
            cause = start.why.word(),
            reason = %start.why,
            "starting"
        );
    }
}

/// Tells what an agent was doing that is stopped as it does not do its work. What it wrote is read
/// elsewhere: the loop waits for no disk and no network.
pub(super) fn examined<E: Executor>(id: &EntityId, evidence: &Evidence, logs: &Logs<'_, E>) {
    let (evidence, tail) = (evidence.clone(), logs.tail(id));
    tokio::spawn(async move {
        let (id, tail) = tail.await;
        let last_lines = last_lines(&tail);
        let Evidence { asked, .. } = evidence;
        warn!(
            event = "agent.hung", entity = %id, reason = %evidence, asked, last_lines,
            "this is what it was doing"
        );
    });
}

/// Tells what was taken up from another runner.
pub(super) fn resumed(observed: &Observed, adopted: usize) {
    if !observed.agents.is_empty() {
        let agents = observed.agents.len();
        info!(event = "runner.resumed", agents, adopted, "took up what another runner left");
    }
}

/// Tells that the user wants something else of the runner itself.
pub(super) fn intent(intent: Intent, live: usize) {
    match intent {
        Intent::Run => {}
        Intent::Leave => info!(event = "runner.leaving", live, "leaving all agents as they are"),
        Intent::Stop => info!(event = "runner.stopping", live, "stopping all agents"),
        Intent::Kill => warn!(event = "runner.killing", live, "killing all agents"),
    }
}

/// Tells that an entity is in the world that was not, as far as is known.
pub(super) fn seen(id: &EntityId, arrival: Arrival) {
    debug!(event = "entity.seen", entity = %id, arrival = arrival.name(), "entity seen");
}

/// Tells that an entity is not in the world any more.
pub(super) fn left(id: &EntityId) {
    debug!(event = "entity.left", entity = %id, "entity has left the world");
}

/// Tells what the user asked for.
pub(super) fn order(order: Order, id: &EntityId) {
    match order {
        Order::Restart => info!(event = "agent.restart_asked", entity = %id, "restart asked for"),
        Order::Suspend => info!(event = "entity.suspended", entity = %id, "suspended"),
        Order::Resume => info!(event = "entity.resumed", entity = %id, "resumed"),
    }
}

/// Tells that the user steers a rollout.
pub(super) fn steered(template: &str, steer: Steer) {
    match steer {
        Steer::Pause => info!(event = "rollout.paused", template, "the rollout is paused"),
        Steer::Resume => info!(event = "rollout.resumed", template, "the rollout goes on"),
        Steer::Undo => info!(event = "rollout.undone", template, "back to the version before"),
    }
}

/// Tells how far a rollout has come.
pub(super) fn turn(template: &str, turn: &Turn) {
    match turn {
        Turn::Began(progress) => info!(
            event = "rollout.began",
            template,
            agents = progress.agents,
            behind = progress.behind(),
            max_unavailable = progress.most_unavailable,
            "agents are changed"
        ),
        Turn::Failed(failure) => error!(
            event = "rollout.failed",
            template,
            reason = %failure,
            "the rollout is paused; the other agents keep the version that they have"
        ),
        Turn::Completed(progress) => info!(
            event = "rollout.completed",
            template,
            agents = progress.agents,
            ready = progress.ready,
            "all agents have the new version"
        ),
    }
}

/// Sums up a pass. One that found nothing to do is of interest only to who counts them.
pub(super) fn pass(plan: &Plan, observed: &Observed, cause: &str, took: Duration) {
    let Plan { actions, unchanged, pending, .. } = plan;
    let (actions, pending, agents) = (actions.len(), pending.len(), observed.agents.len());
    let took_ms = fine_millis(took);
    if actions == 0 {
        trace!(event = "pass", actions, unchanged, pending, agents, cause, took_ms, "pass");
    } else {
        debug!(event = "pass", actions, unchanged, pending, agents, cause, took_ms, "pass");
    }
}

fn ran(ended: &Ended) -> u64 {
    millis(ended.at - ended.started)
}

/// To the microsecond.
fn fine_millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
