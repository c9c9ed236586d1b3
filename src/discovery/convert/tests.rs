use prost::Message;
use prost::bytes::Bytes;

use super::{Listing, MAX_ENTITY_BYTES, Unusable, apply};
use crate::plan::{Entities, Refused};
use crate::proto::controllable_entities_event::Event;
use crate::proto::{ControllableEntitiesEvent, ControllableEntitiesResponse, ControllableEntity};

/// More than any world here has.
const LIMIT: usize = 100;

fn said(id: &str) -> ControllableEntity {
    ControllableEntity {
        entity_id: id.to_owned(),
        entity_type: "npc".to_owned(),
        tags: vec!["a".to_owned(), String::new()],
        spawn_tick: -3,
        has_active_lease: true,
    }
}

fn response(entities: Vec<ControllableEntity>) -> ControllableEntitiesResponse {
    ControllableEntitiesResponse { entities }
}

fn bytes(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

fn read(entities: Vec<ControllableEntity>) -> Listing {
    Listing::read(bytes(&response(entities)), LIMIT).unwrap()
}

fn event(event: Event) -> Bytes {
    bytes(&ControllableEntitiesEvent { event: Some(event) })
}

fn upserted(id: &str, spawn_tick: i64) -> Bytes {
    event(Event::Upserted(ControllableEntity { spawn_tick, ..said(id) }))
}

fn removed(id: &str) -> Bytes {
    event(Event::RemovedEntityId(id.to_owned()))
}

fn ids(entities: &Entities) -> Vec<&str> {
    entities.iter().map(|entity| entity.id.as_str()).collect()
}

#[test]
fn takes_over_everything() {
    let listing = read(vec![said("../a b/-ü")]);
    let entity = listing.entities.get("../a b/-ü").unwrap();
    assert_eq!(&*entity.kind, "npc");
    assert_eq!(entity.tags, ["a", ""]);
    assert_eq!(entity.spawn_tick, -3);
    assert!(entity.leased);
    assert_eq!(listing.refused, Refused::default());
    assert!(read(Vec::new()).entities.is_empty());
}

#[test]
fn refuses_what_cannot_be_used_and_keeps_the_rest() {
    let bad_type = ControllableEntity { entity_type: "a\nb".to_owned(), ..said("typed") };
    let long = ControllableEntity { entity_type: "x".repeat(MAX_ENTITY_BYTES), ..said("long") };
    let duplicate = ControllableEntity { spawn_tick: 9, ..said("a") };
    let listing = read(vec![
        said("a"),
        said(""),
        said("nul\0"),
        said(&"x".repeat(257)),
        bad_type,
        long,
        duplicate,
        said(&"x".repeat(256)),
    ]);
    assert_eq!(ids(&listing.entities), ["a", &"x".repeat(256)]);
    assert_eq!(listing.entities.get("a").unwrap().spawn_tick, -3, "the first one wins");
    let refused: Vec<_> =
        listing.refused.examples.iter().map(|(id, why)| format!("{id}: {why}")).collect();
    let expected = [
        ": the id is empty".to_owned(),
        "nul\\0: the id holds a control character".to_owned(),
        format!("{}: the id is longer than 256 bytes", "x".repeat(64)),
        "typed: the entity's type holds a control character".to_owned(),
        "long: it is described in more than 65536 bytes".to_owned(),
        "a: the id came twice; the first one is used".to_owned(),
    ];
    assert_eq!(refused, expected);
    assert_eq!(listing.refused.count, 6);
}

#[test]
fn skips_fields_that_it_does_not_know() {
    let mut message = vec![0x10, 0xff, 0x01, 0x19, 1, 2, 3, 4, 5, 6, 7, 8, 0x25, 1, 2, 3, 4];
    message.extend([0x7a, 2, b'h', b'i']);
    message.extend(response(vec![said("a")]).encode_to_vec());
    assert_eq!(ids(&Listing::read(message.into(), LIMIT).unwrap().entities), ["a"]);
}

#[test]
fn nonsense_is_an_error() {
    let whole = response(vec![said("a")]).encode_to_vec();
    for cut in 1..whole.len() {
        assert!(
            Listing::read(Bytes::copy_from_slice(&whole[..cut]), LIMIT).is_err(),
            "cut at {cut}"
        );
    }
    for nonsense in [&[0x0b][..], &[0xff; 20], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f], b"HTTP/1.1"] {
        let result = Listing::read(Bytes::copy_from_slice(nonsense), LIMIT);
        assert!(
            matches!(result, Err(Unusable::Undecodable(_) | Unusable::Malformed)),
            "{nonsense:?} gives {result:?}"
        );
    }
    let not_utf8 = Bytes::from_static(&[0x0a, 3, 0x0a, 1, 0xff]);
    assert!(matches!(Listing::read(not_utf8, LIMIT), Err(Unusable::Undecodable(_))));
}

#[test]
fn millions_of_nothing_cost_nothing() {
    let listing = Listing::read([0x0a, 0].repeat(1_000_000).into(), LIMIT).unwrap();
    assert_eq!(listing.refused.count, 1_000_000);
    assert!(listing.entities.is_empty());
    assert!(listing.refused.examples.len() < 10);
}

#[test]
fn events_change_what_there_is_in_their_order() {
    let mut all = read(vec![said("a"), said("b"), said("c")]);
    let events = vec![
        upserted("b", 5),
        removed("a"),
        upserted("d", 6),
        removed("c"),
        upserted("c", 7),
        removed("d"),
        removed("not there"),
        upserted("no\nid", 8),
        upserted("e", 9),
    ];
    apply(events, &mut all.entities, &mut all.refused, LIMIT).unwrap();
    let ticks: Vec<_> = all.entities.iter().map(|e| (e.id.as_str(), e.spawn_tick)).collect();
    assert_eq!(ticks, [("b", 5), ("c", 7), ("e", 9)]);
    assert_eq!(all.refused.count, 1);
}

#[test]
fn a_snapshot_replaces_everything_before_it() {
    let mut all = read(vec![said("a"), said("")]);
    let snapshot = event(Event::Snapshot(response(vec![said("b"), said("c")])));
    let events = vec![upserted("d", 1), removed("b"), snapshot, removed("c"), upserted("e", 2)];
    apply(events, &mut all.entities, &mut all.refused, LIMIT).unwrap();
    assert_eq!(ids(&all.entities), ["b", "e"]);
    assert_eq!(all.refused.count, 0);
}

#[test]
fn an_event_that_cannot_be_read_ends_it_and_keeps_what_came_before() {
    let mut all = read(vec![said("a"), said("b")]);
    let events = vec![removed("a"), Bytes::from_static(&[0x0a, 9]), upserted("c", 1)];
    assert!(apply(events, &mut all.entities, &mut all.refused, LIMIT).is_err());
    assert_eq!(ids(&all.entities), ["b"]);
    let unknown_event = vec![Bytes::new(), Bytes::from_static(&[0x7a, 1, 0])];
    apply(unknown_event, &mut all.entities, &mut all.refused, LIMIT).unwrap();
    assert_eq!(ids(&all.entities), ["b"]);
}

#[test]
fn too_many_are_refused_altogether() {
    let three = || response(vec![said("a"), said("b"), said("b"), said("c")]);
    assert_eq!(Listing::read(bytes(&three()), 3).unwrap().entities.len(), 3);
    assert!(matches!(Listing::read(bytes(&three()), 2), Err(Unusable::TooMany(2))));

    let mut all = read(vec![said("a"), said("b")]);
    let events = vec![upserted("b", 1), upserted("c", 1)];
    let result = apply(events, &mut all.entities, &mut all.refused, 2);
    assert!(matches!(result, Err(Unusable::TooMany(2))));
    let events = vec![event(Event::Snapshot(three()))];
    let result = apply(events, &mut all.entities, &mut all.refused, 2);
    assert!(matches!(result, Err(Unusable::TooMany(2))));
}
