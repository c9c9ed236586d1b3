use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::super::fixture::{Scene, entity, rules, template};
use super::super::*;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("a{number:03}")).collect()
}

/// So many agents that run version 1, for long enough.
fn scene(count: usize) -> Scene {
    let template = Template { args: vec!["v1".to_owned()], ..template("default") };
    let mut scene = Scene::new(rules(vec![template]));
    scene.answer(names(count).iter().map(|name| entity(name)));
    scene.settle();
    scene.pass(60 * SECOND);
    scene
}

fn change(scene: &mut Scene, version: &str) {
    let args = vec![version.to_owned()];
    scene.change_template("default", |template| template.args = args);
}

fn policy(scene: &mut Scene, change: impl FnOnce(&mut RolloutPolicy)) {
    scene.change_template("default", |template| change(&mut template.rollout));
}

/// How many agents run each version.
fn versions(scene: &Scene) -> BTreeMap<String, usize> {
    let mut versions = BTreeMap::new();
    for agent in scene.observed.agents.values() {
        *versions.entry(agent.spec.argv.last().unwrap().clone()).or_default() += 1;
    }
    versions
}

fn running(scene: &Scene) -> usize {
    let agents = scene.observed.agents.values();
    agents.filter(|agent| matches!(agent.phase, Phase::Running { .. })).count()
}

/// All agents of this version crash.
fn crash(scene: &mut Scene, version: &str) {
    let of_version = |agent: &&mut Agent| agent.spec.argv.last().unwrap() == version;
    let now = scene.now;
    for agent in scene.observed.agents.values_mut().filter(of_version) {
        agent.gone(Outcome::Exit(Exit::Code(1)), now);
    }
    // The world answers, and it was none of its doing.
    let names = names(scene.observed.agents.len());
    scene.pass(Duration::from_millis(10));
    scene.answer(names.iter().map(|name| entity(name)));
}

fn rollout(scene: &Scene) -> &Rollout {
    scene.orders.rollouts.get("default").unwrap()
}

#[test]
fn up_to_ten_agents_change_at_once() {
    let mut scene = scene(10);
    change(&mut scene, "v2");
    assert_eq!(scene.apply().actions.len(), 10);
}

#[test]
fn of_more_a_quarter_changes_at_a_time() {
    let mut scene = scene(100);
    change(&mut scene, "v2");
    for batch in 1..=4 {
        scene.settle();
        assert_eq!(versions(&scene)["v2"], batch * 25);
        assert_eq!(scene.plan().actions, []);
        let due = scene.plan().wake_at.unwrap();
        assert_eq!(due, scene.now + 2 * SECOND);
        scene.now = due;
    }
    scene.settle();
    assert_eq!(versions(&scene), BTreeMap::from([("v2".to_owned(), 100)]));
    assert!(!rollout(&scene).is_under_way());
}

#[test]
fn a_policy_says_how_many_and_how_long() {
    let mut scene = scene(20);
    policy(&mut scene, |policy| {
        policy.max_unavailable = Some(MaxUnavailable::Count(3));
        policy.min_ready = 7 * SECOND;
    });
    change(&mut scene, "v2");
    scene.settle();
    assert_eq!(versions(&scene)["v2"], 3);
    scene.pass(6 * SECOND);
    assert_eq!(scene.plan().actions, []);
    scene.pass(SECOND);
    assert_eq!(scene.plan().actions.len(), 3);

    let most = |share, agents| {
        let policy = RolloutPolicy { max_unavailable: Some(share), ..RolloutPolicy::default() };
        policy.most_unavailable(agents)
    };
    assert_eq!(most(MaxUnavailable::Percent(10), 25), 2);
    assert_eq!(most(MaxUnavailable::Percent(10), 5), 1);
    assert_eq!(most(MaxUnavailable::Percent(100), 25), 25);
}

#[test]
fn with_leases_an_agent_is_ready_once_it_has_one() {
    let mut scene = scene(40);
    let leased = |leased: usize| {
        let of = move |(number, name): (usize, String)| Entity {
            leased: number >= leased,
            ..entity(&name)
        };
        names(40).into_iter().enumerate().map(of).collect::<Vec<_>>()
    };
    scene.change_rules(|rules| rules.lease_health = Some(LeaseHealth { grace: 30 * SECOND }));
    scene.answer(leased(0));
    change(&mut scene, "v2");
    scene.settle();
    assert_eq!(versions(&scene)["v2"], 10);
    scene.pass(5 * SECOND);
    scene.answer(leased(10));
    assert_eq!(scene.plan().actions, [], "ten have no lease yet");
    scene.answer(leased(4));
    assert_eq!(scene.plan().actions.len(), 6);
}

#[test]
fn a_bad_version_stops_after_the_first_batch() {
    let mut scene = scene(100);
    change(&mut scene, "bad");
    scene.settle();
    scene.pass(Duration::from_millis(300));
    crash(&mut scene, "bad");
    scene.settle();
    assert_eq!(versions(&scene)["bad"], 25);
    assert_eq!(running(&scene), 75);
    let pause = rollout(&scene).paused().unwrap();
    assert_eq!(pause.to_string(), "a000 failed: exit code 1");
    // It stays so, whatever becomes of the bad ones.
    for _ in 0..20 {
        scene.pass(10 * SECOND);
        scene.settle();
        crash(&mut scene, "bad");
        scene.settle();
    }
    assert_eq!(versions(&scene)["bad"], 25);
    assert_eq!(running(&scene), 75);

    scene.steer("default", Steer::Undo);
    scene.settle();
    assert_eq!(running(&scene), 100);
    assert_eq!(versions(&scene).get("bad"), None);
    scene.pass(5 * SECOND);
    scene.settle();
    assert!(!rollout(&scene).is_under_way());
    assert_eq!(scene.plan().actions, []);
}

#[test]
fn who_crashes_while_a_rollout_is_paused_keeps_its_version() {
    let mut scene = scene(100);
    change(&mut scene, "bad");
    scene.settle();
    crash(&mut scene, "bad");
    scene.settle();
    crash(&mut scene, "v1");
    scene.pass(5 * SECOND);
    scene.settle();
    assert_eq!(versions(&scene)["v1"], 75);
    assert_eq!(scene.phase("a099"), "Running");
}

#[test]
fn without_pause_on_failure_it_goes_on_as_agents_come_back() {
    let mut scene = scene(20);
    policy(&mut scene, |policy| policy.pause_on_failure = false);
    change(&mut scene, "v2");
    scene.settle();
    crash(&mut scene, "v2");
    scene.settle();
    assert!(rollout(&scene).paused().is_none());
    for _ in 0..20 {
        scene.pass(3 * SECOND);
        scene.settle();
    }
    assert_eq!(versions(&scene), BTreeMap::from([("v2".to_owned(), 20)]));
}

/// A runner that begins in the middle of it.
#[test]
fn a_rollout_is_not_over_before_it_is_known_who_is_there() {
    let mut scene = scene(20);
    change(&mut scene, "v2");
    scene.settle();
    scene.pass(3 * SECOND);
    assert!(rollout(&scene).is_under_way());
    scene.membership = None;
    assert_eq!(scene.plan().turns, []);

    let changed = Arc::new([entity("a000")].into_iter().collect());
    let heard = Heard::Asked(scene.now);
    let answer = Answer { heard, at: scene.now, entities: changed, refused: Arc::default() };
    let mut first = Membership::first(&answer, &scene.rules);
    let known = scene.observed.agents.keys().map(|id| (id.clone(), Arrival::First));
    first.expect(&answer, known);
    scene.membership = Some(first);
    assert_eq!(scene.plan().turns, []);
    assert!(scene.plan().is_rolling);
}

#[test]
fn who_has_failed_for_good_is_not_waited_for() {
    let mut scene = scene(3);
    scene.change_rules(|rules| rules.backoff.max_attempts = 0);
    policy(&mut scene, |policy| {
        policy.pause_on_failure = false;
        policy.max_unavailable = Some(MaxUnavailable::Count(1));
    });
    change(&mut scene, "v2");
    scene.settle();
    crash(&mut scene, "v2");
    for _ in 0..5 {
        scene.pass(3 * SECOND);
        scene.settle();
    }
    assert_eq!(versions(&scene), BTreeMap::from([("v2".to_owned(), 3)]));
    assert_eq!(running(&scene), 2);
}

#[test]
fn who_cannot_be_started_for_want_of_room_is_not_waited_for() {
    let mut scene = scene(4);
    policy(&mut scene, |policy| policy.max_unavailable = Some(MaxUnavailable::Count(1)));
    scene.change_rules(|rules| rules.max_agents = 2);
    change(&mut scene, "v2");
    for _ in 0..10 {
        scene.pass(3 * SECOND);
        scene.settle();
    }
    assert_eq!(running(&scene), 2);
    let running = scene.observed.agents.values().filter(|agent| agent.is_live());
    assert!(running.into_iter().all(|agent| agent.spec.argv.contains(&"v2".to_owned())));
}

#[test]
fn who_cannot_be_started_as_its_entity_is_away_is_not_waited_for() {
    let mut scene = scene(3);
    scene.change_rules(|rules| rules.jit.enabled = false);
    policy(&mut scene, |policy| policy.max_unavailable = Some(MaxUnavailable::Count(1)));
    let others = names(3).into_iter().skip(1).collect::<Vec<_>>();
    scene.answer(others.iter().map(|id| entity(id)));
    change(&mut scene, "v2");
    for _ in 0..10 {
        scene.pass(3 * SECOND);
        scene.answer(others.iter().map(|id| entity(id)));
        scene.settle();
    }
    assert_eq!(running(&scene), 2);
    let running = scene.observed.agents.values().filter(|agent| agent.is_live());
    assert!(running.into_iter().all(|agent| agent.spec.argv.contains(&"v2".to_owned())));
}

#[test]
fn a_changed_file_begins_anew() {
    let mut scene = scene(100);
    change(&mut scene, "bad");
    scene.settle();
    crash(&mut scene, "bad");
    scene.settle();
    change(&mut scene, "good");
    assert!(rollout(&scene).paused().is_none());
    for _ in 0..10 {
        scene.settle();
        assert!(running(&scene) >= 50, "{}", running(&scene));
        scene.pass(3 * SECOND);
    }
    assert_eq!(versions(&scene), BTreeMap::from([("good".to_owned(), 100)]));
}

#[test]
fn undo_goes_back_to_what_worked_not_to_what_was_tried() {
    let mut scene = scene(3);
    for version in ["bad", "worse"] {
        change(&mut scene, version);
        scene.settle();
        crash(&mut scene, version);
        scene.settle();
    }
    scene.steer("default", Steer::Undo);
    scene.settle();
    assert_eq!(versions(&scene), BTreeMap::from([("v1".to_owned(), 3)]));
    // Until the file says something else; and what it says now can be had again.
    scene.steer("default", Steer::Resume);
    scene.settle();
    assert_eq!(versions(&scene), BTreeMap::from([("worse".to_owned(), 3)]));
}

#[test]
fn what_cannot_be_steered_says_why() {
    let mut scene = scene(2);
    let mut refused = |name: &str, steer| {
        Arc::make_mut(&mut scene.orders.rollouts).steer(name, steer, scene.now).unwrap_err()
    };
    assert_eq!(refused("other", Steer::Pause), CannotSteer::Unknown("other".to_owned()));
    let name = || "default".to_owned();
    assert_eq!(refused("default", Steer::Undo), CannotSteer::NothingBefore(name()));
    assert_eq!(refused("default", Steer::Resume), CannotSteer::NotPaused(name()));
    change(&mut scene, "v2");
    scene.steer("default", Steer::Undo);
    let twice = Arc::make_mut(&mut scene.orders.rollouts).steer("default", Steer::Undo, scene.now);
    assert_eq!(twice, Err(CannotSteer::AlreadyUndone(name())));
}

#[test]
fn the_user_pauses_and_resumes() {
    let mut scene = scene(40);
    scene.steer("default", Steer::Pause);
    change(&mut scene, "v2");
    assert_eq!(scene.settle(), "");
    assert!(!scene.plan().is_rolling);
    scene.steer("default", Steer::Resume);
    scene.settle();
    assert_eq!(versions(&scene)["v2"], 10);
}

#[test]
fn restarts_that_were_asked_for_are_rolled_too() {
    let mut scene = scene(100);
    let asked = scene.now;
    scene.orders.restarts = scene.observed.agents.keys().map(|id| (id.clone(), asked)).collect();
    scene.pass(SECOND);
    assert_eq!(scene.apply().actions.len(), 25);
    assert_eq!(scene.apply().actions.len(), 0);
}

#[test]
fn who_is_down_anyhow_does_not_keep_others_from_being_restarted() {
    let mut scene = scene(12);
    for name in ["a000", "a001", "a002", "a003"] {
        let now = scene.now;
        let ended = Ended { how: Outcome::Exit(Exit::Code(1)), started: now, at: now };
        scene.agent(name).phase = Phase::Failed { ended };
    }
    scene.pass(SECOND);
    scene.orders.restarts.insert(EntityId::new("a007").unwrap(), scene.now);
    scene.pass(SECOND);
    let plan = scene.apply();
    assert_eq!(plan.actions.len(), 1);
}

#[test]
fn a_restart_goes_through_a_paused_rollout_with_the_version_before() {
    let mut scene = scene(100);
    change(&mut scene, "bad");
    scene.settle();
    crash(&mut scene, "bad");
    scene.settle();
    scene.pass(SECOND);
    scene.orders.restarts.insert(EntityId::new("a090").unwrap(), scene.now);
    scene.pass(SECOND);
    let told = scene.settle();
    assert!(told.contains("stop a090: a restart was asked for"), "{told}");
    assert_eq!(versions(&scene)["bad"], 25);
    assert_eq!(scene.phase("a090"), "Running");
}

#[test]
fn it_lasts_beyond_the_boot_without_its_times() {
    let mut scene = scene(3);
    change(&mut scene, "v2");
    scene.steer("default", Steer::Undo);
    let lasting = scene.orders.rollouts.lasting();
    let written = serde_json::to_string(&lasting).unwrap();
    let read: Rollouts = serde_json::from_str(&written).unwrap();
    assert_eq!(read, lasting);
    assert!(read.get("default").unwrap().undone());
    let template = Arc::clone(&scene.rules.templates[0]);
    assert_ne!(read.in_effect(&template), &template);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens on the way, no more than the policy allows are down for the sake of it,
    /// and in the end all have the new version.
    #[test]
    fn never_more_are_down_than_allowed_and_all_change_in_the_end(
        count in 1_usize..60,
        most in 1_usize..20,
        waits in proptest::collection::vec(0_u64..4000, 1..60),
    ) {
        let mut scene = scene(count);
        policy(&mut scene, |policy| {
            policy.max_unavailable = Some(MaxUnavailable::Count(most));
        });
        change(&mut scene, "v2");
        for wait in waits.iter().chain([&60_000; 61]) {
            scene.settle();
            let short = scene.observed.agents.values().filter(|agent| {
                agent.since().is_none_or(|since| scene.now - since < 2 * SECOND)
            });
            prop_assert!(short.count() <= most);
            scene.pass(Duration::from_millis(*wait));
        }
        prop_assert_eq!(versions(&scene), BTreeMap::from([("v2".to_owned(), count)]));
        prop_assert!(!rollout(&scene).is_under_way());
    }
}
