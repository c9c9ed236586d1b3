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
    fn each_byte_once(steps in proptest::collection::vec(step(), 1..40)) {
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
        prop_assert_eq!(String::from_utf8(read).unwrap(), String::from_utf8(rig.written).unwrap());
    }
}
