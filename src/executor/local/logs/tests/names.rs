use proptest::prelude::*;

use crate::executor::local::logs::names::{Name, Part, Segment, copy_name};
use crate::executor::log_name;
use crate::plan::EntityId;

#[test]
fn what_is_ours() {
    let segment = |number, part| Some(Name::Segment("agent-x.log", Segment { number, part }));
    let copied = Part::Copied { start: 0, end: 5 };
    for (name, parsed) in [
        ("agent-x.log", Some(Name::Live("agent-x.log"))),
        ("agent-x.log.00000001.0-5.log", Some(Name::Live("agent-x.log.00000001.0-5.log"))),
        ("agent-x.log.00000001.0-5", segment(1, copied)),
        ("agent-x.log.123456789.7-", segment(123_456_789, Part::Retired { start: 7 })),
        ("agent-x.log.copy", Some(Name::Copy("agent-x.log"))),
        ("agent-x.log.00000001.5-5", None),
        ("agent-x.log.00000001.+0-5", None),
        ("agent-x.log.00000001.00-5", None),
        ("agent-x.log.00000001.-5", None),
        ("agent-x.log.00000001", None),
        ("agent-x.log.1.0-5", None),
        ("agent-x.log.000000001.0-5", None),
        ("agent-x.log.1.gz", None),
        ("agent-x.1.0-5", None),
        ("notes.log", None),
        ("agent-x.txt", None),
        ("", None),
    ] {
        assert_eq!(Name::parse(name), parsed, "{name}");
    }
}

#[test]
fn the_longest_names_fit() {
    let live = log_name(&EntityId::new(&"x".repeat(128)).unwrap());
    let longest =
        Segment { number: 99_999_999, part: Part::Copied { start: 1 << 41, end: 1 << 42 } };
    assert!(longest.name(&live).len() <= 255);
    let hashed = "y".repeat(200);
    assert!(longest.name(&hashed).len() <= 255);
}

proptest! {
    #[test]
    fn names_are_read_as_they_are_written(
        id in "[a-z./%-]{1,9}", number: u64, start: u64, len in 1..u64::MAX, retired: bool,
    ) {
        let live = log_name(&EntityId::new(&id).unwrap());
        let end = start.saturating_add(len);
        let part = if retired || end == start { Part::Retired { start } }
            else { Part::Copied { start, end } };
        let segment = Segment { number, part };
        let (segments, copys) = (segment.name(&live), copy_name(&live));
        prop_assert_eq!(Name::parse(&segments), Some(Name::Segment(&live, segment)));
        prop_assert_eq!(Name::parse(&copys), Some(Name::Copy(&live)));
        prop_assert_eq!(Name::parse(&live), Some(Name::Live(&live)));
    }
}
