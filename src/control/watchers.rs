//! What those who watch are told, for as long as they read it.

use std::mem;
use std::sync::Arc;

use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{mpsc, watch};
use tonic::Status;

use super::feed::{Moment, difference};
use super::selector::select;
use super::service::event;
use crate::events::Record;
use crate::proto::control as pb;
use crate::proto::control::agents_changed::Kind;

/// Whoever reads what is told.
type Watcher<T> = mpsc::Sender<Result<T, Status>>;

type Moments = watch::Receiver<Arc<Moment>>;

/// The instance as a whole, whenever it is another.
pub(super) async fn status(
    mut moments: Moments,
    told: impl Fn(pb::Status) -> pb::Status,
    watcher: Watcher<pb::Status>,
) {
    let mut last: Option<pb::Status> = None;
    while moments.changed().await.is_ok() {
        let Ok(permit) = watcher.reserve().await else { return };
        let now = moments.borrow_and_update().status.clone();
        if last.as_ref().is_none_or(|last| !is_same(last, &now)) {
            permit.send(Ok(told(now.clone())));
            last = Some(now);
        }
    }
}

/// Whether nothing has changed but that the world has answered once more.
fn is_same(before: &pb::Status, now: &pb::Status) -> bool {
    let world = |status: &pb::Status| {
        let world = status.world.clone().unwrap_or_default();
        pb::World { answered_at_ms: 0, ..world }
    };
    world(before) == world(now)
        && *before == pb::Status { world: before.world.clone(), ..now.clone() }
}

/// Agents that were asked for: all of them, and from then on those that are others, or gone.
pub(super) async fn agents(
    mut moments: Moments,
    (asked, in_pods): (pb::ListAgentsRequest, bool),
    watcher: Watcher<pb::AgentsChanged>,
) {
    let message = |kind, agents: &[Arc<pb::Agent>]| {
        let agents = agents.iter().map(|agent| pb::Agent::clone(agent)).collect();
        Ok(pb::AgentsChanged { kind: i32::from(kind), agents, in_pods })
    };
    let mut last: Option<(u64, Vec<Arc<pb::Agent>>)> = None;
    while moments.changed().await.is_ok() {
        // Only now, as who does not read needs nothing prepared.
        let Ok(permit) = watcher.reserve().await else { return };
        let now = Arc::clone(&moments.borrow_and_update());
        let selected = now.agents.iter().filter(|agent| select(&asked, agent));
        let selected: Vec<_> = selected.map(Arc::clone).collect();
        let last = last.replace((now.number, selected.clone()));
        // What came between was not seen.
        let Some((_, before)) = last.filter(|(number, _)| now.number == number + 1) else {
            permit.send(message(Kind::Sync, &selected));
            continue;
        };
        let (changed, gone) = difference(&before, &selected);
        if changed.is_empty() {
            drop(permit);
        } else {
            permit.send(message(Kind::Changed, &changed));
        }
        if !gone.is_empty() && watcher.send(message(Kind::Gone, &gone)).await.is_err() {
            return;
        }
    }
}

/// What happened, and then what happens, as far as it is wanted, each once.
pub(super) async fn events(
    (past, mut happening): (Vec<Record>, broadcast::Receiver<Arc<Record>>),
    is_wanted: impl Fn(&Record) -> bool,
    watcher: Watcher<pb::EventHappened>,
) {
    let happened = |missed, record| pb::EventHappened { missed, event: Some(event(record)) };
    let mut last = past.last().map_or(0, |record| record.seq);
    for record in past {
        if watcher.send(Ok(happened(0, record))).await.is_err() {
            return;
        }
    }
    let mut missed = 0;
    loop {
        let next = tokio::select! {
            next = happening.recv() => next,
            () = watcher.closed() => return,
        };
        match next {
            Ok(record) if record.seq <= last => {}
            Ok(record) => {
                last = record.seq;
                if is_wanted(&record) {
                    let told = happened(mem::take(&mut missed), Record::clone(&record));
                    if watcher.send(Ok(told)).await.is_err() {
                        return;
                    }
                }
            }
            Err(RecvError::Lagged(count)) => missed += count,
            Err(RecvError::Closed) => return,
        }
    }
}
