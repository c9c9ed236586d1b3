//! Against a model that only appends: whatever is written, whoever dies wherever.

use std::time::Duration;

use proptest::prelude::*;

use super::super::look::Next;
use super::*;

/// What happens to a log.
#[derive(Clone, Debug)]
enum Op {
    Write(Vec<u8>),
    /// A look with this limit, by a process that dies before the change of this number.
    Look {
        max: u64,
        dies: usize,
    },
    /// Another agent starts, where the file system can punch holes or not.
    Start {
        max: u64,
        punches: bool,
        dies: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let line = prop_oneof![
        12 => (0..40_usize).prop_map(|len| [vec![b'a'; len], vec![b'\n']].concat()),
        // Too long for a segment; some without an end.
        1 => (1..9000_usize, 0..2_usize)
            .prop_map(|(len, ends)| [vec![b'x'; len], vec![b'\n'; ends]].concat()),
        // What holes look like.
        1 => (1..6000_usize).prop_map(|len| vec![0; len]),
    ];
    let lines = prop::collection::vec(line, 1..40).prop_map(|lines| lines.concat());
    prop_oneof![
        3 => lines.prop_map(Op::Write),
        4 => (100..6000_u64, 0..40_usize).prop_map(|(max, dies)| Op::Look { max, dies }),
        1 => (100..6000_u64, any::<bool>(), 0..4_usize)
            .prop_map(|(max, punches, dies)| Op::Start { max, punches, dies }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_byte_is_lost_doubled_or_moved(ops in prop::collection::vec(op(), 1..40)) {
        let mut rig = Rig::in_memory();
        for op in ops {
            match op {
                Op::Write(bytes) => rig.write(&bytes),
                Op::Look { max, dies } => {
                    fault::with(dying_at(dies), || rig.look(&at_most(max)));
                }
                Op::Start { max, punches, dies } => {
                    let mut dying = dying_at(dies);
                    let mut refusing = refusing(Point::Probe, Errno::OPNOTSUPP);
                    let hook = move |point| {
                        dying(point)?;
                        if punches { Ok(()) } else { refusing(point) }
                    };
                    // One that fails is tried again, and finds nothing in its way then.
                    let opened = fault::with(hook, || open(&rig.dir, NAME, &at_most(max)));
                    match opened {
                        Ok(opened) => rig.writer = Some(opened.file),
                        Err(_) => rig.start(&at_most(max)),
                    }
                }
            }
            rig.nothing_is_lost();
        }
        // After all that, all is as tidy as if nobody had died.
        rig.write(b"last\n");
        while rig.look(&at_most(5000)).next(&at_most(5000)) == look_again() {}
        rig.nothing_is_lost();
        let log = rig.log();
        prop_assert!(!log.copy);
        prop_assert!(log.segments.is_sorted_by(|a, b| a.number < b.number));
    }

    #[test]
    fn what_is_dropped_is_the_oldest_and_counted(
        ops in prop::collection::vec(op(), 1..40),
        keep in 0..4_usize,
        most in prop::option::of(8000..40_000_u64),
    ) {
        let mut rig = Rig::in_memory();
        let mut dropped = 0;
        for op in ops {
            match op {
                Op::Write(bytes) => rig.write(&bytes),
                Op::Look { max, .. } => {
                    let policy = Policy { max_bytes: Some(max), keep, max_total_bytes: most };
                    let mut found = rig.look(&policy);
                    dropped += found.dropped.bytes;
                    while found.next(&policy) == look_again() {
                        found = rig.look(&policy);
                        dropped += found.dropped.bytes;
                    }
                    let sizes = rig.files();
                    let segments = sizes.iter().filter(|(name, len)| *name != NAME && **len > 0);
                    prop_assert!(segments.count() <= keep, "{sizes:?}");
                    if let Some(most) = most {
                        prop_assert!(rig.joined().len() as u64 <= most, "{sizes:?}");
                    }
                }
                Op::Start { .. } => rig.start(&FOREVER),
            }
            let all = rig.joined();
            prop_assert!(rig.written.ends_with(&all));
            prop_assert_eq!(rig.written.len() as u64, dropped + all.len() as u64);
        }
    }
}

fn look_again() -> Next {
    Next::In(Duration::ZERO)
}

/// Every place where one can die, one after the other.
#[test]
fn a_death_before_every_change() {
    let deaths = Rc::new(Cell::new(0));
    for step in 0.. {
        let mut rig = Rig::new();
        rig.write_lines(1000);
        let died = Rc::new(Cell::new(false));
        let (mut dying, told) = (dying_at(step), Rc::clone(&died));
        let hook = move |point| dying(point).inspect_err(|_| told.set(true));
        let policy = Policy { keep: 2, ..at_most(4000) };
        let mut dropped = fault::with(hook, || rig.look(&policy)).dropped.bytes;
        rig.write_lines(10);
        assert!(rig.written.ends_with(&rig.joined()), "step {step}");
        dropped += rig.look(&policy).dropped.bytes;
        // What was dropped just before a death may not have been told of.
        let lost = rig.written.len() - rig.joined().len();
        assert!(u64::try_from(lost).unwrap() >= dropped, "step {step}");
        assert_eq!(rig.log().segments.len(), 2, "step {step}");
        if !died.get() {
            break;
        }
        deaths.set(deaths.get() + 1);
    }
    assert!(deaths.get() > 15, "{deaths:?}");
}
