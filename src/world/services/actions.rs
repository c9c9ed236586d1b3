//! Intents.

use tonic::{Request, Response, Status};

use super::Services;
use crate::proto::action_service_server::ActionService;
use crate::proto::{SubmitIntentRequest, SubmitIntentResponse};

#[tonic::async_trait]
impl ActionService for Services {
    async fn submit_intent(
        &self,
        request: Request<SubmitIntentRequest>,
    ) -> Result<Response<SubmitIntentResponse>, Status> {
        let request = request.into_inner();
        let outcome = self.core.with(|state, now| state.act(&request, now));
        let reason = outcome.err().map(|refusal| refusal.to_string());
        Ok(Response::new(SubmitIntentResponse {
            accepted: reason.is_none(),
            reason: reason.unwrap_or_default(),
        }))
    }
}
