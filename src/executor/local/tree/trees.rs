//! How the trees of one runner's agents are held, and what is left of those of the runner before.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::cgroup::Cgroup;
use super::{hierarchy, namespace, release};
use crate::executor::contain;
use crate::executor::gate::Births;
use crate::executor::local::log_name::fnv1a;
use crate::plan::RunId;

/// How long those that no agent is known of may take to end, once they are killed.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(2);

/// The time from the end of an agent to the removal of its cgroup.
const REMOVAL: Duration = Duration::from_millis(100);

/// How the processes of agents are to be held together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Containment {
    /// By cgroups where they can be made, else by process groups.
    #[default]
    Auto,
    /// By cgroups, or not at all.
    Cgroup,
    /// By PID namespaces, or not at all.
    PidNamespace,
    /// By process groups: see [`BEST_EFFORT`].
    ProcessGroup,
}

/// Whom process groups do not hold, in words.
const BEST_EFFORT: &str = "a process is not found that clears its environment, leaves its group, \
                           and whose parent has ended";

/// The trees of one runner's agents.
#[derive(Debug, Default)]
pub struct Trees {
    /// Where a cgroup is made for each new run; none: process groups have to do.
    home: Option<PathBuf>,
    /// Whether an agent may run without one.
    required: bool,
    /// Where there may be some of runs that began before, in another place too.
    homes: Vec<PathBuf>,
    /// Whether each new run has a PID namespace.
    namespaced: bool,
    discarded: Discarded,
}

/// Empty cgroups that are to be removed.
#[derive(Debug, Default)]
struct Discarded {
    cgroups: Mutex<Vec<Cgroup>>,
    more: Notify,
}

/// What is wanted to hold agents cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CannotContain {
    /// Why not, for each place.
    #[error("no cgroup can be made: {}", .0.join("; "))]
    Cgroup(Vec<String>),
    /// Why not.
    #[error("no PID namespace can be made: {0}")]
    PidNamespace(io::Error),
}

impl Trees {
    /// Finds out how the trees of `instance` can be held, by trying: the number of a kernel tells
    /// nothing of what a container allows. A gate is held and killed for that.
    ///
    /// # Errors
    /// If what is wanted cannot be had.
    pub fn probe(
        instance: &str,
        containment: Containment,
        births: &Births,
    ) -> Result<Self, CannotContain> {
        let name = home_name(instance);
        let mounts = hierarchy::mounts().unwrap_or_default();
        let homes = mounts.iter().flat_map(|mount| mount.find(&name)).collect();
        let mut trees = Self { homes, ..Self::default() };
        match containment {
            Containment::Auto => match usable(&mounts, &name, births) {
                Ok(home) => trees.home = Some(home),
                Err(why) => {
                    tracing::warn!(event = "containment.best_effort", reason = %why, "{BEST_EFFORT}");
                }
            },
            Containment::Cgroup => {
                trees.home = Some(usable(&mounts, &name, births)?);
                trees.required = true;
            }
            Containment::PidNamespace => {
                namespace::try_out(births).map_err(CannotContain::PidNamespace)?;
                trees.namespaced = true;
                tracing::info!(
                    event = "containment.pid_namespace",
                    "each agent has a PID namespace"
                );
            }
            Containment::ProcessGroup => {
                let reason = "it is what the configuration asks for";
                tracing::info!(event = "containment.best_effort", reason, "{BEST_EFFORT}");
            }
        }
        if let Some(home) = &trees.home {
            tracing::info!(event = "containment.cgroup", home = %home.display(), "each agent has a cgroup");
        }
        Ok(trees)
    }

    /// What is to be said to the gate of a new run first.
    pub(in crate::executor::local) fn gate_option(&self) -> Option<&'static str> {
        self.namespaced.then_some(contain::OPTION)
    }

    /// Makes the cgroup of a new run, if there are any.
    pub(in crate::executor::local) fn make(&self, run: RunId) -> io::Result<Option<Cgroup>> {
        let Some(home) = &self.home else { return Ok(None) };
        self.or_without(Cgroup::make(home.join(run.0.to_string())))
    }

    /// Puts a gate into it that was not born there.
    pub(in crate::executor::local) fn hold(
        &self,
        cgroup: Cgroup,
        gate: Pid,
    ) -> io::Result<Option<Cgroup>> {
        let entered = cgroup.enter(gate);
        if entered.is_err() {
            release(&cgroup);
        }
        self.or_without(entered.map(|()| cgroup))
    }

    /// It worked when it was tried: an agent is worth more than the certainty of its end.
    fn or_without(&self, held: io::Result<Cgroup>) -> io::Result<Option<Cgroup>> {
        match held {
            Ok(cgroup) => Ok(Some(cgroup)),
            Err(error) if self.required => Err(error),
            Err(error) => {
                tracing::warn!(event = "containment.missing", %error, "an agent has no cgroup: {BEST_EFFORT}");
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

    /// Has an empty one removed, in a moment: the kernel takes its time over it, which whoever waits
    /// for the next agent should not have to.
    pub(in crate::executor::local) fn discard(&self, cgroup: Cgroup) {
        self.discarded.cgroups().push(cgroup);
        self.discarded.more.notify_one();
    }

    /// Removes those that are discarded, many at a time. Runs until it is dropped.
    pub(in crate::executor::local) async fn remove_discarded(self: Arc<Self>) {
        loop {
            self.discarded.more.notified().await;
            sleep(REMOVAL).await;
            let cgroups = std::mem::take(&mut *self.discarded.cgroups());
            let removed = spawn_blocking(move || cgroups.iter().for_each(release)).await;
            if let Err(error) = removed {
                tracing::debug!(%error, "cgroups stay");
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

impl Discarded {
    fn cgroups(&self) -> MutexGuard<'_, Vec<Cgroup>> {
        self.cgroups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the directory of all trees of a runner is called. A state directory has one runner, so
/// nobody else's is called the same.
fn home_name(instance: &str) -> String {
    format!("runner-{:016x}", fnv1a(instance.as_bytes()))
}

/// The first place where agents can be held: below the own cgroup, which is ours if it was
/// delegated, or below the root.
fn usable(
    mounts: &[hierarchy::Mount],
    name: &str,
    births: &Births,
) -> Result<PathBuf, CannotContain> {
    let own = hierarchy::own().ok().flatten();
    let mut tried = Vec::new();
    for mount in mounts {
        let places = own.iter().filter_map(|own| mount.directory_of(own)).chain([mount.at.clone()]);
        for place in places {
            let home = place.join(name);
            match try_out(&home, births) {
                Ok(()) => return Ok(home),
                Err(error) => tried.push(format!("{}: {error}", place.display())),
            }
        }
    }
    if tried.is_empty() {
        tried.push("cgroup v2 is not mounted".to_owned());
    }
    Err(CannotContain::Cgroup(tried))
}

/// Holds a gate and kills it, as will be done with agents.
fn try_out(home: &Path, births: &Births) -> io::Result<()> {
    let dir = home.join("probe");
    if let Some(broken_off) = Cgroup::open(dir.clone()) {
        broken_off.kill()?;
        broken_off.emptied_within(SWEEP_TIMEOUT)?;
    }
    let cgroup = Cgroup::make(dir)?;
    let tried = hold_and_kill(&cgroup, births);
    let removed = cgroup.remove();
    tried.and(removed)
}

fn hold_and_kill(cgroup: &Cgroup, births: &Births) -> io::Result<()> {
    let place = cgroup.open_dir()?;
    let gate = births.birth(Some(place.as_fd()))?;
    let pid = gate.pid;
    let held = if gate.held { Ok(()) } else { cgroup.enter(pid) };
    let killed = held.and_then(|()| cgroup.kill());
    // If it was not killed, this ends it.
    drop(gate);
    rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED))?;
    killed?;
    cgroup.emptied_within(SWEEP_TIMEOUT)?.then_some(()).ok_or(ErrorKind::TimedOut.into())
}
