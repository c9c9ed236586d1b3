//! The tree of an agent: all processes that it started, and those that they started.
//!
//! ```text
//! Trees: where cgroups can be made, tried out at the start; else process groups only
//!   ├─ make: a directory for each run, with the limits that hold for all who will be in it
//!   └─ enter: the gate is put in, so no agent code runs outside
//! Tree: a leader, and who else lives ─► SIGTERM to each · cgroup.kill · wait until it is empty
//! ```

mod cgroup;
mod controllers;
mod hierarchy;
mod limits;
mod namespace;
mod trees;

use std::io::{self, ErrorKind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, pidfd_send_signal};

use super::group::{Groups, Member, Signs, Tie};
use super::leader::Leader;
use super::pidfd;
use crate::plan::{Exit, RunId};

pub(super) use cgroup::Cgroup;
use cgroup::Events;
pub(super) use trees::members_beside;
pub use trees::{CannotContain, Containment, Hold, Trees};

/// The signal by which the kernel frees memory.
const KILLED: i32 = Signal::KILL.as_raw();

/// The code with which launchers and shells end when what they run was ended by it.
const CHILD_KILLED: i32 = 128 + KILLED;

/// The processes of one agent: its leader, and what holds the others.
#[derive(Debug)]
pub(super) struct Tree {
    leader: Leader,
    cgroup: Option<Cgroup>,
    /// What its processes carry.
    marks: Vec<String>,
    /// Those whom nothing tells once their parents have ended, noted before that.
    strays: Mutex<Vec<Member>>,
}

impl Tree {
    pub(super) fn new(leader: Leader, cgroup: Option<Cgroup>, marks: Vec<String>) -> Self {
        Self { leader, cgroup, marks, strays: Mutex::default() }
    }

    /// The leader's process id.
    pub(super) fn pid(&self) -> Pid {
        self.leader.pid()
    }

    /// Waits until the leader has ended. See [`Leader::exited`].
    pub(super) async fn leader_exited(&self) -> io::Result<Exit> {
        self.leader.exited().await
    }

    /// Notes whom only the leader, or who lives with it, can prove to be its own; where no cgroup
    /// holds them. To be called before they are told to end.
    pub(super) async fn note_strays(&self, groups: &Groups) -> io::Result<()> {
        if self.cgroup.is_some() {
            return Ok(());
        }
        let mut signs = self.signs()?;
        signs.kin.push(self.leader.as_member()?);
        signs.only_kin = true;
        let strays = groups.members(self.leader.pid(), signs).await?;
        *self.strays() = strays;
        Ok(())
    }

    fn strays(&self) -> MutexGuard<'_, Vec<Member>> {
        self.strays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signs(&self) -> io::Result<Signs> {
        let proof = self.leader.marker().map(str::to_owned);
        let kin = self.strays().iter().map(Member::try_clone).collect::<Result<_, _>>()?;
        Ok(Signs { proof, marks: self.marks.clone(), kin, only_kin: false })
    }

    /// What the leader's exit came of, if nobody here killed it: the kernel may have, for its limit
    /// of memory.
    pub(super) fn explain(&self, run: RunId, exit: Exit) -> Exit {
        let Some(limit) = self.cgroup.as_ref().and_then(Cgroup::killed_at) else { return exit };
        match exit {
            Exit::Signal(KILLED) | Exit::Code(CHILD_KILLED) => Exit::OutOfMemory { limit },
            Exit::Signal(_)
            | Exit::Code(_)
            | Exit::OutOfMemory { .. }
            | Exit::Lost(_)
            | Exit::Unknown => {
                tracing::warn!(event = "tree.oom", %run, limit, "the kernel killed processes of an agent that has ended, for its limit of memory");
                exit
            }
        }
    }

    /// Sends SIGTERM to the leader alone.
    pub(super) fn terminate_leader(&self) -> io::Result<()> {
        Ok(self.leader.signal(Signal::TERM)?)
    }

    /// Sends SIGTERM to each process of the tree, once its leader has ended. Those that left the
    /// group must be known where no cgroup holds them.
    pub(super) fn terminate(&self, known: Option<&Others>) -> io::Result<()> {
        self.signal_strayed(known, Signal::TERM);
        self.or_group(|cgroup| cgroup.signal(Signal::TERM), Signal::TERM)
    }

    /// Ends all processes of the tree; see [`Tree::terminate`].
    pub(super) fn kill(&self, known: Option<&Others>) -> io::Result<()> {
        // The leader may have left what holds the others.
        let leader_sent = self.leader.signal(Signal::KILL);
        self.signal_strayed(known, Signal::KILL);
        self.or_group(Cgroup::kill, Signal::KILL).and(leader_sent.map_err(io::Error::from))
    }

    /// A cgroup that was removed holds nobody; those who were moved out may still be a group.
    fn or_group(&self, send: impl Fn(&Cgroup) -> io::Result<()>, signal: Signal) -> io::Result<()> {
        match self.cgroup.as_ref().map(send) {
            Some(Err(error)) if is_gone(&error) => self.leader.signal_group(signal),
            Some(done) => done,
            None => self.leader.signal_group(signal),
        }
    }

    /// Who lives, once the leader has ended.
    pub(super) async fn others(&self, groups: &Groups) -> io::Result<Option<Others>> {
        others(self.cgroup.as_ref(), (self.leader.pid(), self.signs()?), groups).await
    }

    /// To those whom a signal to the group does not reach. Errors would mean that it has ended.
    fn signal_strayed(&self, known: Option<&Others>, signal: Signal) {
        let send = |member: &Member| {
            let _ = pidfd_send_signal(&member.pidfd, signal);
        };
        match known {
            Some(Others::Members(members)) => {
                members.iter().filter(|member| member.tie != Tie::Group).for_each(send);
            }
            Some(Others::Cgroup(..)) => {}
            None => self.strays().iter().for_each(send),
        }
    }

    /// Frees the leader's pid. Returns what held the tree, which is empty.
    pub(super) fn reap(self) -> (io::Result<()>, Option<Cgroup>) {
        (self.leader.reap(), self.cgroup)
    }
}

/// Removes a cgroup that is empty. If it cannot be, it is by the next runner.
pub(super) fn release(cgroup: &Cgroup) {
    if let Err(error) = cgroup.remove() {
        tracing::debug!(cgroup = %cgroup.dir().display(), %error, "a cgroup stays");
    }
}

/// Those who live of a tree whose leader has ended.
#[derive(Debug)]
pub(super) enum Others {
    /// Somebody is in the cgroup.
    Cgroup(Cgroup, Events),
    /// These, at least.
    Members(Vec<Member>),
}

/// Who lives of the tree of a leader that has ended; see [`Groups::members`] for those who are
/// held by no cgroup.
pub(super) async fn others(
    cgroup: Option<&Cgroup>,
    (leader, signs): (Pid, Signs),
    groups: &Groups,
) -> io::Result<Option<Others>> {
    if let Some(cgroup) = cgroup {
        match in_cgroup(cgroup).await {
            Err(error) if is_gone(&error) => {}
            found => return found,
        }
    }
    let members = groups.members(leader, signs).await?;
    Ok((!members.is_empty()).then_some(Others::Members(members)))
}

async fn in_cgroup(cgroup: &Cgroup) -> io::Result<Option<Others>> {
    // As it is most of the time, at less than the price of waiting for it.
    if !cgroup.is_populated()? {
        return Ok(None);
    }
    let events = Events::open(cgroup)?;
    while events.populated()? {
        // The leader itself may count until the kernel is done with it.
        if cgroup.members().is_ok_and(|members| !members.is_empty()) {
            return Ok(Some(Others::Cgroup(cgroup.clone(), events)));
        }
        events.changed().await?;
    }
    Ok(None)
}

impl Others {
    /// Waits until all of them have ended, or there is a reason to look again.
    pub(super) async fn ended(&self) -> io::Result<()> {
        match self {
            Self::Cgroup(_, events) => {
                while events.populated()? {
                    events.changed().await?;
                }
            }
            Self::Members(members) => {
                for member in members {
                    // A readiness that comes for nothing only costs another look.
                    let _ready = pidfd::register(member.pidfd.try_clone()?)?.readable().await?;
                }
            }
        }
        Ok(())
    }

    /// Those who could not be found again if their parents ended.
    pub(super) fn strays(&self) -> io::Result<Vec<Member>> {
        let Self::Members(members) = self else { return Ok(Vec::new()) };
        members.iter().filter(|member| member.tie == Tie::Parent).map(Member::try_clone).collect()
    }

    /// Sends a signal to each. Errors would mean that it has ended.
    pub(super) fn signal(&self, signal: Signal) {
        match self {
            Self::Cgroup(cgroup, _) if signal == Signal::KILL => {
                let _ = cgroup.kill();
            }
            Self::Cgroup(cgroup, _) => {
                let _ = cgroup.signal(signal);
            }
            Self::Members(members) => {
                for member in members {
                    let _ = pidfd_send_signal(&member.pidfd, signal);
                }
            }
        }
    }
}

/// Whether there is no such cgroup.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || Errno::from_io_error(error) == Some(Errno::NODEV)
}
