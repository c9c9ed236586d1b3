//! Reaps strangers: what agents started and nobody waits for any more. As a subreaper, or as
//! process 1 of a container, this process is who has to.
//!
//! An agent's exit is never taken: its leader is kept from before its gate is opened. Any other
//! child of ours, such as a helper that whoever started it waits for, is in this process's group or
//! leads one in its session: the former is left alone, and the latter is left its time.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd;
use rustix::process::{Pid, getpid, set_child_subreaper};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::pidfd;

/// How long a child may be dead that could be a helper's, before nobody is taken to wait for it.
/// Who waits does so in the kernel, or is woken as we are.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a stranger stays a zombie at least. To look for one is to pass over all children, which
/// is not to be done for each one of a thousand that end.
const REST: Duration = Duration::from_millis(100);

/// Knows which children are somebody's to wait for.
#[derive(Debug, Default)]
pub(super) struct Reaper {
    kept: Mutex<HashSet<Pid>>,
    freed: Notify,
}

impl Reaper {
    /// The exit of this child is somebody's.
    pub(super) fn keep(&self, child: Pid) {
        self.kept().insert(child);
    }

    /// The exit of the child that comes of `birth` is somebody's, from its first moment.
    pub(super) fn keep_born<T>(
        &self,
        birth: impl FnOnce() -> io::Result<T>,
        pid: impl FnOnce(&T) -> Pid,
    ) -> io::Result<T> {
        // With the lock held: until it has its own group it could be taken for a stranger.
        let mut kept = self.kept();
        let born = birth()?;
        kept.insert(pid(&born));
        Ok(born)
    }

    /// Nobody waits for the child after `reap`, which makes its number free for another one.
    pub(super) fn free<T>(&self, child: Pid, reap: impl FnOnce() -> T) -> T {
        let mut kept = self.kept();
        // With the lock held: the next one of that number must not be taken for this one.
        let reaped = reap();
        kept.remove(&child);
        self.freed.notify_one();
        reaped
    }

    fn kept(&self) -> MutexGuard<'_, HashSet<Pid>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reaps strangers that have ended, up to the first child that is none: the system shows only
    /// that one until it is reaped, which is a reason to come again. Returns it, and since when it
    /// is seen, if it is none for some time only.
    fn reap(&self, seen: Option<(Pid, Instant)>) -> io::Result<Option<(Pid, Instant)>> {
        let own = pidfd::stat(getpid())?;
        while let Some(child) = first_that_ended()? {
            let stat = pidfd::stat(child)?;
            let in_session = stat.session == own.session;
            if self.kept().contains(&child) || (in_session && stat.group == own.group) {
                break;
            }
            let number = child.as_raw_nonzero().get();
            if in_session && stat.group == number {
                let since = seen.filter(|(seen, _)| *seen == child).map(|(_, since)| since);
                let since = since.unwrap_or_else(Instant::now);
                if since.elapsed() < PATIENCE {
                    return Ok(Some((child, since)));
                }
            }
            waitpid(unistd::Pid::from_raw(number), Some(WaitPidFlag::WNOHANG))?;
        }
        Ok(None)
    }
}

/// Reaps them from now on, as they end.
pub(super) fn reap_orphans(runtime: &Handle, reaper: Arc<Reaper>) -> io::Result<()> {
    if let Err(error) = set_child_subreaper(Some(getpid())) {
        tracing::warn!(%error, "what agents leave behind is left to another process to reap");
    }
    let mut ends = signal(SignalKind::child())?;
    runtime.spawn(async move {
        let mut doubtful: Option<(Pid, Instant)> = None;
        loop {
            let later =
                sleep_until(doubtful.map_or_else(Instant::now, |(_, since)| since + PATIENCE));
            tokio::select! {
                Some(()) = ends.recv() => {}
                () = reaper.freed.notified() => {}
                () = later, if doubtful.is_some() => {}
            }
            sleep(REST).await;
            doubtful = reaper.reap(doubtful).unwrap_or_else(|error| {
                tracing::debug!(%error, "cannot tell who has ended");
                None
            });
        }
    });
    Ok(())
}

/// A child that has ended, which is left a zombie; none if there is none.
fn first_that_ended() -> nix::Result<Option<Pid>> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(Id::All, flags) {
        Ok(status) => Ok(status.pid().and_then(|pid| Pid::from_raw(pid.as_raw()))),
        Err(nix::Error::ECHILD) => Ok(None),
        Err(errno) => Err(errno),
    }
}
