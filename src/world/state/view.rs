//! What the world shows of itself, as messages of the contract.

use std::collections::HashMap;
use std::time::Duration;

use super::entity::{Body, Entity};
use super::object::Object;
use super::{Refusal, State};
use crate::proto;
use crate::world::geometry::{self, Place};
use crate::world::{BERRY, HAS_BERRY};

/// Set in `status_bits` for as long as an entity that ate is full.
pub(in crate::world) const STATUS_FULL: i32 = 1;

/// For how many ticks a meal lasts.
const FULL_TICKS: i64 = 10;

/// How far an entity sees, in steps.
const SIGHT: i32 = 5;

const WORLD_VERSION: &str = concat!("runner-demo-", env!("CARGO_PKG_VERSION"));

impl State {
    /// All controllable entities, ordered by id.
    pub(in crate::world) fn list(&self) -> proto::ControllableEntitiesResponse {
        let entities = self.entities.values().filter_map(shown).collect();
        proto::ControllableEntitiesResponse { entities }
    }

    pub(super) fn controllable(&self, id: &str) -> Option<proto::ControllableEntity> {
        self.entities.get(id).and_then(shown)
    }

    pub(in crate::world) fn tick_event(&self, now: Duration) -> proto::TickEvent {
        let tick_id = self.tick(now);
        let length = self.clock.length().as_millis();
        proto::TickEvent {
            tick_id,
            tick_start_server_time_ms: self.unix_ms(self.clock.start_of(tick_id)),
            intent_deadline_server_time_ms: self.unix_ms(self.next_tick_at(now)),
            tick_duration_ms: i32::try_from(length).unwrap_or(i32::MAX),
            world_version: WORLD_VERSION.to_owned(),
        }
    }

    /// What the holder of the lease sees now.
    pub(in crate::world) fn observation(
        &mut self,
        lease_id: &str,
        entity_id: &str,
        now: Duration,
    ) -> Result<proto::Observation, Refusal> {
        self.advance(now);
        self.check_lease(lease_id, entity_id)?;
        let absent = || Refusal::NoSuchEntity(entity_id.to_owned());
        let entity = self.entities.get(entity_id).ok_or_else(absent)?;
        let centre = entity.body().ok_or_else(absent)?.at;
        let tick = self.tick(now);
        let others = self.entities.iter().filter(|(id, _)| id.as_str() != entity_id);
        Ok(proto::Observation {
            tick_id: tick,
            deadline_ms: self.unix_ms(self.next_tick_at(now)),
            self_: embodied(entity, tick),
            visible_tiles: self.tiles_around(centre),
            visible_entities: others
                .filter(|(_, other)| other.body().is_some_and(|body| sees(centre, body.at)))
                .filter_map(|(_, other)| embodied(other, tick))
                .collect(),
            visible_objects: self
                .objects
                .values()
                .filter(|object| sees(centre, object.definition.at))
                .map(|object| seen_object(object, tick))
                .collect(),
        })
    }

    /// A time of this world as Unix time in milliseconds.
    pub(super) fn unix_ms(&self, at: Duration) -> i64 {
        self.epoch_ms.saturating_add(i64::try_from(at.as_millis()).unwrap_or(i64::MAX))
    }

    fn tiles_around(&self, (x, y): Place) -> Vec<proto::Tile> {
        let rows = y.saturating_sub(SIGHT)..=y.saturating_add(SIGHT);
        let places = rows.flat_map(|row| {
            (x.saturating_sub(SIGHT)..=x.saturating_add(SIGHT)).map(move |column| (column, row))
        });
        places.filter(|place| self.is_inside(*place)).map(|place| self.tile(place)).collect()
    }

    fn tile(&self, place: Place) -> proto::Tile {
        let obstacle = self.obstacles.get(&place).map(String::as_str);
        proto::Tile {
            position: Some(position(place)),
            walkable: obstacle.is_none(),
            opaque: matches!(obstacle, Some("tree" | "wall")),
            floor_type: if obstacle == Some("water") { "water" } else { "grass" }.to_owned(),
        }
    }
}

fn sees(from: Place, to: Place) -> bool {
    geometry::distance(from, to) <= SIGHT.unsigned_abs()
}

fn position((x, y): Place) -> proto::Position {
    proto::Position { x, y }
}

fn shown(entity: &Entity) -> Option<proto::ControllableEntity> {
    let body = entity.body()?;
    Some(proto::ControllableEntity {
        entity_id: entity.definition.id.clone(),
        entity_type: entity.definition.kind.clone(),
        tags: entity.definition.tags.clone(),
        spawn_tick: body.spawn_tick,
        has_active_lease: body.lease.is_some(),
    })
}

fn embodied(entity: &Entity, tick: i64) -> Option<proto::Entity> {
    let body = entity.body()?;
    Some(proto::Entity {
        entity_id: entity.definition.id.clone(),
        position: Some(position(body.at)),
        entity_type: entity.definition.kind.clone(),
        tags: entity.definition.tags.clone(),
        status_bits: status(body, tick),
        inventory: Some(inventory(body)),
    })
}

fn status(body: &Body, tick: i64) -> i32 {
    let full = body.ate.is_some_and(|ate| tick < ate.saturating_add(FULL_TICKS));
    if full { STATUS_FULL } else { 0 }
}

fn inventory(body: &Body) -> proto::Inventory {
    let berries = proto::InventoryItem { kind: BERRY.to_owned(), quantity: body.berries };
    proto::Inventory { items: Some(berries).filter(|item| item.quantity > 0).into_iter().collect() }
}

fn seen_object(object: &Object, tick: i64) -> proto::WorldObject {
    let berry = object.has_berry(tick).to_string();
    proto::WorldObject {
        object_id: object.definition.id.clone(),
        position: Some(position(object.definition.at)),
        object_type: object.definition.kind.clone(),
        state: HashMap::from([(HAS_BERRY.to_owned(), berry)]),
    }
}
