use std::time::Duration;

use super::Clock;
use crate::plan::Time;

#[tokio::test(start_paused = true)]
async fn follows_the_clock_of_the_runtime() {
    let clock = Clock::new();
    let before = clock.now();
    assert!(before > Time::default(), "the machine was started some time ago");
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(clock.now(), before + Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn sleeps_until_a_time() {
    let clock = Clock::new();
    let then = clock.now() + Duration::from_millis(70);
    tokio::time::sleep_until(clock.instant(then)).await;
    assert_eq!(clock.now(), then);
}

#[tokio::test(start_paused = true)]
async fn no_time_is_out_of_range() {
    let clock = Clock::new();
    assert!(clock.instant(Time::default()) <= tokio::time::Instant::now());
    let never = clock.instant(Time::default() + Duration::MAX);
    assert!(never > tokio::time::Instant::now() + Duration::from_secs(1_000_000));
}
