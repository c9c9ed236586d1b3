//! Agents in PID namespaces. Whether a process lives in one is seen by a lock that it holds, as
//! its number there says nothing here.

use std::fs::File;
use std::process::Command;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{geteuid, kill_process};

use super::trees::{LEADER_FIRST, NO_MARKER, NO_MARKER_LED, REPARENTED, SAME_GROUP, SETSID};
use super::*;
use crate::executor::contain;
use crate::executor::local::{Containment, pidfd};

/// An executor whose agents have PID namespaces; none, said aloud, where none can be made.
fn rig() -> Option<Rig> {
    match Trees::probe("contained", Containment::PidNamespace, &births()) {
        Ok(trees) => Some(Rig::with(Arc::new(trees))),
        Err(why) => {
            eprintln!("NOT TESTED: {why}");
            None
        }
    }
}

/// What is left behind holds the lock from before it tells of itself.
fn locking(script: &str) -> String {
    script.replace("--touch left", "--lock held --touch left")
}

fn script(rig: &mut Rig, script: &str) -> RunId {
    rig.spawn(&["sh", "-c", &locking(script), misbehave().to_str().unwrap()])
}

fn is_held(rig: &Rig) -> bool {
    let file = File::open(rig.path("held")).unwrap();
    flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
}

/// An agent in a namespace whose proxy is not our child.
fn stranger(rig: &Rig, script: &str) -> Identity {
    let start = format!(
        "MARK=ours setsid {program} {} -- sh -c '{}' {program} </dev/null >/dev/null 2>&1 & echo $!",
        contain::VERB,
        locking(script),
        program = misbehave().display(),
    );
    let mut sh = Command::new("sh");
    let output = sh.args(["-c", &start]).current_dir(rig.temp.path()).output().unwrap();
    let pid = String::from_utf8(output.stdout).unwrap().trim_end().parse().unwrap();
    Identity { pid, start: pidfd::stat(raw(pid)).unwrap().start }
}

fn adopt(rig: &mut Rig, identity: Identity) -> RunId {
    rig.next += 1;
    let run = RunId(rig.next);
    rig.local.adopt(Adoption { run, identity, marker: "MARK=ours".to_owned(), gate: false });
    run
}

async fn end(rig: &mut Rig, run: RunId) -> Exit {
    let told = rig.until(run, |event| matches!(event, Event::Gone { .. })).await;
    let Some(Event::Gone { exit, .. }) = told.last() else { panic!("{told:?}") };
    *exit
}

#[tokio::test]
async fn nobody_escapes_from_a_pid_namespace() {
    for shape in [SAME_GROUP, SETSID, REPARENTED, LEADER_FIRST, NO_MARKER, NO_MARKER_LED] {
        let Some(mut rig) = rig() else { return };
        let run = script(&mut rig, shape);
        rig.wait_for("left").await;
        assert!(is_held(&rig), "{shape}");
        rig.local.kill(run);
        rig.gone(run).await;
        assert!(!is_held(&rig), "survivor of {shape}");
    }
}

#[tokio::test]
async fn exits_are_exact_through_a_pid_namespace() {
    let Some(mut rig) = rig() else { return };
    for code in [0, 1, 2, 3, 7, 98, 125, 126, 127, 255] {
        let run = rig.spawn(&["sh", "-c", &format!("exit {code}")]);
        assert_eq!(rig.gone(run).await, Exit::Code(code));
        assert_eq!(rig.told[&run].len(), 2, "it left nobody behind");
    }
    for signal in [Signal::HUP, Signal::ABORT, Signal::KILL, Signal::SEGV, Signal::PIPE] {
        let run = rig.spawn(&["sh", "-c", &format!("kill -{} $$", signal.as_raw())]);
        assert_eq!(rig.gone(run).await, Exit::Signal(signal.as_raw()));
    }
}

#[tokio::test]
async fn what_cannot_be_run_in_a_pid_namespace_is_refused_as_it_is_without() {
    let Some(mut rig) = rig() else { return };
    let (here, there) =
        (Rig::new().request(&["no-such-program"]), rig.request(&["no-such-program"]));
    assert_eq!(rig.refused(there).await, Rig::new().refused(here).await);
}

#[tokio::test]
async fn an_agent_in_a_pid_namespace_is_somebody_else_if_that_is_asked_for() {
    let Some(mut rig) = rig() else { return };
    if !geteuid().is_root() {
        return eprintln!("NOT TESTED: only root can become somebody else");
    }
    let mut request = rig.request(&["sh", "-c", "id -u; id -g; echo $$"]);
    let run = request.run;
    request.spec.confinement.user = Some("65534".to_owned());
    request.spec.confinement.group = Some("65534".to_owned());
    request.spec.cwd = "/".into();
    rig.local.spawn(request);
    if let Event::SpawnFailed { error, .. } = &rig.until(run, |_| true).await[0] {
        return eprintln!("NOT TESTED: root in a user namespace cannot: {error}");
    }
    assert_eq!(rig.gone(run).await, Exit::Code(0));
    assert_eq!(rig.output(), "65534\n65534\n2\n");
}

#[tokio::test]
async fn an_agent_in_a_pid_namespace_is_told_each_signal_once() {
    let Some(mut rig) = rig() else { return };
    let noted = rig.path("noted");
    let ready = rig.path("ready");
    let (noted, ready) = (noted.to_str().unwrap(), ready.to_str().unwrap());
    let run =
        rig.spawn_misbehaving(&["--note-term", noted, "--on-term-exit", "3", "--touch", ready]);
    rig.wait_for("ready").await;
    rig.local.terminate(run);
    assert_eq!(rig.gone(run).await, Exit::Code(3));
    assert_eq!(rig.text("noted").lines().count(), 1);

    let run = rig.spawn(&[
        "sh",
        "-c",
        "trap 'exit 5' USR1; echo > trapped; while :; do sleep 0.01; done",
    ]);
    rig.wait_for("trapped").await;
    kill_process(raw(rig.started(run).await), Signal::USR1).unwrap();
    assert_eq!(rig.gone(run).await, Exit::Code(5));
}

#[tokio::test]
async fn whom_an_agent_leaves_behind_in_its_pid_namespace_is_told_to_end_once_and_then_killed() {
    let Some(mut rig) = rig() else { return };
    let run = script(
        &mut rig,
        "(env -i setsid $0 --touch left --ignore-term --note-term noted &); \
         until test -s left; do :; done; exit 3",
    );
    assert_eq!(rig.left_behind(run).await, Exit::Code(3));
    assert!(is_held(&rig));
    rig.local.terminate(run);
    rig.wait_for("noted").await;
    rig.local.kill(run);
    assert_eq!(rig.gone(run).await, Exit::Code(3));
    assert!(!is_held(&rig));
    assert_eq!(rig.text("noted").lines().count(), 1);
}

#[tokio::test]
async fn whoever_kills_the_proxy_of_an_agent_kills_its_namespace() {
    let Some(mut rig) = rig() else { return };
    let run = script(&mut rig, NO_MARKER);
    rig.wait_for("left").await;
    kill_process(raw(rig.started(run).await), Signal::KILL).unwrap();
    assert_eq!(rig.gone(run).await, Exit::Signal(9));
    assert!(!is_held(&rig));
}

#[tokio::test]
async fn an_agent_in_a_pid_namespace_is_adopted_with_its_exit_and_its_tree() {
    let Some(mut rig) = rig() else { return };
    let gentle = stranger(&rig, "trap \"exit 3\" TERM; echo > ready; while :; do sleep 0.01; done");
    rig.wait_for("ready").await;
    let run = adopt(&mut rig, gentle);
    rig.local.terminate(run);
    assert_eq!(end(&mut rig, run).await, Exit::Code(3));

    let stubborn = stranger(&rig, NO_MARKER);
    rig.wait_for("left").await;
    let run = adopt(&mut rig, stubborn);
    rig.local.kill(run);
    assert_eq!(end(&mut rig, run).await, Exit::Signal(9));
    assert!(!is_held(&rig));

    fs::remove_file(rig.path("left")).unwrap();
    let orphaned = stranger(&rig, NO_MARKER);
    rig.wait_for("left").await;
    let run = adopt(&mut rig, orphaned);
    kill_process(raw(orphaned.pid), Signal::KILL).unwrap();
    assert_eq!(end(&mut rig, run).await, Exit::Signal(9));
    assert!(!is_held(&rig));
}

#[tokio::test]
async fn what_is_left_in_the_namespace_of_an_ended_agent_is_ended_by_the_next_runner() {
    let Some(mut rig) = rig() else { return };
    let ended = stranger(
        &rig,
        "(env -i setsid $0 --touch left --ignore-term --note-term noted &); \
         until test -s left; do :; done",
    );
    eventually("end of the leader", || {
        !pidfd::stat(raw(ended.pid)).is_ok_and(|stat| stat.state != 'Z')
    });
    assert!(is_held(&rig));
    let run = adopt(&mut rig, ended);
    rig.until(run, |event| matches!(event, Event::LeaderExited { .. })).await;
    rig.local.terminate(run);
    rig.wait_for("noted").await;
    rig.local.kill(run);
    assert_eq!(end(&mut rig, run).await, Exit::Unknown);
    assert!(!is_held(&rig));
}
