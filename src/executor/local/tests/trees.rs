//! Agents whose processes run away from them, and how each is held.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;
use crate::executor::local::survey::{INSTANCE, RUN};
use crate::executor::local::{Containment, pidfd};
use crate::plan::{Limit, Limits};

/// The shapes of escape: who is left is a `misbehave` that tells its number in the file `left`.
pub(super) const SAME_GROUP: &str = "$0 --touch left --ignore-term & wait";
pub(super) const SETSID: &str = "setsid $0 --touch left --ignore-term & wait";
pub(super) const REPARENTED: &str = "(setsid $0 --touch left --ignore-term &) ; exec sleep 100";
pub(super) const LEADER_FIRST: &str =
    "$0 --touch left --ignore-term & until test -s left; do :; done";
pub(super) const NO_MARKER: &str =
    "(env -i setsid $0 --touch left --ignore-term &) ; exec sleep 100";
/// Only its parent tells whose it is, and that ends before it does.
pub(super) const NO_MARKER_LED: &str = "env -i setsid $0 --touch left --ignore-term & wait";

/// Trees that are held by cgroups; none, said aloud, where none can be made.
pub(super) fn cgroups(name: &str) -> Option<Arc<Trees>> {
    cgroups_for(name, &BTreeSet::new())
}

/// The same, where these limits hold if they do anywhere.
pub(super) fn cgroups_for(name: &str, wanted: &BTreeSet<Limit>) -> Option<Arc<Trees>> {
    match Trees::probe_for(name, Containment::Cgroup, &births(), wanted) {
        Ok(trees) => Some(Arc::new(trees)),
        Err(why) => {
            eprintln!("NOT TESTED: {why}");
            None
        }
    }
}

/// A name for trees that no other test has, nor another run of it.
pub(super) fn unique(temp: &TempDir) -> String {
    temp.path().to_str().unwrap().to_owned()
}

/// Puts a process into the cgroup of a run.
fn hold(trees: &Trees, run: RunId, pid: Pid) {
    trees.make(run, &Limits::default()).unwrap().unwrap().enter(pid).unwrap();
}

/// An executor that holds its agents by cgroups.
fn rig() -> Option<(Rig, Arc<Trees>)> {
    let temp = tempfile::tempdir().unwrap();
    let trees = cgroups(&unique(&temp))?;
    Some((Rig::with(Arc::clone(&trees)), trees))
}

/// Waits until the directory of a run is removed, which nobody is told of.
pub(super) async fn removed(trees: &Trees, run: RunId) {
    let gone = async {
        while trees.find(run).is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, gone).await.expect("a directory is left");
}

/// Who it was that left a line `pid start-time`.
fn who(line: &str) -> Option<Identity> {
    let (pid, start) = line.strip_suffix('\n')?.split_once(' ')?;
    Some(Identity { pid: pid.parse().ok()?, start: start.parse().ok()? })
}

fn lives(identity: Identity) -> bool {
    let stat = pidfd::stat(raw(identity.pid));
    stat.is_ok_and(|stat| stat.start == identity.start && stat.state != 'Z')
}

async fn left(rig: &Rig) -> Identity {
    rig.wait_for("left").await;
    let path = rig.path("left");
    let told = move || {
        let line = || who(&fs::read_to_string(&path).unwrap());
        eventually("a whole line", || line().is_some());
        line().unwrap()
    };
    tokio::task::spawn_blocking(told).await.unwrap()
}

fn script(rig: &mut Rig, script: &str) -> RunId {
    rig.spawn(&["sh", "-c", script, misbehave().to_str().unwrap()])
}

#[tokio::test]
async fn with_a_cgroup_nobody_escapes() {
    for shape in [SAME_GROUP, SETSID, REPARENTED, LEADER_FIRST, NO_MARKER, NO_MARKER_LED] {
        let Some((mut rig, trees)) = rig() else { return };
        let run = script(&mut rig, shape);
        let left = left(&rig).await;
        rig.local.kill(run);
        rig.gone(run).await;
        assert!(!lives(left), "survivor of {shape}");
        removed(&trees, run).await;
        trees.close();
    }
}

/// Starts an agent of this shape without a cgroup, and waits for whom it is to leave behind.
async fn uncontained(shape: &str) -> (Rig, RunId, Identity) {
    let mut rig = Rig::new();
    let mut request = rig.request(&["sh", "-c", shape, misbehave().to_str().unwrap()]);
    let run = request.run;
    request.markers =
        [(INSTANCE.to_owned(), unique(&rig.temp)), (RUN.to_owned(), run.0.to_string())].into();
    rig.local.spawn(request);
    let left = left(&rig).await;
    (rig, run, left)
}

#[tokio::test]
async fn without_a_cgroup_whoever_has_marks_or_a_parent_does_not_escape() {
    for shape in [SAME_GROUP, SETSID, REPARENTED, LEADER_FIRST, NO_MARKER_LED] {
        let (mut rig, run, left) = uncontained(shape).await;
        rig.local.kill(run);
        rig.gone(run).await;
        assert!(!lives(left), "survivor of {shape}");
    }
}

#[tokio::test]
async fn without_a_cgroup_whose_parent_ends_by_sigterm_is_ended_with_the_others() {
    let (mut rig, run, left) = uncontained(NO_MARKER_LED).await;
    rig.local.terminate(run);
    assert_eq!(rig.left_behind(run).await, Exit::Signal(15));
    assert!(lives(left));
    rig.local.kill(run);
    assert_eq!(rig.gone(run).await, Exit::Signal(15));
    assert!(!lives(left));
}

/// The one shape that the last tier does not reach, as the documentation says.
#[tokio::test]
async fn without_a_cgroup_who_has_neither_marks_nor_a_parent_escapes() {
    let (mut rig, run, left) = uncontained(NO_MARKER).await;
    rig.local.kill(run);
    rig.gone(run).await;
    assert!(lives(left));
    let (pidfd, _) = pidfd::open_started_at(raw(left.pid), left.start).unwrap().unwrap();
    rustix::process::pidfd_send_signal(pidfd, Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_run_is_not_gone_while_anybody_is_in_its_cgroup() {
    let Some((mut rig, trees)) = rig() else { return };
    let run = script(
        &mut rig,
        "(env -i setsid $0 --touch left --ignore-term --note-term noted &); \
         until test -s left; do :; done; exit 3",
    );
    assert_eq!(rig.left_behind(run).await, Exit::Code(3));
    let left = left(&rig).await;
    assert_eq!(rig.told[&run].len(), 2, "{:?}", rig.told[&run]);
    // SIGTERM reaches those who left the group too.
    rig.local.terminate(run);
    rig.wait_for("noted").await;
    assert!(lives(left));
    rig.local.kill(run);
    assert_eq!(rig.gone(run).await, Exit::Code(3));
    assert!(!lives(left));
    trees.close();
}

#[tokio::test]
async fn a_cgroup_that_vanished_holds_nobody_and_the_group_is_ended() {
    let Some((mut rig, trees)) = rig() else { return };
    let run = script(&mut rig, "$0 --touch left --ignore-term & wait");
    let left = left(&rig).await;
    let cgroup = trees.find(run).unwrap();
    // Moved out by somebody who may, as the root of a container.
    let out = cgroup.dir().parent().unwrap().parent().unwrap().join("cgroup.procs");
    for pid in cgroup.members().unwrap() {
        fs::write(&out, pid.as_raw_nonzero().to_string()).unwrap();
    }
    cgroup.remove().unwrap();
    rig.local.kill(run);
    assert_eq!(rig.gone(run).await, Exit::Signal(9));
    assert!(!lives(left));
    trees.close();
}

#[tokio::test]
async fn an_agent_that_makes_cgroups_of_its_own_is_ended_with_them() {
    let Some((mut rig, trees)) = rig() else { return };
    let run = script(&mut rig, "until test -e inner; do :; done; $0 --touch left --ignore-term");
    let pid = rig.started(run).await;
    let inner = trees.find(run).unwrap().dir().join("of/its/own");
    fs::create_dir_all(&inner).unwrap();
    fs::write(inner.join("cgroup.procs"), pid.to_string()).unwrap();
    fs::write(rig.path("inner"), "").unwrap();
    let left = left(&rig).await;
    rig.local.kill(run);
    rig.gone(run).await;
    assert!(!lives(left));
    removed(&trees, run).await;
    trees.close();
}

#[tokio::test]
async fn what_the_cgroup_of_an_ended_leader_holds_is_ended_by_the_next_runner() {
    let Some((mut rig, trees)) = rig() else { return };
    // Another runner's, of which only the cgroup is left.
    let mut leader = Command::new("sh")
        .args(["-c", &format!("read go; {NO_MARKER}"), misbehave().to_str().unwrap()])
        .current_dir(rig.temp.path())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let (run, pid) = (RunId(1), Pid::from_child(&leader));
    let identity = Identity { pid: leader.id(), start: pidfd::stat(pid).unwrap().start };
    hold(&trees, run, pid);
    leader.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let left = left(&rig).await;
    leader.kill().unwrap();
    leader.wait().unwrap();

    let marker = "NOBODY=has".to_owned();
    rig.local.adopt(Adoption { run, identity, marker, gate: false });
    rig.until(run, |event| matches!(event, Event::LeaderExited { .. })).await;
    assert!(lives(left));
    rig.local.kill(run);
    rig.until(run, |event| matches!(event, Event::Gone { .. })).await;
    assert!(!lives(left));
    removed(&trees, run).await;
    trees.close();
}

#[tokio::test]
async fn what_belongs_to_no_agent_is_swept_and_nothing_else() {
    let Some((mut rig, trees)) = rig() else { return };
    let known = script(&mut rig, "exec sleep 100");
    let unknown = script(&mut rig, NO_MARKER);
    let left = left(&rig).await;
    rig.started(known).await;
    // As made by a runner that died before it put a gate in.
    let home = trees.find(known).unwrap().dir().parent().unwrap().to_owned();
    fs::create_dir(home.join("77")).unwrap();

    let of_next = Trees::probe("another name", Containment::ProcessGroup, &births()).unwrap();
    of_next.sweep(&BTreeSet::new());
    assert!(lives(left), "it was another runner's");

    trees.sweep(&BTreeSet::from([known]));
    assert!(!lives(left));
    assert!(!Path::new(&home.join("77")).exists());
    rig.gone(unknown).await;
    assert!(rig.local.shared.runs().as_ref().unwrap().contains_key(&known));
    rig.local.terminate(known);
    assert_eq!(rig.gone(known).await, Exit::Signal(15));
    trees.close();
    assert!(!home.exists());
}

#[tokio::test]
async fn trees_are_found_again_without_cgroups_being_wanted() {
    let temp = tempfile::tempdir().unwrap();
    let Some(trees) = cgroups(&unique(&temp)) else { return };
    let mut rig = Rig::with(Arc::clone(&trees));
    let run = script(&mut rig, "exec sleep 100");
    rig.started(run).await;
    let next = Trees::probe(&unique(&temp), Containment::ProcessGroup, &births()).unwrap();
    assert_eq!(next.find(run), trees.find(run));
    rig.local.kill(run);
    rig.gone(run).await;
    trees.close();
}

#[test]
fn a_gate_that_was_held_and_not_recorded_is_ended_with_its_directory() {
    let temp = tempfile::tempdir().unwrap();
    let Some(trees) = cgroups(&unique(&temp)) else { return };
    let births = births();
    let gate_of = |run| {
        let none = Limits::default();
        let made = trees.make(run, &none).unwrap().unwrap();
        let gate = births.birth(Some(made.open_dir().unwrap().as_fd())).unwrap();
        let held = trees.hold((run, &none), Some(&made), &gate).unwrap().unwrap();
        assert_eq!(held.members().unwrap(), [gate.pid]);
        gate
    };
    let gate = gate_of(RunId(5));
    trees.sweep(&BTreeSet::new());
    assert_eq!(reaped(gate.pid).terminating_signal(), Some(9));
    assert_eq!(trees.find(RunId(5)), None);

    // The runner died while it tried cgroups out: they are there for the next one all the same.
    let gate = gate_of(RunId(6));
    let dir = trees.find(RunId(6)).unwrap().dir().to_owned();
    let probe = dir.with_file_name("probe");
    fs::create_dir(&probe).unwrap();
    fs::write(probe.join("cgroup.procs"), gate.pid.to_string()).unwrap();
    assert!(cgroups(&unique(&temp)).is_some());
    assert_eq!(reaped(gate.pid).terminating_signal(), Some(9));
    trees.close();
}
