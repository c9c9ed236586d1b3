//! What should be: one agent for every entity that a template serves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::entity::EntityId;
use super::membership::Membership;
use super::rollout::Rollouts;
use super::template::{AgentSpec, Arrival, ChosenBy, Rules, Site, Template};
use super::time::Time;

/// What the user wants of the runner itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Intent {
    /// Keep one agent for each entity.
    #[default]
    Run,
    /// Stop all agents, each within its grace.
    Stop,
    /// End all agents now.
    Kill,
    /// Leave all agents as they are, for another runner to take up.
    Leave,
}

/// What the user asked for at the runner itself, beyond the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// Entities that are to have no agent until that is taken back.
    pub suspended: BTreeSet<EntityId>,
    /// Agents that are to be started anew, unless they were started after this time.
    pub restarts: BTreeMap<EntityId, Time>,
    /// How far the versions of templates have come, and what the user said to that.
    #[serde(default)]
    pub rollouts: Arc<Rollouts>,
}

/// What should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// What the user wants of the runner itself.
    pub intent: Intent,
    /// Delays, limits and templates.
    pub rules: Arc<Rules>,
    /// Whom to serve.
    pub wants: Wants,
    /// How far the versions of templates have come.
    pub rollouts: Arc<Rollouts>,
}

/// Whom to serve.
#[derive(Clone, Debug, PartialEq)]
pub enum Wants {
    /// This world has never answered: nothing may be started, and nothing stopped for its sake.
    Unknown,
    /// Exactly these.
    Known {
        /// Entities that a template serves.
        agents: BTreeMap<EntityId, Want>,
        /// Entities that no template serves.
        unserved: BTreeSet<EntityId>,
        /// Entities of whom the world has not said yet whether they are still there.
        awaited: BTreeSet<EntityId>,
    },
}

/// The agent that an entity should have.
#[derive(Clone, Debug, PartialEq)]
pub struct Want {
    /// The entity's place in the order in which entities were first seen.
    pub seen: u64,
    /// The entity's spawn tick.
    pub incarnation: i64,
    /// Whether the entity was in the first answer.
    pub arrival: Arrival,
    /// Whether the latest answer had the entity.
    pub present: bool,
    /// Whether somebody holds its lease.
    pub leased: bool,
    /// Whether the user wants it to have no agent for now.
    pub suspended: bool,
    /// When the user asked for its agent to be started anew, if that was so.
    pub restart_asked: Option<Time>,
    /// The template that serves it.
    pub template: Arc<Template>,
    /// The rule that chose the template.
    pub chosen_by: ChosenBy,
    /// The process.
    pub spec: Arc<AgentSpec>,
}

impl Desired {
    /// What should be, given the rules and what is known of the world.
    #[must_use]
    pub fn new(
        intent: Intent,
        rules: &Arc<Rules>,
        site: &Site,
        membership: Option<&Membership>,
        orders: &Orders,
    ) -> Self {
        let known = |membership| wants(rules, site, membership, orders);
        let wants = membership.map_or(Wants::Unknown, known);
        let rollouts = Arc::clone(&orders.rollouts);
        Self { intent, rules: Arc::clone(rules), wants, rollouts }
    }
}

impl Desired {
    /// Whether this template serves the entity.
    #[must_use]
    pub fn serves(&self, id: &EntityId, template: &str) -> bool {
        match &self.wants {
            Wants::Unknown => false,
            Wants::Known { agents, .. } => {
                agents.get(id).is_some_and(|want| want.template.name == template)
            }
        }
    }
}

fn wants(rules: &Rules, site: &Site, membership: &Membership, orders: &Orders) -> Wants {
    let mut agents = BTreeMap::new();
    let mut unserved = BTreeSet::new();
    for (id, member) in membership.iter() {
        let Some((template, chosen_by)) = rules.choose(&member.entity, member.arrival) else {
            unserved.insert(id.clone());
            continue;
        };
        let template = orders.rollouts.in_effect(template);
        let want = Want {
            seen: member.seen,
            incarnation: member.entity.spawn_tick,
            arrival: member.arrival,
            present: member.present(),
            leased: member.entity.leased,
            suspended: orders.suspended.contains(id),
            restart_asked: orders.restarts.get(id).copied(),
            template: Arc::clone(template),
            chosen_by,
            spec: Arc::new(AgentSpec::resolve(template, &member.entity, site)),
        };
        agents.insert(id.clone(), want);
    }
    let awaited = membership.awaited().cloned().collect();
    Wants::Known { agents, unserved, awaited }
}
