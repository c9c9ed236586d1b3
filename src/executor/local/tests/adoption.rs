//! Agents that another runner started: here, processes of a parent that has ended.

use std::process::Command;

use super::*;
use crate::executor::local::pidfd;

/// A process that is not our child: its parent was a shell that is gone by now.
fn stranger(rig: &Rig, name: &str, args: &str) -> Identity {
    let file = rig.path(name);
    let script = format!(
        "MARK=ours setsid {} --touch {} {args} </dev/null >/dev/null 2>&1 &",
        misbehave().display(),
        file.display()
    );
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    eventually(name, || fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n')));
    let line = fs::read_to_string(&file).unwrap();
    let (pid, start) = line.trim_end().split_once(' ').unwrap();
    // It may have ended by now, so that nobody else could tell when it began.
    Identity { pid: pid.parse().unwrap(), start: start.parse().unwrap() }
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
async fn the_exit_of_an_adopted_agent_is_exact() {
    let mut rig = Rig::new();
    let mut runs = Vec::new();
    for code in [0, 1, 7, 255] {
        let name = format!("code-{code}");
        let identity = stranger(&rig, &name, &format!("--on-term-exit {code}"));
        let run = adopt(&mut rig, identity);
        rig.local.terminate(run);
        runs.push((run, Exit::Code(code)));
    }
    for signal in [Signal::KILL, Signal::TERM, Signal::ABORT] {
        let identity = stranger(&rig, &format!("signal-{}", signal.as_raw()), "");
        let run = adopt(&mut rig, identity);
        rustix::process::kill_process(raw(identity.pid), signal).unwrap();
        runs.push((run, Exit::Signal(signal.as_raw())));
    }
    for (run, exit) in runs {
        assert_eq!(end(&mut rig, run).await, exit);
    }
}

#[tokio::test]
async fn an_adopted_agent_and_its_group_are_terminated_and_killed() {
    let mut rig = Rig::new();
    let gentle = stranger(&rig, "gentle", "--fork 2 --on-term-exit 3");
    let run = adopt(&mut rig, gentle);
    rig.local.terminate(run);
    assert_eq!(end(&mut rig, run).await, Exit::Code(3));
    assert_eq!(members(gentle.pid), 0);

    let stubborn = stranger(&rig, "stubborn", "--ignore-term --fork 2 --grandchild-ignore-term");
    let run = adopt(&mut rig, stubborn);
    rig.local.kill(run);
    assert_eq!(end(&mut rig, run).await, Exit::Signal(9));
    assert_eq!(members(stubborn.pid), 0);
}

#[tokio::test]
async fn a_number_that_is_anothers_by_now_is_not_adopted_and_never_signalled() {
    let mut rig = Rig::new();
    let stranger = stranger(&rig, "another", "");
    let before = Identity { start: stranger.start - 1, ..stranger };
    rig.next += 1;
    let run = RunId(rig.next);
    let marker = "MARK=not-its-own".to_owned();
    rig.local.adopt(Adoption { run, identity: before, marker, gate: false });
    rig.local.kill(run);
    assert_eq!(end(&mut rig, run).await, Exit::Unknown);
    let alive = pidfd::stat(raw(stranger.pid)).unwrap();
    assert_eq!((alive.start, alive.state == 'Z'), (stranger.start, false));
    rustix::process::kill_process(raw(stranger.pid), Signal::KILL).unwrap();
}

#[tokio::test]
async fn what_an_agent_left_behind_while_no_runner_was_there_is_ended() {
    let mut rig = Rig::new();
    let leader = stranger(&rig, "leader", "--fork 2 --grandchild-ignore-term --signal-self 9");
    eventually("end of the leader", || {
        !pidfd::stat(raw(leader.pid)).is_ok_and(|stat| stat.state != 'Z')
    });
    assert_eq!(members(leader.pid), 2);
    let run = adopt(&mut rig, leader);
    assert_eq!(rig.until(run, |event| matches!(event, Event::LeaderExited { .. })).await.len(), 1);
    rig.local.kill(run);
    assert_eq!(end(&mut rig, run).await, Exit::Unknown);
    assert_eq!(members(leader.pid), 0);
}

#[tokio::test]
async fn an_agent_is_recorded_before_it_runs() {
    let mut rig = Rig::new();
    let run = rig.spawn(&["sh", "-c", "exit 4"]);
    let pid = rig.started(run).await;
    assert_eq!(rig.identities.0.lock().unwrap()[&run].pid, pid);
    assert_eq!(rig.gone(run).await, Exit::Code(4));
}

#[test]
fn a_gate_that_nobody_opens_ends_without_running_anything() {
    let births = births();
    let gate = births.birth(None).unwrap();
    let pid = gate.pid;
    // Our end of its socket closes, as it does when a runner dies.
    drop(gate);
    assert_eq!(reaped(pid).exit_status(), Some(125));
}

#[test]
fn a_server_of_gates_that_was_lost_is_followed_by_another() {
    let births = births();
    let first = births.birth(None).unwrap();
    births.lose();
    let second = births.birth(None).unwrap();
    for gate in [first, second] {
        let pid = gate.pid;
        drop(gate);
        assert_eq!(reaped(pid).exit_status(), Some(125));
    }
}
