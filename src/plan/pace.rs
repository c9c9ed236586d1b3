//! How fast agents are started: a token bucket that holds what one second brings, and turns for
//! restarts and newcomers.

use std::iter;
use std::time::Duration;

use super::time::Time;

/// How many starts there may be. Changing it restarts nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spawn {
    /// The most starts under way at once, from the start of a gate to the exec of its agent. At
    /// least 1.
    pub max_parallel: usize,
    /// The most starts in a second, in the long run; as many at once after a second without any.
    /// At least 1.
    pub per_second: u32,
}

impl Spawn {
    /// All at once.
    pub const UNBOUNDED: Self = Self { max_parallel: usize::MAX, per_second: u32::MAX };

    /// The time that brings one start. Rounded up, so that no rounding adds to the rate.
    fn interval(self) -> Duration {
        Duration::from_nanos(1_000_000_000_u64.div_ceil(u64::from(self.per_second.max(1))))
    }
}

/// What the starts so far leave of the right to start more.
///
/// The bucket is known by when it is full again. That stays true when the rate changes: a runner
/// that owes a second at the old rate owes no more than a second at the new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    full_at: Time,
    /// Whether the last start was of an agent that had a place already.
    returned: bool,
}

impl Pace {
    /// When the next start may be: the past, if the bucket is not empty.
    #[must_use]
    pub fn due(self, spawn: Spawn) -> Time {
        let others = spawn.interval().saturating_mul(spawn.per_second.saturating_sub(1));
        let full_at = self.full_at - Time::default();
        Time::from_origin(full_at.saturating_sub(others))
    }

    /// What is left after a start.
    #[must_use]
    pub(super) fn after(self, spawn: Spawn, returned: bool, now: Time) -> Self {
        Self { full_at: self.full_at.max(now) + spawn.interval(), returned }
    }

    /// Both kinds in turn, as long as there are both. Who had the last start waits for the other.
    pub(super) fn alternate<T>(
        self,
        returning: Vec<T>,
        newcomers: Vec<T>,
    ) -> impl Iterator<Item = T> {
        let (first, second) =
            if self.returned { (newcomers, returning) } else { (returning, newcomers) };
        let (mut first, mut second) = (first.into_iter(), second.into_iter());
        let mut turn = false;
        iter::from_fn(move || {
            turn = !turn;
            if turn {
                first.next().or_else(|| second.next())
            } else {
                second.next().or_else(|| first.next())
            }
        })
    }
}

#[cfg(test)]
mod tests;
