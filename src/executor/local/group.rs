//! Which processes of an agent live besides its leader, where no cgroup tells: those of its group,
//! those that carry its marks in their environment, wherever they went, and whoever has one of
//! these for a parent. Looked up only when a leader has ended, or is about to be told to, for all
//! in question at once, and then waited for by their pidfds: nothing is polled.

mod look;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::Pid;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use look::look;

/// The most questions that are answered by one look.
const BATCH: usize = 4096;

/// Tells which members of a group live, by one look at /proc for all who ask meanwhile.
#[derive(Debug)]
pub(super) struct Groups {
    questions: UnboundedSender<Question>,
}

/// By what the processes of one agent are told from others.
#[derive(Debug, Default)]
pub(super) struct Signs {
    /// Where nothing pins the group's number: the environment variable, `NAME=value`, without
    /// which a process of a group of that number is not a member.
    pub(super) proof: Option<String>,
    /// The variables that all processes of the agent carry together and nobody else does, whatever
    /// their group is; none if it has none.
    pub(super) marks: Vec<String>,
    /// Those that were proven to be the agent's before, its leader if that lives.
    pub(super) kin: Vec<Member>,
    /// Whether only those are asked for whom nothing but a parent tells, and nothing once that has
    /// ended.
    pub(super) only_kin: bool,
}

/// A process that lives.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) tie: Tie,
}

/// What proves that a process is an agent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tie {
    /// It is in its group, and gets a signal to that.
    Group,
    /// It left the group, and carries the agent's marks.
    Marks,
    /// It was the child of a process of the agent.
    Parent,
}

impl Member {
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { pidfd: self.pidfd.try_clone()?, ..*self })
    }
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

/// The live members of one group, now. Blocks.
pub(super) fn members_now(leader: Pid, proof: Option<&str>) -> io::Result<Vec<Member>> {
    let signs = Signs { proof: proof.map(str::to_owned), ..Signs::default() };
    Ok(look(&HashMap::from([(leader, signs)]))?.remove(&leader).unwrap_or_default())
}

#[cfg(test)]
mod tests;
