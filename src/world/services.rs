//! The gRPC services: each turns a request into a call on the state, and its answer into a reply.

mod actions;
mod discovery;
mod leases;
mod streams;

use std::sync::Arc;

use tonic::transport::Server;
use tonic::transport::server::Router;

use super::core::Core;
use crate::proto::action_service_server::ActionServiceServer;
use crate::proto::entity_discovery_service_server::EntityDiscoveryServiceServer;
use crate::proto::lease_service_server::LeaseServiceServer;
use crate::proto::observation_service_server::ObservationServiceServer;
use crate::proto::tick_service_server::TickServiceServer;

/// Implements all services on one running world.
#[derive(Clone)]
struct Services {
    core: Arc<Core>,
}

pub(super) fn router(mut server: Server, core: &Arc<Core>) -> Router {
    let services = Services { core: Arc::clone(core) };
    server
        .add_service(EntityDiscoveryServiceServer::new(services.clone()))
        .add_service(LeaseServiceServer::new(services.clone()))
        .add_service(TickServiceServer::new(services.clone()))
        .add_service(ObservationServiceServer::new(services.clone()))
        .add_service(ActionServiceServer::new(services))
}
