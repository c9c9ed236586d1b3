//! What the runner itself uses, by the names that every exporter gives it.

use std::fs;

use prometheus::proto::MetricFamily;
use prometheus::{Counter, Registry, Result};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::gauges::{count, each};
use crate::clock::wall_time;

/// Blocks: reads `/proc`. What cannot be read is left out.
pub(super) fn families() -> Result<Vec<MetricFamily>> {
    let registry = Registry::new_custom(Some("process".to_owned()), None)?;
    let one = |name, help, value| each(&registry, (name, help), [], [([], value)]);
    if let Some(stat) = Stat::read() {
        let help = "Processor time that was used, in user and system mode, in seconds.";
        let cpu = Counter::new("cpu_seconds_total", help)?;
        cpu.inc_by(stat.cpu);
        registry.register(Box::new(cpu))?;
        one("resident_memory_bytes", "Memory that is resident, in bytes.", stat.resident)?;
        one("virtual_memory_bytes", "Memory that is mapped, in bytes.", stat.mapped)?;
        one("threads", "Threads.", stat.threads)?;
        let help = "When the process was started, in seconds since 1970.";
        one("start_time_seconds", help, stat.started)?;
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        one("open_fds", "Open file descriptors.", count(open.count()))?;
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        one("max_fds", "The most file descriptors that may be open.", count(most))?;
    }
    Ok(registry.gather())
}

/// Of `/proc/self/stat`, in seconds and bytes.
struct Stat {
    cpu: f64,
    resident: f64,
    mapped: f64,
    threads: f64,
    /// Since 1970.
    started: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<_> = rest.split_whitespace().collect();
        // Numbered from 3 in proc_pid_stat(5).
        let number = |field: usize| fields.get(field - 3)?.parse::<usize>().ok().map(count);
        let a_second = count(usize::try_from(clock_ticks_per_second()).ok()?);
        let since_epoch = wall_time().duration_since(std::time::UNIX_EPOCH).ok()?;
        let boot = clock_gettime(ClockId::Boottime);
        let since_boot = count(usize::try_from(boot.tv_sec).ok()?);
        Some(Self {
            cpu: (number(14)? + number(15)?) / a_second,
            resident: number(24)? * count(page_size()),
            mapped: number(23)?,
            threads: number(20)?,
            started: since_epoch.as_secs_f64().floor() - since_boot + number(22)? / a_second,
        })
    }
}
