//! The verbs that end by themselves: what they print, to which stream, and with which exit code.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::harness::{Runner, World, entities, misbehave};

fn run(args: &[&str], cwd: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command.args(args).current_dir(cwd).env_remove("RUST_LOG").output().unwrap()
}

fn with_file(text: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("configs")).unwrap();
    fs::write(dir.path().join("configs/mine.toml"), text).unwrap();
    dir
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn validate_finds_a_file_by_its_name_in_configs() {
    let dir = with_file("[runner]\nserver = \"localhost:50051\"\n");
    for name in ["configs/mine.toml", "mine.toml", "mine"] {
        let output = run(&["validate", "--config", name], dir.path());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("configs/mine.toml: ok"), "{}", text(&output.stdout));
    }
    let output = run(&["validate", "--config", "mein"], dir.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("mine"), "{}", text(&output.stderr));
}

#[test]
fn a_wrong_file_ends_reconcile_with_all_its_mistakes_and_exit_code_2() {
    let dir = with_file(
        "[runner]\nservr = \"localhost:50051\"\nbackoff_multiplier = 0.5\n\
         [agents.alice]\nargs = [\"x\"]\n[agents.bob]\nmodule = 7\n",
    );
    let output = run(&["reconcile", "--config", "mine", "--state-dir", "state"], dir.path());
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "");
    let said = text(&output.stderr);
    for part in
        ["configs/mine.toml:2:", "server", "configs/mine.toml:3:", "mine.toml:4:", "mine.toml:7:"]
    {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(!said.contains('\x1b'), "colours without a terminal: {said}");
    assert!(!dir.path().join("logs").exists());
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["reconcile"][..], &["no-such-verb"], &["agent", "--server"]] {
        assert_eq!(run(args, dir.path()).status.code(), Some(2));
    }
}

#[test]
fn plan_says_what_a_running_configuration_would_change_and_changes_nothing() {
    let world = World::start(&entities(["alice", "bob"]));
    let config = |args: &str| {
        format!(
            "[runner]\nserver = {:?}\n[agents.default]\ncommand = [{program:?}]\n\
             [agents.bob]\ncommand = [{program:?}]\nargs = [{args}]\n\
             [jit]\nwatch_interval_ms = 600000\n",
            world.address,
            program = misbehave(),
        )
    };
    let runner = Runner::start(&config(""));
    runner.pids(0, &["alice", "bob"]);
    let plan =
        || run(&["plan", "--config", "runner.toml", "--state-dir", "state"], runner.dir.path());

    let output = plan();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).trim(), "unchanged   2");

    // A file that the running one does not see: the plan is of the file, not of the process.
    let edited = runner.dir.path().join("runner.toml");
    runner.process.signal(rustix::process::Signal::STOP);
    fs::write(&edited, config("\"--new\"")).unwrap();
    let output = plan();
    let printed = text(&output.stdout);
    runner.process.signal(rustix::process::Signal::CONT);
    assert!(printed.contains("stop        bob: command changed"), "{printed}");
    assert!(printed.contains("unchanged   1"), "{printed}");
    runner.stop();
}

#[test]
fn plan_shows_the_starts_of_a_demo_that_does_not_run() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("demo.toml"),
        format!(
            "[runner]\nserver = \"embedded\"\n[agents.default]\ncommand = [\"x\"]\n{}",
            entities(["alice"])
        ),
    )
    .unwrap();
    let output = run(&["plan", "--config", "demo.toml"], dir.path());
    assert_eq!(
        text(&output.stdout),
        "start       alice: the entity has no agent; template default (default template)\n\
         unchanged   0\n"
    );
    assert!(!dir.path().join("logs").exists());
}

#[test]
fn plan_fails_with_exit_code_1_when_the_world_is_silent() {
    let world = World::absent("");
    let dir = with_file(&format!(
        "[runner]\nserver = {:?}\nconnection_timeout_ms = 200\n",
        world.address
    ));
    let output = run(&["plan", "--config", "mine"], dir.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(&world.address), "{}", text(&output.stderr));
}

#[test]
fn every_verb_has_help_with_an_example() {
    let dir = tempfile::tempdir().unwrap();
    for verb in ["reconcile", "plan", "validate", "world", "agent"] {
        let output = run(&[verb, "--help"], dir.path());
        let help = text(&output.stdout);
        let examples = help.split_once("Example").unwrap_or_default().1;
        assert!(examples.contains(&format!("runner {verb}")), "{verb}: {help}");
    }
    assert!(text(&run(&["--help"], dir.path()).stdout).contains("Exit codes: 0 done"));
}
