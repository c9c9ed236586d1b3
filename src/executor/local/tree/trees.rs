//! How the trees of one runner's agents are held, and what is left of those of the runner before.

use std::collections::{BTreeSet, HashSet};
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
use super::controllers::{self, Controllers};
use super::{hierarchy, namespace, release};
use crate::executor::contain;
use crate::executor::gate::{Births, Gate, most_files, sandbox};
use crate::executor::local::log_name::fnv1a;
use crate::plan::{Enforceable, Limit, Limits, RunId};

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
    /// By process groups: who clears its environment and leaves its parents escapes.
    ProcessGroup,
}

/// What the names of all directories of ours begin with.
const HOME_PREFIX: &str = "runner-";

/// Whom process groups do not hold, in words.
const ESCAPE: &str = "a process is not found that clears its environment, leaves its group, \
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
    /// Where there may be more of those, of v1.
    homes_beside: Vec<PathBuf>,
    /// By what limits are enforced.
    controllers: Controllers,
    /// Whether each new run has a PID namespace.
    namespaced: bool,
    /// Why process groups have to do, if they have to.
    best_effort: Option<BestEffort>,
    discarded: Discarded,
    ahead: Mutex<Ahead>,
}

/// A cgroup that was made for the next run before there is one: a restart need not wait for it.
#[derive(Debug, Default)]
struct Ahead {
    /// The latest run for which one was asked for.
    latest: Option<RunId>,
    spare: Option<(RunId, Cgroup)>,
}

/// Why process groups have to do.
#[derive(Debug)]
enum BestEffort {
    NoCgroups(CannotContain),
    Wanted,
}

/// Empty cgroups that are to be removed.
#[derive(Debug, Default)]
struct Discarded {
    cgroups: Mutex<Vec<Cgroup>>,
    more: Notify,
}

/// What holds the processes of an agent together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// A cgroup below this directory.
    Cgroup(PathBuf),
    /// A PID namespace.
    PidNamespace,
    /// A process group, for this reason.
    ProcessGroup(String),
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
        Self::probe_for(instance, containment, births, &BTreeSet::new())
    }

    /// The same, in a place where the limits that are `wanted` can be enforced, if there is one.
    ///
    /// # Errors
    /// If what is wanted cannot be had.
    pub fn probe_for(
        instance: &str,
        containment: Containment,
        births: &Births,
        wanted: &BTreeSet<Limit>,
    ) -> Result<Self, CannotContain> {
        let name = home_name(instance);
        let mounts = hierarchy::mounts(None).unwrap_or_default();
        let homes = |mounts: &[hierarchy::Mount]| {
            mounts.iter().flat_map(|mount| mount.find(&name)).collect()
        };
        let mut trees = Self {
            homes: homes(&mounts),
            homes_beside: homes(&controllers::mounts_beside()),
            ..Self::default()
        };
        match containment {
            Containment::Auto | Containment::Cgroup => {
                trees.required = containment == Containment::Cgroup;
                match usable(&mounts, &name, births, wanted) {
                    Ok((home, controllers)) => {
                        trees.home = Some(home);
                        trees.controllers = controllers;
                    }
                    Err(why) if trees.required => return Err(why),
                    Err(why) => {
                        trees.controllers = Controllers::none(&why.to_string());
                        trees.best_effort = Some(BestEffort::NoCgroups(why));
                    }
                }
            }
            Containment::PidNamespace => {
                namespace::try_out(births).map_err(CannotContain::PidNamespace)?;
                trees.namespaced = true;
                let why = "agents are held by PID namespaces, not by cgroups";
                trees.controllers = Controllers::none(why);
            }
            Containment::ProcessGroup => {
                trees.best_effort = Some(BestEffort::Wanted);
                let why = "agents are held by process groups, not by cgroups";
                trees.controllers = Controllers::none(why);
            }
        }
        Ok(trees)
    }

    /// Tells people how agents are held.
    pub fn tell(&self) {
        if let Some(home) = &self.home {
            tracing::info!(event = "containment.cgroup", home = %home.display(), "each agent has a cgroup");
        }
        if self.namespaced {
            tracing::info!(event = "containment.pid_namespace", "each agent has a PID namespace");
        }
        match &self.best_effort {
            Some(BestEffort::NoCgroups(why)) => {
                tracing::warn!(event = "containment.best_effort", reason = %why, "{ESCAPE}");
            }
            Some(BestEffort::Wanted) => {
                let reason = "it is what the configuration asks for";
                tracing::info!(event = "containment.best_effort", reason, "{ESCAPE}");
            }
            None => {}
        }
    }

    /// By what agents are held.
    #[must_use]
    pub fn held_by(&self) -> Hold {
        match (&self.home, &self.best_effort) {
            (Some(home), _) => Hold::Cgroup(home.clone()),
            (None, Some(BestEffort::NoCgroups(why))) => Hold::ProcessGroup(why.to_string()),
            (None, None) if self.namespaced => Hold::PidNamespace,
            (None, None | Some(BestEffort::Wanted)) => {
                Hold::ProcessGroup("it is what the configuration asks for".to_owned())
            }
        }
    }

    /// Which limits can be enforced on agents.
    #[must_use]
    pub fn enforceable(&self) -> Enforceable {
        Enforceable {
            missing: self.controllers.missing.clone(),
            most_files: most_files(),
            no_sandbox: sandbox::missing(),
        }
    }

    /// What is to be said to the gate of a new run first.
    pub(in crate::executor::local) fn gate_option(&self) -> Option<&'static str> {
        self.namespaced.then_some(contain::OPTION)
    }

    /// Makes a cgroup for a new run, if there are any, and sets the limits on it that can be.
    pub(in crate::executor::local) fn make(
        &self,
        run: RunId,
        limits: &Limits,
    ) -> io::Result<Option<Cgroup>> {
        let Some(home) = &self.home else { return Ok(None) };
        let made = self.controllers.prepare(home, limits).and_then(|()| {
            let mut cgroup = match self.made_ahead(run) {
                Some(cgroup) => cgroup,
                None => Cgroup::make(home.join(run.0.to_string()))?,
            };
            let limited = self.controllers.limit(&mut cgroup, run, limits);
            if limited.is_err() {
                release(&cgroup);
            }
            limited.map(|()| cgroup)
        });
        self.or_none(made, run, limits)
    }

    /// The one that was made for this run, if there is one.
    fn made_ahead(&self, run: RunId) -> Option<Cgroup> {
        let mut ahead = self.ahead();
        ahead.latest = ahead.latest.max(Some(run));
        ahead.spare.take_if(|(for_run, _)| *for_run == run).map(|(_, cgroup)| cgroup)
    }

    /// Makes one for the next run, unless there is one. What was made for another stays empty.
    fn make_ahead(&self) {
        let (Some(home), mut ahead) = (&self.home, self.ahead()) else { return };
        let Some(next) = ahead.latest.map(|latest| RunId(latest.0 + 1)) else { return };
        match ahead.spare.take() {
            Some(spare) if spare.0 == next => ahead.spare = Some(spare),
            outdated => {
                if let Some((_, cgroup)) = outdated {
                    release(&cgroup);
                }
                // If that fails, it fails again when it is needed, and is told of then.
                let made = Cgroup::make(home.join(next.0.to_string())).ok();
                ahead.spare = made.map(|cgroup| (next, cgroup));
            }
        }
    }

    fn ahead(&self) -> MutexGuard<'_, Ahead> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that the gate of the run is in the cgroup that was made for it, all of it.
    pub(in crate::executor::local) fn hold(
        &self,
        (run, limits): (RunId, &Limits),
        made: Option<&Cgroup>,
        gate: &Gate,
    ) -> io::Result<Option<Cgroup>> {
        let Some(cgroup) = made else { return Ok(None) };
        let held = if gate.held { cgroup.enter_beside(gate.pid) } else { cgroup.enter(gate.pid) };
        if held.is_err() {
            release(cgroup);
        }
        self.or_none(held.map(|()| cgroup.clone()), run, limits)
    }

    /// It worked at the start. An agent is worth more than the certainty of its end, but not more
    /// than what its limits keep it from.
    fn or_none(
        &self,
        cgroup: io::Result<Cgroup>,
        run: RunId,
        limits: &Limits,
    ) -> io::Result<Option<Cgroup>> {
        match cgroup {
            Ok(cgroup) => Ok(Some(cgroup)),
            Err(error) if self.required || self.controllers.enforce_any_of(limits) => Err(error),
            Err(error) => {
                tracing::warn!(event = "containment.missing", %run, %error, "an agent has no cgroup: {ESCAPE}");
                Ok(None)
            }
        }
    }

    /// The cgroup of a run that another runner began.
    pub(in crate::executor::local) fn find(&self, run: RunId) -> Option<Cgroup> {
        let name = run.0.to_string();
        let mut cgroup = self.everywhere().find_map(|home| Cgroup::open(home.join(&name)))?;
        for dir in self.everywhere_beside().map(|home| home.join(&name)).filter(|dir| dir.is_dir())
        {
            cgroup.put_beside(&dir);
        }
        Some(cgroup)
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
        let dirs = self.everywhere_beside().flat_map(|home| hierarchy::children(home));
        for empty in dirs.filter(|dir| !is_known(dir)).filter_map(Cgroup::open) {
            release(&empty);
        }
    }

    /// Has an empty one removed, in a moment: the kernel takes its time over it, which whoever waits
    /// for the next agent should not have to.
    pub(in crate::executor::local) fn discard(&self, cgroup: Cgroup) {
        self.discarded.cgroups().push(cgroup);
        self.discarded.more.notify_one();
    }

    /// Removes those that are discarded, many at a time: an agent that ended is often started again,
    /// and so one is made. Runs until it is dropped.
    pub(in crate::executor::local) async fn remove_discarded(self: Arc<Self>) {
        loop {
            self.discarded.more.notified().await;
            sleep(REMOVAL).await;
            let cgroups = std::mem::take(&mut *self.discarded.cgroups());
            let trees = Arc::clone(&self);
            let tidy = move || {
                cgroups.iter().for_each(release);
                trees.make_ahead();
            };
            let removed = spawn_blocking(tidy).await;
            if let Err(error) = removed {
                tracing::debug!(%error, "cgroups stay");
            }
        }
    }

    /// Removes what is left of the directories, where no agent runs on.
    pub fn close(&self) {
        for home in self.everywhere().chain(self.everywhere_beside()) {
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

    fn everywhere_beside(&self) -> impl Iterator<Item = &PathBuf> {
        let homes = self.controllers.homes_beside();
        let elsewhere = self.homes_beside.iter().filter(move |home| !homes.contains(home));
        self.controllers.homes_beside().into_iter().chain(elsewhere)
    }
}

impl Discarded {
    fn cgroups(&self) -> MutexGuard<'_, Vec<Cgroup>> {
        self.cgroups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All processes of the agent that this one is of; none if they are not held by a cgroup of ours.
pub(in crate::executor::local) fn members_beside(pid: Pid) -> Option<HashSet<Pid>> {
    let dir = hierarchy::of(pid)?;
    if !dir.parent()?.file_name()?.to_str()?.starts_with(HOME_PREFIX) {
        return None;
    }
    let cgroup = Cgroup::open(dir)?;
    Some(cgroup.members().ok()?.into_iter().collect())
}

/// What the directory of all trees of a runner is called. A state directory has one runner, so
/// nobody else's is called the same.
fn home_name(instance: &str) -> String {
    format!("{HOME_PREFIX}{:016x}", fnv1a(instance.as_bytes()))
}

/// The first place where agents can be held: below the own cgroup, which is ours if it was
/// delegated, or below the root.
///
/// The root is also where limits can be enforced that cannot be in the own one, because processes
/// live there, this one for a start: only what is below cgroups without processes can be limited.
/// But it is not part of what the runner was given, and so taken only if that is wanted.
fn usable(
    mounts: &[hierarchy::Mount],
    name: &str,
    births: &Births,
    wanted: &BTreeSet<Limit>,
) -> Result<(PathBuf, Controllers), CannotContain> {
    let own = hierarchy::own(None).ok().flatten();
    let mut tried = Vec::new();
    let mut first = None;
    for mount in mounts {
        let places = own.iter().filter_map(|own| mount.directory_of(own)).chain([mount.at.clone()]);
        for place in places {
            let home = place.join(name);
            match try_out(&home, births) {
                Ok(()) => {
                    let controllers = Controllers::try_out(&home, name);
                    if controllers.enforce_all(wanted) {
                        return Ok((home, controllers));
                    }
                    let _ = first.get_or_insert((home, controllers));
                }
                Err(error) => tried.push(format!("{}: {error}", place.display())),
            }
        }
    }
    if let Some(first) = first {
        return Ok(first);
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
