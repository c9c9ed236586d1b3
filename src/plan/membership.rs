//! Who is in the world, as far as its answers may be believed.
//!
//! An answer that has an entity is believed at once. One that lacks it is not: answers are slow,
//! empty or partial when a world starts or struggles, and an agent stopped by mistake loses work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::answer::{Answer, Entities, Heard};
use super::entity::{Entity, EntityId};
use super::template::{Arrival, Rules};
use super::time::Time;

/// Entities remembered beyond `max_agents`, so that newcomers wait in the order in which they
/// were first seen. What a world has beyond that is only counted: memory stays bounded.
pub const REMEMBERED_BEYOND_MAX: usize = 10_000;

/// An entity that is in the world until the opposite is proved.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// As it was when last seen.
    pub entity: Entity,
    /// Whether it was in the first answer.
    pub arrival: Arrival,
    /// Its place in the order in which entities were first seen.
    pub seen: u64,
    /// Good answers in a row that lack it.
    pub missing: u32,
}

impl Member {
    /// Whether the latest answer had it.
    #[must_use]
    pub fn present(&self) -> bool {
        self.missing == 0
    }
}

/// An answer that removes nobody yet, because it would remove too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// When the first of the answers came that would have removed them.
    pub since: Time,
    /// How many running agents are kept alive by it.
    pub agents: usize,
}

/// The entities of one world.
#[derive(Clone, Debug, PartialEq)]
pub struct Membership {
    members: BTreeMap<EntityId, Member>,
    seen: u64,
    untracked: usize,
    hold: Option<Hold>,
    /// The entities of the latest answer, if the members are exactly these.
    settled_on: Option<Arc<Entities>>,
}

impl Membership {
    /// The membership that the first good answer of a world gives.
    #[must_use]
    pub fn first(answer: &Answer, rules: &Rules) -> Self {
        let mut first =
            Self { members: BTreeMap::new(), seen: 0, untracked: 0, hold: None, settled_on: None };
        first.add_newcomers(&answer.entities, rules, Arrival::First);
        first.count_untracked(&answer.entities);
        first.settle(&answer.entities);
        first
    }

    /// Whether an answer may change anything. One that shares its entities with the latest does
    /// not, if all of these were taken in.
    #[must_use]
    pub fn is_news(&self, answer: &Answer) -> bool {
        !self.settled_on.as_ref().is_some_and(|known| Arc::ptr_eq(known, &answer.entities))
    }

    /// Takes in a later answer. `running` are the entities whose agents are alive. Returns whether
    /// anything that should be may be different now.
    pub fn observe(
        &mut self,
        answer: &Answer,
        rules: &Rules,
        running: &BTreeSet<EntityId>,
    ) -> bool {
        let counts = matches!(answer.heard, Heard::Asked(_));
        let mut changed = false;
        for (id, member) in &mut self.members {
            let was_present = member.present();
            match answer.entities.get(id.as_str()) {
                Some(entity) => {
                    member.missing = 0;
                    if member.entity != *entity {
                        member.entity = entity.clone();
                        changed = true;
                    }
                }
                None if counts => member.missing = member.missing.saturating_add(1),
                None => {}
            }
            changed |= was_present != member.present();
        }
        if rules.jit.enabled {
            if counts {
                changed |= self.remove_confirmed(answer, rules, running);
            }
            changed |= self.add_newcomers(&answer.entities, rules, Arrival::Late);
        } else {
            self.hold = None;
        }
        self.count_untracked(&answer.entities);
        self.settle(&answer.entities);
        changed
    }

    /// Takes in that contact was lost or made anew: what was counted against absent entities is
    /// void, as the next answers may come from a world that is still being built.
    pub fn disrupted(&mut self) {
        self.hold = None;
        for member in self.members.values_mut() {
            // Still not there, so that nothing is started for it; but not counted any further.
            member.missing = member.missing.min(1);
        }
    }

    /// Sets when members came, where more is known of it than that answer: a runner that was
    /// started again remembers who came late.
    pub fn recall(&mut self, arrival: impl Fn(&EntityId) -> Arrival) {
        for (id, member) in &mut self.members {
            member.arrival = arrival(id);
        }
    }

    /// The member with this id.
    #[must_use]
    pub fn get(&self, id: &EntityId) -> Option<&Member> {
        self.members.get(id)
    }

    /// All members, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&EntityId, &Member)> {
        self.members.iter()
    }

    /// How many entities the latest answer had that are not members: beyond what is remembered,
    /// or latecomers while JIT is off.
    #[must_use]
    pub fn untracked(&self) -> usize {
        self.untracked
    }

    /// The hold that is on, if there is one.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        self.hold
    }

    /// Whether the members are exactly the entities of the latest answer, with nothing in doubt.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled_on.is_some()
    }

    fn settle(&mut self, entities: &Arc<Entities>) {
        let same = self.untracked == 0 && self.members.len() == entities.len();
        self.settled_on = (same && self.hold.is_none()).then(|| Arc::clone(entities));
    }

    fn count_untracked(&mut self, entities: &Entities) {
        let tracked = self.members.keys().filter(|id| entities.get(id.as_str()).is_some()).count();
        self.untracked = entities.len() - tracked;
    }

    fn remove_confirmed(
        &mut self,
        answer: &Answer,
        rules: &Rules,
        running: &BTreeSet<EntityId>,
    ) -> bool {
        let is_missing = |id: &EntityId| self.members.get(id).is_some_and(|m| !m.present());
        let at_stake = running.iter().filter(|id| is_missing(id)).count();
        let empty = answer.entities.is_empty() && !self.members.is_empty();
        if empty || at_stake > tolerated(rules.removal.hold_fraction, running.len()) {
            let since = self.hold.map_or(answer.at, |hold| hold.since);
            self.hold = Some(Hold { since, agents: at_stake });
            if answer.at - since < rules.removal.hold {
                return false;
            }
        } else {
            self.hold = None;
        }
        let before = self.members.len();
        self.members.retain(|_, member| member.missing < rules.removal.confirmations);
        self.members.len() != before
    }

    fn add_newcomers(&mut self, entities: &Entities, rules: &Rules, arrival: Arrival) -> bool {
        let before = self.members.len();
        let capacity = rules.max_agents.saturating_add(REMEMBERED_BEYOND_MAX);
        // Those that the user named find room however many others there are.
        let named = rules.templates.iter().filter_map(|template| entities.get(&template.name));
        for entity in named.chain(entities.iter()) {
            if self.members.len() >= capacity {
                break;
            }
            if !self.members.contains_key(&entity.id) {
                let member =
                    Member { entity: entity.clone(), arrival, seen: self.seen, missing: 0 };
                self.seen += 1;
                self.members.insert(entity.id.clone(), member);
            }
        }
        self.members.len() != before
    }
}

/// How many running agents one answer may remove without being held.
fn tolerated(fraction: f64, running: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a fraction of at most 1 of a count of processes"
    )]
    let share = (fraction * running as f64).floor() as usize;
    share.max(2)
}

/// What is known of contact with the world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// Whether the latest call succeeded.
    pub reachable: bool,
    /// When the latest question was asked that got a good answer.
    pub asked: Option<Time>,
    /// When contact was last known to be broken: a call failed, or a new connection was needed.
    pub disrupted: Option<Time>,
}

/// How long after a disruption an agent that was there before it may still end because of it.
/// Agents notice a lost world by a stream that ends, then log, tidy up and exit.
pub const AFTERMATH: Duration = Duration::from_secs(10);

impl Contact {
    /// Whether it is known by now if the world was there when something happened at `at`.
    #[must_use]
    pub fn settles(&self, at: Time) -> bool {
        self.asked.is_some_and(|asked| asked >= at)
            || self.disrupted.is_some_and(|disrupted| disrupted >= at)
    }

    /// Whether a disruption may be why a run, begun at `started`, ended at `ended`.
    #[must_use]
    pub fn took(&self, started: Time, ended: Time) -> bool {
        self.disrupted
            .is_some_and(|disrupted| started < disrupted && ended <= disrupted + AFTERMATH)
    }

    /// Whether the world has answered a question asked at or after `since`, and is still there.
    #[must_use]
    pub fn answers_since(&self, since: Time) -> bool {
        self.reachable && self.asked.is_some_and(|asked| asked >= since)
    }
}

#[cfg(test)]
mod tests;
