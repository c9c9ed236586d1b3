//! Waiting for the end of a process, whoever's child it is, by its pidfd.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::executor::kernel;
use crate::plan::Exit;

/// Opens the pidfd of a process: it is readable once the process and all its threads have ended,
/// reaped or not.
pub(super) fn open(pid: Pid) -> rustix::io::Result<OwnedFd> {
    pidfd_open(pid, PidfdFlags::empty())
}

/// Opens the pidfd of the process that has this number *and* was started at this time; none if
/// there is no such process any more. The number alone may be another's by now. The zombie of a
/// child of ours is there: nobody else can reap it.
pub(super) fn open_started_at(pid: Pid, start: u64) -> io::Result<Option<(OwnedFd, Stat)>> {
    let pidfd = match open(pid) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    // Read after the pidfd was opened: if it fits, the pidfd is of that very process.
    match stat(pid) {
        Ok(now) if now.start == start && (now.state != 'Z' || now.is_child()) => {
            Ok(Some((pidfd, now)))
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What `/proc/PID/stat` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// `R`, `S`, `Z` and so on.
    pub(super) state: char,
    /// Its parent; 0 if that is not of this PID namespace.
    pub(super) parent: i32,
    /// Its process group; 0 if that is of another PID namespace.
    pub(super) group: i32,
    /// Its session; 0 likewise.
    pub(super) session: i32,
    /// Whether it is about to end, and has given up its memory, or will: no signal changes that.
    pub(super) exiting: bool,
    /// When it was started, in clock ticks since boot.
    pub(super) start: u64,
    /// Its wait status; 0 while it runs.
    status: i32,
}

impl Stat {
    /// The leader of its group; none if that is of another PID namespace, or it is just reaped.
    pub(super) fn leader(&self) -> Option<Pid> {
        Some(self.group).filter(|group| group.is_positive()).and_then(Pid::from_raw)
    }

    /// Whether it is a child of this process, started by it or by the program that it was before.
    pub(super) fn is_child(&self) -> bool {
        self.parent == rustix::process::getpid().as_raw_nonzero().get()
    }
}

pub(super) fn stat(pid: Pid) -> io::Result<Stat> {
    let text = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))?;
    parse_stat(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// `PF_EXITING` (linux/sched.h).
const EXITING: u32 = 0x4;

fn parse_stat(text: &str) -> Option<Stat> {
    // The name before it may hold anything, brackets and spaces too.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<_> = rest.split_whitespace().collect();
    let flags: u32 = fields.get(9 - 3)?.parse().ok()?;
    // Numbered from 3 in proc_pid_stat(5): 3 is the state, 4 the parent, 5 and 6 the group and
    // session, 9 the flags, 22 the start, 52 the exit code.
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(4 - 3)?.parse().ok()?,
        group: fields.get(5 - 3)?.parse().ok()?,
        session: fields.get(6 - 3)?.parse().ok()?,
        exiting: flags & EXITING != 0,
        start: fields.get(22 - 3)?.parse().ok()?,
        status: fields.get(52 - 3)?.parse().ok()?,
    })
}

/// How a process ended that is not our child, and that may have been reaped: the kernel remembers
/// it for those who hold its pidfd (Linux 6.15), and as long as it is a zombie /proc shows it.
pub(super) fn exit_of_stranger(pidfd: BorrowedFd<'_>, pid: Pid, start: u64) -> Exit {
    if let Some(status) = kernel::wait_status(pidfd) {
        return exit_of_status(status);
    }
    match stat(pid) {
        Ok(now) if now.start == start && now.state == 'Z' => exit_of_status(now.status),
        Ok(_) | Err(_) => Exit::Unknown,
    }
}

fn exit_of_status(status: i32) -> Exit {
    match status & 0x7f {
        0 => Exit::Code((status >> 8) & 0xff),
        signal => Exit::Signal(signal),
    }
}

/// Lets a task wait for it, or for any other descriptor that becomes readable.
pub(crate) fn register(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    register_for(pidfd, Interest::READABLE)
}

/// Lets a task wait for what a descriptor tells in this way.
#[expect(
    deprecated,
    reason = "its successor is unsafe for the sake of types whose descriptor can change; \
              that of an OwnedFd cannot"
)]
pub(super) fn register_for(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, interest)
}

/// Waits until the process has ended.
pub(super) async fn ended(pidfd: &AsyncFd<OwnedFd>) -> io::Result<()> {
    loop {
        let mut readable = pidfd.readable().await?;
        if has_ended(pidfd.get_ref().as_fd())? {
            return Ok(());
        }
        readable.clear_ready();
    }
}

/// Whether the process has ended.
pub(super) fn has_ended(pidfd: BorrowedFd<'_>) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let ready = rustix::io::retry_on_intr(|| {
        poll(&mut [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)], Some(&now))
    })?;
    Ok(ready != 0)
}
