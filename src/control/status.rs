//! What the API says of agents and entities, from what the loop knows. The one file of the server
//! that knows the generated types of both sides.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use itertools::Itertools as _;

use super::names::{intent, lease, phase, policy};
use crate::clock::wall_time;
use crate::plan::membership::Member;
use crate::plan::{
    Agent, EntityId, Intent, Lease, Membership, Pending, Phase, Place, Rollout, Time, Want, Wants,
    progress,
};
use crate::proto::control as pb;
use crate::reconcile::Look;

/// The phases of those that have no agent.
const PENDING: &str = "Pending";
const SUSPENDED: &str = "Suspended";

/// Whether this stands for an entity without an agent.
pub(super) fn has_none(agent: &pb::Agent) -> bool {
    [PENDING, SUSPENDED].contains(&agent.phase.as_str())
}

/// What the loop knows, with the time of day beside its own.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(super) look: &'a Look,
    /// Milliseconds since 1970, at the time of the look.
    now_ms: i64,
}

impl<'a> View<'a> {
    pub(crate) fn of(look: &'a Look) -> Self {
        let now = wall_time().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { look, now_ms: millis(now) }
    }

    /// The time of day at that time.
    pub(crate) fn at(&self, time: Time) -> i64 {
        let now = self.look.now;
        if time > now { self.now_ms + millis(time - now) } else { self.now_ms - millis(now - time) }
    }

    pub(super) fn want(&self, id: &EntityId) -> Option<&'a Want> {
        match &self.look.desired.wants {
            Wants::Unknown => None,
            Wants::Known { agents, .. } => agents.get(id),
        }
    }

    /// The instance as a whole, as far as the loop knows of it.
    pub(crate) fn status(&self) -> pb::Status {
        let look = self.look;
        let mut phases: BTreeMap<String, u32> = BTreeMap::new();
        for agent in look.observed.agents.values() {
            *phases.entry(phase(&agent.phase).to_owned()).or_default() += 1;
        }
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let is_to_have_one = |why: &&Pending| **why != Pending::Suspended;
        let contact = look.observed.contact;
        pb::Status {
            log_dir: look.settings.log_dir.display().to_string(),
            intent: intent(look.intent).to_owned(),
            config_generation: look.settings.generation,
            world: Some(pb::World {
                server: look.settings.site.server.clone(),
                reachable: contact.reachable,
                answered_at_ms: contact.asked.map_or(0, |asked| self.at(asked)),
                entities: look.entities.as_ref().map_or(0, |entities| count(entities.len())),
            }),
            phases: phases.into_iter().collect(),
            pending: count(look.pending.values().filter(is_to_have_one).count()),
            suspended: count(look.orders.suspended.len()),
            conditions: self.instance_conditions(),
            ..pb::Status::default()
        }
    }

    /// All agents, and the entities that have none but are known to want one, by name.
    pub(crate) fn agents(&self) -> impl Iterator<Item = pb::Agent> {
        let agents = &self.look.observed.agents;
        let has_none = |id: &&EntityId| !agents.contains_key(*id);
        let pending = self.look.pending.keys().merge(&self.look.orders.suspended).dedup();
        let without = pending.filter(has_none).map(|id| self.without_agent(id));
        let with = agents.iter().map(|(id, agent)| self.agent(id, agent));
        with.merge_by(without, |one, other| one.name < other.name)
    }

    /// An entity in the place of the agent that it does not have.
    fn without_agent(&self, id: &EntityId) -> pb::Agent {
        let suspended = self.look.orders.suspended.contains(id);
        pb::Agent {
            name: id.to_string(),
            r#type: self.kind(id).to_owned(),
            template: self.want(id).map_or_else(String::new, |want| want.template.name.clone()),
            phase: if suspended { SUSPENDED } else { PENDING }.to_owned(),
            reason: self.why_none(id),
            suspended,
            ..pb::Agent::default()
        }
    }

    pub(super) fn agent(&self, id: &EntityId, agent: &Agent) -> pb::Agent {
        let rules = &self.look.settings.rules;
        let ended = agent.ended().or(agent.last_end.as_deref());
        let (next, next_at) = self.next(agent);
        let place = agent.running().map(|(place, _)| place);
        let (pod, node) = match place {
            Some(Place::Pod { pod, node }) => (pod.as_str(), node.as_str()),
            Some(Place::Process { .. }) | None => ("", ""),
        };
        pb::Agent {
            name: id.to_string(),
            r#type: self.kind(id).to_owned(),
            template: agent.template.clone(),
            phase: phase(&agent.phase).to_owned(),
            ready: self.is_ready(agent),
            reason: self.reason(agent),
            restarts: agent.restarts,
            attempts: agent.attempts,
            max_attempts: rules.backoff.max_attempts,
            pid: place.and_then(Place::pid).unwrap_or_default(),
            pod: pod.to_owned(),
            node: node.to_owned(),
            run: agent.run().map_or(0, |run| run.0),
            started_at_ms: agent.since().map_or(0, |since| self.at(since)),
            last_exit: ended.map_or_else(String::new, |ended| ended.how.to_string()),
            last_exit_at_ms: ended.map_or(0, |ended| self.at(ended.at)),
            next,
            next_at_ms: next_at.map_or(0, |at| self.at(at)),
            lease: lease(agent).to_owned(),
            incarnation: agent.incarnation,
            suspended: self.look.orders.suspended.contains(id),
            usage: None,
        }
    }

    fn kind(&self, id: &EntityId) -> &str {
        let member = self.look.membership.as_ref().and_then(|membership| membership.get(id));
        member.map_or("", |member| &member.entity.kind)
    }

    /// Whether it runs and, where leases are watched, its entity has one.
    pub(crate) fn is_ready(&self, agent: &Agent) -> bool {
        let is_watched = self.look.settings.rules.lease_health.is_some();
        agent.running().is_some_and(|(_, lease)| !is_watched || lease == Lease::Held)
    }

    /// Why an agent is as it is, in a sentence; empty where there is nothing to explain.
    pub(super) fn reason(&self, agent: &Agent) -> String {
        let waits = agent.waits.as_ref().map(ToString::to_string);
        match &agent.phase {
            Phase::Starting { .. } => waits.unwrap_or_default(),
            Phase::Running { .. } if waits.is_some() => waits.unwrap_or_default(),
            Phase::Running { lease, .. } => match lease.gone() {
                Some((lasted, _)) if self.look.settings.rules.lease_health.is_some() => {
                    format!("its entity has had no lease for {}", seconds(lasted))
                }
                Some(_) | None => String::new(),
            },
            Phase::Stopping(stopping) => stopping.why.to_string(),
            Phase::Stopped { why } => why.to_string(),
            Phase::Exited(ended) => format!("{}; the world is asked whether it was why", ended.how),
            Phase::AwaitingWorld { ended, why, .. } => format!("{}; {why}", ended.how),
            Phase::BackingOff { ended, .. }
            | Phase::Completed { ended }
            | Phase::Failed { ended } => ended.how.to_string(),
        }
    }

    /// What is done next without anybody's doing.
    fn next(&self, agent: &Agent) -> (String, Option<Time>) {
        let backoff = &self.look.settings.rules.backoff;
        match &agent.phase {
            Phase::BackingOff { until, .. } => {
                let (attempt, of) = (agent.attempts, backoff.max_attempts);
                (format!("restart {attempt} of {of}"), Some(*until))
            }
            Phase::AwaitingWorld { retry_at, .. } => {
                ("restart when the world answers, or else".to_owned(), Some(*retry_at))
            }
            Phase::Stopping(stopping) => match stopping.deadline {
                Some(deadline) if !stopping.killed => ("SIGKILL".to_owned(), Some(deadline)),
                Some(_) | None => (String::new(), None),
            },
            Phase::Starting { .. }
            | Phase::Running { .. }
            | Phase::Stopped { .. }
            | Phase::Exited(_)
            | Phase::Completed { .. }
            | Phase::Failed { .. } => (String::new(), None),
        }
    }

    pub(super) fn entities(&self) -> Vec<pb::Entity> {
        let membership = self.look.membership.iter().flat_map(Membership::iter);
        membership.map(|(id, _)| self.entity(id)).collect()
    }

    /// What is known of an entity; of one that is none, that it is not there.
    pub(super) fn entity(&self, id: &EntityId) -> pb::Entity {
        let member = self.look.membership.as_ref().and_then(|membership| membership.get(id));
        let agent = self.look.observed.agents.get(id);
        let reason = match agent {
            Some(agent) => self.reason(agent),
            None => self.why_none(id),
        };
        pb::Entity {
            name: id.to_string(),
            r#type: self.kind(id).to_owned(),
            tags: member.map_or_else(Vec::new, |member| member.entity.tags.clone()),
            incarnation: member.map_or(0, |member| member.entity.spawn_tick),
            arrival: member.map_or("", |member| member.arrival.name()).to_owned(),
            present: member.is_some_and(Member::present),
            leased: member.is_some_and(|member| member.entity.leased),
            suspended: self.look.orders.suspended.contains(id),
            template: self.want(id).map_or_else(String::new, |want| want.template.name.clone()),
            phase: agent.map_or("", |agent| phase(&agent.phase)).to_owned(),
            reason,
        }
    }

    /// Why an entity has no agent.
    pub(super) fn why_none(&self, id: &EntityId) -> String {
        let look = self.look;
        let rules = &look.settings.rules;
        if let Some(pending) = look.pending.get(id) {
            return match pending {
                Pending::OverLimit => {
                    format!("max_agents = {} are there already", rules.max_agents)
                }
                Pending::LeasedElsewhere
                | Pending::NoTemplate
                | Pending::Missing
                | Pending::Suspended
                | Pending::Turn(_)
                | Pending::Unsynced(_) => pending.to_string(),
            };
        }
        if look.intent != Intent::Run {
            return "the runner is stopping".to_owned();
        }
        let Some(membership) = &look.membership else {
            return "the world has not answered yet, so nobody knows who is there".to_owned();
        };
        let is_there = look.entities.as_ref().is_some_and(|all| all.get(id.as_str()).is_some());
        match (membership.get(id), is_there) {
            (Some(member), _) if rules.choose(&member.entity, member.arrival).is_none() => {
                if rules.auto_discover {
                    "no template serves the entity".to_owned()
                } else {
                    "no template is named after it, and runner.auto_discover is false".to_owned()
                }
            }
            (Some(_), _) => "it is about to get one".to_owned(),
            (None, true) if !rules.jit.enabled => {
                "it came after the world's first answer, and jit.enabled is false".to_owned()
            }
            (None, false) if membership.awaits(id) => {
                "no answer of the world has had it since the runner started".to_owned()
            }
            (None, true) => "there are more entities than are remembered".to_owned(),
            (None, false) => "the world has no such entity".to_owned(),
        }
    }

    /// The good answers in a row that lack an entity that is not gone.
    pub(super) fn missing(&self, id: &EntityId) -> Option<u32> {
        self.look.membership.as_ref().and_then(|membership| membership.missing(id))
    }

    /// How far the versions of templates have come.
    pub(super) fn rollouts(&self) -> Vec<pb::Rollout> {
        let look = self.look;
        let all = progress(&look.desired, &look.observed, look.now);
        let templates = look.settings.rules.templates.iter();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        templates
            .map(|template| {
                let progress = all.get(&template.name).copied().unwrap_or_default();
                let rollout = look.desired.rollouts.get(&template.name);
                let pause = rollout.and_then(Rollout::paused);
                let under_way = rollout.is_some_and(Rollout::is_under_way);
                let state = match pause {
                    Some(_) => "Paused",
                    None if under_way || progress.behind() > 0 => "Progressing",
                    None => "Complete",
                };
                pb::Rollout {
                    template: template.name.clone(),
                    state: state.to_owned(),
                    reason: pause.map_or_else(String::new, ToString::to_string),
                    undone: rollout.is_some_and(Rollout::undone),
                    can_be_undone: rollout.is_some_and(Rollout::can_be_undone),
                    agents: count(progress.agents),
                    updated: count(progress.updated),
                    ready: count(progress.ready),
                    unavailable: count(progress.unavailable),
                    max_unavailable: count(progress.most_unavailable),
                }
            })
            .collect()
    }

    pub(super) fn templates(&self) -> Vec<pb::Template> {
        let mut counts: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
        for agent in self.look.observed.agents.values() {
            let (agents, ready) = counts.entry(&agent.template).or_default();
            *agents += 1;
            *ready += u32::from(self.is_ready(agent));
        }
        let templates = self.look.settings.rules.templates.iter();
        templates
            .map(|template| {
                let (agents, ready) =
                    counts.get(template.name.as_str()).copied().unwrap_or_default();
                pb::Template {
                    name: template.name.clone(),
                    command: template.command().join(" "),
                    r#match: template
                        .matcher
                        .as_ref()
                        .map_or_else(String::new, ToString::to_string),
                    restart_policy: policy(template.restart).to_owned(),
                    agents,
                    ready,
                }
            })
            .collect()
    }
}

pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
