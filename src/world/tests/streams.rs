//! Ticks, observations and intents.

use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::{acquire, channel, definition, entity, open, soon};
use crate::proto::action_service_client::ActionServiceClient;
use crate::proto::intent::Action;
use crate::proto::lease_service_client::LeaseServiceClient;
use crate::proto::observation_service_client::ObservationServiceClient;
use crate::proto::tick_service_client::TickServiceClient;
use crate::proto::{
    Direction, Intent, MoveIntent, Observation, Position, ReleaseLeaseRequest,
    StreamObservationsRequest, StreamTicksRequest, SubmitIntentRequest, SubmitIntentResponse,
};

async fn observe(channel: &Channel, lease: &str) -> Result<Streaming<Observation>, Status> {
    let request =
        StreamObservationsRequest { lease_id: lease.to_owned(), entity_id: "a".to_owned() };
    let mut client = ObservationServiceClient::new(channel.clone());
    Ok(soon(client.stream_observations(request)).await?.into_inner())
}

async fn go_east(channel: &Channel, lease: &str, tick: i64) -> SubmitIntentResponse {
    let direction = Direction::East.into();
    let request = SubmitIntentRequest {
        lease_id: lease.to_owned(),
        entity_id: "a".to_owned(),
        tick_id: tick,
        intent: Some(Intent { action: Some(Action::Move(MoveIntent { direction })) }),
    };
    let mut client = ActionServiceClient::new(channel.clone());
    soon(client.submit_intent(request)).await.unwrap().into_inner()
}

/// How a stream ends, whatever comes before.
async fn outcome(stream: &mut Streaming<Observation>) -> Status {
    loop {
        match soon(stream.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => return Status::ok("ended without a reason"),
            Err(status) => return status,
        }
    }
}

#[tokio::test]
async fn ticks_come_in_order_with_their_times() {
    let world = open(Vec::new()).await;
    let mut client = TickServiceClient::new(channel(&world).await);
    let mut ticks = soon(client.stream_ticks(StreamTicksRequest {})).await.unwrap().into_inner();
    let mut last = soon(ticks.message()).await.unwrap().unwrap();
    assert_eq!(last.tick_duration_ms, 10);
    for _ in 0..5 {
        let tick = soon(ticks.message()).await.unwrap().unwrap();
        let passed = tick.tick_id - last.tick_id;
        assert!(passed > 0);
        let started = tick.tick_start_server_time_ms;
        assert_eq!(started - last.tick_start_server_time_ms, passed * 10);
        assert_eq!(tick.intent_deadline_server_time_ms, started + 10);
        last = tick;
    }
}

#[tokio::test]
async fn an_observation_a_tick_and_intents_that_show_in_it() {
    let world = open(vec![entity("a")]).await;
    let channel = channel(&world).await;
    let lease = acquire(&channel, "a", "me").await.lease_id;
    let mut seen = observe(&channel, &lease).await.unwrap();
    let mut last = 0;
    loop {
        let observation = soon(seen.message()).await.unwrap().unwrap();
        assert!(observation.tick_id > last, "a tick is observed once");
        last = observation.tick_id;
        let answer = go_east(&channel, &lease, observation.tick_id + 1).await;
        if answer.accepted {
            break;
        }
        // On a busy machine the tick can be over by now.
        assert!(answer.reason.contains("is over"), "{}", answer.reason);
    }
    let observation = loop {
        let observation = soon(seen.message()).await.unwrap().unwrap();
        if observation.self_.as_ref().unwrap().position != Some(Position { x: 2, y: 2 }) {
            break observation;
        }
    };
    assert_eq!(observation.self_.unwrap().position, Some(Position { x: 3, y: 2 }));
    let refused = go_east(&channel, "another lease", observation.tick_id).await;
    assert!(!refused.accepted && refused.reason.starts_with("no such lease"));
}

#[tokio::test]
async fn observations_need_the_lease_and_end_with_it() {
    let world = open(vec![entity("a")]).await;
    let channel = channel(&world).await;
    let refused = observe(&channel, "made up").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);

    let lease = acquire(&channel, "a", "me").await.lease_id;
    let mut seen = observe(&channel, &lease).await.unwrap();
    let mut client = LeaseServiceClient::new(channel.clone());
    soon(client.release_lease(ReleaseLeaseRequest { lease_id: lease })).await.unwrap();
    assert_eq!(outcome(&mut seen).await.code(), Code::FailedPrecondition);

    let lease = acquire(&channel, "a", "me").await.lease_id;
    let mut seen = observe(&channel, &lease).await.unwrap();
    world.apply(definition(Vec::new()));
    assert_eq!(outcome(&mut seen).await.code(), Code::NotFound);
}

#[tokio::test]
async fn a_lost_lease_ends_the_stream_before_the_next_tick() {
    let world = open(vec![entity("a")]).await;
    let mut slow = definition(vec![entity("a")]);
    slow.tick = Duration::from_secs(3_600);
    world.apply(slow.clone());
    let channel = channel(&world).await;
    let lease = acquire(&channel, "a", "me").await.lease_id;
    let mut seen = observe(&channel, &lease).await.unwrap();
    assert!(soon(seen.message()).await.unwrap().is_some(), "the current tick is shown at once");
    slow.entities.clear();
    world.apply(slow);
    assert_eq!(outcome(&mut seen).await.code(), Code::NotFound);
}
