//! Agents whose processes run away from them, under the real binary.

#![expect(clippy::print_stderr, reason = "what is not tested is to be seen")]

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::harness::{PATIENCE, Process, Runner, misbehave};
use super::scripted::{Scripted, controllable};
use rustix::fs::{FlockOperation, flock};
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
    let until = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(&file).unwrap_or_default();
        if let Some((pid, _)) = text.strip_suffix('\n').and_then(|line| line.split_once(' ')) {
            return Pid::from_raw(pid.parse().unwrap()).unwrap();
        }
        assert!(Instant::now() < until, "nobody was left behind");
        thread::sleep(Duration::from_millis(5));
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

/// Whether somebody lives who holds the lock.
fn is_held(runner: &Runner) -> bool {
    let file = fs::File::open(runner.dir.path().join("held")).unwrap();
    flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
}

#[test]
fn agents_in_pid_namespaces_outlive_their_runner_and_nobody_outlives_them() {
    let world = Scripted::start(vec![controllable("alice")]);
    let config =
        config(&world, "pid-namespace").replace("--touch left", "--lock held --touch left");
    let mut runner = Runner::start(&config);
    if let Some(refusal) = runner.refuses_pid_namespaces() {
        eprintln!("NOT TESTED: {refusal}");
        return;
    }
    let agent = runner.pids(0, &["alice"]);
    wait_for_file(&runner, "left");
    let found = runner.agents();
    assert_eq!(u64::from(found[0].identity.pid), agent[0]);
    assert!(!found[0].gate);

    runner.kill();
    runner.start_again();
    assert_eq!(runner.process.event_of_all(0, "runner.resumed")["adopted"], 1);
    assert!(is_held(&runner));
    runner.process.signal(Signal::TERM);
    assert_eq!(runner.process.ended(), Some(0));
    assert!(!is_held(&runner));
}

/// An agent that starts orphans which end in all the ways that leave a group or a session, and
/// says when none of them is even a zombie any more.
fn orphans(world: &Scripted) -> String {
    let script = "
        (setsid sh -c 'echo $$ > one') & (setsid sh -c 'sleep 0.1; echo $$ > two' &)
        (sh -c 'sleep 0.1; echo $$ > three' &) & sh -mc 'sh -c \"echo \\$\\$ > four\" &'
        for name in one two three four; do
            until test -s $name; do sleep 0.01; done
            while kill -0 $(cat $name) 2>/dev/null; do sleep 0.01; done
        done
        echo reaped > all; exec sleep 100";
    let address = &world.address;
    format!(
        "[runner]\nserver = \"{address}\"\n\
         [agents.default]\ncommand = [\"sh\", \"-c\", {script:?}]\n"
    )
}

fn wait_for_file(runner: &Runner, name: &str) {
    let until = Instant::now() + PATIENCE;
    while !runner.dir.path().join(name).exists() {
        assert!(Instant::now() < until, "no {name}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_agents_leave_behind_is_reaped_and_no_exit_is_taken() {
    let world = Scripted::start(vec![controllable("alice")]);
    let runner = Runner::start(&orphans(&world));
    wait_for_file(&runner, "all");
    let mark = runner.process.mark();
    let agent = runner.pids(0, &["alice"])[0];
    kill_process(Pid::from_raw(agent.try_into().unwrap()).unwrap(), Signal::ABORT).unwrap();
    assert_eq!(runner.process.event(mark, "agent.exited", "alice")["exit"], "signal 6");
    runner.stop();
}

#[test]
fn as_process_1_it_reaps_strangers() {
    let unshare = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    if !Command::new("unshare").args(unshare).arg("true").status().is_ok_and(|s| s.success()) {
        eprintln!("not tested, as no PID namespace can be made here");
        return;
    }
    let world = Scripted::start(vec![controllable("alice")]);
    let dir = tempfile::tempdir().unwrap();
    // It is not given the time to remove any directory.
    let config = orphans(&world).replace("[runner]", "[runner]\ncontainment = \"process-group\"");
    fs::write(dir.path().join("runner.toml"), config).unwrap();
    let mut first = Command::new("unshare")
        .args(unshare)
        .args([env!("CARGO_BIN_EXE_runner"), "reconcile", "--config", "runner.toml"])
        .args(["--state-dir", "state"])
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + PATIENCE;
    while !dir.path().join("all").exists() {
        assert!(Instant::now() < until, "strangers are not reaped");
        thread::sleep(Duration::from_millis(5));
    }
    // The namespace ends with its process 1.
    first.kill().unwrap();
    first.wait().unwrap();
}
