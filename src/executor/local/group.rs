//! Which processes of an agent live besides its leader, where no cgroup tells: those of its group,
//! and those that carry its marks in their environment, wherever they went. Looked up only when a
//! leader has ended, for all in question at once, and then waited for by their pidfds: nothing is
//! polled.

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

/// By what the processes of one agent are told from others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Signs {
    /// Where nothing pins the group's number: the environment variable, `NAME=value`, without
    /// which a process of a group of that number is not a member.
    pub(super) proof: Option<String>,
    /// The variables that all processes of the agent carry together and nobody else does, whatever
    /// their group is; none if it has none.
    pub(super) marks: Vec<String>,
}

/// A process that lives.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) pidfd: OwnedFd,
    /// Whether it left the agent's group, so that a signal to that does not reach it.
    pub(super) strayed: bool,
}

#[derive(Debug)]
struct Question {
    leader: Pid,
    signs: Signs,
    answer: oneshot::Sender<io::Result<Vec<Member>>>,
}

impl Groups {
    pub(super) fn new(runtime: &Handle) -> Self {
        let (questions, asked) = mpsc::unbounded_channel();
        runtime.spawn(answer(asked));
        Self { questions }
    }

    /// The pidfds of processes that live of the agent of `leader`, itself aside: at least one if
    /// any can be found. If there is none, it stays so, as nobody is left to fork.
    pub(super) async fn members(&self, leader: Pid, signs: Signs) -> io::Result<Vec<Member>> {
        let (answer, answered) = oneshot::channel();
        // It cannot be asked once the runtime ends, and nor can it be awaited.
        self.questions.send(Question { leader, signs, answer }).map_err(io::Error::other)?;
        answered.await.map_err(io::Error::other)?
    }
}

async fn answer(mut asked: UnboundedReceiver<Question>) {
    let mut batch = Vec::new();
    while asked.recv_many(&mut batch, BATCH).await > 0 {
        let asked =
            |question: &mut Question| (question.leader, std::mem::take(&mut question.signs));
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
fn look(leaders: &HashMap<Pid, Signs>) -> io::Result<HashMap<Pid, Vec<Member>>> {
    let mut found = HashMap::new();
    for _ in 0..LOOKS {
        let newest = newest_pid()?;
        let sought: Sought<'_> =
            leaders.iter().filter(|(leader, _)| !found.contains_key(*leader)).collect();
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

type Sought<'a> = HashMap<&'a Pid, &'a Signs>;

fn find_members(sought: &Sought<'_>, found: &mut HashMap<Pid, Vec<Member>>) -> io::Result<()> {
    let marked: HashMap<_, _> = sought
        .iter()
        .filter(|(_, signs)| !signs.marks.is_empty())
        .map(|(leader, signs)| (signs.marks.as_slice(), **leader))
        .collect();
    let names: Vec<_> = marked.keys().next().into_iter().copied().flatten().collect();
    let names: Vec<_> = names.iter().filter_map(|mark| mark.split('=').next()).collect();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        let Some(pid) = number.and_then(Pid::from_raw) else {
            continue;
        };
        let Some(leader) = leader_of(pid, sought, &marked, &names) else { continue };
        if pid == leader || found.get(&leader).is_some_and(|members| members.len() >= AT_ONCE) {
            continue;
        }
        // Opened first: what is then found to belong to the agent is what was opened.
        let Some(pidfd) = live(pid)? else { continue };
        if leader_of(pid, sought, &marked, &names) == Some(leader) {
            let strayed = group_of(pid) != Some(leader);
            found.entry(leader).or_default().push(Member { pidfd, strayed });
        }
    }
    Ok(())
}

/// Whose process it is, of those that are sought.
fn leader_of(
    pid: Pid,
    sought: &Sought<'_>,
    marked: &HashMap<&[String], Pid>,
    names: &[&str],
) -> Option<Pid> {
    let group = group_of(pid)?;
    let is_member = |signs: &&Signs| signs.proof.iter().all(|proof| has_marker(pid, proof));
    if sought.get(&group).is_some_and(is_member) {
        return Some(group);
    }
    // Only where it can say something: it is read for each process of the machine.
    let own = (!marked.is_empty()).then(|| marks(pid, names))?;
    marked.get(own.as_slice()).copied()
}

/// The variables of these names, `NAME=value`, in the environment that it was started with.
fn marks(pid: Pid, names: &[&str]) -> Vec<String> {
    let environment = environment(pid);
    let variable = |name: &&str| {
        let mut all = environment.split(|byte| *byte == 0);
        let own = all.find(|variable| {
            variable.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'='))
        })?;
        Some(String::from_utf8_lossy(own).into_owned())
    };
    names.iter().filter_map(variable).collect()
}

/// The process's pidfd, unless it has ended. A zombie has: it may wait for ever for a parent that
/// does not reap it.
fn live(pid: Pid) -> io::Result<Option<OwnedFd>> {
    let pidfd = match pidfd::open(pid) {
        Ok(pidfd) => pidfd,
        Err(Errno::SRCH) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    Ok((!pidfd::has_ended(pidfd.as_fd())?).then_some(pidfd))
}

/// The live members of one group, now. Blocks.
pub(super) fn members_now(leader: Pid, proof: Option<&str>) -> io::Result<Vec<Member>> {
    let signs = Signs { proof: proof.map(str::to_owned), marks: Vec::new() };
    Ok(look(&HashMap::from([(leader, signs)]))?.remove(&leader).unwrap_or_default())
}

/// Whether this variable is in the environment that the process was started with.
fn has_marker(pid: Pid, marker: &str) -> bool {
    environment(pid).split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes())
}

/// Empty if it cannot be read.
fn environment(pid: Pid) -> Vec<u8> {
    fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default()
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
