//! Agents that take more than they may.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;

use super::trees::{cgroups, cgroups_for, removed, unique};
use super::*;
use crate::plan::{Limit, Limits};

/// An executor by which this limit holds; none, said aloud, where it cannot.
fn rig(limit: Limit) -> Option<(Rig, Arc<Trees>)> {
    let temp = tempfile::tempdir().unwrap();
    let trees = cgroups_for(&unique(&temp), &BTreeSet::from([limit]))?;
    if let Some(why) = trees.enforceable().missing.remove(&limit) {
        eprintln!("not tested, as nothing enforces the limit here: {why}");
        trees.close();
        return None;
    }
    Some((Rig::with(Arc::clone(&trees)), trees))
}

fn limited(rig: &mut Rig, limits: Limits, args: &[&str]) -> RunId {
    let program = misbehave();
    let command: Vec<&str> = [program.to_str().unwrap()].iter().chain(args).copied().collect();
    let mut request = rig.request(&command);
    request.spec.confinement.limits = limits;
    let run = request.run;
    rig.local.spawn(request);
    run
}

const MEMORY: Limits = Limits { memory: Some(64 << 20), cpu: None, pids: None, nofile: None };

#[tokio::test]
async fn whoever_takes_more_memory_than_it_may_is_killed_and_that_is_told() {
    let Some((mut rig, trees)) = rig(Limit::Memory) else { return };
    let enough = limited(&mut rig, MEMORY, &["--allocate", "16", "--exit-after-ms", "0"]);
    assert_eq!(rig.gone(enough).await, Exit::Code(0));
    let too_much = limited(&mut rig, MEMORY, &["--allocate", "256", "--exit-after-ms", "0"]);
    assert_eq!(rig.gone(too_much).await, Exit::OutOfMemory { limit: 64 << 20 });
    // Who is killed by somebody else is not said to have taken too much.
    let killed = limited(&mut rig, MEMORY, &["--signal-self", "9"]);
    assert_eq!(rig.gone(killed).await, Exit::Signal(9));
    removed(&trees, too_much).await;
    trees.close();
}

#[tokio::test]
async fn a_launcher_that_ends_as_what_it_ran_is_told_of_as_that() {
    let Some((mut rig, trees)) = rig(Limit::Memory) else { return };
    let script = |rig: &mut Rig, script: &str| {
        let mut request = rig.request(&["sh", "-c", script, misbehave().to_str().unwrap()]);
        request.spec.confinement.limits = MEMORY;
        let run = request.run;
        rig.local.spawn(request);
        run
    };
    let run = script(&mut rig, "$0 --allocate 256; exit $?");
    assert_eq!(rig.gone(run).await, Exit::OutOfMemory { limit: 64 << 20 });
    trees.close();
}

#[tokio::test]
async fn no_agent_is_more_processes_than_it_may_be() {
    let Some((mut rig, trees)) = rig(Limit::Pids) else { return };
    let pids = |pids| Limits { pids: Some(pids), ..Limits::default() };
    let args = ["--fork", "20", "--grandchild-exit-after-ms", "20000", "--touch", "done"];
    let many = limited(&mut rig, pids(8), &args);
    // It cannot start the eighth.
    assert_eq!(rig.left_behind(many).await, Exit::Code(1));
    assert!(!rig.path("done").exists());
    rig.local.kill(many);
    rig.gone(many).await;
    let few = limited(&mut rig, pids(32), &args);
    rig.wait_for("done").await;
    rig.local.kill(few);
    rig.gone(few).await;
    trees.close();
}

#[tokio::test]
async fn no_agent_has_more_of_the_processors_than_it_may() {
    let Some((mut rig, trees)) = rig(Limit::Cpu) else { return };
    let mut request = rig.request(&["timeout", "60", "sh", "-c", "while :; do :; done"]);
    request.spec.confinement.limits = Limits { cpu: Some(100), ..Limits::default() };
    let run = request.run;
    rig.local.spawn(request);
    rig.started(run).await;
    let dirs = trees.find(run).unwrap().all_dirs();
    let throttled = move || {
        let stats = dirs.iter().filter_map(|dir| fs::read_to_string(dir.join("cpu.stat")).ok());
        stats
            .flat_map(|stat| stat.lines().map(str::to_owned).collect::<Vec<_>>())
            .any(|line| line.strip_prefix("nr_throttled ").is_some_and(|times| times != "0"))
    };
    let waited = move || eventually("the end of its share", throttled);
    tokio::task::spawn_blocking(waited).await.unwrap();
    rig.local.kill(run);
    assert_eq!(rig.gone(run).await, Exit::Signal(9));
    trees.close();
}

#[tokio::test]
async fn no_process_of_an_agent_opens_more_files_than_it_may() {
    let mut rig = Rig::new();
    let mut request = rig.request(&["sh", "-c", "echo $(ulimit -Sn) $(ulimit -Hn)"]);
    request.spec.confinement.limits = Limits { nofile: Some(61), ..Limits::default() };
    let run = request.run;
    rig.local.spawn(request);
    assert_eq!(rig.gone(run).await, Exit::Code(0));
    assert_eq!(rig.output(), "61 61\n");
}

#[test]
fn what_limits_left_behind_is_swept_and_nothing_else() {
    let temp = tempfile::tempdir().unwrap();
    let Some(trees) = cgroups(&unique(&temp)) else { return };
    let all = Limits { memory: Some(1 << 30), cpu: Some(500), pids: Some(64), nofile: None };
    let dirs = |run| trees.make(run, &all).unwrap().unwrap().all_dirs();
    let (known, unknown) = (dirs(RunId(1)), dirs(RunId(2)));
    assert!(known.iter().chain(&unknown).all(|dir| dir.is_dir()));
    assert_eq!(trees.find(RunId(1)).unwrap().all_dirs(), known);
    trees.sweep(&BTreeSet::from([RunId(1)]));
    assert!(known.iter().all(|dir| dir.is_dir()));
    assert!(unknown.iter().all(|dir| !dir.exists()));

    // What was counted in one that is left over is not held against the next run.
    let inodes = |dirs: &[PathBuf]| -> Vec<_> {
        dirs.iter().map(|dir| dir.metadata().unwrap().ino()).collect()
    };
    let before = inodes(&known);
    let again = dirs(RunId(1));
    assert!(inodes(&again).iter().zip(before).all(|(now, before)| *now != before));
    trees.close();
    assert!(known.iter().all(|dir| !dir.parent().unwrap().exists()));
}
