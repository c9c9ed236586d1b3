//! Stopping, and what is left: nothing.

use std::fs;

use rustix::process::Signal;

use super::control::{said, verb};
use super::harness::{Runner, entities, eventually, misbehave};
use super::scripted::{Scripted, controllable};

fn config(count: usize, grace_ms: u64, args: &str) -> String {
    let ids: Vec<_> = (0..count).map(|n| format!("e{n}")).collect();
    format!(
        "[runner]\nserver = \"embedded\"\nshutdown_grace_ms = {grace_ms}\n\
         [agents.default]\ncommand = [{:?}]\nargs = [{args}]\n{}",
        misbehave(),
        entities(&ids)
    )
}

#[test]
fn two_hundred_agents_that_ignore_sigterm_are_killed_at_the_end_of_the_grace() {
    let mut runner = Runner::start(&config(200, 1000, "\"--ignore-term\""));
    for n in 0..200 {
        runner.process.event(0, "agent.started", &format!("e{n}"));
    }
    runner.process.signal(Signal::TERM);
    assert_eq!(runner.process.ended(), Some(0));
    assert_eq!(runner.agents(), []);
    assert_eq!(runner.process.all_after(0, "agent.killing").len(), 200);
}

#[test]
fn who_holds_the_end_up_is_named_in_the_log_and_by_stop() {
    let ready = tempfile::NamedTempFile::new().unwrap();
    let args = format!("\"--ignore-term\", \"--touch\", {:?}", ready.path());
    let mut runner = Runner::start(&config(5, 2500, &args));
    eventually("all are at it", || fs::read_to_string(ready.path()).unwrap().lines().count() == 5);
    let (code, _, words) = said(&verb(runner.dir.path(), &["stop"]));
    assert_eq!(runner.process.ended(), Some(0));
    let waiting = runner.process.all_after(0, "runner.waiting");
    let [told] = &waiting[..] else { panic!("{waiting:?}") };
    assert_eq!(told["message"], "waiting for e0, e1, e2 and 2 more");
    assert_eq!((&told["reason"], &told["count"]), (&"SIGKILL in 2s".into(), &5.into()));
    assert_eq!(words, "waiting for e0, e1, e2 and 2 more: SIGKILL in 2s\n");
    assert_eq!(code, Some(0));
}

#[test]
fn what_the_command_line_says_of_the_end_wins_over_the_file_also_when_that_is_read_anew() {
    let world = Scripted::start(vec![controllable("alice")]);
    let config = |version: usize| {
        format!(
            "[runner]\nserver = \"{}\"\non_exit = \"stop\"\n[agents.default]\ncommand = [{:?}]\n\
             env = {{ VERSION = \"{version}\" }}\n",
            world.address,
            misbehave()
        )
    };
    let mut runner = Runner::start_with(&config(1), &["--on-exit", "leave"]);
    runner.pids(0, &["alice"]);
    let mark = runner.process.mark();
    runner.save(&config(2));
    let alice = runner.pids(mark, &["alice"]);
    runner.process.signal(Signal::TERM);
    assert_eq!(runner.process.ended(), Some(0));
    assert_eq!(runner.agent_pids(), alice.into_iter().collect());
    runner.start_again();
    assert_eq!(runner.process.event_of_all(0, "runner.resumed")["adopted"], 1);
    runner.stop();
}

#[test]
fn a_second_signal_kills_at_once() {
    let mut runner = Runner::start(&config(3, 3_600_000, "\"--ignore-term\""));
    runner.pids(0, &["e0", "e1", "e2"]);
    runner.process.signal(Signal::INT);
    runner.process.event_of_all(0, "runner.stopping");
    runner.process.event(0, "agent.stopping", "e2");
    runner.process.signal(Signal::INT);
    assert_eq!(runner.process.ended(), Some(0));
    assert_eq!(runner.agents(), []);
}

#[test]
fn what_an_agent_leaves_in_its_group_is_ended_before_its_replacement_starts() {
    let touched = tempfile::NamedTempFile::new().unwrap();
    let args = format!(
        "\"--fork\", \"2\", \"--grandchild-ignore-term\", \"--exit-after-ms\", \"300\", \
         \"--code\", \"1\", \"--touch\", {:?}",
        touched.path()
    );
    let config = config(1, 500, &args).replace("[runner]", "[runner]\ninitial_backoff_ms = 10");
    let runner = Runner::start(&config);
    let first = runner.pids(0, &["e0"])[0];
    let leftovers = runner.process.event(0, "agent.stopping", "e0");
    assert!(leftovers["reason"].as_str().unwrap().contains("left others behind"), "{leftovers}");
    runner.process.event(0, "agent.killing", "e0");
    let second = runner
        .process
        .wait(0, "second run", |line| line["event"] == "agent.started" && line["run"] == "#1");
    // Whoever is alive in a group of an agent of ours is in the second one's.
    let groups: Vec<_> =
        runner.agents().iter().map(|agent| u64::from(agent.identity.pid)).collect();
    assert!(!groups.contains(&first), "{groups:?}");
    assert!(second["pid"].as_u64() != Some(first));
    runner.stop();
}

#[test]
fn an_agent_that_fails_too_often_stays_failed_until_its_template_changes() {
    let args = "\"--exit-after-ms\", \"1\", \"--code\", \"3\"";
    let failing = config(1, 1000, args)
        .replace("[runner]", "[runner]\ninitial_backoff_ms = 1\nmax_restart_attempts = 2");
    let runner = Runner::start(&failing);
    let failed = runner.process.event(0, "agent.failed", "e0");
    assert_eq!(failed["reason"], "it crashed again after restart 2 of 2");
    assert_eq!(runner.process.all_after(0, "agent.started").len(), 3);
    runner.save(&failing.replace("\"3\"", "\"4\""));
    let again = runner.process.wait(0, "another failure", |line| {
        line["event"] == "agent.failed" && line["exit"] == "exit code 4"
    });
    assert_eq!(again["entity"], "e0");
    runner.stop();
}

#[test]
fn what_cannot_be_started_is_said_and_stops_nobody_else() {
    let config = config(2, 1000, "")
        + "[agents.e0]\ncommand = [\"/nonexistent/program\"]\n[agents.broken]\nmodule = \"x\"\ncwd = \"/nowhere\"\n";
    let runner = Runner::start(&config);
    let error = runner.process.event(0, "agent.not_started", "e0");
    assert!(error["error"].as_str().unwrap().contains("/nonexistent/program"), "{error}");
    runner.pids(0, &["e1"]);
    runner.stop();
}
