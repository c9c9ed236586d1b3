//! How much of the processor an agent takes: told by its cluster, or else from what it has taken in
//! all, looked at again and again.

use std::collections::VecDeque;
use std::time::Duration;

use crate::proto::control as pb;

/// How many shares are remembered: as many as the widest column of them shows.
pub(super) const HISTORY: usize = 20;

/// The share at which a bar is full, at least: a tenth of a processor. Idle agents look idle.
const LEAST_SCALE: u32 = 100;

/// What is known of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Load {
    run: u64,
    /// When it was measured last, and what it had taken by then.
    last: Option<(Duration, u64)>,
    /// Of one processor, in tenths of a percent; none: it was not measured twice yet.
    pub(super) share: Option<u32>,
    /// In bytes; none: it was not measured.
    pub(super) memory: Option<u64>,
    history: VecDeque<u32>,
}

impl Load {
    /// Takes in what was measured at a time.
    pub(super) fn take_in(&mut self, agent: &pb::Agent, at: Duration) {
        let Some(usage) = agent.usage else {
            *self = Self::default();
            return;
        };
        if self.run != agent.run {
            *self = Self { run: agent.run, ..Self::default() };
        }
        self.memory = Some(usage.memory_bytes);
        let since_last = |(before, cpu_ms): (Duration, u64)| {
            let passed = at.saturating_sub(before).as_millis().max(1);
            // What one of its processes took is not counted any more when nobody waited for its end.
            let taken = u128::from(usage.cpu_ms.saturating_sub(cpu_ms));
            u32::try_from(taken * 1000 / passed).unwrap_or(u32::MAX)
        };
        // Of a pod its cluster tells the share.
        let share = usage.cpu_millicores.or_else(|| self.last.map(since_last));
        if let Some(share) = share {
            self.share = Some(share);
            if self.history.len() == HISTORY {
                self.history.pop_front();
            }
            self.history.push_back(share);
        }
        self.last = Some((at, usage.cpu_ms));
    }

    /// The latest shares as bars, the last one at the right end. A full bar is the largest of them.
    pub(super) fn bars(&self, width: usize) -> String {
        const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let skipped = self.history.len().saturating_sub(width);
        let scale = self.history.iter().copied().max().unwrap_or(0).max(LEAST_SCALE);
        let bar = |share: &u32| {
            let level = u64::from(*share) * 7 / u64::from(scale);
            usize::try_from(level).ok().and_then(|level| BARS.get(level)).copied().unwrap_or('█')
        };
        let bars: String = self.history.iter().skip(skipped).map(bar).collect();
        format!("{bars:>width$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(run: u64, cpu_ms: u64) -> pb::Agent {
        let usage = Some(pb::Usage { cpu_ms, memory_bytes: 1 << 20, ..pb::Usage::default() });
        pb::Agent { run, usage, ..pb::Agent::default() }
    }

    #[test]
    fn a_share_is_what_was_taken_between_two_looks() {
        let mut load = Load::default();
        let at = Duration::from_secs;
        load.take_in(&measured(1, 5000), at(10));
        assert_eq!((load.share, load.memory), (None, Some(1 << 20)));
        load.take_in(&measured(1, 6000), at(12));
        assert_eq!(load.share, Some(500));
        load.take_in(&measured(1, 10_000), at(14));
        assert_eq!(load.share, Some(2000));
        assert_eq!(load.bars(4), "  ▂█");
        // It cannot take less in all: a process that it had is not counted any more.
        load.take_in(&measured(1, 1), at(16));
        assert_eq!(load.share, Some(0));
        // Another run begins anew, and who has none has nothing.
        load.take_in(&measured(2, 7), at(18));
        assert_eq!((load.share, load.bars(2).as_str()), (None, "  "));
        load.take_in(&pb::Agent { run: 2, ..pb::Agent::default() }, at(20));
        assert_eq!(load, Load::default());
    }

    #[test]
    fn the_share_of_a_pod_is_told() {
        let mut load = Load::default();
        for (at, millicores) in [(2, 250), (4, 0)] {
            let usage = pb::Usage { cpu_millicores: Some(millicores), ..pb::Usage::default() };
            let agent = pb::Agent { run: 1, usage: Some(usage), ..pb::Agent::default() };
            load.take_in(&agent, Duration::from_secs(at));
            assert_eq!(load.share, Some(millicores));
        }
        assert_eq!(load.bars(2), "█▁");
    }

    #[test]
    fn two_looks_at_one_moment_are_no_division_by_nothing() {
        let mut load = Load::default();
        for cpu_ms in [0, u64::MAX] {
            load.take_in(&measured(1, cpu_ms), Duration::ZERO);
        }
        assert_eq!(load.share, Some(u32::MAX));
        assert_eq!(load.bars(1), "█");
    }
}
