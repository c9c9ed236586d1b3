//! A world that is not there, dies, and comes back.

use std::env;
use std::time::{Duration, Instant};

use super::harness::{Runner, World, entities, misbehave};

fn twenty() -> Vec<String> {
    (0..20).map(|n| format!("agent-{n}")).collect()
}

fn forager_config(server: &str) -> String {
    format!(
        "[runner]\nserver = {server:?}\nmax_restart_attempts = 1\n\
         [agents.default]\n\
         command = [\"{{runner}}\", \"agent\", \"--server\", \"{{server}}\", \"--entity\", \"{{entity_id}}\"]\n"
    )
}

/// How long the world stays away: `RUNNER_TEST_OUTAGE_S`, 60 s in the gate.
fn outage() -> Duration {
    let seconds = env::var("RUNNER_TEST_OUTAGE_S").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(5))
}

#[test]
fn all_agents_that_a_world_took_along_run_again_when_it_is_back_and_no_attempt_is_spent() {
    let ids = twenty();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let mut world = World::start(&entities(&ids));
    let runner = Runner::start(&forager_config(&world.address));
    runner.pids(0, &ids);

    let mark = runner.process.mark();
    world.kill();
    for id in &ids {
        runner.process.event(mark, "agent.exited", id);
        runner.process.event(mark, "agent.waiting_for_world", id);
    }
    // Nothing can be awaited here: the time itself is the case.
    std::thread::sleep(outage());

    let mark = runner.process.mark();
    world.begin();
    let back = Instant::now();
    runner.pids(mark, &ids);
    println!("all 20 run {:?} after the return of the world", back.elapsed());
    for event in ["agent.backoff", "agent.failed", "agent.completed"] {
        assert_eq!(runner.process.all_after(0, event).len(), 0, "{event}");
    }
    runner.stop();
}

#[test]
fn a_world_that_is_gone_and_back_between_two_questions_costs_nobody_its_agent() {
    let mut world = World::start(&entities(["alice", "bob"]));
    let config = forager_config(&world.address) + "[jit]\nwatch_interval_ms = 600000\n";
    let runner = Runner::start(&config);
    runner.pids(0, &["alice", "bob"]);
    // An agent that had not connected yet would join the new world as if nothing had happened.
    for id in ["alice", "bob"] {
        while !runner.log(id).contains("tick") {
            std::thread::yield_now();
        }
    }
    let mark = runner.process.mark();
    world.kill();
    world.begin();
    runner.pids(mark, &["alice", "bob"]);
    assert_eq!(runner.process.all_after(0, "agent.completed").len(), 0);
    runner.stop();
}

#[test]
fn at_start_the_runner_waits_for_the_world_and_says_so() {
    let mut world = World::absent(&entities(["alice"]));
    let config =
        forager_config(&world.address).replace("[runner]", "[runner]\nconnection_timeout_ms = 300");
    let runner = Runner::start(&config);
    let waiting = runner.process.event_of_all(0, "world.waiting");
    assert_eq!(waiting["level"], "WARN");
    world.begin();
    runner.pids(0, &["alice"]);
    runner.stop();
}

#[test]
fn without_any_answer_an_agent_is_tried_again_after_the_longest_delay() {
    let mut world = World::start(&entities(["alice"]));
    let config = format!(
        "[runner]\nserver = {:?}\ninitial_backoff_ms = 10\nmax_backoff_ms = 300\n\
         [agents.default]\ncommand = [{:?}]\nargs = [\"--exit-after-ms\", \"200\", \"--code\", \"1\"]\n",
        world.address,
        misbehave()
    );
    let runner = Runner::start(&config);
    runner.pids(0, &["alice"]);
    world.kill();
    let mark = runner.process.mark();
    let tried = runner.process.wait(mark, "another try", |line| {
        line["reason"].as_str().is_some_and(|reason| reason.contains("stays silent"))
    });
    assert_eq!(tried["entity"], "alice");
    runner.stop();
}

#[test]
fn a_server_that_changes_in_the_file_touches_nobody_until_the_new_world_has_answered() {
    let one = World::start(&entities(["alice"]));
    let mut two = World::absent(&entities(["alice", "bob"]));
    let runner = Runner::start(&forager_config(&one.address));
    let pids = runner.pids(0, &["alice"]);
    let mark = runner.process.mark();
    runner.save(&forager_config(&two.address));
    runner.process.event_of_all(mark, "config.applied");
    runner.process.signal(rustix::process::Signal::HUP);
    runner.process.event_of_all(mark, "config.unchanged");
    assert_eq!(runner.agent_pids(), pids.into_iter().collect());

    two.begin();
    let stop = runner.process.event(mark, "agent.stopping", "alice");
    assert_eq!(stop["reason"], "command and environment changed");
    runner.pids(mark, &["alice", "bob"]);
    runner.stop();
}
