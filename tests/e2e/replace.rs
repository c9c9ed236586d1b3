//! A runner that is told to replaces itself by the program on the disk; its agents do not notice.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use runner::proto::ControllableEntity;
use rustix::process::Signal;

use crate::harness::{PATIENCE, Process, Runner, entities, ids, misbehave};
use crate::scripted::{Scripted, controllable};

const ARGS: [&str; 5] = ["reconcile", "--config", "runner.toml", "--state-dir", "state"];

fn config(world: &Scripted, agent: &str, crashing: &str) -> String {
    format!(
        "[runner]\nserver = \"{}\"\ninitial_backoff_ms = 1\nmax_backoff_ms = 20\n\
         max_restart_attempts = 1000000\n[agents.default]\ncommand = [{program:?}, {agent}]\n\
         [agents.crashing]\nmatch = {{ types = [\"crashing\"] }}\ncommand = [{program:?}, {crashing}]\n",
        world.address,
        program = misbehave(),
    )
}

/// Tells it, and waits until the successor has begun.
fn replace(process: &Process) {
    let mark = process.mark();
    process.signal(Signal::USR2);
    let begun = process.event_of_all(mark, "runner.started");
    assert_eq!(begun["pid"], process.id());
}

/// The children of a process that have ended and were not waited for.
fn zombies(parent: u32) -> Vec<String> {
    let stats = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let stat = fs::read_to_string(entry.unwrap().path().join("stat")).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        rest.starts_with(&format!(" Z {parent} ")).then_some(stat)
    });
    stats.collect()
}

fn eventually(what: &str, happened: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn replaced_again_and_again_while_agents_crash_it_restarts_nobody_and_misses_no_exit() {
    // Too few for a crash storm, so that there is a line for each exit.
    let (steady, crashing) = (ids("steady-", 10), ids("crash-", 9));
    let typed = |id: &String| {
        let entity_type = "crashing".to_owned();
        ControllableEntity { entity_type, ..controllable(id) }
    };
    let of_steady = || steady.iter().map(|id| controllable(id));
    let world = Scripted::start(of_steady().chain(crashing.iter().map(typed)).collect());
    let notes = tempfile::tempdir().unwrap();
    let lives = notes.path().join("lives");
    let crash = format!(
        "\"--lock\", \"{}/{{entity_id}}\", \"--touch\", {lives:?}, \"--exit-after-ms\", \"60\", \
         \"--code\", \"7\"",
        notes.path().display()
    );
    let mut runner = Runner::start(&config(&world, "", &crash));
    let names: Vec<&str> = steady.iter().map(String::as_str).collect();
    let before: BTreeSet<u64> = runner.pids(0, &names).into_iter().collect();
    for round in 0..20 {
        let mark = runner.process.mark();
        replace(&runner.process);
        runner.process.event_of_all(mark, "agent.exited");
        // At another moment of their lives each time.
        thread::sleep(Duration::from_millis(round * 7 % 60));
    }
    world.set(of_steady().collect());
    eventually("the end of those that crash", || {
        before == runner.agent_pids() && zombies(runner.process.id()).is_empty()
    });
    let starts = runner.process.all_after(0, "agent.starting");
    let restarts = starts
        .iter()
        .filter(|start| start["entity"].as_str().is_some_and(|id| id.starts_with("steady")));
    assert_eq!(restarts.count(), steady.len());

    // Each life had one end, and that was told as it was. Those that were told to end at the end
    // may have been quicker than that.
    runner.process.signal(Signal::TERM);
    assert_eq!(runner.process.ended(), Some(0));
    let told = runner.process.all_after(0, "agent.exited");
    let stopped = runner.process.all_after(0, "agent.gone");
    let stopped =
        stopped.iter().filter(|line| line["entity"].as_str().unwrap().starts_with("crash"));
    let lives = fs::read_to_string(lives).unwrap().lines().count();
    assert!(told.iter().all(|exit| exit["exit"] == "exit code 7"), "{told:#?}");
    let ends = told.len() + stopped.count();
    assert!((lives..=lives + crashing.len()).contains(&ends), "{lives} lives, {ends} ends");
    let violations = fs::read_dir(notes.path()).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(violations.filter(|path| path.extension().is_some()).count(), 0);
}

#[test]
fn a_successor_holds_what_its_predecessor_held_and_no_more() {
    let world = Scripted::start(vec![controllable("alice")]);
    let runner = Runner::start(&config(&world, "", ""));
    let alice = runner.pids(0, &["alice"])[0];
    let open = || fs::read_dir(format!("/proc/{}/fd", runner.process.id())).unwrap().count();
    let replace_and_settle = |ids: &[&str]| {
        let mark = runner.process.mark();
        replace(&runner.process);
        runner.process.event_of_all(mark, "world.connected");
        world.set(ids.iter().map(|id| controllable(id)).collect());
    };
    replace_and_settle(&["alice"]);
    let held = open();
    for _ in 0..5 {
        replace_and_settle(&["alice"]);
    }
    eventually("as many open files as before", || open() == held);
    assert_eq!(runner.agent_pids(), [alice].into());

    // The lock is one of them, and no agent has it, nor the signals blocked.
    assert_eq!(Process::start(&ARGS, runner.dir.path()).ended(), Some(3));
    let mark = runner.process.mark();
    replace_and_settle(&["alice", "bob"]);
    let bob = runner.pids(mark, &["bob"])[0];
    let status = fs::read_to_string(format!("/proc/{bob}/status")).unwrap();
    assert!(status.contains("SigBlk:\t0000000000000000"), "{status}");
    for file in fs::read_dir(format!("/proc/{bob}/fd")).unwrap() {
        let file = fs::read_link(file.unwrap().path()).unwrap_or_default();
        assert!(!file.ends_with("state/lock"), "an agent holds {}", file.display());
    }
    // Signals that come at any moment are heeded by whoever is there by then.
    runner.process.signal(Signal::USR2);
    runner.stop();
}

#[test]
fn a_program_that_cannot_take_over_leaves_the_old_one_running() {
    let world = Scripted::start(vec![controllable("alice")]);
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("copy of runner");
    fs::copy(env!("CARGO_BIN_EXE_runner"), &program).unwrap();
    let file = config(&world, "", "");
    fs::write(dir.path().join("runner.toml"), &file).unwrap();
    let process = Process::start_program(&program, &ARGS, dir.path());
    process.event(0, "agent.started", "alice");

    let refused = |why: &str| {
        let mark = process.mark();
        process.signal(Signal::USR2);
        let kept = process.event_of_all(mark, "runner.kept");
        assert!(kept["reason"].as_str().unwrap().contains(why), "{kept}");
    };
    put_over(&program, b"#!/bin/sh\necho not today >&2\nexit 9\n");
    refused("not today");
    put_over(&program, b"no program at all");
    refused("cannot be run");
    fs::remove_file(&program).unwrap();
    refused("cannot be run");
    assert_eq!(process.all_after(0, "runner.started").len(), 1);

    // Another copy, in the place of the one that runs.
    put_over(&program, &fs::read(env!("CARGO_BIN_EXE_runner")).unwrap());
    fs::write(dir.path().join("runner.toml"), "[runner]\nserver = 5\n").unwrap();
    refused("server");
    fs::write(dir.path().join("runner.toml"), &file).unwrap();
    replace(&process);
    let resumed = process.event_of_all(0, "runner.resumed");
    assert_eq!(resumed["adopted"], 1);
    let running = fs::read_link(format!("/proc/{}/exe", process.id())).unwrap();
    assert_eq!(running, program.canonicalize().unwrap());
    assert_eq!(process.all_after(0, "agent.starting").len(), 1);
}

/// As a package manager does: a file of its own takes the name of the old one.
fn put_over(program: &Path, content: &[u8]) {
    let next = program.with_extension("next");
    fs::write(&next, content).unwrap();
    fs::set_permissions(&next, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(next, program).unwrap();
}

#[test]
fn an_embedded_world_begins_anew_at_the_same_address() {
    let config = format!(
        "[runner]\nserver = \"embedded\"\n[agents.default]\ncommand = [{:?}]\n{}",
        misbehave(),
        entities(["alice"])
    );
    let runner = Runner::start(&config);
    let alice = runner.pids(0, &["alice"]);
    let before = runner.process.event_of_all(0, "world.embedded");
    let mark = runner.process.mark();
    replace(&runner.process);
    let after = runner.process.event_of_all(mark, "world.embedded");
    assert_eq!(before["server"], after["server"]);
    runner.process.event_of_all(mark, "world.connected");
    assert_eq!(runner.agent_pids(), alice.into_iter().collect());
    runner.stop();
}
