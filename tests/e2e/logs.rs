//! Agents' logs, while they are written, and runners are killed.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use runner::executor::logs::joined;
use runner::plan::EntityId;
use rustix::process::Signal;

use crate::harness::{PATIENCE, Process, Runner, entities, misbehave};

fn config(max_bytes: &str) -> String {
    format!(
        "[runner]\nserver = \"embedded\"\n[logs]\nmax_bytes = {max_bytes}\nkeep = 1000000\n\
         [agents.default]\ncommand = [{:?}, \"--print\", \"20000\"]\n",
        misbehave()
    )
}

/// The highest number of a segment.
fn newest(logs: &Path) -> u64 {
    let number = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        name.strip_prefix("agent-alice.log.")?.split_once('.')?.0.parse().ok()
    };
    fs::read_dir(logs).unwrap().filter_map(|entry| number(entry.unwrap())).max().unwrap_or(0)
}

fn wait_for_segments(logs: &Path, more_than: u64) {
    let until = Instant::now() + PATIENCE;
    while newest(logs) <= more_than {
        assert!(Instant::now() < until, "no segment after {more_than}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn alice(logs: &Path) -> String {
    let all = joined(logs, &EntityId::new("alice").unwrap()).unwrap();
    String::from_utf8(all).unwrap()
}

#[test]
fn a_log_begins_with_a_head_and_is_rotated_while_its_agent_runs() {
    let alice_is_there = entities(["alice"]);
    let runner = Runner::start(&(config("\"1MiB\"") + &alice_is_there));
    let pids = runner.pids(0, &["alice"]);
    let logs = runner.dir.path().join("logs");
    let mark = runner.process.mark();
    runner.save(&(config("20_000") + &alice_is_there));
    wait_for_segments(&logs, 8);

    // The last lines may still be on their way.
    let until = Instant::now() + PATIENCE;
    while !alice(&logs).ends_with("line 19999\n") {
        assert!(Instant::now() < until, "the last line is missing");
        thread::sleep(Duration::from_millis(2));
    }
    let all = alice(&logs);
    let (head, lines) = all.split_once('\n').unwrap();
    assert!(head.starts_with("--- runner: ") && head.contains(" run #0 incarnation "), "{head}");
    assert!(head.contains(&format!(" pid {} ", pids[0])), "{head}");
    assert!(head.contains(" reason \"the entity has no agent\" command ["), "{head}");
    assert!(lines.lines().map(str::to_owned).eq((0..20_000).map(|n| format!("line {n}"))));

    // Other limits are no reason to restart anybody.
    let agents = runner.agents();
    assert_eq!(agents.iter().map(|agent| u64::from(agent.identity.pid)).collect::<Vec<_>>(), pids);
    assert_eq!(runner.process.all_after(mark, "agent.started").len(), 0);
    runner.stop();
}

/// Killed at whatever moment, a rotator loses, doubles and moves no line. `RUNNER_TEST_KILLS` says
/// how often it is killed.
#[test]
fn runners_are_killed_while_they_rotate() {
    let kills = std::env::var("RUNNER_TEST_KILLS").map_or(20, |kills| kills.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    fs::create_dir(&logs).unwrap();
    fs::write(dir.path().join("runner.toml"), config("\"32KiB\"")).unwrap();
    // Nobody's agent: it must not be started once more by each runner.
    let stop = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let writer = scope.spawn(|| write_lines(&logs.join("agent-alice.log"), &stop));
        let args = ["reconcile", "--config", "runner.toml", "--state-dir", "state"];
        for kill in 0..kills {
            let mut runner = Process::start(&args, dir.path());
            wait_for_segments(&logs, newest(&logs) + kill % 3);
            // At another moment of the rotation each time.
            thread::sleep(Duration::from_micros(kill * 7919 % 20_000));
            runner.signal(Signal::KILL);
            runner.ended();
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    let all = alice(&logs);
    let mut lines = all.lines();
    for number in 0..written {
        assert_eq!(lines.next(), Some(&*format!("line {number}")), "of {written} lines");
    }
    assert_eq!(lines.next(), None, "after {written} lines");
    println!("{written} lines, {kills} kills, {} segments", newest(&logs));
}

/// Writes lines faster than any agent should, and returns how many.
fn write_lines(path: &Path, stop: &AtomicBool) -> u64 {
    let mut log = OpenOptions::new().append(true).create(true).open(path).unwrap();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..100 {
            log.write_all(format!("line {number}\n").as_bytes()).unwrap();
            number += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    number
}
