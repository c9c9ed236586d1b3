//! A world that says whatever a test tells it to say.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use runner::proto::entity_discovery_service_server::{
    EntityDiscoveryService, EntityDiscoveryServiceServer,
};
use runner::proto::{
    ControllableEntitiesEvent, ControllableEntitiesResponse, ControllableEntity,
    ListControllableEntitiesRequest, WatchControllableEntitiesRequest,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// A world without a watch, whose list is what was last set.
#[derive(Debug)]
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    entities: Arc<Mutex<Vec<ControllableEntity>>>,
    _runtime: Runtime,
}

#[derive(Debug)]
struct Service(Arc<Mutex<Vec<ControllableEntity>>>);

impl Scripted {
    pub(crate) fn start(entities: Vec<ControllableEntity>) -> Self {
        let runtime = Runtime::new().unwrap();
        let entities = Arc::new(Mutex::new(entities));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let service = EntityDiscoveryServiceServer::new(Service(Arc::clone(&entities)))
            .max_encoding_message_size(usize::MAX);
        let incoming = TcpListenerStream::new(listener);
        runtime.spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        Self { address, entities, _runtime: runtime }
    }

    pub(crate) fn set(&self, entities: Vec<ControllableEntity>) {
        *self.entities.lock().unwrap() = entities;
    }
}

pub(crate) fn controllable(id: &str) -> ControllableEntity {
    ControllableEntity {
        entity_id: id.to_owned(),
        entity_type: "forager".to_owned(),
        ..ControllableEntity::default()
    }
}

type Events = Pin<Box<dyn Stream<Item = Result<ControllableEntitiesEvent, Status>> + Send>>;

#[tonic::async_trait]
impl EntityDiscoveryService for Service {
    type WatchControllableEntitiesStream = Events;

    async fn list_controllable_entities(
        &self,
        _: Request<ListControllableEntitiesRequest>,
    ) -> Result<Response<ControllableEntitiesResponse>, Status> {
        let entities = self.0.lock().unwrap().clone();
        Ok(Response::new(ControllableEntitiesResponse { entities }))
    }

    async fn watch_controllable_entities(
        &self,
        _: Request<WatchControllableEntitiesRequest>,
    ) -> Result<Response<Events>, Status> {
        Err(Status::unimplemented("an old server"))
    }
}
