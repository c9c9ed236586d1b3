//! The journal is deleted, cut or changed while no runner is there: nobody is doubled for it, and
//! no stranger touched.

use std::fs;
use std::thread;

use crate::harness::{Runner, misbehave};
use crate::scripted::{Scripted, controllable};
use crate::stranger::Stranger;

/// How many runners are tried at the same time: they mostly wait.
const AT_ONCE: usize = 4;

#[derive(Clone, Copy, Debug)]
enum Damage {
    Deleted,
    CutAt(usize),
    BitFlippedAt(usize),
    ByteFlippedAt(usize),
}

impl Damage {
    /// Beyond the end, it is done to the last byte.
    fn to(self, mut journal: Vec<u8>) -> Option<Vec<u8>> {
        let last = journal.len() - 1;
        match self {
            Self::Deleted => return None,
            Self::CutAt(at) => journal.truncate(at.min(last)),
            Self::BitFlippedAt(at) => journal[at.min(last)] ^= 0x01,
            Self::ByteFlippedAt(at) => journal[at.min(last)] ^= 0xff,
        }
        Some(journal)
    }
}

/// Two agents live through the death of their runner and this damage. Returns the journal's size.
fn survived(damage: Damage) -> usize {
    let world = Scripted::start(["alice", "bob"].map(controllable).to_vec());
    let locks = tempfile::tempdir().unwrap();
    let config = format!(
        "[runner]\nserver = \"{}\"\n[agents.default]\ncommand = [{:?}, \"--lock\", \
         \"{}/{{entity_id}}\"]\n[jit]\nwatch_interval_ms = 50\n",
        world.address,
        misbehave(),
        locks.path().display(),
    );
    let stranger = Stranger::start("alice");
    let mut runner = Runner::start(&config);
    let before = runner.pids(0, &["alice", "bob"]);
    runner.kill();
    let path = runner.dir.path().join("state/journal");
    let journal = fs::read(&path).unwrap();
    let size = journal.len();
    match damage.to(journal) {
        Some(damaged) => fs::write(&path, damaged).unwrap(),
        None => fs::remove_file(&path).unwrap(),
    }

    runner.start_again();
    let adopted = runner.process.event_of_all(0, "runner.resumed")["adopted"].clone();
    assert_eq!(adopted, 2, "{damage:?}");
    // Whoever comes now is started in a pass that has looked at the others too.
    world.set(["alice", "bob", "carol"].map(controllable).to_vec());
    runner.process.event(0, "agent.started", "carol");
    assert_eq!(runner.process.all_after(0, "agent.stopping").len(), 0, "{damage:?}");
    assert_eq!(runner.process.all_after(0, "agent.starting").len(), 1, "{damage:?}");
    let after = runner.agent_pids();
    assert!(before.iter().all(|pid| after.contains(pid)), "{damage:?}");
    runner.stop();
    let names = fs::read_dir(locks.path()).unwrap().map(|entry| entry.unwrap().path());
    let violations: Vec<_> = names.filter(|path| path.extension().is_some()).collect();
    assert!(violations.is_empty(), "{damage:?}: {violations:?}");
    assert!(stranger.is_untouched(), "{damage:?}");
    size
}

/// At a few places, or with `RUNNER_TEST_JOURNAL=all` at every byte.
#[test]
fn whatever_became_of_its_journal_it_doubles_nobody_and_touches_no_stranger() {
    let size = survived(Damage::Deleted);
    let all = std::env::var("RUNNER_TEST_JOURNAL").is_ok_and(|asked| asked == "all");
    let places = (0..size).step_by(if all { 1 } else { size / 6 });
    let kinds = [Damage::CutAt, Damage::BitFlippedAt, Damage::ByteFlippedAt];
    let damages: Vec<_> = places.flat_map(|at| kinds.map(|kind| kind(at))).collect();
    thread::scope(|scope| {
        for share in damages.chunks(damages.len().div_ceil(AT_ONCE)) {
            scope.spawn(move || share.iter().for_each(|damage| _ = survived(*damage)));
        }
    });
    eprintln!("{} damages", damages.len() + 1);
}
