//! The runner dies at each of its fault points; what comes of it is as if it had not.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use runner::fault::Point;

use crate::harness::{PATIENCE, Process, Runner, misbehave};
use crate::scripted::{Scripted, controllable};

/// Waits until exactly these entities have an agent each, of one process, that is no gate any
/// more; or until the runner has died. Tells whether it has.
fn died_before(runner: &mut Runner, ids: &[&str]) -> bool {
    let wanted: Vec<&str> = ids.to_vec();
    let until = Instant::now() + PATIENCE;
    loop {
        if runner.process.has_ended() {
            return true;
        }
        let agents = runner.agents();
        let mut running: Vec<_> =
            agents.iter().filter_map(|a| a.marker("RUNNER_ENTITY_ID")).collect();
        running.sort_unstable();
        if running == wanted && agents.iter().all(|agent| !agent.gate) {
            return false;
        }
        let said = || runner.process.transcript();
        assert!(Instant::now() < until, "{wanted:?}, but {running:?}; it said:\n{}", said());
        thread::sleep(Duration::from_millis(5));
    }
}

/// Three agents start, two of them are taken back and have to be killed, and two others come.
fn disturbed_at(fault: &str, dies: bool) {
    let (first, last) = (["a", "b", "c"], ["a", "d", "e"]);
    let entities = |ids: [&str; 3]| ids.map(controllable).to_vec();
    let world = Scripted::start(entities(first));
    let locks = tempfile::tempdir().unwrap();
    let lock = locks.path().join("{entity_id}");
    let config = format!(
        "[runner]\nserver = \"{}\"\nshutdown_grace_ms = 50\ninitial_backoff_ms = 1\n\
         limits = {{ pids = 16 }}\nlimits_mode = \"best-effort\"\n\
         [agents.default]\ncommand = [{:?}, \"--ignore-term\", \"--lock\", \"{}\"]\n\
         [jit]\nwatch_interval_ms = 50\n",
        world.address,
        misbehave(),
        lock.display(),
    );
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("runner.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    let args = ["--log-format", "json", "reconcile", "--config", "runner.toml"];
    command.args(args).args(["--state-dir", "state"]).current_dir(dir.path());
    let process = Process::run(command.env("RUNNER_FAULT", fault));
    let mut runner = Runner { process, dir };

    let died_early = died_before(&mut runner, &first);
    if died_early {
        runner.start_again();
        assert!(!died_before(&mut runner, &first), "{fault}");
    }
    world.set(entities(last));
    if dies && !died_early {
        // A point that comes last comes after everything looks as it should.
        let until = Instant::now() + PATIENCE;
        while !runner.process.has_ended() {
            assert!(Instant::now() < until, "{fault} was never reached");
            thread::sleep(Duration::from_millis(5));
        }
        runner.start_again();
    }
    assert!(!died_before(&mut runner, &last), "{fault}");
    let before: BTreeSet<u64> = runner.agent_pids();

    // What is written down now is whole, and leads to the same.
    runner.kill();
    runner.start_again();
    runner.process.event_of_all(0, "runner.resumed");
    runner.process.event_of_all(0, "world.connected");
    assert_eq!(runner.process.all_after(0, "agent.starting").len(), 0, "{fault}");
    assert_eq!(runner.process.all_after(0, "journal.damaged").len(), 0);
    assert_eq!(runner.agent_pids(), before, "{fault}");
    runner.stop();
    let files = fs::read_dir(locks.path()).unwrap().map(|entry| entry.unwrap().path());
    let violations: Vec<_> = files.filter(|path| path.extension().is_some()).collect();
    assert!(violations.is_empty(), "{fault}: {violations:?}");
}

#[test]
fn dead_at_any_step_it_comes_to_the_same_end() {
    for point in Point::ALL {
        for passing in [1, 2] {
            let fault = format!("{}:{passing}", point.name());
            // A journal is written anew but once in so short a time.
            let once = [Point::JournalCopied, Point::JournalReplaced].contains(point);
            disturbed_at(&fault, passing == 1 || !once);
        }
    }
}
