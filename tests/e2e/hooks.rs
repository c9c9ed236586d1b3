//! Commands that are run for events.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, test_kill_process};
use serde_json::Value;

use super::control::verb;
use super::harness::{Runner, entities, eventually, ids, misbehave};

/// The embedded world with these entities, of which `crasher` crashes at once and for good.
fn config(hooks: &str, all: &[String]) -> String {
    let program = misbehave();
    format!(
        "[hooks]\n{hooks}\n[runner]\nserver = \"embedded\"\nmax_restart_attempts = 0\n\
         env_inherit = [\"*\"]\n[agents.default]\ncommand = [{program:?}]\n\
         [agents.crasher]\ncommand = [{program:?}, \"--exit-after-ms\", \"1\", \"--code\", \"5\"]\n{}",
        entities(all),
    )
}

/// A hook that is this script.
fn script(script: &str) -> String {
    format!("on_event = [\"sh\", \"-c\", {script:?}]")
}

fn alice_and_crasher() -> Vec<String> {
    ["alice", "crasher"].map(str::to_owned).to_vec()
}

/// What has been appended to a file, a JSON document a line.
fn told(runner: &Runner, file: &str) -> Vec<Value> {
    let text = fs::read_to_string(runner.dir.path().join(file)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn lives(pid: &str) -> bool {
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    // A zombie does not, and is there until it is waited for.
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    test_kill_process(pid).is_ok() && stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// The process that a hook wrote down.
fn pid_in(dir: &Path, file: &str) -> String {
    eventually(file, || fs::read_to_string(dir.join(file)).is_ok_and(|text| text.ends_with('\n')));
    fs::read_to_string(dir.join(file)).unwrap()
}

#[test]
fn a_hook_is_given_the_event_as_runner_events_prints_it() {
    let hook = script("cat >> told; echo >> told; env > env");
    let runner = Runner::start_under(
        &[("NOTIFY_SOCKET", "/nowhere"), ("RUNNER_INSTANCE", "of another")],
        &config(&hook, &alice_and_crasher()),
    );
    runner.process.event(0, "agent.failed", "crasher");
    eventually("the hook", || !told(&runner, "told").is_empty());
    let event = told(&runner, "told").remove(0);
    let mut verb = std::process::Command::new(env!("CARGO_BIN_EXE_runner"));
    verb.args(["events", "crasher", "-o", "json", "--state-dir", "state"]);
    let output = verb.current_dir(runner.dir.path()).output().unwrap();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let is_it = |item: &&Value| item["sequence"] == event["sequence"];
    let item = list["items"].as_array().unwrap().iter().find(is_it).unwrap();
    let mut whole = item.clone();
    whole["apiVersion"] = "runner/v1".into();
    assert_eq!((&event["kind"], &item["kind"]), (&"agent.failed".into(), &"agent.failed".into()));
    // In a list the kind of the document is the list's.
    whole["kind"] = event["kind"].clone();
    assert_eq!(event, whole);
    eventually("its environment", || runner.dir.path().join("env").exists());
    let env = fs::read_to_string(runner.dir.path().join("env")).unwrap();
    for line in
        ["RUNNER_EVENT_KIND=agent.failed", "RUNNER_EVENT_NAME=crasher", "RUNNER_NAME=runner"]
    {
        assert!(env.lines().any(|it| it == line), "no {line} in {env}");
    }
    assert!(env.contains("RUNNER_STATE_DIR="), "{env}");
    for name in ["NOTIFY_SOCKET", "RUNNER_INSTANCE", "RUNNER_RUN"] {
        assert!(!env.contains(&format!("{name}=")), "{env}");
    }
    // Alice has started and nobody wanted to know.
    runner.process.event(0, "agent.started", "alice");
    runner.stop();
}

#[test]
fn a_hook_that_fails_or_hangs_is_a_line_and_no_event_for_a_hook() {
    let mut all = alice_and_crasher();
    let hook = "case $RUNNER_EVENT_NAME in \
                crasher) echo no such pager >&2; exit 3;; \
                alice) sleep 1000 & echo $! > child; echo $$ > hung; sleep 1000;; \
                bob) exit 0;; esac; echo $RUNNER_EVENT_KIND >> others";
    let kinds = "kinds = [\"agent.failed\", \"agent.started\", \"hook.*\", \"hook.failed\"]\n\
                 timeout_ms = 700";
    all.push("bob".to_owned());
    let runner = Runner::start(&config(&format!("{}\n{kinds}", script(hook)), &all));
    let dir = runner.dir.path().to_owned();
    let failed = |what: &str| {
        let is_it = |line: &Value| {
            line["event"] == "hook.failed" && line["error"].as_str().unwrap().contains(what)
        };
        runner.process.wait(0, what, is_it)
    };
    let line = failed("no such pager");
    assert!(line["error"].as_str().unwrap().contains("exit status: 3"), "{line}");
    assert_eq!((&line["program"], &line["level"]), (&"sh".into(), &"WARN".into()));
    let (hung, child) = (pid_in(&dir, "hung"), pid_in(&dir, "child"));
    assert_eq!(runner.agents().len(), 2, "a hook is no agent");
    failed("did not end within 700ms, and was killed");
    eventually("the end of all of its group", || !lives(&hung) && !lives(&child));
    // One for crasher's failure, one for its start, one for alice; none for these lines.
    eventually("three lines", || runner.process.all_after(0, "hook.failed").len() == 3);
    assert!(!dir.join("others").exists());
    runner.stop();
}

#[test]
fn a_program_that_is_not_there_and_one_that_leaves_others_behind() {
    let runner = Runner::start(&config("on_event = [\"/no/such\"]", &alice_and_crasher()));
    let line = runner.process.event_of_all(0, "hook.failed");
    assert!(line["error"].as_str().unwrap().contains("cannot run \"/no/such\""), "{line}");

    // It is taken as the file says from now on.
    let mark = runner.process.mark();
    let hook = script("sleep 1000 & echo $! > left; exit 0");
    let kinds = "kinds = [\"config.applied\", \"agent.stopping\"]";
    runner.save(&config(&format!("{hook}\n{kinds}"), &alice_and_crasher()));
    runner.process.event_of_all(mark, "config.applied");
    runner.process.signal(Signal::HUP);
    runner.process.event_of_all(mark, "config.unchanged");
    let dir = runner.dir.path().to_owned();
    let program = misbehave();
    runner.save(&format!(
        "{}[agents.alice]\ncommand = [{program:?}, \"--new\"]\n",
        config(&format!("{hook}\n{kinds}"), &alice_and_crasher())
    ));
    runner.process.event(mark, "agent.stopping", "alice");
    let left = pid_in(&dir, "left");
    eventually("the end of what it left behind", || !lives(&left));
    assert_eq!(runner.process.all_after(mark, "hook.failed").len(), 0);

    // None any more.
    let mark = runner.process.mark();
    let none = config("", &alice_and_crasher()).replace("[hooks]\n", "");
    runner.save(&none);
    runner.process.event_of_all(mark, "config.applied");
    fs::remove_file(dir.join("left")).unwrap();
    runner.save(&none.replace("\"5\"", "\"6\""));
    runner.process.event(mark, "agent.failed", "crasher");
    runner.stop();
    assert!(!dir.join("left").exists());
}

#[test]
fn a_storm_of_events_is_bounded_and_what_is_dropped_is_said_once() {
    // Each says when it began and ended.
    let hook = script("echo + >> marks; sleep 0.02; echo - >> marks");
    let hook = format!("{hook}\nkinds = [\"agent.*\"]");
    let runner = Runner::start(&config(&hook, &ids("a", 200)));
    let mark = runner.process.mark();
    runner.pids(0, &["a0", "a199"]);
    // 200 agents, each with a start and a process: more than may wait.
    let line = runner.process.event_of_all(mark, "hook.dropped");
    assert!(line["count"].as_u64().unwrap() > 0, "{line}");
    let marks = || fs::read_to_string(runner.dir.path().join("marks")).unwrap_or_default();
    eventually("the end of those that waited", || {
        let marks = marks();
        let count = |mark: &str| marks.lines().filter(|it| *it == mark).count();
        count("-") >= 256 && count("+") == count("-")
    });
    let mut at_once = 0;
    for line in marks().lines() {
        at_once += if line == "+" { 1 } else { -1 };
        assert!(at_once <= 4, "{at_once} at one time");
    }
    let lines = runner.process.all_after(0, "hook.dropped").len();
    assert!(lines <= 2, "{lines} lines");
    runner.stop();
}

#[test]
fn the_runner_ends_without_those_that_hang_and_with_what_is_quick() {
    let hook = "case $RUNNER_EVENT_KIND in \
                runner.started) sleep 1000 & echo $! > child; echo $$ > hung; wait;; \
                *) echo $RUNNER_EVENT_KIND >> told;; esac";
    let kinds = "kinds = [\"runner.*\"]\ntimeout_ms = 60000";
    let mut runner =
        Runner::start(&config(&format!("{}\n{kinds}", script(hook)), &alice_and_crasher()));
    runner.pids(0, &["alice"]);
    let dir = runner.dir.path().to_owned();
    let (hung, child) = (pid_in(&dir, "hung"), pid_in(&dir, "child"));
    let began = Instant::now();
    runner.process.signal(Signal::TERM);
    assert_eq!(runner.process.ended(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    eventually("the end of what hung", || !lives(&hung) && !lives(&child));
    let line = runner.process.event_of_all(0, "hook.dropped");
    assert_eq!(line["killed"], 1, "{line}");
    let told = fs::read_to_string(dir.join("told")).unwrap();
    let told: BTreeSet<_> = told.lines().collect();
    assert_eq!(told, BTreeSet::from(["runner.stopping", "runner.stopped"]));
    assert_eq!(runner.agents(), []);
}

#[test]
fn a_stop_is_over_when_the_last_hook_is() {
    let hooks = format!("{}\nkinds = [\"runner.stopped\"]", script("sleep 1; echo over > over"));
    let mut runner = Runner::start(&config(&hooks, &["alice".to_owned()]));
    runner.pids(0, &["alice"]);
    let told = verb(runner.dir.path(), &["stop"]);
    assert!(told.status.success(), "{told:?}");
    assert!(runner.process.has_ended());
    assert_eq!(fs::read_to_string(runner.dir.path().join("over")).unwrap(), "over\n");
}
