//! The runner gives back all that it takes, whatever happened meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use super::harness::PATIENCE;
use super::upheaval::Upheaval;

/// The long form, with figures for memory too, is `cargo bench --bench figures -- churn`.
#[test]
fn after_trouble_of_all_kinds_it_holds_what_it_held_before() {
    let agents = 20;
    let mut upheaval = Upheaval::start(0x9e37_79b9_7f4a_7c15, agents);
    let before = match upheaval.holdings() {
        Ok(before) => before,
        Err(error) => {
            eprintln!("NOT TESTED, as what a runner holds cannot be seen here: {error}");
            return;
        }
    };
    for _ in 0..3 {
        for _ in 0..4 {
            upheaval.disturb_file();
        }
        let mark = upheaval.runner.process.mark();
        upheaval.make_trouble();
        upheaval.runner.process.event_of_all(mark, "agent.backoff");
        upheaval.end_world();
        upheaval.runner.process.event_of_all(mark, "world.lost");
        upheaval.begin_world();
        upheaval.runner.process.event_of_all(mark, "world.back");
    }
    upheaval.make_peace();
    assert_eq!(upheaval.doubled(), [] as [String; 0]);
    let until = Instant::now() + PATIENCE;
    let mut after = upheaval.holdings().unwrap();
    while after.exceeds(&before) && Instant::now() < until {
        thread::sleep(Duration::from_millis(20));
        after = upheaval.holdings().unwrap();
    }
    assert!(!after.exceeds(&before), "{before:?}, then {after:?}");
    // One more is that of the server of gates.
    assert_eq!((after.agents, after.open["pidfd"]), (agents, agents + 1));
    let ahead = usize::from(upheaval.cgroup.is_some());
    let held = agents * ahead;
    assert!((held..=held + ahead).contains(&after.cgroups), "{after:?}");
    assert_eq!(upheaval.end(), [] as [String; 0]);
}
