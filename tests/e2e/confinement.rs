//! What reaches an agent of the runner's own, and what does not.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::{Process, Runner, entities, eventually, misbehave};

/// An agent that writes what it has into its log, and lives on.
fn config(runner: &str, template: &str, script: &str) -> String {
    format!(
        "[runner]\nserver = \"embedded\"\n{runner}\n[agents.default]\n\
         command = [\"sh\", \"-c\", {script:?}]\n{template}\n{}",
        entities(["alice"])
    )
}

/// What the agent has written once it has written `last`.
fn output(runner: &Runner, last: &str) -> String {
    eventually(last, || runner.log("alice").lines().any(|line| line == last));
    runner.log("alice")
}

#[test]
fn a_secret_reaches_an_agent_only_by_its_name() {
    let script = "env; echo done; exec sleep 1000";
    let file = |inherit: &str| config("", inherit, script);
    let env = [("DB_PASSWORD", "hunter2"), ("LC_TEST", "yes"), ("RUNNER_RUN", "another's")];
    let runner = Runner::start_under(&env, &file(""));
    let log = output(&runner, "done");
    assert!(!log.contains("hunter2"), "{log}");
    assert!(log.contains("\nLC_TEST=yes\n") && log.contains("\nPATH="), "{log}");
    assert!(log.contains("\nPYTHONUNBUFFERED=1\n") && !log.contains("another's"), "{log}");

    let mark = runner.process.mark();
    runner.save(&file("env_inherit = [\"PATH\", \"DB_*\"]"));
    let stopping = runner.process.event(mark, "agent.stopping", "alice");
    assert_eq!(stopping["reason"], "env_inherit changed");
    runner.process.event(mark, "agent.started", "alice");
    eventually("the secret", || runner.log("alice").contains("\nDB_PASSWORD=hunter2\n"));
    // Nor is it kept where others may read it.
    let journal = fs::read_to_string(runner.dir.path().join("state/journal")).unwrap();
    assert!(journal.contains("DB_*") && !journal.contains("hunter2"));
    runner.stop();
}

fn status(text: &str, key: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn an_agent_ignores_no_signal_that_whoever_started_the_runner_ignored() {
    let script = "cat /proc/self/status; echo done; exec sleep 1000";
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("runner.toml"), config("state_dir = \"state\"", "", script)).unwrap();
    let ignoring = "trap '' HUP INT QUIT USR1; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", ignoring, env!("CARGO_BIN_EXE_runner"), "--log-format", "json"]);
    command.args(["reconcile", "--config", "runner.toml"]).current_dir(dir.path());
    let mut process = Process::run(&mut command);
    let log = || fs::read_to_string(dir.path().join("logs/agent-alice.log")).unwrap_or_default();
    eventually("done", || log().lines().any(|line| line == "done"));
    // Two that belong to the C library, and that it lets nobody change, may be among them.
    let ignored = u64::from_str_radix(&status(&log(), "SigIgn:"), 16).unwrap();
    let ours = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::USR1];
    assert!(ours.iter().all(|it| ignored & (1 << (it.as_raw() - 1)) == 0), "{ignored:x}");
    process.signal(Signal::TERM);
    assert_eq!(process.ended(), Some(0));
}

#[test]
fn an_agent_gets_no_privileges_that_it_does_not_have() {
    let script = "cat /proc/self/status; echo done; exec sleep 1000";
    let runner = Runner::start(&config("", "", script));
    assert_eq!(status(&output(&runner, "done"), "NoNewPrivs:"), "1");
    let mark = runner.process.mark();
    runner.save(&config("", "no_new_privs = false", script));
    let stopping = runner.process.event(mark, "agent.stopping", "alice");
    assert_eq!(stopping["reason"], "user or privileges changed");
    runner.process.event(mark, "agent.started", "alice");
    // It cannot have more than this test.
    let ours = status(&fs::read_to_string("/proc/self/status").unwrap(), "NoNewPrivs:");
    eventually("the second run", || {
        runner.log("alice").lines().filter(|l| *l == "done").count() == 2
    });
    let log = runner.log("alice");
    let second = log.rsplit("--- runner: ").next().unwrap();
    assert_eq!(status(second, "NoNewPrivs:"), ours);
    runner.stop();
}

#[test]
fn an_agent_runs_as_the_user_that_it_is_to_run_as() {
    let script = "cat /proc/self/status; echo done; exec sleep 1000";
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: whether agents run as another user is not tested");
        return;
    }
    let runner = Runner::start(&config("user = \"65534\"\ngroup = \"65533\"", "", script));
    let log = output(&runner, "done");
    assert_eq!(status(&log, "Uid:"), "65534 65534 65534 65534");
    assert_eq!(status(&log, "Gid:"), "65533 65533 65533 65533");
    assert!(status(&log, "Groups:").split(' ').all(|group| group != "0"), "{log}");
    assert_eq!(status(&log, "CapEff:"), "0000000000000000");
    // It is found again, and signalled, as any other.
    runner.stop();
}

/// A program where any user finds it.
fn put(program: &str, dir: &Path, name: &str) -> String {
    let path = dir.join(name);
    fs::copy(program, &path).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_agent_of_the_same_user_reads_neither_memory_nor_environment_of_the_runner() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_owned();
    let program = put(env!("CARGO_BIN_EXE_runner"), &root, "runner");
    let tries = put(&misbehave(), &root, "misbehave");
    let config = format!(
        "[runner]\nserver = \"embedded\"\n[agents.default]\ncommand = [{tries:?}, \"--when\", \"go\", \
         \"--attempts\", \"attempts\"]\n{}",
        entities(["alice"])
    );
    fs::write(root.join("runner.toml"), config).unwrap();
    let mut command = Command::new(program);
    let args =
        ["--log-format", "json", "reconcile", "--config", "runner.toml", "--state-dir", "state"];
    command.args(args).current_dir(&root).env("SECRET", "hunter2");
    if rustix::process::geteuid().is_root() {
        // Nothing is closed to root.
        fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
        for path in [root.join("runner.toml"), root.clone()] {
            chown(path, Some(65_534), Some(65_534)).unwrap();
        }
        command.uid(65_534).gid(65_534);
    }
    let runner = Runner { process: Process::run(&mut command), dir };
    let [alice] = runner.pids(0, &["alice"])[..] else { unreachable!() };
    let pid = runner.process.id();
    let closed = ["environ", "mem", "maps"].map(|file| format!("read /proc/{pid}/{file}"));
    let closed: Vec<_> = closed.into_iter().chain([format!("trace {pid}")]).collect();
    // That it is no accident: its own are open to it.
    let own = format!("read /proc/{alice}/environ");
    fs::write(root.join("attempts"), format!("{}\n{own}\n", closed.join("\n"))).unwrap();
    fs::write(root.join("go"), "").unwrap();
    let told = |attempt: &str| {
        let log = runner.log("alice");
        let begin = format!("attempt {attempt}: ");
        log.lines().find_map(|line| Some(line.strip_prefix(&begin)?.to_owned()))
    };
    eventually("all attempts", || told(&own).is_some());
    assert!(told(&own).unwrap().starts_with("done"), "{:?}", told(&own));
    for attempt in closed {
        let outcome = told(&attempt).unwrap();
        let refused = ["(os error 13)", "(os error 1)"].iter().any(|it| outcome.contains(it));
        assert!(refused, "{attempt}: {outcome}");
    }
    runner.stop();
}
