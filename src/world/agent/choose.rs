//! What to do next, decided from one observation alone.

use std::collections::{BTreeMap, BTreeSet};

use crate::proto::intent::Action;
use crate::proto::{
    CollectIntent, Direction, EatIntent, MoveIntent, Observation, Position, WaitIntent, WorldObject,
};
use crate::world::geometry::{self, COMPASS, Place};
use crate::world::{BERRY, HAS_BERRY};

/// For how many ticks a wanderer keeps its direction.
const STRIDE: u64 = 5;

/// What to do, and how to say it once it is done.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Choice {
    pub(super) action: Action,
    pub(super) story: String,
}

impl Choice {
    fn new(action: Action, story: impl Into<String>) -> Self {
        Self { action, story: story.into() }
    }
}

/// Eats what it has, collects what is near, walks to the nearest berry in sight, or wanders.
pub(super) fn choose(observation: &Observation, entity: &str) -> Choice {
    let Some(here) = observation.self_.as_ref().and_then(|me| place(me.position)) else {
        return Choice::new(Action::Wait(WaitIntent {}), "waited, not knowing where it is");
    };
    if berries(observation) > 0 {
        let eat = EatIntent { item_type: BERRY.to_owned(), amount: 1 };
        return Choice::new(Action::Eat(eat), "ate a berry");
    }
    let ground = Ground::of(observation);
    if let Some((there, bush)) = nearest_berry(observation, here) {
        if geometry::distance(here, there) <= 1 {
            let object_id = bush.object_id.clone();
            let collect = CollectIntent { object_id, item_type: BERRY.to_owned(), amount: 1 };
            return Choice::new(Action::Collect(collect), "collected a berry");
        }
        let wanted = geometry::towards(here, there);
        if let Some(direction) = wanted.and_then(|wanted| ground.around(here, wanted)) {
            let story = format!("walked {} to {}", name(direction), bush.object_id);
            return Choice::new(walk(direction), story);
        }
    }
    let now = u64::try_from(observation.tick_id).unwrap_or(0);
    let whim = Dice::new(entity, now / STRIDE).one_of(&COMPASS).unwrap_or(Direction::North);
    match ground.around(here, whim) {
        Some(direction) => Choice::new(walk(direction), format!("wandered {}", name(direction))),
        None => Choice::new(Action::Wait(WaitIntent {}), "waited, hemmed in"),
    }
}

fn walk(direction: Direction) -> Action {
    Action::Move(MoveIntent { direction: direction.into() })
}

fn name(direction: Direction) -> String {
    direction.as_str_name().to_lowercase()
}

pub(super) fn place(position: Option<Position>) -> Option<Place> {
    position.map(|Position { x, y }| (x, y))
}

fn berries(observation: &Observation) -> i32 {
    let inventory = observation.self_.as_ref().and_then(|me| me.inventory.as_ref());
    let items = inventory.into_iter().flat_map(|inventory| &inventory.items);
    items.filter(|item| item.kind == BERRY).map(|item| item.quantity).sum()
}

fn nearest_berry(observation: &Observation, here: Place) -> Option<(Place, &WorldObject)> {
    let objects = observation.visible_objects.iter();
    let ripe = objects.filter(|object| object.state.get(HAS_BERRY).is_some_and(|is| is == "true"));
    ripe.filter_map(|object| Some((place(object.position)?, object))).min_by(
        |(a, one), (b, other)| {
            let near = geometry::distance(here, *a).cmp(&geometry::distance(here, *b));
            near.then_with(|| one.object_id.cmp(&other.object_id))
        },
    )
}

/// Where one can walk, as far as one sees.
struct Ground {
    walkable: BTreeSet<Place>,
}

impl Ground {
    fn of(observation: &Observation) -> Self {
        let tiles: BTreeMap<Place, bool> = observation
            .visible_tiles
            .iter()
            .filter_map(|tile| Some((place(tile.position)?, tile.walkable)))
            .collect();
        let walkable = tiles.into_iter().filter(|(_, walkable)| *walkable);
        Self { walkable: walkable.map(|(place, _)| place).collect() }
    }

    /// The free direction that turns least from the wanted one.
    fn around(&self, here: Place, wanted: Direction) -> Option<Direction> {
        let start = COMPASS.iter().position(|direction| *direction == wanted)?;
        let turns = [0, 1, 7, 2, 6, 3, 5, 4];
        let directions = turns.into_iter().filter_map(|turn| COMPASS.get((start + turn) % 8));
        directions.copied().find(|direction| {
            geometry::neighbour(here, *direction).is_some_and(|to| self.walkable.contains(&to))
        })
    }
}

/// A small xorshift generator: the same seed, the same throws.
pub(super) struct Dice {
    state: u64,
}

impl Dice {
    pub(super) fn new(name: &str, number: u64) -> Self {
        // FNV-1a over both, then a few rounds so that near seeds throw far apart.
        let bytes = name.bytes().chain(number.to_le_bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut dice = Self { state: hash.max(1) };
        for _ in 0..4 {
            dice.throw();
        }
        dice
    }

    /// A number from 0 up to, not including, `limit`; 0 when there is none.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.throw().checked_rem(limit).unwrap_or(0)
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        let index = self.below(u64::try_from(choices.len()).unwrap_or(0));
        choices.get(usize::try_from(index).ok()?).copied()
    }

    fn throw(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state >> 11
    }
}
