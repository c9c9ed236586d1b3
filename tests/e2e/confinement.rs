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
