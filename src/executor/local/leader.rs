//! An agent's first process: told of its exit by its pidfd, and pinned until it is reaped.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process, kill_process_group,
    pidfd_send_signal, waitid,
};
use tokio::io::unix::AsyncFd;

use super::group::{Member, Tie};
use super::tree::{Cgroup, release};
use super::{group, pidfd};
use crate::executor::Adoption;
use crate::executor::gate::is_gates_own;
use crate::plan::Exit;

/// The first process of an agent, and with it the agent's group.
#[derive(Debug)]
pub(super) struct Leader {
    pid: Pid,
    pidfd: AsyncFd<OwnedFd>,
    kinship: Kinship,
    /// Whether it may end as a gate that never became an agent.
    gate: bool,
}

/// Whose child it is, and so what keeps the group's number from becoming another's.
#[derive(Debug)]
enum Kinship {
    /// Ours, and not reaped: its zombie pins the number.
    Child,
    /// Somebody else's, who reaps it at any time. A process of the group is one that was there
    /// while the leader lived, or that has the marker in its environment.
    Adopted { start: u64, marker: String },
}

impl Leader {
    /// Takes charge of a child that nobody else waits for.
    pub(super) fn watch(pid: Pid, pidfd: OwnedFd) -> io::Result<Self> {
        Ok(Self { pid, pidfd: pidfd::register(pidfd)?, kinship: Kinship::Child, gate: false })
    }

    /// Takes charge of a process that another runner started, or this process before it became
    /// this program; none if it is not there any more.
    pub(super) fn adopt(adoption: &Adoption) -> io::Result<Option<Self>> {
        let start = adoption.identity.start;
        let Some(pid) = i32::try_from(adoption.identity.pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let Some((pidfd, found)) = pidfd::open_started_at(pid, start)? else { return Ok(None) };
        let kinship = if found.is_child() {
            Kinship::Child
        } else {
            Kinship::Adopted { start, marker: adoption.marker.clone() }
        };
        Ok(Some(Self { pid, pidfd: pidfd::register(pidfd)?, kinship, gate: adoption.gate }))
    }

    /// Its process id, and its group's.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// As whom its children are told by, while it lives.
    pub(super) fn as_member(&self) -> io::Result<Member> {
        let pidfd = self.pidfd.get_ref().try_clone()?;
        Ok(Member { pid: self.pid, pidfd, tie: Tie::Group })
    }

    /// The marker by which members of its group must be told, once it has ended.
    pub(super) fn marker(&self) -> Option<&str> {
        match &self.kinship {
            Kinship::Child => None,
            Kinship::Adopted { marker, .. } => Some(marker),
        }
    }

    /// Waits until it has ended, and leaves it a zombie if it is our child.
    ///
    /// May be dropped at any time. An error means that a child was reaped behind our back, or
    /// that the runtime ends.
    pub(super) async fn exited(&self) -> io::Result<Exit> {
        pidfd::ended(&self.pidfd).await?;
        let exit = match &self.kinship {
            Kinship::Child => {
                let status = self.look(WaitIdOptions::NOWAIT)?;
                status.as_ref().map_or(Exit::Unknown, exit_of)
            }
            Kinship::Adopted { start, .. } => {
                let pidfd = self.pidfd.get_ref().as_fd();
                pidfd::exit_of_stranger(pidfd, self.pid, *start)
            }
        };
        Ok(if self.gate && is_gates_own(exit) { Exit::Unknown } else { exit })
    }

    /// Sends a signal to this process alone.
    pub(super) fn signal(&self, signal: Signal) -> rustix::io::Result<()> {
        pidfd_send_signal(self.pidfd.get_ref(), signal)
    }

    /// Sends a signal to all processes of its group.
    pub(super) fn signal_group(&self, signal: Signal) -> io::Result<()> {
        match &self.kinship {
            Kinship::Child => Ok(kill_process_group(self.pid, signal)?),
            // Nothing pins the number: each is signalled by its own pidfd.
            Kinship::Adopted { marker, .. } => {
                let ended = pidfd::has_ended(self.pidfd.get_ref().as_fd())?;
                let proof = ended.then_some(marker.as_str());
                for member in group::members_now(self.pid, proof)? {
                    match pidfd_send_signal(member.pidfd, signal) {
                        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                        Err(errno) => return Err(errno.into()),
                    }
                }
                Ok(())
            }
        }
    }

    /// Frees the pid of a leader that has ended. As this takes the leader, nothing can be
    /// signalled by that number after it.
    pub(super) fn reap(self) -> io::Result<()> {
        match self.kinship {
            Kinship::Child => self.look(WaitIdOptions::empty()).map(|_| ()),
            Kinship::Adopted { .. } => Ok(()),
        }
    }

    fn look(&self, options: WaitIdOptions) -> io::Result<Option<WaitIdStatus>> {
        let id = WaitId::PidFd(self.pidfd.as_fd());
        Ok(waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOHANG | options)?)
    }
}

/// Kills a child that could not be watched, and its tree, and reaps it. Blocks until it is dead.
pub(super) fn abandon(pid: Pid, cgroup: Option<&Cgroup>) {
    // Errors would mean that there is nobody left to signal, or to reap.
    let _ = cgroup.map(Cgroup::kill);
    let _ = kill_process_group(pid, Signal::KILL);
    let _ = kill_process(pid, Signal::KILL);
    let _ = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED));
    if let Some(cgroup) = cgroup {
        release(cgroup);
    }
}

fn exit_of(status: &WaitIdStatus) -> Exit {
    status.terminating_signal().map_or_else(
        // Only these two kinds of status were asked for.
        || Exit::Code(status.exit_status().unwrap_or_default()),
        Exit::Signal,
    )
}
