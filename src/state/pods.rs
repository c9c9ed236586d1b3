//! The same for agents that run in a cluster: what was remembered, held against the pods that are
//! found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::journal::Memory;
use crate::executor::kubernetes::{Found, State, Uid};
use crate::plan::{Agent, Arrival, Contact, EntityId, Exit, Observed, Outcome, Phase, Place, Time};
use crate::reconcile::{Adopted, Inheritance};

/// What the next loop goes on from. Nothing may be started before this is known, and `found` is all
/// pods that there are.
///
/// The journal says what was decided, and the pods who lives. A pod that the journal does not know of
/// is taken up all the same, whether it has ended or not: what follows from its end is decided now.
#[must_use]
pub fn restore_pods(memory: Memory, mut found: Vec<Found>, now: Time) -> Inheritance<Uid> {
    let remembers = !memory.agents.is_empty() || !memory.arrivals.is_empty();
    let mut arrivals = memory.arrivals;
    let contact = Contact { since: now, ..Contact::default() };
    let (agents, next_run) = (memory.agents, memory.next_run);
    let mut observed = Observed { contact, agents, next_run, ..Observed::default() };
    let mut adoptions: BTreeMap<EntityId, Adopted<Uid>> = BTreeMap::new();
    // Of two pods of one entity, the later one is its agent: the other belongs to nobody, and is
    // ended as such.
    found.sort_by_key(|found| std::cmp::Reverse(found.seen.run));
    let mut claimed = BTreeSet::new();
    for Found { seen, origin } in found {
        observed.next_run = observed.next_run.max(seen.run.0 + 1);
        if !claimed.insert(seen.entity.clone()) {
            continue;
        }
        let known = observed.agents.get(&seen.entity);
        let is_live = known.is_some_and(|agent| agent.run() == Some(seen.run));
        let has_ended = matches!(seen.state, State::Ended(_));
        // What followed from that end was decided already.
        if !is_live && has_ended && known.is_some_and(|agent| !agent.is_live()) {
            continue;
        }
        if !is_live {
            let Some(origin) = origin else { continue };
            arrivals.entry(seen.entity.clone()).or_insert(origin.arrival);
            let phase = Phase::Starting { run: seen.run, since: now };
            let agent = Agent {
                incarnation: origin.incarnation,
                template: origin.template,
                spec: Arc::new(origin.spec),
                grace: Duration::ZERO,
                attempts: known.map_or(origin.attempts, |agent| agent.attempts),
                restarts: known.map_or(origin.restarts, |agent| agent.restarts),
                last_end: None,
                waits: None,
                phase,
            };
            observed.agents.insert(seen.entity.clone(), agent);
        }
        if let State::Running { node, .. } = seen.state
            && let Some(agent) = observed.agents.get_mut(&seen.entity)
        {
            agent.started(Place::Pod { pod: seen.name, node }, now);
        }
        let adopted = Adopted { run: seen.run, identity: seen.uid, gate: false };
        adoptions.insert(seen.entity, adopted);
    }
    for (id, agent) in &mut observed.agents {
        if agent.is_live() && !adoptions.contains_key(id) {
            agent.gone(Outcome::Exit(Exit::Unknown), now);
        }
    }
    // Who is suspended has no pod that would say when its entity came. It is no newcomer.
    for id in &memory.orders.suspended {
        arrivals.entry(id.clone()).or_insert(Arrival::First);
    }
    let arrivals: Option<BTreeMap<EntityId, Arrival>> =
        (remembers || !adoptions.is_empty()).then_some(arrivals);
    Inheritance { observed, adoptions, arrivals, orders: memory.orders }
}

#[cfg(test)]
mod tests;
