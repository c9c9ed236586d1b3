use std::collections::HashMap;
use std::io::{self, Write};
use std::time::Duration;

use super::choose::{Dice, choose};
use super::journal::Journal;
use super::{AgentOptions, crash_time};
use crate::proto::{Entity, Inventory, InventoryItem, Observation, Position, Tile, WorldObject};

/// Nine tiles by nine, all walkable but those given; the entity in the middle, at (4,4).
fn scene(blocked: &[(i32, i32)], bushes: &[(&str, i32, i32, bool)], berries: i32) -> Observation {
    let places = (0..9).flat_map(|y| (0..9).map(move |x| (x, y)));
    let tile = |(x, y)| Tile {
        position: Some(Position { x, y }),
        walkable: !blocked.contains(&(x, y)),
        ..Tile::default()
    };
    let bush = |(id, x, y, ripe): &(&str, i32, i32, bool)| WorldObject {
        object_id: (*id).to_owned(),
        position: Some(Position { x: *x, y: *y }),
        object_type: "bush".to_owned(),
        state: HashMap::from([("has_berry".to_owned(), ripe.to_string())]),
    };
    let item = InventoryItem { kind: "berry".to_owned(), quantity: berries };
    Observation {
        tick_id: 7,
        self_: Some(Entity {
            position: Some(Position { x: 4, y: 4 }),
            inventory: Some(Inventory { items: vec![item] }),
            ..Entity::default()
        }),
        visible_tiles: places.map(tile).collect(),
        visible_objects: bushes.iter().map(bush).collect(),
        ..Observation::default()
    }
}

fn story(scene: &Observation) -> String {
    choose(scene, "a").story
}

#[test]
fn it_eats_first_then_collects_then_walks() {
    let near_and_far = [("near", 5, 4, true), ("far", 0, 0, true)];
    assert_eq!(story(&scene(&[], &near_and_far, 1)), "ate a berry");
    assert_eq!(story(&scene(&[], &near_and_far, 0)), "collected a berry");
    let picked = [("near", 5, 4, false), ("far", 0, 0, true)];
    assert_eq!(story(&scene(&[], &picked, 0)), "walked northwest to far");
}

#[test]
fn of_equally_near_berries_it_takes_the_first_by_id() {
    let bushes = [("b", 4, 8, true), ("a", 8, 4, true)];
    assert_eq!(story(&scene(&[], &bushes, 0)), "walked east to a");
}

#[test]
fn it_goes_around_what_is_in_the_way() {
    let bush = [("bush", 8, 4, true)];
    assert_eq!(story(&scene(&[(5, 4)], &bush, 0)), "walked southeast to bush");
    assert_eq!(story(&scene(&[(5, 4), (5, 5)], &bush, 0)), "walked northeast to bush");
}

#[test]
fn it_wanders_the_same_way_each_time_and_waits_when_hemmed_in() {
    let empty = scene(&[], &[], 0);
    assert!(story(&empty).starts_with("wandered "));
    assert_eq!(story(&empty), story(&empty));
    let ring = [(3, 3), (4, 3), (5, 3), (3, 4), (5, 4), (3, 5), (4, 5), (5, 5)];
    assert_eq!(story(&scene(&ring, &[], 0)), "waited, hemmed in");
    assert!(story(&Observation::default()).starts_with("waited"));
}

#[test]
fn dice_are_repeatable_and_reach_everything() {
    let throws = |name: &str| -> Vec<u64> {
        let mut dice = Dice::new(name, 1);
        (0..200).map(|_| dice.below(8)).collect()
    };
    assert_eq!(throws("a"), throws("a"));
    assert_ne!(throws("a"), throws("b"));
    assert!((0..8).all(|face| throws("a").contains(&face)));
    assert_eq!(Dice::new("a", 1).below(0), 0);
}

#[test]
fn a_crash_comes_between_once_and_twice_the_time() {
    let least = Duration::from_secs(10);
    for number in 0..100 {
        let entity = format!("e{number}");
        let options = AgentOptions { server: String::new(), entity, crash_after: Some(least) };
        let time = crash_time(&options).unwrap();
        assert!(time >= least && time <= 2 * least, "{time:?}");
    }
}

#[test]
fn nobody_reading_does_not_stop_the_agent() {
    struct Closed<'a>(&'a mut u32);
    impl Write for Closed<'_> {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            *self.0 += 1;
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut writes = 0;
    {
        let journal = Journal::new(Closed(&mut writes));
        journal.line(format_args!("one"));
        journal.line(format_args!("two"));
    }
    assert_eq!(writes, 1);
}
