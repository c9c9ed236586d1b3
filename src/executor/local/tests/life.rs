//! From start to end, and what is told of it.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Signal, kill_process};
use tokio::time::timeout;

use super::{Rig, group_of, members, raw};
use crate::executor::local::leader::abandon;
use crate::executor::misbehave::{DEADLINE, eventually, misbehave};
use crate::executor::{Event, Executor};
use crate::plan::{EntityId, Exit, RunId};

const SIGTERM: Exit = Exit::Signal(15);
const SIGKILL: Exit = Exit::Signal(9);

#[tokio::test]
async fn exit_codes_are_exact() {
    let mut rig = Rig::new();
    for code in [0, 1, 42, 255] {
        let text = code.to_string();
        let run = rig.spawn_misbehaving(&["--exit-after-ms", "0", "--code", &text]);
        assert_eq!(rig.gone(run).await, Exit::Code(code));
    }
}

#[tokio::test]
async fn signals_are_exact() {
    let mut rig = Rig::new();
    // Not SIGHUP, SIGINT and SIGQUIT: a test that runs in the background may inherit that they
    // are ignored.
    for signal in [9, 10, 11, 12, 15] {
        let run = rig.spawn_misbehaving(&["--signal-self", &signal.to_string()]);
        assert_eq!(rig.gone(run).await, Exit::Signal(signal));
    }
}

#[tokio::test]
async fn a_core_dump_is_told_as_its_signal() {
    let mut rig = Rig::new();
    let run = rig.spawn(&["sh", "-c", "ulimit -c 1; kill -ABRT $$"]);
    assert_eq!(rig.gone(run).await, Exit::Signal(6));
}

#[tokio::test]
async fn output_of_all_runs_is_appended_to_the_log() {
    let mut rig = Rig::new();
    for word in ["one", "two"] {
        let run = rig.spawn(&["sh", "-c", &format!("echo {word} out; echo {word} err >&2")]);
        assert_eq!(rig.gone(run).await, Exit::Code(0));
    }
    assert_eq!(rig.output(), "one out\none err\ntwo out\ntwo err\n");
    assert_eq!(rig.log().matches("--- runner: ").count(), 2);
}

#[tokio::test]
async fn environment_directory_stdin_and_group_are_as_asked_for() {
    let mut rig = Rig::new();
    let script =
        "echo $AGENT $MARKER; echo ${PATH:+inherited}; pwd -P; readlink /proc/self/fd/0; cat";
    let run = rig.spawn(&["sh", "-c", script]);
    let pid = rig.started(run).await;
    assert_eq!(rig.gone(run).await, Exit::Code(0));
    let cwd = rig.temp.path().canonicalize().unwrap();
    assert_eq!(rig.output(), format!("yes yes\ninherited\n{}\n/dev/null\n", cwd.display()));

    let run = rig.spawn_misbehaving(&[]);
    let leader = rig.started(run).await;
    assert_ne!(leader, pid);
    assert_eq!(group_of(leader.try_into().unwrap()), leader.try_into().ok());
    rig.local.kill(run);
    assert_eq!(rig.gone(run).await, SIGKILL);
}

#[tokio::test]
async fn ids_with_slashes_stay_in_the_log_directory() {
    let mut rig = Rig::new();
    let mut request = rig.request(&["echo", "hello"]);
    request.entity = EntityId::new("../../x").unwrap();
    let run = request.run;
    rig.local.spawn(request);
    assert_eq!(rig.gone(run).await, Exit::Code(0));
    assert!(rig.text("logs/agent-..%2F..%2Fx.log").ends_with("\nhello\n"));
}

#[tokio::test]
async fn terminate_reaches_the_leader_alone() {
    let mut rig = Rig::new();
    let run = rig.spawn_misbehaving(&[
        "--fork",
        "1",
        "--grandchild-note-term",
        "child-noted",
        "--grandchild-ignore-term",
        "--grandchild-touch",
        "child",
        "--note-term",
        "noted",
        "--on-term-exit",
        "7",
        "--touch",
        "leader",
    ]);
    let pid = rig.started(run).await;
    rig.wait_for("leader").await;
    rig.wait_for("child").await;
    rig.local.terminate(run);
    assert_eq!(rig.left_behind(run).await, Exit::Code(7));
    assert_eq!(rig.text("noted"), format!("{pid}\n"));

    // With the leader gone it is the others' turn, once.
    rig.wait_for("child-noted").await;
    assert_eq!(rig.text("child-noted").lines().count(), 1);
    assert_eq!(members(pid), 1);
    rig.local.kill(run);
    assert_eq!(rig.gone(run).await, Exit::Code(7));
}

#[tokio::test]
async fn a_run_is_not_gone_while_a_member_of_its_group_lives() {
    let mut rig = Rig::new();
    let run = rig.spawn_misbehaving(&[
        "--fork",
        "3",
        "--grandchild-touch",
        "child",
        "--exit-after-ms",
        "0",
        "--code",
        "3",
    ]);
    assert_eq!(rig.left_behind(run).await, Exit::Code(3));
    let pid = rig.started(run).await;
    rig.wait_for("child").await;
    assert!(members(pid) > 0);
    assert_eq!(rig.told[&run].len(), 2, "{:?}", rig.told[&run]);
    rig.local.terminate(run);
    assert_eq!(rig.gone(run).await, Exit::Code(3));
}

#[tokio::test]
async fn a_group_that_empties_by_itself_is_gone() {
    let mut rig = Rig::new();
    // Each is started by one that has ended by the time the next one ends.
    let run = rig.spawn(&["sh", "-c", "(sleep 0.2; (sleep 0.2; (sleep 0.2) & ) & ) &"]);
    assert_eq!(rig.gone(run).await, Exit::Code(0));
}

#[tokio::test]
async fn kill_ends_a_whole_group_that_ignores_sigterm() {
    let mut rig = Rig::new();
    let run = rig.spawn_misbehaving(&[
        "--ignore-term",
        "--fork",
        "2",
        "--grandchild-ignore-term",
        "--note-term",
        "noted",
        "--touch",
        "leader",
    ]);
    rig.started(run).await;
    rig.wait_for("leader").await;
    rig.local.terminate(run);
    rig.wait_for("noted").await;
    assert_eq!(rig.told[&run].len(), 1);
    rig.local.kill(run);
    assert_eq!(rig.gone(run).await, SIGKILL);
}

#[tokio::test]
async fn orders_before_the_start_are_carried_out_after_it() {
    let mut rig = Rig::new();
    // On a runtime of one thread the task of the run has not begun yet.
    let terminated = rig.spawn(&["sleep", "100"]);
    rig.local.terminate(terminated);
    let killed = rig.spawn(&["sleep", "100"]);
    rig.local.kill(killed);
    assert_eq!(rig.gone(terminated).await, SIGTERM);
    assert_eq!(rig.gone(killed).await, SIGKILL);
}

#[tokio::test]
async fn orders_about_unknown_and_finished_runs_are_ignored() {
    let mut rig = Rig::new();
    rig.local.terminate(RunId(99));
    rig.local.kill(RunId(99));
    let run = rig.spawn(&["true"]);
    assert_eq!(rig.gone(run).await, Exit::Code(0));
    rig.local.terminate(run);
    rig.local.kill(run);
    assert!(rig.events.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_at_once_are_started_and_gone() {
    let mut rig = Rig::new();
    let runs: Vec<RunId> =
        (0..100).map(|_| rig.spawn_misbehaving(&["--ignore-term", "--fork", "1"])).collect();
    for &run in &runs {
        rig.started(run).await;
    }
    for &run in &runs {
        rig.local.kill(run);
    }
    for &run in &runs {
        assert_eq!(rig.gone(run).await, SIGKILL);
    }
    assert!(rig.local.shared.runs().as_ref().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_that_crash_at_once_are_all_noticed() {
    let mut rig = Rig::new();
    let runs: Vec<RunId> = (0..100).map(|_| rig.spawn(&["false"])).collect();
    for run in runs {
        assert_eq!(rig.gone(run).await, Exit::Code(1));
    }
}

#[tokio::test]
async fn agents_outlive_the_executor() {
    let Rig { local, mut events, temp, .. } = {
        let mut rig = Rig::new();
        let run = rig.spawn_misbehaving(&["--touch", "up"]);
        rig.started(run).await;
        rig.wait_for("up").await;
        rig
    };
    drop(local);
    let line = fs::read_to_string(temp.path().join("up")).unwrap();
    let pid = raw(line.split_whitespace().next().unwrap().parse().unwrap());
    // Its own signal is the next that is heard of it: nothing else ended it.
    kill_process(pid, Signal::USR1).unwrap();
    let event = timeout(DEADLINE, events.recv()).await.unwrap();
    assert_eq!(event, Some(Event::Gone { run: RunId(1), exit: Exit::Signal(10) }));
}

#[test]
#[expect(clippy::zombie_processes, reason = "that is what is tested")]
fn a_child_that_cannot_be_watched_is_killed_and_reaped_with_its_group() {
    let temp = tempfile::tempdir().unwrap();
    let up = temp.path().join("up");
    let child = Command::new(misbehave())
        .args(["--fork", "1", "--touch", up.to_str().unwrap()])
        .process_group(0)
        .spawn()
        .unwrap();
    eventually("the child", || up.exists());
    abandon(raw(child.id()), None);
    eventually("the group's end", || members(child.id()) == 0);
    assert!(!Path::new(&format!("/proc/{}", child.id())).exists());
}

/// Not a test by itself: what the next one runs where SIGCHLD is ignored.
#[tokio::test]
#[ignore = "run by exits_are_noticed_where_sigchld_was_ignored"]
async fn inner_of_ignored_sigchld() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    assert_ne!(u64::from_str_radix(mask, 16).unwrap() & (1 << 16), 0, "SIGCHLD is not ignored");
    let mut rig = Rig::new();
    let run = rig.spawn(&["sh", "-c", "exit 5"]);
    assert_eq!(rig.gone(run).await, Exit::Code(5));
}

#[test]
fn exits_are_noticed_where_sigchld_was_ignored() {
    let this = env::current_exe().unwrap();
    let output = Command::new("env")
        .arg("--ignore-signal=CHLD")
        .arg(this)
        .args(["--ignored", "--exact", "executor::local::tests::life::inner_of_ignored_sigchld"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
