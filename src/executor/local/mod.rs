//! Agents as processes of this machine (Linux).
//!
//! ```text
//! spawn ──► task of the run: start ─► Started ─► wait on the leader's pidfd ─► its exit
//!                ▲                                                              │
//! terminate/kill ┘ (in order, by the run's own task)    wait for the tree ─► reap ─► Gone
//! ```
//!
//! The leader is reaped last. Until then its zombie pins its process id, which is the group's
//! number as well, so a signal to the group can never hit a stranger; and as one task both sends
//! the signals and reaps, no signal can come after the reap.

mod evidence;
mod group;
mod leader;
mod log_name;
pub mod logs;
pub(crate) mod pidfd;
mod reaper;
mod run;
mod start;
pub mod survey;
mod tree;
pub mod trial;
mod usage;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_channel::mpsc::unbounded;
use futures_util::future::BoxFuture;
use rustix::process::Signal;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use self::group::Groups;
use self::leader::Leader;
use self::reaper::Reaper;
use self::run::{End, Order, OrdersFor, OrdersTo, adopt, supervise};
use self::tree::Tree;
use super::gate::Births;
use super::{Adoption, Event, Executor, Identity, Record, SpawnRequest, Writer};
use crate::fault::{self, Point};
use crate::plan::RunId;

pub use self::evidence::{Doing, Evidence};
pub use self::log_name::log_name;
pub use self::tree::{CannotContain, Containment, Hold, Trees};
pub use self::usage::{Usage, usage};

/// Starts agents as children of this process, each the leader of its own process group.
///
/// Dropping it ends no agent, and those that run are still waited for while the runtime lives.
#[derive(Debug)]
pub struct Local {
    runtime: Handle,
    shared: Arc<Shared>,
}

/// What the tasks of all runs have in common.
#[derive(Debug)]
struct Shared {
    groups: Groups,
    trees: Arc<Trees>,
    reaper: Arc<Reaper>,
    births: Arc<Births>,
    record: Arc<dyn Record>,
    events: UnboundedSender<Event>,
    /// The runs that are not over; none once they were given up.
    runs: Mutex<Option<HashMap<RunId, OrdersTo>>>,
}

impl Local {
    /// An executor without agents, and what will be told about the agents that it starts, whose
    /// processes are born by `births` and held by `trees`.
    ///
    /// # Panics
    ///
    /// If it is called outside a tokio runtime, or on one without its IO driver.
    #[must_use]
    pub fn new(
        births: Arc<Births>,
        record: Arc<dyn Record>,
        trees: Arc<Trees>,
    ) -> (Self, UnboundedReceiver<Event>) {
        if let Err(error) = heed_children() {
            tracing::warn!(%error, "cannot tell whether exits of children are ignored");
        }
        let runtime = Handle::current();
        runtime.spawn(Arc::clone(&trees).remove_discarded());
        let (events, received) = mpsc::unbounded_channel();
        let shared = Shared {
            groups: Groups::new(&runtime),
            trees,
            reaper: Arc::default(),
            births,
            record,
            events,
            runs: Mutex::new(Some(HashMap::new())),
        };
        (Self { runtime, shared: Arc::new(shared) }, received)
    }

    /// From now on, whatever an agent started and nobody waits for becomes a child of this
    /// process, which reaps it when it ends; so it does what reaches it as process 1.
    ///
    /// # Errors
    /// If exits of children cannot be heard of.
    pub fn reap_orphans(&self) -> io::Result<()> {
        reaper::reap_orphans(&self.runtime, Arc::clone(&self.shared.reaper))
    }

    fn order(&self, run: RunId, order: Order) {
        if let Some(orders) = self.shared.runs().as_ref().and_then(|runs| runs.get(&run)) {
            // It fails if the run was over a moment ago: then there is nothing to do.
            let _ = orders.unbounded_send(order);
        }
    }
}

impl Local {
    /// What the run's task is told from here on.
    fn orders_for(&self, run: RunId) -> OrdersFor {
        let (sender, orders) = unbounded();
        if let Some(runs) = &mut *self.shared.runs() {
            runs.insert(run, sender);
        }
        orders
    }
}

impl Executor for Local {
    type Identity = Identity;

    fn spawn(&self, request: SpawnRequest) {
        let orders = self.orders_for(request.run);
        self.runtime.spawn(supervise(request, orders, Arc::clone(&self.shared)));
    }

    fn adopt(&self, adoption: Adoption) {
        let orders = self.orders_for(adoption.run);
        // Opened here and now: from here on its end is seen, and how.
        let leader = Leader::adopt(&adoption);
        if let Ok(Some(leader)) = &leader {
            // It may be a child of ours, from before this process became this program.
            self.shared.reaper.keep(leader.pid());
        }
        self.runtime.spawn(adopt((adoption, leader), orders, Arc::clone(&self.shared)));
    }

    fn examine(&self, run: RunId, dump: bool) {
        self.order(run, Order::Examine { dump });
    }

    fn terminate(&self, run: RunId) {
        self.order(run, Order::End(End::Terminate));
    }

    fn kill(&self, run: RunId) {
        self.order(run, Order::End(End::Kill));
    }

    fn tail(&self, writer: Writer, most: u64) -> BoxFuture<'static, String> {
        // A log that cannot be read says nothing; that it cannot be is told elsewhere.
        let read = move || logs::tail(&writer.log_dir, &writer.entity, most).unwrap_or_default();
        let read = self.runtime.spawn_blocking(read);
        Box::pin(async move { read.await.unwrap_or_default() })
    }

    fn give_up(&self) {
        self.shared.runs().take();
    }
}

impl Shared {
    fn runs(&self) -> MutexGuard<'_, Option<HashMap<RunId, OrdersTo>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: Event) {
        let runs = self.runs();
        if runs.is_some() {
            // Nobody listens once the loop has ended; the agents are looked after all the same.
            let _ = self.events.send(event);
        }
    }

    /// The last word about a run, and about its tree if there is one. Both or neither: an exit
    /// that is told to nobody must still be there for the successor to see.
    fn end(&self, run: RunId, tree: Option<Tree>, event: Event) {
        let mut runs = self.runs();
        let Some(runs) = &mut *runs else { return };
        if let Some(tree) = tree {
            let (reaped, cgroup) = self.reaper.free(tree.pid(), || tree.reap());
            if let Err(error) = reaped {
                tracing::error!(%run, %error, "cannot reap an agent");
            }
            if let Some(cgroup) = cgroup {
                self.trees.discard(cgroup);
            }
        }
        fault::reach(Point::Reaped);
        runs.remove(&run);
        let _ = self.events.send(event);
    }
}

/// A process started by one that ignores SIGCHLD ignores it as well, and then the kernel reaps its
/// children at once: no exit codes, and nothing pins a process group's number. Any handler ends
/// that, also for the agents; tokio's stays for good.
fn heed_children() -> io::Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .ok_or(io::ErrorKind::InvalidData)?;
    if ignored & (1 << (Signal::CHILD.as_raw() - 1)) != 0 {
        let _ = signal(SignalKind::child())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
