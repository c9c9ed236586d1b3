//! Ticks, computed from time: nothing has to run for them to pass.

use std::time::Duration;

#[derive(Debug)]
pub(super) struct Clock {
    length: Duration,
    /// When `first` started; ticks of the current length are counted from there.
    from: Duration,
    first: i64,
}

impl Clock {
    pub(super) fn new(length: Duration) -> Self {
        Self { length: at_least_a_millisecond(length), from: Duration::ZERO, first: 1 }
    }

    pub(super) fn length(&self) -> Duration {
        self.length
    }

    /// A new length starts with a new tick.
    pub(super) fn set_length(&mut self, length: Duration, now: Duration) {
        let length = at_least_a_millisecond(length);
        if length != self.length {
            let first = self.tick(now).saturating_add(1);
            *self = Self { length, from: now, first };
        }
    }

    pub(super) fn tick(&self, now: Duration) -> i64 {
        let passed = now.saturating_sub(self.from).as_nanos() / self.length.as_nanos();
        self.first.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX))
    }

    pub(super) fn start_of(&self, tick: i64) -> Duration {
        let ticks = u64::try_from(tick.saturating_sub(self.first)).unwrap_or(0);
        let length = u64::try_from(self.length.as_nanos()).unwrap_or(u64::MAX);
        self.from.saturating_add(Duration::from_nanos(length.saturating_mul(ticks)))
    }
}

fn at_least_a_millisecond(length: Duration) -> Duration {
    length.max(Duration::from_millis(1))
}
