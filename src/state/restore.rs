//! What another runner left: what it remembered, held against the processes that are found.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::journal::Memory;
use crate::executor::local::survey::{Found, Survey};
use crate::executor::{Identity, RESOURCE_ATTRIBUTES, Resource};
use crate::plan::{
    Agent, AgentSpec, Arrival, Confinement, Contact, EntityId, Exit, Lease, Observed, Outcome,
    Phase, Place, RunId, Time,
};
use crate::reconcile::{Adopted, Inheritance};

/// What the next loop goes on from. Nothing may be started before this is known.
///
/// The journal says what was decided. Who lives is what the processes show: an agent that the
/// journal does not know of, because a line was lost, is taken up all the same; one that it knows
/// of and whose process is not found by its markers, because it overwrote its own environment, is
/// found by its identity.
#[must_use]
pub fn restore(memory: Memory, survey: Survey, now: Time) -> Inheritance {
    let knows = !memory.agents.is_empty() || !memory.arrivals.is_empty();
    let mut arrivals = memory.arrivals;
    let contact = Contact { since: now, ..Contact::default() };
    let (agents, next_run) = (memory.agents, memory.next_run);
    let mut observed = Observed { contact, agents, next_run, ..Observed::default() };
    let by_record = |agent: &Agent| {
        let run = agent.run()?;
        // What is not known to have started may be a gate that was closed.
        let gate = matches!(agent.phase, Phase::Starting { .. });
        memory.identities.get(&run).map(|&identity| Adopted { run, identity, gate })
    };
    let mut living = Living::default();
    for (id, agent) in &observed.agents {
        let alive = by_record(agent).filter(|it| survey.living.contains(&it.identity));
        if let Some(adopted) = alive {
            living.claim(id, adopted);
        }
    }
    let runs: BTreeMap<RunId, EntityId> =
        observed.agents.iter().filter_map(|(id, it)| Some((it.run()?, id.clone()))).collect();
    for mut found in survey.found {
        let Some((id, mut adopted)) = who(&found) else { continue };
        observed.next_run = observed.next_run.max(adopted.run.0 + 1);
        // What an agent started carries its markers too. The recorded one is the agent, or else
        // the oldest, which comes first.
        let recorded = memory.identities.get(&adopted.run);
        if living.agents.contains_key(&id) && recorded != Some(&adopted.identity) {
            continue;
        }
        // Of a recorded one that has ended, this is what it left behind: it is no agent, and is
        // ended in the name of the one that it belonged to.
        adopted.identity = recorded.copied().unwrap_or(adopted.identity);
        found.identity = adopted.identity;
        // It may also have given another entity's name to what it started.
        let is_anothers = runs.get(&adopted.run).is_some_and(|owner| *owner != id);
        if is_anothers || !living.claim(&id, adopted) {
            continue;
        }
        arrivals.entry(id.clone()).or_insert_with(|| arrival(&found));
        let agent = observed.agents.entry(id).or_insert_with(|| rebuild(&found, now));
        if agent.run() != Some(adopted.run) {
            let Adopted { run, identity, .. } = adopted;
            agent.phase =
                Phase::Running { run, place: at(identity), since: now, lease: Lease::Unknown };
        }
    }
    for (id, agent) in &mut observed.agents {
        if agent.run().is_none() {
            continue;
        }
        let adopted = living.agents.get(id).copied().or_else(|| by_record(agent));
        match adopted.filter(|adopted| living.claim(id, *adopted)) {
            Some(adopted) => adopt(agent, adopted.identity),
            // Its gate was never opened: there was no agent.
            None => agent.gone(Outcome::Exit(Exit::Unknown), now),
        }
    }
    let arrivals = knows.then_some(arrivals);
    Inheritance { observed, adoptions: living.agents, arrivals, orders: memory.orders }
}

/// Who has a process that lives, or may: a run is one entity's, and so is a process, whatever is
/// written down or shown. Else what is done to one agent would be done to another.
#[derive(Default)]
struct Living {
    agents: BTreeMap<EntityId, Adopted>,
    runs: BTreeMap<RunId, EntityId>,
    processes: BTreeMap<Identity, EntityId>,
}

impl Living {
    /// Takes this for the agent of this entity, unless it is that of another one.
    fn claim(&mut self, id: &EntityId, adopted: Adopted) -> bool {
        let Adopted { run, identity, .. } = adopted;
        let is_others = |owner: Option<&EntityId>| owner.is_some_and(|owner| owner != id);
        if is_others(self.runs.get(&run)) || is_others(self.processes.get(&identity)) {
            return false;
        }
        if let Some(before) = self.agents.insert(id.clone(), adopted) {
            self.runs.remove(&before.run);
            self.processes.remove(&before.identity);
        }
        self.runs.insert(run, id.clone());
        self.processes.insert(identity, id.clone());
        true
    }
}

/// An agent whose start was never reported runs, or did.
fn adopt(agent: &mut Agent, identity: Identity) {
    if let Phase::Starting { run, since } = agent.phase {
        let lease = Lease::Unknown;
        agent.phase = Phase::Running { run, place: at(identity), since, lease };
    }
}

const fn at(identity: Identity) -> Place {
    Place::Process { pid: identity.pid }
}

fn who(found: &Found) -> Option<(EntityId, Adopted)> {
    let id = EntityId::new(found.marker("RUNNER_ENTITY_ID")?).ok()?;
    let run = RunId(found.marker("RUNNER_RUN")?.parse().ok()?);
    if run > RunId::GREATEST {
        return None;
    }
    Some((id, Adopted { run, identity: found.identity, gate: found.gate }))
}

fn arrival(found: &Found) -> Arrival {
    if found.marker("RUNNER_ARRIVAL") == Some(Arrival::Late.name()) {
        Arrival::Late
    } else {
        Arrival::First
    }
}

/// The record of an agent, from what it carries.
fn rebuild(found: &Found, now: Time) -> Agent {
    let identity = found.identity;
    let run = who(found).map_or(RunId(0), |(_, adopted)| adopted.run);
    Agent {
        incarnation: found.marker("RUNNER_INCARNATION").and_then(|n| n.parse().ok()).unwrap_or(0),
        template: found.marker("RUNNER_TEMPLATE").unwrap_or_default().to_owned(),
        spec: Arc::new(spec(found)),
        grace: Duration::ZERO,
        attempts: 0,
        restarts: 0,
        last_end: None,
        waits: None,
        phase: Phase::Running { run, place: at(identity), since: now, lease: Lease::Unknown },
    }
}

/// What it was started as: its markers name its own variables and its directory.
fn spec(found: &Found) -> AgentSpec {
    let names = found.marker("RUNNER_ENV").unwrap_or_default();
    let resource = resource(found);
    let own = names.split(',').filter_map(|name| {
        let value = found.marker(name)?;
        let added = name == RESOURCE_ATTRIBUTES;
        let value = if added { resource.taken_from(value) } else { value };
        Some((name.to_owned(), value.to_owned()))
    });
    let cwd = found.marker("RUNNER_CWD").map_or_else(|| found.cwd.clone(), PathBuf::from);
    let written = found.marker("RUNNER_ARGV").and_then(|argv| serde_json::from_str(argv).ok());
    let argv = written.unwrap_or_else(|| found.argv.clone());
    AgentSpec { argv, env: own.collect(), cwd, confinement: confinement(found), pod: None }
}

/// What was added to the attributes that its template gave it.
fn resource(found: &Found) -> Resource {
    let marker = |name| found.marker(name).unwrap_or_default();
    let (entity, kind) = (marker("RUNNER_ENTITY_ID"), marker("RUNNER_ENTITY_TYPE"));
    Resource::of_agent(entity, kind, marker("RUNNER_TEMPLATE"))
}

/// What an agent was started with, as its markers say.
#[must_use]
pub fn confinement(found: &Found) -> Confinement {
    let written = found.marker("RUNNER_CONFINEMENT");
    written.and_then(|written| serde_json::from_str(written).ok()).unwrap_or_default()
}
