//! The task that looks after one run, from its start until its tree is empty.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::mpsc::{UnboundedReceiver, UnboundedSender};
use rustix::process::{Pid, Signal};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::Shared;
use super::evidence::gather;
use super::group::Signs;
use super::leader::{Leader, abandon};
use super::start::{StartError, Started, start};
use super::survey::{INSTANCE, RUN};
use super::tree::{Others, Tree, others};
use crate::executor::{Adoption, Event, SpawnRequest};
use crate::fault::{self, Point};
use crate::plan::{Exit, Place, RunId};

/// The time until another try if a group cannot be looked at, for want of descriptors mostly.
const RETRY: Duration = Duration::from_millis(200);

/// What can be told as an exit if the system does not say.
const UNKNOWN: Exit = Exit::Unknown;

/// Of channels, those that cost an agent least: one is there for each, and hardly ever used.
pub(super) type OrdersFor = UnboundedReceiver<Order>;
pub(super) type OrdersTo = UnboundedSender<Order>;

/// What the task of a run is told to do. It waits in the channel until there is a process.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Examine { dump: bool },
    End(End),
}

/// How its processes are to end.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Terminate,
    Kill,
}

impl End {
    fn send_to(self, others: &Others) {
        others.signal(match self {
            Self::Terminate => Signal::TERM,
            Self::Kill => Signal::KILL,
        });
    }
}

/// Whom an order is for.
#[derive(Clone, Copy, Debug)]
enum Phase<'a> {
    /// The leader runs.
    Led,
    /// It is a zombie; others of its tree may live, of whom these are known.
    Leaderless(Option<&'a Others>),
}

/// Starts the process, and sees it through.
pub(super) async fn supervise(request: SpawnRequest, orders: OrdersFor, shared: Arc<Shared>) {
    let run = request.run;
    // In boxes, as there is a task for each agent, which is as large as the largest thing that it
    // ever waits for, and nearly always waits for the exit of a leader.
    let tree = match Box::pin(begin(request, &shared)).await {
        Ok(tree) => tree,
        Err(error) => {
            return shared.end(run, None, Event::SpawnFailed { run, error: error.to_string() });
        }
    };
    let pid = tree.pid().as_raw_nonzero().get().unsigned_abs();
    shared.tell(Event::Started { run, place: Place::Process { pid } });
    see_through(run, tree, orders, &shared).await;
}

/// Takes charge of a process that another runner started.
pub(super) async fn adopt(
    (adoption, mut leader): (Adoption, io::Result<Option<Leader>>),
    orders: OrdersFor,
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
        Some(leader) => {
            let tree = Tree::new(leader, shared.trees.find(run), marks(run, &adoption.marker));
            see_through(run, tree, orders, &shared).await;
        }
        None => Box::pin(orphans(adoption, orders, &shared)).await,
    }
}

/// Sees a process through to its end, and carries out the orders about it.
async fn see_through(run: RunId, tree: Tree, orders: OrdersFor, shared: &Shared) {
    let mut orders = Orders { run, shared, receiver: orders, terminated: false, killed: false };
    match orders.heed_until(tree.leader_exited(), &tree, Phase::Led).await {
        Ok(exit) => {
            let exit = if orders.killed { exit } else { tree.explain(run, exit) };
            Box::pin(emptied(&mut orders, &tree, shared, exit)).await;
            shared.end(run, Some(tree), Event::Gone { run, exit });
        }
        Err(error) => {
            // Its pid may be another's by now: there is nothing left that we may do.
            tracing::error!(%run, %error, "the exit of an agent was lost");
            shared.end(run, None, Event::Gone { run, exit: UNKNOWN });
        }
    }
}

/// A process that is watched, or none.
async fn begin(request: SpawnRequest, shared: &Arc<Shared>) -> Result<Tree, StartError> {
    let program = request.spec.argv.first().cloned().unwrap_or_default();
    let instance = request.markers.get(INSTANCE).map(|value| format!("{INSTANCE}={value}"));
    let marks = instance.map(|marker| marks(request.run, &marker)).unwrap_or_default();
    let with = Arc::clone(shared);
    let started = spawn_blocking(move || start(&request, &with)).await;
    let Started { pid, pidfd, cgroup } = started.map_err(|_| StartError::BrokenOff)??;
    match Leader::watch(pid, pidfd) {
        Ok(leader) => Ok(Tree::new(leader, cgroup, marks)),
        Err(error) => {
            // A process that nobody watches is worse than none. It is a moment old.
            let with = Arc::clone(shared);
            let abandon = move || with.reaper.free(pid, || abandon(pid, cgroup.as_ref()));
            let _ = spawn_blocking(abandon).await;
            Err(StartError::Watch { program, error })
        }
    }
}

/// What all processes of a run carry: whose it is, and which one.
fn marks(run: RunId, instance: &str) -> Vec<String> {
    vec![instance.to_owned(), format!("{RUN}={}", run.0)]
}

/// Ends what a leader left behind that ended while no runner was there.
async fn orphans(adoption: Adoption, mut orders: OrdersFor, shared: &Shared) {
    let run = adoption.run;
    let pid = i32::try_from(adoption.identity.pid).ok().and_then(Pid::from_raw);
    let cgroup = shared.trees.find(run);
    let mut told = false;
    while let Some(pid) = pid {
        let signs = |kin| {
            let marks = marks(run, &adoption.marker);
            Signs { proof: Some(adoption.marker.clone()), marks, kin, only_kin: false }
        };
        let left = match others(cgroup.as_ref(), (pid, signs(vec![])), &shared.groups).await {
            Ok(None) => break,
            Ok(Some(left)) => left,
            Err(error) => {
                tracing::warn!(%run, %error, "cannot tell who of an agent's tree lives");
                sleep(RETRY).await;
                continue;
            }
        };
        if !told {
            told = true;
            shared.tell(Event::LeaderExited { run, exit: UNKNOWN });
        }
        tokio::select! {
            _ended = left.ended() => {}
            Ok(Order::End(end)) = orders.recv() => {
                let signs = signs(left.strays().unwrap_or_default());
                let now = others(cgroup.as_ref(), (pid, signs), &shared.groups).await;
                if let Ok(Some(now)) = now {
                    end.send_to(&now);
                }
            }
        }
    }
    if let Some(cgroup) = cgroup {
        shared.trees.discard(cgroup);
    }
    shared.end(run, None, Event::Gone { run, exit: UNKNOWN });
}

/// Waits until no process lives in the tree of a leader that has ended, and tells if there is
/// anything to wait for.
async fn emptied(orders: &mut Orders<'_>, tree: &Tree, shared: &Shared, exit: Exit) {
    let mut told = false;
    loop {
        let look = tree.others(&shared.groups);
        let looked = match orders.heed_until(look, tree, Phase::Leaderless(None)).await {
            Ok(None) => return,
            Ok(Some(others)) => Ok(others),
            Err(error) => Err(error),
        };
        let phase = Phase::Leaderless(looked.as_ref().ok());
        if !told {
            told = true;
            shared.tell(Event::LeaderExited { run: orders.run, exit });
            orders.pass_on(tree, phase);
        }
        let waited = match &looked {
            Ok(others) => {
                orders.kill_again(tree, phase);
                orders.heed_until(others.ended(), tree, phase).await
            }
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        if let Err(error) = waited {
            tracing::warn!(run = %orders.run, %error, "cannot tell who of an agent's tree lives");
            orders.heed_until(sleep(RETRY), tree, phase).await;
        }
    }
}

/// The orders about one run, and what was made of them.
struct Orders<'a> {
    run: RunId,
    shared: &'a Shared,
    receiver: OrdersFor,
    terminated: bool,
    killed: bool,
}

impl Orders<'_> {
    /// Carries out orders until `done` is.
    async fn heed_until<F: Future>(&mut self, done: F, tree: &Tree, phase: Phase<'_>) -> F::Output {
        let mut done = pin!(done);
        loop {
            tokio::select! {
                // An exit goes first: a SIGTERM to a zombie would reach nobody, and be lost.
                biased;
                output = &mut done => return output,
                Ok(order) = self.receiver.recv() => match (order, phase) {
                    (Order::Examine { dump }, Phase::Led) => {
                        Box::pin(self.examine(tree, dump)).await;
                    }
                    // Whom a leader left behind is examined by nobody.
                    (Order::Examine { .. }, Phase::Leaderless(_)) => {}
                    (Order::End(end), Phase::Led) => {
                        Box::pin(self.note_strays(tree)).await;
                        self.carry_out(end, tree, phase);
                    }
                    (Order::End(end), Phase::Leaderless(_)) => self.carry_out(end, tree, phase),
                },
            }
        }
    }

    /// Its zombie pins the number of the leader meanwhile, if it ends.
    async fn examine(&self, tree: &Tree, dump: bool) {
        let (run, pid) = (self.run, tree.pid());
        if let Ok(evidence) = spawn_blocking(move || gather(pid, dump)).await {
            self.shared.tell(Event::Examined { run, evidence });
        }
    }

    /// The order is carried out all the same if that fails.
    async fn note_strays(&self, tree: &Tree) {
        if let Err(error) = tree.note_strays(&self.shared.groups).await {
            tracing::warn!(run = %self.run, %error, "cannot tell what an agent may leave behind");
        }
    }

    fn carry_out(&mut self, end: End, tree: &Tree, phase: Phase<'_>) {
        self.terminated = true;
        let sent = match (end, phase) {
            (End::Terminate, Phase::Led) => tree.terminate_leader(),
            (End::Terminate, Phase::Leaderless(others)) => tree.terminate(others),
            (End::Kill, Phase::Led) => {
                self.killed = true;
                tree.kill(None)
            }
            (End::Kill, Phase::Leaderless(others)) => {
                self.killed = true;
                tree.kill(others)
            }
        };
        fault::reach(match end {
            End::Terminate => Point::StopSent,
            End::Kill => Point::KillSent,
        });
        if let Err(error) = sent {
            tracing::warn!(run = %self.run, ?end, %error, "cannot signal an agent");
        }
    }

    /// To those whom the leader leaves behind, if it was told to end: they have the rest of the
    /// time that it had.
    fn pass_on(&mut self, tree: &Tree, phase: Phase<'_>) {
        if self.terminated && !self.killed {
            self.carry_out(End::Terminate, tree, phase);
        }
    }

    /// To those who came into the tree after it was killed.
    fn kill_again(&mut self, tree: &Tree, phase: Phase<'_>) {
        if self.killed {
            self.carry_out(End::Kill, tree, phase);
        }
    }
}
