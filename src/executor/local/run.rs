//! The task that looks after one run, from its start until its group is empty.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, pidfd_send_signal};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::Shared;
use super::leader::{Leader, abandon};
use super::pidfd;
use super::start::{StartError, start};
use crate::executor::{Adoption, Event, SpawnRequest};
use crate::plan::{Exit, RunId};

/// The time until another try if a group cannot be looked at, for want of descriptors mostly.
const RETRY: Duration = Duration::from_millis(200);

/// What can be told as an exit if the system does not say.
const UNKNOWN: Exit = Exit::Unknown;

/// What the task of a run is told to do. It waits in the channel until there is a process.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Terminate,
    Kill,
}

impl Order {
    fn send_to(self, members: &[OwnedFd]) {
        let signal = match self {
            Self::Terminate => Signal::TERM,
            Self::Kill => Signal::KILL,
        };
        for member in members {
            // It fails for one that has ended.
            let _ = pidfd_send_signal(member, signal);
        }
    }
}

/// Whom an order is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The leader runs.
    Led,
    /// It is a zombie; others of its group may live.
    Leaderless,
}

/// Starts the process, and sees it through.
pub(super) async fn supervise(
    request: SpawnRequest,
    orders: UnboundedReceiver<Order>,
    shared: Arc<Shared>,
) {
    let run = request.run;
    let leader = match begin(request, &shared).await {
        Ok(leader) => leader,
        Err(error) => {
            return shared.end(run, Event::SpawnFailed { run, error: error.to_string() });
        }
    };
    shared.tell(Event::Started { run, pid: leader.pid().as_raw_nonzero().get().unsigned_abs() });
    see_through(run, leader, orders, &shared).await;
}

/// Takes charge of a process that another runner started.
pub(super) async fn adopt(
    (adoption, mut leader): (Adoption, io::Result<Option<Leader>>),
    orders: UnboundedReceiver<Order>,
    shared: Arc<Shared>,
) {
    let run = adoption.run;
    let leader = loop {
        match leader {
            Ok(leader) => break leader,
            Err(error) => {
                // Not knowing, for want of descriptors mostly, is no reason to give it up.
                tracing::warn!(%run, %error, "cannot tell whether an agent lives");
                sleep(RETRY).await;
                leader = Leader::adopt(&adoption);
            }
        }
    };
    match leader {
        Some(leader) => see_through(run, leader, orders, &shared).await,
        None => orphans(adoption, orders, &shared).await,
    }
}

/// Sees a process through to its end, and carries out the orders about it.
async fn see_through(
    run: RunId,
    leader: Leader,
    orders: UnboundedReceiver<Order>,
    shared: &Shared,
) {
    let mut orders = Orders { run, receiver: orders, terminated: false, killed: false };
    match orders.heed_until(leader.exited(), &leader, Phase::Led).await {
        Ok(exit) => {
            emptied(&mut orders, &leader, shared, exit).await;
            if let Err(error) = leader.reap() {
                tracing::error!(%run, %error, "cannot reap an agent");
            }
            shared.end(run, Event::Gone { run, exit });
        }
        Err(error) => {
            // Its pid may be another's by now: there is nothing left that we may do.
            tracing::error!(%run, %error, "the exit of an agent was lost");
            shared.end(run, Event::Gone { run, exit: UNKNOWN });
        }
    }
}

/// A process that is watched, or none.
async fn begin(request: SpawnRequest, shared: &Arc<Shared>) -> Result<Leader, StartError> {
    let program = request.spec.argv.first().cloned().unwrap_or_default();
    // The semaphore is never closed.
    let permit = shared.starts.acquire().await;
    let gate = Arc::clone(shared);
    let started = spawn_blocking(move || start(&request, &gate.gate, gate.record.as_ref())).await;
    drop(permit);
    let (pid, pidfd) = started.map_err(|_| StartError::BrokenOff)??;
    match Leader::watch(pid, pidfd) {
        Ok(leader) => Ok(leader),
        Err(error) => {
            // A process that nobody watches is worse than none. It is a moment old.
            let _ = spawn_blocking(move || abandon(pid)).await;
            Err(StartError::Watch { program, error })
        }
    }
}

/// Ends what a leader left behind that ended while no runner was there.
async fn orphans(adoption: Adoption, mut orders: UnboundedReceiver<Order>, shared: &Shared) {
    let run = adoption.run;
    let pid = i32::try_from(adoption.identity.pid).ok().and_then(Pid::from_raw);
    let mut told = false;
    while let Some(pid) = pid {
        let members = match shared.groups.members(pid, Some(&adoption.marker)).await {
            Ok(members) if members.is_empty() => break,
            Ok(members) => members,
            Err(error) => {
                tracing::warn!(%run, %error, "cannot tell who of an agent's group lives");
                sleep(RETRY).await;
                continue;
            }
        };
        if !told {
            told = true;
            shared.tell(Event::LeaderExited { run, exit: UNKNOWN });
        }
        tokio::select! {
            _ended = all_ended(members) => {}
            Some(order) = orders.recv() => {
                let marker = Some(adoption.marker.as_str());
                let now = shared.groups.members(pid, marker).await;
                order.send_to(&now.unwrap_or_default());
            }
        }
    }
    shared.end(run, Event::Gone { run, exit: UNKNOWN });
}

/// Waits until no process lives in the group of a leader that has ended, and tells if there is
/// anything to wait for.
async fn emptied(orders: &mut Orders, leader: &Leader, shared: &Shared, exit: Exit) {
    let mut told = false;
    loop {
        let look = shared.groups.members(leader.pid(), leader.marker());
        let looked = orders.heed_until(look, leader, Phase::Leaderless).await;
        if looked.as_ref().is_ok_and(Vec::is_empty) {
            return;
        }
        if !told {
            told = true;
            shared.tell(Event::LeaderExited { run: orders.run, exit });
            orders.pass_on(leader);
        }
        let waited = match looked {
            Ok(members) => {
                orders.kill_again(leader);
                orders.heed_until(all_ended(members), leader, Phase::Leaderless).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = waited {
            tracing::warn!(run = %orders.run, %error, "cannot tell who of an agent's group lives");
            orders.heed_until(sleep(RETRY), leader, Phase::Leaderless).await;
        }
    }
}

async fn all_ended(members: Vec<OwnedFd>) -> io::Result<()> {
    for member in members {
        // A readiness that comes for nothing only costs another look.
        let _ready = pidfd::register(member)?.readable().await?;
    }
    Ok(())
}

/// The orders about one run, and what was made of them.
struct Orders {
    run: RunId,
    receiver: UnboundedReceiver<Order>,
    terminated: bool,
    killed: bool,
}

impl Orders {
    /// Carries out orders until `done` is.
    async fn heed_until<F: Future>(&mut self, done: F, leader: &Leader, phase: Phase) -> F::Output {
        let mut done = pin!(done);
        loop {
            tokio::select! {
                // An exit goes first: a SIGTERM to a zombie would reach nobody, and be lost.
                biased;
                output = &mut done => return output,
                Some(order) = self.receiver.recv() => self.carry_out(order, leader, phase),
            }
        }
    }

    fn carry_out(&mut self, order: Order, leader: &Leader, phase: Phase) {
        self.terminated = true;
        let sent = match (order, phase) {
            (Order::Terminate, Phase::Led) => leader.signal(Signal::TERM).map_err(io::Error::from),
            (Order::Terminate, Phase::Leaderless) => leader.signal_group(Signal::TERM),
            (Order::Kill, Phase::Led | Phase::Leaderless) => {
                self.killed = true;
                // The leader may have left its group for another.
                let leader_sent = leader.signal(Signal::KILL);
                leader.signal_group(Signal::KILL).and(leader_sent.map_err(io::Error::from))
            }
        };
        if let Err(error) = sent {
            tracing::warn!(run = %self.run, ?order, %error, "cannot signal an agent");
        }
    }

    /// To those whom the leader leaves behind, if it was told to end: they have the rest of the
    /// time that it had.
    fn pass_on(&mut self, leader: &Leader) {
        if self.terminated && !self.killed {
            self.carry_out(Order::Terminate, leader, Phase::Leaderless);
        }
    }

    /// To those who came into the group after it was killed.
    fn kill_again(&mut self, leader: &Leader) {
        if self.killed {
            self.carry_out(Order::Kill, leader, Phase::Leaderless);
        }
    }
}
