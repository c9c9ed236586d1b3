//! What programs get: the shapes of `design/api.md`, which change by additions only.

use std::collections::BTreeMap;

use serde::Serialize;

use super::output::timestamp;
use super::usage::Usage;
use crate::proto::control as pb;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Agent {
    pub(super) name: String,
    r#type: String,
    template: String,
    phase: String,
    ready: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    restarts: u64,
    attempts: u32,
    max_attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pod: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    node: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_exit: Option<LastExit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Next>,
    #[serde(skip_serializing_if = "String::is_empty")]
    lease: String,
    incarnation: i64,
    suspended: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Debug, Serialize)]
struct LastExit {
    how: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
}

#[derive(Debug, Serialize)]
struct Next {
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entity {
    pub(super) name: String,
    r#type: String,
    tags: Vec<String>,
    incarnation: i64,
    arrival: String,
    present: bool,
    leased: bool,
    suspended: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    template: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    phase: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Template {
    pub(super) name: String,
    command: String,
    r#match: String,
    restart_policy: String,
    agents: u32,
    ready: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rollout {
    pub(super) template: String,
    state: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    undone: bool,
    can_be_undone: bool,
    agents: u32,
    updated: u32,
    ready: u32,
    unavailable: u32,
    max_unavailable: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event {
    sequence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    level: String,
    pub(super) kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    fields: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Condition {
    r#type: String,
    status: bool,
    reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    name: String,
    version: String,
    pid: u32,
    config_path: String,
    state_dir: String,
    log_dir: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    intent: String,
    config_generation: u64,
    world: World,
    phases: BTreeMap<String, u32>,
    pending: u32,
    suspended: u32,
    conditions: Vec<Condition>,
    agents: Vec<Agent>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct World {
    server: String,
    reachable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    answered_at: Option<String>,
    entities: u32,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Description {
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<Agent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entity: Option<Entity>,
    command: Vec<String>,
    environment: Vec<String>,
    cwd: String,
    chosen_by: String,
    grace_ms: i64,
    restart_policy: String,
    limits: String,
    conditions: Vec<Condition>,
    events: Vec<Event>,
    log_path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    usage_unknown: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Step {
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    text: String,
}

impl From<pb::Agent> for Agent {
    fn from(it: pb::Agent) -> Self {
        let last_exit = LastExit { how: it.last_exit, at: timestamp(it.last_exit_at_ms) };
        let next = Next { what: it.next, at: timestamp(it.next_at_ms) };
        Self {
            name: it.name,
            r#type: it.r#type,
            template: it.template,
            phase: it.phase,
            ready: it.ready,
            reason: it.reason,
            restarts: it.restarts,
            attempts: it.attempts,
            max_attempts: it.max_attempts,
            pid: (it.pid != 0).then_some(it.pid),
            pod: it.pod,
            node: it.node,
            started_at: timestamp(it.started_at_ms),
            last_exit: Some(last_exit).filter(|last| !last.how.is_empty()),
            next: Some(next).filter(|next| !next.what.is_empty()),
            lease: it.lease,
            incarnation: it.incarnation,
            suspended: it.suspended,
            usage: it.usage.map(Into::into),
        }
    }
}

impl From<pb::Entity> for Entity {
    fn from(it: pb::Entity) -> Self {
        Self {
            name: it.name,
            r#type: it.r#type,
            tags: it.tags,
            incarnation: it.incarnation,
            arrival: it.arrival,
            present: it.present,
            leased: it.leased,
            suspended: it.suspended,
            template: it.template,
            phase: it.phase,
            reason: it.reason,
        }
    }
}

impl From<pb::Template> for Template {
    fn from(it: pb::Template) -> Self {
        Self {
            name: it.name,
            command: it.command,
            r#match: it.r#match,
            restart_policy: it.restart_policy,
            agents: it.agents,
            ready: it.ready,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Plan {
    #[serde(skip_serializing_if = "String::is_empty")]
    world: String,
    actions: Vec<Planned>,
    pending: Vec<Planned>,
    unchanged: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Planned {
    verb: String,
    name: String,
    reason: String,
}

impl From<pb::PlanResponse> for Plan {
    fn from(it: pb::PlanResponse) -> Self {
        let all = |planned: Vec<pb::Planned>| planned.into_iter().map(Into::into).collect();
        Self {
            world: it.world,
            actions: all(it.actions),
            pending: all(it.pending),
            unchanged: it.unchanged,
            notes: it.notes,
        }
    }
}

impl From<pb::Planned> for Planned {
    fn from(it: pb::Planned) -> Self {
        Self { verb: it.verb, name: it.name, reason: it.reason }
    }
}

impl From<pb::Rollout> for Rollout {
    fn from(it: pb::Rollout) -> Self {
        Self {
            template: it.template,
            state: it.state,
            reason: it.reason,
            undone: it.undone,
            can_be_undone: it.can_be_undone,
            agents: it.agents,
            updated: it.updated,
            ready: it.ready,
            unavailable: it.unavailable,
            max_unavailable: it.max_unavailable,
        }
    }
}

impl From<pb::Event> for Event {
    fn from(it: pb::Event) -> Self {
        Self {
            sequence: it.sequence,
            at: timestamp(it.at_ms),
            level: it.level,
            kind: it.kind,
            name: it.name,
            message: it.message,
            reason: it.reason,
            fields: it.fields.into_iter().collect(),
        }
    }
}

impl From<pb::Condition> for Condition {
    fn from(it: pb::Condition) -> Self {
        Self { r#type: it.r#type, status: it.status, reason: it.reason, message: it.message }
    }
}

impl From<pb::Step> for Step {
    fn from(it: pb::Step) -> Self {
        Self { at: timestamp(it.at_ms), text: it.text }
    }
}

impl Status {
    pub(super) fn new(it: pb::Status, agents: Vec<Agent>) -> Self {
        let world = it.world.unwrap_or_default();
        Self {
            name: it.name,
            version: it.version,
            pid: it.pid,
            config_path: it.config_path,
            state_dir: it.state_dir,
            log_dir: it.log_dir,
            started_at: timestamp(it.started_at_ms),
            intent: it.intent,
            config_generation: it.config_generation,
            world: World {
                server: world.server,
                reachable: world.reachable,
                answered_at: timestamp(world.answered_at_ms),
                entities: world.entities,
            },
            phases: it.phases.into_iter().collect(),
            pending: it.pending,
            suspended: it.suspended,
            conditions: it.conditions.into_iter().map(Into::into).collect(),
            agents,
        }
    }
}

impl From<pb::AgentDescription> for Description {
    fn from(it: pb::AgentDescription) -> Self {
        Self {
            agent: it.agent.map(Into::into),
            entity: it.entity.map(Into::into),
            command: it.command,
            environment: it.environment,
            cwd: it.cwd,
            chosen_by: it.chosen_by,
            grace_ms: it.grace_ms,
            restart_policy: it.restart_policy,
            limits: it.limits,
            conditions: it.conditions.into_iter().map(Into::into).collect(),
            events: it.events.into_iter().map(Into::into).collect(),
            log_path: it.log_path,
            usage_unknown: it.usage_unknown,
        }
    }
}
