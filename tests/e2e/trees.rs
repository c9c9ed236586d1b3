//! Agents whose processes run away from them, under the real binary.

use std::fs;

use super::harness::{Process, Runner, misbehave};
use super::scripted::{Scripted, controllable};
use rustix::process::{Pid, Signal, kill_process};

/// An agent that leaves a process behind that carries no marker, in no group of its own.
fn config(world: &Scripted, containment: &str) -> String {
    let script =
        format!("(env -i setsid {} --touch left --ignore-term &); exec sleep 100", misbehave());
    format!(
        "[runner]\nserver = \"{}\"\nshutdown_grace_ms = 100\ncontainment = \"{containment}\"\n\
         [agents.default]\ncommand = [\"sh\", \"-c\", {script:?}]\n[jit]\nwatch_interval_ms = 200\n",
        world.address
    )
}

/// Whether this runner holds its agents by cgroups; says so if not.
#[expect(clippy::print_stderr, reason = "what is not tested is to be seen")]
fn has_cgroups(process: &Process) -> bool {
    let told = process.wait(0, "what holds the agents", |line| {
        line["event"].as_str().is_some_and(|event| event.starts_with("containment."))
    });
    let has = told["event"] == "containment.cgroup";
    if !has {
        eprintln!("not tested, as {}", told["reason"]);
    }
    has
}

/// The process that was left behind, once it is there.
fn left(runner: &Runner) -> Pid {
    let file = runner.dir.path().join("left");
    let until = std::time::Instant::now() + super::harness::PATIENCE;
    loop {
        let text = fs::read_to_string(&file).unwrap_or_default();
        if let Some((pid, _)) = text.strip_suffix('\n').and_then(|line| line.split_once(' ')) {
            return Pid::from_raw(pid.parse().unwrap()).unwrap();
        }
        assert!(std::time::Instant::now() < until, "nobody was left behind");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Whether it lives. A zombie does not, and here there may be nobody who reaps it.
fn lives(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn what_outlived_its_agent_and_its_runner_and_the_journal_is_ended_before_anything_starts() {
    let world = Scripted::start(vec![controllable("alice")]);
    let mut runner = Runner::start(&config(&world, "auto"));
    if !has_cgroups(&runner.process) {
        return;
    }
    let agent = runner.pids(0, &["alice"])[0];
    let left = left(&runner);
    runner.kill();
    let agent = Pid::from_raw(agent.try_into().unwrap()).unwrap();
    kill_process(agent, Signal::KILL).unwrap();
    fs::remove_file(runner.dir.path().join("state/journal")).unwrap();

    runner.start_again();
    assert!(has_cgroups(&runner.process));
    let stray = runner.process.event_of_all(0, "tree.stray");
    assert_eq!(stray["processes"], 1);
    runner.pids(0, &["alice"]);
    assert!(!lives(left));
    let home = std::path::PathBuf::from(stray["cgroup"].as_str().unwrap());
    runner.stop();
    assert!(!home.parent().unwrap().exists());
}

#[test]
fn a_graceful_end_leaves_nobody_that_ran_away() {
    let world = Scripted::start(vec![controllable("alice")]);
    let mut runner = Runner::start(&config(&world, "auto"));
    if !has_cgroups(&runner.process) {
        return;
    }
    runner.pids(0, &["alice"]);
    let left = left(&runner);
    runner.process.signal(Signal::TERM);
    assert_eq!(runner.process.ended(), Some(0));
    assert!(!lives(left));
}
