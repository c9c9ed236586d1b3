//! By which cgroups the kernel enforces limits, found by trying. A controller belongs to one
//! hierarchy: to v2, where the agents' own cgroups are, or to one of v1 beside it, where an agent
//! that needs it gets a second cgroup.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::cgroup::Cgroup;
use super::hierarchy;
use super::limits::{self, Version};
use crate::plan::{Limit, Limits, RunId};

/// What is set when it is tried out.
const SAMPLE: Limits =
    Limits { memory: Some(1 << 30), cpu: Some(500), pids: Some(64), nofile: None };

/// Where limits are set.
#[derive(Debug, Default)]
pub(super) struct Controllers {
    places: BTreeMap<Limit, Place>,
    /// Why there is no place for the others.
    pub(super) missing: BTreeMap<Limit, String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// In the agent's own cgroup.
    Own,
    /// In one of v1 below this directory.
    Beside(PathBuf),
}

impl Controllers {
    /// None, for this reason.
    pub(super) fn none(why: &str) -> Self {
        let missing = Limit::ALL.into_iter().map(|limit| (limit, why.to_owned())).collect();
        Self { places: BTreeMap::new(), missing }
    }

    /// Those for agents whose cgroups are made in `home`, a directory of this name.
    pub(super) fn try_out(home: &Path, name: &str) -> Self {
        let mut all = Self::default();
        for limit in Limit::ALL {
            let own = try_own(home, limit).map(|()| Place::Own);
            let place = own.or_else(|unified| {
                let beside = try_beside(name, limit).map(Place::Beside);
                beside.map_err(|beside| {
                    format!("cgroup v2: {}; v1: {}", reason(&unified), reason(&beside))
                })
            });
            match place {
                Ok(place) => drop(all.places.insert(limit, place)),
                Err(why) => drop(all.missing.insert(limit, why)),
            }
        }
        all
    }

    /// Those of the limits that have a place.
    fn placed<'a>(&'a self, limits: &'a Limits) -> impl Iterator<Item = (Limit, &'a Place)> {
        limits.of_tree().filter_map(|limit| Some((limit, self.places.get(&limit)?)))
    }

    /// Where cgroups of v1 are made.
    pub(super) fn homes_beside(&self) -> BTreeSet<&PathBuf> {
        let home = |place| match place {
            &Place::Own => None,
            Place::Beside(home) => Some(home),
        };
        self.places.values().filter_map(home).collect()
    }

    /// Whether any of the limits is enforced.
    pub(super) fn enforce_any_of(&self, limits: &Limits) -> bool {
        self.placed(limits).next().is_some()
    }

    /// Whether all of these are enforced.
    pub(super) fn enforce_all(&self, wanted: &BTreeSet<Limit>) -> bool {
        wanted.iter().all(|limit| self.places.contains_key(limit))
    }

    /// What the agents' own cgroups need of their home before they are made. It costs each agent
    /// something, so it is done once somebody needs it.
    pub(super) fn prepare(&self, home: &Path, limits: &Limits) -> io::Result<()> {
        let own = |(limit, place): (Limit, &Place)| (*place == Place::Own).then_some(limit);
        for limit in self.placed(limits).filter_map(own) {
            fs::create_dir_all(home)?;
            let enable = || enable(home, limit.name(), &mut Vec::new());
            // Who tries it out in the same place may have taken it back in between.
            enable().or_else(|_| enable())?;
        }
        Ok(())
    }

    /// Sets the limits on the cgroup of a run, which is empty.
    pub(super) fn limit(&self, cgroup: &mut Cgroup, run: RunId, limits: &Limits) -> io::Result<()> {
        for (limit, place) in self.placed(limits) {
            match place {
                Place::Own => limits::set(cgroup.dir(), Version::V2, limit, limits)?,
                Place::Beside(home) => {
                    let dir = home.join(run.0.to_string());
                    if cgroup.put_beside(&dir) {
                        // What was counted in one that is left over is of another run.
                        match fs::remove_dir(&dir) {
                            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                            Ok(()) | Err(_) => fs::create_dir_all(&dir)?,
                        }
                    }
                    limits::set(&dir, Version::V1, limit, limits)?;
                }
            }
        }
        Ok(())
    }
}

/// The mounts of v1 that have one of the controllers.
pub(super) fn mounts_beside() -> Vec<hierarchy::Mount> {
    let mounts = |limit: Limit| hierarchy::mounts(Some(limit.name())).unwrap_or_default();
    let mut all: Vec<_> = Limit::ALL.into_iter().flat_map(mounts).collect();
    // One may have several.
    all.sort();
    all.dedup();
    all
}

fn try_own(home: &Path, limit: Limit) -> io::Result<()> {
    let mut enabled = Vec::new();
    let tried = enable(home, limit.name(), &mut enabled)
        .and_then(|()| try_limit(&home.join("limits"), Version::V2, limit));
    // Until somebody needs it. Where somebody does meanwhile, the kernel refuses.
    for file in enabled.iter().rev() {
        let _ = limits::write(file, &format!("-{}", limit.name()));
    }
    tried
}

/// The directory below which agents get cgroups of v1: in the runner's own, so that what holds for
/// it holds for them.
fn try_beside(name: &str, limit: Limit) -> io::Result<PathBuf> {
    let own = hierarchy::own(Some(limit.name()))?;
    let mut error = io::Error::from(Errno::NOENT);
    for mount in hierarchy::mounts(Some(limit.name()))? {
        let Some(place) = own.as_ref().and_then(|own| mount.directory_of(own)) else { continue };
        let home = place.join(name);
        let tried = try_limit(&home.join("limits"), Version::V1, limit);
        // It stays only if there are runs in it already.
        let _ = fs::remove_dir(&home);
        match tried {
            Ok(()) => return Ok(home),
            Err(why) => error = why,
        }
    }
    Err(error)
}

fn try_limit(dir: &Path, version: Version, limit: Limit) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let tried = limits::set(dir, version, limit, &SAMPLE);
    fs::remove_dir(dir)?;
    tried
}

/// Has the cgroups below `home` have a controller, which its parent must hand on to it first;
/// notes the files by which that had to be changed.
fn enable(home: &Path, controller: &str, changed: &mut Vec<PathBuf>) -> io::Result<()> {
    for dir in home.parent().into_iter().chain([home]) {
        let file = subtree_control(dir);
        let has = fs::read_to_string(&file)?;
        if !has.split_whitespace().any(|name| name == controller) {
            limits::write(&file, &format!("+{controller}"))?;
            changed.push(file);
        }
    }
    Ok(())
}

/// What an error means where a controller is asked for.
fn reason(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => "it has no such controller".to_owned(),
        Some(Errno::BUSY) => "processes live right in the cgroup above".to_owned(),
        _ => error.to_string(),
    }
}

fn subtree_control(dir: &Path) -> PathBuf {
    dir.join("cgroup.subtree_control")
}

#[cfg(test)]
mod tests;
