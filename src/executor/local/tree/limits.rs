//! What the files of a cgroup say of limits: how each is set, and whether one was the end of
//! somebody.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use crate::plan::{Limit, Limits};

/// The two kinds of cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// The time in which a share of a processor may be used up, in microseconds: the kernel's default.
const PERIOD: u32 = 100_000;

/// One file, and what is written to it.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    file: &'static str,
    text: String,
    /// Whether it may be missing: a kernel without swap has nothing to limit.
    optional: bool,
}

/// Writes to a file of a cgroup, which is there or not.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

/// Sets one limit, if there is one.
pub(super) fn set(dir: &Path, version: Version, limit: Limit, limits: &Limits) -> io::Result<()> {
    for Setting { file, text, optional } in settings(version, limit, limits) {
        match write(&dir.join(file), &text) {
            Err(error) if optional && error.kind() == ErrorKind::NotFound => {}
            done => done?,
        }
    }
    Ok(())
}

fn settings(version: Version, limit: Limit, limits: &Limits) -> Vec<Setting> {
    let setting = |file, text| Setting { file, text, optional: false };
    let if_there = |file, text| Setting { file, text, optional: true };
    match (limit, version) {
        (Limit::Memory, Version::V2) => limits.memory.map(|bytes| {
            vec![
                setting("memory.max", bytes.to_string()),
                if_there("memory.swap.max", "0".to_owned()),
                // Half an agent would be no agent.
                if_there("memory.oom.group", "1".to_owned()),
            ]
        }),
        (Limit::Memory, Version::V1) => limits.memory.map(|bytes| {
            vec![
                setting("memory.limit_in_bytes", bytes.to_string()),
                // With swap; it may not be below the limit without.
                if_there("memory.memsw.limit_in_bytes", bytes.to_string()),
            ]
        }),
        (Limit::Cpu, Version::V2) => {
            limits.cpu.map(|cpu| vec![setting("cpu.max", format!("{} {PERIOD}", quota(cpu)))])
        }
        (Limit::Cpu, Version::V1) => limits.cpu.map(|cpu| {
            vec![
                setting("cpu.cfs_period_us", PERIOD.to_string()),
                setting("cpu.cfs_quota_us", quota(cpu).to_string()),
            ]
        }),
        (Limit::Pids, Version::V1 | Version::V2) => {
            limits.pids.map(|pids| vec![setting("pids.max", pids.to_string())])
        }
    }
    .unwrap_or_default()
}

/// Microseconds of a period, for thousandths of a processor.
fn quota(cpu: u32) -> u64 {
    u64::from(cpu) * u64::from(PERIOD / 1000)
}

/// The memory limit for which somebody was killed in the cgroup in this directory, in bytes; none
/// if nobody was. Whoever is killed was counted before.
pub(super) fn killed_at(dir: &Path) -> Option<u64> {
    let read = |file: &str| fs::read_to_string(dir.join(file)).ok();
    let number = |file: &str| read(file)?.trim().parse::<u64>().ok();
    // Whom the kernel kills because the whole machine has no memory left counts as killed too.
    let (events, limit, reached) = if let Some(events) = read("memory.events") {
        let reached = count(&events, "oom")? > 0;
        (events, number("memory.max")?, reached)
    } else {
        let limit = number("memory.limit_in_bytes")?;
        // What was too much is not counted, so this is a little less.
        let reached = number("memory.max_usage_in_bytes")? >= limit - limit / 16;
        (read("memory.oom_control")?, limit, reached)
    };
    (reached && count(&events, "oom_kill")? > 0).then_some(limit)
}

/// The number in the line `name number`.
fn count(text: &str, name: &str) -> Option<u64> {
    let number = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(number)
}

#[cfg(test)]
mod tests;
