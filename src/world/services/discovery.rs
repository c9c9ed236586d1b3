//! The list of entities, and the changes of it.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Services;
use super::streams::{Messages, end, send};
use crate::proto::controllable_entities_event::Event;
use crate::proto::entity_discovery_service_server::EntityDiscoveryService;
use crate::proto::{
    ControllableEntitiesEvent, ControllableEntitiesResponse, ListControllableEntitiesRequest,
    WatchControllableEntitiesRequest,
};
use crate::world::core::{Core, closed};
use crate::world::state::{Change, State};

#[tonic::async_trait]
impl EntityDiscoveryService for Services {
    async fn list_controllable_entities(
        &self,
        _request: Request<ListControllableEntitiesRequest>,
    ) -> Result<Response<ControllableEntitiesResponse>, Status> {
        Ok(Response::new(self.core.with(|state, _now| state.list())))
    }

    type WatchControllableEntitiesStream = Messages<ControllableEntitiesEvent>;

    async fn watch_controllable_entities(
        &self,
        _request: Request<WatchControllableEntitiesRequest>,
    ) -> Result<Response<Self::WatchControllableEntitiesStream>, Status> {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(watch(Arc::clone(&self.core), sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// A snapshot, then every change. A reader that falls too far behind gets another snapshot: it
/// replaces all that it missed, so that nothing has to be kept for it.
async fn watch(core: Arc<Core>, sender: mpsc::Sender<Result<ControllableEntitiesEvent, Status>>) {
    let mut closing = core.closing();
    let (snapshot, mut changes) = core.watch(State::list);
    let mut event = Event::Snapshot(snapshot);
    loop {
        let message = ControllableEntitiesEvent { event: Some(event) };
        if !send(&sender, Ok(message), &mut closing).await {
            return;
        }
        let change = tokio::select! {
            change = changes.recv() => change,
            () = sender.closed() => return,
            () = closed(&mut closing) => return end(&sender),
        };
        event = match change {
            Ok(Change::Upserted(entity)) => Event::Upserted(entity),
            Ok(Change::Removed(id)) => Event::RemovedEntityId(id),
            Err(RecvError::Lagged(_)) => {
                let (snapshot, fresh) = core.watch(State::list);
                changes = fresh;
                Event::Snapshot(snapshot)
            }
            Err(RecvError::Closed) => return,
        };
    }
}
