use super::*;
use crate::plan::Exit;

const SECOND: Duration = Duration::from_secs(1);
const CRASH: Outcome = Outcome::Exit(Exit::Code(1));

/// Storms, and the time.
#[derive(Default)]
struct Sky {
    storms: Storms,
    now: Time,
}

impl Sky {
    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    fn crash(&mut self, n: usize, how: &Outcome) -> Option<Course> {
        let id = EntityId::new(&format!("e{n}")).unwrap();
        self.storms.crashed(&id, ("default", how), false, self.now).map(|(course, _)| course)
    }

    fn crash_all(&mut self, agents: usize) -> Vec<Option<Course>> {
        (0..agents).map(|n| self.crash(n, &CRASH)).collect()
    }
}

#[test]
fn ten_agents_that_crash_alike_within_ten_seconds_are_a_storm_and_told_once() {
    let mut sky = Sky::default();
    for n in 0..9 {
        assert_eq!(sky.crash(n, &CRASH), None);
        sky.pass(SECOND);
    }
    assert!(!sky.storms.cover("default", &CRASH));
    assert_eq!(sky.crash(9, &CRASH), Some(Course::Begins));
    assert!(sky.storms.cover("default", &CRASH) && sky.storms.cover_restarts("default"));
    assert_eq!(sky.crash_all(100), [None; 100]);
}

#[test]
fn one_agent_that_crashes_often_is_no_storm() {
    let mut sky = Sky::default();
    for _ in 0..1000 {
        assert_eq!(sky.crash(0, &CRASH), None);
        sky.pass(SECOND / 10);
    }
}

#[test]
fn agents_that_crash_now_and_then_are_no_storm() {
    let mut sky = Sky::default();
    for n in 0..1000 {
        assert_eq!(sky.crash(n, &CRASH), None);
        sky.pass(SECOND * 10 / 8);
    }
    assert_eq!(sky.storms.0.len(), 1);
    assert!(sky.storms.0[0].agents.len() < MANY, "memory is bounded");
}

#[test]
fn agents_that_crash_otherwise_or_of_another_template_are_another_storm() {
    let mut sky = Sky::default();
    sky.crash_all(MANY);
    let other = Outcome::Exit(Exit::Signal(11));
    for n in 0..MANY - 1 {
        assert_eq!(sky.crash(n, &other), None);
    }
    assert!(!sky.storms.cover("default", &other) && !sky.storms.cover("other", &CRASH));
    assert_eq!(sky.crash(99, &other), Some(Course::Begins));
    assert!(sky.storms.cover("default", &CRASH) && !sky.storms.cover_restarts("other"));
}

#[test]
fn kinds_of_crashes_that_came_to_nothing_are_forgotten() {
    let mut sky = Sky::default();
    for n in 0..100 {
        sky.crash(n, &Outcome::NotStarted(n.to_string()));
        sky.pass(SECOND);
    }
    assert_eq!(sky.storms.0.len(), 10);
}

#[test]
fn a_storm_that_lasts_is_told_every_half_minute_and_only_while_it_does() {
    let mut sky = Sky::default();
    sky.crash_all(MANY);
    let mut told = 0;
    for _ in 0..60 {
        sky.pass(SECOND);
        told += sky.crash_all(50).iter().flatten().filter(|it| **it == Course::Lasts).count();
    }
    assert_eq!(told, 2);
    assert_eq!(sky.storms.0[0].crashes, 10 + 60 * 50);
    assert_eq!(sky.storms.0[0].agents.len(), 50);
}

#[test]
fn a_storm_is_over_after_a_minute_of_calm_and_says_what_it_cost() {
    let mut sky = Sky::default();
    sky.crash_all(MANY);
    for _ in 0..3 {
        // In waves, as their delays are the longest.
        sky.pass(30 * SECOND);
        sky.crash_all(20);
    }
    let due = sky.storms.over_at().unwrap();
    assert_eq!(due - sky.now, CALM);
    sky.pass(CALM * 59 / 60);
    assert_eq!(sky.storms.over(sky.now), []);
    let id = EntityId::new("e3").unwrap();
    assert!(sky.storms.crashed(&id, ("default", &CRASH), true, sky.now).is_some());
    sky.pass(CALM);
    let over = sky.storms.over(sky.now);
    assert_eq!((over[0].agents.len(), over[0].crashes, over[0].failed), (20, 71, 1));
    assert_eq!((sky.storms.over(sky.now), sky.storms.over_at()), (vec![], None));
    assert!(!sky.storms.cover("default", &CRASH));
}
