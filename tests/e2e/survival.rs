//! The runner dies, at any moment and however often; its agents do not, and are not doubled.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use std::collections::BTreeSet;

use super::control::data;
use super::harness::{PATIENCE, Process, Runner, eventually, misbehave};
use super::scripted::{Scripted, controllable};

fn config(world: &Scripted, agent: &str) -> String {
    format!(
        "[runner]\nserver = \"{}\"\ninitial_backoff_ms = 20\nmax_backoff_ms = 40\n\
         max_restart_attempts = 1000000\n[agents.default]\ncommand = [{:?}, {agent}]\n\
         [jit]\nwatch_interval_ms = 200\n",
        world.address,
        misbehave(),
    )
}

#[test]
fn a_runner_that_was_killed_takes_up_its_agents_again() {
    let world = Scripted::start(["alice", "bob"].map(controllable).to_vec());
    let mut runner = Runner::start(&config(&world, "\"--on-term-exit\", \"3\""));
    let before = runner.pids(0, &["alice", "bob"]);
    runner.kill();
    assert_eq!(runner.agent_pids(), before.iter().copied().collect());

    runner.start_again();
    assert_eq!(runner.process.event_of_all(0, "runner.resumed")["adopted"], 2);
    // A crash is noticed, and told exactly, by a runner that is not its parent.
    let alice = i32::try_from(before[0]).unwrap();
    let alice = rustix::process::Pid::from_raw(alice).unwrap();
    rustix::process::kill_process(alice, rustix::process::Signal::TERM).unwrap();
    assert_eq!(runner.process.event(0, "agent.exited", "alice")["exit"], "exit code 3");
    runner.process.event(0, "agent.started", "alice");
    assert!(runner.agent_pids().contains(&before[1]));
    runner.stop();
}

#[test]
fn what_an_agent_left_behind_while_no_runner_was_there_is_no_agent() {
    let world = Scripted::start(vec![controllable("alice")]);
    let mut runner = Runner::start(&config(&world, "\"--setsid-child\""));
    let leader = runner.pids(0, &["alice"])[0];
    // Who leaves the session leads a group of its own, with the markers of the agent.
    eventually("a child in a session of its own", || runner.agent_pids().len() == 2);
    let before = runner.agent_pids();
    runner.kill();
    let pid = rustix::process::Pid::from_raw(i32::try_from(leader).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    eventually("the leader's end", || !runner.agent_pids().contains(&leader));

    runner.start_again();
    runner.process.event(0, "agent.started", "alice");
    eventually("an agent and its child", || runner.agent_pids().len() == 2);
    assert!(runner.agent_pids().is_disjoint(&before), "{before:?} {:?}", runner.agent_pids());
    runner.stop();
}

#[test]
fn a_runner_that_comes_back_before_its_world_is_whole_again_removes_nobody() {
    let all = ["alice", "bob", "carol"].map(controllable).to_vec();
    let world = Scripted::start(all.clone());
    let mut runner = Runner::start(&config(&world, "\"--on-term-exit\", \"3\""));
    let before: BTreeSet<u64> = runner.pids(0, &["alice", "bob", "carol"]).into_iter().collect();
    runner.kill();

    // The world is being built: it has nobody yet, or only some.
    for some in [vec![], vec![controllable("dora"), controllable("bob")]] {
        world.set(some);
        runner.start_again();
        runner.process.event_of_all(0, "world.connected");
        data(&runner, &["wait", "--for=condition=Ready", "bob"]);
        assert_eq!(runner.agent_pids().intersection(&before).count(), 3);
        assert_eq!(runner.process.all_after(0, "agent.stopping").len(), 0);
        runner.kill();
    }
    world.set(all);
    runner.start_again();
    // It goes on as it should: who leaves is removed.
    runner.process.event_of_all(0, "world.connected");
    world.set(["bob", "carol"].map(controllable).to_vec());
    assert_eq!(runner.process.event(0, "agent.stopping", "alice")["cause"], "entity_gone");
    runner.stop();
}

#[test]
fn counts_and_delays_and_templates_outlive_the_runner() {
    let world = Scripted::start(vec![controllable("alice")]);
    let late = format!("[agents.late]\ncommand = [{:?}]\n", misbehave());
    let config = config(&world, "\"--exit-after-ms\", \"1\", \"--code\", \"5\"")
        .replace("max_restart_attempts = 1000000", "max_restart_attempts = 2")
        .replace("[jit]", &format!("{late}[jit]\ntemplate = \"late\""));
    let mut runner = Runner::start(&config);
    runner.process.event(0, "agent.failed", "alice");
    world.set(["alice", "bob"].map(controllable).to_vec());
    assert_eq!(runner.process.event(0, "agent.started", "bob")["template"], "late");
    let bob = runner.agent_pids();
    runner.kill();

    runner.start_again();
    runner.process.event_of_all(0, "world.connected");
    world.set(["alice", "bob", "carol"].map(controllable).to_vec());
    assert_eq!(runner.process.event(0, "agent.started", "carol")["template"], "late");
    // Alice stays failed, and bob, who came late, keeps the template of latecomers.
    assert_eq!(runner.process.all_after(0, "agent.stopping").len(), 0);
    assert_eq!(runner.process.all_after(0, "agent.starting").len(), 1);
    assert!(bob.is_subset(&runner.agent_pids()));
    runner.stop();
}

#[test]
fn without_its_journal_it_finds_its_agents_all_the_same() {
    let world = Scripted::start(["alice", "bob"].map(controllable).to_vec());
    let mut runner = Runner::start(&config(&world, ""));
    let before = runner.pids(0, &["alice", "bob"]);
    runner.kill();
    fs::remove_file(runner.dir.path().join("state/journal")).unwrap();
    runner.start_again();
    assert_eq!(runner.process.event_of_all(0, "runner.resumed")["adopted"], 2);
    world.set(["alice", "bob", "carol"].map(controllable).to_vec());
    runner.process.event(0, "agent.started", "carol");
    assert_eq!(runner.process.all_after(0, "agent.stopping").len(), 0);
    assert!(before.iter().all(|pid| runner.agent_pids().contains(pid)));
    runner.stop();
}

#[test]
fn a_second_runner_for_the_same_state_is_refused_and_changes_nothing() {
    let world = Scripted::start(vec![controllable("alice")]);
    let runner = Runner::start(&config(&world, ""));
    runner.pids(0, &["alice"]);
    let args = ["reconcile", "--config", "runner.toml", "--state-dir", "state"];
    let mut second = Process::start(&args, runner.dir.path());
    assert_eq!(second.ended(), Some(3));
    let holder = format!("process {}", runner.process.id());
    second.wait(0, "the holder's name", |line| line.to_string().contains(&holder));
    assert_eq!(runner.agents().len(), 1);
    runner.stop();
}

#[test]
fn on_exit_leave_leaves_the_agents_to_the_next_runner() {
    let world = Scripted::start(vec![controllable("alice")]);
    let config = config(&world, "").replace("[runner]", "[runner]\non_exit = \"leave\"");
    let mut runner = Runner::start(&config);
    let before = runner.pids(0, &["alice"]);
    runner.process.signal(rustix::process::Signal::TERM);
    assert_eq!(runner.process.ended(), Some(0));
    assert_eq!(runner.agent_pids(), before.iter().copied().collect());
    runner.save(&config.replace("leave", "stop"));
    runner.start_again();
    assert_eq!(runner.process.event_of_all(0, "runner.resumed")["adopted"], 1);
    runner.stop();
}

/// Kills of the runner: `RUNNER_TEST_KILLS`, 150 in the gate.
fn kills() -> usize {
    let asked = std::env::var("RUNNER_TEST_KILLS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(15)
}

#[test]
fn killed_at_random_moments_it_never_doubles_an_agent() {
    let ids: Vec<_> = (0..40).map(|n| format!("e{n}")).collect();
    let world = Scripted::start(ids.iter().map(|id| controllable(id)).collect());
    let locks = tempfile::tempdir().unwrap();
    let lock = locks.path().join("{entity_id}");
    // Each holds a lock of its own for life, and notes it if it cannot: nobody else can tell as
    // surely that two of them lived at the same time. And each crashes again and again.
    let agent = format!(
        "\"--lock\", {:?}, \"--exit-after-ms\", \"150\", \"--code\", \"1\"",
        lock.to_str().unwrap()
    );
    let crashing = config(&world, &agent);
    let mut runner = Runner::start(&crashing);
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    for _ in 0..kills() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // The moment is the case: no event marks it.
        std::thread::sleep(Duration::from_micros(random % 300_000));
        runner.kill();
        runner.start_again();
    }
    // One that begins while the file is half written would rightly refuse it.
    runner.process.event_of_all(0, "runner.started");
    runner.save(&crashing.replace("\"150\"", "\"100000\""));
    let until = Instant::now() + PATIENCE;
    let steady = |runner: &Runner| {
        let agents = runner.agents();
        let last = agents.iter().filter(|a| !a.gate && a.argv.iter().any(|arg| arg == "100000"));
        last.count() == ids.len() && agents.len() == ids.len()
    };
    while !steady(&runner) {
        assert!(Instant::now() < until, "{:?}", runner.agents());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(violations(locks.path()), Vec::<String>::new());
    runner.stop();
}

fn violations(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|n| n.into_string().unwrap()).filter(|n| n.ends_with(".violations")).collect()
}
