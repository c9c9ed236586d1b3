//! How the trees of one runner's agents are held, and what is left of those of the runner before.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::cgroup::Cgroup;
use super::hierarchy;
use crate::executor::local::log_name::fnv1a;
use crate::plan::RunId;

/// How long those that no agent is known of may take to end, once they are killed.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(2);

/// How the processes of agents are to be held together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Containment {
    /// By cgroups where they can be made, else by process groups.
    #[default]
    Auto,
    /// By cgroups, or not at all.
    Cgroup,
    /// By process groups: who leaves its group is not found.
    ProcessGroup,
}

/// The trees of one runner's agents.
#[derive(Debug, Default)]
pub struct Trees {
    /// Where a cgroup is made for each new run; none: process groups have to do.
    home: Option<PathBuf>,
    /// Whether an agent may run without one.
    required: bool,
    /// Where there may be some of runs that began before, in another place too.
    homes: Vec<PathBuf>,
}

/// No cgroup can be made: why not, for each place.
#[derive(Debug, thiserror::Error)]
#[error("no cgroup can be made: {}", .0.join("; "))]
pub struct NoCgroups(Vec<String>);

impl Trees {
    /// Finds out how the trees of `instance` can be held, by trying: the number of a kernel tells
    /// nothing of what a container allows. `gate` is what is put into a cgroup for that.
    ///
    /// # Errors
    /// If cgroups are wanted and cannot be had.
    pub fn probe(
        instance: &str,
        containment: Containment,
        gate: &[String],
    ) -> Result<Self, NoCgroups> {
        let name = home_name(instance);
        let mounts = hierarchy::mounts().unwrap_or_default();
        let homes = mounts.iter().flat_map(|mount| mount.find(&name)).collect();
        let required = containment == Containment::Cgroup;
        let home = match containment {
            Containment::Auto | Containment::Cgroup => usable(&mounts, &name, gate).map(Some),
            Containment::ProcessGroup => Ok(None),
        };
        let home = match home {
            Ok(home) => home,
            Err(why) if required => return Err(why),
            Err(why) => {
                tracing::warn!(
                    event = "containment.best_effort",
                    reason = %why,
                    "a process that leaves its agent's group may not be found"
                );
                None
            }
        };
        if let Some(home) = &home {
            tracing::info!(event = "containment.cgroup", home = %home.display(), "each agent has a cgroup");
        }
        Ok(Self { home, required, homes })
    }

    /// Puts the gate of a new run into a cgroup of its own, if there are any.
    pub(in crate::executor::local) fn hold(
        &self,
        run: RunId,
        gate: Pid,
    ) -> io::Result<Option<Cgroup>> {
        let Some(home) = &self.home else { return Ok(None) };
        let dir = home.join(run.0.to_string());
        let held = Cgroup::make(dir).and_then(|cgroup| {
            let entered = cgroup.enter(gate);
            if entered.is_err() {
                let _ = cgroup.remove();
            }
            entered.map(|()| cgroup)
        });
        match held {
            Ok(cgroup) => Ok(Some(cgroup)),
            Err(error) if self.required => Err(error),
            Err(error) => {
                // It worked at the start; an agent is worth more than the certainty of its end.
                tracing::warn!(event = "containment.missing", %run, %error, "an agent has no cgroup");
                Ok(None)
            }
        }
    }

    /// The cgroup of a run that another runner began.
    pub(in crate::executor::local) fn find(&self, run: RunId) -> Option<Cgroup> {
        self.everywhere().find_map(|home| Cgroup::open(home.join(run.0.to_string())))
    }

    /// Ends whoever is in the cgroup of a run that is not known: what is left of agents whose
    /// record was lost, or of gates that were never opened. To be called before anything starts.
    pub fn sweep(&self, known: &BTreeSet<RunId>) {
        let known: BTreeSet<_> = known.iter().map(|run| run.0.to_string()).collect();
        let is_known = |dir: &PathBuf| {
            let name = dir.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| known.contains(name))
        };
        let dirs = self.everywhere().flat_map(|home| hierarchy::children(home));
        let strays: Vec<_> = dirs.filter(|dir| !is_known(dir)).filter_map(Cgroup::open).collect();
        for stray in &strays {
            let processes = stray.members().map_or(0, |members| members.len());
            if processes > 0 {
                let cgroup = stray.dir().display();
                tracing::warn!(event = "tree.stray", %cgroup, processes, "belongs to no agent: killed");
            }
            // Where it fails, the wait for its end does too.
            let _ = stray.kill();
        }
        let until = Instant::now() + SWEEP_TIMEOUT;
        for stray in strays {
            let left = until.saturating_duration_since(Instant::now());
            let ended = stray.emptied_within(left).and_then(|ended| {
                if ended { stray.remove() } else { Err(ErrorKind::TimedOut.into()) }
            });
            if let Err(error) = ended {
                let cgroup = stray.dir().display();
                tracing::error!(event = "tree.stuck", %cgroup, %error, "cannot be ended");
            }
        }
    }

    /// Removes what is left of the directories, where no agent runs on.
    pub fn close(&self) {
        for home in self.everywhere() {
            if let Some(home) = Cgroup::open(home.clone()) {
                // It fails if there is somebody.
                let _ = home.remove();
            }
        }
    }

    fn everywhere(&self) -> impl Iterator<Item = &PathBuf> {
        let elsewhere = self.homes.iter().filter(|home| Some(*home) != self.home.as_ref());
        self.home.iter().chain(elsewhere)
    }
}

/// What the directory of all trees of a runner is called. A state directory has one runner, so
/// nobody else's is called the same.
fn home_name(instance: &str) -> String {
    format!("runner-{:016x}", fnv1a(instance.as_bytes()))
}

/// The first place where agents can be held: below the own cgroup, which is ours if it was
/// delegated, or below the root.
fn usable(mounts: &[hierarchy::Mount], name: &str, gate: &[String]) -> Result<PathBuf, NoCgroups> {
    let own = hierarchy::own().ok().flatten();
    let mut tried = Vec::new();
    for mount in mounts {
        let places = own.iter().filter_map(|own| mount.directory_of(own)).chain([mount.at.clone()]);
        for place in places {
            let home = place.join(name);
            match try_out(&home, gate) {
                Ok(()) => return Ok(home),
                Err(error) => tried.push(format!("{}: {error}", place.display())),
            }
        }
    }
    if tried.is_empty() {
        tried.push("cgroup v2 is not mounted".to_owned());
    }
    Err(NoCgroups(tried))
}

/// Holds a process and kills it, as will be done with agents.
fn try_out(home: &Path, gate: &[String]) -> io::Result<()> {
    let (program, args) = gate.split_first().ok_or(ErrorKind::InvalidInput)?;
    let dir = home.join("probe");
    if let Some(broken_off) = Cgroup::open(dir.clone()) {
        broken_off.kill()?;
        broken_off.emptied_within(SWEEP_TIMEOUT)?;
    }
    let cgroup = Cgroup::make(dir)?;
    let tried = || {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let killed = cgroup.enter(Pid::from_child(&child)).and_then(|()| cgroup.kill());
        if killed.is_err() {
            child.kill()?;
        }
        child.wait()?;
        killed?;
        cgroup.emptied_within(SWEEP_TIMEOUT)?.then_some(()).ok_or(ErrorKind::TimedOut.into())
    };
    let tried = tried();
    let removed = cgroup.remove();
    tried.and(removed)
}
