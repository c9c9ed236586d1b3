//! `runner why`, for each thing that can be behind what is: the right cause, in its order.

use std::time::{Duration, Instant};

use super::control::{data, json};
use super::harness::{Runner, World, entities, misbehave};
use super::scripted::{Scripted, controllable};

fn config(world: &Scripted, more: &str) -> String {
    format!(
        "[runner]\nserver = \"{}\"\ninitial_backoff_ms = 1\n[agents.default]\ncommand = [{:?}]\n\
         [jit]\nwatch_interval_ms = 100\n{more}",
        world.address,
        misbehave(),
    )
}

/// Waits until the steps that it tells are among those that `why` tells, in this order.
fn why(runner: &Runner, name: &str, steps: &[&str]) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let told = data(runner, &["why", name]);
        let mut rest = Some(told.as_str());
        let missing = steps.iter().find(|step| {
            rest = rest.and_then(|rest| rest.split_once(**step)).map(|(_, after)| after);
            rest.is_none()
        });
        let Some(missing) = missing else { return };
        assert!(Instant::now() < until, "{missing:?} is not in its place in\n{told}");
        // What it tells is looked at, not told of.
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn another_template() {
    let world = Scripted::start(vec![controllable("alice")]);
    let runner = Runner::start(&config(&world, ""));
    runner.pids(0, &["alice"]);
    runner.save(&config(&world, "").replace("[jit]", "env = { LEVEL = \"debug\" }\n[jit]"));
    let steps = [
        "starting: the entity has no agent",
        "stopping: environment changed",
        "stopped (signal 15): environment changed",
        "starting: environment changed",
        "started as process",
        "its agent is Running",
    ];
    why(&runner, "alice", &steps);
    runner.stop();
}

#[test]
fn too_many_crashes() {
    let world = Scripted::start(vec![controllable("alice")]);
    let crash =
        format!("command = [{:?}, \"--exit-after-ms\", \"1\", \"--code\", \"7\"]", misbehave());
    let config = config(&world, "").replace(&format!("command = [{:?}]", misbehave()), &crash);
    let runner = Runner::start(&config);
    runner.process.event(0, "agent.failed", "alice");
    let steps = [
        "ended by itself: exit code 7",
        "to be restarted in 16 ms, attempt 5 of 5: exit code 7",
        "starting: restart 5 of 5 after a crash",
        "ended by itself: exit code 7",
        "failed; a changed template starts it again: it crashed again after restart 5 of 5",
        "its agent is Failed: exit code 7",
    ];
    why(&runner, "alice", &steps);
    runner.stop();
}

#[test]
fn a_lease_that_somebody_else_has() {
    let mut alice = controllable("alice");
    alice.has_active_lease = true;
    let world = Scripted::start(vec![alice]);
    let runner = Runner::start(&config(&world, ""));
    runner.process.event(0, "agent.pending", "alice");
    let steps = ["entity seen (first)", "it has no agent: somebody else holds the entity's lease"];
    why(&runner, "alice", &steps);
    runner.stop();
}

#[test]
fn a_lease_that_is_lost_with_what_the_agent_was_doing() {
    let world = Scripted::start(vec![controllable("alice")]);
    // What faulthandler does for Python. The other one does not listen, and is not to be ended by
    // the question.
    let script = "trap 'echo in step of agents/random_agent.py' USR1\n\
                  sleep 1000 & while :; do sleep 0.05; done";
    let config = config(&world, "[health]\nlease = true\nlease_grace_ms = 400\n")
        .replace("[runner]", "[runner]\nmax_backoff_ms = 60000\nfaulthandler = true")
        .replace("initial_backoff_ms = 1", "initial_backoff_ms = 60000")
        .replace(&format!("{:?}]\n", misbehave()), &format!("\"sh\", \"-c\", {script:?}]\n"));
    let runner = Runner::start(&config);
    let hung = runner.process.event(0, "agent.hung", "alice");
    assert_eq!(hung["asked"], 1);
    assert!(hung["last_lines"].as_str().unwrap().ends_with("in step of agents/random_agent.py"));
    let doing = hung["reason"].as_str().unwrap();
    assert!(doing.starts_with("sh (") && doing.contains("; sleep ("), "{doing}");
    let steps = [
        "stopping: the entity has had no lease for",
        "stopped (signal 15): the entity has had no lease for",
        "to be restarted in 60000 ms, attempt 1 of 5: stopped as unhealthy",
        "its agent is BackingOff: stopped as unhealthy; restart 1 of 5 at ",
    ];
    why(&runner, "alice", &steps);
    why(&runner, "alice", &["this is what it was doing: sh ("]);
    let kept = json(&runner, &["events", "alice"]);
    let kept = kept["items"].as_array().unwrap();
    let hung = kept.iter().find(|event| event["kind"] == "agent.hung").unwrap();
    assert!(hung["fields"]["last_lines"].as_str().unwrap().contains("random_agent.py"), "{hung}");
    runner.stop();
}

#[test]
fn a_world_that_is_away() {
    let mut world = World::start(&entities(["alice"]));
    let forager =
        "\"{runner}\", \"agent\", \"--server\", \"{server}\", \"--entity\", \"{entity_id}\"";
    let runner = Runner::start(&format!(
        "[runner]\nserver = {:?}\n[agents.default]\ncommand = [{forager}]\n",
        world.address
    ));
    runner.pids(0, &["alice"]);
    world.kill();
    let steps = [
        "ended by itself",
        "waits for the world: contact with the world broke",
        "does not answer since ",
        "nobody is stopped for that, and no attempt spent",
        "its agent is AwaitingWorld",
    ];
    why(&runner, "alice", &steps);
    world.begin();
    let steps = ["starting: the world is back", "started as process", "its agent is Running"];
    why(&runner, "alice", &steps);
    runner.stop();
}

#[test]
fn a_removal_that_is_held() {
    let world = Scripted::start(["alice", "bob", "carol"].map(controllable).to_vec());
    let runner = Runner::start(&config(&world, ""));
    runner.pids(0, &["alice", "bob", "carol"]);
    world.set(Vec::new());
    let steps = [
        "and its latest answer lacks it",
        "the world's answers would remove 3 agents at once; they have to stand for another",
        "its agent is Running",
    ];
    why(&runner, "bob", &steps);
    runner.stop();
}
