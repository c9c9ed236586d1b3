//! What the runner promises of a world at rest.

use std::collections::BTreeMap;

use runner::plan::{Agent, Desired, EntityId, Observed, Phase, Want, Wants};

use crate::machine::Machine;

/// Everything that the promise is about.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) desired: &'a Desired,
    pub(crate) observed: &'a Observed,
    pub(crate) machine: &'a Machine,
    /// Who really is in the world, and in which incarnation.
    pub(crate) world: &'a BTreeMap<EntityId, i64>,
}

impl Scene<'_> {
    /// Whether each entity that should have an agent has exactly one, and nobody else has any; or
    /// else what is wrong.
    pub(crate) fn is_kept(&self) -> Result<(), String> {
        let Wants::Known { agents: wants, awaited, .. } = &self.desired.wants else {
            return Err("it knows of no world".to_owned());
        };
        let has_jit = self.desired.rules.jit.enabled;
        for (id, want) in wants {
            self.is_served(id, want)?;
        }
        for agent in self.machine.agents() {
            let id = &agent.body.entity;
            // Without JIT nobody is removed, be it that only the runner before has heard of them.
            if !has_jit && awaited.contains(id) {
                continue;
            }
            if wants.get(id).is_none_or(|want| want.suspended) {
                return Err(format!("{id} has an agent and should have none"));
            }
        }
        if has_jit {
            self.is_known(wants)?;
        }
        Ok(())
    }

    fn is_served(&self, id: &EntityId, want: &Want) -> Result<(), String> {
        let agents = self.machine.agents_of(id);
        if want.suspended {
            return Ok(());
        }
        let agent = self.observed.agents.get(id);
        let is_over = agent.is_some_and(|agent| {
            matches!(agent.phase, Phase::Completed { .. } | Phase::Failed { .. })
        });
        let is_full =
            self.machine.agents().count() + self.kept_places() >= self.desired.rules.max_agents;
        // Without JIT, who has left is not forgotten, and not started either.
        let is_away = !want.present && !self.world.contains_key(id);
        if agents != 1 && !is_over && !is_full && !is_away {
            return Err(format!("{id} has {agents} agents"));
        }
        let rollout = self.desired.rollouts.get(&want.template.name);
        let is_paused = rollout.is_some_and(|rollout| rollout.paused().is_some());
        let is_other = |agent: &&Agent| {
            agent.incarnation != want.incarnation || (agent.spec != want.spec && !is_paused)
        };
        if agents == 1 && agent.as_ref().is_some_and(is_other) {
            return Err(format!("{id} has an agent of another version"));
        }
        Ok(())
    }

    /// The places of those who will have an agent again, and are not there.
    fn kept_places(&self) -> usize {
        let Wants::Known { agents: wants, awaited, .. } = &self.desired.wants else { return 0 };
        let is_away =
            |id: &EntityId| awaited.contains(id) || wants.get(id).is_some_and(|want| !want.present);
        self.observed.agents.iter().filter(|(id, agent)| agent.keeps_place() && is_away(id)).count()
    }

    /// Whether those are wanted that really are there, as they are.
    fn is_known(&self, wants: &BTreeMap<EntityId, Want>) -> Result<(), String> {
        for (id, want) in wants {
            if self.world.get(id) != Some(&want.incarnation) {
                return Err(format!("{id} is not known as it is"));
            }
        }
        let is_missing =
            |id: &&EntityId| !wants.contains_key(*id) && self.desired.rules.auto_discover;
        match self.world.keys().find(is_missing) {
            Some(id) => Err(format!("nothing is known of {id}")),
            None => Ok(()),
        }
    }
}
