use super::*;
use crate::plan::{Confinement, Exit};

#[test]
fn bytes_are_told_in_the_largest_unit_that_fits() {
    for (bytes, told) in [
        (0, "0B"),
        (1023, "1023B"),
        (1 << 10, "1KiB"),
        (64 << 20, "64MiB"),
        (1536 << 20, "1536MiB"),
        (3 << 30, "3GiB"),
        (99_999_744, "97656KiB"),
    ] {
        assert_eq!(in_units(bytes), told);
    }
    let killed = Exit::OutOfMemory { limit: 64 << 20 };
    assert_eq!(killed.to_string(), "OOM: killed by the kernel at 64MiB");
    assert!(!killed.is_success());
}

#[test]
fn only_what_holds_for_all_processes_together_needs_a_cgroup() {
    let limits = Limits { nofile: Some(64), ..Limits::default() };
    assert_eq!(limits.of_tree().count(), 0);
    assert!(!limits.is_empty());
    let limits = Limits { memory: Some(1 << 20), pids: Some(3), ..limits };
    assert_eq!(limits.of_tree().collect::<Vec<_>>(), [Limit::Memory, Limit::Pids]);
}

#[test]
fn what_an_agent_was_started_as_says_nothing_of_limits_that_it_does_not_have() {
    // So that its digest is what it was before there were limits.
    let without = Confinement::default();
    assert!(!without.to_string().contains("limits"));
    let limits = Limits { cpu: Some(500), ..Limits::default() };
    let with = Confinement { limits, ..without };
    assert_eq!(serde_json::from_str::<Confinement>(&with.to_string()).unwrap(), with);
}
