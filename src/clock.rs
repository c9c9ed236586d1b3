//! The runner's clock: the one place where time is read.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, Timespec, clock_gettime};
use tokio::time::Instant;

use crate::plan::Time;

/// A wait that nobody sees the end of, where a deadline lies beyond what an [`Instant`] can hold.
const FOREVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

/// Reads [`Time`] as `CLOCK_MONOTONIC`, the time since the machine was started.
///
/// The kernel's clock is read once; from there on the runtime's clock is followed, which runs at
/// the same rate, and which a test can hold and move.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Time,
    started: Instant,
}

impl Clock {
    /// A clock that shows the kernel's time.
    #[must_use]
    pub fn new() -> Self {
        let now = kernel_time(ClockId::Monotonic);
        Self { origin: Time::from_origin(now), started: Instant::now() }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Time {
        self.origin + self.started.elapsed()
    }

    /// The runtime's instant at `time`, to sleep until then. A time before the clock was made is
    /// the instant at which it was made.
    #[must_use]
    pub fn instant(&self, time: Time) -> Instant {
        let after = time.since(self.origin).min(FOREVER);
        self.started.checked_add(after).unwrap_or(self.started)
    }
}

/// The time since the machine was started, with that in which it slept: what other machines have
/// seen pass as well.
#[must_use]
pub fn since_boot() -> Time {
    Time::from_origin(kernel_time(ClockId::Boottime))
}

fn kernel_time(clock: ClockId) -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    Duration::from_secs(tv_sec.try_into().unwrap_or(0))
        .saturating_add(Duration::from_nanos(tv_nsec.try_into().unwrap_or(0)))
}

/// The time of day, for what people read.
#[must_use]
pub fn wall_time() -> SystemTime {
    SystemTime::now()
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
