//! What an agent uses, with all that it started: read when somebody asks.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::Pid;

use super::tree::members_beside;

/// What the processes of an agent use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The time that they ran on a processor, those that ended and were waited for included.
    pub cpu: Duration,
    /// The memory that is theirs at the moment, in bytes. What several share is counted for each.
    pub memory: u64,
    /// How many there are.
    pub processes: usize,
}

/// What the process and all that it started use; none if it is not there. Blocks: reads `/proc`.
#[must_use]
pub fn usage(pid: u32) -> Option<Usage> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    let mut usage = Usage::default();
    for one in tree(pid) {
        // One that has ended meanwhile uses nothing.
        let Some((ticks, pages)) = measure(one) else { continue };
        let millis = ticks.saturating_mul(1000) / clock_ticks_per_second().max(1);
        usage.cpu += Duration::from_millis(millis);
        usage.memory += pages.saturating_mul(page_size() as u64);
        usage.processes += 1;
    }
    (usage.processes > 0).then_some(usage)
}

/// The process and all that it started, as far as that can be seen.
pub(super) fn tree(pid: Pid) -> HashSet<Pid> {
    members_beside(pid).unwrap_or_else(|| descendants(pid))
}

/// It, and all below it.
fn descendants(pid: Pid) -> HashSet<Pid> {
    let mut all = HashSet::from([pid]);
    let mut left = vec![pid];
    while let Some(parent) = left.pop() {
        let number = parent.as_raw_nonzero();
        let threads = fs::read_dir(format!("/proc/{number}/task"));
        for thread in threads.into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
            left.extend(children.filter_map(Pid::from_raw).filter(|child| all.insert(*child)));
        }
    }
    all
}

/// The ticks that it ran, and the pages that it has.
fn measure(pid: Pid) -> Option<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<_> = rest.split_whitespace().collect();
    // Numbered from 3 in proc_pid_stat(5): 14 to 17 are times, its own and those of children that
    // it waited for; 24 is the resident set.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = (14..=17).filter_map(number).sum();
    Some((ticks, number(24)?))
}
