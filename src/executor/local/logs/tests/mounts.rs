//! File systems of which a test needs its own. Root may mount them; others pass these tests by.

use std::process::Command;

use super::*;

struct Mount(TempDir);

impl Mount {
    fn new(kind: &str, options: &str) -> Option<Self> {
        let temp = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", kind, "-o", options, "none"]).arg(temp.path());
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Self(temp));
        }
        eprintln!("NOT TESTED: {kind} cannot be mounted here (it takes root)");
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [4096, 1] {
        while file.write_all(&vec![b'f'; size]).is_ok() {}
    }
}

#[test]
fn a_full_disk() {
    let Some(mount) = Mount::new("tmpfs", "size=1m") else { return };
    let mut rig = Rig::at(mount.0.path());
    let policy = at_most(32 << 10);
    rig.write_lines(10_000);
    fill(&rig.path("filler"));
    while let Ok(some) = rig.writer.as_ref().unwrap().write(b"no room\n") {
        rig.written.extend(&b"no room\n"[..some]);
    }
    for _ in 0..3 {
        assert_eq!(rig.look(&policy).full, 1);
        assert_eq!(rig.others(), ["filler"]);
        rig.nothing_is_lost();
    }
    // An agent can start all the same.
    rig.start(&policy);
    fs::remove_file(rig.path("filler")).unwrap();
    let found = rig.look(&policy);
    assert_eq!((found.full, found.failed), (0, BTreeMap::new()));
    assert!(!rig.others().is_empty());
    rig.write_lines(10);
    rig.nothing_is_lost();
}

#[test]
fn a_disk_that_our_own_segments_fill() {
    let Some(mount) = Mount::new("tmpfs", "size=1m") else { return };
    let mut rig = Rig::at(mount.0.path());
    let policy = Policy { keep: 4, ..at_most(128 << 10) };
    let mut dropped = 0;
    for _ in 0..200 {
        rig.write_lines(1000);
        let found = rig.look(&policy);
        dropped += found.dropped.bytes;
        assert_eq!(found.failed, BTreeMap::new());
    }
    let all = rig.joined();
    assert!(rig.written.ends_with(&all));
    assert_eq!(rig.written.len() as u64, dropped + all.len() as u64);
    assert!(rig.files().len() > 2);
}

#[test]
fn a_file_system_that_cannot_punch() {
    let Some(mount) = Mount::new("ramfs", "mode=700") else { return };
    let mut rig = Rig::at(mount.0.path());
    for _ in 0..3 {
        rig.write_lines(1000);
        let found = rig.look(&at_most(4000));
        assert_eq!(found.at_restart, std::slice::from_ref(&rig.dir));
        rig.start(&at_most(4000));
        rig.nothing_is_lost();
    }
    assert_eq!(rig.others().len(), 3);
}
