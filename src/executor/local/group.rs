//! Which processes of a group live besides its leader. Looked up only when a leader has ended, for
//! all groups in question at once, and then waited for by their pidfds: nothing is polled.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::unistd::{self, getpgid};
use rustix::io::Errno;
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
    marker: Option<String>,
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
    ///
    /// Where nothing pins the group's number, `marker` is the environment variable, `NAME=value`,
    /// that tells its members from those of another group that got the number.
    pub(super) async fn members(
        &self,
        leader: Pid,
        marker: Option<&str>,
    ) -> io::Result<Vec<OwnedFd>> {
        let (answer, answered) = oneshot::channel();
        // It cannot be asked once the runtime ends, and nor can it be awaited.
        let marker = marker.map(str::to_owned);
        self.questions.send(Question { leader, marker, answer }).map_err(io::Error::other)?;
        answered.await.map_err(io::Error::other)?
    }
}

async fn answer(mut asked: UnboundedReceiver<Question>) {
    let mut batch = Vec::new();
    while asked.recv_many(&mut batch, BATCH).await > 0 {
        let asked = |question: &mut Question| (question.leader, question.marker.take());
        let leaders = batch.iter_mut().map(asked).collect();
        let looked = spawn_blocking(move || look(&leaders)).await.map_err(io::Error::other);
        let mut members = looked.and_then(|members| members);
        for Question { leader, answer, .. } in batch.drain(..) {
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
fn look(leaders: &HashMap<Pid, Option<String>>) -> io::Result<HashMap<Pid, Vec<OwnedFd>>> {
    let mut found = HashMap::new();
    for _ in 0..LOOKS {
        let newest = newest_pid()?;
        let unseen = leaders.iter().filter(|(leader, _)| !found.contains_key(*leader));
        let sought: HashMap<_, _> =
            unseen.map(|(leader, marker)| (*leader, marker.as_deref())).collect();
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

fn find_members(
    sought: &HashMap<Pid, Option<&str>>,
    found: &mut HashMap<Pid, Vec<OwnedFd>>,
) -> io::Result<()> {
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        let Some(pid) = number.and_then(Pid::from_raw) else {
            continue;
        };
        let Some(leader) = group_of(pid) else { continue };
        let Some(marker) = sought.get(&leader) else { continue };
        if pid == leader || found.get(&leader).is_some_and(|members| members.len() >= AT_ONCE) {
            continue;
        }
        let Some(member) = live_member(pid, leader)? else { continue };
        if marker.is_none_or(|marker| has_marker(pid, marker)) {
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
    Ok((!pidfd::has_ended(pidfd.as_fd())?).then_some(pidfd))
}

/// The live members of one group, now. Blocks.
pub(super) fn members_now(leader: Pid, marker: Option<&str>) -> io::Result<Vec<OwnedFd>> {
    let sought = HashMap::from([(leader, marker.map(str::to_owned))]);
    Ok(look(&sought)?.remove(&leader).unwrap_or_default())
}

/// Whether this variable is in the environment that the process was started with.
fn has_marker(pid: Pid, marker: &str) -> bool {
    let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero()));
    environment
        .is_ok_and(|bytes| bytes.split(|byte| *byte == 0).any(|var| var == marker.as_bytes()))
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
