//! Leases.

use tonic::{Request, Response, Status};

use super::Services;
use crate::proto::lease_service_server::LeaseService;
use crate::proto::{
    AcquireLeaseRequest, LeaseResponse, ReleaseLeaseRequest, ReleaseLeaseResponse,
    RenewLeaseRequest,
};
use crate::world::state::{Grant, Refusal};

#[tonic::async_trait]
impl LeaseService for Services {
    async fn acquire_lease(
        &self,
        request: Request<AcquireLeaseRequest>,
    ) -> Result<Response<LeaseResponse>, Status> {
        let AcquireLeaseRequest { entity_id, controller_id } = request.into_inner();
        Ok(answer(self.core.with(|state, now| state.acquire(&entity_id, &controller_id, now))))
    }

    async fn renew_lease(
        &self,
        request: Request<RenewLeaseRequest>,
    ) -> Result<Response<LeaseResponse>, Status> {
        let RenewLeaseRequest { lease_id } = request.into_inner();
        Ok(answer(self.core.with(|state, now| state.renew(&lease_id, now))))
    }

    async fn release_lease(
        &self,
        request: Request<ReleaseLeaseRequest>,
    ) -> Result<Response<ReleaseLeaseResponse>, Status> {
        let ReleaseLeaseRequest { lease_id } = request.into_inner();
        let released = self.core.with(|state, now| state.release(&lease_id, now));
        Ok(Response::new(ReleaseLeaseResponse { success: released.is_ok() }))
    }
}

fn answer(outcome: Result<Grant, Refusal>) -> Response<LeaseResponse> {
    Response::new(match outcome {
        Ok(Grant { lease_id, expires_at_ms }) => {
            LeaseResponse { success: true, lease_id, expires_at_ms, reason: String::new() }
        }
        Err(refusal) => LeaseResponse { reason: refusal.to_string(), ..LeaseResponse::default() },
    })
}
