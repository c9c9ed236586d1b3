use std::sync::Arc;
use std::time::Duration;

use super::super::fixture::{Scene, entity, rules, template};
use super::super::*;
use super::REMEMBERED_BEYOND_MAX;

const SECOND: Duration = Duration::from_secs(1);

fn is_member(scene: &Scene, id: &str) -> bool {
    scene.membership.as_ref().unwrap().get(&EntityId::new(id).unwrap()).is_some()
}

fn hold(scene: &Scene) -> Option<Hold> {
    scene.membership.as_ref().unwrap().hold()
}

#[test]
fn an_empty_answer_removes_nobody_until_it_has_stood_long_enough() {
    let mut scene = Scene::running(&["alice", "bob"]);
    let started = scene.now;
    for _ in 0..6 {
        scene.answer([]);
        assert!(is_member(&scene, "alice") && is_member(&scene, "bob"));
        assert_eq!(hold(&scene), Some(Hold { since: started, agents: 2 }));
        scene.pass(5 * SECOND);
    }
    scene.answer([]);
    assert!(!is_member(&scene, "alice") && !is_member(&scene, "bob"));
}

#[test]
fn who_is_told_of_meanwhile_shows_that_an_empty_answer_has_not_stood() {
    let mut scene = Scene::running(&["alice", "bob"]);
    for _ in 0..3 {
        scene.pass(2 * SECOND);
        scene.answer([]);
    }
    scene.tell([entity("alice")]);
    assert_eq!(hold(&scene), None);
    scene.pass(29 * SECOND);
    scene.answer([]);
    let started = scene.now;
    assert_eq!(hold(&scene), Some(Hold { since: started, agents: 2 }));
    assert!(is_member(&scene, "bob"), "29 s are not 30");
}

#[test]
fn an_answer_that_would_remove_too_many_is_held_and_forgotten_when_they_return() {
    let all = ["a", "b", "c", "d", "e", "f"];
    let mut scene = Scene::running(&all);
    for _ in 0..4 {
        scene.answer(["a", "b"].map(entity));
        scene.pass(SECOND);
    }
    assert_eq!(hold(&scene).map(|hold| hold.agents), Some(4));
    scene.answer(all.map(entity));
    assert_eq!(hold(&scene), None);
    assert!(all.iter().all(|id| is_member(&scene, id)));
    // And another one like it starts from the beginning.
    scene.pass(60 * SECOND);
    scene.answer(["a", "b"].map(entity));
    assert!(all.iter().all(|id| is_member(&scene, id)));
}

#[test]
fn two_agents_or_half_of_them_may_leave_without_a_hold() {
    for (all, stay) in [
        (vec!["a", "b", "c"], vec!["a"]),
        (vec!["a", "b", "c", "d", "e", "f"], vec!["a", "b", "c"]),
    ] {
        let mut scene = Scene::running(&all);
        for _ in 0..3 {
            scene.answer(stay.iter().map(|id| entity(id)));
        }
        assert_eq!(all.iter().filter(|id| is_member(&scene, id)).count(), stay.len());
    }
}

#[test]
fn a_lost_world_voids_what_was_counted() {
    let mut scene = Scene::running(&["alice", "bob"]);
    scene.answer(["bob"].map(entity));
    scene.answer(["bob"].map(entity));
    scene.lose_world();
    scene.answer(["bob"].map(entity));
    assert!(is_member(&scene, "alice"));

    let mut scene = Scene::running(&["alice", "bob"]);
    scene.answer([]);
    scene.pass(29 * SECOND);
    scene.lose_world();
    scene.pass(29 * SECOND);
    scene.answer([]);
    scene.answer([]);
    scene.answer([]);
    assert!(is_member(&scene, "alice"));
}

#[test]
fn what_was_counted_before_the_world_was_lost_does_not_help_to_remove_anybody_after_it() {
    let mut scene = Scene::running(&["alice", "bob"]);
    scene.answer(["bob"].map(entity));
    scene.lose_world();
    scene.answer(["bob"].map(entity));
    scene.answer(["bob"].map(entity));
    assert!(is_member(&scene, "alice"), "two answers since");
    scene.answer(["bob"].map(entity));
    assert!(!is_member(&scene, "alice"), "three");
}

/// A scene whose runner was started again while alice, bob and carol had agents, and whose world
/// answers for the first time.
fn resumed(first: &[&str]) -> Scene {
    let mut scene = Scene::running(&["alice", "bob", "carol"]);
    scene.membership = None;
    scene.answer(first.iter().map(|id| entity(id)));
    let answer = Answer {
        heard: Heard::Asked(scene.now),
        at: scene.now,
        entities: Arc::new(first.iter().map(|id| entity(id)).collect()),
        refused: Arc::default(),
    };
    let known = scene.observed.agents.keys().map(|id| (id.clone(), Arrival::First));
    let known: Vec<_> = known.collect();
    scene.membership.as_mut().unwrap().expect(&answer, known);
    scene
}

#[test]
fn a_first_answer_removes_nobody_whose_agent_was_there_before() {
    let mut scene = resumed(&["carol"]);
    for _ in 0..2 {
        assert_eq!(scene.settle(), "");
        assert!(!scene.membership.as_ref().unwrap().is_settled());
        scene.pass(SECOND);
        scene.answer(["carol"].map(entity));
    }
    // Three answers have lacked them by now.
    assert!(scene.settle().starts_with("stop alice: the entity has left"));
    assert!(scene.membership.as_ref().unwrap().is_settled());
}

#[test]
fn an_empty_first_answer_is_held_as_any_other() {
    let mut scene = resumed(&[]);
    for _ in 0..6 {
        scene.answer([]);
        assert_eq!(scene.settle(), "");
        scene.pass(5 * SECOND);
    }
    scene.answer([]);
    assert!(scene.settle().contains("stop carol"));
}

#[test]
fn who_returns_after_the_first_answer_is_whoever_it_was() {
    let mut scene = resumed(&[]);
    scene.answer(["alice", "bob"].map(entity));
    assert_eq!(scene.settle(), "");
    let membership = scene.membership.as_ref().unwrap();
    let alice = membership.get(&EntityId::new("alice").unwrap()).unwrap();
    assert_eq!((alice.arrival, alice.present()), (Arrival::First, true));
    assert_eq!(membership.missing(&EntityId::new("carol").unwrap()), Some(2));
}

#[test]
fn an_entity_that_returns_in_time_was_never_away() {
    let mut scene = Scene::running(&["alice", "bob"]);
    for _ in 0..5 {
        scene.answer(["bob"].map(entity));
        scene.answer(["bob"].map(entity));
        scene.answer(["alice", "bob"].map(entity));
    }
    assert_eq!(scene.settle(), "");
    assert!(is_member(&scene, "alice"));
}

#[test]
fn a_million_entities_are_counted_but_not_remembered() {
    let mut scene = Scene::new(rules(vec![template("default"), template("e999999")]));
    scene.change_rules(|rules| rules.max_agents = 10);
    scene.answer((0..1_000_000).map(|n| entity(&format!("e{n}"))));
    let membership = scene.membership.as_ref().unwrap();
    assert_eq!(membership.iter().count(), 10 + REMEMBERED_BEYOND_MAX);
    assert_eq!(membership.untracked(), 1_000_000 - 10 - REMEMBERED_BEYOND_MAX);
    // The one that the user named is among the few.
    assert!(is_member(&scene, "e999999"));
    assert_eq!(scene.plan().actions.len(), 10);
}

#[test]
fn what_is_only_streamed_does_not_make_an_entity_missing() {
    let mut scene = Scene::running(&["alice", "bob"]);
    scene.tell(["bob"].map(entity));
    let alice = EntityId::new("alice").unwrap();
    assert!(scene.membership.as_ref().unwrap().get(&alice).unwrap().present());
}

#[test]
fn when_entities_came_can_be_recalled() {
    let mut scene = Scene::running(&["alice", "bob"]);
    let membership = scene.membership.as_mut().unwrap();
    membership.recall(|id| if id.as_str() == "bob" { Arrival::Late } else { Arrival::First });
    let arrivals: Vec<_> = membership.iter().map(|(_, member)| member.arrival).collect();
    assert_eq!(arrivals, [Arrival::First, Arrival::Late]);
}

#[test]
fn contact_settles_what_happened_before_the_question_or_the_break() {
    let at = Time::from_millis;
    let asked = Contact { asked: Some(at(100)), ..Contact::default() };
    assert!(asked.settles(at(99)) && asked.settles(at(100)) && !asked.settles(at(101)));
    let broken = Contact { disrupted: Some(at(100)), ..Contact::default() };
    assert!(broken.settles(at(99)) && broken.settles(at(100)) && !broken.settles(at(101)));
    assert!(!Contact::default().settles(at(0)));
}

#[test]
fn a_break_takes_those_that_were_there_before_it_and_end_soon_after() {
    let at = |seconds: u64| Time::from_millis(seconds * 1000);
    let contact = Contact { disrupted: Some(at(100)), ..Contact::default() };
    assert!(contact.took(at(50), at(90)) && contact.took(at(99), at(110)));
    assert!(!contact.took(at(50), at(111)), "long after");
    assert!(!contact.took(at(100), at(105)), "begun with it");
    assert!(!contact.took(at(101), at(105)), "begun after it");
}

#[test]
fn the_world_is_back_when_it_answers_and_was_asked_late_enough() {
    let at = Time::from_millis;
    let contact = |reachable| Contact { reachable, asked: Some(at(100)), ..Contact::default() };
    assert!(contact(true).answers_since(at(100)));
    assert!(!contact(true).answers_since(at(101)));
    assert!(!contact(false).answers_since(at(100)));
}
