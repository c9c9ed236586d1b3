//! How much of the machine an agent may take.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How much of the machine one agent, with all that it starts, may take; where there is none, as
/// much as it gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// The memory of all its processes together, in bytes.
    pub memory: Option<u64>,
    /// The time of processors for all its processes together, in thousandths of one processor.
    pub cpu: Option<u32>,
    /// How many processes and threads it may be.
    pub pids: Option<u32>,
    /// One more than the highest number of an open file, for each of its processes.
    pub nofile: Option<u64>,
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory, cpu, pids, nofile } = *self;
        let all = [
            memory.map(|bytes| format!("memory {}", in_units(bytes))),
            cpu.map(|thousandths| format!("cpu {}", f64::from(thousandths) / 1000.0)),
            pids.map(|pids| format!("pids {pids}")),
            nofile.map(|files| format!("nofile {files}")),
        ];
        f.write_str(&all.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

impl Limits {
    /// Whether there is none at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Those on all processes together.
    pub fn of_tree(&self) -> impl Iterator<Item = Limit> {
        let Self { memory, cpu, pids, nofile: _ } = *self;
        let given = move |limit: &Limit| match limit {
            Limit::Memory => memory.is_some(),
            Limit::Cpu => cpu.is_some(),
            Limit::Pids => pids.is_some(),
        };
        Limit::ALL.into_iter().filter(given)
    }
}

/// A limit on all processes of an agent together, which nothing but a cgroup can enforce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// [`Limits::memory`].
    Memory,
    /// [`Limits::cpu`].
    Cpu,
    /// [`Limits::pids`].
    Pids,
}

impl Limit {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Cpu, Self::Pids];

    /// Its key in the file, and the name of the cgroup controller that enforces it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
        }
    }
}

/// What can be enforced where the agents run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enforceable {
    /// Why not, for each that cannot be.
    pub missing: BTreeMap<Limit, String>,
    /// The most that [`Limits::nofile`] may be.
    pub most_files: u64,
    /// Why agents cannot be held to a sandbox, if they cannot.
    pub no_sandbox: Option<String>,
}

/// All of them.
impl Default for Enforceable {
    fn default() -> Self {
        Self { missing: BTreeMap::new(), most_files: u64::MAX, no_sandbox: None }
    }
}

const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// A number of bytes in the largest unit that it is a multiple of, as in the file: `64MiB`.
pub(super) fn in_units(bytes: u64) -> String {
    let fits = |(_, factor): &&(&str, u64)| bytes > 0 && bytes.is_multiple_of(*factor);
    match UNITS.iter().find(fits) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests;
