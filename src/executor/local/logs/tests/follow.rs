//! Whoever follows a log reads each byte once, whatever is done to the files meanwhile.

use std::time::Duration;

use proptest::prelude::*;

use super::super::look::Next;
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Write(usize),
    Rotate,
    /// Where no holes can be punched, a log is put aside when its agent is started again.
    Retire,
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_usize..200).prop_map(Step::Write),
        3 => Just(Step::Rotate),
        1 => Just(Step::Retire),
        3 => Just(Step::Read),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn each_byte_once(steps in proptest::collection::vec(step(), 1..40), most in 0_u64..3000) {
        let mut rig = Rig::in_memory();
        let policy = at_most(1000);
        let mut follower = Follower::new(&rig.dir, &EntityId::new("x").unwrap());
        let mut read = follower.read().unwrap();
        for step in steps {
            match step {
                Step::Write(lines) => rig.write_lines(lines),
                Step::Rotate => while rig.look(&policy).next(&policy) == Next::In(Duration::ZERO) {},
                Step::Retire => {
                    let refused = refusing(Point::Probe, Errno::OPNOTSUPP);
                    fault::with(refused, || {
                        rig.look(&policy);
                        rig.start(&policy);
                    });
                }
                Step::Read => read.extend(follower.read().unwrap()),
            }
        }
        read.extend(follower.read().unwrap());
        prop_assert_eq!(String::from_utf8(read).unwrap(), String::from_utf8(rig.written.clone()).unwrap());

        // Who wants the end only gets whole lines of it, and from there on everything.
        let all = String::from_utf8(rig.written.clone()).unwrap();
        let mut follower = Follower::of_end(&rig.dir, &EntityId::new("x").unwrap(), most);
        let end = String::from_utf8(follower.read().unwrap()).unwrap();
        prop_assert!(all.ends_with(&end) && end.len() as u64 <= most, "{end}");
        let before = all.strip_suffix(&end).unwrap();
        prop_assert!(before.is_empty() || before.ends_with('\n'));
        let longer = before.trim_end_matches('\n').rfind('\n').map_or(all.len(), |at| all.len() - at - 1);
        prop_assert!(before.is_empty() || longer as u64 >= most, "{longer} of {most}");
        rig.write_lines(1);
        let new = String::from_utf8(follower.read().unwrap()).unwrap();
        prop_assert_eq!(format!("{all}{new}"), String::from_utf8(rig.written).unwrap());
    }
}

/// Whoever puts a log aside may die, or find no room, before there is another one.
#[test]
fn each_byte_once_while_there_is_no_live_log() {
    for reads_before in [false, true] {
        let mut rig = Rig::new();
        rig.write(b"one\ntwo\n");
        let mut follower = Follower::new(&rig.dir, &EntityId::new("x").unwrap());
        let mut read = if reads_before { follower.read().unwrap() } else { Vec::new() };
        fs::rename(rig.path(NAME), rig.path("agent-x.log.00000001.0-")).unwrap();
        for _ in 0..3 {
            read.extend(follower.read().unwrap());
        }
        rig.start(&FOREVER);
        rig.write(b"three\n");
        read.extend(follower.read().unwrap());
        assert_eq!(String::from_utf8(read).unwrap(), "one\ntwo\nthree\n", "{reads_before}");
    }
}

#[test]
fn each_byte_once_where_somebody_removed_the_live_log() {
    let mut rig = Rig::new();
    rig.write_lines(100);
    rig.look(&at_most(1000));
    let mut follower = Follower::new(&rig.dir, &EntityId::new("x").unwrap());
    follower.read().unwrap();
    fs::remove_file(rig.path(NAME)).unwrap();
    rig.start(&FOREVER);
    rig.write(b"new\n");
    let read: Vec<_> = (0..3).flat_map(|_| follower.read().unwrap()).collect();
    assert_eq!(String::from_utf8(read).unwrap(), "new\n");
}
