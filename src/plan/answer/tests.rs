use std::collections::HashSet;

use super::{EXAMPLES, Entities, Refused};
use crate::plan::{BadEntity, Entity, EntityId};

fn entity(id: &str) -> Entity {
    Entity::new(id, "npc").unwrap()
}

fn entities(ids: &[&str]) -> Entities {
    ids.iter().map(|id| entity(id)).collect()
}

fn ids(entities: &Entities) -> Vec<&str> {
    let ids: Vec<_> = entities.iter().map(|entity| entity.id.as_str()).collect();
    for id in &ids {
        assert_eq!(entities.get(id).unwrap().id.as_str(), *id, "the index is right");
    }
    assert_eq!(entities.len(), ids.len());
    assert_eq!(entities.is_empty(), ids.is_empty());
    ids
}

#[test]
fn keeps_the_worlds_order() {
    assert_eq!(ids(&entities(&["c", "a", "b"])), ["c", "a", "b"]);
    assert_eq!(ids(&Entities::default()), [""; 0]);
}

#[test]
fn the_first_of_two_with_one_id_wins() {
    let mut all = entities(&["a", "b"]);
    let second = Entity { spawn_tick: 7, ..entity("a") };
    assert!(!all.push(second));
    assert_eq!(all, entities(&["a", "b"]));
}

#[test]
fn an_upsert_replaces_in_place_or_adds_at_the_end() {
    let mut all = entities(&["a", "b"]);
    all.upsert(Entity { spawn_tick: 7, ..entity("a") });
    all.upsert(entity("c"));
    assert_eq!(ids(&all), ["a", "b", "c"]);
    assert_eq!(all.get("a").unwrap().spawn_tick, 7);
}

#[test]
fn a_removal_leaves_the_others_where_they_are() {
    let mut all = entities(&["a", "b", "c", "d"]);
    all.remove("b");
    all.remove("not there");
    assert_eq!(ids(&all), ["a", "c", "d"]);
    assert_eq!(all.get("b"), None);
    all.upsert(Entity { spawn_tick: 7, ..entity("d") });
    assert_eq!(all.get("d").unwrap().spawn_tick, 7);
    all.upsert(entity("b"));
    assert_eq!(ids(&all), ["a", "c", "d", "b"]);
}

#[test]
fn many_are_removed_at_once() {
    let mut all = entities(&["a", "b", "c", "d", "e"]);
    let gone: HashSet<_> =
        ["a", "d", "not there"].iter().map(|id| EntityId::new(id).unwrap()).collect();
    all.remove_all(&gone);
    assert_eq!(ids(&all), ["b", "c", "e"]);
    all.remove_all(&HashSet::new());
    assert_eq!(all, entities(&["b", "c", "e"]));
}

#[test]
fn counts_all_that_was_refused_and_keeps_a_few_printable_examples() {
    let mut refused = Refused::default();
    refused.note("esc\u{1b}[2J\n", BadEntity::ControlCharacter);
    refused.note_duplicate("twice");
    refused.note_oversized(&"long".repeat(100), 1024);
    assert_eq!(refused.examples[0].0, "esc\\u{1b}[2J\\n");
    assert_eq!(refused.examples[0].1, "the id holds a control character");
    assert_eq!(refused.examples[1].0, "twice");
    assert_eq!(refused.examples[2].0.len(), 64);
    assert_eq!(refused.examples[2].1, "it is described in more than 1024 bytes");

    for _ in 0..100 {
        refused.note("", BadEntity::Empty);
    }
    assert_eq!(refused.count, 103);
    assert_eq!(refused.examples.len(), EXAMPLES);
}
