//! An agent's first process: told of its exit by its pidfd, and pinned until it is reaped.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process, kill_process_group,
    pidfd_send_signal, waitid,
};
use tokio::io::unix::AsyncFd;

use super::pidfd;
use crate::plan::Exit;

/// A child of ours that was not reaped, and leads its process group.
#[derive(Debug)]
pub(super) struct Leader {
    pid: Pid,
    pidfd: AsyncFd<OwnedFd>,
}

impl Leader {
    /// Takes charge of a child that nobody else waits for.
    pub(super) fn watch(pid: Pid) -> io::Result<Self> {
        // As the child is not reaped, the pid cannot have become another's.
        Ok(Self { pid, pidfd: pidfd::register(pidfd::open(pid)?)? })
    }

    /// Its process id, and its group's.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until it has ended, and leaves it a zombie.
    ///
    /// May be dropped at any time. An error means that it was reaped behind our back, or that the
    /// runtime ends.
    pub(super) async fn exited(&self) -> io::Result<Exit> {
        loop {
            let mut readable = self.pidfd.readable().await?;
            if let Some(status) = self.look(WaitIdOptions::NOWAIT)? {
                return Ok(exit_of(&status));
            }
            readable.clear_ready();
        }
    }

    /// Sends a signal to this process alone.
    pub(super) fn signal(&self, signal: Signal) -> rustix::io::Result<()> {
        pidfd_send_signal(self.pidfd.get_ref(), signal)
    }

    /// Sends a signal to all processes of its group.
    pub(super) fn signal_group(&self, signal: Signal) -> rustix::io::Result<()> {
        kill_process_group(self.pid, signal)
    }

    /// Frees the pid of a leader that has ended. As this takes the leader, nothing can be
    /// signalled by that number after it.
    pub(super) fn reap(self) -> io::Result<()> {
        self.look(WaitIdOptions::empty()).map(|_| ())
    }

    fn look(&self, options: WaitIdOptions) -> io::Result<Option<WaitIdStatus>> {
        let id = WaitId::PidFd(self.pidfd.as_fd());
        Ok(waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOHANG | options)?)
    }
}

/// Kills a child that could not be watched, and its group, and reaps it. Blocks until it is dead.
pub(super) fn abandon(pid: Pid) {
    // Errors would mean that there is nobody left to signal, or to reap.
    let _ = kill_process_group(pid, Signal::KILL);
    let _ = kill_process(pid, Signal::KILL);
    let _ = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED));
}

fn exit_of(status: &WaitIdStatus) -> Exit {
    status.terminating_signal().map_or_else(
        // Only these two kinds of status were asked for.
        || Exit::Code(status.exit_status().unwrap_or_default()),
        Exit::Signal,
    )
}
