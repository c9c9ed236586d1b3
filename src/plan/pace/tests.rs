use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn spawn(per_second: u32) -> Spawn {
    Spawn { per_second, ..Spawn::UNBOUNDED }
}

/// How many starts there may be at once.
fn burst(mut pace: Pace, spawn: Spawn, now: Time) -> u32 {
    let mut starts = 0;
    while pace.due(spawn) <= now {
        pace = pace.after(spawn, false, now);
        starts += 1;
    }
    starts
}

#[test]
fn the_bucket_holds_what_one_second_brings() {
    let now = Time::from_millis(1_000_000);
    for per_second in [1, 2, 3, 7, 500, 999_999, 1_000_000] {
        let spawn = spawn(per_second);
        assert_eq!(burst(Pace::default(), spawn, now), per_second);
    }
}

#[test]
fn what_was_taken_comes_back_at_the_rate() {
    let spawn = spawn(5);
    let start = Time::from_millis(1_000_000);
    let mut pace = Pace::default();
    for _ in 0..5 {
        pace = pace.after(spawn, false, start);
    }
    assert_eq!(pace.due(spawn) - start, SECOND / 5);
    assert_eq!(burst(pace, spawn, start + SECOND / 2), 2);
    assert_eq!(burst(pace, spawn, start + 10 * SECOND), 5);
}

#[test]
fn another_rate_holds_from_its_first_moment() {
    let now = Time::from_millis(1_000_000);
    let (slow, fast) = (spawn(1), spawn(1000));
    let mut pace = Pace::default();
    for _ in 0..1000 {
        pace = pace.after(fast, false, now);
    }
    assert_eq!(pace.due(slow) - now, SECOND);
    let owed = Pace::default().after(slow, false, now);
    assert!(owed.due(fast) <= now + SECOND / 1000);
}

#[test]
fn unbounded_means_all_at_once() {
    let now = Time::from_millis(1);
    let mut pace = Pace::default();
    for _ in 0..100_000 {
        assert!(pace.due(Spawn::UNBOUNDED) <= now);
        pace = pace.after(Spawn::UNBOUNDED, false, now);
    }
}

#[test]
fn both_kinds_in_turn_and_then_who_is_left() {
    let alternate = |returned| {
        let pace = Pace { returned, ..Pace::default() };
        pace.alternate(vec!["r1", "r2", "r3"], vec!["n1"]).collect::<Vec<_>>()
    };
    assert_eq!(alternate(false), ["r1", "n1", "r2", "r3"]);
    assert_eq!(alternate(true), ["n1", "r1", "r2", "r3"]);
    let pace = Pace { returned: true, ..Pace::default() };
    assert_eq!(pace.alternate(vec!["r1", "r2"], vec![]).collect::<Vec<_>>(), ["r1", "r2"]);
}
