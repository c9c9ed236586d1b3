//! Files and directories that somebody else could have written are not used: by the real binary,
//! with what to do about it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::{Command, Output};

use super::harness::{Process, Runner, entities, misbehave};

fn config(version: usize) -> String {
    format!(
        "[runner]\nserver = \"embedded\"\n[agents.default]\ncommand = [{:?}, \"--version\", \
         \"{version}\"]\n{}",
        misbehave(),
        entities(["alice"])
    )
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn run(dir: &Path, verb: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_runner"))
        .args([verb, "--config", "runner.toml", "--state-dir", "state"])
        .current_dir(dir)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Each verb that reads the file refuses it with this.
fn refused(dir: &Path, words: &[&str]) {
    for verb in ["validate", "config", "plan", "reconcile"] {
        let output = run(dir, verb);
        assert_eq!(output.status.code(), Some(2), "{verb}: {}", said(&output));
        for word in words {
            assert!(said(&output).contains(word), "{verb}: {}", said(&output));
        }
    }
    assert!(!dir.join("state").exists(), "something was begun");
}

#[test]
fn a_configuration_that_others_could_have_written_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("runner.toml");
    fs::write(&file, config(1)).unwrap();
    mode(&file, 0o666);
    refused(dir.path(), &["every user of this machine (mode 0666)", "run `chmod o-w runner.toml`"]);
    mode(&file, 0o644);
    mode(dir.path(), 0o777);
    refused(dir.path(), &["could be replaced", "run `chmod o-w"]);
    // In a directory such as /tmp, nobody can replace what is somebody else's.
    mode(dir.path(), 0o1777);
    assert!(run(dir.path(), "validate").status.success());
    if !rustix::process::geteuid().is_root() {
        eprintln!("NOT TESTED: a configuration of another user, as only root can make one");
        return;
    }
    chown(&file, Some(65_534), None).unwrap();
    refused(dir.path(), &["belongs to user 65534", "run `chown 0 runner.toml`"]);
}

#[test]
fn a_live_configuration_that_others_could_have_written_is_not_taken() {
    let runner = Runner::start(&config(1));
    let [pid] = runner.pids(0, &["alice"])[..] else { unreachable!() };
    let mark = runner.process.mark();
    // Others may change it, and one of them does.
    mode(&runner.config(), 0o666);
    runner.save(&config(2));
    let line = runner.process.event_of_all(mark, "config.unreadable");
    assert!(line.to_string().contains("chmod o-w"), "{line}");
    assert!(runner.agent_pids().contains(&pid), "the last good one holds");
    assert_eq!(runner.process.all_after(mark, "agent.stopping"), Vec::<serde_json::Value>::new());
    // The one who may has looked at it, and takes it.
    mode(&runner.config(), 0o644);
    assert_ne!(runner.pids(mark, &["alice"]), [pid]);
    runner.stop();
}

/// As a kubelet makes the volume of a ConfigMap: of mode 0777, with links, and read-only where the pod
/// sees it.
const VOLUME: &str = r#"
    set -e
    mkdir node pod
    mount -t tmpfs none node
    mkdir node/..1
    cp runner.toml node/..1/
    ln -s ..1 node/..data
    ln -s ..data/runner.toml node/runner.toml
    chmod 777 node
    mount --bind node pod
    mount -o remount,bind,ro pod
    ! "$0" validate --config pod/runner.toml
    umount node
    "$0" validate --config pod/runner.toml
    mount -o remount,bind,rw pod
    ! "$0" validate --config pod/runner.toml
"#;

#[test]
fn a_configuration_where_nobody_can_write_is_believed_whatever_the_mode_says() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("runner.toml"), config(1)).unwrap();
    let in_namespace = |words: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount"]).args(words);
        command.current_dir(dir.path()).output()
    };
    if !in_namespace(&["true"]).is_ok_and(|output| output.status.success()) {
        eprintln!("NOT TESTED: a read-only volume, as no mount namespace can be made here");
        return;
    }
    let shell = ["sh", "-c", VOLUME, env!("CARGO_BIN_EXE_runner")];
    let output = in_namespace(&shell).unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output).matches("could be replaced").count(), 2, "{}", said(&output));
    let accepted = "pod/runner.toml: ok, 1 templates\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), accepted);
}

/// What a runner says that does not begin, and its exit code.
fn begin(dir: &Path) -> (Option<i32>, String) {
    fs::write(dir.join("runner.toml"), config(1)).unwrap();
    let output = run(dir, "reconcile");
    (output.status.code(), said(&output))
}

#[test]
fn a_state_directory_that_others_could_have_written_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    fs::create_dir(&state).unwrap();
    mode(&state, 0o777);
    let (code, why) = begin(dir.path());
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("may be written into by others (mode 0777)"), "{why}");
    assert!(why.contains("chmod 700"), "{why}");
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0, "something was begun");

    // A link that was put there while it was open: what it leads to is not touched.
    mode(&state, 0o700);
    let victim = dir.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    for name in ["lock", "journal", "journal.next", "events", "world-port"] {
        symlink(&victim, state.join(name)).unwrap();
        let (code, why) = begin(dir.path());
        assert_eq!(code, Some(1), "{name}: {why}");
        assert!(why.contains("is a link") && why.contains("run `rm "), "{name}: {why}");
        fs::remove_file(state.join(name)).unwrap();
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    fs::write(state.join("journal"), "").unwrap();
    mode(&state.join("journal"), 0o666);
    let (code, why) = begin(dir.path());
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("may be changed by others (mode 0666)"), "{why}");
    assert!(why.contains("run `chmod 600 "), "{why}");
    mode(&state.join("journal"), 0o600);

    if !rustix::process::geteuid().is_root() {
        eprintln!("NOT TESTED: a state directory of another user, as only root can make one");
        return;
    }
    for path in [state.join("journal"), state] {
        chown(&path, Some(65_534), None).unwrap();
        let (code, why) = begin(dir.path());
        assert_eq!(code, Some(1), "{why}");
        assert!(why.contains("belongs to user 65534") && why.contains("run `chown 0 "), "{why}");
        chown(&path, Some(0), None).unwrap();
    }
}

#[test]
fn a_state_directory_that_others_could_only_read_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    fs::create_dir(&state).unwrap();
    mode(&state, 0o755);
    fs::write(state.join("events"), "").unwrap();
    mode(&state.join("events"), 0o644);
    let runner = Runner::start_at(dir, &config(1));
    runner.pids(0, &["alice"]);
    let of = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(of(&state), 0o700);
    for entry in fs::read_dir(&state).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(of(&path), 0o600, "{}", path.display());
    }
    runner.stop();
}

#[test]
fn a_log_that_was_replaced_by_a_link_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (logs, victim) = (dir.path().join("logs"), dir.path().join("victim"));
    fs::create_dir(&logs).unwrap();
    fs::write(&victim, "precious").unwrap();
    symlink(&victim, logs.join("agent-alice.log")).unwrap();
    let runner = Runner::start_at(dir, &config(1));
    let line = runner.process.event(0, "agent.not_started", "alice");
    assert!(line.to_string().contains("agent-alice.log"), "{line}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    fs::remove_file(logs.join("agent-alice.log")).unwrap();
    runner.pids(0, &["alice"]);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    runner.stop();
}

#[test]
fn a_runner_under_a_wide_umask_keeps_what_it_writes_to_itself() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("runner.toml"), config(1)).unwrap();
    let script =
        "umask 0; exec \"$0\" --log-format json reconcile --config runner.toml --state-dir state";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_runner")]).current_dir(dir.path());
    let process = Process::run(&mut command);
    process.event(0, "agent.started", "alice");
    let runner = Runner { process, dir };
    let state = runner.dir.path().join("state");
    let of = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o077;
    assert_eq!(of(&state), 0);
    for entry in fs::read_dir(&state).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(of(&path), 0, "{}", path.display());
    }
    runner.stop();
}
