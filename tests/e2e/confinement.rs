//! What reaches an agent of the runner's own, and what does not.

use crate::harness::{Runner, entities, eventually};

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
    let journal = std::fs::read_to_string(runner.dir.path().join("state/journal")).unwrap();
    assert!(journal.contains("DB_*") && !journal.contains("hunter2"));
    runner.stop();
}

fn status(text: &str, key: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
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
    let ours = status(&std::fs::read_to_string("/proc/self/status").unwrap(), "NoNewPrivs:");
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
