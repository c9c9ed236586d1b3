//! No room for logs, nor for the journal: a small file system that is full.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use super::harness::{Runner, misbehave};
use super::scripted::{Scripted, controllable};

/// A tmpfs, mounted here until it is dropped. Only root may do that.
struct Mount<'p>(&'p Path);

impl<'p> Mount<'p> {
    fn new(at: &'p Path) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256k", "none"]).arg(at);
        mount.status().is_ok_and(|status| status.success()).then_some(Self(at))
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [4096, 1] {
        while file.write_all(&vec![b'f'; size]).is_ok() {}
    }
}

#[test]
fn on_a_full_disk_agents_run_on_and_all_is_written_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let small = dir.path().join("small");
    let Some(mount) = Mount::new(&small) else {
        eprintln!("NOT TESTED: a tmpfs cannot be mounted here (it takes root)");
        return;
    };
    for name in ["state", "logs"] {
        fs::create_dir(small.join(name)).unwrap();
        std::os::unix::fs::symlink(small.join(name), dir.path().join(name)).unwrap();
    }
    let locks = tempfile::tempdir().unwrap();
    let world = Scripted::start(["alice", "bob"].map(controllable).to_vec());
    let config = format!(
        "[runner]\nserver = \"{}\"\ninitial_backoff_ms = 20\n\
         [agents.default]\ncommand = [{:?}, \"--lock\", \"{}/{{entity_id}}\"]\n\
         [jit]\nwatch_interval_ms = 200\n",
        world.address,
        misbehave(),
        locks.path().display(),
    );
    let mut runner = Runner::start_at(dir, &config);
    let before = runner.pids(0, &["alice", "bob"]);

    let filler = small.join("filler");
    fill(&filler);
    let mark = runner.process.mark();
    // Their starts are more than what is left of the journal's last block.
    let newcomers: Vec<_> = (0..20).map(|n| format!("newcomer-{n}")).collect();
    let all = ["alice", "bob"].into_iter().chain(newcomers.iter().map(String::as_str));
    world.set(all.map(controllable).collect());
    runner.process.event_of_all(mark, "journal.failed");
    for newcomer in &newcomers {
        runner.process.event(mark, "agent.started", newcomer);
    }
    assert!(before.iter().all(|pid| runner.agent_pids().contains(pid)));

    // Not even the death of the runner changes that.
    let agents = runner.agent_pids();
    runner.kill();
    runner.start_again();
    runner.process.event_of_all(0, "journal.failed");
    assert_eq!(runner.process.event_of_all(0, "runner.resumed")["adopted"], 22);
    assert_eq!(runner.agent_pids(), agents);

    let mark = runner.process.mark();
    fs::remove_file(&filler).unwrap();
    runner.process.event_of_all(mark, "journal.works");
    let journal = fs::read_to_string(small.join("state/journal")).unwrap();
    assert!(newcomers.iter().all(|newcomer| journal.contains(newcomer)));
    runner.kill();
    runner.start_again();
    assert_eq!(runner.process.event_of_all(0, "runner.resumed")["adopted"], 22);
    assert_eq!(runner.process.all_after(0, "journal.damaged").len(), 0);
    assert_eq!(runner.agent_pids(), agents);
    assert_eq!(fs::read_dir(locks.path()).unwrap().count(), 22, "somebody found a lock taken");
    runner.stop();
    drop(mount);
}
