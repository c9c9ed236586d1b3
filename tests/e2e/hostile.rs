//! Worlds that send what no world should.

use std::fs;

use super::harness::{Runner, misbehave};
use super::scripted::{Scripted, controllable};

fn config(world: &Scripted, more: &str) -> String {
    format!(
        "[runner]\nserver = \"{}\"\n{more}\n[agents.default]\ncommand = [{:?}]\n\
         [jit]\nwatch_interval_ms = 100\n",
        world.address,
        misbehave(),
    )
}

#[test]
fn ids_are_data_and_logs_stay_in_their_directory() {
    let ids =
        ["../../escaped", "/etc/x", "a b", "-rf", "--help", "..", "ünïcödé", "a%2Fb", "{server}"];
    let world = Scripted::start(ids.map(controllable).to_vec());
    let runner = Runner::start(&config(&world, ""));
    runner.pids(0, &ids);
    let there = |dir: &std::path::Path| fs::read_dir(dir).unwrap().count();
    assert_eq!(there(runner.dir.path()), 3, "logs, state and the file");
    assert_eq!(there(&runner.dir.path().join("logs")), ids.len());
    runner.stop();
}

#[test]
fn ids_that_cannot_be_used_are_refused_and_stop_nobody_else() {
    let long = "x".repeat(257);
    let mut ids = vec!["", &long, "bell\u{7}", "nul\0", "two\nlines", "alice", "alice"];
    let world = Scripted::start(ids.drain(..).map(controllable).collect());
    let runner = Runner::start(&config(&world, ""));
    runner.pids(0, &["alice"]);
    let refused = runner.process.all_after(0, "entity.refused");
    let said = refused.iter().map(ToString::to_string).collect::<String>();
    assert_eq!(refused.len(), 6, "{said}");
    for part in ["is empty", "longer than 256 bytes", "control character", "came twice"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(runner.agents().len(), 1);
    runner.stop();
}

#[test]
fn above_max_agents_newcomers_wait_in_order_and_their_number_is_told() {
    let ids: Vec<_> = (0..10).map(|n| format!("e{n}")).collect();
    let world = Scripted::start(ids.iter().map(|id| controllable(id)).collect());
    let config = config(&world, "max_agents = 3");
    let runner = Runner::start(&config);
    runner.pids(0, &["e0", "e1", "e2"]);
    let waiting = runner.process.event_of_all(0, "limit.waiting");
    assert_eq!(waiting["count"], 7);
    assert_eq!(runner.agents().len(), 3);
    runner.save(&config.replace("max_agents = 3", "max_agents = 4"));
    runner.process.event(0, "agent.started", "e3");
    runner.stop();
}

#[test]
fn a_million_entities_stall_nobody_and_are_counted() {
    let world = Scripted::start(vec![controllable("alice")]);
    // A debug build takes its time to read so many.
    let config = config(&world, "max_agents = 5") + "[discovery]\ntimeout_ms = 60000\n";
    let runner = Runner::start(&config);
    runner.pids(0, &["alice"]);
    world.set((0..1_000_000).map(|n| controllable(&format!("e{n:07}"))).collect());
    runner.process.event_of_all(0, "entities.ignored");
    runner.pids(0, &["e0000000"]);
    let resident = resident_mib(runner.process.id());
    println!("{resident} MiB with a million entities");
    assert!(resident < 1024, "{resident} MiB");
    runner.stop();
}

fn resident_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[test]
fn an_empty_answer_removes_nobody_until_it_has_stood() {
    let world = Scripted::start(["alice", "bob"].map(controllable).to_vec());
    let config = config(&world, "") + "[discovery]\nhold_ms = 1500\n";
    let runner = Runner::start(&config);
    let pids = runner.pids(0, &["alice", "bob"]);
    world.set(Vec::new());
    let held = runner.process.event_of_all(0, "removal.held");
    assert_eq!(held["agents"], 2);
    world.set(["alice", "bob"].map(controllable).to_vec());
    let mark = runner.process.mark();
    runner.process.event_of_all(mark, "removal.released");
    assert_eq!(runner.agent_pids(), pids.into_iter().collect());

    world.set(Vec::new());
    runner.process.event(mark, "agent.stopping", "alice");
    runner.process.event(mark, "agent.stopping", "bob");
    runner.stop();
}

#[test]
fn another_spawn_tick_is_another_incarnation() {
    let world = Scripted::start(vec![controllable("alice")]);
    let runner = Runner::start(&config(&world, ""));
    runner.pids(0, &["alice"]);
    let mark = runner.process.mark();
    let mut again = controllable("alice");
    again.spawn_tick = 7;
    world.set(vec![again]);
    let stop = runner.process.event(mark, "agent.stopping", "alice");
    assert_eq!(stop["reason"], "the entity is a new incarnation (spawn tick 0, now 7)");
    runner.process.event(mark, "agent.started", "alice");
    runner.stop();
}

#[test]
fn an_agent_that_never_gets_its_lease_is_restarted() {
    let world = Scripted::start(vec![controllable("alice")]);
    let config = config(&world, "") + "[health]\nlease = true\nlease_grace_ms = 400\n";
    let runner = Runner::start(&config);
    let stop = runner.process.event(0, "agent.stopping", "alice");
    assert!(stop["reason"].as_str().unwrap().contains("no lease for"), "{stop}");
    let backoff = runner.process.event(0, "agent.backoff", "alice");
    assert_eq!(backoff["reason"], "stopped as unhealthy");
    runner.stop();
}
