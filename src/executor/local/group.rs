//! Which processes of a group live besides its leader. Looked up only when a leader has ended, for
//! all groups in question at once, and then waited for by their pidfds: nothing is polled.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::unistd::{self, getpgid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::Pid;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::pidfd;

/// The most members of a group that are told of at once, lest a fork bomb take all descriptors.
const AT_ONCE: usize = 64;

/// The most questions that are answered by one look.
const BATCH: usize = 4096;

/// How often /proc is read before a group counts as empty although processes were being created.
const LOOKS: usize = 3;

/// Tells which members of a group live, by one look at /proc for all who ask meanwhile.
#[derive(Debug)]
pub(super) struct Groups {
    questions: UnboundedSender<Question>,
}

#[derive(Debug)]
struct Question {
    leader: Pid,
    answer: oneshot::Sender<io::Result<Vec<OwnedFd>>>,
}

impl Groups {
    pub(super) fn new(runtime: &Handle) -> Self {
        let (questions, asked) = mpsc::unbounded_channel();
        runtime.spawn(answer(asked));
        Self { questions }
    }

    /// The pidfds of processes that live in the group of `leader`, itself aside: at least one if
    /// there is one. If there is none, the group stays empty, as nobody is left to fork.
    pub(super) async fn members(&self, leader: Pid) -> io::Result<Vec<OwnedFd>> {
        let (answer, answered) = oneshot::channel();
        // It cannot be asked once the runtime ends, and nor can it be awaited.
        self.questions.send(Question { leader, answer }).map_err(io::Error::other)?;
        answered.await.map_err(io::Error::other)?
    }
}

async fn answer(mut asked: UnboundedReceiver<Question>) {
    let mut batch = Vec::new();
    while asked.recv_many(&mut batch, BATCH).await > 0 {
        let leaders = batch.iter().map(|question| question.leader).collect();
        let looked = spawn_blocking(move || look(&leaders)).await.map_err(io::Error::other);
        let mut members = looked.and_then(|members| members);
        for Question { leader, answer } in batch.drain(..) {
            let answered = match &mut members {
                Ok(members) => Ok(members.remove(&leader).unwrap_or_default()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            // Nobody waits for it if the run's task has ended with the runtime.
            let _ = answer.send(answered);
        }
    }
}

/// The live members of each of the groups that has any.
///
/// Pids are read in ascending order, so a process that is born behind the reader's back, of a
/// parent that ends before it is read, is not seen. If no process was created meanwhile there can
/// be none such; otherwise another look makes it as good as impossible.
fn look(leaders: &HashSet<Pid>) -> io::Result<HashMap<Pid, Vec<OwnedFd>>> {
    let mut found = HashMap::new();
    for _ in 0..LOOKS {
        let newest = newest_pid()?;
        let sought: HashSet<Pid> =
            leaders.iter().filter(|leader| !found.contains_key(*leader)).copied().collect();
        if sought.is_empty() {
            break;
        }
        find_members(&sought, &mut found)?;
        if newest_pid()? == newest {
            break;
        }
    }
    Ok(found)
}

fn find_members(sought: &HashSet<Pid>, found: &mut HashMap<Pid, Vec<OwnedFd>>) -> io::Result<()> {
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        let Some(pid) = number.and_then(Pid::from_raw) else {
            continue;
        };
        let Some(leader) = group_of(pid).filter(|group| sought.contains(group)) else {
            continue;
        };
        if pid == leader || found.get(&leader).is_some_and(|members| members.len() >= AT_ONCE) {
            continue;
        }
        if let Some(member) = live_member(pid, leader)? {
            found.entry(leader).or_default().push(member);
        }
    }
    Ok(())
}

/// The process's pidfd, unless it has ended. A zombie has: it may wait for ever for a parent that
/// does not reap it.
fn live_member(pid: Pid, leader: Pid) -> io::Result<Option<OwnedFd>> {
    let pidfd = match pidfd::open(pid) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    // The pid may have become another's before it was opened.
    if group_of(pid) != Some(leader) {
        return Ok(None);
    }
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let ended = retry_on_intr(|| {
        poll(&mut [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)], Some(&now))
    })?;
    Ok((ended == 0).then_some(pidfd))
}

/// The process's group; none if it has ended, or if its group is not of this PID namespace. The
/// system calls that one 0, which rustix's `getpgid` takes for impossible: hence nix's.
pub(super) fn group_of(pid: Pid) -> Option<Pid> {
    let pid = unistd::Pid::from_raw(pid.as_raw_nonzero().get());
    getpgid(Some(pid)).ok().and_then(|group| Pid::from_raw(group.as_raw()))
}

/// The pid that was given out last.
fn newest_pid() -> io::Result<String> {
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(load.rsplit(' ').next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests;
