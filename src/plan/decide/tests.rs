//! Golden cases: a scene in, the printed plan out. One for each rule, so that taking a rule out
//! fails a case that bears its name.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::fixture::{Scene, entity, rules, synced, template};
use super::super::*;

const SECOND: Duration = Duration::from_secs(1);

#[track_caller]
fn assert_plan(scene: &Scene, expected: &str) {
    let printed = scene.plan().to_string();
    let trim = |text: &str| {
        text.lines().map(str::trim).filter(|l| !l.is_empty()).collect::<Vec<_>>().join("\n")
    };
    let squeeze =
        |text: &str| text.split(' ').filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ");
    assert_eq!(squeeze(&trim(&printed)), squeeze(&trim(expected)));
}

#[test]
fn a_world_that_never_answered_starts_and_stops_nobody() {
    let mut scene = Scene::new(rules(vec![template("default")]));
    assert_plan(&scene, "unchanged 0");

    scene = Scene::running(&["alice", "bob"]);
    scene.membership = None;
    assert_plan(&scene, "unchanged 2");
}

#[test]
fn every_entity_gets_an_agent_in_the_order_of_first_sight() {
    let mut scene = Scene::new(rules(vec![template("default")]));
    scene.answer(["zoe", "alice"].map(entity));
    assert_plan(
        &scene,
        "start zoe: the entity has no agent; template default (default template)
         start alice: the entity has no agent; template default (default template)
         unchanged 0",
    );
}

#[test]
fn after_convergence_nothing_is_left_to_do() {
    let scene = Scene::running(&["alice", "bob"]);
    assert_plan(&scene, "unchanged 2");
}

#[test]
fn a_lost_world_removes_nobody() {
    let mut scene = Scene::running(&["alice", "bob"]);
    scene.pass(600 * SECOND);
    scene.lose_world();
    assert_plan(&scene, "unchanged 2");
}

#[test]
fn an_entity_is_gone_after_three_answers_that_lack_it() {
    let mut scene = Scene::running(&["alice", "bob", "carol"]);
    for _ in 0..2 {
        scene.pass(5 * SECOND);
        scene.answer(["alice", "bob"].map(entity));
        assert_plan(&scene, "unchanged 3");
    }
    scene.pass(5 * SECOND);
    scene.answer(["alice", "bob"].map(entity));
    assert_plan(&scene, "stop carol: the entity has left the world; grace 5s\nunchanged 2");
    scene.settle();
    assert_eq!(scene.phase("carol"), "none");
}

#[test]
fn what_is_only_streamed_confirms_no_removal() {
    let mut scene = Scene::running(&["alice", "bob"]);
    for _ in 0..10 {
        scene.tell(["alice"].map(entity));
    }
    assert_plan(&scene, "unchanged 2");
}

#[test]
fn an_entity_that_comes_late_gets_the_jit_template() {
    let mut scene = Scene::running(&["alice"]);
    scene.change_rules(|rules| {
        rules.templates.push(template("late").into());
        rules.jit.template = "late".to_owned();
    });
    scene.tell(["alice", "bob"].map(entity));
    assert_plan(
        &scene,
        "start bob: the entity has no agent; template late (jit.template, as the entity came late)
         unchanged 1",
    );
}

#[test]
fn with_jit_off_the_first_membership_is_kept() {
    let mut scene = Scene::running(&["alice", "bob"]);
    scene.change_rules(|rules| rules.jit.enabled = false);
    for _ in 0..10 {
        scene.pass(5 * SECOND);
        scene.answer(["alice", "carol"].map(entity));
    }
    assert_plan(&scene, "unchanged 2");
    assert_eq!(scene.membership.unwrap().untracked(), 1);
}

#[test]
fn without_auto_discover_only_the_named_get_agents() {
    let mut rules = rules(vec![template("default"), template("alice")]);
    rules.auto_discover = false;
    let mut scene = Scene::new(rules);
    scene.answer(["alice", "bob"].map(entity));
    assert_plan(
        &scene,
        "start alice: the entity has no agent; template alice (named after the entity)
         unchanged 0",
    );
}

#[test]
fn who_is_not_named_is_stopped_for_that_and_not_as_gone_when_auto_discover_is_switched_off() {
    let mut scene = Scene::running(&["alice"]);
    scene.change_rules(|rules| rules.auto_discover = false);
    assert_plan(
        &scene,
        "stop alice: no template serves the entity any more; grace 5s\nunchanged 0",
    );
}

#[test]
fn an_entity_without_a_template_stops_nobody_else() {
    let mut bushes = template("bushes");
    bushes.matcher = Some(Matcher { types: ["bush".to_owned()].into(), tags: BTreeSet::new() });
    let mut scene = Scene::new(rules(vec![bushes]));
    let mut bush = entity("b1");
    bush.kind = "bush".into();
    scene.answer([entity("alice"), bush]);
    assert_plan(
        &scene,
        "start b1: the entity has no agent; template bushes (its match fits)
         pending alice: no template serves the entity
         unchanged 0",
    );
}

#[test]
fn an_entity_leased_by_somebody_else_gets_no_agent_until_the_lease_is_gone() {
    let mut scene = Scene::new(rules(vec![template("default")]));
    scene.answer([Entity { leased: true, ..entity("alice") }]);
    assert_plan(&scene, "pending alice: somebody else holds the entity's lease\nunchanged 0");
    scene.answer([entity("alice")]);
    assert_plan(
        &scene,
        "start alice: the entity has no agent; template default (default template)\nunchanged 0",
    );
}

#[test]
fn the_lease_that_our_own_killed_agent_left_is_no_obstacle() {
    let mut scene = Scene::running(&["alice"]);
    scene.pass(SECOND);
    scene.exit("alice", Exit::Signal(9));
    scene.answer([Entity { leased: true, ..entity("alice") }]);
    scene.settle();
    scene.pass(SECOND);
    assert_plan(
        &scene,
        "start alice: restart 1 of 5 after a crash; template default (default template)
         unchanged 0",
    );
}

#[test]
fn a_crash_is_judged_only_when_the_world_has_been_asked() {
    let mut scene = Scene::running(&["alice"]);
    scene.pass(20 * SECOND);
    scene.exit("alice", Exit::Code(1));
    assert_plan(&scene, "unchanged 1");
    scene.pass(Duration::from_millis(2));
    scene.answer([entity("alice")]);
    assert_plan(&scene, "back-off alice: exit code 1; restart 1 of 5 after 1s\nunchanged 0");
}

#[test]
fn delays_grow_to_the_maximum_and_then_the_agent_has_failed() {
    let mut scene = Scene::running(&["alice"]);
    let mut delays = Vec::new();
    loop {
        scene.pass(SECOND);
        scene.exit("alice", Exit::Code(1));
        let exited = scene.now;
        scene.answer([entity("alice")]);
        scene.settle();
        if scene.phase("alice") == "Failed" {
            break;
        }
        let due = scene.plan().wake_at.unwrap();
        delays.push((due - exited).as_secs());
        scene.now = due;
        scene.settle();
        assert_eq!(scene.phase("alice"), "Running");
    }
    assert_eq!(delays, [1, 2, 4, 8, 16]);
    scene.pass(3600 * SECOND);
    assert_plan(&scene, "unchanged 1");
}

#[test]
fn a_long_run_clears_the_attempts() {
    let mut scene = Scene::running(&["alice"]);
    scene.agent("alice").attempts = 5;
    scene.pass(60 * SECOND);
    scene.exit("alice", Exit::Code(1));
    scene.answer([entity("alice")]);
    assert_plan(&scene, "back-off alice: exit code 1; restart 1 of 5 after 1s\nunchanged 0");
}

#[test]
fn exit_0_completes_under_on_failure_and_restarts_under_always() {
    let mut scene = Scene::running(&["alice"]);
    scene.pass(SECOND);
    scene.exit("alice", Exit::Code(0));
    scene.answer([entity("alice")]);
    assert_plan(&scene, "complete alice: exit code 0; it exited with code 0\nunchanged 0");
    scene.change_template("default", |template| template.restart = RestartPolicy::Always);
    assert_plan(&scene, "back-off alice: exit code 0; restart 1 of 5 after 1s\nunchanged 0");
}

#[test]
fn policy_never_restarts_nobody_and_does_not_ask_the_world() {
    let mut scene = Scene::running(&["alice", "bob"]);
    scene.change_template("default", |template| template.restart = RestartPolicy::Never);
    scene.pass(SECOND);
    scene.lose_world();
    scene.exit("alice", Exit::Code(0));
    scene.exit("bob", Exit::Code(3));
    assert_plan(
        &scene,
        "complete alice: exit code 0; it exited with code 0
         fail bob: exit code 3; its restart policy is never
         unchanged 0",
    );
}

#[test]
fn a_kill_is_not_the_worlds_and_is_judged_without_asking_it() {
    let mut scene = Scene::running(&["alice"]);
    scene.pass(20 * SECOND);
    scene.exit("alice", Exit::Signal(9));
    scene.settle();
    assert_eq!(scene.phase("alice"), "BackingOff");
}

#[test]
fn an_exit_that_the_world_took_with_it_spends_no_attempt_and_waits_for_the_world() {
    for exit in [Exit::Code(0), Exit::Code(1), Exit::Signal(11)] {
        let mut scene = Scene::running(&["alice"]);
        scene.pass(120 * SECOND);
        scene.exit("alice", exit);
        scene.lose_world();
        scene.settle();
        assert_eq!(scene.phase("alice"), "AwaitingWorld");
        scene.pass(20 * SECOND);
        scene.lose_world();
        assert_eq!(scene.plan().actions, []);
        scene.pass(SECOND);
        scene.answer([entity("alice")]);
        assert_plan(
            &scene,
            "start alice: the world is back; template default (default template)\nunchanged 0",
        );
        scene.settle();
        assert_eq!(scene.agent("alice").attempts, 0);
    }
}

#[test]
fn a_world_that_was_replaced_between_two_questions_is_noticed_by_the_new_connection() {
    let mut scene = Scene::running(&["alice"]);
    scene.pass(120 * SECOND);
    let broken = scene.now;
    scene.pass(Duration::from_millis(300));
    scene.exit("alice", Exit::Code(0));
    scene.pass(Duration::from_millis(3));
    scene.observed.contact.disrupted = Some(broken);
    scene.answer([entity("alice")]);
    let done = scene.settle();
    assert!(done.contains("start alice: the world is back"), "{done}");
}

#[test]
fn without_any_answer_the_agent_is_tried_again_no_faster_than_the_longest_delay() {
    let mut scene = Scene::running(&["alice"]);
    scene.pass(120 * SECOND);
    scene.exit("alice", Exit::Code(1));
    for _ in 0..30 {
        scene.lose_world();
        scene.settle();
        assert_eq!(scene.phase("alice"), "AwaitingWorld");
        scene.pass(SECOND);
    }
    assert_plan(
        &scene,
        "start alice: the world stays silent; trying without its answer; \
         template default (default template)
         unchanged 0",
    );
}

#[test]
fn a_flapping_world_restarts_no_agent_faster_than_the_first_delay() {
    let mut scene = Scene::running(&["alice"]);
    scene.pass(Duration::from_millis(100));
    scene.exit("alice", Exit::Code(1));
    scene.lose_world();
    scene.settle();
    scene.answer([entity("alice")]);
    let plan = scene.plan();
    assert_eq!(
        (plan.actions.len(), plan.wake_at.map(|at| at - scene.now)),
        (0, Some(Duration::from_millis(900)))
    );
}

#[test]
fn nothing_is_started_for_an_entity_that_the_latest_answer_lacks() {
    let mut scene = Scene::running(&["alice", "bob"]);
    scene.pass(20 * SECOND);
    scene.exit("alice", Exit::Code(0));
    scene.answer([entity("bob")]);
    assert_plan(
        &scene,
        "await-world alice: exit code 0; the world does not have the entity at the moment
         unchanged 1",
    );
    scene.settle();
    scene.pass(600 * SECOND);
    assert_plan(
        &scene,
        "pending alice: the world does not have the entity at the moment\nunchanged 1",
    );
    scene.answer([entity("alice"), entity("bob")]);
    assert_plan(
        &scene,
        "start alice: the world has the entity again; template default (default template)
         unchanged 1",
    );
}

#[test]
fn while_the_world_is_away_a_delay_that_is_over_is_stretched_to_the_longest() {
    let mut scene = Scene::running(&["alice"]);
    scene.pass(20 * SECOND);
    scene.exit("alice", Exit::Code(1));
    scene.answer([entity("alice")]);
    scene.settle();
    scene.pass(Duration::from_millis(500));
    scene.lose_world();
    scene.pass(SECOND);
    let plan = scene.plan();
    assert_eq!(plan.actions, []);
    assert_eq!(plan.wake_at.unwrap() - scene.now, Duration::from_millis(28_500));
}

#[test]
fn a_new_spawn_tick_replaces_the_agent_and_its_counters() {
    let mut scene = Scene::running(&["alice"]);
    scene.agent("alice").attempts = 4;
    scene.answer([Entity { spawn_tick: 77, ..entity("alice") }]);
    assert_plan(
        &scene,
        "stop alice: the entity is a new incarnation (spawn tick 0, now 77); grace 5s
         unchanged 0",
    );
    scene.settle();
    assert_eq!(scene.phase("alice"), "Running");
    assert_eq!(scene.agent("alice").attempts, 0);
}

#[test]
fn a_changed_template_restarts_its_agents_and_nobody_else() {
    let mut scene = Scene::new(rules(vec![template("default"), template("alice")]));
    scene.answer(["alice", "bob"].map(entity));
    scene.settle();
    scene.change_template("alice", |template| template.args = vec!["--fast".to_owned()]);
    assert_plan(&scene, "stop alice: command changed; grace 5s\nunchanged 1");

    scene.change_template("alice", |template| {
        template.args.clear();
        template.env.insert("A".to_owned(), "1".to_owned());
        template.cwd = "/elsewhere".into();
    });
    assert_plan(
        &scene,
        "stop alice: environment and working directory changed; grace 5s\nunchanged 1",
    );
}

#[test]
fn changed_delays_policies_and_limits_restart_nobody() {
    let mut scene = Scene::running(&["alice"]);
    scene.change_rules(|rules| {
        rules.backoff.max = 5 * SECOND;
        rules.max_agents = 1;
        rules.removal.confirmations = 9;
    });
    scene.change_template("default", |template| {
        template.grace = SECOND;
        template.restart = RestartPolicy::Always;
    });
    assert_plan(&scene, "unchanged 1");
}

#[test]
fn a_failed_agent_is_started_again_when_its_template_changes() {
    let mut scene = Scene::running(&["alice"]);
    scene.agent("alice").attempts = 5;
    scene.exit("alice", Exit::Code(1));
    scene.answer([entity("alice")]);
    scene.settle();
    assert_eq!(scene.phase("alice"), "Failed");
    scene.change_template("default", |template| template.args = vec!["--fixed".to_owned()]);
    assert_plan(
        &scene,
        "start alice: command changed; template default (default template)\nunchanged 0",
    );
    scene.settle();
    assert_eq!(scene.agent("alice").attempts, 0);
}

#[test]
fn a_failed_agent_is_started_again_when_its_entity_leaves_and_returns() {
    let mut scene = Scene::running(&["alice", "bob"]);
    scene.agent("alice").attempts = 5;
    scene.exit("alice", Exit::Code(1));
    scene.answer(["alice", "bob"].map(entity));
    scene.settle();
    for _ in 0..3 {
        scene.answer(["bob"].map(entity));
    }
    assert_plan(&scene, "forget alice: the entity has left the world\nunchanged 1");
    scene.settle();
    scene.answer(["alice", "bob"].map(entity));
    scene.settle();
    assert_eq!(scene.phase("alice"), "Running");
}

#[test]
fn a_template_that_is_taken_away_stops_its_agents() {
    let mut scene = Scene::running(&["alice"]);
    scene.change_rules(|rules| rules.templates.clear());
    assert_plan(
        &scene,
        "stop alice: no template serves the entity any more; grace 5s\nunchanged 0",
    );
}

#[test]
fn who_is_not_named_any_more_is_not_said_to_have_left_the_world() {
    let mut scene = Scene::running(&["alice"]);
    scene.change_rules(|rules| rules.auto_discover = false);
    assert_plan(
        &scene,
        "stop alice: no template serves the entity any more; grace 5s\nunchanged 0",
    );
    scene.settle();
    assert_plan(&scene, "unchanged 0");
}

#[test]
fn an_agent_that_is_being_stopped_blocks_its_replacement_until_all_of_it_is_gone() {
    let mut scene = Scene::running(&["alice"]);
    scene.change_template("default", |template| template.args = vec!["--new".to_owned()]);
    scene.apply();
    assert_eq!(scene.phase("alice"), "Stopping");
    for _ in 0..4 {
        scene.pass(SECOND);
        assert_eq!(scene.plan().actions, []);
    }
    scene.pass(SECOND);
    assert_plan(&scene, "kill alice: command changed\nunchanged 0");
    scene.apply();
    scene.pass(60 * SECOND);
    assert_plan(&scene, "unchanged 1");
    let now = scene.now;
    scene.agent("alice").gone(Outcome::Exit(Exit::Signal(9)), now);
    assert_plan(
        &scene,
        "start alice: command changed; template default (default template)\nunchanged 0",
    );
}

#[test]
fn what_a_leader_leaves_behind_is_stopped_before_anything_is_started() {
    let mut scene = Scene::running(&["alice"]);
    scene.pass(20 * SECOND);
    let now = scene.now;
    scene.agent("alice").leader_exited(Exit::Code(1), now);
    scene.answer([entity("alice")]);
    assert_plan(
        &scene,
        "stop alice: its first process ended (exit code 1) and left others behind; grace 5s
         unchanged 0",
    );
    scene.apply();
    scene.pass(5 * SECOND);
    assert_eq!(scene.apply().actions[0].verb.name(), "kill");
    let now = scene.now;
    scene.agent("alice").gone(Outcome::Exit(Exit::Code(1)), now);
    assert_plan(&scene, "back-off alice: exit code 1; restart 1 of 5 after 1s\nunchanged 0");
}

#[test]
fn shutdown_stops_all_at_once_and_a_second_signal_kills() {
    let mut scene = Scene::running(&["alice", "bob"]);
    scene.intent = Intent::Stop;
    assert_plan(
        &scene,
        "stop alice: the runner is stopping; grace 5s
         stop bob: the runner is stopping; grace 5s
         unchanged 0",
    );
    scene.apply();
    scene.intent = Intent::Kill;
    assert_plan(
        &scene,
        "kill alice: the runner is stopping
         kill bob: the runner is stopping
         unchanged 0",
    );
    scene.settle();
    assert!(scene.observed.agents.is_empty());
}

#[test]
fn max_agents_keeps_those_that_run_and_lets_newcomers_wait_in_order() {
    let mut scene = Scene::running(&["c", "b", "a"]);
    scene.change_rules(|rules| rules.max_agents = 2);
    assert_plan(&scene, "unchanged 3");

    let mut scene = Scene::new(rules(vec![template("default")]));
    scene.change_rules(|rules| rules.max_agents = 2);
    scene.answer(["c", "b", "a"].map(entity));
    assert_plan(
        &scene,
        "start c: the entity has no agent; template default (default template)
         start b: the entity has no agent; template default (default template)
         pending a: max_agents are there already
         unchanged 0",
    );
}

#[test]
fn an_agent_in_its_delay_keeps_its_place_under_max_agents() {
    let mut scene = Scene::new(rules(vec![template("default")]));
    scene.change_rules(|rules| rules.max_agents = 1);
    scene.answer(["alice", "bob"].map(entity));
    scene.settle();
    scene.pass(20 * SECOND);
    scene.exit("alice", Exit::Code(1));
    scene.answer(["alice", "bob"].map(entity));
    scene.settle();
    assert_eq!((scene.phase("alice"), scene.phase("bob")), ("BackingOff", "none"));
    scene.pass(SECOND);
    scene.settle();
    assert_eq!((scene.phase("alice"), scene.phase("bob")), ("Running", "none"));
}

#[test]
fn those_that_had_a_place_go_first_and_leave_the_rest_to_newcomers() {
    let mut scene = Scene::new(rules(vec![template("default")]));
    scene.change_rules(|rules| rules.max_agents = 2);
    let leased = Entity { leased: true, ..entity("alice") };
    scene.answer([leased.clone(), entity("bob")]);
    scene.settle();
    scene.pass(20 * SECOND);
    scene.exit("bob", Exit::Code(1));
    scene.answer([leased, entity("bob")]);
    scene.settle();
    scene.pass(SECOND);
    scene.answer(["alice", "bob"].map(entity));
    assert_plan(
        &scene,
        "start bob: restart 1 of 5 after a crash; template default (default template)
         start alice: the entity has no agent; template default (default template)
         unchanged 0",
    );
}

#[test]
fn no_more_are_started_than_the_rate_allows_and_the_next_one_is_due_exactly_then() {
    let mut scene = Scene::new(rules(vec![template("default")]));
    scene.change_rules(|rules| rules.spawn = Spawn { max_parallel: 100, per_second: 2 });
    scene.answer(["a", "b", "c", "d"].map(entity));
    assert_plan(
        &scene,
        "start a: the entity has no agent; template default (default template)
         start b: the entity has no agent; template default (default template)
         pending c: waits for its turn: spawn.per_second = 2
         pending d: waits for its turn: spawn.per_second = 2
         unchanged 0
         wake at 1000.500s",
    );
    scene.settle();
    scene.pass(SECOND / 2);
    assert_plan(
        &scene,
        "start c: the entity has no agent; template default (default template)
         pending d: waits for its turn: spawn.per_second = 2
         unchanged 2
         wake at 1001.000s",
    );
    // Another rate holds at once.
    scene.change_rules(|rules| rules.spawn = Spawn::UNBOUNDED);
    scene.settle();
    assert_plan(&scene, "unchanged 4");
}

#[test]
fn no_more_are_started_at_once_than_may_be_and_the_next_one_when_one_has_started() {
    let mut scene = Scene::new(rules(vec![template("default")]));
    scene.change_rules(|rules| rules.spawn = Spawn { max_parallel: 1, per_second: 100 });
    scene.answer(["a", "b"].map(entity));
    scene.apply();
    assert_plan(
        &scene,
        "pending b: waits for its turn: spawn.max_parallel = 1
         unchanged 1",
    );
    let now = scene.now;
    scene.agent("a").started(Place::Process { pid: 7 }, now);
    assert_plan(
        &scene,
        "start b: the entity has no agent; template default (default template)\nunchanged 1",
    );
}

#[test]
fn a_pod_that_its_cluster_has_is_the_clusters_to_pace() {
    let mut scene = Scene::new(rules(vec![template("default")]));
    scene.change_rules(|rules| rules.spawn = Spawn { max_parallel: 1, per_second: 100 });
    scene.answer(["a", "b"].map(entity));
    scene.apply();
    let waits = Waits { on: WaitsFor::Placement, message: String::new() };
    scene.agent("a").waits = Some(waits);
    assert_plan(
        &scene,
        "start b: the entity has no agent; template default (default template)\nunchanged 1",
    );
}

#[test]
fn restarts_and_newcomers_are_started_in_turn_those_that_are_due_longest_first() {
    let mut scene = Scene::running(&["a", "b", "c"]);
    scene.pass(20 * SECOND);
    for id in ["c", "a", "b"] {
        scene.pass(SECOND / 10);
        scene.exit(id, Exit::Code(1));
    }
    scene.answer(["a", "b", "c", "x", "y"].map(entity));
    scene.change_rules(|rules| rules.spawn.max_parallel = 0);
    scene.settle();
    scene.pass(2 * SECOND);
    scene.change_rules(|rules| rules.spawn.max_parallel = 5);
    // The last start was of a newcomer.
    let restart = "restart 1 of 5 after a crash; template default (default template)";
    let first = "the entity has no agent; template default (jit.template, as the entity came late)";
    assert_plan(
        &scene,
        &format!(
            "start c: {restart}\nstart x: {first}\nstart a: {restart}\nstart y: {first}\n\
             start b: {restart}\nunchanged 0"
        ),
    );
    scene.change_rules(|rules| rules.spawn.max_parallel = 1);
    scene.apply();
    let now = scene.now;
    scene.agent("c").started(Place::Process { pid: 7 }, now);
    assert_plan(
        &scene,
        &format!(
            "start x: {first}\n\
             pending a: waits for its turn: spawn.max_parallel = 1\n\
             pending b: waits for its turn: spawn.max_parallel = 1\n\
             pending y: waits for its turn: spawn.max_parallel = 1\nunchanged 1"
        ),
    );
}

#[test]
fn nobody_waits_for_a_turn_to_be_stopped_or_killed() {
    let mut scene = Scene::running(&["a", "b", "c"]);
    scene.change_rules(|rules| rules.spawn = Spawn { max_parallel: 1, per_second: 1 });
    scene.apply();
    scene.intent = Intent::Stop;
    assert_eq!(scene.apply().actions.len(), 3);
    scene.intent = Intent::Kill;
    assert_eq!(scene.apply().actions.len(), 3);
}

#[test]
fn an_agent_in_its_delay_counts_as_unchanged_and_says_when_it_is_due() {
    let mut scene = Scene::running(&["alice", "bob"]);
    scene.pass(20 * SECOND);
    for id in ["alice", "bob"] {
        scene.exit(id, Exit::Code(1));
    }
    scene.answer(["alice", "bob"].map(entity));
    scene.settle();
    let plan = scene.plan();
    assert_eq!(plan.unchanged, 2);
    assert_eq!(plan.wake_at, Some(scene.now + SECOND));
}

#[test]
fn what_ended_while_no_runner_was_there_is_started_again_and_spends_nothing() {
    let mut scene = Scene::running(&["alice"]);
    scene.pass(20 * SECOND);
    scene.exit("alice", Exit::Unknown);
    scene.settle();
    assert_eq!(scene.phase("alice"), "AwaitingWorld");
    scene.answer([entity("alice")]);
    let done = scene.settle();
    assert!(done.contains("the last one ended while no runner was there"), "{done}");
    assert_eq!(scene.agent("alice").attempts, 0);
}

#[test]
fn an_end_that_a_runner_saw_and_did_not_live_to_judge_spends_nothing() {
    let mut scene = Scene::running(&["alice"]);
    scene.pass(20 * SECOND);
    scene.exit("alice", Exit::Code(1));
    // The next one knows nothing of an outage, and the world is there.
    scene.observed.contact = Contact { since: scene.now, ..Contact::default() };
    scene.settle();
    assert_eq!(scene.phase("alice"), "AwaitingWorld");
    scene.answer([entity("alice")]);
    let done = scene.settle();
    assert!(done.contains("nobody knows whether the world took the last one along"), "{done}");
    assert_eq!(scene.agent("alice").attempts, 0);
}

#[test]
fn removals_come_before_conclusions_and_both_before_starts() {
    let mut scene = Scene::running(&["a", "b", "c"]);
    scene.pass(20 * SECOND);
    scene.exit("a", Exit::Code(1));
    for _ in 0..3 {
        scene.answer(["a", "b", "d"].map(entity));
    }
    assert_plan(
        &scene,
        "stop c: the entity has left the world; grace 5s
         back-off a: exit code 1; restart 1 of 5 after 1s
         start d: the entity has no agent; template default (jit.template, as the entity came late)
         unchanged 1",
    );
}

#[test]
fn an_agent_that_is_done_keeps_no_place_under_max_agents() {
    let mut scene = Scene::new(rules(vec![template("default")]));
    scene.change_rules(|rules| rules.max_agents = 1);
    scene.answer(["alice", "bob"].map(entity));
    scene.settle();
    scene.pass(20 * SECOND);
    scene.exit("alice", Exit::Code(0));
    scene.answer(["alice", "bob"].map(entity));
    scene.settle();
    assert_eq!((scene.phase("alice"), scene.phase("bob")), ("Completed", "Running"));
}

#[test]
fn a_lease_that_was_seen_missing_before_the_start_is_not_held_against_the_agent() {
    let mut scene = Scene::running(&["alice"]);
    let grace = 10 * SECOND;
    scene.change_rules(|rules| rules.lease_health = Some(LeaseHealth { grace }));
    let asked_before = scene.now;
    scene.pass(SECOND);
    scene.change_template("default", |template| template.args = vec!["--new".to_owned()]);
    scene.settle();
    // The answer to a question that is older than the process says nothing of its lease.
    for _ in 0..3 {
        scene.hear_asked_at(asked_before, [entity("alice")]);
    }
    scene.pass(9 * SECOND);
    scene.answer([entity("alice")]);
    assert_plan(&scene, "unchanged 1");
}

#[test]
fn what_one_change_is_of_is_told_exactly() {
    let spec = |argv: &str, env: &str, cwd: &str| AgentSpec {
        argv: vec![argv.to_owned()],
        env: [("A".to_owned(), env.to_owned())].into_iter().collect(),
        cwd: cwd.into(),
        confinement: Confinement::default(),
        pod: None,
    };
    let before = spec("a", "b", "c");
    let change = |after: &AgentSpec| Change::between(&before, after).map(|c| c.to_string());
    assert_eq!(change(&before), None);
    assert_eq!(change(&spec("x", "b", "c")).unwrap(), "command changed");
    assert_eq!(change(&spec("a", "x", "c")).unwrap(), "environment changed");
    assert_eq!(change(&spec("a", "b", "x")).unwrap(), "working directory changed");
    let mut confined = before.clone();
    confined.confinement.env_inherit.push("TOKEN".to_owned());
    assert_eq!(change(&confined).unwrap(), "env_inherit changed");
    let mut other = before.clone();
    other.confinement.user = Some("nobody".to_owned());
    assert_eq!(change(&other).unwrap(), "user or privileges changed");
    let mut walled = before.clone();
    walled.confinement.sandbox = Some(Sandbox::default());
    assert_eq!(change(&walled).unwrap(), "sandbox changed");
    assert_ne!(walled.digest(), before.digest());
    assert_ne!(confined.digest(), before.digest());
}

#[test]
fn an_agent_without_a_lease_is_restarted_after_its_grace_and_two_answers() {
    let mut scene = Scene::running(&["alice"]);
    let grace = 10 * SECOND;
    scene.change_rules(|rules| rules.lease_health = Some(LeaseHealth { grace }));
    scene.answer([Entity { leased: true, ..entity("alice") }]);
    scene.pass(20 * SECOND);
    scene.answer([entity("alice")]);
    assert_plan(&scene, "unchanged 1");
    scene.pass(grace);
    assert_plan(&scene, "unchanged 1");
    scene.answer([entity("alice")]);
    assert_plan(
        &scene,
        "stop alice: the entity has had no lease for 10.0 s; grace 5s\nunchanged 0",
    );
    scene.apply();
    scene.exit("alice", Exit::Code(0));
    assert_plan(
        &scene,
        "back-off alice: stopped as unhealthy; restart 1 of 5 after 1s\nunchanged 0",
    );
}

#[test]
fn the_first_lease_has_its_grace_from_the_start_of_the_process() {
    let mut scene = Scene::running(&["alice"]);
    let grace = 10 * SECOND;
    scene.change_rules(|rules| rules.lease_health = Some(LeaseHealth { grace }));
    scene.pass(9 * SECOND);
    scene.answer([entity("alice")]);
    scene.pass(SECOND);
    scene.answer([entity("alice")]);
    assert_eq!(scene.plan().actions.len(), 1);
}

#[test]
fn the_lease_check_restarts_nobody_whose_world_cannot_be_reached() {
    let mut scene = Scene::running(&["alice"]);
    let grace = 10 * SECOND;
    scene.change_rules(|rules| rules.lease_health = Some(LeaseHealth { grace }));
    for _ in 0..2 {
        scene.pass(9 * SECOND);
        scene.answer([entity("alice")]);
    }
    assert_eq!(scene.plan().actions.len(), 1);
    scene.lose_world();
    assert_plan(&scene, "unchanged 1");
    // A world that is back has forgotten all leases; agents have the whole grace to renew.
    scene.pass(SECOND);
    scene.answer([entity("alice")]);
    scene.pass(9 * SECOND);
    scene.answer([entity("alice")]);
    assert_plan(&scene, "unchanged 1");
}

#[test]
fn without_the_lease_check_a_missing_lease_is_no_concern() {
    let mut scene = Scene::running(&["alice"]);
    for _ in 0..20 {
        scene.pass(9 * SECOND);
        scene.answer([entity("alice")]);
    }
    assert_plan(&scene, "unchanged 1");
}

#[test]
fn a_process_that_could_not_be_started_spends_an_attempt_without_asking_the_world() {
    let mut scene = Scene::running(&["alice"]);
    scene.pass(SECOND);
    let now = scene.now;
    scene.agent("alice").gone(Outcome::NotStarted("no such program".to_owned()), now);
    assert_plan(
        &scene,
        "back-off alice: not started: no such program; restart 1 of 5 after 1s\nunchanged 0",
    );
}

#[test]
fn a_new_world_touches_nobody_before_it_has_answered() {
    let mut scene = Scene::running(&["alice"]);
    scene.membership = None;
    scene.change_template("default", |template| template.args = vec!["--new".to_owned()]);
    scene.exit("alice", Exit::Code(1));
    scene.lose_world();
    scene.pass(600 * SECOND);
    assert_plan(&scene, "unchanged 1");
}

#[test]
fn agents_of_a_project_that_is_not_synced_wait_and_take_nobodys_place() {
    let other = Template { name: "alice".to_owned(), ..synced("/other") };
    let mut scene = Scene::new(Rules { max_agents: 1, ..rules(vec![synced("/project"), other]) });
    scene.observed.synced = ["/other".into()].into();
    scene.answer(["bob", "alice"].map(entity));
    assert_plan(
        &scene,
        "start alice: the entity has no agent; template alice (named after the entity)
         pending bob: waits for uv sync of /project
         unchanged 0",
    );

    scene.change_rules(|rules| rules.max_agents = 2);
    scene.observed.synced.insert("/project".into());
    assert_eq!(
        scene.settle(),
        "start alice: the entity has no agent; template alice (named after the entity)\n\
         start bob: the entity has no agent; template default (default template)\n"
    );
}

#[test]
fn a_crash_while_its_project_is_synced_spends_one_attempt_and_waits() {
    let mut scene = Scene::new(rules(vec![synced("/project")]));
    scene.observed.synced = ["/project".into()].into();
    scene.answer([entity("alice")]);
    scene.settle();
    scene.pass(SECOND);
    scene.observed.synced.clear();
    scene.exit("alice", Exit::Code(1));
    scene.pass(SECOND);
    scene.answer([entity("alice")]);
    scene.settle();
    scene.pass(60 * SECOND);
    assert_plan(&scene, "pending alice: waits for uv sync of /project\n unchanged 0");

    scene.observed.synced = ["/project".into()].into();
    assert_plan(
        &scene,
        "start alice: restart 1 of 5 after a crash; template default (default template)
         unchanged 0",
    );
}

#[test]
fn an_agent_is_not_stopped_for_a_template_whose_project_is_not_synced() {
    let mut scene = Scene::running(&["alice"]);
    scene.change_rules(|rules| rules.templates = vec![synced("/project").into()]);
    assert_plan(&scene, "unchanged 1");

    scene.observed.synced = ["/project".into()].into();
    assert_plan(
        &scene,
        "stop alice: command and environment and working directory changed; grace 5s
         unchanged 0",
    );
}

mod properties;
