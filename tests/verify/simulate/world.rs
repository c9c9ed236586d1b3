//! A world, and what is on its way from it to the runner.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use runner::discovery::View;
use runner::plan::{Answer, Entities, Entity, EntityId, Heard, Time};

use super::happening::ENTITIES;

/// How long a lease lasts that nobody renews.
const LEASE: Duration = Duration::from_secs(30);

/// The world as it is.
#[derive(Debug)]
pub(crate) struct World {
    ids: Vec<EntityId>,
    pub(crate) entities: BTreeMap<EntityId, i64>,
    next: i64,
    leased_until: BTreeMap<EntityId, Time>,
    pub(crate) up: bool,
}

/// What it said.
#[derive(Clone, Debug)]
struct Word {
    heard: Heard,
    entities: Arc<Entities>,
}

impl World {
    pub(crate) fn new() -> Self {
        let ids: Vec<_> = (0..ENTITIES).map(|n| EntityId::new(&format!("e{n}")).unwrap()).collect();
        let entities = ids.iter().take(3).map(|id| (id.clone(), 0)).collect();
        Self { ids, entities, next: 1, leased_until: BTreeMap::new(), up: true }
    }

    pub(crate) fn id(&self, index: usize) -> &EntityId {
        &self.ids[index % self.ids.len()]
    }

    pub(crate) fn come(&mut self, index: usize, anew: bool) {
        let id = self.id(index).clone();
        if anew == self.entities.contains_key(&id) {
            self.entities.insert(id, self.next);
            self.next += 1;
        }
    }

    pub(crate) fn leave(&mut self, index: usize) {
        let id = self.id(index).clone();
        self.entities.remove(&id);
    }

    /// An agent renews the lease of its entity.
    pub(crate) fn renew(&mut self, id: &EntityId, now: Time) {
        self.lease(id, now + LEASE);
    }

    pub(crate) fn lease(&mut self, id: &EntityId, until: Time) {
        self.leased_until.insert(id.clone(), until);
    }

    pub(crate) fn restart(&mut self) {
        self.up = true;
        self.leased_until.clear();
    }

    /// Those of its entities that have a bit.
    fn entities(&self, bits: u8, now: Time) -> Arc<Entities> {
        let said = self.ids.iter().enumerate().filter(|(index, _)| bits & (1 << index) != 0);
        let entity = |(_, id): (usize, &EntityId)| {
            let spawn_tick = *self.entities.get(id)?;
            let leased = self.leased_until.get(id).is_some_and(|until| *until > now);
            Some(Entity { spawn_tick, leased, ..Entity::new(id.as_str(), "thing").unwrap() })
        };
        Arc::new(said.filter_map(entity).collect())
    }
}

/// The way between the runner and its world.
#[derive(Debug, Default)]
pub(crate) struct Way {
    /// A question that was put and not answered, with its answer.
    asked: Option<Word>,
    /// What was told unasked.
    told: Vec<Word>,
    /// What has arrived already.
    old: Vec<Word>,
    /// The connection is not the one of the answer before.
    broken: bool,
}

impl Way {
    /// A runner begins, and has no connection.
    pub(crate) fn begin(&mut self) {
        *self = Self::default();
    }

    /// The world ends.
    pub(crate) fn cut(&mut self) {
        self.broken = true;
    }

    /// A question is put, unless there is one. Returns whether it failed at once.
    pub(crate) fn ask(&mut self, world: &World, bits: u8, now: Time) -> bool {
        if self.asked.is_some() {
            return false;
        }
        if world.up {
            let entities = world.entities(bits, now);
            self.asked = Some(Word { heard: Heard::Asked(now), entities });
        }
        !world.up
    }

    pub(crate) fn tell(&mut self, world: &World, now: Time) {
        if world.up && self.told.len() < 3 {
            let entities = world.entities(u8::MAX, now);
            self.told.push(Word { heard: Heard::Told, entities });
        }
    }

    /// What was said last arrives, if anything was.
    pub(crate) fn deliver(&mut self, view: &mut View, now: Time) -> bool {
        let Some(word) = self.asked.take().or_else(|| self.told.pop()) else { return false };
        self.arrive(&word, view, now);
        self.old.push(word);
        self.old.truncate(4);
        true
    }

    /// Something older arrives. The world client puts no old answer in the place of a newer one;
    /// what is told may be out of date.
    pub(crate) fn deliver_old(&mut self, index: usize, view: &mut View, now: Time) -> bool {
        if self.old.is_empty() {
            return false;
        }
        let word = self.old[index % self.old.len()].clone();
        self.arrive(&Word { heard: Heard::Told, ..word }, view, now);
        true
    }

    fn arrive(&mut self, word: &Word, view: &mut View, now: Time) {
        if let Heard::Asked(asked) = word.heard {
            if std::mem::take(&mut self.broken) && view.latest_asked.is_some() {
                view.disrupted_at = Some(asked);
            }
            view.reachable = true;
            view.latest_asked = Some(asked);
        }
        view.answers += 1;
        view.latest = Some(Answer {
            heard: word.heard,
            at: now,
            entities: Arc::clone(&word.entities),
            refused: Arc::default(),
        });
    }

    /// A call has failed.
    pub(crate) fn fail(&mut self, view: &mut View, now: Time) {
        self.asked = None;
        self.broken = true;
        view.reachable = false;
        view.disrupted_at = Some(now);
    }

    pub(crate) const fn awaits(&self) -> bool {
        self.asked.is_some()
    }
}
