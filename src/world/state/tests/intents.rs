use std::time::Duration;

use super::super::object::REGROW_TICKS;
use super::super::view::STATUS_FULL;
use super::super::{Refusal, State};
use super::{EPOCH_MS, definition, entity, ms, object};
use crate::proto::intent::Action;
use crate::proto::{
    CollectIntent, Direction, EatIntent, Intent, MoveIntent, Observation, SubmitIntentRequest,
    WaitIntent,
};
use crate::world::definition::EntityDefinition;

struct Actor {
    state: State,
    lease: String,
}

impl Actor {
    /// `a` at (2,2); a ripe bush beside it, a bare one far off, a rock to its east.
    fn new() -> Self {
        let mut made =
            definition(vec![entity("a"), EntityDefinition { at: (4, 4), ..entity("b") }]);
        made.objects = vec![
            object("near", "bush", (1, 1), true),
            object("bare", "bush", (1, 2), false),
            object("far", "bush", (4, 0), true),
            object("rock", "rock", (3, 2), false),
        ];
        let mut state = State::new(made, EPOCH_MS);
        let lease = state.acquire("a", "me", ms(0)).unwrap().lease_id;
        Self { state, lease }
    }

    fn act(&mut self, tick: i64, action: Action) -> Result<(), Refusal> {
        let now = ms(u64::try_from(tick - 1).unwrap() * 100);
        self.act_at(now, tick, Some(action))
    }

    fn act_at(&mut self, now: Duration, tick: i64, action: Option<Action>) -> Result<(), Refusal> {
        let request = SubmitIntentRequest {
            lease_id: self.lease.clone(),
            entity_id: "a".to_owned(),
            tick_id: tick,
            intent: Some(Intent { action }),
        };
        self.state.act(&request, now)
    }

    fn see(&mut self, tick: i64) -> Observation {
        let now = ms(u64::try_from(tick - 1).unwrap() * 100);
        self.state.observation(&self.lease, "a", now).unwrap()
    }
}

fn walk(direction: Direction) -> Action {
    Action::Move(MoveIntent { direction: direction.into() })
}

fn collect(object_id: &str) -> Action {
    let (object_id, item_type) = (object_id.to_owned(), "berry".to_owned());
    Action::Collect(CollectIntent { object_id, item_type, amount: 1 })
}

fn eat(amount: i32) -> Action {
    Action::Eat(EatIntent { item_type: "berry".to_owned(), amount })
}

#[test]
fn moves_go_where_one_can_walk() {
    let mut actor = Actor::new();
    assert_eq!(actor.act(1, walk(Direction::East)), Err(Refusal::Blocked(3, 2)));
    assert_eq!(actor.act(1, walk(Direction::North)), Ok(()), "a refusal does not use the tick");
    assert_eq!(actor.act(2, walk(Direction::Northwest)), Ok(()));
    assert_eq!(actor.state.body("a").unwrap().at, (1, 0));
    assert_eq!(actor.act(3, walk(Direction::North)), Err(Refusal::Blocked(1, -1)));
    assert_eq!(actor.act(3, walk(Direction::Unspecified)), Err(Refusal::NoDirection));
    let unknown = Action::Move(MoveIntent { direction: 99 });
    assert_eq!(actor.act(3, unknown), Err(Refusal::NoDirection));
}

#[test]
fn an_intent_is_for_the_current_tick_or_the_next() {
    let mut actor = Actor::new();
    let wait = || Some(Action::Wait(WaitIntent {}));
    let now = ms(450);
    let late = Refusal::TooLate { asked: 4, current: 5 };
    assert_eq!(actor.act_at(now, 4, wait()), Err(late), "past its deadline");
    let early = Refusal::TooEarly { asked: 7, current: 5 };
    assert_eq!(actor.act_at(now, 7, wait()), Err(early));
    assert_eq!(actor.act_at(now, 5, None), Err(Refusal::NoAction));
    assert_eq!(actor.act_at(now, 5, wait()), Ok(()));
    assert_eq!(actor.act_at(now, 5, wait()), Err(Refusal::AlreadyActed(5)));
    assert_eq!(actor.act_at(now, 6, wait()), Ok(()));
    assert_eq!(actor.act_at(ms(500), 6, wait()), Err(Refusal::AlreadyActed(6)));
}

#[test]
fn an_intent_needs_the_lease() {
    let mut actor = Actor::new();
    let wait = Action::Wait(WaitIntent {});
    let lease = std::mem::replace(&mut actor.lease, "another".to_owned());
    assert_eq!(actor.act(1, wait.clone()), Err(Refusal::NoSuchLease));
    actor.lease = lease;
    assert_eq!(actor.act(301, wait), Err(Refusal::NoSuchLease), "expired");
}

#[test]
fn a_berry_is_collected_once_and_grows_again() {
    let mut actor = Actor::new();
    assert_eq!(actor.act(1, collect("far")), Err(Refusal::TooFar("far".into())));
    assert_eq!(actor.act(1, collect("none")), Err(Refusal::NoSuchObject("none".into())));
    assert_eq!(actor.act(1, collect("near")), Ok(()));
    assert_eq!(actor.act(2, collect("near")), Err(Refusal::NoBerry("near".into())));
    let ripe = 1 + REGROW_TICKS;
    assert_eq!(actor.act(ripe - 1, collect("near")), Err(Refusal::NoBerry("near".into())));
    assert_eq!(actor.act(ripe, collect("near")), Ok(()));
    assert_eq!(actor.act(ripe + 1, collect("bare")), Ok(()), "a bare bush ripens too");
    assert_eq!(actor.act(ripe + 2, collect("rock")), Err(Refusal::NoBerry("rock".into())));
}

#[test]
fn only_what_one_has_can_be_eaten() {
    let mut actor = Actor::new();
    assert_eq!(actor.act(1, eat(1)), Err(Refusal::NotEnough(0)));
    assert_eq!(actor.act(1, collect("near")), Ok(()));
    assert_eq!(actor.act(2, eat(2)), Err(Refusal::NotEnough(1)));
    assert_eq!(actor.act(2, eat(-1)), Err(Refusal::NegativeAmount));
    let stone = Action::Eat(EatIntent { item_type: "stone".to_owned(), amount: 1 });
    assert_eq!(actor.act(2, stone), Err(Refusal::NoSuchItem("stone".into())));
    assert_eq!(actor.see(2).self_.unwrap().inventory.unwrap().items[0].quantity, 1);
    assert_eq!(actor.act(2, eat(1)), Ok(()));
    let me = actor.see(2).self_.unwrap();
    assert_eq!(me.inventory.unwrap().items, []);
    assert_eq!(me.status_bits, STATUS_FULL);
    assert_eq!(actor.see(12).self_.unwrap().status_bits, 0);
}

#[test]
fn an_observation_shows_what_is_near() {
    let mut actor = Actor::new();
    let seen = actor.see(3);
    assert_eq!((seen.tick_id, seen.deadline_ms), (3, EPOCH_MS + 300));
    assert_eq!(seen.visible_tiles.len(), 25, "no tile beyond the border");
    let walkable = seen.visible_tiles.iter().filter(|tile| tile.walkable).count();
    assert_eq!(walkable, 24);
    assert_eq!(seen.visible_entities.len(), 1);
    assert_eq!(seen.visible_entities[0].entity_id, "b");
    let berries: Vec<(&str, &str)> = seen
        .visible_objects
        .iter()
        .map(|object| (object.object_id.as_str(), object.state["has_berry"].as_str()))
        .collect();
    assert_eq!(berries, [("bare", "false"), ("far", "true"), ("near", "true"), ("rock", "false")]);
}

#[test]
fn sight_ends_somewhere() {
    let mut made = definition(vec![entity("a"), EntityDefinition { at: (40, 40), ..entity("b") }]);
    (made.width, made.height) = (50, 50);
    made.objects = vec![object("far", "bush", (2, 8), true), object("near", "bush", (7, 7), true)];
    let mut state = State::new(made, EPOCH_MS);
    let lease = state.acquire("a", "me", ms(0)).unwrap().lease_id;
    let seen = state.observation(&lease, "a", ms(0)).unwrap();
    assert_eq!(seen.visible_entities, []);
    assert_eq!(seen.visible_objects.len(), 1);
    assert_eq!(seen.visible_tiles.len(), 8 * 8);
}

#[test]
fn objects_follow_the_definition() {
    let mut actor = Actor::new();
    actor.act(1, collect("near")).unwrap();
    let mut made = definition(vec![entity("a")]);
    made.objects = vec![object("near", "bush", (1, 1), true), object("new", "wall", (2, 1), false)];
    actor.state.apply(made.clone(), ms(100));
    assert_eq!(actor.act(2, collect("near")), Err(Refusal::NoBerry("near".into())));
    assert_eq!(actor.act(2, walk(Direction::North)), Err(Refusal::Blocked(2, 1)));
    assert_eq!(actor.act(2, walk(Direction::East)), Ok(()), "the rock is gone");
    made.objects[0].at = (3, 3);
    actor.state.apply(made, ms(200));
    assert_eq!(actor.act(3, collect("near")), Ok(()), "a changed object starts anew");
}
