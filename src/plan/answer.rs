//! What the world said, once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::entity::{BadEntity, Entity, EntityId};
use super::time::Time;

/// One good answer of the world.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// How it came to us.
    pub heard: Heard,
    /// When it reached us.
    pub at: Time,
    /// All entities, as of then.
    pub entities: Arc<Entities>,
    /// What was in it and could not be used.
    pub refused: Arc<Refused>,
}

/// How an answer came to us, and so what it proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It answers a question asked at this time: the world was there, and as it says, after that.
    Asked(Time),
    /// It was streamed to us: it brings news sooner, but does not count where answers are
    /// counted, and does not prove that the world lives now.
    Told,
}

/// The entities of an answer: distinct ids, in the world's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entities {
    in_order: Vec<Entity>,
    by_id: HashMap<EntityId, usize>,
}

/// What the world said and could not be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// How many entities were refused, duplicates among them.
    pub count: usize,
    /// The first few of them, printable, each with the reason.
    pub examples: Vec<(String, String)>,
}

/// How many refused entities are kept as examples.
const EXAMPLES: usize = 8;

impl Entities {
    /// Adds an entity behind the others. The first of two with the same id wins: `false`, and
    /// nothing is changed, if there is one already.
    pub fn push(&mut self, entity: Entity) -> bool {
        if self.by_id.contains_key(&entity.id) {
            return false;
        }
        self.by_id.insert(entity.id.clone(), self.in_order.len());
        self.in_order.push(entity);
        true
    }

    /// Replaces the entity of the same id where it stands, or adds it behind the others.
    pub fn upsert(&mut self, entity: Entity) {
        match self.by_id.get(&entity.id).and_then(|&index| self.in_order.get_mut(index)) {
            Some(slot) => *slot = entity,
            None => {
                self.push(entity);
            }
        }
    }

    /// Removes the entity with this id, if there is one. Takes time in proportion to their number.
    pub fn remove(&mut self, id: &str) {
        if let Some(index) = self.by_id.remove(id) {
            self.in_order.remove(index);
            for later in self.by_id.values_mut().filter(|later| **later > index) {
                *later -= 1;
            }
        }
    }

    /// Removes all entities with these ids, in one pass over the others.
    pub fn remove_all(&mut self, gone: &HashSet<EntityId>) {
        if gone.is_empty() {
            return;
        }
        self.in_order.retain(|entity| !gone.contains(&entity.id));
        self.by_id.retain(|id, _| !gone.contains(id));
        for (index, entity) in self.in_order.iter().enumerate() {
            if let Some(place) = self.by_id.get_mut(&entity.id) {
                *place = index;
            }
        }
    }

    /// The entity with this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Entity> {
        self.by_id.get(id).and_then(|&index| self.in_order.get(index))
    }

    /// All of them, in the world's order.
    pub fn iter(&self) -> impl Iterator<Item = &Entity> {
        self.in_order.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.in_order.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.in_order.is_empty()
    }
}

impl FromIterator<Entity> for Entities {
    fn from_iter<I: IntoIterator<Item = Entity>>(entities: I) -> Self {
        let mut all = Self::default();
        for entity in entities {
            all.push(entity);
        }
        all
    }
}

impl Refused {
    /// Notes that the entity with this id was refused. Only its first characters are kept.
    pub fn note(&mut self, id: &str, why: BadEntity) {
        self.add(id, why.to_string());
    }

    /// Notes that the entity with this id came twice.
    pub fn note_duplicate(&mut self, id: &str) {
        self.add(id, "the id came twice; the first one is used".to_owned());
    }

    /// Notes that the entity with this id is described at too great a length: in more than
    /// `limit` bytes.
    pub fn note_oversized(&mut self, id: &str, limit: usize) {
        self.add(id, format!("it is described in more than {limit} bytes"));
    }

    fn add(&mut self, id: &str, why: String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            let printable = id.chars().take(64).flat_map(char::escape_debug).collect();
            self.examples.push((printable, why));
        }
    }
}

#[cfg(test)]
mod tests;
