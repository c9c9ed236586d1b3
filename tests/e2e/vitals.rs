//! What a runner holds of the system, as it is seen from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::harness::Runner;

/// What has to be given back some day, and is lost for good if it is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    /// Agents of which any process lives.
    pub(crate) agents: usize,
    /// Open files, by kind: `pidfd`, `socket`, `file` and so on.
    pub(crate) open: BTreeMap<String, usize>,
    /// Directories under watch.
    pub(crate) watches: usize,
    /// Children that have ended and were not waited for.
    pub(crate) zombies: usize,
    /// Cgroups below that of the runner, in all hierarchies.
    pub(crate) cgroups: usize,
    /// Files in the making, in the state and the log directory.
    pub(crate) temporary: usize,
}

/// What may come and go, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) proportional: u64,
    pub(crate) anonymous: u64,
}

impl Holdings {
    /// Of a runner whose cgroups are below directories of this name.
    ///
    /// # Errors
    /// If the system does not let us see, as a runner's memory and files are private.
    pub(crate) fn of(runner: &Runner, cgroup: Option<&str>) -> io::Result<Self> {
        let process = PathBuf::from(format!("/proc/{}", runner.process.id()));
        let agents = runner.agents();
        let runs: BTreeSet<_> = agents.iter().map(|agent| agent.marker("RUNNER_RUN")).collect();
        Ok(Self {
            agents: runs.len(),
            open: open(&process)?,
            watches: watches(&process)?,
            zombies: zombies(runner.process.id())?,
            cgroups: cgroup.map_or(0, |name| cgroups(name).1),
            temporary: temporary(runner.dir.path()).len(),
        })
    }

    /// Whether it is more of anything than that; a cgroup may be there in advance for the next run.
    pub(crate) fn exceeds(&self, before: &Self) -> bool {
        let more_open = |(kind, count): (&String, &usize)| before.open.get(kind) < Some(count);
        self.open.iter().any(more_open)
            || self.agents > before.agents
            || self.watches > before.watches
            || self.zombies > before.zombies
            || self.cgroups > before.cgroups + 1
            || self.temporary > before.temporary
    }
}

impl Memory {
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let bytes = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
        };
        Ok(Self {
            resident: bytes("Rss:"),
            proportional: bytes("Pss:"),
            anonymous: bytes("Anonymous:"),
        })
    }
}

/// `socket:[1]`, `anon_inode:[eventpoll]` and `anon_inode:inotify` name their kind, paths do not.
fn open(process: &Path) -> io::Result<BTreeMap<String, usize>> {
    let mut kinds = BTreeMap::new();
    for entry in fs::read_dir(process.join("fd"))? {
        // It may be closed by now.
        let Ok(target) = fs::read_link(entry?.path()) else { continue };
        let target = target.to_string_lossy();
        let kind = target.strip_prefix("anon_inode:").unwrap_or(&target);
        let kind = kind.split(":[").next().unwrap_or(kind).trim_matches(['[', ']']);
        let kind = if kind.starts_with('/') { "file" } else { kind };
        *kinds.entry(kind.to_owned()).or_insert(0) += 1;
    }
    Ok(kinds)
}

fn watches(process: &Path) -> io::Result<usize> {
    let mut watches = 0;
    for entry in fs::read_dir(process.join("fdinfo"))? {
        let info = fs::read_to_string(entry?.path()).unwrap_or_default();
        watches += info.lines().filter(|line| line.starts_with("inotify wd:")).count();
    }
    Ok(watches)
}

fn zombies(parent: u32) -> io::Result<usize> {
    let of_parent = |stat: &String| {
        // The name in parentheses may hold anything.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.next() == Some("Z") && fields.next() == Some(&parent.to_string())
    };
    let stats = fs::read_dir("/proc")?.flatten().map(|entry| entry.path().join("stat"));
    Ok(stats.flat_map(fs::read_to_string).filter(of_parent).count())
}

/// How many directories of this name there are wherever cgroups are mounted, and how many below
/// them.
fn cgroups(name: &str) -> (usize, usize) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mount = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let at = fields.next()?;
        fields.next()?.starts_with("cgroup").then(|| (PathBuf::from(at), false))
    };
    let mut unread: Vec<_> = mounts.lines().filter_map(mount).collect();
    let (mut homes, mut below) = (0, 0);
    while let Some((dir, at_home)) = unread.pop() {
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let is_home = entry.file_name() == name;
            homes += usize::from(is_home);
            below += usize::from(at_home);
            unread.push((entry.path(), at_home || is_home));
        }
    }
    (homes, below)
}

fn temporary(dir: &Path) -> Vec<PathBuf> {
    let files = |dir: PathBuf| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path())
    };
    let lasting =
        ["journal", "lock", "events", "events.1"].map(|name| dir.join("state").join(name));
    let state = files(dir.join("state")).filter(|path| !lasting.contains(path));
    let copies =
        files(dir.join("logs")).filter(|path| path.extension().is_some_and(|it| it == "copy"));
    state.chain(copies).collect()
}

/// How many live whose working directory this is.
pub(crate) fn processes_in(dir: &Path) -> usize {
    let dir = dir.canonicalize().unwrap();
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    processes
        .filter(|process| fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == dir))
        .count()
}

/// What is left of a runner that has ended, in words.
pub(crate) fn remains(dir: &Path, cgroup: Option<&str>) -> Vec<String> {
    let processes = processes_in(dir);
    let homes = cgroup.map_or(0, |name| cgroups(name).0);
    let mut remains: Vec<_> =
        temporary(dir).iter().map(|path| path.display().to_string()).collect();
    remains.extend((processes > 0).then(|| format!("{processes} processes")));
    remains.extend((homes > 0).then(|| format!("{homes} directories of cgroups")));
    remains
}
