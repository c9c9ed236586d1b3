//! Agents as pods of a Kubernetes cluster.
//!
//! ```text
//! Executor ──order──► task ──► Pods (pure) ──► calls ──► API server
//!                      ▲  └──────────────────► events ──► the loop
//!                      └── watch of the instance's pods
//! ```
//!
//! A pod's name follows from the entity and its incarnation, so that there cannot be two; it is made
//! by server-side apply, so that a request whose answer was lost can be made again; and it is deleted
//! by its uid, so that no other one of its name ever is. Of several runners of an instance the one
//! that holds its Lease acts, and its hold is looked at before each write.

mod api;
mod cluster;
mod contact;
mod inquiry;
mod labels;
mod lead;
mod lease;
mod manifest;
mod meter;
mod name;
mod notebook;
mod pace;
mod peek;
mod pods;
mod seen;
mod stamps;
mod survey;
mod words;

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{Adoption, Event, Executor, RunId, SpawnRequest, Writer};
use crate::plan::EntityId;

pub use api::{Access, ClusterError};
pub use cluster::{Cluster, Found};
pub use inquiry::Inquiry;
pub use meter::{PodUsage, Unmeasured};
pub use name::Names;
pub use notebook::Notebook;
pub use pace::Rate;
pub use peek::peek;
pub use seen::{Origin, Seen, State, Uid};
pub use survey::{NEEDS, Need, Survey, survey};
pub use words::{Log, Unread, Wanted};

/// How long the last pods may take to go, after the last agent has ended.
const LAST_CALLS: Duration = Duration::from_secs(10);

/// What the loop asks of the task.
#[derive(Debug)]
enum Order {
    Spawn(Box<SpawnRequest>),
    Adopt(RunId, Uid),
    Adopted,
    Examine(RunId),
    Terminate(RunId),
    Kill(RunId),
    Forget(EntityId),
    Finish(oneshot::Sender<()>),
}

/// Agents as pods of a cluster.
#[derive(Debug)]
pub struct Kubernetes {
    orders: mpsc::UnboundedSender<Order>,
    inquiry: Inquiry,
    task: tokio::task::AbortHandle,
}

impl Kubernetes {
    /// Takes up a cluster whose pods were found, and tells what happens to agents from now on.
    #[must_use]
    pub fn new(cluster: Cluster) -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (orders, orders_seen) = mpsc::unbounded_channel();
        let (events, events_seen) = mpsc::unbounded_channel();
        let inquiry = cluster.inquiry();
        let task = tokio::spawn(cluster.keep(orders_seen, events)).abort_handle();
        (Self { orders, inquiry, task }, events_seen)
    }

    fn order(&self, order: Order) {
        // The task ends with us only.
        let _ = self.orders.send(order);
    }
}

impl Executor for Kubernetes {
    type Identity = Uid;

    fn spawn(&self, request: SpawnRequest) {
        self.order(Order::Spawn(Box::new(request)));
    }

    fn adopt(&self, adoption: Adoption<Uid>) {
        self.order(Order::Adopt(adoption.run, adoption.identity));
    }

    fn adopted(&self) {
        self.order(Order::Adopted);
    }

    /// What the processes of a container wait in is their node's to know. What they wrote is told.
    fn examine(&self, run: RunId, _: bool) {
        self.order(Order::Examine(run));
    }

    fn terminate(&self, run: RunId) {
        self.order(Order::Terminate(run));
    }

    fn kill(&self, run: RunId) {
        self.order(Order::Kill(run));
    }

    fn tail(&self, writer: Writer, most: u64) -> BoxFuture<'static, String> {
        let inquiry = self.inquiry.clone();
        Box::pin(async move { inquiry.tail(&writer.entity, writer.incarnation, most).await })
    }

    fn forget(&self, entity: &EntityId) {
        self.order(Order::Forget(entity.clone()));
    }

    /// What is left of pods that have ended goes too.
    async fn finish(&self) {
        let (done, finished) = oneshot::channel();
        self.order(Order::Finish(done));
        // Where the cluster is away they stay, and the next runner finds them.
        let _ = timeout(LAST_CALLS, finished).await;
    }

    fn give_up(&self) {
        self.task.abort();
    }
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        self.task.abort();
    }
}
