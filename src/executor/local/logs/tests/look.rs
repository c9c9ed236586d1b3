use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use super::super::look::Next;
use super::*;

#[test]
fn segments_end_where_lines_do() {
    let mut rig = Rig::new();
    rig.write_lines(1000);
    let found = rig.look(&at_most(4000));
    assert_eq!(found.failed, BTreeMap::new());
    rig.nothing_is_lost();
    let segments: Vec<String> = rig.others();
    assert_eq!(segments.len(), rig.written.len() / 4000);
    assert!(segments[0].starts_with("agent-x.log.00000001.0-39"), "{segments:?}");
    for name in segments {
        let text = fs::read_to_string(rig.path(&name)).unwrap();
        assert!(text.len() <= 4000 && text.starts_with("line at ") && text.ends_with('\n'));
    }
    // What was cut off takes no room any more.
    let stored = rig.path(NAME).metadata().unwrap().blocks() * 512;
    assert!(stored <= 8192, "{stored}");
}

#[test]
fn a_line_that_is_too_long_is_cut() {
    let mut rig = Rig::new();
    rig.write(&[b'x'; 10_000]);
    rig.write(b"\nend\n");
    rig.look(&at_most(4000));
    rig.nothing_is_lost();
    assert_eq!(rig.others().len(), 2);
}

#[test]
fn nothing_is_done_without_a_limit() {
    let mut rig = Rig::new();
    rig.write_lines(10_000);
    assert_eq!(rig.look(&FOREVER).next(&FOREVER), Next::Never);
    assert_eq!(rig.others(), Vec::<String>::new());
}

#[test]
fn the_newest_name_outlives_its_bytes() {
    let mut rig = Rig::new();
    rig.write_lines(500);
    let none = Policy { keep: 0, ..at_most(4000) };
    let dropped = rig.look(&none).dropped;
    assert!(dropped.count > 0);
    let [name] = &rig.others()[..] else { panic!("{:?}", rig.files()) };
    assert_eq!(rig.files()[name], 0);
    assert_eq!(rig.written.len() as u64, dropped.bytes + rig.joined().len() as u64);
    // An agent may write what a hole looks like.
    rig.write(&[0; 5000]);
    rig.write_lines(300);
    let more = rig.look(&none).dropped;
    assert!(more.count > 0);
    let all = rig.joined();
    assert!(rig.written.ends_with(&all));
    assert_eq!(rig.written.len() as u64, dropped.bytes + more.bytes + all.len() as u64);
    assert_eq!(rig.look(&none).dropped, retain::Dropped::default());
}

#[test]
fn all_logs_together() {
    let temp = tempfile::tempdir().unwrap();
    for agent in 0..10 {
        fs::write(temp.path().join(format!("agent-{agent}.log")), "a line\n".repeat(10_000))
            .unwrap();
    }
    let settings = Settings {
        dir: temp.path().to_owned(),
        policy: Policy { max_total_bytes: Some(200_000), ..at_most(10 << 20) },
    };
    let mut lookout = Lookout::default();
    let mut found = Found::default();
    let mut dropped = 0;
    while found.next(&settings.policy) != Next::Stirred(Duration::ZERO) || dropped == 0 {
        found = lookout.look(&settings, Time::default(), &AtomicBool::new(false));
        dropped += found.dropped.bytes;
    }
    let kept =
        |agent: u32| joined(temp.path(), &EntityId::new(&agent.to_string()).unwrap()).unwrap();
    let left: usize = (0..10).map(|agent| kept(agent).len()).sum();
    assert_eq!(left as u64 + dropped, 700_000);
    assert!((100_000..=200_000).contains(&left), "{left}");
}

/// People do that.
#[test]
fn a_log_that_somebody_empties() {
    let mut rig = Rig::new();
    rig.write_lines(1000);
    rig.look(&at_most(4000));
    let segments = rig.log().segments.len();
    File::create(rig.path(NAME)).unwrap();
    rig.written = rig.joined();
    rig.write_lines(100);
    rig.nothing_is_lost();
    // Longer than before, so that the newest segment's bytes could be meant.
    rig.write_lines(2000);
    rig.look(&at_most(4000));
    rig.nothing_is_lost();
    assert!(rig.log().segments.len() > segments);
}

#[test]
fn segments_that_somebody_removes() {
    let mut rig = Rig::new();
    rig.write_lines(1000);
    rig.look(&at_most(4000));
    for name in rig.others() {
        fs::remove_file(rig.path(&name)).unwrap();
    }
    rig.written = rig.written.split_off(rig.written.len() - rig.joined().len());
    assert!(rig.written.starts_with(b"line at "));
    rig.nothing_is_lost();
    rig.write_lines(1000);
    rig.look(&at_most(4000));
    rig.nothing_is_lost();
}

#[test]
fn a_live_log_that_somebody_removes() {
    let mut rig = Rig::new();
    rig.write_lines(1000);
    rig.look(&at_most(4000));
    fs::remove_file(rig.path(NAME)).unwrap();
    rig.written = rig.joined();
    rig.start(&FOREVER);
    rig.write_lines(2000);
    rig.nothing_is_lost();
    rig.look(&at_most(4000));
    rig.nothing_is_lost();
}

#[test]
fn a_file_that_cannot_be_cut_is_retired_at_a_start() {
    let mut rig = Rig::new();
    let refuse = || refusing(Point::Probe, Errno::OPNOTSUPP);
    for _ in 0..4 {
        rig.write_lines(500);
        let found = fault::with(refuse(), || rig.look(&at_most(4000)));
        assert_eq!(found.at_restart, std::slice::from_ref(&rig.dir));
        let before = rig.others();
        fault::with(refuse(), || rig.start(&at_most(4000)));
        assert_eq!(rig.others().len(), before.len() + 1);
        rig.nothing_is_lost();
        // Only when it is too long.
        fault::with(refuse(), || rig.start(&at_most(4000)));
        assert_eq!(rig.others().len(), before.len() + 1);
    }
    // Elsewhere it is copied to.
    rig.write_lines(1000);
    rig.look(&at_most(4000));
    rig.start(&at_most(4000));
    rig.write_lines(1000);
    rig.look(&at_most(4000));
    rig.nothing_is_lost();
    let dropped = rig.look(&Policy { keep: 2, ..at_most(4000) }).dropped;
    assert_eq!(rig.written.len() as u64, dropped.bytes + rig.joined().len() as u64);
}

#[test]
fn no_room_for_a_copy() {
    let mut rig = Rig::new();
    rig.write_lines(1000);
    let policy = at_most(4000);
    let full = || refusing(Point::Copy, Errno::NOSPC);
    let found = fault::with(full(), || rig.look(&policy));
    assert_eq!((found.full, rig.others().len()), (1, 0));
    assert_eq!(found.next(&policy), Next::In(super::super::look::LONGEST));
    rig.nothing_is_lost();
    assert_eq!(rig.look(&policy).full, 0);
    rig.nothing_is_lost();
    // The oldest makes room if it would have to go all the same.
    rig.write_lines(1000);
    let few = Policy { keep: 3, ..policy };
    let dropped = fault::with(full(), || rig.look(&few)).dropped;
    assert!(dropped.count > 0);
    assert_eq!(rig.written.len() as u64, dropped.bytes + rig.joined().len() as u64);
    assert_eq!(rig.log().segments.len(), 2);
}

#[test]
fn others_who_are_at_it_are_left_alone() {
    let mut rig = Rig::new();
    rig.write_lines(1000);
    let held = Dir::lock(&rig.dir, Lock::Read).unwrap().unwrap();
    assert!(rig.look_once(&at_most(4000)).skipped);
    assert_eq!(rig.others().len(), 0);
    drop(held);
    assert!(!rig.look(&at_most(4000)).skipped);
    assert!(!rig.others().is_empty());
}

#[test]
fn what_is_no_log_of_ours_is_left_alone() {
    let mut rig = Rig::new();
    rig.write_lines(1000);
    fs::write(rig.path("notes.log"), "n".repeat(10_000)).unwrap();
    std::os::unix::fs::symlink(rig.path("notes.log"), rig.path("agent-link.log")).unwrap();
    fs::create_dir(rig.path("agent-dir.log")).unwrap();
    let found = rig.look(&Policy { keep: 0, ..at_most(100) });
    assert_eq!(found.failed, BTreeMap::new());
    assert_eq!(rig.files()["notes.log"], 10_000);
}

#[test]
fn a_log_that_nobody_writes_to_is_looked_at_again_under_another_policy_only() {
    let mut rig = Rig::new();
    rig.write_lines(1000);
    let mut lookout = Lookout::default();
    let mut look = |policy| {
        let settings = Settings { dir: rig.dir.clone(), policy };
        lookout.look(&settings, Time::default(), &AtomicBool::new(false))
    };
    look(at_most(1 << 20));
    look(at_most(4000));
    let segments = rig.others();
    assert_eq!(segments.len(), rig.written.len() / 4000);
    // What somebody puts there is seen once there is a reason to look.
    let stray = format!("{NAME}.00000000.0-1");
    fs::write(rig.path(&stray), "x").unwrap();
    look(at_most(4000));
    assert!(rig.path(&stray).exists());
    look(Policy { keep: segments.len(), ..at_most(4000) });
    assert_eq!(rig.others(), segments);
}

#[test]
fn the_next_look_comes_when_the_fastest_log_is_due() {
    let mut rig = Rig::new();
    let settings = Settings { dir: rig.dir.clone(), policy: at_most(1 << 20) };
    let mut lookout = Lookout::default();
    let mut seconds = 0;
    let mut look = |after| {
        seconds += after;
        let now = Time::from_millis(seconds * 1000);
        lookout.look(&settings, now, &AtomicBool::new(false)).next(&settings.policy)
    };
    rig.write(&[b'x'; 1 << 10]);
    fs::write(rig.path("agent-y.log"), "y").unwrap();
    assert_eq!(look(0), Next::Stirred(Duration::ZERO));
    assert_eq!(look(1), Next::Stirred(Duration::ZERO));
    rig.write(&[b'x'; 1 << 10]);
    assert_eq!(look(1), Next::Stirred(Duration::from_secs(10)));
    rig.write(&vec![b'x'; 254 << 10]);
    // 256 KiB of 1 MiB are there; 768 KiB are left, at 254 KiB a second.
    let Next::In(due) = look(1) else { panic!() };
    assert_eq!(due.as_millis(), 3023);
    rig.write(&vec![b'x'; 760 << 10]);
    assert_eq!(look(1), Next::In(Duration::from_millis(250)));
    assert_eq!(look(1), Next::Stirred(Duration::ZERO));
}
