//! A template change over many agents, with real processes: `design/lifecycle.md`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::control::{data, json, said, verb};
use super::harness::{Runner, ids, misbehave};
use super::metrics::{listening, metrics};
use super::scripted::{Scripted, controllable};

const AGENTS: usize = 100;

/// Agents of this version; of a bad one, all of them crash soon.
fn config(world: &Scripted, version: &str, bad: bool) -> String {
    let program = misbehave();
    let crash = if bad { ", \"--exit-after-ms\", \"50\", \"--code\", \"5\"" } else { "" };
    format!(
        "[metrics]\nlisten = \"127.0.0.1:0\"\n[runner]\nserver = \"{}\"\ninitial_backoff_ms = 200\n\
         rollout = {{ min_ready_ms = 500 }}\n\
         [agents.default]\ncommand = [{program:?}{crash}]\nenv = {{ VERSION = {version:?} }}\n",
        world.address,
    )
}

fn rollout(runner: &Runner) -> Value {
    json(runner, &["rollout", "status", "default"])["items"][0].clone()
}

/// The processes of agents of this version.
fn of_version(runner: &Runner, version: &str) -> BTreeSet<u32> {
    let agents = runner.agents().into_iter();
    let of_version = agents.filter(|agent| agent.marker("VERSION") == Some(version));
    of_version.map(|agent| agent.identity.pid).collect()
}

#[test]
fn a_bad_version_stops_after_its_first_batch_and_undo_brings_all_back() {
    let names = ids("a", AGENTS);
    let world = Scripted::start(names.iter().map(|name| controllable(name)).collect());
    let mut runner = Runner::start(&config(&world, "1", false));
    runner.pids(0, &names.iter().map(String::as_str).collect::<Vec<_>>());
    data(&runner, &["wait", "--for=condition=Ready", "*"]);
    let first = of_version(&runner, "1");
    assert_eq!(first.len(), AGENTS);

    let mark = runner.process.mark();
    runner.save(&config(&world, "2", true));
    let failed = runner.process.event_of_all(mark, "rollout.failed");
    assert_eq!(failed["template"], "default");
    let (code, table, _) = said(&verb(runner.dir.path(), &["rollout", "status", "--wait"]));
    assert_eq!(code, Some(1), "{table}");
    // Nobody beyond the first batch was touched. Those of the batch who had not been started anew
    // when the first one failed got back what they had.
    let survivors: BTreeSet<_> = first.intersection(&of_version(&runner, "1")).copied().collect();
    assert_eq!(survivors.len(), AGENTS * 3 / 4);
    let status = rollout(&runner);
    assert_eq!(
        (&status["state"], &status["agents"], &status["maxUnavailable"]),
        (&"Paused".into(), &AGENTS.into(), &(AGENTS / 4).into())
    );
    let updated = status["updated"].as_u64().unwrap();
    assert!((1..=AGENTS as u64 / 4).contains(&updated), "{status}");
    assert!(status["reason"].as_str().unwrap().ends_with("failed: exit code 5"), "{status}");
    let scraped = metrics(listening(&runner, 0));
    assert_eq!(scraped.get(r#"runner_rollout_paused{template="default"}"#), Some(&1.0));
    assert!(scraped[r#"runner_agents_outdated{template="default"}"#] >= 75.0, "{scraped:?}");
    let why = data(&runner, &["why", "a99"]);
    assert!(why.contains("it keeps its version: the rollout of default is paused, as"), "{why}");
    assert!(data(&runner, &["status"]).contains("the rollout of default is paused"));

    // A runner that dies over it changes nothing.
    runner.kill();
    runner.start_again();
    runner.process.event_of_all(0, "runner.resumed");
    assert_eq!(rollout(&runner)["state"], "Paused");
    assert!(survivors.is_subset(&of_version(&runner, "1")));

    assert!(data(&runner, &["rollout", "undo", "default"]).starts_with("default undone"));
    data(&runner, &["rollout", "status", "--wait", "--timeout", "60s"]);
    data(&runner, &["wait", "--for=condition=Ready", "*"]);
    let back = of_version(&runner, "1");
    assert_eq!(back.len(), AGENTS);
    assert!(survivors.is_subset(&back), "who had not changed was restarted");
    let (code, _, stderr) = said(&verb(runner.dir.path(), &["rollout", "undo", "default"]));
    assert_eq!(code, Some(1));
    assert!(stderr.contains("is at its version before"), "{stderr}");

    // Until the file changes again.
    let mark = runner.process.mark();
    runner.save(&config(&world, "3", false));
    let completed = runner.process.event_of_all(mark, "rollout.completed");
    assert_eq!((&completed["agents"], &completed["ready"]), (&AGENTS.into(), &AGENTS.into()));
    assert_eq!(of_version(&runner, "3").len(), AGENTS);
    let began = runner.process.event_of_all(mark, "rollout.began");
    assert_eq!(began["max_unavailable"], AGENTS / 4);
    runner.stop();
}

#[test]
fn no_more_are_down_than_may_be_and_restarts_are_rolled_too() {
    let names = ids("a", 20);
    let world = Scripted::start(names.iter().map(|name| controllable(name)).collect());
    let runner = Runner::start(&config(&world, "1", false));
    runner.pids(0, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let mark = runner.process.mark();
    data(&runner, &["restart", "--all"]);
    runner.process.event_of_all(mark, "rollout.completed");
    let mut down = 0;
    let mut most = 0;
    for line in runner.process.after(mark) {
        match line["event"].as_str() {
            Some("agent.stopping") => down += 1,
            Some("agent.started") => down -= 1,
            Some(_) | None => {}
        }
        most = most.max(down);
    }
    assert_eq!((down, most), (0, 5));
    assert_eq!(runner.process.all_after(mark, "agent.stopping").len(), 20);
    runner.stop();
}
