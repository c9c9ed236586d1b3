//! The streams that send one message a tick: ticks and observations.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Services;
use crate::proto::observation_service_server::ObservationService;
use crate::proto::tick_service_server::TickService;
use crate::proto::{Observation, StreamObservationsRequest, StreamTicksRequest, TickEvent};
use crate::world::core::{Core, closed};
use crate::world::state::{Refusal, State};

/// What a stream of the contract is here. It holds one message at most: a slow reader misses
/// ticks, and costs no memory.
pub(super) type Messages<T> = ReceiverStream<Result<T, Status>>;

/// Before the first tick.
const NO_TICK: i64 = 0;

#[tonic::async_trait]
impl TickService for Services {
    type StreamTicksStream = Messages<TickEvent>;

    async fn stream_ticks(
        &self,
        _request: Request<StreamTicksRequest>,
    ) -> Result<Response<Self::StreamTicksStream>, Status> {
        let core = Arc::clone(&self.core);
        let view = |state: &mut State, now, last| {
            let event = state.tick_event(now);
            Ok(Some((event.tick_id, event)).filter(|(tick, _)| *tick != last))
        };
        Ok(Response::new(each_tick(core, view)))
    }
}

#[tonic::async_trait]
impl ObservationService for Services {
    type StreamObservationsStream = Messages<Observation>;

    async fn stream_observations(
        &self,
        request: Request<StreamObservationsRequest>,
    ) -> Result<Response<Self::StreamObservationsStream>, Status> {
        let StreamObservationsRequest { lease_id, entity_id } = request.into_inner();
        let view = move |state: &mut State, now, last| {
            // Every change wakes every stream: most of them need no more than this.
            state.check_lease(&lease_id, &entity_id).map_err(|refusal| status(&refusal))?;
            if state.tick(now) == last {
                return Ok(None);
            }
            let seen = state.observation(&lease_id, &entity_id, now);
            seen.map(|seen| Some((seen.tick_id, seen))).map_err(|refusal| status(&refusal))
        };
        self.core.with(|state, now| view(state, now, NO_TICK))?;
        Ok(Response::new(each_tick(Arc::clone(&self.core), view)))
    }
}

fn status(refusal: &Refusal) -> Status {
    if matches!(refusal, Refusal::NoSuchEntity(_)) {
        Status::not_found(refusal.to_string())
    } else {
        Status::failed_precondition(refusal.to_string())
    }
}

/// Sends what the view shows in the current tick and in each one that starts, until the view
/// fails, the reader goes, or the world closes. The view is told of which tick it was last sent,
/// and shows nothing when that is still the current one.
fn each_tick<T, V>(core: Arc<Core>, view: V) -> Messages<T>
where
    T: Send + 'static,
    V: Fn(&mut State, Duration, i64) -> Result<Option<(i64, T)>, Status> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut closing = core.closing();
        let mut pulse = core.pulse();
        let mut last = NO_TICK;
        loop {
            let shown = core.with(|state, now| view(state, now, last)).transpose();
            if let Some(Ok((tick, _))) = &shown {
                last = *tick;
            }
            if let Some(message) = shown.map(|shown| shown.map(|(_, message)| message))
                && !send(&sender, message, &mut closing).await
            {
                return;
            }
            tokio::select! {
                changed = pulse.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
                () = closed(&mut closing) => return end(&sender),
            }
        }
    });
    ReceiverStream::new(receiver)
}

/// Sends a message; false when it was the last one of this stream, or could not be sent.
pub(super) async fn send<T>(
    sender: &mpsc::Sender<Result<T, Status>>,
    message: Result<T, Status>,
    closing: &mut watch::Receiver<bool>,
) -> bool {
    let goes_on = message.is_ok();
    tokio::select! {
        sent = sender.send(message) => sent.is_ok() && goes_on,
        () = closed(closing) => {
            end(sender);
            false
        }
    }
}

/// Says why the stream ends, if the reader has room to hear it.
pub(super) fn end<T>(sender: &mpsc::Sender<Result<T, Status>>) {
    let _no_room = sender.try_send(Err(Status::unavailable("the world is closing")));
}
