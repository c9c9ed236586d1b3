//! How long to wait before another attempt. The one file that knows the `backoff` crate.

use std::time::Duration;

use backoff::SystemClock;
use backoff::backoff::Backoff;
use backoff::exponential::{ExponentialBackoff, ExponentialBackoffBuilder};

/// How far a wait strays from its nominal length, so that the runners of a fleet do not all ask
/// a world that comes back at the same moment.
const JITTER: f64 = 0.1;

/// Waits that double from the first one to the longest one, and that never come to an end.
#[derive(Debug)]
pub(super) struct Retry(ExponentialBackoff<SystemClock>);

impl Retry {
    /// The first wait is of length `first`, none is longer than `longest`, give or take a tenth.
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self(
            ExponentialBackoffBuilder::new()
                .with_initial_interval(first)
                .with_max_interval(longest)
                .with_multiplier(2.0)
                .with_randomization_factor(JITTER)
                .with_max_elapsed_time(None)
                .build(),
        )
    }

    /// How long to wait this time.
    pub(super) fn next_wait(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(self.0.max_interval)
    }

    /// It worked: begins anew.
    pub(super) fn reset(&mut self) {
        self.0.reset();
    }
}
