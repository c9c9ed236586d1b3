//! The rules of the demo world, as pure state.
//!
//! Time is an argument: `now` is the time since the world's start, and never goes back. Nothing
//! happens between calls; each call first catches up with what fell due, in the order in which
//! it fell due, so an idle world need not be woken for anything that nobody is told of.

mod act;
mod clock;
mod entity;
mod lease;
mod object;
mod view;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::clock::Clock;
use self::entity::{Body, Entity, Event, Presence};
pub(super) use self::lease::Grant;
use self::object::Object;
use super::definition::{Definition, EntityDefinition, ObjectDefinition};
use super::geometry::Place;
use crate::proto;

/// What nobody can walk over.
const OBSTACLES: [&str; 4] = ["rock", "tree", "wall", "water"];

/// Why something was not done. Shown to the one who asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("there is no entity {0:?} here")]
    NoSuchEntity(String),
    #[error("a controller_id is needed")]
    NoController,
    #[error("{entity:?} is leased to {holder:?}")]
    Held { entity: String, holder: String },
    #[error("no such lease: it expired, was released, or is of another entity")]
    NoSuchLease,
    #[error("tick {asked} is over, it is tick {current}")]
    TooLate { asked: i64, current: i64 },
    #[error("tick {asked} is too far ahead, it is tick {current}")]
    TooEarly { asked: i64, current: i64 },
    #[error("tick {0} has been used by an intent already")]
    AlreadyActed(i64),
    #[error("an intent without an action")]
    NoAction,
    #[error("a move without a direction")]
    NoDirection,
    #[error("({0},{1}) cannot be walked on")]
    Blocked(i32, i32),
    #[error("there is no object {0:?}")]
    NoSuchObject(String),
    #[error("{0:?} is too far away")]
    TooFar(String),
    #[error("{0:?} has no berry")]
    NoBerry(String),
    #[error("there are no {0:?} here, only berries")]
    NoSuchItem(String),
    #[error("an amount below zero")]
    NegativeAmount,
    #[error("only {0} in the inventory")]
    NotEnough(i32),
}

/// What those who watch the list of entities are told.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// It is new, or its type, tags, spawn tick or lease changed.
    Upserted(proto::ControllableEntity),
    /// It left.
    Removed(String),
}

#[derive(Debug)]
pub(super) struct State {
    /// Unix time of the world's start, in milliseconds.
    epoch_ms: i64,
    width: i32,
    height: i32,
    clock: Clock,
    entities: BTreeMap<String, Entity>,
    objects: BTreeMap<String, Object>,
    /// Where the obstacles stand.
    obstacles: BTreeMap<Place, String>,
    /// Entity ids by lease id.
    leases: BTreeMap<String, String>,
    leases_given: u64,
    /// The latest spawn tick of every id there ever was: an id that returns within the tick in
    /// which it came must still be told from its former self.
    spawned: BTreeMap<String, i64>,
    /// Nothing falls due before this. It may be too early (a renewed lease), never too late.
    due: Option<Duration>,
    changes: Vec<Change>,
}

impl State {
    /// A world that starts now; `epoch_ms` is the Unix time of that.
    pub(super) fn new(definition: Definition, epoch_ms: i64) -> Self {
        let mut state = Self {
            epoch_ms,
            width: 1,
            height: 1,
            clock: Clock::new(definition.tick),
            entities: BTreeMap::new(),
            objects: BTreeMap::new(),
            obstacles: BTreeMap::new(),
            leases: BTreeMap::new(),
            leases_given: 0,
            spawned: BTreeMap::new(),
            due: None,
            changes: Vec::new(),
        };
        state.apply(definition, Duration::ZERO);
        state
    }

    /// Makes the world what the definition says. Whoever is in both keeps position and lease.
    pub(super) fn apply(&mut self, definition: Definition, now: Duration) {
        self.advance(now);
        self.clock.set_length(definition.tick, now);
        self.width = definition.width.max(1);
        self.height = definition.height.max(1);
        self.apply_objects(definition.objects, now);
        self.apply_entities(definition.entities, now);
        self.due = Some(now);
        self.advance(now);
    }

    /// Does all that fell due up to now.
    pub(super) fn advance(&mut self, now: Duration) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        let mut events = Vec::new();
        for (id, entity) in &self.entities {
            entity.events_until(now, |at, event| events.push((at, event, id.clone())));
        }
        events.sort();
        for (at, event, id) in events {
            match event {
                Event::Expiry => self.drop_lease(&id),
                Event::Arrival => self.arrive(&id, at),
                Event::Departure => self.depart(&id),
            }
        }
        self.due = self.entities.values().filter_map(Entity::next_event).min();
    }

    /// When something next falls due, if nothing changes before.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.due
    }

    /// When the tick after the current one starts.
    pub(super) fn next_tick_at(&self, now: Duration) -> Duration {
        self.clock.start_of(self.tick(now).saturating_add(1))
    }

    /// The current tick. The first one is 1.
    pub(super) fn tick(&self, now: Duration) -> i64 {
        self.clock.tick(now)
    }

    /// The changes since the last time this was asked, oldest first.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    fn apply_objects(&mut self, listed: Vec<ObjectDefinition>, now: Duration) {
        let tick = self.tick(now);
        let mut before = std::mem::take(&mut self.objects);
        for definition in listed {
            let id = definition.id.clone();
            let object = match before.remove(&id) {
                Some(object) if object.definition == definition => object,
                Some(_) | None => Object::new(definition, tick),
            };
            self.objects.insert(id, object);
        }
        self.obstacles = self
            .objects
            .values()
            .filter(|object| OBSTACLES.contains(&object.definition.kind.as_str()))
            .map(|object| (object.definition.at, object.definition.kind.clone()))
            .collect();
    }

    fn apply_entities(&mut self, listed: Vec<EntityDefinition>, now: Duration) {
        let ids: BTreeSet<&str> = listed.iter().map(|definition| definition.id.as_str()).collect();
        let gone: Vec<String> =
            self.entities.keys().filter(|id| !ids.contains(id.as_str())).cloned().collect();
        for id in gone {
            self.depart(&id);
            self.entities.remove(&id);
        }
        let mut shown_anew = Vec::new();
        for definition in listed {
            let id = definition.id.clone();
            if let Some(entity) = self.entities.get_mut(&id) {
                if entity.redefine(definition, now) {
                    shown_anew.push(id);
                }
            } else {
                self.entities.insert(id, Entity::new(definition, now));
            }
        }
        let (width, height) = (self.width, self.height);
        for entity in self.entities.values_mut() {
            if let Presence::Here(body) = &mut entity.presence {
                body.at = within(body.at, width, height);
            }
        }
        for id in shown_anew {
            self.tell_of(&id);
        }
    }

    fn arrive(&mut self, id: &str, at: Duration) {
        let tick = self.tick(at);
        let Some(entity) = self.entities.get_mut(id) else { return };
        let earliest = self.spawned.get(id).map_or(tick, |last| last.saturating_add(1));
        let spawn_tick = tick.max(earliest);
        self.spawned.insert(id.to_owned(), spawn_tick);
        entity.presence = Presence::Here(Body {
            at: within(entity.definition.at, self.width, self.height),
            spawn_tick,
            lease: None,
            berries: 0,
            ate: None,
            acted: 0,
        });
        self.tell_of(id);
    }

    fn depart(&mut self, id: &str) {
        let Some(entity) = self.entities.get_mut(id) else { return };
        let presence = std::mem::replace(&mut entity.presence, Presence::Left);
        if let Presence::Here(body) = presence {
            if let Some(lease) = body.lease {
                self.leases.remove(&lease.id);
            }
            self.changes.push(Change::Removed(id.to_owned()));
        }
    }

    fn tell_of(&mut self, id: &str) {
        if let Some(entity) = self.controllable(id) {
            self.changes.push(Change::Upserted(entity));
        }
    }

    fn falls_due(&mut self, at: Duration) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    fn body(&self, id: &str) -> Option<&Body> {
        self.entities.get(id).and_then(Entity::body)
    }

    fn body_mut(&mut self, id: &str) -> Option<&mut Body> {
        match &mut self.entities.get_mut(id)?.presence {
            Presence::Here(body) => Some(body),
            Presence::Expected | Presence::Left => None,
        }
    }

    fn is_inside(&self, (x, y): Place) -> bool {
        (0..self.width).contains(&x) && (0..self.height).contains(&y)
    }

    fn is_walkable(&self, place: Place) -> bool {
        self.is_inside(place) && !self.obstacles.contains_key(&place)
    }
}

fn within((x, y): Place, width: i32, height: i32) -> Place {
    (x.clamp(0, width - 1), y.clamp(0, height - 1))
}
