//! What this machine can do for agents, found by trying it on a gate that is never opened.

use std::io;
use std::os::fd::AsFd as _;

use rustix::process::{
    Signal, WaitId, WaitIdOptions, child_subreaper, getpid, pidfd_send_signal, set_child_subreaper,
    waitid,
};

use super::pidfd;
use crate::executor::gate::Births;
use crate::executor::kernel;

/// Kills a process through its pidfd, and tells whether the kernel then remembers how it ended.
/// Blocks.
///
/// # Errors
/// If there are no pidfds, or a process cannot be killed by one.
pub fn pidfds(births: &Births) -> io::Result<bool> {
    let gate = births.birth(None)?;
    let pid = gate.pid;
    let killed = pidfd::open(pid).and_then(|pidfd| {
        pidfd_send_signal(&pidfd, Signal::KILL)?;
        Ok(pidfd)
    });
    // If it was not killed, this ends it.
    drop(gate);
    rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED))?;
    let pidfd = killed?;
    if !pidfd::has_ended(pidfd.as_fd())? {
        return Err(io::Error::other("a process that has ended is not told as such"));
    }
    Ok(kernel::wait_status(pidfd.as_fd()).is_some())
}

/// Has this process be the parent of orphans for a moment.
///
/// # Errors
/// If the kernel refuses.
pub fn subreaper() -> io::Result<()> {
    set_child_subreaper(Some(getpid()))?;
    let is_set = child_subreaper()?.is_some();
    set_child_subreaper(None)?;
    if is_set { Ok(()) } else { Err(io::Error::other("it was not heeded")) }
}
