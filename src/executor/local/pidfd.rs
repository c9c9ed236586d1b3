//! Waiting for the end of a process, whosever child it is, by its pidfd.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Opens the pidfd of a process: it is readable once the process and all its threads have ended,
/// reaped or not.
pub(super) fn open(pid: Pid) -> rustix::io::Result<OwnedFd> {
    pidfd_open(pid, PidfdFlags::empty())
}

/// Lets a task wait for it.
#[expect(
    deprecated,
    reason = "its successor is unsafe for the sake of types whose descriptor can change; \
              that of an OwnedFd cannot"
)]
pub(super) fn register(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}
