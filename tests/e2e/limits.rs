//! Agents that take more of the machine than they may, under the real binary: nobody else is the
//! worse for it.

#![expect(clippy::print_stderr, reason = "what is not tested is to be seen")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use chrono::{DateTime, FixedOffset};
use runner::executor::local::survey::Found;
use serde_json::Value;

use super::control::data;
use super::harness::{Process, Runner, entities, eventually, misbehave};

/// Alice, who does this when there is a file `go`, and others who write all the time.
fn config(limits: &str, alice: &str) -> String {
    let tick = "while :; do echo tick; sleep 0.02; done";
    format!(
        "[runner]\nserver = \"embedded\"\nauto_discover = false\nshutdown_grace_ms = 100\n\
         restart = \"never\"\n{}{}{}",
        template("alice", &format!("{}\nlimits = {limits}", command(alice))),
        template("bob", &command(tick)) + &template("carol", &command(tick)),
        entities(["alice", "bob", "carol"]),
    )
}

fn template(name: &str, rest: &str) -> String {
    format!("[agents.{name}]\n{rest}\n")
}

fn command(script: &str) -> String {
    format!("command = [\"sh\", \"-c\", {script:?}]")
}

/// The file without Alice's template.
fn without_alice(config: &str) -> String {
    let (before, rest) = config.split_once("[agents.alice]").unwrap();
    let (_, after) = rest.split_once("[agents.bob]").unwrap();
    format!("{before}[agents.bob]{after}")
}

fn validate(dir: &Path, config: &str) -> Output {
    fs::write(dir.join("runner.toml"), config).unwrap();
    Command::new(env!("CARGO_BIN_EXE_runner"))
        .args(["validate", "--config", "runner.toml"])
        .current_dir(dir)
        .output()
        .unwrap()
}

/// A runner with this configuration; none, said aloud, where its limits cannot be enforced.
fn start(config: &str) -> Option<Runner> {
    let dir = tempfile::tempdir().unwrap();
    let checked = validate(dir.path(), config);
    let said = String::from_utf8(checked.stderr).unwrap();
    if said.contains("cannot be enforced here") {
        assert_eq!(checked.status.code(), Some(2), "{said}");
        eprintln!("not tested, as limits cannot be enforced here:\n{said}");
        return None;
    }
    assert!(checked.status.success(), "{said}");
    Some(Runner::start_at(dir, config))
}

/// The file of this name in a cgroup of the process that the runner made.
fn cgroup_file(pid: u64, name: &str) -> Option<PathBuf> {
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mounts: Vec<Vec<_>> = mounts
        .lines()
        .filter(|line| line.contains(" - cgroup"))
        .map(|line| line.split(' ').collect())
        .collect();
    let ours = cgroups.lines().filter(|line| line.contains("/runner-"));
    let mut paths = ours.map(|line| Path::new(line.splitn(3, ':').last().unwrap()));
    paths.find_map(|path| {
        let below =
            |mount: &Vec<&str>| Some(Path::new(mount[4]).join(path.strip_prefix(mount[3]).ok()?));
        let mut files = mounts.iter().filter_map(below).map(|dir| dir.join(name));
        files.find(|file| file.exists())
    })
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap()
}

fn ticks(runner: &Runner, entity: &str) -> usize {
    runner.log(entity).lines().filter(|line| *line == "tick").count()
}

/// Waits until the others have written more, as the processes that they were.
fn others_go_on(runner: &Runner, others: &[u64]) {
    let written = ["bob", "carol"].map(|entity| (entity, ticks(runner, entity)));
    for (entity, before) in written {
        eventually(entity, || ticks(runner, entity) > before + 3);
    }
    let pids = runner.agent_pids();
    assert!(others.iter().all(|pid| pids.contains(pid)), "{others:?} {pids:?}");
}

#[test]
fn a_fork_bomb_goes_off_within_its_agent() {
    let alice = format!("trap '' TERM; exec {} --when go --bomb 7 --touch done", misbehave());
    let config = config("{ pids = 32 }", &alice);
    let Some(runner) = start(&config) else { return };
    let pids = runner.pids(0, &["alice", "bob", "carol"]);
    let (bomb, others) = (pids[0], &pids[1..]);
    others_go_on(&runner, others);
    // Before anything is risked.
    let most = cgroup_file(bomb, "pids.max").expect("limits hold");
    assert_eq!(read(&most).trim(), "32");

    fs::write(runner.dir.path().join("go"), "").unwrap();
    let refused = most.with_file_name("pids.events");
    eventually("the limit", || !read(&refused).contains("max 0"));
    let (current, home) = (most.with_file_name("pids.current"), most.parent().unwrap());
    assert!(read(&current).trim().parse::<u32>().unwrap() <= 32);
    let members: Vec<u32> =
        read(&home.join("cgroup.procs")).lines().map(|line| line.parse().unwrap()).collect();
    assert!(members.len() > 16, "{members:?}");
    others_go_on(&runner, others);

    let mark = runner.process.mark();
    runner.save(&without_alice(&config));
    let killed = when(&runner.process.event(mark, "agent.killing", "alice"));
    let gone = when(&runner.process.event(mark, "agent.gone", "alice"));
    eprintln!("the bomb was dead {} ms after the kill", (gone - killed).num_milliseconds());
    // One that is out of its cgroup holds nothing any more, but may be seen for a moment.
    eventually("the end of all", || members.iter().all(|pid| !lives(*pid)));
    eventually("removal of the cgroup", || !home.exists());
    others_go_on(&runner, others);
    runner.stop();
}

/// When a line was written.
fn when(line: &Value) -> DateTime<FixedOffset> {
    DateTime::parse_from_rfc3339(line["timestamp"].as_str().unwrap()).unwrap()
}

/// Whether it lives, and is no zombie.
fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| stat.contains("(misbehave)") && !stat.contains(") Z "))
}

/// Takes 2 GiB, and uses them.
fn glutton() -> String {
    format!("exec {} --when go --allocate 2048 --touch done", misbehave())
}

fn agent(runner: &Runner, entity: &str) -> Option<Found> {
    runner.agents().into_iter().find(|found| found.marker("RUNNER_ENTITY_ID") == Some(entity))
}

#[test]
fn an_agent_that_takes_too_much_memory_is_killed_alone_and_that_is_told() {
    let Some(mut runner) = start(&config("{ memory = \"64MiB\" }", &glutton())) else { return };
    let pids = runner.pids(0, &["alice", "bob", "carol"]);
    let most = cgroup_file(pids[0], "memory.max").or(cgroup_file(pids[0], "memory.limit_in_bytes"));
    assert_eq!(read(&most.expect("limits hold")).trim(), (64 << 20).to_string());
    // The one who adopted it knows as much.
    runner.kill();
    runner.start_again();
    runner.process.event_of_all(0, "runner.resumed");
    assert_eq!(agent(&runner, "alice").map(|found| u64::from(found.identity.pid)), Some(pids[0]));

    fs::write(runner.dir.path().join("go"), "").unwrap();
    let told = "OOM: killed by the kernel at 64MiB";
    assert_eq!(runner.process.event(0, "agent.exited", "alice")["exit"], told);
    assert_eq!(runner.process.event(0, "agent.failed", "alice")["exit"], told);
    let why = data(&runner, &["why", "alice"]);
    assert!(why.contains(&format!("ended by itself: {told}\n")), "{why}");
    assert!(why.contains(&format!("its agent is Failed: {told}")), "{why}");
    assert!(!runner.dir.path().join("done").exists());
    others_go_on(&runner, &pids[1..]);
    runner.stop();
}

#[test]
fn a_process_that_was_killed_for_its_memory_is_told_of_though_its_agent_goes_on() {
    let alice =
        format!("until test -e go; do sleep 0.02; done; {} --allocate 2048; exit 3", misbehave());
    let Some(runner) = start(&config("{ memory = \"64MiB\" }", &alice)) else { return };
    let pid = runner.pids(0, &["alice"])[0];
    if cgroup_file(pid, "memory.oom.group").is_some() {
        eprintln!("not tested, as the whole agent is killed here");
        return;
    }
    let most = cgroup_file(pid, "memory.limit_in_bytes").expect("limits hold");
    assert_eq!(read(&most).trim(), (64 << 20).to_string());
    fs::write(runner.dir.path().join("go"), "").unwrap();
    assert_eq!(runner.process.event_of_all(0, "tree.oom")["limit"], 64 << 20);
    assert_eq!(runner.process.event(0, "agent.exited", "alice")["exit"], "exit code 3");
    runner.stop();
}

#[test]
fn a_change_of_limits_starts_its_agents_again_and_nobody_else() {
    let alice = "echo $(ulimit -Sn) $(ulimit -Hn); exec sleep 1000";
    let Some(runner) = start(&config("{ nofile = 60 }", alice)) else { return };
    let pids = runner.pids(0, &["alice", "bob", "carol"]);
    eventually("its limits", || runner.log("alice").contains("\n60 60\n"));
    let mark = runner.process.mark();
    runner.save(&config("{ nofile = 50 }", alice));
    let stopping = runner.process.event(mark, "agent.stopping", "alice");
    assert_eq!(stopping["reason"], "limits changed");
    eventually("its new limits", || runner.log("alice").contains("\n50 50\n"));
    others_go_on(&runner, &pids[1..]);
    runner.stop();
}

#[test]
fn what_nothing_can_enforce_is_refused_with_the_reason_unless_that_is_all_right() {
    // Without cgroups of their own, on any machine.
    let held = |mode: &str, limits: &str| {
        let runner = format!("[runner]\ncontainment = \"process-group\"\n{mode}\n");
        config(limits, "exec sleep 1000").replace("[runner]\n", &runner)
    };
    let limits = "{ memory = \"64MiB\", pids = 32 }";
    let dir = tempfile::tempdir().unwrap();
    let refused = validate(dir.path(), &held("", limits));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    for key in ["memory", "pids"] {
        let line = format!(
            "`agents.alice.limits.{key}` cannot be enforced here: agents are held by process groups"
        );
        assert!(said.contains(&line), "{said}");
    }
    assert!(said.contains("limits_mode = \"best-effort\""), "{said}");
    let args = ["reconcile", "--config", "runner.toml", "--state-dir", "state"];
    assert_eq!(Process::start(&args, dir.path()).ended(), Some(2));
    assert!(!dir.path().join("state").exists(), "nothing was done");

    // The last good file stays in force.
    let runner = Runner::start(&held("", "{ nofile = 60 }"));
    let pids = runner.pids(0, &["alice", "bob", "carol"]);
    let mark = runner.process.mark();
    runner.save(&held("", limits));
    let rejected = runner.process.event_of_all(mark, "config.rejected");
    assert_eq!(rejected["mistakes"], 2);
    others_go_on(&runner, &pids);

    let mark = runner.process.mark();
    runner.save(&held("limits_mode = \"best-effort\"", limits));
    runner.process.wait(mark, "a warning", |line| {
        line["event"] == "limits.missing" && line["limit"] == "memory"
    });
    runner.pids(mark, &["alice"]);
    others_go_on(&runner, &pids[1..]);
    runner.stop();
}
