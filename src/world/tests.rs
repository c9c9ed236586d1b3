//! A real server and a real client, over loopback.
//!
//! Everything waits for an event; the limit only turns a hang into a failure.

mod forager;
mod streams;

use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tonic::Streaming;
use tonic::transport::Channel;

use super::{Definition, EntityDefinition, Handle, ObjectDefinition, World};
use crate::proto::controllable_entities_event::Event;
use crate::proto::entity_discovery_service_client::EntityDiscoveryServiceClient;
use crate::proto::lease_service_client::LeaseServiceClient;
use crate::proto::{
    AcquireLeaseRequest, ControllableEntitiesEvent, LeaseResponse, ListControllableEntitiesRequest,
    ReleaseLeaseRequest, RenewLeaseRequest, WatchControllableEntitiesRequest,
};

const LIMIT: Duration = Duration::from_secs(20);

async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, work).await.expect("this takes too long")
}

fn entity(id: &str) -> EntityDefinition {
    EntityDefinition {
        id: id.to_owned(),
        kind: "forager".to_owned(),
        at: (2, 2),
        tags: vec!["calm".to_owned()],
        arrives_after: Duration::ZERO,
        leaves_after: None,
    }
}

fn definition(entities: Vec<EntityDefinition>) -> Definition {
    let bush = ObjectDefinition {
        id: "bush".to_owned(),
        kind: "bush".to_owned(),
        at: (5, 4),
        has_berry: true,
    };
    let tick = Duration::from_millis(10);
    Definition { width: 8, height: 8, tick, entities, objects: vec![bush] }
}

async fn open(entities: Vec<EntityDefinition>) -> Handle {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    World::start(definition(entities), listener).unwrap()
}

async fn channel(world: &Handle) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", world.address())).unwrap();
    soon(endpoint.connect()).await.unwrap()
}

async fn acquire(channel: &Channel, entity: &str, controller: &str) -> LeaseResponse {
    let request =
        AcquireLeaseRequest { entity_id: entity.to_owned(), controller_id: controller.to_owned() };
    let mut client = LeaseServiceClient::new(channel.clone());
    soon(client.acquire_lease(request)).await.unwrap().into_inner()
}

async fn watch(channel: &Channel) -> Streaming<ControllableEntitiesEvent> {
    let mut client = EntityDiscoveryServiceClient::new(channel.clone());
    let request = WatchControllableEntitiesRequest {};
    soon(client.watch_controllable_entities(request)).await.unwrap().into_inner()
}

/// The next event, as text one can read.
async fn next(events: &mut Streaming<ControllableEntitiesEvent>) -> String {
    let event = soon(events.message()).await.unwrap().expect("the stream goes on");
    match event.event.expect("an event") {
        Event::Snapshot(all) => {
            let ids: Vec<String> = all.entities.into_iter().map(|one| one.entity_id).collect();
            format!("all: {}", ids.join(" "))
        }
        Event::Upserted(entity) if entity.has_active_lease => {
            format!("{} leased", entity.entity_id)
        }
        Event::Upserted(entity) => format!("{} free", entity.entity_id),
        Event::RemovedEntityId(id) => format!("{id} left"),
    }
}

#[tokio::test]
async fn the_list_shows_who_is_here() {
    let late = EntityDefinition { arrives_after: Duration::from_secs(600), ..entity("late") };
    let world = open(vec![entity("b"), late, entity("a")]).await;
    let channel = channel(&world).await;
    assert!(acquire(&channel, "b", "me").await.success);
    let mut client = EntityDiscoveryServiceClient::new(channel);
    let request = ListControllableEntitiesRequest {};
    let answer = soon(client.list_controllable_entities(request)).await.unwrap().into_inner();
    let seen: Vec<(&str, i64, bool)> = answer
        .entities
        .iter()
        .map(|one| (one.entity_id.as_str(), one.spawn_tick, one.has_active_lease))
        .collect();
    assert_eq!(seen, [("a", 1, false), ("b", 1, true)]);
    assert_eq!(answer.entities[0].entity_type, "forager");
    assert_eq!(answer.entities[0].tags, ["calm"]);
    world.shutdown().await;
}

#[tokio::test]
async fn a_watch_starts_with_all_and_then_tells_what_changes() {
    let guest = EntityDefinition {
        arrives_after: Duration::from_millis(30),
        leaves_after: Some(Duration::from_millis(60)),
        ..entity("guest")
    };
    let world = open(vec![entity("a")]).await;
    let channel = channel(&world).await;
    let mut events = watch(&channel).await;
    assert_eq!(next(&mut events).await, "all: a");
    world.apply(definition(vec![entity("a"), guest]));
    assert_eq!(next(&mut events).await, "guest free");
    assert_eq!(next(&mut events).await, "guest left");

    let lease = acquire(&channel, "a", "me").await;
    assert_eq!(next(&mut events).await, "a leased");
    let mut client = LeaseServiceClient::new(channel.clone());
    let request = ReleaseLeaseRequest { lease_id: lease.lease_id };
    assert!(soon(client.release_lease(request)).await.unwrap().into_inner().success);
    assert_eq!(next(&mut events).await, "a free");

    world.apply(definition(vec![entity("b")]));
    assert_eq!(next(&mut events).await, "a left");
    assert_eq!(next(&mut events).await, "b free");
}

#[tokio::test]
async fn a_watcher_that_is_far_behind_gets_a_snapshot() {
    let world = open(vec![entity("a")]).await;
    let mut events = watch(&channel(&world).await).await;
    assert_eq!(next(&mut events).await, "all: a");
    let crowd: Vec<String> = (0..400).map(|number| format!("e{number:03}")).collect();
    world.apply(definition(crowd.iter().map(|id| entity(id)).collect()));
    assert_eq!(next(&mut events).await, format!("all: {}", crowd.join(" ")));
    world.apply(definition(Vec::new()));
    assert_eq!(next(&mut events).await, "all: ");
    world.apply(definition(vec![entity("z")]));
    assert_eq!(next(&mut events).await, "z free");
}

#[tokio::test]
async fn leases_are_answered_with_a_reason() {
    let world = open(vec![entity("a")]).await;
    let channel = channel(&world).await;
    let mine = acquire(&channel, "a", "me").await;
    assert!(mine.success && mine.expires_at_ms > 1_600_000_000_000 && mine.reason.is_empty());
    let again = acquire(&channel, "a", "me").await;
    assert_eq!(again.lease_id, mine.lease_id);
    let yours = acquire(&channel, "a", "you").await;
    assert!(!yours.success && yours.lease_id.is_empty());
    assert_eq!(yours.reason, r#""a" is leased to "me""#);
    let mut client = LeaseServiceClient::new(channel);
    let request = RenewLeaseRequest { lease_id: "made up".to_owned() };
    let renewed = soon(client.renew_lease(request)).await.unwrap().into_inner();
    assert!(!renewed.success && renewed.reason.starts_with("no such lease"));
}

#[tokio::test]
async fn shutdown_does_not_wait_for_open_streams() {
    let world = open(vec![entity("a")]).await;
    let address = world.address();
    let channel = channel(&world).await;
    let mut events = watch(&channel).await;
    assert_eq!(next(&mut events).await, "all: a");
    let _unread = watch(&channel).await;
    let begun = Instant::now();
    soon(world.shutdown()).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "it took {:?}", begun.elapsed());
    let ended = soon(events.message()).await;
    assert!(!matches!(ended, Ok(Some(_))), "the stream went on: {ended:?}");
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "something listens still");
}

#[tokio::test]
async fn dropping_the_handle_ends_the_world() {
    let world = open(vec![entity("a")]).await;
    let mut events = watch(&channel(&world).await).await;
    assert_eq!(next(&mut events).await, "all: a");
    drop(world);
    let ended = soon(events.message()).await;
    assert!(!matches!(ended, Ok(Some(_))), "the stream went on: {ended:?}");
}

#[tokio::test]
async fn a_taken_address_is_an_error_that_names_it() {
    let world = open(Vec::new()).await;
    let address = world.address().to_string();
    let refused = super::serve(definition(Vec::new()), &address, async {}).await.unwrap_err();
    assert!(refused.to_string().contains(&address), "{refused}");
    soon(super::serve(definition(Vec::new()), "127.0.0.1:0", async {})).await.unwrap();
}
