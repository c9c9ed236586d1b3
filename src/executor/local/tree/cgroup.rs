//! One cgroup (v2), which holds all processes of one agent, wherever they went: a process is born
//! where its parent is, and only who may write there can move it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::hierarchy::children;
use super::limits;
use crate::executor::local::pidfd;

/// How many processes are signalled at once, lest a fork bomb take all descriptors.
const AT_ONCE: usize = 64;

/// After how long a cgroup in which somebody was left is looked at, though nothing was heard of
/// it. Its end is always told, unless somebody else removes it within a moment of its end.
const REMOVED: Duration = Duration::from_secs(5);

/// A cgroup that was made for one agent. Dropping it leaves it as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::executor::local) struct Cgroup {
    dir: PathBuf,
    /// Those of v1 that its processes are in besides, for the sake of limits.
    beside: BTreeSet<PathBuf>,
}

impl Cgroup {
    /// The one in this directory, if there is one.
    pub(super) fn open(dir: PathBuf) -> Option<Self> {
        dir.is_dir().then_some(Self { dir, beside: BTreeSet::new() })
    }

    /// Makes one that is empty.
    pub(super) fn make(dir: PathBuf) -> io::Result<Self> {
        let cgroup = Self { dir, beside: BTreeSet::new() };
        match fs::create_dir(&cgroup.dir) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if cgroup.is_populated()? {
                    return Err(error);
                }
                // What was counted in it is of another run.
                cgroup.remove()?;
                fs::create_dir(&cgroup.dir)?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::create_dir_all(&cgroup.dir)?;
            }
            Err(error) => return Err(error),
        }
        Ok(cgroup)
    }

    /// Where it is.
    pub(in crate::executor::local) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What names it to the kernel.
    pub(in crate::executor::local) fn open_dir(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(&self.dir, flags, Mode::empty())?)
    }

    /// Where it is, and then where its processes are besides.
    pub(in crate::executor::local) fn all_dirs(&self) -> Vec<PathBuf> {
        [&self.dir].into_iter().chain(&self.beside).cloned().collect()
    }

    /// Has its processes be in another one too, one of v1; tells whether they were not yet.
    pub(super) fn put_beside(&mut self, dir: &Path) -> bool {
        self.beside.insert(dir.to_owned())
    }

    /// Moves a process into it. What it starts from now on is born there.
    pub(in crate::executor::local) fn enter(&self, pid: Pid) -> io::Result<()> {
        enter(&self.dir, pid)?;
        // The others last: whoever is in one of them is found in this one.
        self.enter_beside(pid)
    }

    /// Moves a process that was born in it into those of v1 too.
    pub(super) fn enter_beside(&self, pid: Pid) -> io::Result<()> {
        self.beside.iter().try_for_each(|dir| enter(dir, pid))
    }

    /// The memory limit for which somebody was killed in it, in bytes; none if nobody was.
    pub(super) fn killed_at(&self) -> Option<u64> {
        self.all_dirs().iter().find_map(|dir| limits::killed_at(dir))
    }

    /// Ends all of its processes, those being born included.
    pub(in crate::executor::local) fn kill(&self) -> io::Result<()> {
        limits::write(&self.dir.join("cgroup.kill"), "1")
    }

    /// Sends a signal to each of its processes that was there at some moment of this call.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        for pids in self.members()?.chunks(AT_ONCE) {
            let opened: Vec<_> =
                pids.iter().filter_map(|&pid| Some((pid, pidfd::open(pid).ok()?))).collect();
            // A number that is another's by now is not in the list any more.
            let members = self.members()?;
            for (_, pidfd) in opened.iter().filter(|(pid, _)| members.contains(pid)) {
                match pidfd_send_signal(pidfd, signal) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
        Ok(())
    }

    /// Its processes, and those of the cgroups that they made below it.
    pub(in crate::executor::local) fn members(&self) -> io::Result<Vec<Pid>> {
        let mut pids = Vec::new();
        for dir in with_descendants(vec![self.dir.clone()]) {
            match fs::read_to_string(dir.join("cgroup.procs")) {
                // What is not of this PID namespace is 0.
                Ok(text) => pids.extend(
                    text.lines().filter_map(|line| line.parse().ok().and_then(Pid::from_raw)),
                ),
                // One that ended meanwhile, or one of threads, whose processes are listed above.
                Err(_) if dir != self.dir => {}
                Err(error) => return Err(error),
            }
        }
        Ok(pids)
    }

    /// Waits until nobody is in it, and tells whether that came about in time. Blocks.
    pub(super) fn emptied_within(&self, time: Duration) -> io::Result<bool> {
        let until = Instant::now() + time;
        let events = self.events()?;
        while populated(events.as_fd())? {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut changed = [PollFd::new(&events, PollFlags::PRI)];
            rustix::io::retry_on_intr(|| poll(&mut changed, Some(&left)))?;
        }
        Ok(true)
    }

    /// Removes it, if nobody is in it.
    pub(in crate::executor::local) fn remove(&self) -> io::Result<()> {
        // Few agents make any below their own.
        if self.beside.is_empty() && fs::remove_dir(&self.dir).is_ok() {
            return Ok(());
        }
        for dir in with_descendants(self.all_dirs()).iter().rev() {
            match fs::remove_dir(dir) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether anybody is in it, or in one below it. Zombies are not.
    pub(super) fn is_populated(&self) -> io::Result<bool> {
        populated(self.events()?.as_fd())
    }

    fn events(&self) -> io::Result<OwnedFd> {
        Ok(File::open(self.dir.join("cgroup.events"))?.into())
    }
}

fn enter(dir: &Path, pid: Pid) -> io::Result<()> {
    limits::write(&dir.join("cgroup.procs"), &pid.as_raw_nonzero().to_string())
}

/// A parent comes before its children.
fn with_descendants(mut all: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut read = 0;
    while let Some(dir) = all.get(read) {
        let below = children(dir);
        all.extend(below);
        read += 1;
    }
    all
}

/// What tells when a cgroup is empty: a file that can be waited for.
#[derive(Debug)]
pub(in crate::executor::local) struct Events(AsyncFd<OwnedFd>);

impl Events {
    pub(super) fn open(cgroup: &Cgroup) -> io::Result<Self> {
        Ok(Self(pidfd::register_for(cgroup.events()?, Interest::PRIORITY)?))
    }

    /// Whether any process is in it, or in one below it. Zombies are not.
    pub(super) fn populated(&self) -> io::Result<bool> {
        populated(self.0.as_fd())
    }

    /// Waits until that may have changed.
    pub(super) async fn changed(&self) -> io::Result<()> {
        match timeout(REMOVED, self.0.ready(Interest::PRIORITY)).await {
            Ok(ready) => {
                ready?.clear_ready();
                Ok(())
            }
            Err(_elapsed) => Ok(()),
        }
    }
}

fn populated(events: BorrowedFd<'_>) -> io::Result<bool> {
    let mut text = [0; 128];
    match rustix::io::pread(events, &mut text, 0) {
        Ok(read) => {
            let text = text.get(..read).unwrap_or_default();
            Ok(!text.split(|&byte| byte == b'\n').any(|line| line == b"populated 0"))
        }
        // It was removed, which only an empty one can be.
        Err(Errno::NODEV) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}
