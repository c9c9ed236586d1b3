use std::time::Duration;

use proptest::prelude::*;

use super::super::fixture::{Scene, rules};
use super::{after_loss, delay};
use crate::plan::{Backoff, Ended, Exit, Loss, Outcome, Time};

fn backoff() -> Backoff {
    rules(Vec::new()).backoff
}

#[test]
fn delays_are_initial_times_multiplier_to_the_n_capped() {
    let seconds: Vec<_> = (0..8).map(|n| delay(&backoff(), n).as_secs()).collect();
    assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30, 30]);
    assert_eq!(delay(&backoff(), u32::MAX).as_secs(), 30);
}

#[test]
fn no_initial_delay_is_no_delay_ever() {
    let none = Backoff { initial: Duration::ZERO, ..backoff() };
    assert!((0..2000).all(|n| delay(&none, n).is_zero()));
}

proptest! {
    #[test]
    fn delays_never_shrink_nor_leave_their_bounds(
        initial in 0_u64..100_000, extra in 0_u64..100_000, multiplier in 1.0_f64..100.0,
    ) {
        let initial = Duration::from_millis(initial);
        let max = initial + Duration::from_millis(extra);
        let backoff = Backoff { initial, max, multiplier, ..backoff() };
        let mut last = delay(&backoff, 0);
        prop_assert_eq!(last, initial);
        for n in 1..200 {
            let next = delay(&backoff, n);
            prop_assert!(last <= next && next <= max);
            last = next;
        }
    }
}

/// An agent whose runs of `lived` ms the cluster takes away, from the second on; the delays.
fn delays_of_losses(lived: u64) -> Vec<u64> {
    let lost = Outcome::Exit(Exit::Lost(Loss::Evicted));
    let mut at = Time::from_millis(10_000);
    let mut agent = Scene::running(&["alice"]).agent("alice").clone();
    let mut delays = Vec::new();
    for _ in 0..8 {
        let started = at;
        at = started + Duration::from_millis(lived);
        let ended = Ended { how: lost.clone(), started, at };
        let due = after_loss(&agent, &ended, &backoff()).max(at);
        delays.push(due.since(at).as_secs());
        agent.last_end = Some(Box::new(ended));
        at = due;
    }
    delays
}

#[test]
fn who_is_taken_away_again_and_again_waits_longer_each_time() {
    assert_eq!(delays_of_losses(2_000), [0, 1, 2, 4, 8, 16, 30, 30]);
    let long = u64::try_from(backoff().reset.as_millis()).unwrap();
    assert_eq!(delays_of_losses(long), [0; 8]);
}
