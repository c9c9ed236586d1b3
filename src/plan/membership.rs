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
    /// Whether the latest answer lacks it, and if so how sure it is that it is gone.
    absence: Option<Absence>,
}

impl Member {
    /// Whether the latest answer had it.
    #[must_use]
    pub const fn present(&self) -> bool {
        self.absence.is_none()
    }

    /// The good answers in a row that lack it, since contact was last lost.
    #[must_use]
    pub fn missing(&self) -> u32 {
        self.absence.map_or(0, |absence| absence.answers)
    }
}

/// How often the world said that an entity is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Absence {
    /// Good answers in a row, since contact was last lost.
    answers: u32,
}

/// An entity that was there before this runner, and that no answer to it has had.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Awaited {
    arrival: Arrival,
    absence: Absence,
}

impl Absence {
    fn count(&mut self) {
        self.answers = self.answers.saturating_add(1);
    }

    const fn is_proved(self, rules: &Rules) -> bool {
        self.answers >= rules.removal.confirmations
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
    awaited: BTreeMap<EntityId, Awaited>,
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
        let mut first = Self {
            members: BTreeMap::new(),
            awaited: BTreeMap::new(),
            seen: 0,
            untracked: 0,
            hold: None,
            settled_on: None,
        };
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
                    member.absence = None;
                    if member.entity != *entity {
                        member.entity = entity.clone();
                        changed = true;
                    }
                }
                None if counts => member.absence.get_or_insert_default().count(),
                None => {}
            }
            changed |= was_present != member.present();
        }
        changed |= self.welcome_back(&answer.entities);
        if counts {
            self.awaited.values_mut().for_each(|awaited| awaited.absence.count());
        }
        if rules.jit.enabled {
            if counts {
                changed |= self.remove_confirmed(answer, rules, running);
            } else if self.too_many_at_stake(answer, rules, running).is_none() {
                // Whoever is told of contradicts the answers that lacked them: they did not stand.
                self.hold = None;
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
        // Still not there, so that nothing is started for them.
        let absent = self.members.values_mut().filter_map(|member| member.absence.as_mut());
        let awaited = self.awaited.values_mut().map(|awaited| &mut awaited.absence);
        absent.chain(awaited).for_each(|absence| *absence = Absence::default());
    }

    /// Sets when members came, where more is known of it than that answer: a runner that was
    /// started again remembers who came late.
    pub fn recall(&mut self, arrival: impl Fn(&EntityId) -> Arrival) {
        for (id, member) in &mut self.members {
            member.arrival = arrival(id);
        }
    }

    /// Takes in who was there before this runner, or before this was its world: an entity that
    /// this, the first answer, lacks is no more gone than one that another answer lacks.
    pub fn expect(
        &mut self,
        answer: &Answer,
        known: impl IntoIterator<Item = (EntityId, Arrival)>,
    ) {
        let unheard = known.into_iter().filter(|(id, _)| !self.members.contains_key(id));
        let absence = Absence { answers: u32::from(matches!(answer.heard, Heard::Asked(_))) };
        self.awaited.extend(unheard.map(|(id, arrival)| (id, Awaited { arrival, absence })));
        if !self.awaited.is_empty() {
            self.settled_on = None;
        }
    }

    /// Whether nothing is known of an entity but that it was there before this runner.
    #[must_use]
    pub fn awaits(&self, id: &EntityId) -> bool {
        self.awaited.contains_key(id)
    }

    /// Those of whom that is so, by id.
    pub fn awaited(&self) -> impl Iterator<Item = &EntityId> {
        self.awaited.keys()
    }

    /// Whether an entity is, or may be, in the world.
    #[must_use]
    pub fn knows(&self, id: &EntityId) -> bool {
        self.members.contains_key(id) || self.awaits(id)
    }

    /// The good answers in a row that lack the entity, if the latest does and it is not gone yet.
    #[must_use]
    pub fn missing(&self, id: &EntityId) -> Option<u32> {
        let absence = match self.members.get(id) {
            Some(member) => member.absence,
            None => self.awaited.get(id).map(|awaited| awaited.absence),
        };
        absence.map(|absence| absence.answers)
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
        let same =
            self.untracked == 0 && self.members.len() == entities.len() && self.awaited.is_empty();
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
        match self.too_many_at_stake(answer, rules, running) {
            Some(agents) => {
                let since = self.hold.map_or(answer.at, |hold| hold.since);
                self.hold = Some(Hold { since, agents });
                if answer.at - since < rules.removal.hold {
                    return false;
                }
            }
            None => self.hold = None,
        }
        let count = |this: &Self| this.members.len() + this.awaited.len();
        let before = count(self);
        let is_gone = |absence: Option<Absence>| absence.is_some_and(|it| it.is_proved(rules));
        self.members.retain(|_, member| !is_gone(member.absence));
        self.awaited.retain(|_, awaited| !is_gone(Some(awaited.absence)));
        count(self) != before
    }

    /// How many running agents an answer would remove, if it has to stand before it may.
    fn too_many_at_stake(
        &self,
        answer: &Answer,
        rules: &Rules,
        running: &BTreeSet<EntityId>,
    ) -> Option<usize> {
        let at_stake = running.iter().filter(|id| self.missing(id).is_some()).count();
        let knows_any = !self.members.is_empty() || !self.awaited.is_empty();
        let empty = answer.entities.is_empty() && knows_any;
        let too_many = at_stake > tolerated(rules.removal.hold_fraction, running.len());
        (empty || too_many).then_some(at_stake)
    }

    /// Takes in those who were there before this runner, and are.
    fn welcome_back(&mut self, entities: &Entities) -> bool {
        let (members, seen) = (&mut self.members, &mut self.seen);
        let before = self.awaited.len();
        self.awaited.retain(|id, awaited| {
            let Some(entity) = entities.get(id.as_str()) else { return true };
            let (entity, arrival) = (entity.clone(), awaited.arrival);
            members.insert(id.clone(), Member { entity, arrival, seen: *seen, absence: None });
            *seen += 1;
            false
        });
        self.awaited.len() != before
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
                let seen = self.seen;
                let member = Member { entity: entity.clone(), arrival, seen, absence: None };
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
    /// Since when it is known. Whose doing an end was by then is not.
    pub since: Time,
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
