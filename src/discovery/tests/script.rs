//! A world that says what it is told to say, and dies and comes back as it is told.

use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status};

use super::LONG;
use crate::proto::controllable_entities_event::Event;
use crate::proto::entity_discovery_service_server::{
    EntityDiscoveryService, EntityDiscoveryServiceServer,
};
use crate::proto::{
    ControllableEntitiesEvent, ControllableEntitiesResponse, ControllableEntity,
    ListControllableEntitiesRequest, WatchControllableEntitiesRequest,
};

type Told = Result<ControllableEntitiesEvent, Status>;

/// What the world says; shared by all the lives of a server.
pub(super) struct Script {
    pub(super) answer: Mutex<Result<Vec<ControllableEntity>, Status>>,
    /// An answer takes one permit; there are plenty unless it is closed to them.
    gate: Semaphore,
    /// How many calls of List there were.
    pub(super) lists: watch::Sender<u64>,
    /// How many calls of Watch there were.
    pub(super) watches: watch::Sender<u64>,
    pub(super) offers_watch: Mutex<bool>,
    watchers: Mutex<Vec<mpsc::UnboundedSender<Told>>>,
    /// The timeout that the latest call of List had, as it was sent.
    pub(super) timeout: Mutex<Option<String>>,
    /// What every call must bear, if anything; one that does not is told what it bore.
    pub(super) demands: Mutex<Option<String>>,
}

/// Each world has an address of its own: nobody else gets its port while it is dead.
static WORLDS: AtomicU8 = AtomicU8::new(1);

/// A server, until it is killed.
pub(super) struct World {
    pub(super) script: Arc<Script>,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Script {
    pub(super) fn say(&self, ids: &[&str]) {
        *self.answer.lock().unwrap() = Ok(ids.iter().map(|id| entity(id)).collect());
    }

    pub(super) fn fail(&self, status: Status) {
        *self.answer.lock().unwrap() = Err(status);
    }

    /// From now on calls hang.
    pub(super) fn hold(&self) {
        self.gate.forget_permits(usize::MAX);
    }

    /// Lets so many calls through.
    pub(super) fn release(&self, calls: usize) {
        self.gate.add_permits(calls);
    }

    pub(super) fn offer_watch(&self) {
        *self.offers_watch.lock().unwrap() = true;
    }

    /// Sends this to all that watch.
    pub(super) fn tell(&self, event: Event) {
        let told = ControllableEntitiesEvent { event: Some(event) };
        for watcher in self.watchers.lock().unwrap().iter() {
            let _ = watcher.send(Ok(told.clone()));
        }
    }

    pub(super) fn upsert(&self, id: &str) {
        self.tell(Event::Upserted(entity(id)));
    }

    pub(super) fn remove(&self, id: &str) {
        self.tell(Event::RemovedEntityId(id.to_owned()));
    }

    pub(super) fn snapshot(&self, ids: &[&str]) {
        let entities = ids.iter().map(|id| entity(id)).collect();
        self.tell(Event::Snapshot(ControllableEntitiesResponse { entities }));
    }

    /// Ends all streams, with an error or without.
    pub(super) fn end_watches(&self, status: Option<&Status>) {
        for watcher in self.watchers.lock().unwrap().drain(..) {
            if let Some(status) = status {
                let _ = watcher.send(Err(status.clone()));
            }
        }
    }
}

impl World {
    /// A server that knows these entities and offers no watch.
    pub(super) fn start(ids: &[&str]) -> Self {
        let script = Script {
            answer: Mutex::new(Ok(Vec::new())),
            gate: Semaphore::new(1_000_000),
            lists: watch::Sender::new(0),
            watches: watch::Sender::new(0),
            offers_watch: Mutex::new(false),
            watchers: Mutex::default(),
            timeout: Mutex::default(),
            demands: Mutex::default(),
        };
        script.say(ids);
        let any = SocketAddr::from(([127, 0, 7, WORLDS.fetch_add(1, Ordering::Relaxed)], 0));
        let mut world = Self { script: Arc::new(script), address: any, runtime: None };
        world.revive();
        world
    }

    pub(super) fn server(&self) -> String {
        self.address.to_string()
    }

    /// Kills it: all its sockets are closed when this returns.
    pub(super) async fn kill(&mut self) {
        let runtime = self.runtime.take().unwrap();
        self.script.end_watches(None);
        tokio::task::spawn_blocking(|| runtime.shutdown_timeout(LONG)).await.unwrap();
    }

    /// Starts it again, where it was.
    pub(super) fn revive(&mut self) {
        let listener = TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.address = listener.local_addr().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let service = EntityDiscoveryServiceServer::new(Server(Arc::clone(&self.script)));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        self.runtime = Some(runtime);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(super) fn entity(id: &str) -> ControllableEntity {
    ControllableEntity { entity_id: id.to_owned(), ..ControllableEntity::default() }
}

struct Server(Arc<Script>);

impl Server {
    fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let Some(demanded) = self.0.demands.lock().unwrap().clone() else { return Ok(()) };
        let shown = request.metadata().get("authorization");
        let shown = shown.map_or("nothing", |value| value.to_str().unwrap());
        if shown == format!("Bearer {demanded}") {
            return Ok(());
        }
        Err(Status::unauthenticated(format!("who are you with {shown}?")))
    }
}

#[tonic::async_trait]
impl EntityDiscoveryService for Server {
    async fn list_controllable_entities(
        &self,
        request: Request<ListControllableEntitiesRequest>,
    ) -> Result<Response<ControllableEntitiesResponse>, Status> {
        let timeout = request.metadata().get("grpc-timeout");
        let timeout = timeout.map(|value| value.to_str().unwrap().to_owned());
        *self.0.timeout.lock().unwrap() = timeout;
        self.0.lists.send_modify(|count| *count += 1);
        self.admit(&request)?;
        self.0.gate.acquire().await.unwrap().forget();
        let entities = self.0.answer.lock().unwrap().clone()?;
        Ok(Response::new(ControllableEntitiesResponse { entities }))
    }

    type WatchControllableEntitiesStream = Pin<Box<dyn Stream<Item = Told> + Send>>;

    async fn watch_controllable_entities(
        &self,
        request: Request<WatchControllableEntitiesRequest>,
    ) -> Result<Response<Self::WatchControllableEntitiesStream>, Status> {
        self.admit(&request)?;
        let offered = *self.0.offers_watch.lock().unwrap();
        let result = if offered {
            let (sender, receiver) = mpsc::unbounded_channel();
            self.0.watchers.lock().unwrap().push(sender);
            let stream = UnboundedReceiverStream::new(receiver);
            Ok(Response::new(Box::pin(stream) as Self::WatchControllableEntitiesStream))
        } else {
            Err(Status::unimplemented("Method not found!"))
        };
        self.0.watches.send_modify(|count| *count += 1);
        result
    }
}

/// Longer than a retry is ever delayed, with room for a busy machine.
pub(super) const RECOVERY: Duration = Duration::from_millis(1500);
