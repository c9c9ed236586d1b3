//! From the world's bytes to our types. The one file that knows the generated types.
//!
//! Lists are walked entity by entity and never decoded as a whole: what a generated type takes
//! for two bytes of nonsense is a hundred bytes of memory, and there may be millions of them.

use std::collections::HashSet;
use std::sync::Arc;

use prost::Message;
use prost::bytes::{Buf, Bytes};

use crate::plan::{BadEntity, Entities, Entity, Refused};
use crate::proto::ControllableEntity;

/// The most entities that are kept of one world: what there is beyond is no world, but an attack
/// on our memory.
pub(super) const MAX_ENTITIES: usize = 2_000_000;

/// The longest description of one entity, in bytes. It has to fit the environment of a process.
const MAX_ENTITY_BYTES: usize = 64 * 1024;

/// Why a whole message of the world's cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    /// It is not what the contract says.
    #[error("the answer cannot be decoded: {0}")]
    Undecodable(#[from] prost::DecodeError),
    /// It ends in the middle, or is no message at all.
    #[error("the answer cannot be decoded: it is cut off or no message")]
    Malformed,
    /// It is one that we have no room for.
    #[error("there are more than {0} entities")]
    TooMany(usize),
    /// The runtime is being shut down.
    #[error("the answer was not looked at")]
    Abandoned,
}

/// The entities of a world, and what could not be used of what it said.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) entities: Entities,
    pub(super) refused: Refused,
}

/// An answer's bytes, and what they mean: a world at rest says the same each time, and that
/// is not read again.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    response: Bytes,
    pub(super) entities: Arc<Entities>,
    pub(super) refused: Arc<Refused>,
}

impl Reading {
    /// Reads a `ControllableEntitiesResponse` of `limit` entities at most.
    pub(super) fn of(response: Bytes, limit: usize) -> Result<Self, Unusable> {
        let Listing { entities, refused } = Listing::read(response.clone(), limit)?;
        Ok(Self { response, entities: Arc::new(entities), refused: Arc::new(refused) })
    }

    /// Itself, unless it is of more bytes than that.
    pub(super) fn kept(self, max_bytes: usize) -> Option<Self> {
        (self.response.len() <= max_bytes).then_some(self)
    }

    /// Whether this is what the bytes mean.
    pub(super) fn is_of(&self, response: &Bytes) -> bool {
        self.response == *response
    }
}

impl Listing {
    /// Reads a `ControllableEntitiesResponse` of `limit` entities at most.
    pub(super) fn read(response: Bytes, limit: usize) -> Result<Self, Unusable> {
        let mut listing = Self::default();
        each_field(response, |tag, field| match tag {
            1 => listing.push(field, limit),
            _ => Ok(()),
        })?;
        Ok(listing)
    }

    fn push(&mut self, field: Bytes, limit: usize) -> Result<(), Unusable> {
        let Some(entity) = read_entity(field, &mut self.refused)? else { return Ok(()) };
        if self.entities.get(entity.id.as_str()).is_some() {
            self.refused.note_duplicate(entity.id.as_str());
        } else {
            self.entities.push(entity);
        }
        within(&self.entities, limit)
    }
}

/// Applies `ControllableEntitiesEvent`s, in their order, to `limit` entities at most. They are changed
/// as far as the events could be read when one of them is unusable.
pub(super) fn apply(
    events: Vec<Bytes>,
    entities: &mut Entities,
    refused: &mut Refused,
    limit: usize,
) -> Result<(), Unusable> {
    // Removed together at the end: one by one each would cost a pass over all of them.
    let mut gone = HashSet::new();
    let result = events.into_iter().try_for_each(|event| {
        each_field(event, |tag, field| {
            match tag {
                1 => {
                    let listing = Listing::read(field, limit)?;
                    (*entities, *refused) = (listing.entities, listing.refused);
                    gone.clear();
                }
                2 => {
                    if let Some(entity) = read_entity(field, refused)? {
                        gone.remove(&entity.id);
                        entities.upsert(entity);
                        within(entities, limit)?;
                    }
                }
                3 => {
                    let known = std::str::from_utf8(&field).ok().and_then(|id| entities.get(id));
                    gone.extend(known.map(|entity| entity.id.clone()));
                }
                _ => {}
            }
            Ok(())
        })
    });
    entities.remove_all(&gone);
    result
}

fn within(entities: &Entities, limit: usize) -> Result<(), Unusable> {
    if entities.len() > limit { Err(Unusable::TooMany(limit)) } else { Ok(()) }
}

/// Reads a `ControllableEntity`. None if it is one that is refused, which is noted.
fn read_entity(field: Bytes, refused: &mut Refused) -> Result<Option<Entity>, Unusable> {
    if field.len() > MAX_ENTITY_BYTES {
        let mut id = Bytes::new();
        each_field(field, |tag, field| {
            if tag == 1 {
                id = field;
            }
            Ok(())
        })?;
        let beginning = id.split_to(id.len().min(crate::plan::entity::MAX_ID_BYTES));
        refused.note_oversized(&String::from_utf8_lossy(&beginning), MAX_ENTITY_BYTES);
        return Ok(None);
    }
    let said = ControllableEntity::decode(field)?;
    match convert(&said) {
        Ok(entity) => Ok(Some(Entity { tags: said.tags, ..entity })),
        Err(why) => {
            refused.note(&said.entity_id, why);
            Ok(None)
        }
    }
}

fn convert(said: &ControllableEntity) -> Result<Entity, BadEntity> {
    let entity = Entity::new(&said.entity_id, &said.entity_type)?;
    Ok(Entity { spawn_tick: said.spawn_tick, leased: said.has_active_lease, ..entity })
}

/// Calls `visit` with the number and the content of each field of a message that has a length:
/// strings and messages. The others are skipped.
fn each_field(
    mut message: Bytes,
    mut visit: impl FnMut(usize, Bytes) -> Result<(), Unusable>,
) -> Result<(), Unusable> {
    while message.has_remaining() {
        // A key is a number of the same shape as a length: the field's number, then three bits
        // that say how its content is laid out.
        let key = prost::decode_length_delimiter(&mut message)?;
        let length = match key & 7 {
            0 => {
                prost::decode_length_delimiter(&mut message)?;
                0
            }
            1 => 8,
            2 => prost::decode_length_delimiter(&mut message)?,
            5 => 4,
            _ => return Err(Unusable::Malformed),
        };
        if length > message.remaining() {
            return Err(Unusable::Malformed);
        }
        let content = message.split_to(length);
        if key & 7 == 2 {
            visit(key >> 3, content)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
