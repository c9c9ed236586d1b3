//! The rules, with time given by hand.

mod entities;
mod intents;
mod leases;

use std::time::Duration;

use super::{Change, State};
use crate::world::definition::{Definition, EntityDefinition, ObjectDefinition};

/// 2020-09-13, so that a Unix time is told from a time of the world at a glance.
const EPOCH_MS: i64 = 1_600_000_000_000;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn entity(id: &str) -> EntityDefinition {
    EntityDefinition {
        id: id.to_owned(),
        kind: "forager".to_owned(),
        at: (2, 2),
        tags: Vec::new(),
        arrives_after: Duration::ZERO,
        leaves_after: None,
    }
}

fn object(id: &str, kind: &str, at: (i32, i32), has_berry: bool) -> ObjectDefinition {
    ObjectDefinition { id: id.to_owned(), kind: kind.to_owned(), at, has_berry }
}

/// Five tiles by five, a tick of 100 ms.
fn definition(entities: Vec<EntityDefinition>) -> Definition {
    Definition { width: 5, height: 5, tick: ms(100), entities, objects: Vec::new() }
}

fn world(entities: Vec<EntityDefinition>) -> State {
    State::new(definition(entities), EPOCH_MS)
}

/// The changes since last asked, up to now, as text one can read.
fn changes(state: &mut State, now: Duration) -> Vec<String> {
    state.advance(now);
    let tell = |change| match change {
        Change::Upserted(entity) => format!(
            "{} {}{:?} since {}{}",
            entity.entity_id,
            entity.entity_type,
            entity.tags,
            entity.spawn_tick,
            if entity.has_active_lease { ", leased" } else { "" }
        ),
        Change::Removed(id) => format!("{id} left"),
    };
    state.take_changes().into_iter().map(tell).collect()
}

fn listed(state: &State) -> Vec<String> {
    state.list().entities.into_iter().map(|entity| entity.entity_id).collect()
}
