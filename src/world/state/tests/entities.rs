use super::super::Refusal;
use super::{changes, definition, entity, listed, ms, world};
use crate::world::definition::EntityDefinition;

#[test]
fn the_first_tick_is_one_and_ticks_follow_from_time() {
    let state = world(Vec::new());
    let ticks: Vec<i64> = [0, 99, 100, 1_050].map(|now| state.tick(ms(now))).into();
    assert_eq!(ticks, [1, 1, 2, 11]);
    assert_eq!(state.next_tick_at(ms(1_050)), ms(1_100));
    assert_eq!(state.next_due(), None, "an empty world has nothing to wake for");
}

#[test]
fn a_new_tick_length_starts_a_new_tick() {
    let mut state = world(Vec::new());
    let mut slower = definition(Vec::new());
    slower.tick = ms(1_000);
    state.apply(slower, ms(250));
    assert_eq!(state.tick(ms(250)), 4);
    assert_eq!(state.next_tick_at(ms(250)), ms(1_250));
    assert_eq!(state.tick(ms(1_250)), 5);
}

#[test]
fn entities_arrive_and_leave_on_time_and_in_order() {
    let late = EntityDefinition {
        arrives_after: ms(1_000),
        leaves_after: Some(ms(2_000)),
        ..entity("late")
    };
    let early = EntityDefinition { leaves_after: Some(ms(1_500)), ..entity("early") };
    let mut state = world(vec![late, early]);
    assert_eq!(listed(&state), ["early"]);
    assert_eq!(state.next_due(), Some(ms(1_000)));
    let told = changes(&mut state, ms(5_000));
    assert_eq!(
        told,
        ["early forager[] since 1", "late forager[] since 11", "early left", "late left"]
    );
    assert_eq!(state.next_due(), None);
}

#[test]
fn a_departure_takes_the_lease_along() {
    let brief = EntityDefinition { leaves_after: Some(ms(100)), ..entity("a") };
    let mut state = world(vec![brief]);
    let grant = state.acquire("a", "me", ms(0)).unwrap();
    let absent = Refusal::NoSuchEntity("a".to_owned());
    assert_eq!(state.observation(&grant.lease_id, "a", ms(100)), Err(absent));
    assert_eq!(state.renew(&grant.lease_id, ms(100)), Err(Refusal::NoSuchLease));
}

#[test]
fn what_is_listed_anew_counts_from_the_change() {
    let mut state = world(vec![entity("a")]);
    let later = EntityDefinition { arrives_after: ms(1_000), ..entity("b") };
    state.apply(definition(vec![entity("a"), later]), ms(500));
    changes(&mut state, ms(1_499));
    assert_eq!(listed(&state), ["a"]);
    assert_eq!(changes(&mut state, ms(1_500)), ["b forager[] since 16"]);
}

#[test]
fn what_is_listed_no_longer_leaves_and_returns_as_another() {
    let mut state = world(vec![entity("a")]);
    let grant = state.acquire("a", "me", ms(0)).unwrap();
    changes(&mut state, ms(0));
    state.apply(definition(Vec::new()), ms(10));
    state.apply(definition(vec![entity("a")]), ms(20));
    assert_eq!(changes(&mut state, ms(20)), ["a left", "a forager[] since 2"]);
    assert_eq!(state.check_lease(&grant.lease_id, "a"), Err(Refusal::NoSuchLease));
}

#[test]
fn a_change_of_looks_keeps_lease_position_and_incarnation() {
    let mut state = world(vec![entity("a")]);
    let grant = state.acquire("a", "me", ms(0)).unwrap();
    changes(&mut state, ms(0));
    let other = EntityDefinition { kind: "hunter".into(), tags: vec!["x".into()], ..entity("a") };
    state.apply(definition(vec![other.clone()]), ms(700));
    assert_eq!(changes(&mut state, ms(700)), [r#"a hunter["x"] since 1, leased"#]);
    assert_eq!(state.body("a").unwrap().at, (2, 2));

    let moved = EntityDefinition { at: (4, 0), ..other };
    state.apply(definition(vec![moved.clone()]), ms(800));
    assert_eq!(changes(&mut state, ms(800)), Vec::<String>::new(), "a place is not in the list");
    assert_eq!(state.body("a").unwrap().at, (4, 0));

    let mut smaller = definition(vec![moved]);
    smaller.width = 3;
    state.apply(smaller, ms(900));
    assert_eq!(state.body("a").unwrap().at, (2, 0));
    assert_eq!(state.check_lease(&grant.lease_id, "a"), Ok(()));
}

#[test]
fn who_has_left_returns_only_when_its_times_change() {
    let brief = EntityDefinition { leaves_after: Some(ms(100)), ..entity("a") };
    let mut state = world(vec![brief.clone()]);
    changes(&mut state, ms(100));
    let painted = EntityDefinition { tags: vec!["red".into()], ..brief };
    state.apply(definition(vec![painted.clone()]), ms(200));
    assert_eq!(changes(&mut state, ms(200)), Vec::<String>::new());
    let staying = EntityDefinition { leaves_after: None, ..painted };
    state.apply(definition(vec![staying]), ms(300));
    assert_eq!(changes(&mut state, ms(300)), [r#"a forager["red"] since 4"#]);
}

#[test]
fn a_departure_can_be_set_while_an_entity_is_there() {
    let mut state = world(vec![entity("a")]);
    let leaving = EntityDefinition { leaves_after: Some(ms(100)), ..entity("a") };
    state.apply(definition(vec![leaving]), ms(1_000));
    assert_eq!(listed(&state), ["a"]);
    state.advance(ms(1_100));
    assert_eq!(listed(&state), Vec::<String>::new());
}
