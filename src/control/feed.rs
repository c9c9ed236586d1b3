//! What all watchers of agents are fed from: one look at a time, however many they are, and none
//! where there is nobody.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::sleep;

use super::Instance;
use super::status::View;
use crate::proto::control as pb;
use crate::reconcile::{Look, Request};

/// The least time between two looks: what changes within it is seen together.
const REST: Duration = Duration::from_millis(100);

/// The instance at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Moment {
    /// Counts moments.
    pub(super) number: u64,
    /// All agents, and entities without one, in order of their names. Those that are as they were
    /// are shared with the moment before.
    pub(super) agents: Vec<Arc<pb::Agent>>,
    pub(super) status: pb::Status,
}

/// Where the latest moment is.
#[derive(Debug)]
pub(super) struct Feed {
    latest: watch::Sender<Arc<Moment>>,
    /// Somebody has begun to watch.
    watched: Arc<Notify>,
}

/// Asks the loop what it knows; none, if it has ended.
pub(crate) async fn look(instance: &Instance) -> Option<Look> {
    let (sender, look) = oneshot::channel();
    instance.requests.send(Request::Look(sender)).ok()?;
    look.await.ok()
}

impl Feed {
    /// Begins to look, whenever something changes and somebody watches.
    pub(super) fn start(instance: Arc<Instance>) -> Arc<Self> {
        let watched = Arc::new(Notify::new());
        let latest = watch::Sender::new(Arc::default());
        let feed = Arc::new(Self { latest, watched: Arc::clone(&watched) });
        let feeding = Arc::downgrade(&feed);
        tokio::spawn(async move {
            let mut changes = instance.changes.clone();
            loop {
                let Some(feed) = feeding.upgrade() else { return };
                if feed.latest.receiver_count() == 0 {
                    drop(feed);
                    watched.notified().await;
                    continue;
                }
                if changes.changed().await.is_err() || feed.refresh(&instance).await.is_none() {
                    return;
                }
                drop(feed);
                sleep(REST).await;
            }
        });
        feed
    }

    /// Has another moment be the latest.
    async fn refresh(&self, instance: &Instance) -> Option<()> {
        let look = look(instance).await?;
        self.latest.send_modify(|latest| {
            let view = View::of(&look);
            let agents = share(&latest.agents, view.agents().collect());
            let (number, status) = (latest.number + 1, view.status());
            *latest = Arc::new(Moment { number, agents, status });
        });
        Some(())
    }

    /// The latest moment, which is now, and those that follow.
    pub(super) async fn watch(&self, instance: &Instance) -> Option<watch::Receiver<Arc<Moment>>> {
        let mut receiver = self.latest.subscribe();
        self.watched.notify_one();
        self.refresh(instance).await?;
        receiver.mark_changed();
        Some(receiver)
    }
}

/// Takes from before what has not changed. Both are in order.
fn share(before: &[Arc<pb::Agent>], now: Vec<pb::Agent>) -> Vec<Arc<pb::Agent>> {
    let mut before = before.iter().peekable();
    let mut shared = |agent: pb::Agent| {
        while before.next_if(|old| old.name < agent.name).is_some() {}
        match before.next_if(|old| old.name == agent.name) {
            Some(old) if is_same(old, &agent) => Arc::clone(old),
            Some(_) | None => Arc::new(agent),
        }
    };
    now.into_iter().map(&mut shared).collect()
}

/// Whether nothing has happened between the two. Times of day are reckoned anew with each look, and
/// may differ by the time that takes.
fn is_same(old: &pb::Agent, new: &pb::Agent) -> bool {
    let near = |one: i64, other: i64| one.abs_diff(other) < 50;
    near(old.started_at_ms, new.started_at_ms)
        && near(old.last_exit_at_ms, new.last_exit_at_ms)
        && near(old.next_at_ms, new.next_at_ms)
        && *old
            == pb::Agent {
                started_at_ms: old.started_at_ms,
                last_exit_at_ms: old.last_exit_at_ms,
                next_at_ms: old.next_at_ms,
                ..new.clone()
            }
}

/// What has changed from one moment to another: those that are new or different, and those that are
/// not there any more.
pub(super) fn difference(
    before: &[Arc<pb::Agent>],
    now: &[Arc<pb::Agent>],
) -> (Vec<Arc<pb::Agent>>, Vec<Arc<pb::Agent>>) {
    let (mut changed, mut gone) = (Vec::new(), Vec::new());
    let mut old = before.iter().peekable();
    for agent in now {
        while let Some(left) = old.next_if(|old| old.name < agent.name) {
            gone.push(Arc::clone(left));
        }
        match old.next_if(|old| old.name == agent.name) {
            Some(same) if Arc::ptr_eq(same, agent) => {}
            Some(_) | None => changed.push(Arc::clone(agent)),
        }
    }
    gone.extend(old.map(Arc::clone));
    (changed, gone)
}
